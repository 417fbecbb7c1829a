// Package cache is what the resolver learned, in a budget of octets: finished
// answers, RRsets with the trust they deserve, proofs that there is nothing, and
// failures.
//
// Everything lies in arenas without Go pointers, so that the garbage collector's
// cost does not grow with the number of entries. A shard is a ring of words to which
// entries are appended, and an index of hashes. An entry never changes; a new one
// for the same key is appended and the index points to it. Readers take no lock:
// they copy an entry and then look whether the ring's tail has passed it meanwhile.
// When the ring is full the oldest goes, or if it was read since, moves to the front.
//
// Package cache knows no servers and no clock: every call is given the time, in
// seconds since 1970.
package cache

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
	"sync"
	"sync/atomic"

	"port53/internal/wire"
)

// Options make a Cache. A zero field means the default.
type Options struct {
	Size           int64  // octets of all arenas and indexes; 0: 64 MiB
	Seed           uint64 // of the hash; 0: random, so that nobody can choose names that collide
	MaxTTL         uint32 // seconds that anything is fresh; 0: a day
	MinTTL         uint32 // and at least; 0 is 0
	MaxNegativeTTL uint32 // seconds that what is not there is fresh; 0: an hour
	Stale          uint32 // seconds that what has expired may still be served; 0: a day
	StaleTTL       uint32 // the time to live that it is served with; 0: 30 (RFC 8767, section 5)
}

const (
	defaultSize        = 64 << 20
	defaultMaxTTL      = 86400 // Unbound, PowerDNS Recursor and Knot Resolver: a day
	defaultMaxNegative = 3600  // Unbound and PowerDNS Recursor; RFC 2308, section 5: at most 3 h
	defaultStale       = 86400 // RFC 8767, section 5: one to three days
	defaultStaleTTL    = 30    // RFC 8767, section 4

	// maxEntry is the largest entry, in octets. A bigger one pushes out too much
	// (CVE-2024-1737); PowerDNS Recursor: 8 kB.
	maxEntry = 16 << 10
	// minShard is the fewest octets of a shard: some entries of the largest kind.
	minShard = 8 * maxEntry
	minSize  = minShard
	// maxShards bounds how thin the cache is spread; more make writers wait less.
	maxShards = 256
	// indexShare is the part of a shard that the index takes: a slot of 8 octets for
	// every 72, which is what the smallest entries need, so that it is never full.
	indexShare = 9
)

// A Cache is safe for use by many goroutines.
type Cache struct {
	seed   uint64
	mask   uint64
	shards []shard
	o      Options
}

// New returns an empty cache.
func New(o Options) *Cache {
	set := func(field *uint32, value uint32) {
		if *field == 0 {
			*field = value
		}
	}
	if o.Size == 0 {
		o.Size = defaultSize
	}
	set(&o.MaxTTL, defaultMaxTTL)
	set(&o.MaxNegativeTTL, defaultMaxNegative)
	set(&o.Stale, defaultStale)
	set(&o.StaleTTL, defaultStaleTTL)
	for o.Seed == 0 {
		var b [8]byte
		_, _ = rand.Read(b[:]) // it never fails
		o.Seed = binary.NativeEndian.Uint64(b[:])
	}
	o.Size = max(o.Size, minSize)
	n := 1
	for n < maxShards && o.Size/int64(2*n) >= minShard {
		n *= 2
	}
	c := &Cache{seed: o.Seed, mask: uint64(n - 1), shards: make([]shard, n), o: o}
	for i := range c.shards {
		c.shards[i].init(o.Size / int64(n))
	}
	return c
}

// hash returns the hash of a name in lower case: all entries of a name lie together.
func (c *Cache) hash(name []byte) uint64 {
	h := c.seed ^ uint64(len(name))
	for len(name) >= 8 {
		h = fold(h^binary.LittleEndian.Uint64(name), 0xA0761D6478BD642F)
		name = name[8:]
	}
	var last [8]byte
	copy(last[:], name)
	return fold(fold(h^binary.LittleEndian.Uint64(last[:]), 0xE7037ED1A0B428DB), 0x8EBC6AF09C88C6E3)
}

func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

func (c *Cache) shard(hash uint64) *shard { return &c.shards[hash>>56&c.mask] }

// The kinds of entries.
const (
	kindAnswer = 1 + iota
	kindRRset
	kindNegative
	kindFailure
)

// A Key is what an entry is found by.
type Key struct {
	name    []byte
	typ     wire.Type
	part    uint16
	variant uint8
	kind    uint8
}

// MakeKey returns the key of an answer or a failure. name is in lower case and is not
// copied. variant tells answers to the same question apart; partition keeps what was
// learned in different ways apart.
func MakeKey(name []byte, t wire.Type, variant uint8, partition uint16) Key {
	return Key{name, t, partition, variant, 0}
}

// The words of an entry's head. What follows is the name, then the offsets of TTLs,
// then the body, each filled up to whole words.
const (
	wordKey  = iota // words 16, name's length 8, kind 8, type 16, partition 16
	wordMeta        // variant 8, security 8, rank 8, flags of the kind 8, rcode 16, EDE+1 16
	wordTime        // expires 32, stored 32
	wordBody        // TTL 32, body's length 16, number of TTL offsets 16
	wordMore        // header flags 16, counts 3 × 16
	headWords
)

// An entry is what is written and read, unpacked.
type entry struct {
	Key
	security uint8
	rank     uint8
	rcode    wire.Rcode
	ede      int16
	expires  uint32
	stored   uint32
	ttl      uint32
	flags    uint16
	counts   [3]uint16
	ttls     []uint16
	body     []byte
}

// words returns how many words the entry takes.
func (e *entry) words() int {
	return headWords + (len(e.name)+7)/8 + (len(e.ttls)+3)/4 + (len(e.body)+7)/8
}

func (k *Key) word(words int) uint64 {
	return uint64(words)<<48 | uint64(len(k.name))<<40 | uint64(k.kind)<<32 | uint64(k.typ)<<16 | uint64(k.part)
}

const wordsShift = 48

// pack writes the entry into room, which has as many words as it takes.
func (e *entry) pack(room []uint64) {
	room[wordKey] = e.word(len(room))
	room[wordMeta] = uint64(e.variant)<<56 | uint64(e.security)<<48 | uint64(e.rank)<<40 | uint64(e.rcode)<<16 | uint64(uint16(e.ede+1))
	room[wordTime] = uint64(e.expires)<<32 | uint64(e.stored)
	room[wordBody] = uint64(e.ttl)<<32 | uint64(len(e.body))<<16 | uint64(len(e.ttls))
	room[wordMore] = uint64(e.flags)<<48 | uint64(e.counts[0])<<32 | uint64(e.counts[1])<<16 | uint64(e.counts[2])
	at := headWords
	at += packBytes(room[at:], e.name)
	for i := 0; i < len(e.ttls); i += 4 {
		var w uint64
		for j, t := range e.ttls[i:min(i+4, len(e.ttls))] {
			w |= uint64(t) << (16 * j)
		}
		room[at] = w
		at++
	}
	packBytes(room[at:], e.body)
}

func packBytes(room []uint64, b []byte) int {
	n := 0
	for ; len(b) >= 8; n++ {
		room[n] = binary.LittleEndian.Uint64(b)
		b = b[8:]
	}
	if len(b) > 0 {
		var last [8]byte
		copy(last[:], b)
		room[n] = binary.LittleEndian.Uint64(last[:])
		n++
	}
	return n
}

// A shard is a ring of words and the index of the entries in it. A position counts all
// words that were ever written: position p lies at p modulo the ring's length.
type shard struct {
	mu    sync.Mutex    // orders writers
	tail  atomic.Uint64 // position of the oldest entry: what lies before is being written over
	head  uint64        // position of the next entry
	ring  []uint64
	index []uint64    // buckets of slots
	room  [2][]uint64 // to build an entry, and to move one
}

// A slot is the position of an entry, plus one, in 48 bits; whether it was read and
// whether somebody fetches it again; and 14 bits of the name's hash. 0 is empty.
const (
	slotPos      = 1<<48 - 1
	slotRead     = 1 << 48
	slotPrefetch = 1 << 49
	tagShift     = 50
	bucketSlots  = 8 // a line of the processor's cache
)

func (s *shard) init(size int64) {
	words := size / 8
	buckets := max(words/indexShare/bucketSlots, 1)
	s.ring = make([]uint64, words-buckets*bucketSlots)
	s.index = make([]uint64, buckets*bucketSlots)
}

// buckets returns where a name's entries are in the index: in one of two places, so
// that both fill alike.
func (s *shard) buckets(hash uint64) (a, b int) {
	n := uint64(len(s.index) / bucketSlots)
	a = int(hash & 0xFFFFFFFF * n >> 32)
	b = int(hash >> 14 & 0xFFFFFFFF * n >> 32)
	return a * bucketSlots, b * bucketSlots
}

func tag(hash uint64) uint64 { return hash << 7 >> 50 << tagShift }

// at returns the place of a position in the ring.
func (s *shard) at(pos uint64) int { return int(pos % uint64(len(s.ring))) }

func (s *shard) load(i int) uint64 { return atomic.LoadUint64(&s.ring[i]) }

// matches tells whether the entry at place i has the key. The name is compared in
// words.
func (s *shard) matches(i int, k *Key) bool {
	const mask = 1<<wordsShift - 1
	if s.load(i+wordKey)&mask != k.word(0)&mask || uint8(s.load(i+wordMeta)>>56) != k.variant {
		return false
	}
	return s.nameIs(i, k.name)
}

func (s *shard) nameIs(i int, name []byte) bool {
	i += headWords
	if i+(len(name)+7)/8 > len(s.ring) {
		return false // what was read is not an entry any more
	}
	for ; len(name) >= 8; i++ {
		if s.load(i) != binary.LittleEndian.Uint64(name) {
			return false
		}
		name = name[8:]
	}
	if len(name) == 0 {
		return true
	}
	var last [8]byte
	copy(last[:], name)
	return s.load(i) == binary.LittleEndian.Uint64(last[:])
}

// find returns the slot and the position of the entry with the key, or nil. Whoever
// holds no lock must look at the tail once more after reading the entry.
func (s *shard) find(hash uint64, k *Key) (slot *uint64, value, pos uint64) {
	t := tag(hash)
	a, b := s.buckets(hash)
	for {
		bucket := s.index[a : a+bucketSlots : a+bucketSlots]
		for i := range bucket {
			value = atomic.LoadUint64(&bucket[i])
			if value&^(1<<tagShift-1) != t || value == 0 {
				continue
			}
			pos = value&slotPos - 1
			if at := s.at(pos); pos >= s.tail.Load() && at+headWords <= len(s.ring) && s.matches(at, k) {
				return &bucket[i], value, pos
			}
		}
		if a == b {
			return nil, 0, 0
		}
		a = b
	}
}

// put appends an entry and makes the index point to it. It returns false if the entry
// is too large. The lock is held.
func (s *shard) put(c *Cache, hash uint64, e *entry) bool {
	n := e.words()
	if n*8 > maxEntry || len(e.name) > wire.MaxName {
		return false
	}
	if cap(s.room[0]) < n {
		s.room[0] = make([]uint64, max(n, 64))
	}
	words := s.room[0][:n]
	e.pack(words)
	if slot, _, _ := s.find(hash, &e.Key); slot != nil {
		atomic.StoreUint64(slot, 0)
	}
	s.append(c, hash, words, maxMoves)
	return true
}

// maxMoves is how many entries that were read since may be moved for one new entry:
// writing must not take long.
const maxMoves = 4

// append writes words at the head, after as many of the oldest entries as needed
// have made room.
func (s *shard) append(c *Cache, hash uint64, words []uint64, moves int) {
	s.evict(c, len(words), moves)
	// An entry does not go around the end of the ring: what is left there is skipped.
	if left := len(s.ring) - s.at(s.head); left < len(words) {
		s.evict(c, left, 0)
		atomic.StoreUint64(&s.ring[s.at(s.head)], uint64(left)<<wordsShift) // of no kind
		s.head += uint64(left)
		s.evict(c, len(words), 0)
	}
	at := s.at(s.head)
	for i, w := range words {
		atomic.StoreUint64(&s.ring[at+i], w)
	}
	s.publish(hash, s.head)
	s.head += uint64(len(words))
}

// evict frees room for n words at the head. The first entries that were read since
// they were written move to the head themselves.
func (s *shard) evict(c *Cache, n, moves int) {
	for {
		pos := s.tail.Load()
		if s.head+uint64(n) <= pos+uint64(len(s.ring)) {
			return
		}
		at := s.at(pos)
		first := s.load(at)
		words := first >> wordsShift
		if uint8(first>>32) == 0 {
			s.tail.Store(pos + words)
			continue
		}
		slot, hash := s.slotOf(c, pos)
		if slot == nil {
			s.tail.Store(pos + words) // replaced by a newer one
			continue
		}
		read := atomic.LoadUint64(slot)&slotRead != 0
		atomic.StoreUint64(slot, 0)
		if !read || moves <= 0 {
			s.tail.Store(pos + words)
			continue
		}
		moves--
		if cap(s.room[1]) < int(words) {
			s.room[1] = make([]uint64, max(words, 64))
		}
		moved := s.room[1][:words]
		for i := range moved {
			moved[i] = s.load(at + i)
		}
		s.tail.Store(pos + words)
		s.append(c, hash, moved, 0)
	}
}

// slotOf returns the slot that points to the entry at pos, or nil if it was replaced.
func (s *shard) slotOf(c *Cache, pos uint64) (slot *uint64, hash uint64) {
	var room [wire.MaxName + 9]byte
	hash = c.hash(s.name(s.at(pos), room[:]))
	a, b := s.buckets(hash)
	for _, start := range [...]int{a, b} {
		for i := range bucketSlots {
			if slot = &s.index[start+i]; atomic.LoadUint64(slot)&slotPos == pos+1 {
				return slot, hash
			}
		}
	}
	return nil, hash
}

// name copies the name of the entry at place i into room.
func (s *shard) name(i int, room []byte) []byte {
	n := int(s.load(i+wordKey) >> 40 & 0xFF)
	for j := 0; j < n; j += 8 {
		binary.LittleEndian.PutUint64(room[j:], s.load(i+headWords+j/8))
	}
	return room[:n]
}

// publish makes the index point to the entry at pos: in the emptier of its two
// buckets. If both are full, which takes a name of many types or an attack, their
// oldest entry goes.
func (s *shard) publish(hash, pos uint64) {
	a, b := s.buckets(hash)
	tail := s.tail.Load()
	var empty [2]*uint64
	var free [2]int
	var oldest *uint64
	least := uint64(slotPos) + 1
	for n, start := range [...]int{a, b} {
		for i := range bucketSlots {
			slot := &s.index[start+i]
			v := atomic.LoadUint64(slot) & slotPos
			if v == 0 || v-1 < tail {
				empty[n] = slot
				free[n]++
			} else if v < least {
				least, oldest = v, slot
			}
		}
	}
	best := empty[0]
	if free[1] > free[0] {
		best = empty[1]
	}
	if best == nil {
		best = oldest
	}
	atomic.StoreUint64(best, tag(hash)|pos+1)
}
