package engine

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"time"

	"port53/internal/cache"
	"port53/internal/event"
	"port53/internal/filter"
	"port53/internal/policy"
	"port53/internal/resolver"
	"port53/internal/rpz"
	"port53/internal/server"
	"port53/internal/telemetry"
	"port53/internal/wire"
)

// A filtering is what a worker judges questions with.
type filtering struct {
	by      filter.Searcher
	asked   filter.Question
	verdict filter.Verdict
	message wire.Message // of renamed
}

// judge asks what the client's policy does with the question in hand and, if that is answered, with
// the answer that stands in the reply. It reports whether something else is to be answered: see
// block. hit is the answer's place in the cache; nil: it has none.
//
// That no rule of any list is about an answer is remembered beside it: nothing is looked for then, for
// no client, until the lists are others.
func (w *worker) judge(r *Recursion, hit *cache.Hit, answered bool) bool {
	set, p := w.gen.Filter, w.view.Policy
	if set == nil || p == nil || hit != nil && hit.Mark == set.Mark {
		return false
	}
	query, q := &w.query, &w.asked
	*q = filter.Question{Name: &query.Name, Type: query.Type, Client: w.peer.Remote.Addr(), DNS64: embedding(r)}
	if answered {
		q.Reply, q.Body, q.Answers = w.builder.Bytes(), wire.HeaderLen+query.QuestionLen(), w.builder.Count(wire.Answer)
	}
	if !set.MatchesAny(q, &w.by) {
		if answered && hit != nil {
			r.Cache.Mark(w.cacheKey(), hit, set.Mark)
		}
		return false
	}
	q.Now, q.Local, q.Own = time.Now().Unix(), w.isOurs(), w.view
	w.verdict = set.Judge(p, q, &w.by)
	v := &w.verdict
	if v.Logged && (answered || v.Action.Blocks()) {
		w.record.Filtered(v.LogList, telemetry.FilterLogged, w.view.Slot)
	}
	switch {
	case v.Action.Blocks():
		w.record.Filtered(v.List, telemetry.FilterBlocked, w.view.Slot)
		return true
	case v.Action == filter.Allow && answered:
		w.record.Filtered(v.List, telemetry.FilterAllowed, w.view.Slot)
	}
	return false
}

// embedding returns what tells which addresses of IPv6 stand for those of IPv4; nil: none do.
func embedding(r *Recursion) filter.Embedding {
	if r == nil || r.Config == nil || r.Config.DNS64 == nil {
		return nil
	}
	return r.Config.DNS64
}

// policyTTL is the time to live, in seconds, of what a policy answers: lists change, and whoever has
// something allowed does not want to wait.
const policyTTL = 10

// policySOA is the data of the SOA record that says how long a denial may be kept.
var policySOA = []byte("\x09localhost\x00\x06nobody\x07invalid\x00" +
	"\x00\x00\x00\x01\x00\x00\x0e\x10\x00\x00\x04\xb0\x00\x09\x3a\x80\x00\x00\x00\x0a")

// block answers as the verdict says in place of what the reply has.
func (w *worker) block(r *Recursion) int {
	v, b := &w.verdict, &w.builder
	if w.source != nil {
		w.source.Kind, w.source.Text = FromFilter, w.gen.Filter.Describe(v)
	}
	b.Reset()
	b.ClearFlags(wire.FlagAA | wire.FlagTC | wire.FlagAD)
	b.SetRcode(wire.NoError)
	w.ede, w.edeText = v.EDE, v.Text
	w.path, w.list, w.line = event.Policy, v.List, v.Line
	class, key := policy.NoData, w.nameKey()
	ok := true
	switch v.Action {
	case filter.Drop:
		return w.drop(telemetry.DropPolicy)
	case filter.Refuse:
		return w.fail(wire.Refused, v.EDE)
	case filter.Fail:
		return w.fail(wire.ServFail, v.EDE)
	case filter.Alias:
		if v.Cause == filter.ByName {
			return w.alias(r, alias{target: v.Target, ttl: policyTTL, ede: v.EDE, text: v.Text, list: v.List, line: v.Line})
		}
		ok = w.appendOwned(wire.Authority, wire.TypeSOA, policySOA)
	case filter.NXDomain:
		class = policy.NXDomain
		b.SetRcode(wire.NXDomain)
		ok = w.appendOwned(wire.Authority, wire.TypeSOA, policySOA)
	case filter.Address:
		for _, a := range v.Addrs {
			switch typ := w.query.Type; {
			case a.Is4() && (typ == wire.TypeA || typ == wire.TypeANY):
				addr := a.As4()
				ok = ok && w.appendOwned(wire.Answer, wire.TypeA, addr[:])
			case a.Is6() && (typ == wire.TypeAAAA || typ == wire.TypeANY):
				addr := a.As16()
				ok = ok && w.appendOwned(wire.Answer, wire.TypeAAAA, addr[:])
			}
		}
		if class = policy.Positive; b.Count(wire.Answer) == 0 {
			class = policy.NoData
			ok = w.appendOwned(wire.Authority, wire.TypeSOA, policySOA)
		}
	default:
		ok = w.appendOwned(wire.Authority, wire.TypeSOA, policySOA)
	}
	if !ok {
		b.Truncate()
	}
	return w.deliver(class, key)
}

// appendOwned appends a record whose owner is the question's name.
func (w *worker) appendOwned(s wire.Section, t wire.Type, data []byte) bool {
	return w.appendRecord(s, nil, t, policyTTL, data)
}

// appendRecord appends a record of class IN; nil: its owner is the question's name. It reports false if
// there is no room.
func (w *worker) appendRecord(s wire.Section, owner []byte, t wire.Type, ttl uint32, data []byte) bool {
	var question [2]byte
	if owner == nil {
		binary.BigEndian.PutUint16(question[:], 0xC000|wire.HeaderLen)
		owner = question[:]
	}
	rr := w.builder.Grow(s, len(owner)+10+len(data), 1)
	if rr == nil {
		return false
	}
	n := copy(rr, owner)
	binary.BigEndian.PutUint16(rr[n:], uint16(t))
	binary.BigEndian.PutUint16(rr[n+2:], uint16(wire.ClassIN))
	binary.BigEndian.PutUint32(rr[n+4:], ttl)
	binary.BigEndian.PutUint16(rr[n+8:], uint16(len(data)))
	copy(rr[n+10:], data)
	return true
}

// An alias is what is answered with another name in place of one: that of the question, or one that
// aliases led to.
type alias struct {
	target []byte
	owner  []byte // the name in whose place it is; nil: the question's
	chain  []byte // records that lead to owner,
	links  int    // as many
	ttl    uint32 // seconds that it may be kept
	ede    int    // Extended DNS Error that goes with it, or -1
	text   string // its text
	list   uint8  // whose rule it is
	line   uint32
	rule   string // of a policy zone, if it is to be told later
}

// alias answers with the name that a rule has in place of another, and what that has, which is not
// judged again: there is no loop.
func (w *worker) alias(r *Recursion, a alias) int {
	if t := w.query.Type; t == wire.TypeCNAME || t == wire.TypeANY || w.source != nil {
		if !w.appendAlias(&a) {
			w.builder.Truncate()
		}
		return w.deliver(policy.Positive, 0)
	}
	to, err := w.peer.Detach()
	if err != nil {
		return w.fail(wire.ServFail, wire.EDEOther)
	}
	p := w.suspend(to, 0)
	a.target, a.owner, a.chain = bytes.Clone(a.target), bytes.Clone(a.owner), bytes.Clone(a.chain)
	p.recursion, p.alias = r, &a
	req := w.request()
	req.Name, req.Waiter, req.Arrived = a.target, p, p.arrived
	req.Stale = r.Stale && r.hasStale(&req)
	r.Resolver.Ask(&req)
	return server.Pending
}

// appendAlias appends what leads to an alias, and the alias. It reports false if there is no room.
func (w *worker) appendAlias(a *alias) bool {
	b := &w.builder
	if len(a.chain) > len(b.Rest()) {
		return false
	}
	if a.links > 0 {
		copy(b.Rest(), a.chain)
		b.Take(len(a.chain), [3]uint16{wire.Answer: uint16(a.links)})
	}
	return w.appendRecord(wire.Answer, a.owner, wire.TypeCNAME, a.ttl, a.target)
}

// hasStale reports whether there is an answer that has expired to what is requested.
func (r *Recursion) hasStale(req *resolver.Request) bool {
	now := r.Cache.Now()
	if hit, ok := r.Cache.Answer(r.Config.Key(req.Name, req.Type, req.Wants), now, nil); ok {
		return hit.Stale
	}
	return r.Resolver.HasVariant(r.Config, req.Name, req.Type, req.Wants, now)
}

// renamed makes the reply of an alias and the answer to the question for what it leads to, which has expired if
// it is stale.
func (w *worker) renamed(to *alias, a *cache.Answer, stale bool) int {
	b, m := &w.builder, &w.message
	w.ede, w.edeText, w.path, w.list, w.line = to.ede, to.text, event.Policy, to.list, to.line
	if stale {
		w.record.Stale()
		if w.ede < 0 {
			w.ede = wire.EDEStaleAnswer
		}
	}
	w.policed, w.rule = to.rule != "", to.rule
	msg := wire.AppendQuery(nil, 0, wire.FlagQR, to.target, w.query.Type)
	binary.BigEndian.PutUint16(msg[6:], a.Counts[wire.Answer])
	binary.BigEndian.PutUint16(msg[8:], a.Counts[wire.Authority])
	if m.Parse(append(msg, a.Body...)) != 0 {
		return w.fail(wire.ServFail, wire.EDEOther)
	}
	b.SetRcode(a.Rcode)
	ok := w.appendAlias(to)
	for i := range m.Records {
		rec := &m.Records[i]
		if rec.Section != wire.Additional && ok {
			ok = w.appendRecord(rec.Section, rec.Owner, rec.Type, min(rec.TTL, to.ttl), rec.Data)
		}
	}
	if !ok {
		b.Truncate()
	}
	return w.deliver(policy.Positive, w.nameKey())
}

// A PolicyResult is what a policy does with a question.
type PolicyResult struct {
	Verdict filter.Verdict // of the lists
	RPZ     rpz.Verdict    // of policy zones, if no list blocks it
	Text    string         // which rule it was; empty: none
}

// TestPolicy tells what the policy of a view does with a question of a client and, if there is one, with
// the answer to it: the records behind the question of a message. Nothing is counted.
func (e *Engine) TestPolicy(view *View, name []byte, typ wire.Type, client netip.Addr, answer *cache.Answer) PolicyResult {
	g := e.now.Load()
	if j, ok := g.judgeLists(view, name, typ, client, answer); ok || view.RPZ == nil {
		return j
	}
	return view.judgeZones(name, typ, client, answer)
}

// judgeLists is TestPolicy for lists. It reports whether what they say is done.
func (g *Generation) judgeLists(view *View, name []byte, typ wire.Type, client netip.Addr, answer *cache.Answer) (PolicyResult, bool) {
	if g.Filter == nil || view.Policy == nil {
		return PolicyResult{}, false
	}
	var split wire.SplitName
	split.Set(name)
	q := filter.Question{
		Name:   &split,
		Type:   typ,
		Client: client,
		Now:    time.Now().Unix(),
		Local:  view.Ours(&split, typ),
		Own:    view,
		DNS64:  embedding(view.Recursion),
	}
	if answer != nil {
		msg := wire.AppendQuery(nil, 0, wire.FlagQR, name, typ)
		q.Reply, q.Body, q.Answers = append(msg, answer.Body...), len(msg), int(answer.Counts[wire.Answer])
	}
	by := new(filter.Searcher)
	v := g.Filter.Judge(view.Policy, &q, by)
	j := PolicyResult{Verdict: v}
	if v.Action != filter.Pass || v.Logged {
		j.Text = g.Filter.Describe(&v)
	}
	return j, v.Action.Blocks()
}
