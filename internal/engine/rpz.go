package engine

import (
	"bytes"
	"net/netip"

	"port53/internal/cache"
	"port53/internal/event"
	"port53/internal/policy"
	"port53/internal/resolver"
	"port53/internal/rpz"
	"port53/internal/server"
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
	known  nameServers
	final  bool // servers that are not known are not waited for, nor looked up
}

// nameServers tell a searcher of the servers of the zones that a name is in.
type nameServers struct {
	recursion *Recursion
	finder    resolver.NSFinder
	typ       wire.Type
	now       int64
}

// Find implements [rpz.NameServers].
func (n *nameServers) Find(name []byte, addresses bool, into *rpz.Searcher) {
	if r := n.recursion; r != nil && r.Config != nil {
		n.finder.Find(r.Config, r.Cache, name, n.typ, n.now, addresses, into)
	}
}

// judgeRPZ asks what the client's policy zones say of the question in hand and, if that is answered, of
// the answer that stands in the reply. It reports whether something else is to be answered: see
// rewrite. Names of ours are not judged, but for what their aliases lead to elsewhere: see Ours.
func (w *worker) judgeRPZ(r *Recursion, answered bool) bool {
	p := w.view.RPZ
	if p == nil {
		return false
	}
	if w.ruled = (rpz.Verdict{}); w.query.Type == wire.TypeRRSIG {
		return false
	}
	query, q, b := &w.query, &w.judged, &w.builder
	*q = rpz.Question{Name: &query.Name, Type: query.Type, Client: w.peer.Remote.Addr(), UDP: w.udp, DO: query.DO, DNS64: embeddingRPZ(r)}
	q.Local, q.Own = w.isOurs(), w.view
	if answered {
		q.Reply, q.Body, q.Answers = b.Bytes(), wire.HeaderLen+query.QuestionLen(), b.Count(wire.Answer)
		q.Others = b.Count(wire.Authority)
		w.known.recursion, w.known.typ, w.known.now = r, q.Type, w.cacheTime(r.Cache)
		q.Servers, q.Final = &w.known, w.final
	}
	w.ruled = w.search.Judge(p, q)
	v := &w.ruled
	switch {
	case !answered || v.Unknown == nil:
	case v.Undecided:
		return false
	default:
		w.learn(r)
	}
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
	class, key := policy.NoData, w.nameKey()
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

// lacking reports whether the answer in hand cannot be judged before servers of zones are known.
func (w *worker) lacking() bool {
	return w.view.RPZ != nil && w.ruled.Undecided && w.ruled.Unknown != nil
}

// learn has the servers looked up that the judgement in hand had to do without: whoever asks next is judged by
// them.
func (w *worker) learn(r *Recursion) {
	if r.Resolver == nil || w.final {
		return
	}
	p := w.suspend(nil, 0)
	p.recursion = r
	req := w.request()
	req.Waiter, req.Idle = learner{p}, true
	r.Resolver.Ask(&req)
}

// Wants implements [resolver.Judge].
func (p *pending) Wants(a *cache.Answer) resolver.Wanted {
	v := p.foresee(a)
	if v.Unknown == nil {
		return resolver.Wanted{}
	}
	return resolver.Wanted{Name: bytes.Clone(v.Unknown), Addresses: v.Addresses, Meanwhile: !v.Undecided}
}

// foresee returns what policy zones say of an answer now. Nothing is counted.
func (p *pending) foresee(a *cache.Answer) rpz.Verdict {
	v := p.view
	if v.RPZ == nil || p.alias != nil || a.Rcode == wire.ServFail || !v.RPZ.JudgesServers() {
		return rpz.Verdict{}
	}
	var q wire.Query
	if q.Parse(p.msg) != 0 {
		return rpz.Verdict{}
	}
	client := p.peer.Remote.Addr()
	if _, blocked := p.gen.judgeLists(v, q.Name.Name(), q.Type, client, a); blocked {
		return rpz.Verdict{}
	}
	asked := v.questionRPZ(&q.Name, q.Type, client, a)
	asked.UDP, asked.DO = p.peer.Transport == server.UDP, q.DO
	return new(rpz.Searcher).Judge(v.RPZ, &asked)
}

// A learner is a query that has its answer, without servers that it would have been judged by.
type learner struct{ *pending }

// Answer implements [resolver.Waiter].
func (learner) Answer(*cache.Answer, string) {}

// Late implements [resolver.Waiter].
func (learner) Late() {}

// Drop implements [resolver.Waiter].
func (learner) Drop() {}

// judgeZones is TestPolicy for policy zones.
func (v *View) judgeZones(name []byte, typ wire.Type, client netip.Addr, answer *cache.Answer) PolicyResult {
	var split wire.SplitName
	split.Set(name)
	q := v.questionRPZ(&split, typ, client, answer)
	q.Final = true
	verdict := new(rpz.Searcher).Judge(v.RPZ, &q)
	return PolicyResult{RPZ: verdict, Text: verdict.Describe()}
}

// questionRPZ returns what policy zones judge: a question over UDP and, if there is one, the answer to it.
func (v *View) questionRPZ(name *wire.SplitName, typ wire.Type, client netip.Addr, answer *cache.Answer) rpz.Question {
	q := rpz.Question{Name: name, Type: typ, Client: client, UDP: true, DNS64: embeddingRPZ(v.Recursion), Local: v.Ours(name, typ), Own: v}
	if answer == nil {
		return q
	}
	msg := wire.AppendQuery(nil, 0, wire.FlagQR, name.Name(), typ)
	q.Reply, q.Body = append(msg, answer.Body...), len(msg)
	q.Answers, q.Others = int(answer.Counts[wire.Answer]), int(answer.Counts[wire.Authority])
	known := &nameServers{recursion: v.Recursion, typ: typ}
	if v.Recursion != nil {
		known.now = v.Recursion.Cache.Now()
	}
	q.Servers = known
	return q
}
