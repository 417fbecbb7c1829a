package cache

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// A shard is a ring of words and the index of the entries in it.
//
// A position in the ring is the number of a lap and, in its low bits, the offset of a
// word; positions grow for ever. Entries lie between tail and head, one after the
// other. None goes around the end of the ring: what is left there is skipped.
type shard struct {
	// What readers look at is in one line of the processor's cache.
	tail  atomic.Uint64 // of the oldest entry: what lies before is being written over
	ring  []uint64
	index []uint64 // buckets of slots, in use or not yet
	names filter   // what there may be
	shift uint8    // bits of an offset

	// layout is the number of buckets in use, and above 32 bits that of entries which
	// went from one bucket to the other: who misses an entry looks again if it changed.
	layout atomic.Uint64

	mu      sync.Mutex // orders writers
	head    uint64     // of the next entry
	gap     int        // words of the ring that are kept free, to move entries into
	entries int
	octets  int64
	forced  uint64 // entries that went because the index had no place
	fresh   uint64 // entries that went before they had expired, those too
	expired uint64 // entries that went after that

	_ [lineOctets]byte // so that shards do not share lines
}

// A slot is the position of an entry in 48 bits, whether it was read, whether somebody
// fetches it again, and 14 bits of the key's hash. Laps begin at 1, so 0 is empty.
// 48 bits last for 2^47 words at the least: years of writing without a pause.
const (
	slotPos      = 1<<48 - 1
	slotRead     = 1 << 48
	slotPrefetch = 1 << 49
	slotFlags    = slotRead | slotPrefetch
	tagShift     = 50
	bucketSlots  = lineOctets / 8
)

// maxMoves is how many entries that were read may be moved for one new one: writing
// must not take long. When half of all entries are read all the time, this lets one
// of 2^16 of them go too early.
const maxMoves = 16

func (s *shard) init(ring, index []uint64, names filter) {
	s.ring, s.index, s.names = ring, index, names
	s.shift = uint8(bits.Len(uint(len(ring))))
	s.head = 1 << s.shift
	s.tail.Store(s.head)
	s.gap = min(maxWords, len(ring)/16)
	s.layout.Store(firstBuckets)
}

// firstBuckets is how many buckets an index begins with: a power of two, and fewer
// than the smallest may have.
const firstBuckets = 64

// buckets returns where a key is in the index: in one of two places, so that all fill
// alike.
func (s *shard) buckets(hash uint64) (a, b int) {
	count := uint32(s.layout.Load())
	return bucket(uint32(hash), count), bucket(uint32(hash>>32), count)
}

// bucket returns the place of a bucket by 32 bits of hash: by as many low bits as the
// buckets in use have numbers for, or by one less where that bucket is not yet split.
func bucket(hash, count uint32) int {
	mask := uint32(1)<<bits.Len32(count-1) - 1
	n := hash & mask
	if n >= count {
		n &= mask >> 1
	}
	return int(n) * bucketSlots
}

// used returns the slots of the buckets in use.
func (s *shard) used() int { return int(uint32(s.layout.Load())) * bucketSlots }

// tag takes bits of a hash that its buckets depend on only in the largest of indexes.
func tag(hash uint64) uint64 { return hash << (tagShift - 18) >> tagShift << tagShift }

func (s *shard) offset(pos uint64) int { return int(pos & (1<<s.shift - 1)) }

func (s *shard) lap(pos uint64) uint64 { return pos >> s.shift }

// entry returns the words of the entry at a position. The lock is held.
func (s *shard) entry(pos uint64) []uint64 {
	at := s.offset(pos)
	return s.ring[at : at+wordsIn(s.ring[at])]
}

func (s *shard) slot(i int) uint64 { return atomic.LoadUint64(&s.index[i]) }

// find returns the slot, its value and the words of the entry with the key, or nil.
// Whoever holds no lock must look at the tail once more after reading the words, and
// believes none of them until then.
func (s *shard) find(h hash, k *Key) (slot *uint64, value uint64, e []uint64) {
	if !s.names.has(h.name, k.kind) {
		return nil, 0, nil
	}
	hash := h.key
	t, want, ring := tag(hash), k.word(), s.ring
	layout := s.layout.Load()
	a, b := bucket(uint32(hash), uint32(layout)), bucket(uint32(hash>>32), uint32(layout))
	for {
		slots := s.index[a : a+bucketSlots : a+bucketSlots]
		for i := 0; i < bucketSlots; i++ {
			value = atomic.LoadUint64(&slots[i])
			if (value^t)>>tagShift != 0 || value == 0 {
				continue
			}
			pos := value & slotPos
			at := s.offset(pos)
			if at+headWords > len(ring) {
				continue // cannot be
			}
			first := atomic.LoadUint64(&ring[at])
			if n := wordsIn(first); first&(1<<wordsShift-1) == want && n >= headWords+wordsOf(len(k.name)) && at+n <= len(ring) {
				if e = ring[at : at+n : at+n]; nameIs(e[headWords:], k.name) {
					return &slots[i], value, e
				}
			}
			if s.tail.Load() > pos && atomic.LoadUint64(&slots[i]) != value {
				i-- // the entry was moved while we looked
			}
		}
		if a != b {
			a = b
			continue
		}
		now := s.layout.Load()
		if now == layout {
			return nil, 0, nil
		}
		layout = now
		a, b = bucket(uint32(hash), uint32(layout)), bucket(uint32(hash>>32), uint32(layout))
	}
}

// holds reports whether the entry that a slot's value points to was whole until now.
func (s *shard) holds(value uint64) bool { return s.tail.Load() <= value&slotPos }

// maxTries is how often a reader looks again after the entry went from under it.
const maxTries = 4

// put appends an entry and makes the index point to it. It returns false if the entry
// is too large. The lock is held.
func (s *shard) put(c *Cache, h hash, e *entry) bool {
	n := e.words()
	if n > maxWords {
		return false
	}
	s.reserve(c, n, maxMoves, e.stored)
	slot, value, old := s.find(h, &e.Key)
	pos := s.place(h, e.kind, n)
	e.pack(s.ring[s.offset(pos):][:n])
	if slot == nil {
		s.publish(c, h.key, pos)
		return true
	}
	s.octets += int64(n-wordsIn(old[wordKey])) * 8
	atomic.StoreUint64(slot, value&^(slotPos|slotFlags)|pos)
	return true
}

// free returns how many words are free in all, and whether n of them are in one piece
// from the head on, or from the ring's begin if the head goes there.
func (s *shard) free(n int) (words int, fits bool) {
	tail := s.tail.Load()
	h, t := s.offset(s.head), s.offset(tail)
	if s.head>>s.shift == tail>>s.shift {
		end := len(s.ring) - h
		return end + t, n <= end || n <= t
	}
	return t - h, n <= t-h
}

// reserve lets the oldest entries go until there is room for n words.
func (s *shard) reserve(c *Cache, n, moves int, now uint32) {
	for {
		if words, fits := s.free(n); fits && words >= n+s.gap {
			return
		}
		s.evict(c, &moves, now)
	}
}

// place moves the head behind n words of an entry, for which there is room, and returns where
// they begin.
func (s *shard) place(h hash, k kind, n int) uint64 {
	if left := len(s.ring) - s.offset(s.head); left < n {
		if left > 0 {
			atomic.StoreUint64(&s.ring[s.offset(s.head)], uint64(left)<<wordsShift) // of no kind
		}
		lap := s.lap(s.head) + 1
		s.head = lap << s.shift
		// All entries are of the lap that ends here: there was no room behind them.
		s.names.forget(lap)
	}
	pos := s.head
	s.head += uint64(n)
	s.names.add(h.name, k, s.lap(pos))
	return pos
}

// evict lets the oldest entry go, or moves it to the head: if it was read, is of some
// use still, and there is room.
func (s *shard) evict(c *Cache, moves *int, now uint32) {
	pos := s.tail.Load()
	e := s.entry(pos)
	if kindIn(e[wordKey]) != kindNone {
		h := hashOf(c, e)
		if i := s.slotOf(h.key, pos); i >= 0 {
			_, fits := s.free(len(e))
			useful := int32(now-expiresIn(e[wordTime])) <= int32(c.o.Stale)
			if value := s.slot(i); value&slotRead != 0 && *moves > 0 && fits && useful {
				*moves--
				s.move(i, h, e)
			} else {
				if int32(now-expiresIn(e[wordTime])) < 0 {
					s.fresh++
				} else {
					s.expired++
				}
				s.clear(i)
			}
		}
	}
	if pos += uint64(len(e)); s.offset(pos) == len(s.ring) {
		pos = (pos>>s.shift + 1) << s.shift
	}
	s.tail.Store(pos)
}

// move copies the entry that slot i points to to the head. A reader finds the one or
// the other.
func (s *shard) move(i int, h hash, e []uint64) {
	pos := s.place(h, kindIn(e[wordKey]), len(e))
	at := s.offset(pos)
	copyWords(s.ring[at:at+len(e)], e)
	for {
		value := s.slot(i)
		if atomic.CompareAndSwapUint64(&s.index[i], value, value&^(slotPos|slotRead)|pos) {
			return
		}
	}
}

// clear empties slot i, which points to an entry.
func (s *shard) clear(i int) {
	s.entries--
	s.octets -= int64(len(s.entry(s.slot(i)&slotPos))) * 8
	atomic.StoreUint64(&s.index[i], 0)
}

// hashOf returns the hash of an entry's key.
func hashOf(c *Cache, e []uint64) hash {
	var room nameRoom
	return hashKey(c.hash(nameOf(e, &room)), e[wordKey])
}

// slotOf returns the slot that points to an entry at pos, or -1 if it was replaced.
func (s *shard) slotOf(hash, pos uint64) int {
	a, b := s.buckets(hash)
	for _, start := range [...]int{a, b} {
		for i := start; i < start+bucketSlots; i++ {
			if s.slot(i)&slotPos == pos {
				return i
			}
		}
	}
	return -1
}

// spare returns how many slots of a bucket are empty, and one of them, or -1.
func (s *shard) spare(bucket int) (n, slot int) {
	slot = -1
	for i := bucket; i < bucket+bucketSlots; i++ {
		if s.slot(i) == 0 {
			n, slot = n+1, i
		}
	}
	return n, slot
}

// publish makes the index point to a new entry: in its first bucket, where readers
// look first, unless that is half full and the other is not as full. The index grows
// as soon as five of eight slots are taken: buckets that are not split yet hold twice
// as much as others, and with more would come to be full now and then.
func (s *shard) publish(c *Cache, hash, pos uint64) {
	a, b := s.buckets(hash)
	n, slot := s.spare(a)
	if n < bucketSlots/2 {
		if m, other := s.spare(b); m > n {
			slot = other
		}
	}
	if slot < 0 {
		slot = s.squeeze(c, a, b)
	}
	s.entries++
	s.octets += int64(len(s.entry(pos))) * 8
	atomic.StoreUint64(&s.index[slot], tag(hash)|pos)
	for used := s.used(); s.entries > used/8*5 && used < len(s.index); used = s.used() {
		s.split(c)
	}
}

// split takes one more bucket into use, and moves to it those entries of the bucket it
// is split from whose hash says so. Entries are in both while readers get to know.
func (s *shard) split(c *Cache) {
	count := uint32(s.layout.Load())
	to := int(count) * bucketSlots
	from := bucket(count, count)
	var moved [bucketSlots]uint64
	for i := range bucketSlots {
		value := s.slot(from + i)
		if value == 0 {
			continue
		}
		hash := hashOf(c, s.entry(value&slotPos)).key
		if bucket(uint32(hash), count+1) != from && bucket(uint32(hash>>32), count+1) != from {
			moved[i] = value
			atomic.StoreUint64(&s.index[to+i], value)
		}
	}
	s.layout.Add(1)
	for i, value := range moved {
		if value != 0 {
			s.leave(from+i, to+i, value)
		}
	}
}

// leave empties slot i, whose value was copied to another slot, with the marks that it
// got meanwhile.
func (s *shard) leave(i, to int, value uint64) {
	for !atomic.CompareAndSwapUint64(&s.index[i], value, 0) {
		value = s.slot(i)
		atomic.OrUint64(&s.index[to], value&slotFlags)
	}
}

// squeeze returns a slot in one of two full buckets, after an entry there has gone to its
// other bucket: one that has room, or that gets room in the same way. If none can, the oldest
// entry of the two is forgotten. For that, eighteen buckets or so must be full at once, while
// five of eight slots are taken in all: nothing is lost while the index grows. When it has its
// full size, it has a slot for every 56 octets of the ring, and no entry takes less than 64.
func (s *shard) squeeze(c *Cache, a, b int) int {
	for _, moves := range [...]int{1, 2} {
		for _, start := range [...]int{a, b} {
			if slot := s.yield(c, start, moves); slot >= 0 {
				return slot
			}
		}
	}
	oldest := a
	for _, start := range [...]int{a, b} {
		for i := start; i < start+bucketSlots; i++ {
			if s.slot(i)&slotPos < s.slot(oldest)&slotPos {
				oldest = i
			}
		}
	}
	s.forced++
	s.fresh++
	s.clear(oldest)
	return oldest
}

// yield empties a slot of a full bucket in at most so many moves, and returns it; -1 if that
// cannot be. With more than two, an entry could be met that has moved already.
func (s *shard) yield(c *Cache, bucket, moves int) int {
	for i := bucket; i < bucket+bucketSlots; i++ {
		x, y := s.buckets(hashOf(c, s.entry(s.slot(i)&slotPos)).key)
		other := x + y - bucket
		_, to := s.spare(other)
		if to < 0 && moves > 1 && other != bucket {
			to = s.yield(c, other, moves-1)
		}
		if to < 0 {
			continue
		}
		value := s.slot(i)
		atomic.StoreUint64(&s.index[to], value)
		s.layout.Add(1 << 32)
		s.leave(i, to, value)
		return i
	}
	return -1
}
