package cache_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"port53/internal/cache"
	"port53/internal/wire"
)

const now = 1_800_000_000

func name(s string) []byte {
	n, err := wire.ParseName(s)
	if err != nil {
		panic(err)
	}
	return n
}

// answer returns an answer with n records of 16 octets, a TTL in each.
func answer(n int, ttl uint32) *cache.Answer {
	a := &cache.Answer{Flags: wire.FlagAD, Counts: [3]uint16{uint16(n), 0, 0}, TTL: ttl, EDE: -1, Security: cache.Secure}
	for i := range n {
		a.TTLs = append(a.TTLs, uint16(len(a.Body)+6))
		a.Body = append(a.Body, 0xC0, 12, 0, 1, 0, 1)
		a.Body = binary.BigEndian.AppendUint32(a.Body, ttl)
		a.Body = append(a.Body, 0, 4, 192, 0, 2, byte(i))
	}
	return a
}

func key(s string) cache.Key { return cache.MakeKey(name(s), wire.TypeA, 0, 0) }

func TestAnswer(t *testing.T) {
	c := cache.New(cache.Options{Size: 1 << 20})
	for _, n := range []int{0, 1, 2, 5, 100} {
		k := key(fmt.Sprintf("n%d.example.", n))
		a := answer(n, 100)
		c.PutAnswer(k, a, now)
		dst := make([]byte, 4096)
		h, ok := c.Answer(k, now+40, dst)
		if !ok || h.N != len(a.Body) || h.TTL != 60 || h.Flags != wire.FlagAD || h.Counts != a.Counts || h.EDE != -1 || h.Security != cache.Secure || h.Stale {
			t.Fatalf("%d records: %+v %v", n, h, ok)
		}
		want := bytes.Clone(a.Body)
		for _, at := range a.TTLs {
			binary.BigEndian.PutUint32(want[at:], 60)
		}
		if !bytes.Equal(dst[:h.N], want) {
			t.Errorf("%d records:\n got %x\nwant %x", n, dst[:h.N], want)
		}
		if n > 0 {
			if h, ok = c.Answer(k, now, dst[:h.N-1]); !ok || h.N <= len(dst[:h.N-1]) {
				t.Errorf("%d records in too little room: %+v %v", n, h, ok)
			}
		}
	}
	for _, k := range []cache.Key{
		key("other.example."), cache.MakeKey(name("n1.example."), wire.TypeAAAA, 0, 0),
		cache.MakeKey(name("n1.example."), wire.TypeA, 1, 0), cache.MakeKey(name("n1.example."), wire.TypeA, 0, 1),
	} {
		if _, ok := c.Answer(k, now, make([]byte, 100)); ok {
			t.Error("a key that was not put was found")
		}
	}
}

func TestAnswerAges(t *testing.T) {
	c := cache.New(cache.Options{Size: 1 << 20, Stale: 1000})
	k := key("www.example.")
	c.PutAnswer(k, answer(1, 100), now)
	dst := make([]byte, 100)
	for _, s := range []struct {
		age                 int64
		ok, stale, prefetch bool
		ttl                 uint32
	}{
		{0, true, false, false, 100}, {89, true, false, false, 11}, {90, true, false, true, 10}, {91, true, false, false, 9},
		{99, true, false, false, 1}, {100, true, true, false, 30}, {1100, true, true, false, 30}, {1101, false, false, false, 0},
	} {
		h, ok := c.Answer(k, now+s.age, dst)
		if ok != s.ok || h.Stale != s.stale || h.Prefetch != s.prefetch || h.TTL != s.ttl && ok {
			t.Errorf("after %d s: %+v %v, want %+v", s.age, h, ok, s)
		}
		if ok && binary.BigEndian.Uint32(dst[6:]) != s.ttl {
			t.Errorf("after %d s: TTL %d in the record, want %d", s.age, binary.BigEndian.Uint32(dst[6:]), s.ttl)
		}
	}
}

func TestBounds(t *testing.T) {
	c := cache.New(cache.Options{Size: 1 << 20, MaxTTL: 500, MinTTL: 50, MaxNegativeTTL: 60})
	dst := make([]byte, 64<<10)
	for _, s := range []struct {
		put, want uint32
		negative  bool
	}{{1000, 500, false}, {10, 50, false}, {100, 100, false}, {100, 60, true}, {0, 0, false}} {
		k, a := key(fmt.Sprintf("%d.%v.example.", s.put, s.negative)), answer(1, s.put)
		if s.negative {
			a.Rcode = wire.NXDomain
		}
		c.PutAnswer(k, a, now)
		h, ok := c.Answer(k, now, dst)
		if ok != (s.want > 0) || h.TTL != s.want {
			t.Errorf("TTL %d: %+v %v, want %d", s.put, h, ok, s.want)
		}
		if ok && binary.BigEndian.Uint32(dst[6:]) != s.want {
			t.Errorf("TTL %d in the record, want %d", binary.BigEndian.Uint32(dst[6:]), s.want)
		}
	}
	// 16 KiB with head and name is the largest entry.
	for n, want := range map[int]bool{900: true, 1025: false} {
		c.PutAnswer(key("large.example."), answer(n, 100), now)
		if _, ok := c.Answer(key("large.example."), now, dst); ok != want {
			t.Errorf("an answer of %d records: kept %v, want %v", n, ok, want)
		}
		c.FlushAll()
	}
}

func TestRanks(t *testing.T) {
	c := cache.New(cache.Options{Size: 1 << 20})
	set := func(addr byte, ttl uint32) *wire.RRset {
		return &wire.RRset{Owner: name("ns.example."), Type: wire.TypeA, TTL: ttl, Data: [][]byte{{192, 0, 2, addr}}, Sigs: [][]byte{{1, 2, 3}}}
	}
	var e cache.Entry
	for i, s := range []struct {
		addr byte
		rank cache.Rank
		sec  cache.Security
		age  int64
		kept bool
	}{
		{1, cache.Glue, cache.Unchecked, 0, true},
		{2, cache.NonAuth, cache.Unchecked, 0, true},
		{3, cache.Glue, cache.Unchecked, 0, false},
		{4, cache.AuthAnswer, cache.Unchecked, 0, true},
		{5, cache.AuthAnswer, cache.Secure, 0, true},
		{6, cache.AuthAnswer, cache.Unchecked, 0, false},
		{7, cache.Glue, cache.Unchecked, 101, true}, // what was better has expired
	} {
		if got := c.PutRRset(0, set(s.addr, 100), s.rank, s.sec, now+s.age); got != s.kept {
			t.Errorf("step %d: kept %v, want %v", i, got, s.kept)
		}
		if ok := c.RRset(0, name("ns.example."), wire.TypeA, now+s.age, &e); !ok || s.kept != (e.Data[0][3] == s.addr) || len(e.Sigs) != 1 {
			t.Errorf("step %d: %+v %v", i, e, ok)
		}
	}
	if c.RRset(1, name("ns.example."), wire.TypeA, now, &e) {
		t.Error("another partition has it too")
	}
	if c.PutRRset(0, set(8, 0), cache.AuthAnswer, cache.Unchecked, now+101); c.RRset(0, name("ns.example."), wire.TypeA, now+101, &e) {
		t.Error("a set of TTL 0 did not replace the one before")
	}
}

func TestNegative(t *testing.T) {
	c := cache.New(cache.Options{Size: 1 << 20})
	n := name("no.example.")
	c.PutRRset(0, &wire.RRset{Owner: n, Type: wire.TypeA, TTL: 10, Data: [][]byte{{1, 2, 3, 4}}}, cache.Glue, cache.Unchecked, now)
	if !c.PutNegative(0, n, wire.TypeA, []byte("proof"), wire.NoError, cache.Insecure, 50, now) {
		t.Fatal("not kept")
	}
	var e cache.Entry
	if !c.RRset(0, n, wire.TypeA, now+20, &e) || !e.Negative || string(e.Blob) != "proof" || e.TTL != 30 || e.Security != cache.Insecure {
		t.Errorf("%+v", e)
	}
	c.PutNegative(0, n, 0, nil, wire.NXDomain, cache.Secure, 50, now)
	if !c.RRset(0, n, 0, now, &e) || e.Rcode != wire.NXDomain {
		t.Errorf("NXDOMAIN: %+v", e)
	}
	if !c.PutRRset(0, &wire.RRset{Owner: n, Type: wire.TypeA, TTL: 10, Data: [][]byte{{1, 2, 3, 4}}}, cache.AuthAnswer, cache.Unchecked, now) {
		t.Error("records did not replace the knowledge that there are none")
	}
	if !c.RRset(0, n, wire.TypeA, now, &e) || e.Negative {
		t.Errorf("%+v", e)
	}
}

// TestFailures has the times of RFC 9520, section 3.2.
func TestFailures(t *testing.T) {
	c := cache.New(cache.Options{Size: 1 << 20})
	k := key("broken.example.")
	at := int64(now)
	for _, ttl := range []int64{5, 10, 20, 40, 80, 160, 300, 300} {
		c.PutFailure(k, 22, at)
		c.PutFailure(k, 9, at+1) // while it is remembered nothing changes
		if ede, ok := c.Failure(k, at+ttl-1); !ok || ede != 22 {
			t.Errorf("%d s later: %v %v, want a failure", ttl-1, ede, ok)
		}
		if _, ok := c.Failure(k, at+ttl); ok {
			t.Errorf("still a failure after %d s", ttl)
		}
		at += ttl
	}
	at += 601
	c.PutFailure(k, 22, at)
	if _, ok := c.Failure(k, at+5); ok {
		t.Error("what failed long ago is not forgotten")
	}
}

func TestFlush(t *testing.T) {
	c := cache.New(cache.Options{Size: 1 << 20})
	names := []string{"example.", "a.example.", "b.a.example.", "anexample.", "other."}
	fill := func() {
		for _, n := range names {
			for v := range uint8(4) {
				c.PutAnswer(cache.MakeKey(name(n), wire.TypeA, v, 0), answer(1, 100), now)
			}
		}
	}
	left := func() (found []string) {
		for _, n := range names {
			if _, ok := c.Answer(cache.MakeKey(name(n), wire.TypeA, 3, 0), now, make([]byte, 99)); ok {
				found = append(found, n)
			}
		}
		return found
	}
	fill()
	c.Flush(name("example."))
	if got := fmt.Sprint(left()); got != "[a.example. b.a.example. anexample. other.]" {
		t.Errorf("after Flush: %v", got)
	}
	fill()
	c.FlushTree(name("example."))
	if got := fmt.Sprint(left()); got != "[anexample. other.]" {
		t.Errorf("after FlushTree: %v", got)
	}
	c.FlushAll()
	if got := left(); got != nil || c.Stats().Entries != 0 {
		t.Errorf("after FlushAll: %v, %+v", got, c.Stats())
	}
}

func TestDump(t *testing.T) {
	c := cache.New(cache.Options{Size: 1 << 20})
	for i := range 500 {
		c.PutAnswer(key(fmt.Sprintf("n%d.example.", i)), answer(i%5, uint32(100+i)), now)
	}
	c.PutRRset(3, &wire.RRset{Owner: name("example."), Type: wire.TypeNS, TTL: 300, Data: [][]byte{name("a.")}}, cache.AuthAnswer, cache.Secure, now)
	var dump bytes.Buffer
	if err := c.Dump(&dump); err != nil {
		t.Fatal(err)
	}
	d := cache.New(cache.Options{Size: 2 << 20})
	if n, err := d.Load(bytes.NewReader(dump.Bytes()), now+50); err != nil || n != 501 {
		t.Fatalf("%d entries, %v", n, err)
	}
	a, b := make([]byte, 200), make([]byte, 200)
	for i := range 500 {
		k := key(fmt.Sprintf("n%d.example.", i))
		ha, _ := c.Answer(k, now+60, a)
		hb, ok := d.Answer(k, now+60, b)
		if !ok || ha != hb || !bytes.Equal(a[:ha.N], b[:hb.N]) {
			t.Fatalf("entry %d: %+v, want %+v", i, hb, ha)
		}
	}
	var e cache.Entry
	if !d.RRset(3, name("example."), wire.TypeNS, now+60, &e) || e.Security != cache.Secure || e.TTL != 240 {
		t.Errorf("set: %+v", e)
	}
	for _, cut := range []int{0, 5, 20, 100, dump.Len() - 1} {
		if _, err := cache.New(cache.Options{Size: 1 << 20}).Load(bytes.NewReader(dump.Bytes()[:cut]), now); !errors.Is(err, cache.ErrDump) {
			t.Errorf("cut at %d: error %v", cut, err)
		}
	}
	broken := bytes.Clone(dump.Bytes())
	broken[60] ^= 1
	if n, err := cache.New(cache.Options{Size: 1 << 20}).Load(bytes.NewReader(broken), now); !errors.Is(err, cache.ErrDump) || n != 0 {
		t.Errorf("a flipped bit: %d entries, error %v", n, err)
	}
}

// TestModel does what a map would do, over and over the whole ring.
func TestModel(t *testing.T) {
	c := cache.New(cache.Options{Size: 1 << 18})
	rnd := rand.New(rand.NewPCG(1, 2))
	model := map[string]int{}
	dst := make([]byte, 4096)
	hits := 0
	for i := range 200_000 {
		n := fmt.Sprintf("n%d.example.", rnd.IntN(3000))
		if rnd.IntN(3) == 0 {
			size := rnd.IntN(12)
			c.PutAnswer(key(n), answer(size, 1000), now)
			model[n] = size
			continue
		}
		h, ok := c.Answer(key(n), now, dst)
		if !ok {
			continue
		}
		hits++
		if size, put := model[n]; !put || int(h.Counts[0]) != size || h.N != 16*size {
			t.Fatalf("step %d: %s has %d records in %d octets, want %d", i, n, h.Counts[0], h.N, size)
		}
	}
	st := c.Stats()
	if hits < 20_000 || st.Octets > st.Size || st.Size > 1<<18 {
		t.Errorf("%d hits, %+v", hits, st)
	}
}

// TestConcurrent has readers that must see whole entries while writers go round.
func TestConcurrent(t *testing.T) {
	c := cache.New(cache.Options{Size: 1 << 18})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 3))
			dst := make([]byte, 4096)
			for range 20_000 {
				n := rnd.IntN(500)
				k := key(fmt.Sprintf("n%d.example.", n))
				if w%2 == 0 {
					a := answer(1+n%20, 1000)
					for i := range a.Body {
						if i%16 > 9 {
							a.Body[i] = byte(n)
						}
					}
					c.PutAnswer(k, a, now)
					continue
				}
				h, ok := c.Answer(k, now, dst)
				if !ok {
					continue
				}
				for i := range dst[:h.N] {
					if i%16 > 9 && dst[i] != byte(n) {
						t.Errorf("octet %d of entry %d is %d", i, n, dst[i])
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

// TestPrefetchOnce has many readers of one answer that is about to expire.
func TestPrefetchOnce(t *testing.T) {
	c := cache.New(cache.Options{Size: 1 << 20})
	k := key("www.example.")
	c.PutAnswer(k, answer(1, 100), now)
	var wg sync.WaitGroup
	told := make(chan bool, 1000)
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if h, _ := c.Answer(k, now+95, make([]byte, 100)); h.Prefetch {
					told <- true
				}
			}
		})
	}
	wg.Wait()
	if len(told) != 1 {
		t.Errorf("%d readers were told to prefetch, want 1", len(told))
	}
}

// TestCollector has a million entries, which the garbage collector must not see.
func TestCollector(t *testing.T) {
	if testing.Short() {
		t.Skip("fills 200 MB")
	}
	runtime.GC()
	begin := time.Now()
	runtime.GC()
	empty := time.Since(begin)
	c := fill(1_000_000)
	runtime.GC()
	begin = time.Now()
	runtime.GC()
	full := time.Since(begin)
	st := c.Stats()
	if st.Entries < 990_000 {
		t.Errorf("%d of 1,000,000 entries are there", st.Entries)
	}
	if per := st.Octets / int64(st.Entries); per > 200 {
		t.Errorf("%d octets an entry", per)
	}
	t.Logf("collection: empty %v, with %d entries %v; %d octets an entry", empty, st.Entries, full, st.Octets/int64(st.Entries))
	runtime.KeepAlive(c)
}

func fill(n int) *cache.Cache {
	c := cache.New(cache.Options{Size: int64(n) * 200})
	a := answer(4, 3000)
	room := []byte("\x0c000000000000\x07example\x00")
	for i := range n {
		copy(room[1:], fmt.Sprintf("%012d", i))
		c.PutAnswer(cache.MakeKey(room, wire.TypeA, 0, 0), a, now)
	}
	return c
}

func BenchmarkAnswer(b *testing.B) {
	c := fill(10_000)
	dst := make([]byte, 1232)
	room := []byte("\x0c000000000000\x07example\x00")
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i = (i + 7919) % 10_000
		for j, v := 12, i; j > 0; j-- {
			room[j] = byte('0' + v%10)
			v /= 10
		}
		if _, ok := c.Answer(cache.MakeKey(room, wire.TypeA, 0, 0), now+5, dst); !ok {
			b.Fatal("a miss")
		}
	}
}

func BenchmarkPutAnswer(b *testing.B) {
	c := fill(10_000)
	a := answer(1, 300)
	room := []byte("\x0c000000000000\x07example\x00")
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		for j, v := 12, i; j > 0; j-- {
			room[j] = byte('0' + v%10)
			v /= 10
		}
		c.PutAnswer(cache.MakeKey(room, wire.TypeA, 0, 0), a, now)
	}
}

// BenchmarkCollect forces collections with ten million entries.
func BenchmarkCollect(b *testing.B) {
	c := fill(10_000_000)
	runtime.GC()
	for b.Loop() {
		runtime.GC()
	}
	runtime.KeepAlive(c)
}

func TestAnswerAllocatesNothing(t *testing.T) {
	c := fill(100)
	dst := make([]byte, 1232)
	room := []byte("\x0c000000000042\x07example\x00")
	if n := testing.AllocsPerRun(1000, func() { c.Answer(cache.MakeKey(room, wire.TypeA, 0, 0), now, dst) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
