package engine

import (
	"encoding/binary"
	"slices"

	"port53/internal/authority"
	"port53/internal/hosts"
	"port53/internal/policy"
	"port53/internal/resolver"
	"port53/internal/wire"
	"port53/internal/zone"
)

// closer reports whether a match among the names of machines is more specific than a zone, which
// may be nil. A name that is a zone's own is the zone's, with all that the zone says of it; names
// below a star are below the zone whose name stands there.
func closer(m hosts.Match, entry *zone.Entry) bool {
	return entry == nil || len(entry.Apex) < m.Owner || m.Wildcard && len(entry.Apex) == m.Owner
}

// ownName returns what the names of machines have of a name, unless a zone, which may be nil, or a
// route is closer to it. The longest owner wins, whatever it is.
func (r *Recursion) ownName(name *wire.SplitName, entry *zone.Entry) (hosts.Match, bool) {
	if r.Names == nil {
		return hosts.Match{}, false
	}
	m, ok := r.Names.Find(name)
	if !ok || !closer(m, entry) {
		return m, false
	}
	return m, m.Exact || !r.Config.Routed(name.Name(), m.Owner+1)
}

// builtIn returns the zone that is built in and answers for a name, or nil. It does not for DS records at its apex,
// which are the parent's, for what an operator has other servers for, and for what is in a zone of ours, which may be
// nil: only what that delegates may be below a name that is built in.
func (r *Recursion) builtIn(name *wire.SplitName, t wire.Type, own *zone.Entry) *zone.Entry {
	if r == nil || r.Builtin == nil {
		return nil
	}
	entry := r.Builtin.Find(name)
	switch {
	case entry == nil,
		t == wire.TypeDS && len(entry.Apex) == name.Len(),
		r.Config.Routed(name.Name(), len(entry.Apex)),
		own != nil && (len(own.Apex) >= len(entry.Apex) || !delegates(own, name, t)):
		return nil
	}
	return entry
}

// delegates reports whether a zone has given a name away. DS records at a cut are its own (RFC 4035, section 3.1.4.1).
func delegates(entry *zone.Entry, name *wire.SplitName, t wire.Type) bool {
	version := entry.Zone()
	if version == nil {
		return false
	}
	p := version.Search(name)
	return p.Cut && !(p.Exact && t == wire.TypeDS)
}

// Ours reports whether this server has itself what a name is: it is the name of a machine, built in, or in a zone that
// is served here, and neither a delegation of that nor a route leads to somebody else who has it. It implements
// [filter.Owner] and [rpz.Owner].
func (v *View) Ours(name *wire.SplitName, t wire.Type) bool {
	entry, r := around(v.Zones, name, t), v.Recursion
	if r != nil {
		if _, ok := r.ownName(name, entry); ok || r.builtIn(name, t, entry) != nil {
			return true
		}
	}
	switch {
	case entry == nil, r != nil && r.Config != nil && r.routedBelow(name, t, entry):
		return false
	}
	return !delegates(entry, name, t)
}

// isOurs is Ours for the name in question. A client's question for one that is no zone's comes to be judged only if it is
// not ours, or if addresses of IPv6 are made for it.
func (w *worker) isOurs() bool {
	q, v := &w.query, w.view
	return (v.Zones.Find(&q.Name) != nil || v.Recursion.Names != nil && w.six(v.Recursion)) && v.Ours(&q.Name, q.Type)
}

// builtIn returns the zone that is built in and answers the question, or nil.
func (w *worker) builtIn(r *Recursion) *zone.Entry {
	q := &w.query
	if r.Builtin == nil {
		return nil
	}
	entry := r.builtIn(&q.Name, q.Type, nil)
	if entry == nil || w.six(r) && r.Config.MakesDNS64(q.Name.Name(), q.Type) {
		return nil
	}
	own := around(w.view.Zones, &q.Name, q.Type)
	if _, ok := r.ownName(&q.Name, own); ok {
		return nil // it lacks addresses of IPv6, which are made
	}
	return r.builtIn(&q.Name, q.Type, own)
}

// routedBelow reports whether a route leads to the name more closely than the zone that it is in.
func (r *Recursion) routedBelow(of *wire.SplitName, t wire.Type, entry *zone.Entry) bool {
	name := of.Name()
	if t == wire.TypeDS && len(name) > 1 {
		name = wire.Parent(name) // DS is the parent's
	}
	return r.Config.Routed(name, len(entry.Apex)+1)
}

// leadsElsewhere reports whether the answer begins with an alias of which the zone does not know
// all: what it points to may be the name of a machine, or be routed.
func (w *worker) leadsElsewhere(r *Recursion) bool {
	if r.Names == nil && !r.Config.Routes() || w.query.Type == wire.TypeCNAME || w.query.Type == wire.TypeANY {
		return false
	}
	b := &w.builder
	if b.Count(wire.Answer) == 0 {
		return false
	}
	first := b.Bytes()[wire.HeaderLen+len(w.query.Question()):]
	for first[0] != 0 && first[0] < 0xC0 {
		first = first[1+int(first[0]):]
	}
	if first[0] != 0 {
		first = first[1:]
	}
	t := wire.Type(binary.BigEndian.Uint16(first[1:]))
	return t == wire.TypeCNAME || t == wire.TypeDNAME
}

// unqualified reports whether a question is for the address of a name without a domain, which is nobody
// else's to know.
func (w *worker) unqualified(r *Recursion) bool {
	q := &w.query
	if !r.Names.Bare(&q.Name) || q.Type != wire.TypeA && q.Type != wire.TypeAAAA && q.Type != wire.TypeHTTPS ||
		r.Config.Routed(q.Name.Name(), q.Name.Len()) || w.view.Zones.Find(&q.Name) != nil {
		return false
	}
	_, has := r.ownName(&q.Name, nil) // it lacks addresses of IPv6, which are made
	return !has
}

// answerHost answers with what the names of machines have.
func (w *worker) answerHost(m hosts.Match) int {
	w.recursive = true
	w.tell(FromNames, w.query.Name.Name()[w.query.Name.Len()-m.Owner:])
	class := policy.Positive
	if !appendHost(&w.builder, &w.query, m) {
		w.builder.Truncate()
	}
	w.reorder()
	if w.builder.Rcode() == wire.NXDomain {
		class = policy.NXDomain
	}
	return w.deliver(class, w.nameKey())
}

// appendHost makes the reply that a match is. It reports false if there is no room.
func appendHost(b *wire.Builder, q *wire.Query, m hosts.Match) bool {
	b.SetFlags(wire.FlagAA)
	apex := q.Name.Len() - m.Owner
	if m.Host == nil && (apex > 0 || m.Denied) {
		b.SetRcode(wire.NXDomain)
	}
	return m.Host.Append(b, q.Type, apex)
}

// localZones answers the resolver's own questions from our zones. It is a
// [resolver.Local].
type localZones struct {
	zones     *zone.View
	recursion *Recursion
	access    []*policy.Access // of the views that it is for
}

// LocalZones returns what a resolver needs to know of zones, of the names of machines and of those that are built in.
// What it finds is for all who may use recursion in one of the views that access is of, so that zones which some of them
// may not ask for are none of its.
func LocalZones(zones *zone.View, r *Recursion, access ...*policy.Access) resolver.Local {
	return localZones{zones, r, access}
}

// around returns the zone that a question is for, or nil: DS records at an apex are those of the zone above.
func around(zones *zone.View, name *wire.SplitName, t wire.Type) *zone.Entry {
	entry := zones.Find(name)
	if entry != nil && t == wire.TypeDS && name.Labels > 0 && len(entry.Apex) == name.Len() {
		entry = zones.FindAbove(name)
	}
	return entry
}

// find returns the zone that answers for name, and what the names of machines have of it, if it is theirs.
func (l localZones) find(name *wire.SplitName, t wire.Type) (entry *zone.Entry, m hosts.Match, host bool) {
	own := l.own(name, t)
	if m, host = l.host(name, t, own); host {
		return nil, m, true
	}
	if b := l.recursion.builtIn(name, t, own); b != nil {
		return b, m, false
	}
	return own, m, false
}

// own returns the zone that is served here and has name, or nil.
func (l localZones) own(name *wire.SplitName, t wire.Type) *zone.Entry {
	if l.zones.Len() == 0 {
		return nil
	}
	entry := around(l.zones, name, t)
	if entry != nil && slices.ContainsFunc(l.access, func(a *policy.Access) bool { return !entry.Access.Query.AllowsAll(a.Recurse) }) {
		return nil
	}
	return entry
}

// host returns what the names of machines have of name, if it is not the zone's, which may be nil.
func (l localZones) host(name *wire.SplitName, t wire.Type, entry *zone.Entry) (hosts.Match, bool) {
	if l.recursion.Names.Len() == 0 || t == wire.TypeDS {
		return hosts.Match{}, false
	}
	m, ok := l.recursion.Names.Find(name)
	return m, ok && closer(m, entry)
}

// Apex implements [resolver.Local].
func (l localZones) Apex(name []byte, t wire.Type) []byte {
	if r := l.recursion; l.zones.Len() == 0 && r.Names.Len() == 0 && r.Builtin == nil {
		return nil
	}
	var split wire.SplitName
	split.Set(name)
	entry, m, host := l.find(&split, t)
	if host {
		return wire.Lower(nil, name[len(name)-m.Owner:])
	}
	if entry == nil {
		return nil
	}
	return entry.Apex
}

// Answer implements [resolver.Local].
func (l localZones) Answer(name []byte, t wire.Type) []byte {
	msg := wire.AppendOPT(wire.AppendQuery(nil, 0, 0, name, t), wire.MaxMessage, true, nil)
	binary.BigEndian.PutUint16(msg[10:], 1)
	var q wire.Query
	if q.Parse(msg) != 0 {
		return nil
	}
	var b wire.Builder
	b.Start(make([]byte, wire.MaxMessage), wire.MaxMessage, 0, &q)
	entry, m, host := l.find(&q.Name, t)
	if host {
		appendHost(&b, &q, m)
		return b.Finish(nil, 0)
	}
	if entry == nil {
		return nil
	}
	version := entry.Zone()
	if version == nil {
		return nil
	}
	var r authority.Responder
	r.Answer(version, &q, &b)
	return b.Finish(nil, 0)
}
