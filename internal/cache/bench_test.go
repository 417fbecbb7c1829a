package cache_test

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"
	"time"

	"port53/internal/cache"
	"port53/internal/wire"
)

// names returns n names of 20 octets in wire form.
func names(n int) [][]byte {
	list, room := make([][]byte, n), make([]byte, 0, n*20)
	for i := range list {
		room = fmt.Appendf(room, "\x08%08d\x09something\x00", i)
		list[i] = room[len(room)-20:]
	}
	return list
}

// typical returns an answer of three records of 20 octets.
func typical() *cache.Answer {
	a := &cache.Answer{Counts: [3]uint16{3, 0, 0}, TTL: 3000, EDE: -1}
	for i := range 3 {
		a.TTLs = append(a.TTLs, uint16(20*i+6))
		a.Body = append(a.Body, "\xC0\x0C\x00\x01\x00\x01\x00\x00\x0B\xB8\x00\x08abcdefgh"...)
	}
	return a
}

// number writes i into the first label of a name as names has them.
func number(name []byte, i int) {
	for j := 8; j > 0; j-- {
		name[j] = byte('0' + i%10)
		i /= 10
	}
}

// fill returns a cache with typical answers for so many names, and room for 200 octets
// each.
func fill(n int) *cache.Cache {
	c := cache.New(cache.Options{Size: max(int64(n)*200, 1<<20)})
	a, room := typical(), []byte("\x0800000000\x09something\x00")
	for i := range n {
		number(room, i)
		c.Writer().PutAnswer(cache.MakeKey(room, wire.TypeA, 0, 0), a, now)
	}
	return c
}

func BenchmarkAnswer(b *testing.B) {
	for _, n := range []int{1000, 10_000, 1_000_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			c := cache.New(cache.Options{Size: int64(n)*200 + 1<<20})
			a := answer(1, 3000)
			a.Body = append(a.Body, make([]byte, 45-len(a.Body))...)
			room := []byte("\x0800000000\x09something\x00")
			for i := range n {
				number(room, i)
				c.Writer().PutAnswer(cache.MakeKey(room, wire.TypeA, 0, 0), a, now)
			}
			dst := make([]byte, 1232)
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				i = (i + 7919) % n
				number(room, i)
				if _, ok := c.Answer(cache.MakeKey(room, wire.TypeA, 0, 0), now+5, dst); !ok {
					b.Fatal("a miss")
				}
			}
		})
	}
}

func BenchmarkAnswerMiss(b *testing.B) {
	list := names(20_000)
	c, dst := fill(10_000), make([]byte, 1232)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i = (i + 7919) % 10_000
		if _, ok := c.Answer(cache.MakeKey(list[10_000+i], wire.TypeA, 0, 0), now+5, dst); ok {
			b.Fatal("a hit")
		}
	}
}

// BenchmarkPutAnswer writes over and over a cache that is full.
func BenchmarkPutAnswer(b *testing.B) {
	list := names(100_000)
	c := cache.New(cache.Options{Size: 4 << 20})
	a := typical()
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i = (i + 1) % len(list)
		c.Writer().PutAnswer(cache.MakeKey(list[i], wire.TypeA, 0, 0), a, now)
	}
}

func BenchmarkRRset(b *testing.B) {
	list := names(10_000)
	c := cache.New(cache.Options{Size: 4 << 20})
	for _, name := range list {
		c.Writer().PutRRset(0, &wire.RRset{Owner: name, Type: wire.TypeA, TTL: 300, Data: [][]byte{{192, 0, 2, 1}, {192, 0, 2, 2}}}, cache.AuthAnswer, cache.Insecure, now)
	}
	var e cache.Entry
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i = (i + 7919) % len(list)
		if !c.RRset(0, list[i], wire.TypeA, now, &e) {
			b.Fatal("a miss")
		}
	}
}

func BenchmarkPutRRset(b *testing.B) {
	list := names(100_000)
	c := cache.New(cache.Options{Size: 4 << 20})
	set := wire.RRset{Type: wire.TypeA, TTL: 300, Data: [][]byte{{192, 0, 2, 1}, {192, 0, 2, 2}}}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i = (i + 1) % len(list)
		set.Owner = list[i]
		c.Writer().PutRRset(0, &set, cache.AuthAnswer, cache.Insecure, now)
	}
}

// bigEnv names the number of entries that TestCollector fills a cache with: 10,000,000
// take 2 GB.
const bigEnv = "PORT53_CACHE_ENTRIES"

// TestCollector has a million entries, which the garbage collector must not see, and
// looks at what they take.
func TestCollector(t *testing.T) {
	n := 1_000_000
	if text := os.Getenv(bigEnv); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	if testing.Short() || raceEnabled {
		t.Skip("fills 200 MB")
	}
	before := residentOctets(t)
	var heap, full runtime.MemStats
	runtime.ReadMemStats(&heap)
	began := time.Now()
	c := fill(n)
	filled := time.Since(began)
	began = time.Now()
	runtime.GC()
	took := time.Since(began)
	// What a collection costs goes by what it has to look at.
	if runtime.ReadMemStats(&full); full.HeapObjects > heap.HeapObjects+uint64(n/100) {
		t.Errorf("%d objects on the heap for %d entries", full.HeapObjects-heap.HeapObjects, n)
	}
	st := c.Stats()
	if st.Entries != n || st.EvictedByIndex != 0 {
		t.Errorf("%d entries were put, %+v", n, st)
	}
	grown := residentOctets(t) - before
	if per := grown / int64(n); per > 200 {
		t.Errorf("%d bytes of memory an entry", per)
	}
	t.Logf("%d entries in %v: %d octets each, %d of memory; collection %v",
		n, filled, st.Octets/int64(n), grown/int64(n), took)
	runtime.KeepAlive(c)

	// What nobody refers to any more gives its memory back.
	deadline := time.Now().Add(time.Minute)
	for residentOctets(t)-before > grown/10 {
		if time.Now().After(deadline) {
			t.Fatal("the memory of a cache that is no longer used is not released")
		}
		runtime.Gosched()
	}
}

// TestResident writes more than a cache may hold, with garbage beside it.
func TestResident(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("fills 64 MB")
	}
	// A large cache takes what is in it, whatever it may take.
	const some = 100_000
	before := residentOctets(t)
	large := cache.New(cache.Options{Size: 4 << 30})
	for _, name := range names(some) {
		large.Writer().PutAnswer(cache.MakeKey(name, wire.TypeA, 0, 0), typical(), now)
	}
	if grown := residentOctets(t) - before; grown > 200*some {
		t.Errorf("%d entries in a cache of 4 GiB take %d octets", some, grown)
	}
	runtime.KeepAlive(large)

	const size = 64 << 20
	before = residentOctets(t)
	c := cache.New(cache.Options{Size: size})
	list, a := names(1000), typical()
	for part := range 2000 {
		for _, name := range list {
			c.Writer().PutAnswer(cache.MakeKey(name, wire.TypeA, 0, cache.NewPartition(0, uint16(part))), a, now)
		}
	}
	if grown := residentOctets(t) - before; grown > size+size/10 || grown < size/2 {
		t.Errorf("a full cache of %d octets takes %d", size, grown)
	}
	if st := c.Stats(); st.Octets > size || st.Size > size || st.EvictedByIndex != 0 {
		t.Errorf("%+v", st)
	}
	runtime.KeepAlive(c)
}

// residentOctets returns the memory of this process without files.
func residentOctets(t *testing.T) int64 {
	debug.FreeOSMemory()
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("memory cannot be measured here: ", err)
	}
	var size, resident, shared int64
	if _, err := fmt.Sscan(string(data), &size, &resident, &shared); err != nil {
		t.Fatal(err)
	}
	return (resident - shared) * int64(os.Getpagesize())
}

func TestAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	c, list, a, dst := fill(1000), names(1000), typical(), make([]byte, 1232)
	set := wire.RRset{Type: wire.TypeA, TTL: 300, Data: [][]byte{{192, 0, 2, 1}}}
	var e cache.Entry
	for what, f := range map[string]func(name []byte){
		"Answer":    func(name []byte) { c.Answer(cache.MakeKey(name, wire.TypeA, 0, 0), now, dst) },
		"Failure":   func(name []byte) { c.Failure(cache.MakeKey(name, wire.TypeA, 0, 0), now) },
		"PutAnswer": func(name []byte) { c.Writer().PutAnswer(cache.MakeKey(name, wire.TypeA, 0, 0), a, now) },
		"PutRRset": func(name []byte) {
			set.Owner = name
			c.Writer().PutRRset(0, &set, cache.AuthAnswer, cache.Secure, now)
		},
		"RRset": func(name []byte) { c.RRset(0, name, wire.TypeA, now, &e) },
	} {
		i := 0
		if n := testing.AllocsPerRun(900, func() { f(list[i]); i++ }); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}
