package cache

import "sync/atomic"

// A filter tells, in one look at memory, that there is nothing of a kind for a name. Who resolves a name
// that nobody has asked for looks for much that is not there, in places of the index that are far apart.
//
// All bits of a name lie in one line of the processor's cache, in pairs: one for entries of even laps of the ring and one for
// those of odd laps. An entry lives until the end of the lap after its own at the latest, so that the bits
// of a lap can go when the lap after the next begins, which has their place.
type filter []uint64

// filterShare is the part of a shard that the filter takes: with eight bits for each slot of the index, one look in
// five or so leads to the index in vain. All filters take maxFilter octets at the most, which stay in the processor's cache.
// In a large cache that is full they tell less.
const (
	filterShare = 8 * indexShare
	maxFilter   = 1 << 20
)

const (
	filterLine = lineOctets / 8
	pairs      = 64 / 2 // in a word
	kindStep   = 55     // apart are the pairs of a name's kinds, of the 256 in a line
	even       = 0x5555_5555_5555_5555
)

// place returns the word of a name and a kind, and the first bit of the pair there.
func (f filter) place(name uint64, k kind) (word *uint64, bit uint64) {
	line := uint64(uint32(name)) * uint64(len(f)/filterLine) >> 32
	n := name>>32 + uint64(k)*kindStep
	return &f[line*filterLine+n%filterLine], n / filterLine % pairs * 2
}

// has reports whether there may be entries.
func (f filter) has(name uint64, k kind) bool {
	word, bit := f.place(name, k)
	return atomic.LoadUint64(word)>>bit&3 != 0
}

// add tells of an entry, before it is found.
func (f filter) add(name uint64, k kind, lap uint64) {
	word, bit := f.place(name, k)
	if mark := uint64(1) << (bit + lap&1); atomic.LoadUint64(word)&mark == 0 {
		atomic.OrUint64(word, mark)
	}
}

// forget makes room for a lap: entries that were told of with the one before the last are no more.
func (f filter) forget(lap uint64) {
	for i := range f {
		atomic.AndUint64(&f[i], even<<(1-lap&1))
	}
}
