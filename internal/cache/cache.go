// Package cache is what the resolver learned, in a budget of octets: finished
// answers, RRsets with the trust they deserve, proofs that there is nothing,
// delegations, and failures.
//
// Each of these is a kind of its own, and each kind has methods of its own. No name
// and no type, whoever chose them, leads from one kind to another: a question for a
// type of private use is never answered out of a delegation, and no record, whatever
// its type, can become one.
//
// Everything lies in arenas without Go pointers, so that the garbage collector's
// cost does not grow with the number of entries. A shard is a ring of words to which
// entries are appended, and an index of hashes. An entry never changes; a new one
// for the same key is appended and the index points to it. Readers take no lock:
// they copy an entry and then look whether the ring's tail has passed it meanwhile.
// A filter spares most of them the way to the index for what is not there.
// The index grows with the entries, a bucket at a time (linear hashing). When the ring
// is full the oldest entry goes, or if it was read since it was written, moves to the
// front once more.
//
// Package cache knows no servers. Every call is given the time, in seconds since 1970;
// [Cache.Now] is a clock for that which never goes back.
package cache

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
	"runtime"
	"sync/atomic"
	"time"

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

	// Clock tells the system's time since 1970 and the time since any moment, which nobody
	// sets; nil: the system's.
	Clock func() (wall, elapsed time.Duration)
}

const (
	defaultSize        = 64 << 20
	defaultMaxTTL      = 86400 // Unbound, PowerDNS Recursor and Knot Resolver: a day
	defaultMaxNegative = 3600  // Unbound and PowerDNS Recursor; RFC 2308, section 5: at most 3 h
	defaultStale       = 86400 // RFC 8767, section 5: one to three days
	defaultStaleTTL    = 30    // RFC 8767, section 4

	// maxSeconds bounds all times to live, so that differences of times fit 32 bits.
	maxSeconds = 1 << 30

	// maxEntry is the largest entry, in octets. A bigger one pushes out too much
	// (CVE-2024-1737); PowerDNS Recursor: 8 kB.
	maxEntry = 16 << 10
	// minSize is the smallest cache, in octets: some entries of the largest kind.
	minSize = 8 * maxEntry
	// minShard is the fewest octets of a shard among several. The room that a ring
	// keeps free is then no more than a sixty-fourth of it.
	minShard = 1 << 20
	// maxShards bounds how thin the cache is spread; more make writers wait less.
	maxShards = 64
	// indexShare is the part of a shard that the index may take: a slot of 8 octets
	// for every 56 of the ring. Sets of one short record take 64, answers more.
	indexShare = 8

	lineOctets = 64 // of the processor's cache
)

// A Cache is safe for use by many goroutines.
type Cache struct {
	seed   uint64
	mask   uint64
	epoch  atomic.Uint64 // flushes so far
	shards []shard
	o      Options
	clock  clock
}

// New returns an empty cache. It uses memory as it fills.
func New(o Options) *Cache {
	set := func(field *uint32, value uint32) {
		if *field == 0 {
			*field = value
		}
		*field = min(*field, maxSeconds)
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

	c.clock.init(o.Clock)
	words := int(o.Size / int64(n) / lineOctets * lineOctets / 8)
	slots := words / indexShare / bucketSlots * bucketSlots
	known := max(min(words/filterShare, maxFilter/8/n)/filterLine, 1) * filterLine
	arena, release := newArena(n * words)
	if release != nil {
		// The arena lives as long as the shards do, of which every method has a use
		// after its last look at the ring.
		runtime.AddCleanup(&c.shards[0], func(release func()) { release() }, release)
	}
	// Indexes begin with lines of the processor's cache.
	for i := range c.shards {
		part := arena[i*words : (i+1)*words]
		index, names, ring := part[:slots:slots], part[slots:slots+known], part[slots+known:]
		c.shards[i].init(ring[:len(ring):len(ring)], index, names)
	}
	return c
}

// hash returns the hash of a name in lower case: all entries of a name lie in one
// shard.
func (c *Cache) hash(name []byte) uint64 {
	h := c.seed ^ uint64(len(name))
	for len(name) >= 8 {
		h = fold(h^binary.LittleEndian.Uint64(name), 0xA0761D6478BD642F)
		name = name[8:]
	}
	return fold(fold(h^word(name), 0xE7037ED1A0B428DB), 0x8EBC6AF09C88C6E3)
}

func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// shard returns where the entries of a name are, by its hash.
func (c *Cache) shard(hash uint64) *shard { return &c.shards[hash>>56&c.mask] }

// locate returns the shard of a key and the hash of the whole of it.
func (c *Cache) locate(k *Key) (*shard, hash) {
	name := c.hash(k.name)
	return c.shard(name), hashKey(name, k.word())
}

// A kind is what an entry tells. It is part of what the entry is found by, and is
// given by the method that writes or looks, never by its caller.
type kind uint8

const (
	kindNone       kind = iota // no entry
	kindAnswer                 // a finished answer
	kindRRset                  // the records of a name and a type, or that there are none
	kindDenial                 // that a name does not exist
	kindDelegation             // whom a parent named as the servers of a zone
	kindFailure                // that a question has no answer for now
)

// A Partition is a part of a cache that knows nothing of the others: what was learned for some clients,
// and by one of several routes. The zero Partition is that of servers with one view and one route.
type Partition uint32

// MaxViews is how many views a cache can keep apart.
const MaxViews = 64

// NewPartition returns the partition of what is learned for a view, below [MaxViews], by a route.
func NewPartition(view uint8, route uint16) Partition { return Partition(view)<<16 | Partition(route) }

// Route returns by which route the partition was learned.
func (p Partition) Route() uint16 { return uint16(p) }

// View returns for which view the partition was learned.
func (p Partition) View() uint8 { return uint8(p >> 16) }

// viewShift is where a variant has the view: below it are two bits that tell answers apart.
const viewShift = 2

// A Key is what an entry is found by.
type Key struct {
	name    []byte
	typ     wire.Type // of an answer, a set or a failure
	part    uint16
	variant uint8
	kind    kind
}

// MakeKey returns the key of an answer or a failure. name is in lower case and is not
// copied. variant, below 4, tells answers to the same question apart.
func MakeKey(name []byte, t wire.Type, variant uint8, partition Partition) Key {
	return Key{name, t, partition.Route(), variant | partition.View()<<viewShift, kindNone}
}

// keyOf returns the key of what is no answer.
func keyOf(name []byte, t wire.Type, partition Partition, k kind) Key {
	return Key{name, t, partition.Route(), partition.View() << viewShift, k}
}

// A hash is that of a key's name and that of the whole key.
type hash struct{ name, key uint64 }

// hashKey continues the hash of a key's name to that of the key.
func hashKey(name, word uint64) hash {
	return hash{name, fold(name^word&(1<<wordsShift-1), 0x589965CC75374CC3)}
}
