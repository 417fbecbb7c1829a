package cache_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"port53/internal/cache"
	"port53/internal/wire"
)

// A model is what a cache without bounds of memory would know.
type model struct {
	answers map[string]modelAnswer // by name, as text
	sets    map[string]modelSet
}

type modelAnswer struct {
	records int
	stored  int64
	ttl     uint32
}

type modelSet struct {
	data     byte
	negative bool
	rank     cache.Rank
	sec      cache.Security
	expires  int64
}

const modelStale = 500

// TestModel does what a map would do: in a cache with room for all, everything must be
// found that the map has, and in a small one nothing else.
func TestModel(t *testing.T) {
	for _, s := range []struct {
		size  int64
		names int
		all   bool
	}{{8 << 20, 2000, true}, {1 << 17, 2000, false}, {1 << 20, 20_000, false}} {
		t.Run(fmt.Sprint(s.size), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(uint64(s.size), 1))
			c := cache.New(cache.Options{Size: s.size, Stale: modelStale, MaxTTL: 1000})
			m := model{map[string]modelAnswer{}, map[string]modelSet{}}
			var e cache.Entry
			dst, clock, hits := make([]byte, 4096), int64(now), 0
			steps := 150_000
			if raceEnabled {
				steps = 10_000
			}
			for step := range steps {
				n := fmt.Sprintf("n%d.t%d.", rnd.IntN(s.names), rnd.IntN(3))
				wireName := name(n)
				switch op := rnd.IntN(100); {
				case op < 20:
					a := modelAnswer{rnd.IntN(12), clock, 1 + rnd.Uint32N(1000)}
					c.Writer().PutAnswer(cache.MakeKey(wireName, wire.TypeA, 0, 0), answer(a.records, a.ttl), clock)
					if m.answers[n] = a; a.records == 0 {
						a.ttl = min(a.ttl, 3600)
					}
				case op < 40:
					was, known := m.sets[n]
					set := modelSet{byte(rnd.IntN(256)), rnd.IntN(3) == 0, cache.Rank(1 + rnd.IntN(4)), cache.Security(rnd.IntN(3)), clock + 1 + rnd.Int64N(1000)}
					var kept bool
					if ttl := uint32(set.expires - clock); set.negative {
						set.rank = cache.AuthAnswer
						kept = c.Writer().PutNoData(0, wireName, wire.TypeA, []byte{set.data}, set.sec, ttl, clock)
					} else {
						kept = c.Writer().PutRRset(0, &wire.RRset{Owner: wireName, Type: wire.TypeA, TTL: ttl, Data: [][]byte{{set.data}}}, set.rank, set.sec, clock)
					}
					want := !known || was.expires <= clock || set.sec == cache.Secure || was.sec != cache.Secure && was.rank <= set.rank
					if kept != want && (s.all || !kept) {
						t.Fatalf("step %d: %+v over %+v: kept %v", step, set, was, kept)
					}
					if kept {
						m.sets[n] = set
					}
				case op < 65:
					a, known := m.answers[n]
					h, ok := c.Answer(cache.MakeKey(wireName, wire.TypeA, 0, 0), clock, dst)
					age := clock - a.stored
					known = known && age <= int64(a.ttl)+modelStale
					if ok && !known || s.all && !ok && known {
						t.Fatalf("step %d: %s found %v, known %v", step, n, ok, known)
					}
					if !ok {
						continue
					}
					hits++
					want := answer(a.records, 30)
					if age < int64(a.ttl) {
						want = answer(a.records, a.ttl-uint32(age))
					}
					if h.Stale != (age >= int64(a.ttl)) || h.TTL != want.TTL || !bytes.Equal(dst[:h.N], want.Body) {
						t.Fatalf("step %d: %s is %+v %x, want %+v of %d s", step, n, h, dst[:h.N], a, age)
					}
				case op < 90:
					set, known := m.sets[n]
					ok := c.RRset(0, wireName, wire.TypeA, clock, &e)
					known = known && clock-set.expires <= modelStale
					if ok && !known || s.all && !ok && known {
						t.Fatalf("step %d: %s found %v, known %v", step, n, ok, known)
					}
					if !ok {
						continue
					}
					hits++
					if !set.negative {
						e.Proof = slices.Concat(e.Data...)
					}
					got := modelSet{e.Proof[0], e.Negative, e.Rank, e.Security, e.Expires}
					if got != set || e.Stale != (set.expires <= clock) || !bytes.Equal(e.Owner, wireName) {
						t.Fatalf("step %d: %s is %+v, want %+v", step, n, e, set)
					}
				case op < 99:
					clock += rnd.Int64N(3)
				default:
					m.other(t, c, rnd, n, s.size)
				}
			}
			if st := c.Stats(); hits < steps/150 || st.Octets > st.Size || st.Size > s.size || st.EvictedByIndex != 0 {
				t.Errorf("%d hits, %+v", hits, st)
			}
		})
	}
}

// other does what is done rarely.
func (m *model) other(t *testing.T, c *cache.Cache, rnd *rand.Rand, n string, size int64) {
	switch rnd.IntN(200) {
	case 0:
		c.FlushAll()
		*m = model{map[string]modelAnswer{}, map[string]modelSet{}}
		if st := c.Stats(); st.Entries != 0 || st.Octets != 0 {
			t.Errorf("after FlushAll: %+v", st)
		}
	case 1, 2:
		tree := n[len(n)-3:]
		c.FlushTree(name(tree))
		maps.DeleteFunc(m.answers, func(n string, _ modelAnswer) bool { return n[len(n)-3:] == tree })
		maps.DeleteFunc(m.sets, func(n string, _ modelSet) bool { return n[len(n)-3:] == tree })
	default:
		c.Flush(name(n))
		delete(m.answers, n)
		delete(m.sets, n)
	}
}

// TestIndexHasRoom fills caches with the smallest entries that are usual, which need
// the most of the index, and must find each.
func TestIndexHasRoom(t *testing.T) {
	for _, size := range []int64{1 << 17, 1 << 20, 16 << 20} {
		if raceEnabled && size > 1<<20 {
			break
		}
		c := cache.New(cache.Options{Size: size})
		n := int(size * 55 / 64 * 15 / 16 / 64) // the ring, without what it keeps free
		put := 0
		for _, name := range names(n) {
			if !c.Writer().PutRRset(0, &wire.RRset{Owner: name, Type: wire.TypeA, TTL: 300, Data: [][]byte{{192, 0, 2, 1}}}, cache.Glue, cache.Unchecked, now) {
				t.Fatal("a set was not kept")
			}
			put++
			if size > 1<<20 && put > n*9/10 {
				break // shards do not fill quite alike
			}
		}
		var e cache.Entry
		for i, name := range names(put) {
			if !c.RRset(0, name, wire.TypeA, now, &e) {
				t.Fatalf("%d octets: set %d of %d is not there", size, i, put)
			}
		}
		if st := c.Stats(); st.Entries != put || st.EvictedByIndex != 0 || st.Octets != int64(put)*72 {
			t.Errorf("%d sets: %+v", put, st)
		}
	}
}

// TestGrowth has readers that must find all that was put so far while the index grows,
// and some of it is put again.
func TestGrowth(t *testing.T) {
	n := 50_000
	if raceEnabled {
		n = 5000
	}
	// With this seed an entry meets two full buckets, whose entries' other buckets are all full.
	c, list := cache.New(cache.Options{Size: 16 << 20, Seed: 873}), names(n)
	var put atomic.Int64
	var wg sync.WaitGroup
	var reads [3]int
	for r := range reads {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(r), 9))
			dst := make([]byte, 100)
			for there := int64(0); there < int64(n); there = put.Load() {
				if there == 0 {
					runtime.Gosched()
					continue
				}
				i := rnd.Int64N(there)
				if _, ok := c.Answer(cache.MakeKey(list[i], wire.TypeA, 0, 0), now, dst); !ok {
					t.Errorf("entry %d of %d is not found", i, there)
					return
				}
				reads[r]++
			}
		})
	}
	a := typical()
	for i, name := range list {
		c.Writer().PutAnswer(cache.MakeKey(name, wire.TypeA, 0, 0), a, now)
		put.Store(int64(i + 1))
		if i%8 == 0 {
			c.Writer().PutAnswer(cache.MakeKey(list[i/2], wire.TypeA, 0, 0), a, now)
		}
	}
	wg.Wait()
	if reads[0]+reads[1]+reads[2] == 0 {
		t.Error("nobody read anything")
	}
	if st := c.Stats(); st.Entries != n || st.EvictedByIndex != 0 {
		t.Errorf("%+v", st)
	}
}

// TestOneNameOfManyTypes has what an attacker can choose: all that is known of one
// name must not crowd out anything else.
func TestOneNameOfManyTypes(t *testing.T) {
	c := cache.New(cache.Options{Size: 1 << 20})
	n := name("www.example.")
	for typ := range wire.Type(2000) {
		c.Writer().PutAnswer(cache.MakeKey(n, typ, 0, 0), answer(0, 300), now)
	}
	for typ := range wire.Type(2000) {
		if _, ok := c.Answer(cache.MakeKey(n, typ, 0, 0), now, nil); !ok {
			t.Fatalf("type %d is not there", typ)
		}
	}
}

// TestSecondChance floods a cache with ten times what it holds. What is read between
// stays, and the oldest of what is not goes first.
func TestSecondChance(t *testing.T) {
	if raceEnabled {
		t.Skip("one goroutine has no races, and this takes long")
	}
	c := cache.New(cache.Options{Size: 1 << 20})
	list, a, dst := names(80_000), typical(), make([]byte, 100)
	hot, flood := list[:2000], list[2000:]
	for _, name := range hot {
		c.Writer().PutAnswer(cache.MakeKey(name, wire.TypeA, 0, 0), a, now)
	}
	misses := 0
	for i, name := range flood {
		c.Writer().PutAnswer(cache.MakeKey(name, wire.TypeA, 0, 0), a, now)
		if i%100 != 0 {
			continue
		}
		for _, name := range hot {
			if _, ok := c.Answer(cache.MakeKey(name, wire.TypeA, 0, 0), now, dst); !ok {
				misses++
				c.Writer().PutAnswer(cache.MakeKey(name, wire.TypeA, 0, 0), a, now)
			}
		}
	}
	if reads := len(flood) / 100 * len(hot); misses > reads/1000 {
		t.Errorf("%d misses of %d reads of what is read all the time", misses, reads)
	}
	last := len(flood) - 1000
	for i, name := range flood {
		if _, ok := c.Answer(cache.MakeKey(name, wire.TypeA, 0, 0), now, dst); ok != (i >= last) && (i < last-6000 || i >= last) {
			t.Fatalf("%d of %d, never read: found %v", i, len(flood), ok)
		}
	}
}

// TestConcurrent has readers that must see whole entries while writers go round, names
// are flushed, and the cache is dumped.
func TestConcurrent(t *testing.T) {
	c := cache.New(cache.Options{Size: 1 << 18})
	var readers, others sync.WaitGroup
	done := make(chan struct{})
	hits := make([]int, 4)
	put := func(n int, name []byte) {
		c.Writer().PutAnswer(cache.MakeKey(name, wire.TypeA, 0, 0), marked(n), now)
		data := make([][]byte, 1+n%5)
		for i := range data {
			data[i] = binary.BigEndian.AppendUint16(nil, uint16(n))
		}
		c.Writer().PutRRset(0, &wire.RRset{Owner: name, Type: wire.TypeA, TTL: 300, Data: data}, cache.AuthAnswer, cache.Unchecked, now)
	}
	for n := range 500 {
		put(n, name(fmt.Sprintf("n%d.example.", n)))
	}
	run := func(f func(rnd *rand.Rand, n int, name []byte)) {
		others.Go(func() {
			rnd := rand.New(rand.NewPCG(5, 7))
			for {
				select {
				case <-done:
					return
				default:
					n := rnd.IntN(500)
					f(rnd, n, name(fmt.Sprintf("n%d.example.", n)))
				}
			}
		})
	}
	for range 2 {
		run(func(_ *rand.Rand, n int, name []byte) { put(n, name) })
	}
	run(func(rnd *rand.Rand, n int, name []byte) {
		k := cache.MakeKey(name, wire.TypeA, 0, 0)
		c.Writer().PutFailure(k, 22, now)
		c.Failure(k, now)
		c.Stats()
		switch rnd.IntN(300) {
		case 0:
			c.Flush(name)
		case 1:
			c.FlushTree(name)
		case 2:
			var dump bytes.Buffer
			if err := c.Dump(&dump); err != nil {
				t.Error(err)
			}
			if _, err := c.Load(&dump, now); err != nil {
				t.Error(err)
			}
		}
	})
	for r := range 4 {
		readers.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(r), 3))
			dst := make([]byte, 4096)
			var e cache.Entry
			for range 20_000 {
				n := rnd.IntN(500)
				wireName := name(fmt.Sprintf("n%d.example.", n))
				if h, ok := c.Answer(cache.MakeKey(wireName, wire.TypeA, 0, 0), now, dst); ok {
					hits[r]++
					if h.N != 16*(1+n%20) || !bytes.Equal(dst[:h.N], marked(n).Body) {
						t.Errorf("entry %d is %x", n, dst[:h.N])
						return
					}
				}
				if c.RRset(0, wireName, wire.TypeA, now, &e) && (len(e.Data) != 1+n%5 || int(binary.BigEndian.Uint16(e.Data[n%5])) != n) {
					t.Errorf("set %d is %x", n, e.Data)
					return
				}
			}
		})
	}
	readers.Wait()
	close(done)
	others.Wait()
	for r, n := range hits {
		if n < 1000 {
			t.Errorf("reader %d found %d answers", r, n)
		}
	}
}

// marked returns an answer that shows whose it is.
func marked(n int) *cache.Answer {
	a := answer(1+n%20, 1000)
	for i := range a.Body {
		if i%16 > 9 {
			a.Body[i] = byte(n)
		}
	}
	return a
}
