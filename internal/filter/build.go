package filter

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"port53/internal/wire"
)

// Bounds of what a Builder learns of names that come.
const (
	maxSuffixes = 1 << 14 // suffixes that are written once; those seen later stay with their names
	sketchBits  = 16
	oftenSeen   = 8 // times that a suffix is seen before it is one of them
	deepSuffix  = 3 // labels of the longest
)

// A Builder makes a Table. It is used by one goroutine.
type Builder struct {
	t       *Table
	sketch  []uint8 // how often suffixes were seen, by their hash
	known   map[wire.Seed]uint16
	free    []byte // of the last chunk
	split   wire.SplitName
	rebuilt wire.SplitName // of entries that find a new place
	joined  []byte
	full    bool   // no offset is left
	crowded uint32 // the first line of a list that was left out for maxAlike
}

// maxAlike is how many rules with conditions a list may have for one name: they are looked through one by
// one, by whoever asks for it, and with each that is added.
const maxAlike = 256

// NewBuilder returns a builder of a table whose names are hashed from seed, which has to be random,
// so that nobody can choose names that collide. expect is about how many rules there will be; 0:
// nobody knows.
func NewBuilder(seed wire.Seed, expect int) *Builder {
	b := &Builder{
		t:      &Table{seed: seed, suffixes: [][]byte{wire.Root}},
		sketch: make([]uint8, 1<<sketchBits),
		known:  map[wire.Seed]uint16{},
	}
	b.t.groups = make([]group, groupsFor(expect))
	return b
}

// groupsFor returns how many groups hold n rules: four of five slots are taken then.
func groupsFor(n int) int { return n/(groupSlots*4/5) + 1 }

// Table returns what was built, in memory that fits. The builder is done.
func (b *Builder) Table() *Table {
	t := b.t
	if want := groupsFor(t.count); len(t.groups) > want+want/4 {
		b.resize(want)
	}
	if n := len(t.chunks); n > 0 {
		t.chunks[n-1] = bytes.Clone(t.chunks[n-1])
	}
	b.t = nil
	return t
}

// resize puts all entries into as many groups.
func (b *Builder) resize(groups int) {
	t := b.t
	t.groups = nil // one at a time is enough
	t.groups = make([]group, groups)
	b.walk(func(offset uint32, e []byte) {
		own, suffix, _ := t.splitEntry(e)
		b.joined = append(append(b.joined[:0], own...), suffix...)
		b.rebuilt.Set(b.joined)
		of := space(e[1] & flagSpace >> spaceShift)
		b.place(b.rebuilt.Hash(seedOf(t.seed, of), 0), offset)
	})
}

// walk calls f with each entry.
func (b *Builder) walk(f func(offset uint32, e []byte)) {
	t := b.t
	for i, chunk := range t.chunks {
		for at := 0; at < len(chunk); {
			e := chunk[at:]
			f(uint32(i<<chunkBits|at), e)
			_, _, rest := t.splitEntry(e)
			_, rest = number(rest[1:])
			if e[1]&flagExtra != 0 {
				_, rest = number(rest)
			}
			at = len(chunk) - len(rest)
		}
	}
}

// place makes the table point to an entry.
func (b *Builder) place(h wire.Seed, offset uint32) {
	t := b.t
	at, tag := t.place(h)
	for {
		g := &t.groups[at]
		for i := range g.tags {
			if g.tags[i] == 0 {
				g.tags[i], g.at[i] = tag, offset
				return
			}
		}
		g.over++
		if at++; at == len(t.groups) {
			at = 0
		}
	}
}

// add adds a rule for a name in wire form. It reports false if the list has the very rule, or there
// is no room: entries take at most 4 GiB.
func (b *Builder) add(name []byte, r *rule) bool {
	t := b.t
	b.split.Set(name)
	if len(t.chunks) >= 1<<(32-chunkBits) && len(b.free) < maxEntry {
		b.full = true
		return false
	}
	h, suffix, code := b.learn(&b.split, r.space)
	same, again := b.find(h, b.split.Name(), r)
	if again {
		return false
	}
	if t.count >= len(t.groups)*groupSlots*4/5 {
		b.resize(2 * len(t.groups))
	}
	flags, e := r.flags(), b.room()
	if same != 0 {
		e = binary.LittleEndian.AppendUint32(append(e, sameName, flags), same-1)
	} else {
		own := b.split.Name()[:b.split.Len()-suffix]
		e = binary.AppendUvarint(append(e, byte(len(own)), flags), uint64(code))
		e = append(e, own...)
	}
	e = binary.AppendUvarint(append(e, r.list), uint64(r.line))
	if r.extra != nil {
		t.extras = append(t.extras, r.extra)
		e = binary.AppendUvarint(e, uint64(len(t.extras)-1))
	}
	b.place(h, b.keep(len(e)))
	t.count++
	t.used[r.space] = true
	switch r.space {
	case spaceName, spaceServer:
		t.depths[b.split.Labels>>6] |= 1 << (b.split.Labels & 63)
	default:
		length := name[33]<<4 | name[34]
		t.lengths[r.space][length>>6] |= 1 << (length & 63)
	}
	return true
}

// room returns where the next entry goes.
func (b *Builder) room() []byte {
	if len(b.free) < maxEntry {
		b.free = make([]byte, chunkSize)
		b.t.chunks = append(b.t.chunks, b.free[:0])
	}
	return b.free[:0]
}

// keep makes n octets at the room an entry, and returns its offset.
func (b *Builder) keep(n int) uint32 {
	last := len(b.t.chunks) - 1
	chunk := &b.t.chunks[last]
	at := len(*chunk)
	*chunk = (*chunk)[:at+n]
	b.free = b.free[n:]
	return uint32(last<<chunkBits | at)
}

// learn returns the hash of a name, and the longest suffix of it that is known: its octets and its
// number. Suffixes that it has seen often become known.
func (b *Builder) learn(name *wire.SplitName, of space) (h wire.Seed, suffix, code int) {
	h, suffix = seedOf(b.t.seed, of), 1
	for d := 1; d <= name.Labels; d++ {
		at := name.Start(name.Labels - d)
		h = h.Label(name.From(at))
		if d > deepSuffix || d == name.Labels {
			continue
		}
		text := name.Name()[at:]
		if n, ok := b.known[h]; ok {
			if bytes.Equal(b.t.suffixes[n], text) {
				suffix, code = len(text), int(n)
			}
			continue
		}
		seen := &b.sketch[uint64(h)>>(64-sketchBits)]
		if *seen++; *seen >= oftenSeen && len(b.t.suffixes) < maxSuffixes {
			*seen = 0
			b.known[h] = uint16(len(b.t.suffixes))
			suffix, code = len(text), len(b.t.suffixes)
			b.t.suffixes = append(b.t.suffixes, bytes.Clone(text))
		}
	}
	return h, suffix, code
}

// find returns one more than the offset of an entry that holds a name, or 0, and whether the table
// has the very rule already, or more like it than a list may have.
func (b *Builder) find(h wire.Seed, name []byte, r *rule) (same uint32, again bool) {
	t := b.t
	at, tag := t.place(h)
	alike := 0
	for {
		g := &t.groups[at]
		for i := range g.tags {
			if g.tags[i] != tag {
				continue
			}
			e := t.entry(g.at[i])
			rest, ok := t.nameIs(e, name)
			if !ok {
				continue
			}
			if e[0] != sameName {
				same = g.at[i] + 1
			}
			if rest[0] != r.list || e[1] != r.flags() {
				continue
			}
			if r.extra == nil {
				return same, true
			}
			if alike++; alike == maxAlike {
				if b.crowded == 0 {
					b.crowded = r.line
				}
				return same, true
			}
		}
		if g.over == 0 {
			return same, false
		}
		if at++; at == len(t.groups) {
			at = 0
		}
	}
}

// addPrefix adds a rule for a network.
func (b *Builder) addPrefix(p netip.Prefix, r *rule) bool {
	var key addressKey
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	key.set(p.Addr().As16(), bits)
	return b.add(key[:addressKeyLen], r)
}

// Keep takes the rules that a list has in another table, as list number to.
func (b *Builder) Keep(from *Table, list, to uint8) int {
	return b.keepSome(from, func(l uint8) (uint8, bool) { return to, l == list })
}

// Forget takes the rules of a list away again.
func (b *Builder) Forget(list uint8) {
	t := b.t
	*b = *NewBuilder(t.seed, t.count)
	b.keepSome(t, func(l uint8) (uint8, bool) { return l, l != list })
}

// keepSome takes the rules of another table of lists for which as says so, as lists of the numbers
// that it returns. It returns how many there are.
func (b *Builder) keepSome(from *Table, as func(list uint8) (to uint8, ok bool)) int {
	n := 0
	old := Builder{t: from}
	old.walk(func(_ uint32, e []byte) {
		own, suffix, rest := from.splitEntry(e)
		to, ok := as(rest[0])
		if !ok {
			return
		}
		var it item
		it.read(e[1], rest)
		r := rule{
			scope: Scope(e[1] & flagScope), space: space(e[1] & flagSpace >> spaceShift), list: to, line: it.line,
			allow: e[1]&flagAllow != 0, important: e[1]&flagImportant != 0,
		}
		if e[1]&flagExtra != 0 {
			r.extra = from.extras[it.extra]
		}
		b.joined = append(append(b.joined[:0], own...), suffix...)
		if b.add(b.joined, &r) {
			n++
		}
	})
	for _, p := range from.patterns {
		if to, ok := as(p.list); ok {
			p.list = to
			b.t.patterns = append(b.t.patterns, p)
			n++
		}
	}
	for _, x := range from.bads {
		if to, ok := as(x.list); ok {
			x.list = to
			b.t.bads = append(b.t.bads, x)
		}
	}
	return n
}

// Allow adds a name that is allowed.
func (b *Builder) Allow(name []byte, scope Scope, list uint8) {
	b.add(name, &rule{scope: scope, list: list, allow: true})
}
