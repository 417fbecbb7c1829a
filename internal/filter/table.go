package filter

import (
	"bytes"
	"encoding/binary"
	"math/bits"

	"port53/internal/wire"
)

// Entries lie one behind the other in chunks, each whole in one. An entry is the octets of its own
// part of the name, its flags, the number of the suffix that the name ends with, its own part, the
// list, the line, and the number of its extra if it has one; numbers in seven bits an octet. If
// another entry has the same name, the length is sameName and the offset of that entry stands for
// the name.
const (
	chunkBits = 20
	chunkSize = 1 << chunkBits
	sameName  = 255
	maxEntry  = 2 + 3 + wire.MaxName + 1 + 5 + 5
)

// groupSlots is how many rules one line of the processor's cache has room for.
const groupSlots = 12

// A group is a bucket of the hash table. An entry that finds its group full goes to the next one
// that is not, and each that it goes by counts it: a search goes on only where one has gone by.
type group struct {
	tags [groupSlots]uint8 // of the hash; 0: empty
	over uint32
	at   [groupSlots]uint32 // offset of the entry
}

// A Table is the rules of all lists. Its methods may be called from many goroutines.
type Table struct {
	seed     wire.Seed
	groups   []group
	chunks   [][]byte
	suffixes [][]byte // the first is the root's
	extras   []*extra
	patterns []pattern
	bads     []bad
	count    int
	depths   [2]uint64             // bit d is set if some name of spaceName has d labels
	used     [spaceCount]bool      // there are rules of a space
	lengths  [spaceCount][3]uint64 // of prefixes, of IPv6, that rules for addresses have
}

// Len returns the number of rules.
func (t *Table) Len() int {
	if t == nil {
		return 0
	}
	return t.count + len(t.patterns)
}

// Octets returns the memory that the rules take, but for what few of them have beside their name.
func (t *Table) Octets() int {
	n := len(t.groups) * 64
	for _, c := range t.chunks {
		n += cap(c)
	}
	for _, s := range t.suffixes {
		n += len(s) + 24
	}
	return n
}

// place returns the group that the search for a hash begins at, and the hash's tag.
func (t *Table) place(h wire.Seed) (int, uint8) {
	x := uint64(h) * 0xD6E8FEB86659FD93
	hi, _ := bits.Mul64(x, uint64(len(t.groups)))
	return int(hi), uint8(x>>8) | 1
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// match returns the slots that may have a tag, a bit in the highest place of an octet each: of the
// first eight, and of the others.
func (g *group) match(tag uint8) (a, b uint64) {
	x := binary.LittleEndian.Uint64(g.tags[:8]) ^ ones*uint64(tag)
	y := uint64(binary.LittleEndian.Uint32(g.tags[8:])) | 0xFFFFFFFF<<32 ^ ones*uint64(tag)&0xFFFFFFFF
	return (x - ones) &^ x & highs, (y - ones) &^ y & highs & 0xFFFFFFFF
}

// An item is an entry, read.
type item struct {
	flags uint8
	list  uint8
	line  uint32
	extra uint32
}

// entry returns the octets from an offset to the end of its chunk.
func (t *Table) entry(offset uint32) []byte {
	return t.chunks[offset>>chunkBits][offset&(chunkSize-1):]
}

// number reads a number, and returns what is behind it.
func number(b []byte) (uint32, []byte) {
	n, size := binary.Uvarint(b)
	return uint32(n), b[size:]
}

// splitEntry returns the parts of the name of an entry, and what is behind them.
func (t *Table) splitEntry(e []byte) (own, suffix, rest []byte) {
	if e[0] == sameName {
		own, suffix, _ = t.splitEntry(t.entry(binary.LittleEndian.Uint32(e[2:])))
		return own, suffix, e[6:]
	}
	code, rest := uint32(e[2]), e[3:]
	if code >= 0x80 {
		code, rest = number(e[2:])
	}
	n := int(e[0])
	return rest[:n], t.suffixes[code], rest[n:]
}

// nameIs reports whether an entry has a name, and returns what is behind the entry's.
func (t *Table) nameIs(e, name []byte) (rest []byte, ok bool) {
	own, suffix, rest := t.splitEntry(e)
	n := len(own)
	return rest, len(name) == n+len(suffix) && bytes.Equal(name[:n], own) && bytes.Equal(name[n:], suffix)
}

// read reads what is behind the name.
func (it *item) read(flags uint8, rest []byte) {
	it.flags, it.list = flags, rest[0]
	it.line, rest = number(rest[1:])
	if flags&flagExtra != 0 {
		it.extra, _ = number(rest)
	}
}

// probe gives s the rules for a name, in lower case, with the hash h, of which the space and one of
// the scopes fit. It reports whether s has had enough.
func (t *Table) probe(h wire.Seed, of space, scope Scope, name []byte, s *search) bool {
	at, tag := t.place(h)
	for {
		g := &t.groups[at]
		a, b := g.match(tag)
		for a|b != 0 {
			var i int
			if a != 0 {
				i = bits.TrailingZeros64(a) >> 3
				a &= a - 1
			} else {
				i = 8 + bits.TrailingZeros64(b)>>3
				b &= b - 1
			}
			e := t.entry(g.at[i])
			flags := e[1]
			if space(flags&flagSpace>>spaceShift) != of || Scope(flags&flagScope)&scope == 0 {
				continue
			}
			rest, ok := t.nameIs(e, name)
			if !ok {
				continue
			}
			if s.p == nil {
				return true
			}
			var it item
			it.read(flags, rest)
			s.rule(t, g.at[i], &it)
		}
		if g.over == 0 {
			return false
		}
		if at++; at == len(t.groups) {
			at = 0
		}
	}
}

// name gives s the rules for a name and the names above it.
func (t *Table) name(of space, name *wire.SplitName, s *search) bool {
	if !t.used[of] {
		return false
	}
	h := seedOf(t.seed, of)
	for d := 0; ; d++ {
		at := name.Start(name.Labels - d)
		if d > 0 {
			h = h.Label(name.From(at))
		}
		scope := Below
		if d == name.Labels {
			scope = Exact
		}
		if t.depths[d>>6]>>(d&63)&1 != 0 && t.probe(h, of, scope, name.Name()[at:], s) {
			return true
		}
		if d == name.Labels || t.deepest(d) {
			return false
		}
	}
}

// deepest reports whether no name has more than d labels.
func (t *Table) deepest(d int) bool {
	if d < 63 {
		return t.depths[0]>>(d+1) == 0 && t.depths[1] == 0
	}
	return d >= 127 || t.depths[1]>>(d-63) == 0
}

// An addressKey stands for a prefix in the place of a name: one label of half octets, which have no
// case, of the address and the prefix's length. Behind it there is room to read words.
type addressKey [addressKeyLen + 8]byte

const addressKeyLen = 36

func (k *addressKey) set(addr [16]byte, length int) {
	k[0] = addressKeyLen - 2
	for i := range 32 {
		half := addr[i/2] >> 4
		if i&1 != 0 {
			half = addr[i/2] & 15
		}
		switch left := length - 4*i; {
		case left <= 0:
			half = 0
		case left < 4:
			half &^= 15 >> left
		}
		k[1+i] = half
	}
	k[33], k[34], k[35] = byte(length>>4), byte(length&15), 0
}

// address gives s the rules for an address, those of the longest prefixes first. An address of IPv4 is
// given as IPv6 has it, and is in no network of IPv6 that has room for all of IPv4 beside others.
func (t *Table) address(of space, addr [16]byte, v4 bool, s *search) bool {
	if !t.used[of] {
		return false
	}
	var key addressKey
	for i := 2; i >= 0; i-- {
		for m := t.lengths[of][i]; m != 0; {
			top := 63 - bits.LeadingZeros64(m)
			m &^= 1 << top
			if v4 && i<<6+top < 96 {
				return false
			}
			key.set(addr, i<<6+top)
			if t.probe(seedOf(t.seed, of).Label(key[:]), of, Exact, key[:addressKeyLen], s) {
				return true
			}
		}
	}
	return false
}
