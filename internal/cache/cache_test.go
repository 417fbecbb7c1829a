package cache_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"

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
		c.Writer().PutAnswer(k, a, now)
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
	c.Writer().PutAnswer(k, answer(1, 100), now)
	dst := make([]byte, 100)
	for _, s := range []struct {
		age                 int64
		ok, stale, prefetch bool
		ttl                 uint32
	}{
		{0, true, false, false, 100},
		{89, true, false, false, 11},
		{90, true, false, true, 10},
		{91, true, false, false, 9},
		{99, true, false, false, 1},
		{100, true, true, false, 30},
		{1100, true, true, false, 30},
		{1101, false, false, false, 0},
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
		c.Writer().PutAnswer(k, a, now)
		h, ok := c.Answer(k, now, dst)
		if ok != (s.want > 0) || h.TTL != s.want {
			t.Errorf("TTL %d: %+v %v, want %d", s.put, h, ok, s.want)
		}
		if ok && binary.BigEndian.Uint32(dst[6:]) != s.want {
			t.Errorf("TTL %d in the record, want %d", binary.BigEndian.Uint32(dst[6:]), s.want)
		}
	}
}

// TestEvictions fills a cache beyond its room: what goes is counted, by whether it had expired.
func TestEvictions(t *testing.T) {
	c := cache.New(cache.Options{Size: 1 << 18, Stale: 1})
	fill := func(from int, at int64) {
		for i := range 20000 {
			c.Writer().PutAnswer(key(fmt.Sprintf("%d.example.", from+i)), answer(1, 100), at)
		}
	}
	fill(0, now)
	st := c.Stats()
	if st.EvictedFresh == 0 || st.EvictedExpired != 0 || st.EvictedFresh+uint64(st.Entries) != 20000 {
		t.Errorf("%+v", st)
	}
	fill(20000, now+101)
	after := c.Stats()
	if after.EvictedExpired == 0 || after.EvictedExpired > uint64(st.Entries) || after.EvictedFresh+after.EvictedExpired+uint64(after.Entries) != 40000 {
		t.Errorf("%+v, then %+v", st, after)
	}
}

// TestSizes has what is just small enough to be kept, and one more.
func TestSizes(t *testing.T) {
	const room = 16<<10 - 4*8 // an entry's bound without its head
	c := cache.New(cache.Options{Size: 1 << 20})
	dst := make([]byte, 64<<10)
	n := name("large.example.") // 15 octets, which take 16
	for _, size := range []int{room - 16 - 8, room - 16 - 8 + 1, 65535, 70000} {
		a := &cache.Answer{Counts: [3]uint16{1}, TTL: 100, EDE: -1, Body: bytes.Repeat([]byte{7}, size)}
		c.Writer().PutAnswer(cache.MakeKey(n, wire.TypeTXT, 0, 0), a, now)
		h, ok := c.Answer(cache.MakeKey(n, wire.TypeTXT, 0, 0), now, dst)
		if want := size <= room-24; ok != want || ok && (h.N != size || !bytes.Equal(dst[:size], a.Body)) {
			t.Errorf("an answer of %d octets: kept %v, want %v", size, ok, want)
		}
		c.FlushAll()
	}
	var e cache.Entry
	for _, s := range []struct {
		records, sigs, size int
		want                bool
	}{
		{1, 0, room - 16 - 2 - 2, true},
		{1, 0, room - 16 - 2 - 2 + 1, false},
		{1, 1, room - 16 - 2 - 2, false},
		{2, 0, 65535, false},
		{100, 100, 4, true},
		{101, 0, 4, false},
		{1, 101, 4, false},
		{0, 1, 4, false},
	} {
		set := &wire.RRset{Owner: n, Type: wire.TypeTXT, TTL: 100}
		for range s.records {
			set.Data = append(set.Data, make([]byte, s.size))
		}
		for range s.sigs {
			set.Sigs = append(set.Sigs, make([]byte, s.size))
		}
		c.Writer().PutRRset(0, &wire.RRset{Owner: n, Type: wire.TypeTXT, TTL: 100, Data: [][]byte{{1}}}, cache.AuthAnswer, cache.Unchecked, now)
		kept := c.Writer().PutRRset(0, set, cache.AuthAnswer, cache.Unchecked, now)
		if found := c.RRset(0, n, wire.TypeTXT, now, &e); kept != s.want || found != s.want {
			t.Errorf("%+v: kept %v, found %v", s, kept, found)
		}
		if s.want && (len(e.Data) != s.records || len(e.Sigs) != s.sigs || len(e.Data[s.records-1]) != s.size) {
			t.Errorf("%+v: found %d and %d records", s, len(e.Data), len(e.Sigs))
		}
	}
	for size, want := range map[int]bool{0: true, room - 16: true, room - 16 + 1: false, 1 << 17: false} {
		kept := c.Writer().PutNoData(0, n, wire.TypeMX, make([]byte, size), cache.Secure, 100, now)
		if found := c.RRset(0, n, wire.TypeMX, now, &e); kept != want || found != want || found && len(e.Proof) != size {
			t.Errorf("a proof of %d octets: kept %v, found %v, want %v", size, kept, found, want)
		}
	}
	c.FlushAll()
	// The longest name there is.
	long := bytes.Repeat(append([]byte{62}, bytes.Repeat([]byte{'x'}, 62)...), 4)
	long = append(append(long, 1, 'y'), 0)
	if len(long) != wire.MaxName {
		t.Fatal(len(long))
	}
	c.Writer().PutAnswer(cache.MakeKey(long, wire.TypeA, 0, 0), answer(1, 100), now)
	if _, ok := c.Answer(cache.MakeKey(long, wire.TypeA, 0, 0), now, dst); !ok {
		t.Error("the longest name is not kept")
	}
	if c.FlushTree(long[63:]); c.Stats().Entries != 0 {
		t.Errorf("%+v after its tree was flushed", c.Stats())
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
		if got := c.Writer().PutRRset(0, set(s.addr, 100), s.rank, s.sec, now+s.age); got != s.kept {
			t.Errorf("step %d: kept %v, want %v", i, got, s.kept)
		}
		if ok := c.RRset(0, name("ns.example."), wire.TypeA, now+s.age, &e); !ok || s.kept != (e.Data[0][3] == s.addr) || len(e.Sigs) != 1 {
			t.Errorf("step %d: %+v %v", i, e, ok)
		}
	}
	if c.RRset(1, name("ns.example."), wire.TypeA, now, &e) {
		t.Error("another partition has it too")
	}
	if c.Writer().PutRRset(0, set(8, 0), cache.AuthAnswer, cache.Unchecked, now+101); c.RRset(0, name("ns.example."), wire.TypeA, now+101, &e) {
		t.Error("a set of TTL 0 did not replace the one before")
	}
}

func TestNegative(t *testing.T) {
	c := cache.New(cache.Options{Size: 1 << 20})
	n := name("no.example.")
	c.Writer().PutRRset(0, &wire.RRset{Owner: n, Type: wire.TypeA, TTL: 10, Data: [][]byte{{1, 2, 3, 4}}}, cache.Glue, cache.Unchecked, now)
	if !c.Writer().PutNoData(0, n, wire.TypeA, []byte("proof"), cache.Insecure, 50, now) {
		t.Fatal("not kept")
	}
	var e cache.Entry
	if !c.RRset(0, n, wire.TypeA, now+20, &e) || !e.Negative || string(e.Proof) != "proof" || e.TTL != 30 || e.Security != cache.Insecure {
		t.Errorf("%+v", e)
	}
	c.Writer().PutDenial(0, n, nil, cache.Secure, 50, now)
	if !c.Denial(0, n, now, &e) || !e.Negative || e.Security != cache.Secure {
		t.Errorf("NXDOMAIN: %+v", e)
	}
	if !c.Writer().PutRRset(0, &wire.RRset{Owner: n, Type: wire.TypeA, TTL: 10, Data: [][]byte{{1, 2, 3, 4}}}, cache.AuthAnswer, cache.Unchecked, now) {
		t.Error("records did not replace the knowledge that there are none")
	}
	if !c.RRset(0, n, wire.TypeA, now, &e) || e.Negative {
		t.Errorf("%+v", e)
	}
}

// TestKinds has one name with an entry of each kind, under every type that there is: each
// is found by its own method alone, and replaced by its own alone.
func TestKinds(t *testing.T) {
	n := name("www.example.")
	var e cache.Entry
	dst := make([]byte, 100)
	// found returns which methods find something, and checks that it is their own.
	found := func(c *cache.Cache, typ wire.Type) (all string) {
		if h, ok := c.Answer(cache.MakeKey(n, typ, 0, 0), now, dst); ok {
			if all += "answer "; h.Counts[wire.Answer] != 1 || h.N != 16 {
				t.Errorf("type %d: answer %+v", typ, h)
			}
		}
		if c.RRset(0, n, typ, now, &e) {
			if all += "set "; e.Type != typ || e.Negative || string(e.Data[0]) != "set" || e.Rank != cache.NonAuth {
				t.Errorf("type %d: set %+v", typ, e)
			}
		}
		if c.Denial(0, n, now, &e) {
			if all += "denial "; !e.Negative || string(e.Proof) != "proof" || len(e.Data) != 0 {
				t.Errorf("type %d: denial %+v", typ, e)
			}
		}
		if c.Delegation(0, n, now, &e) {
			if all += "delegation "; e.Negative || len(e.Data) != 2 || string(e.Data[1]) != "server" || len(e.Sigs) != 0 {
				t.Errorf("type %d: delegation %+v", typ, e)
			}
		}
		if ede, ok := c.Failure(cache.MakeKey(n, typ, 0, 0), now); ok {
			if all += "failure "; ede != 22 {
				t.Errorf("type %d: failure %d", typ, ede)
			}
		}
		return all
	}
	set := func(typ wire.Type) *wire.RRset {
		return &wire.RRset{Owner: n, Type: typ, TTL: 300, Data: [][]byte{[]byte("set")}}
	}
	c := cache.New(cache.Options{Size: 1 << 20})
	w := c.Writer()
	for typ := range 1 << 16 {
		typ := wire.Type(typ)
		puts := []struct {
			put  func()
			want string
		}{
			{func() { w.PutDelegation(0, n, [][]byte{{}, []byte("server")}, 300, now) }, "delegation "},
			{func() { w.PutDenial(0, n, []byte("proof"), cache.Secure, 300, now) }, "denial delegation "},
			{func() { w.PutFailure(cache.MakeKey(n, typ, 0, 0), 22, now) }, "denial delegation failure "},
			{func() { w.PutRRset(0, set(typ), cache.NonAuth, cache.Unchecked, now) }, "set denial delegation failure "},
			{func() { w.PutAnswer(cache.MakeKey(n, typ, 0, 0), answer(1, 300), now) }, "answer set denial delegation failure "},
			{func() { w.PutDelegation(0, n, nil, 0, now) }, "answer set denial failure "},
			{func() { w.PutRRset(0, &wire.RRset{Owner: n, Type: typ}, cache.NonAuth, cache.Unchecked, now) }, "answer denial failure "},
		}
		for i, p := range puts {
			if p.put(); found(c, typ) != p.want {
				t.Fatalf("type %d, step %d: found %q, want %q", typ, i, found(c, typ), p.want)
			}
		}
		// Denied of a type is another thing than denied of the name.
		w.PutDelegation(0, n, [][]byte{{}, []byte("server")}, 300, now)
		w.PutNoData(0, n, typ, []byte("other"), cache.Secure, 300, now)
		if !c.RRset(0, n, typ, now, &e) || !e.Negative || string(e.Proof) != "other" ||
			!c.Denial(0, n, now, &e) || string(e.Proof) != "proof" || !c.Delegation(0, n, now, &e) || e.Negative {
			t.Fatalf("type %d: %+v", typ, e)
		}
		if c.Flush(n); found(c, typ) != "" || c.Stats().Entries != 0 {
			t.Fatalf("type %d: found %q after a flush", typ, found(c, typ))
		}
		w = c.Writer()
	}
}

// TestDelegations has what the last parent said count, whatever it is worth, for no
// longer than that parent said.
func TestDelegations(t *testing.T) {
	c := cache.New(cache.Options{Size: 1 << 20, MaxTTL: 500})
	n := name("example.")
	var e cache.Entry
	for i, ttl := range []uint32{1000, 400, 600} {
		server := []byte{byte(i)}
		if !c.Writer().PutDelegation(0, n, [][]byte{server}, ttl, now+int64(i)) {
			t.Errorf("delegation %d was not kept", i)
		}
		if !c.Delegation(0, n, now+10, &e) || !bytes.Equal(e.Data[0], server) || e.Expires != now+int64(i)+int64(min(ttl, 500)) || e.Stored != now+int64(i) || !bytes.Equal(e.Owner, n) {
			t.Errorf("delegation %d: %+v", i, e)
		}
	}
	if !c.Delegation(0, n, now+502, &e) || !e.Stale || c.Delegation(1, n, now+10, &e) {
		t.Errorf("%+v", e)
	}
	for i, servers := range [][][]byte{{make([]byte, 17<<10)}, make([][]byte, 101), nil} {
		c.Writer().PutDelegation(0, n, [][]byte{{1}}, 300, now)
		if c.Writer().PutDelegation(0, n, servers, 300, now) || c.Delegation(0, n, now, &e) {
			t.Errorf("%d: kept what is too large, or nothing: %+v", i, e)
		}
	}
}

// TestNegativeRanks has sets and the knowledge that there are none replace each other
// by the same rule.
func TestNegativeRanks(t *testing.T) {
	n := name("x.example.")
	c := cache.New(cache.Options{Size: 1 << 20})
	set := func(rank cache.Rank, sec cache.Security) bool {
		return c.Writer().PutRRset(0, &wire.RRset{Owner: n, Type: wire.TypeA, TTL: 10, Data: [][]byte{{1, 2, 3, 4}}}, rank, sec, now)
	}
	none := func(sec cache.Security) bool {
		return c.Writer().PutNoData(0, n, wire.TypeA, nil, sec, 50, now)
	}
	var e cache.Entry
	for i, s := range []struct {
		put, kept, negative bool
	}{
		{none(cache.Unchecked), true, true},
		{set(cache.Glue, cache.Unchecked), false, true},
		{set(cache.AuthAnswer, cache.Unchecked), true, false},
		{none(cache.Secure), true, true},
		{set(cache.AuthAnswer, cache.Unchecked), false, true},
		{set(cache.AuthAnswer, cache.Secure), true, false},
		{none(cache.Insecure), false, false},
		{none(cache.Secure), true, true},
	} {
		if s.put != s.kept {
			t.Errorf("step %d: kept %v, want %v", i, s.put, s.kept)
		}
	}
	if !c.RRset(0, n, wire.TypeA, now, &e) || !e.Negative || e.Security != cache.Secure || c.Stats().Entries != 1 {
		t.Errorf("%+v, %+v", e, c.Stats())
	}
}

// TestClockBack has time go backwards: nothing lives longer than it was to, and no TTL
// is out of bounds.
func TestClockBack(t *testing.T) {
	c := cache.New(cache.Options{Size: 1 << 20})
	k := key("www.example.")
	c.Writer().PutAnswer(k, answer(1, 100), now)
	c.Writer().PutRRset(0, &wire.RRset{Owner: name("www.example."), Type: wire.TypeA, TTL: 100, Data: [][]byte{{1}}}, cache.AuthAnswer, cache.Secure, now)
	c.Writer().PutFailure(k, 22, now)
	dst := make([]byte, 100)
	for _, back := range []int64{1, 3600, 1 << 30} {
		h, ok := c.Answer(k, now-back, dst)
		if ttl := binary.BigEndian.Uint32(dst[6:]); !ok || h.TTL != 100 || ttl != 100 || h.Stale {
			t.Errorf("%d s back: %+v %v, TTL %d", back, h, ok, ttl)
		}
		var e cache.Entry
		if !c.RRset(0, name("www.example."), wire.TypeA, now-back, &e) || e.TTL != 100 || e.Expires != now-back+100 {
			t.Errorf("%d s back: %+v", back, e)
		}
	}
	if _, failed := c.Failure(k, now-3600); failed {
		t.Error("a failure of the future is believed")
	}
}

// TestFailures has the times of RFC 9520, section 3.2.
func TestFailures(t *testing.T) {
	c := cache.New(cache.Options{Size: 1 << 20})
	k := key("broken.example.")
	at := int64(now)
	for _, ttl := range []int64{5, 10, 20, 40, 80, 160, 300, 300} {
		c.Writer().PutFailure(k, 22, at)
		c.Writer().PutFailure(k, 9, at+1) // while it is remembered nothing changes
		if ede, ok := c.Failure(k, at+ttl-1); !ok || ede != 22 {
			t.Errorf("%d s later: %v %v, want a failure", ttl-1, ede, ok)
		}
		if _, ok := c.Failure(k, at+ttl); ok {
			t.Errorf("still a failure after %d s", ttl)
		}
		at += ttl
	}
	at += 601
	c.Writer().PutFailure(k, 22, at)
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
				c.Writer().PutAnswer(cache.MakeKey(name(n), wire.TypeA, v, 0), answer(1, 100), now)
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

// TestPrefetchOnce has many readers of one answer that is about to expire.
func TestPrefetchOnce(t *testing.T) {
	c := cache.New(cache.Options{Size: 1 << 20})
	k := key("www.example.")
	c.Writer().PutAnswer(k, answer(1, 100), now)
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

	// The hint outlives the move to the front, and a new answer has its own.
	for i := range 40_000 {
		c.Writer().PutAnswer(cache.MakeKey(name("other."), wire.Type(i), 0, 0), answer(2, 100), now+95)
		if h, ok := c.Answer(k, now+95, make([]byte, 100)); !ok || h.Prefetch {
			t.Fatalf("after %d others: %+v %v", i, h, ok)
		}
	}
	c.Writer().PutAnswer(k, answer(1, 100), now+95)
	if h, ok := c.Answer(k, now+95+90, make([]byte, 100)); !ok || !h.Prefetch {
		t.Errorf("a new answer: %+v %v", h, ok)
	}
}

// TestWriterAfterFlush has answers that were asked for before a flush, and come after:
// nothing of what was known then may come back.
func TestWriterAfterFlush(t *testing.T) {
	c := cache.New(cache.Options{Size: 1 << 20})
	n := name("www.example.")
	set := &wire.RRset{Owner: n, Type: wire.TypeA, TTL: 300, Data: [][]byte{{192, 0, 2, 1}}}
	for what, flush := range map[string]func(){
		"a name":     func() { c.Flush(n) },
		"a tree":     func() { c.FlushTree(name("example.")) },
		"everything": c.FlushAll,
		"writers":    c.Revoke,
	} {
		w := c.Writer()
		flush()
		k, dst := cache.MakeKey(n, wire.TypeA, 0, 0), make([]byte, 512)
		w.PutAnswer(k, answer(1, 300), now)
		w.PutRRset(0, set, cache.AuthAnswer, cache.Secure, now)
		w.PutNoData(0, n, wire.TypeTXT, nil, cache.Secure, 300, now)
		w.PutDenial(0, n, nil, cache.Secure, 300, now)
		w.PutDelegation(0, n, [][]byte{{1}}, 300, now)
		w.PutFailure(k, 22, now)
		var e cache.Entry
		if _, ok := c.Answer(k, now, dst); ok || c.RRset(0, n, wire.TypeA, now, &e) || c.RRset(0, n, wire.TypeTXT, now, &e) || c.Denial(0, n, now, &e) || c.Delegation(0, n, now, &e) {
			t.Errorf("after %s was flushed, an older writer wrote", what)
		}
		if _, failed := c.Failure(k, now); failed || c.Stats().Entries != 0 {
			t.Errorf("after %s was flushed: %+v", what, c.Stats())
		}
		c.Writer().PutAnswer(k, answer(1, 300), now)
		if _, ok := c.Answer(k, now, dst); !ok {
			t.Errorf("after %s was flushed, a new writer did not write", what)
		}
		c.FlushAll()
	}
}

// A mark is told with the answer that it was given to, and with no other: one that takes its place has
// none, and a dump keeps none.
func TestMark(t *testing.T) {
	c := cache.New(cache.Options{Size: 1 << 20, Seed: 53})
	k := cache.MakeKey([]byte("\x01a\x00"), wire.TypeA, 0, 0)
	room := make([]byte, 512)
	put := func(octet byte) {
		c.Writer().PutAnswer(k, &cache.Answer{TTL: 60, Counts: [3]uint16{1}, Body: bytes.Repeat([]byte{octet}, 20), EDE: -1, Security: cache.Secure}, 1000)
	}
	find := func() cache.Hit {
		t.Helper()
		h, ok := c.Answer(k, 1001, room)
		if !ok {
			t.Fatal("no answer")
		}
		return h
	}
	put(1)
	h := find()
	for _, mark := range []uint32{1, 0x10000, cache.MaxMark} {
		c.Mark(k, &h, mark)
		if got := find(); got.Mark != mark || got.Security != cache.Secure || got.EDE != -1 || got.N != 20 || room[0] != 1 {
			t.Errorf("mark %#x: %+v", mark, got)
		}
	}
	var dump bytes.Buffer
	if err := c.Dump(&dump); err != nil {
		t.Fatal(err)
	}
	other := cache.New(cache.Options{Size: 1 << 20, Seed: 53})
	if n, err := other.Load(&dump, 1001); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if got, ok := other.Answer(k, 1001, room); !ok || got.Mark != 0 {
		t.Errorf("after a dump: %v, %+v", ok, got)
	}
	put(2)
	if got := find(); got.Mark != 0 {
		t.Errorf("another answer has mark %d", got.Mark)
	}
	c.Mark(k, &h, 7) // of what was there before
	if got := find(); got.Mark != 0 {
		t.Errorf("another answer got mark %d", got.Mark)
	}
	if n := testing.AllocsPerRun(100, func() { h := find(); c.Mark(k, &h, 9) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestViews keeps what one view has learned from all others, whatever kind it is of, and forgets it alone.
func TestViews(t *testing.T) {
	c := cache.New(cache.Options{Size: 1 << 20})
	const now = 1000
	w := c.Writer()
	n := name("www.example.")
	parts := []cache.Partition{cache.NewPartition(0, 0), cache.NewPartition(0, 1), cache.NewPartition(1, 0), cache.NewPartition(1, 1), cache.NewPartition(1, 0xFFFF), cache.NewPartition(63, 0)}
	kinds := map[string]struct {
		put  func(cache.Partition)
		have func(cache.Partition) bool
	}{
		"answer": {
			func(p cache.Partition) { w.PutAnswer(cache.MakeKey(n, wire.TypeA, 3, p), answer(1, 100), now) },
			func(p cache.Partition) bool {
				_, ok := c.Answer(cache.MakeKey(n, wire.TypeA, 3, p), now, make([]byte, 512))
				return ok
			},
		},
		"failure": {
			func(p cache.Partition) { w.PutFailure(cache.MakeKey(n, wire.TypeA, 0, p), 22, now) },
			func(p cache.Partition) bool { _, ok := c.Failure(cache.MakeKey(n, wire.TypeA, 0, p), now); return ok },
		},
		"set": {
			func(p cache.Partition) {
				w.PutRRset(p, &wire.RRset{Owner: n, Type: wire.TypeA, TTL: 100, Data: [][]byte{{192, 0, 2, 1}}}, cache.AuthAnswer, cache.Insecure, now)
			},
			func(p cache.Partition) bool { return c.RRset(p, n, wire.TypeA, now, &cache.Entry{}) },
		},
		"denial": {
			func(p cache.Partition) { w.PutDenial(p, n, []byte{1}, cache.Insecure, 100, now) },
			func(p cache.Partition) bool { return c.Denial(p, n, now, &cache.Entry{}) },
		},
		"delegation": {
			func(p cache.Partition) { w.PutDelegation(p, n, [][]byte{n}, 100, now) },
			func(p cache.Partition) bool { return c.Delegation(p, n, now, &cache.Entry{}) },
		},
	}
	for what, k := range kinds {
		for i, p := range parts {
			for j, other := range parts {
				if got, want := k.have(other), j < i; got != want {
					t.Fatalf("%s: of part %d, after %d parts were written: %v", what, j, i, got)
				}
			}
			k.put(p)
		}
	}
	c.FlushView(1)
	for what, k := range kinds {
		for j, p := range parts {
			if got := k.have(p); got != (p.View() != 1) {
				t.Errorf("%s: of part %d, after view 1 was forgotten: %v", what, j, got)
			}
		}
	}
}
