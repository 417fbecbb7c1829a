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

// ownName returns what the names of machines have of the name in question, unless a zone or a
// route is closer to it. The longest owner wins, whatever it is.
func (w *worker) ownName(r *Recursion, entry *zone.Entry) (hosts.Match, bool) {
	if r.Names == nil {
		return hosts.Match{}, false
	}
	m, ok := r.Names.Find(&w.query.Name)
	if !ok || !closer(m, entry) {
		return m, false
	}
	return m, m.Exact || !r.Config.Routed(w.query.Name.Name(), m.Owner+1)
}

// routedBelow reports whether a route leads to the name more closely than the zone that it is in.
func (w *worker) routedBelow(r *Recursion, entry *zone.Entry) bool {
	name := w.query.Name.Name()
	if w.query.Type == wire.TypeDS && len(name) > 1 {
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
	return r.Names.Bare(&q.Name) && (q.Type == wire.TypeA || q.Type == wire.TypeAAAA || q.Type == wire.TypeHTTPS) &&
		!r.Config.Routed(q.Name.Name(), q.Name.Len()) && w.view.Zones.Find(&q.Name) == nil
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
	zones  *zone.View
	names  *hosts.Table
	access []*policy.Access // of the views that it is for
}

// LocalZones returns what a resolver needs to know of zones and names of machines. What it finds is for all who may
// use recursion in one of the views that access is of, so that zones which some of them may not ask for are none of its.
func LocalZones(zones *zone.View, names *hosts.Table, access ...*policy.Access) resolver.Local {
	return localZones{zones, names, access}
}

// find returns the zone that answers for name.
func (l localZones) find(name *wire.SplitName, t wire.Type) *zone.Entry {
	if l.zones.Len() == 0 {
		return nil
	}
	entry := l.zones.Find(name)
	if entry != nil && t == wire.TypeDS && name.Labels > 0 && len(entry.Apex) == name.Len() {
		entry = l.zones.FindAbove(name)
	}
	if entry != nil && slices.ContainsFunc(l.access, func(a *policy.Access) bool { return !entry.Access.Query.AllowsAll(a.Recurse) }) {
		return nil
	}
	return entry
}

// host returns what the names of machines have of name, if it is not the zone's, which may be nil.
func (l localZones) host(name *wire.SplitName, t wire.Type, entry *zone.Entry) (hosts.Match, bool) {
	if l.names.Len() == 0 || t == wire.TypeDS {
		return hosts.Match{}, false
	}
	m, ok := l.names.Find(name)
	return m, ok && closer(m, entry)
}

// Apex implements [resolver.Local].
func (l localZones) Apex(name []byte, t wire.Type) []byte {
	if l.zones.Len() == 0 && l.names.Len() == 0 {
		return nil
	}
	var split wire.SplitName
	split.Set(name)
	entry := l.find(&split, t)
	if m, ok := l.host(&split, t, entry); ok {
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
	entry := l.find(&q.Name, t)
	if m, ok := l.host(&q.Name, t, entry); ok {
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
