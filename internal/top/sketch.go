package top

import (
	"cmp"
	"hash/maphash"
	"slices"
)

// A row is what is known of one client, name or server.
type row struct {
	hash    uint64
	key     []byte
	at      int32 // place in the heap
	count   uint64
	over    uint64 // that count may be too high by: what another had whose place it has
	blocked uint64
	failed  uint64
	timed   uint64 // of which the time is known
	micros  uint64 // that these took together
}

// A sketch counts the most frequent of very many keys in fixed memory ("space-saving", Metwally, Agrawal and
// El Abbadi, 2005): where there is no room, the key that was seen least gives its place to the new one, and
// its count as the most that may be wrong. Whatever was seen more often than all were, divided by the rows,
// is among them.
type sketch struct {
	seed maphash.Seed
	most int
	rows []row
	find map[uint64]int32 // by hash
	heap []int32          // rows, the one seen least on top
}

func newSketch(seed maphash.Seed, most int) *sketch {
	return &sketch{seed: seed, most: most, find: map[uint64]int32{}}
}

// of returns the row of a key, which is to be counted n times more.
func (s *sketch) of(key []byte, n uint64) *row { return s.ofHash(maphash.Bytes(s.seed, key), key, n) }

func (s *sketch) ofHash(hash uint64, key []byte, n uint64) *row {
	i, ok := s.find[hash]
	switch {
	case ok:
	case len(s.rows) < s.most:
		i = int32(len(s.rows))
		if cap(s.rows) > len(s.rows) {
			s.rows = s.rows[:i+1]
			s.rows[i] = row{key: s.rows[i].key[:0]} // whose room is used again
		} else {
			s.rows = append(s.rows, row{})
		}
		r := &s.rows[i]
		r.hash, r.key, r.at = hash, append(r.key, key...), int32(len(s.heap))
		s.find[hash] = i
		s.heap = append(s.heap, i)
		s.up(r.at)
	default:
		i = s.heap[0]
		r := &s.rows[i]
		delete(s.find, r.hash)
		*r = row{hash: hash, key: append(r.key[:0], key...), count: r.count, over: r.count}
		s.find[hash] = i
	}
	r := &s.rows[i]
	r.count += n
	s.down(r.at)
	return r
}

func (s *sketch) less(a, b int32) bool { return s.rows[s.heap[a]].count < s.rows[s.heap[b]].count }

func (s *sketch) swap(a, b int32) {
	s.heap[a], s.heap[b] = s.heap[b], s.heap[a]
	s.rows[s.heap[a]].at, s.rows[s.heap[b]].at = a, b
}

func (s *sketch) up(at int32) {
	for at > 0 && s.less(at, (at-1)/2) {
		s.swap(at, (at-1)/2)
		at = (at - 1) / 2
	}
}

func (s *sketch) down(at int32) {
	for n := int32(len(s.heap)); ; {
		least := at
		for c := 2*at + 1; c <= 2*at+2 && c < n; c++ {
			if s.less(c, least) {
				least = c
			}
		}
		if least == at {
			return
		}
		s.swap(at, least)
		at = least
	}
}

// clear forgets everything, and keeps the memory.
func (s *sketch) clear() {
	s.rows, s.heap = s.rows[:0], s.heap[:0]
	clear(s.find)
}

// add adds what another has. The frequent of both come first, so that they do not lose their places.
func (s *sketch) add(o *sketch) {
	for _, i := range slices.Backward(o.sorted()) {
		from := &o.rows[i]
		r := s.ofHash(from.hash, from.key, from.count)
		r.over += from.over
		r.blocked += from.blocked
		r.failed += from.failed
		r.timed += from.timed
		r.micros += from.micros
	}
}

// sorted returns the rows, those seen most last.
func (s *sketch) sorted() []int32 {
	list := slices.Clone(s.heap)
	slices.SortFunc(list, func(a, b int32) int {
		return cmp.Or(cmp.Compare(s.rows[a].count, s.rows[b].count), slices.Compare(s.rows[b].key, s.rows[a].key))
	})
	return list
}
