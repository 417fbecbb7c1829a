package zone

import (
	"bytes"
	"slices"
	"sync"

	"port53/internal/hugepage"
	"port53/internal/wire"
)

// A version that differs in a few names from the one before shares its nodes and its
// index: the names that changed have new nodes behind the old ones, and a small table
// that is searched first. The node of a name that is no more has flagGone. Nodes that
// refer to others by number, as MX does, mean them by name then: see Current.
//
// Compiling a zone of a million names takes most of a second; this takes microseconds,
// and the whole is done again when the table or what is left over has grown large.

// What is patched, and for how long.
const (
	minPatched   = 32       // names of a zone; a smaller one is compiled as fast
	maxShare     = 16       // at most one name in so many changes at once
	maxOverlaid  = 1 << 16  // names in the table: as many octets as a zone is copied in a millisecond
	minOverlaid  = 1 << 8   //
	wasteShare   = 3        // one octet in so many may be of nodes that count no more
	minWaste     = 64 << 10 // or so many
	maxMissing   = 1 << 12  // names that sets of a zone refer to, and that it does not have
	growthShare  = 4        // the room behind the nodes that is added, one octet for so many
	leastGrowth  = 16 << 10
	overlayNodes = 2 // slots of the table for each name
)

// A line is what the versions share that came about by patching one. Only the last can
// be patched further.
type line struct {
	mu       sync.Mutex
	last     *Zone
	children map[uint64]int32    // of names below the apex that have any, by their hash
	missing  map[uint64]struct{} // hashes of names that sets refer to, and that were not there
}

// findOver returns the node of a name if the overlay has one, which may be gone.
func (z *Zone) findOver(h wire.Seed, rel []byte) Node {
	mask := uint64(len(z.over) - 1)
	tag := uint64(h) & 0xFFFFFFFF << 32
	for slot := uint64(h) >> 32 & mask; z.over[slot] != 0; slot = (slot + 1) & mask {
		if e := z.over[slot]; e&^0xFFFFFFFF == tag && bytes.Equal(z.relName(Node(e)), rel) {
			return Node(e)
		}
	}
	return 0
}

// overlay enters a node, in place of an older one of the same name.
func (z *Zone) overlay(h wire.Seed, n Node) {
	mask := uint64(len(z.over) - 1)
	tag := uint64(h) & 0xFFFFFFFF << 32
	rel := z.relName(n)
	slot := uint64(h) >> 32 & mask
	for ; z.over[slot] != 0; slot = (slot + 1) & mask {
		if e := z.over[slot]; e&^0xFFFFFFFF == tag && bytes.Equal(z.relName(Node(e)), rel) {
			break
		}
	}
	if z.over[slot] == 0 {
		z.overlaid++
	}
	z.over[slot] = tag | uint64(n)
}

// hashRel returns the hash of a name that stands left of the apex.
func (z *Zone) hashRel(rel []byte) wire.Seed {
	var split wire.SplitName
	var buf [wire.MaxName + 1]byte
	split.Set(append(append(buf[:0], rel...), 0))
	h := z.base
	for k := split.Labels - 1; k >= 0; k-- {
		h = h.Label(split.From(split.Start(k)))
	}
	return h
}

// Current returns the node that a name has in this version, where n is the one that a set
// refers to, or 0 if the name is no more.
func (z *Zone) Current(n Node) Node {
	if z.over == nil || n == 0 {
		return n
	}
	rel := z.relName(n)
	if len(rel) == 0 {
		return z.root
	}
	return z.find(z.hashRel(rel), rel)
}

// count returns the records of a node.
func (z *Zone) count(n Node) int {
	records := 0
	for i := range z.sets(n) {
		set := z.setAt(n, i)
		records += set.Records + set.Sigs
	}
	return records
}

// A patcher makes the version that a fold leads to.
type patcher struct {
	old, next *Zone
	line      *line
	builder   *Builder
	gone      [][]byte        // relative names, in lower case, that have no records any more
	force     map[string]bool // of these an empty node is made
	edits     []nsecEdit
}

// Prepare does what a large zone's first difference would otherwise wait for, a third of a second for a
// million names. It may run beside all else.
func (z *Zone) Prepare() {
	if l := z.takeLine(); l != nil {
		l.mu.Unlock()
	}
}

// takeLine returns the line of z, locked, if z is its last version.
func (z *Zone) takeLine() *line {
	l := z.line
	if l == nil {
		return nil
	}
	l.mu.Lock()
	if l.last != z || len(l.missing) >= maxMissing {
		l.mu.Unlock()
		return nil
	}
	if l.children == nil {
		l.children = map[uint64]int32{}
		for at := firstNode; at < len(z.data); {
			n := Node(at / nodeAlign)
			if z.Labels(n) > 1 {
				l.children[uint64(z.hashRel(wire.Parent(z.relName(n))))]++
			}
			at += z.nodeSize(n)
		}
	}
	return l
}

// handOn has next, which is z but for its notes, patched in the place of z.
func (z *Zone) handOn(next *Zone) {
	if l := z.line; l != nil {
		l.mu.Lock()
		if l.last == z {
			l.last = next
		}
		l.mu.Unlock()
	}
}

// patch returns the version that a fold leads to, or nil if it is to be compiled whole:
// after errors, and where the change reaches further than the names that it has.
func (z *Zone) patch(f *fold) *Zone {
	if z.names < minPatched || len(f.owners)*maxShare > z.names || z.HasNSEC3() ||
		z.waste > max(len(z.data)/wasteShare, minWaste) || z.overlaid+2*len(f.owners) > min(max(z.names/8, minOverlaid), maxOverlaid) {
		return nil
	}
	l := z.takeLine()
	if l == nil {
		return nil
	}
	defer l.mu.Unlock()
	p := &patcher{old: z, line: l, builder: newBuilder(z.apexName, z.base), force: map[string]bool{}}
	if !p.collect(f) {
		return nil // nothing was changed yet
	}
	l.last = nil // until all is done
	if !p.compile() {
		return nil
	}
	l.last = p.next
	return p.next
}

// collect gives the builder the records that the names which changed have now. It returns
// false if that is not all that changes.
func (p *patcher) collect(f *fold) bool {
	z := p.old
	added := make(map[string][]*addition, len(f.owners))
	for i := range f.list {
		if a := &f.list[i]; !a.gone {
			key := string(wire.Lower(nil, a.owner))
			added[key] = append(added[key], a)
		}
	}
	var split wire.SplitName
	var r Record
	var types, covered []wire.Type
	for key := range f.owners {
		split.Set([]byte(key))
		left := split.Labels - z.labels
		if left < 0 || !bytes.Equal(split.Name()[split.Start(left):], z.apex) {
			return false
		}
		rel := []byte(key)[:split.Start(left)]
		if place := z.Search(&split); place.Cut || place.DNAME {
			return false // glue, and what is hidden
		}
		node := z.Lookup(&split)
		kept := 0
		plain := true
		types, covered = types[:0], covered[:0]
		take := func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
			plain = plain && z.patchable(t, left)
			if t == wire.TypeRRSIG {
				covered = append(covered, wire.Covered(data))
			} else {
				types = append(types, t)
			}
			r.Owner, r.Type, r.TTL, r.Data = owner, t, ttl, data
			p.builder.Add(&r)
			kept++
			return plain
		}
		had := 0
		if node != 0 {
			had = z.count(node)
			z.eachAt(node, func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
				id := f.ids.of(owner, t, data)
				if r, removed := f.removed[id]; removed {
					f.removed[id] = removal{r.must, true}
					return true
				}
				if _, again := f.added[id]; again {
					return true
				}
				return take(owner, t, ttl, data)
			})
		}
		for _, a := range added[key] {
			take(a.owner, a.t, a.ttl, a.data)
		}
		_, missed := p.line.missing[uint64(z.hashRel(rel))]
		for _, t := range covered {
			plain = plain && slices.Contains(types, t) // a signature of nothing is left out
		}
		switch {
		case !plain || left > 0 && had == 0 && missed:
			return false
		case kept == 0 && left == 0:
			return false
		case kept == 0 && node != 0:
			p.gone = append(p.gone, rel)
		}
	}
	for _, r := range f.removed {
		if r.must && !r.was {
			return false
		}
	}
	return true
}

// patchable reports whether a record changes nothing but its own name.
func (z *Zone) patchable(t wire.Type, left int) bool {
	switch t {
	case wire.TypeNS:
		return left == 0
	case wire.TypeNSEC:
		return z.HasNSEC()
	case wire.TypeDNAME, wire.TypeNSEC3, wire.TypeNSEC3PARAM:
		return false
	}
	return true
}

// compile makes the new nodes.
func (p *patcher) compile() bool {
	z, b := p.old, p.builder
	p.next = &Zone{
		apexName: z.apexName, apex: z.apex, labels: z.labels, base: z.base,
		index: z.index, line: z.line, names: z.names, records: z.records, waste: z.waste, overlaid: z.overlaid,
	}
	next := p.next
	b.addAncestors()
	for _, rel := range p.bury() {
		p.force[string(rel)] = true
	}
	b.mark()
	p.room(b.estimate + 2048 + len(p.gone)*(nodeHeader+2*wire.MaxName))
	p.table(b.owners.n + len(p.gone))
	c := compiler{b: b, z: next, base: z, nodes: make([]Node, b.owners.n)}
	for id := range uint32(b.owners.n) {
		o := b.owners.at(id)
		if id == 0 {
			c.nodes[0] = z.root
		} else {
			c.nodes[id] = z.find(o.hash, b.rel(o))
		}
	}
	for id := range uint32(b.owners.n) {
		o := b.owners.at(id)
		before := c.nodes[id]
		if before != 0 && o.head == 0 { // it is above others, and as it was
			if o.flags&flagWildcardChild&^uint16(z.flags(before)) != 0 {
				c.nodes[id] = next.withWildcard(before)
				next.waste += z.nodeSize(before)
				if id > 0 {
					next.overlay(o.hash, c.nodes[id])
				}
			}
			continue
		}
		if before != 0 {
			o.flags |= uint16(z.flags(before)) & flagWildcardChild
			next.waste += z.nodeSize(before)
			next.records -= z.count(before)
		} else {
			next.names++
			if o.labels > 1 {
				p.line.children[uint64(b.owners.at(o.parent).hash)]++
			}
		}
		c.compile(id)
		if b.failed() {
			return false
		}
		next.records += next.count(c.nodes[id])
		p.chain(b.rel(o), before, c.nodes[id])
		if id > 0 {
			next.overlay(o.hash, c.nodes[id])
		}
	}
	for _, rel := range p.gone {
		h := z.hashRel(rel)
		before := z.find(h, rel)
		p.chain(rel, before, 0)
		next.waste += z.nodeSize(before)
		next.records -= z.count(before)
		flags := flagGone
		if p.force[string(rel)] {
			flags = z.flags(before) & (flagWildcardChild | flagWildcard)
		} else {
			next.names--
		}
		next.overlay(h, next.bare(rel, flags))
	}
	if c.checkApex(); b.failed() {
		return false
	}
	next.root = c.nodes[0]
	next.nsec, next.altered = z.editNSEC(p.edits), b.altered
	c.resolve()
	next.waste += z.nodeSize(z.negative)
	c.negative()
	return !b.failed()
}

// chain notes that the NSEC record of a name is in another node, or none any more.
func (p *patcher) chain(rel []byte, before, now Node) {
	was, is := false, false
	if before != 0 {
		_, was = p.old.RRset(before, wire.TypeNSEC)
	}
	if now != 0 {
		_, is = p.next.RRset(now, wire.TypeNSEC)
	}
	if !is {
		now = 0
	}
	if was || is {
		p.edits = append(p.edits, nsecEdit{wire.AppendSortKey(nil, append(bytes.Clone(rel), 0), 0), now})
	}
}

// bury finds out which of the names without records are no more, those above them too that
// were there for them alone, and returns those that are above others. It must come before
// the new names are counted, and knows them from the builder.
func (p *patcher) bury() (stay [][]byte) {
	z := p.old
	above := map[uint64]int32{} // new children of names
	for id := uint32(1); id < uint32(p.builder.owners.n); id++ {
		o := p.builder.owners.at(id)
		if o.labels > 1 && z.find(o.hash, p.builder.rel(o)) == 0 {
			above[uint64(p.builder.owners.at(o.parent).hash)]++
		}
	}
	var dead [][]byte
	waiting := p.gone
	p.gone = nil
	for len(waiting) > 0 {
		var later [][]byte
		moved := false
		for _, rel := range waiting {
			h := uint64(z.hashRel(rel))
			if p.line.children[h]+above[h] > 0 {
				later = append(later, rel)
				continue
			}
			moved = true
			dead = append(dead, rel)
			delete(p.line.children, h)
			up := wire.Parent(rel)
			if len(up) == 0 {
				continue
			}
			parent := uint64(z.hashRel(up))
			p.line.children[parent]--
			if n := z.find(
				wire.Seed(parent),
				up,
			); n != 0 && z.Empty(n) && !p.comes(wire.Seed(parent), up) &&
				p.line.children[parent]+above[parent] == 0 {
				later = append(later, up) // an empty non-terminal
			}
		}
		waiting = later
		if !moved {
			break
		}
	}
	p.gone = append(dead, waiting...)
	return waiting
}

// comes reports whether a name has records now.
func (p *patcher) comes(h wire.Seed, rel []byte) bool {
	id, ok := p.builder.search(h, rel)
	return ok && p.builder.owners.at(id).head != 0
}

// room makes sure that n octets fit behind the nodes.
func (p *patcher) room(n int) {
	data := p.old.data
	if cap(data)-len(data) < n {
		grown := make([]byte, len(data), len(data)+n+max(len(data)/growthShare, leastGrowth))
		hugepage.Advise(grown[:cap(grown)])
		copy(grown, data)
		data = grown
	}
	p.next.data = data
}

// table makes the overlay, with room for n names more.
func (p *patcher) table(n int) {
	old := p.old.over
	size := max(len(old), 16)
	for size < overlayNodes*(p.old.overlaid+n) {
		size *= 2
	}
	p.next.over = make([]uint64, size)
	if size == len(old) {
		copy(p.next.over, old)
		return
	}
	mask := uint64(size - 1)
	for _, e := range old {
		if e == 0 {
			continue
		}
		// The table has half of each hash alone.
		slot := uint64(p.old.hashRel(p.old.relName(Node(e)))) >> 32 & mask
		for p.next.over[slot] != 0 {
			slot = (slot + 1) & mask
		}
		p.next.over[slot] = e
	}
}

// NamesSince calls f with the names, left of the apex, that have other records than in an earlier
// version, and some that have not. nil stands for a version without names. It reports false, and does
// nothing, if z did not come about by patching that version.
func (z *Zone) NamesSince(old *Zone, f func(rel []byte)) bool {
	at := firstNode
	if old != nil {
		if z.line == nil || z.line != old.line || len(old.data) > len(z.data) || &z.index[0] != &old.index[0] {
			return false
		}
		at = len(old.data)
	}
	for at < len(z.data) {
		n := Node(at / nodeAlign)
		f(z.relName(n))
		at += z.nodeSize(n)
	}
	return true
}

// withWildcard appends a node as one that a wildcard is below. One that has lost its wildcard goes on
// as if it had it: who looks for that finds nothing.
func (z *Zone) withWildcard(n Node) Node {
	at := len(z.data)
	z.data = append(z.data, z.at(n)[:z.nodeSize(n)]...)
	z.data[at] |= flagWildcardChild
	return Node(at / nodeAlign)
}

// bare appends a node without records.
func (z *Zone) bare(rel []byte, flags int) Node {
	at := len(z.data)
	labels := 0
	for i := 0; i < len(rel); i += int(rel[i]) + 1 {
		labels++
	}
	z.data = append(z.data, byte(flags), byte(flags>>8), 0, 0, 0, 0, 0, 0, byte(len(rel)), byte(labels))
	z.data = append(z.data, rel...)
	for len(z.data)%nodeAlign != 0 {
		z.data = append(z.data, 0)
	}
	size := len(z.data) - at
	z.data[at+4], z.data[at+5] = byte(size), byte(size>>8)
	return Node(at / nodeAlign)
}

// live reports whether a node counts in this version.
func (z *Zone) live(n Node) bool {
	if z.over == nil {
		return true
	}
	rel := z.relName(n)
	if len(rel) == 0 {
		return n == z.root
	}
	return z.find(z.hashRel(rel), rel) == n
}
