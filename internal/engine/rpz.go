package engine

import (
	"net/netip"

	"port53/internal/cache"
	"port53/internal/event"
	"port53/internal/policy"
	"port53/internal/rpz"
	"port53/internal/telemetry"
	"port53/internal/why"
	"port53/internal/wire"
	"port53/internal/zone"
)

// A policing is what a worker judges questions by policy zones with.
type policing struct {
	search rpz.Searcher
	judged rpz.Question
	ruled  rpz.Verdict
	unpack zone.Unpacked
	known  delegations
}

// delegations tell a searcher whom the zones of a name are delegated to.
type delegations struct {
	recursion *Recursion
	entries   [2]cache.Entry
	now       int64
}

// Delegations implements [rpz.Delegations].
func (d *delegations) Delegations(name []byte, into *rpz.Searcher) {
	if d.recursion != nil && d.recursion.Config != nil {
		d.recursion.Config.EachServer(d.recursion.Cache, name, d.now, &d.entries, into)
	}
}

// judgeRPZ asks what the client's policy zones say of the question in hand and, if that is answered, of
// the answer that stands in the reply. It reports whether something else is to be answered: see
// rewrite. Names in zones that are served here are not judged, but for what their aliases lead to.
func (w *worker) judgeRPZ(r *Recursion, answered bool) bool {
	p := w.view.RPZ
	if p == nil || w.query.Type == wire.TypeRRSIG {
		return false
	}
	query, q, b := &w.query, &w.judged, &w.builder
	*q = rpz.Question{Name: &query.Name, Type: query.Type, Client: w.peer.Remote.Addr(), UDP: w.udp, DO: query.DO, Six: embeddingRPZ(r)}
	q.Local = w.view.Zones.Find(&query.Name) != nil
	if answered {
		q.Reply, q.Body, q.Answers = b.Bytes(), wire.HeaderLen+query.QuestionLen(), b.Count(wire.Answer)
		q.Others = b.Count(wire.Authority)
		w.known.recursion, w.known.now = r, w.cacheTime(r.Cache)
		q.Servers = &w.known
	}
	w.ruled = w.search.Judge(p, q)
	v := &w.ruled
	if v.Logged != nil && (answered || v.Acts()) {
		w.record.Filtered(v.Logged.Number, telemetry.FilterLogged, w.view.Slot)
	}
	switch {
	case v.Acts():
		w.record.Filtered(v.Zone.Number, telemetry.FilterBlocked, w.view.Slot)
		return true
	case v.Action == rpz.Passthru && answered:
		w.record.Filtered(v.Zone.Number, telemetry.FilterAllowed, w.view.Slot)
	}
	return false
}

// embeddingRPZ is embedding, for policy zones.
func embeddingRPZ(r *Recursion) rpz.Embedding {
	if six := embedding(r); six != nil {
		return six
	}
	return nil
}

// rewrite answers as a policy zone says in place of what the reply has. The aliases that lead to the
// name that it is about stay.
func (w *worker) rewrite(r *Recursion) int {
	v, b := &w.ruled, &w.builder
	if w.source != nil {
		w.source.Kind, w.source.Text = FromFilter, v.Describe()
	}
	var owner []byte // of what is answered; nil: the question's name
	b.Reset()
	if v.Links > 0 {
		owner = v.Name
		b.Take(v.Kept-b.Len(), [3]uint16{wire.Answer: uint16(v.Links)})
	}
	b.ClearFlags(wire.FlagAA | wire.FlagTC | wire.FlagAD)
	b.SetRcode(wire.NoError)
	w.ede, w.edeText = v.Zone.EDE, v.Zone.Text
	w.path, w.list, w.line, w.policed = event.Policy, v.Zone.Number, 0, true
	class, key := policy.NoData, uint64(w.view.Zones.Seed().Hash(w.query.Name.Name()))
	ok := true
	switch v.Action {
	case rpz.Drop:
		return w.drop(telemetry.DropPolicy)
	case rpz.TCPOnly:
		b.Truncate()
		return w.deliver(policy.Positive, key)
	case rpz.Alias:
		a := alias{target: v.Target, owner: owner, links: v.Links, ede: w.ede, text: w.edeText, list: w.list, ttl: w.aliasTTL()}
		if w.gen.Why.Record != why.Off {
			a.rule = v.Describe()
		}
		if v.Links > 0 {
			a.chain = b.Bytes()[wire.HeaderLen+w.query.QuestionLen():]
			b.Reset()
		}
		return w.alias(r, a)
	case rpz.NXDomain:
		class = policy.NXDomain
		b.SetRcode(wire.NXDomain)
	case rpz.Local:
		class = policy.Positive
		ok = w.appendLocal(owner)
	}
	if !ok {
		b.Truncate()
		return w.deliver(class, key)
	}
	w.appendPolicySOA()
	return w.deliver(class, key)
}

// aliasTTL returns for how many seconds the alias of a rule may be kept.
func (w *worker) aliasTTL() uint32 {
	v := &w.ruled
	if v.Zone.Override == rpz.Given {
		if set, ok := v.Version.RRset(v.Rule, wire.TypeCNAME); ok {
			return min(set.TTL(), v.Zone.MaxTTL)
		}
	}
	return v.Zone.MaxTTL
}

// appendLocal appends the records of a rule that the question is for. It reports false if there is no
// room.
func (w *worker) appendLocal(owner []byte) bool {
	v, u := &w.ruled, &w.unpack
	for i := range v.Version.Sets(v.Rule) {
		v.Version.Unpack(u, v.Rule, i)
		if w.query.Type != u.Type && w.query.Type != wire.TypeANY {
			continue
		}
		for _, data := range u.Data {
			if !w.appendRecord(wire.Answer, owner, u.Type, min(u.TTL, v.Zone.MaxTTL), data) {
				return false
			}
		}
	}
	return true
}

// appendPolicySOA tells whose policy the answer is, if there is room: in the additional section, where
// nobody takes it for one of the name's own zone.
func (w *worker) appendPolicySOA() {
	v, u := &w.ruled, &w.unpack
	if v.Zone.AddSOA && v.Version.UnpackType(u, v.Version.Root(), wire.TypeSOA) {
		w.appendRecord(wire.Additional, v.Zone.Name, wire.TypeSOA, min(u.TTL, v.Zone.MaxTTL), u.Data[0])
	}
}

// judgeZones is Judge for policy zones.
func (v *View) judgeZones(name []byte, typ wire.Type, client netip.Addr, answer *cache.Answer) Judged {
	var split wire.SplitName
	split.Set(name)
	q := rpz.Question{
		Name: &split, Type: typ, Client: client, UDP: true, Six: embeddingRPZ(v.Recursion), Local: v.Zones.Find(&split) != nil,
	}
	if answer != nil {
		msg := wire.AppendQuery(nil, 0, wire.FlagQR, name, typ)
		q.Reply, q.Body, q.Answers = append(msg, answer.Body...), len(msg), int(answer.Counts[wire.Answer])
		known := &delegations{recursion: v.Recursion}
		if v.Recursion != nil {
			known.now = v.Recursion.Cache.Now()
		}
		q.Servers = known
	}
	verdict := new(rpz.Searcher).Judge(v.RPZ, &q)
	return Judged{Zones: verdict, Text: verdict.Describe()}
}
