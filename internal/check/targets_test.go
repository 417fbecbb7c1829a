package check_test

import (
	"context"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"port53/internal/check"
	"port53/internal/finding"
)

func TestParseWord(t *testing.T) {
	for text, ok := range map[string]bool{
		"192.0.2.1": true, "192.0.2.1:5300": true, "[2001:db8::1]:53": true, "2001:db8::1": true, "[2001:db8::1]": true, "192.0.2.0/24": true, "2001:db8::/120": true, "0/26.2.0.192.in-addr.arpa": true, "64/27.2.0.192.IN-ADDR.arpa.": true,
		"example.com": true, "ns1.example.com:5300": true, ".": true, "example.com.": true, "xn--bcher-kva.example": true,
		"": false, "192.0.2.256": false, "192.0.2": false, "1.2.3.4.5": false, "example..com": false, "ns1.example.com:x": false, "ns1.example.com:0": false, "ns1.example.com:70000": false,
		"192.0.2.0/33": false, "example.com/24": false, strings.Repeat("a", 64) + ".com": false,
	} {
		if _, err := check.ParseTarget(text); (err == nil) != ok {
			t.Errorf("%q: %v, want it taken: %t", text, err, ok)
		}
	}
}

func TestInOrder(t *testing.T) {
	const n, atOnce = 200, 8
	var running, most, ahead atomic.Int64
	in := func(yield func(int) bool) {
		for i := range n {
			ahead.Store(int64(i))
			if !yield(i) {
				return
			}
		}
	}
	next := 0
	for got := range check.InOrder(t.Context(), atOnce, in, func(_ context.Context, i int) int {
		for now := running.Add(1); ; {
			if old := most.Load(); old >= now || most.CompareAndSwap(old, now) {
				break
			}
		}
		defer running.Add(-1)
		return i
	}) {
		if got != next {
			t.Fatalf("got %d, want %d", got, next)
		}
		if far := ahead.Load() - int64(next); far > atOnce*4+2 {
			t.Fatalf("read %d ahead", far)
		}
		next++
	}
	if next != n || most.Load() > atOnce {
		t.Errorf("%d of %d, %d at the same time", next, n, most.Load())
	}
	// It ends with the context, even if nothing is ever done.
	ctx, cancel := context.WithCancel(t.Context())
	for range check.InOrder(ctx, 1, in, func(ctx context.Context, i int) int {
		if i > 0 {
			cancel()
			<-ctx.Done()
		}
		return i
	}) {
		continue
	}
}

// finds returns what a finder makes of a word: the texts of its targets, or the problem.
func finds(t *testing.T, f *check.Finder, text string) string {
	t.Helper()
	w, err := check.ParseTarget(text)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, x := range f.Find(t.Context(), w) {
		if x.Problem != "" {
			x.Text = "problem: " + x.Problem
		}
		out = append(out, x.Text)
	}
	return strings.Join(out, "; ")
}

// TestInputNeverComes has targets come from somebody who does not say them: those that are there are
// examined, and the context ends the wait for others.
func TestInputNeverComes(t *testing.T) {
	never := make(chan struct{})
	defer close(never)
	in := func(yield func(int) bool) {
		_ = yield(1)
		<-never
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan []int, 1)
	go func() {
		var got []int
		for r := range check.InOrder(ctx, 4, in, func(_ context.Context, i int) int { return i }) {
			got = append(got, r)
			cancel()
		}
		ended <- got
	}()
	select {
	case got := <-ended:
		if len(got) != 1 || got[0] != 1 {
			t.Errorf("got %v", got)
		}
	case <-time.After(time.Minute):
		t.Error("it does not end")
	}
}

// TestFind has words of each kind, found from the root and through a resolver.
func TestFind(t *testing.T) {
	lab := check.Lab{Dial: internet(t).dial}
	roots := []finding.Server{{Addr: netip.MustParseAddrPort("192.0.2.1:53"), Name: name("a.root")}}
	walk := &check.Finder{Options: &check.Options{Roots: roots, Lab: lab}}
	stub := &check.Finder{Options: &check.Options{Resolvers: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.9:53")}, Lab: lab}}
	zoned := &check.Finder{Options: walk.Options, Zone: name("example.test"), Max: 4}
	none := &check.Finder{Options: &check.Options{Lab: lab}, Max: 4}
	const all = "example.test; example.test at ns1.example.test (192.0.2.2); example.test at ns2.example.test (192.0.2.3)"
	for _, c := range []struct {
		f    *check.Finder
		word string
		want string
	}{
		{walk, "example.test", all},
		{stub, "example.test", all},
		{walk, "ns1.example.test", "ns1.example.test (192.0.2.2)"},
		{stub, "ns2.example.test", "ns2.example.test (192.0.2.3)"},
		{zoned, "ns1.example.test", "ns1.example.test (192.0.2.2)"},
		{walk, "ns1.example.test:5300", "ns1.example.test:5300 (192.0.2.2:5300)"},
		{walk, "gone.example.test", "problem: gone.example.test. does not exist"},
		{walk, "elsewhere", "problem: elsewhere. does not exist"},
		{zoned, "example.test", "problem: example.test. has no address, and is not a zone"},
		{stub, "elsewhere", "problem: elsewhere. NS cannot be looked up: 192.0.2.9:53 answers SERVFAIL"},
		{zoned, "192.0.2.0/24", "problem: it has 2^8 addresses, and 4 are allowed: see --max-targets"},
		{zoned, "::/0", "problem: it has 2^128 addresses, and 4 are allowed: see --max-targets"},
		{none, "192.0.2.9/30", "192.0.2.9; 192.0.2.10"},
		{none, "192.0.2.8-11", "192.0.2.8; 192.0.2.9; 192.0.2.10; 192.0.2.11"},
		{none, "192.0.2.8/31", "192.0.2.8; 192.0.2.9"},
		{none, "192.0.2.8/32", "192.0.2.8"},
		{none, "2001:db8::/126", "2001:db8::; 2001:db8::1; 2001:db8::2; 2001:db8::3"},
		{none, "255.255.255.254/31", "255.255.255.254; 255.255.255.255"},
		{none, "example.test", "problem: no servers of the root are known"},
	} {
		if got := finds(t, c.f, c.word); got != c.want {
			t.Errorf("%s: got %s\nwant %s", c.word, got, c.want)
		}
	}
}
