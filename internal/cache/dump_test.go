package cache_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"port53/internal/cache"
	"port53/internal/wire"
)

// dumped returns a cache of 503 entries that a dump has, and the dump.
func dumped(t *testing.T) (*cache.Cache, []byte) {
	c := cache.New(cache.Options{Size: 1 << 20})
	for i := range 500 {
		c.Writer().PutAnswer(key(fmt.Sprintf("n%d.example.", i)), answer(i%5, uint32(100+i)), now)
	}
	c.Writer().PutRRset(3, &wire.RRset{Owner: name("example."), Type: wire.TypeNS, TTL: 300, Data: [][]byte{name("a.")}}, cache.AuthAnswer, cache.Secure, now)
	c.Writer().PutDenial(3, name("example."), []byte("proof"), cache.Insecure, 300, now)
	c.Writer().PutDelegation(3, name("example."), [][]byte{[]byte("server")}, 300, now)
	c.Writer().PutFailure(key("n0.example."), 22, now)
	var dump bytes.Buffer
	if err := c.Dump(&dump); err != nil {
		t.Fatal(err)
	}
	return c, dump.Bytes()
}

// alike reports whether two answers are the same for whoever reads them, wherever they lie in a cache.
func alike(a, b any) bool {
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range x.NumField() {
		if x.Type().Field(i).IsExported() && !x.Field(i).Equal(y.Field(i)) {
			return false
		}
	}
	return true
}

func TestDump(t *testing.T) {
	c, dump := dumped(t)
	d := cache.New(cache.Options{Size: 2 << 20})
	if n, err := d.Load(bytes.NewReader(dump), now+50); err != nil || n != 503 {
		t.Fatalf("%d entries, %v", n, err)
	}
	a, b := make([]byte, 200), make([]byte, 200)
	for i := range 500 {
		k := key(fmt.Sprintf("n%d.example.", i))
		ha, _ := c.Answer(k, now+60, a)
		hb, ok := d.Answer(k, now+60, b)
		if !ok || !alike(ha, hb) || !bytes.Equal(a[:ha.N], b[:hb.N]) {
			t.Fatalf("entry %d: %+v, want %+v", i, hb, ha)
		}
	}
	var e cache.Entry
	if !d.RRset(3, name("example."), wire.TypeNS, now+60, &e) || e.Security != cache.Secure || e.Rank != cache.AuthAnswer || e.TTL != 240 {
		t.Errorf("set: %+v", e)
	}
	if !d.Denial(3, name("example."), now+60, &e) || !e.Negative || e.Security != cache.Insecure || string(e.Proof) != "proof" {
		t.Errorf("denial: %+v", e)
	}
	if !d.Delegation(3, name("example."), now+60, &e) || e.TTL != 240 || string(e.Data[0]) != "server" {
		t.Errorf("delegation: %+v", e)
	}
	if d.RRset(3, name("example."), 0, now+60, &e) {
		t.Errorf("a set of type 0: %+v", e)
	}
	if _, failed := d.Failure(key("n0.example."), now); failed {
		t.Error("a failure outlives the run")
	}

	// What is known already is newer, and what is too old is of no use.
	if n, err := d.Load(bytes.NewReader(dump), now+60); err != nil || n != 0 {
		t.Errorf("a second time: %d entries, %v", n, err)
	}
	for _, s := range []struct {
		o    cache.Options
		at   int64
		want int
	}{
		{cache.Options{Stale: 10}, now + 110, 503},
		{cache.Options{Stale: 10}, now + 111, 502},
		{cache.Options{Stale: 10}, now + 300, 313},
		{cache.Options{}, now + 1<<20, 0},
		{cache.Options{}, now - 3600, 0},
		{cache.Options{MaxTTL: 299}, now, 200},
		{cache.Options{MaxTTL: 300}, now, 204},
	} {
		s.o.Size = 1 << 20
		if n, err := cache.New(s.o).Load(bytes.NewReader(dump), s.at); err != nil || n != s.want {
			t.Errorf("%+v after %d s: %d entries, %v, want %d", s.o, s.at-now, n, err, s.want)
		}
	}
	// A smaller cache keeps what was newest.
	small := cache.New(cache.Options{Size: 1 << 17})
	big := cache.New(cache.Options{Size: 1 << 20})
	for _, name := range names(3000) {
		big.Writer().PutAnswer(cache.MakeKey(name, wire.TypeA, 0, 0), typical(), now)
	}
	var out bytes.Buffer
	if err := big.Dump(&out); err != nil {
		t.Fatal(err)
	}
	if _, err := small.Load(&out, now); err != nil {
		t.Fatal(err)
	}
	for i, name := range names(3000) {
		if _, ok := small.Answer(cache.MakeKey(name, wire.TypeA, 0, 0), now, a); ok && i < 2000 || !ok && i > 2500 {
			t.Fatalf("entry %d of 3000: found %v", i, ok)
		}
	}
}

func TestBrokenDumps(t *testing.T) {
	_, dump := dumped(t)
	load := func(r io.Reader) (int, error) { return cache.New(cache.Options{Size: 1 << 20}).Load(r, now) }
	for cut := 0; cut < len(dump); cut += 1 + cut/50 {
		if n, err := load(bytes.NewReader(dump[:cut])); !errors.Is(err, cache.ErrDump) || n > cut/48 {
			t.Errorf("cut at %d: %d entries, %v", cut, n, err)
		}
	}
	if n, err := load(bytes.NewReader(dump[:len(dump)-1])); !errors.Is(err, cache.ErrDump) || n != 503 {
		t.Errorf("only its end is missing: %d entries, %v", n, err)
	}
	for at := 0; at < len(dump); at += 1 + at/20 {
		broken := bytes.Clone(dump)
		broken[at] ^= 0x10
		if n, err := load(bytes.NewReader(broken)); !errors.Is(err, cache.ErrDump) || n > at/48 {
			t.Errorf("a bit flipped at %d: %d entries, %v", at, n, err)
		}
	}
	if _, err := load(strings.NewReader("port53 cache 2\n")); !errors.Is(err, cache.ErrDump) || !strings.Contains(err.Error(), "port53 cache") {
		t.Errorf("another version: %v", err)
	}
	fault := errors.New("the disk is gone")
	if _, err := load(io.MultiReader(bytes.NewReader(dump[:5000]), iotest.ErrReader(fault))); !errors.Is(err, fault) || errors.Is(err, cache.ErrDump) {
		t.Errorf("a reader's fault: %v", err)
	}
	c, _ := dumped(t)
	if err := c.Dump(failing{fault}); !errors.Is(err, fault) {
		t.Errorf("a writer's fault: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// TestForgedDumps has entries that this program did not write, under good checksums:
// no lookup may go out of bounds for them.
func TestForgedDumps(t *testing.T) {
	_, dump := dumped(t)
	rnd := rand.New(rand.NewPCG(1, 1))
	kept := 0
	times := 3000
	if raceEnabled {
		times = 300
	}
	for range times {
		forged := forge(bytes.Clone(dump[:2000]), func(entry []byte) {
			for range 1 + rnd.IntN(3) {
				entry[rnd.IntN(len(entry))] = byte(rnd.Uint32())
			}
		})
		kept += useForged(t, forged)
	}
	if kept < times {
		t.Errorf("only %d forged entries were taken", kept)
	}
}

// FuzzLoad does the same with whatever comes.
func FuzzLoad(f *testing.F) {
	c := cache.New(cache.Options{Size: 1 << 20})
	c.Writer().PutAnswer(key("www.example."), answer(3, 300), now)
	c.Writer().PutRRset(0, &wire.RRset{Owner: name("www.example."), Type: wire.TypeA, TTL: 300, Data: [][]byte{{1}}, Sigs: [][]byte{{2}}}, cache.AuthAnswer, cache.Secure, now)
	var dump bytes.Buffer
	if err := c.Dump(&dump); err != nil {
		f.Fatal(err)
	}
	f.Add(dump.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) { useForged(t, forge(b, func([]byte) {})) })
}

// forge changes each entry of a dump, and gives it a good checksum.
func forge(dump []byte, change func(entry []byte)) []byte {
	rest := dump[min(len("port53 cache 3\n"), len(dump)):]
	for len(rest) >= 8 {
		n := int(binary.LittleEndian.Uint32(rest))
		if n == 0 || n > len(rest)-8 {
			break
		}
		entry := rest[8 : 8+n]
		change(entry)
		binary.LittleEndian.PutUint32(rest[4:], crc32.Checksum(entry, crc32.MakeTable(crc32.Castagnoli)))
		rest = rest[8+n:]
	}
	return dump
}

// useForged loads a dump, and looks for everything in it.
func useForged(t *testing.T, dump []byte) (kept int) {
	c := cache.New(cache.Options{Size: 1 << 17})
	kept, _ = c.Load(bytes.NewReader(dump), now)
	dst := make([]byte, 16<<10)
	var e cache.Entry
	for _, n := range []string{"www.example.", "n0.example.", "n1.example.", "n2.example.", "n3.example.", "n4.example.", "n5.example.", "n6.example.", "example."} {
		for _, typ := range []wire.Type{0, wire.TypeA, wire.TypeNS} {
			if h, ok := c.Answer(cache.MakeKey(name(n), typ, 0, 0), now, dst); ok && h.N > len(dst) {
				t.Errorf("%d octets", h.N)
			}
			c.RRset(0, name(n), typ, now, &e)
			c.RRset(3, name(n), typ, now, &e)
		}
		for partition := range cache.Partition(4) {
			c.Denial(partition, name(n), now, &e)
			c.Delegation(partition, name(n), now, &e)
		}
	}
	if st := c.Stats(); st.Entries != kept {
		t.Errorf("%d entries were kept, %+v", kept, st)
	}
	if err := c.Dump(io.Discard); err != nil {
		t.Error(err)
	}
	c.FlushTree(name("example."))
	c.FlushAll()
	if st := c.Stats(); st.Entries != 0 || st.Octets != 0 {
		t.Errorf("after FlushAll: %+v", st)
	}
	return kept
}
