package tsig

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

// TestDecoy has the work for a key that is not known be that of its algorithm.
func TestDecoy(t *testing.T) {
	for name, want := range map[string]Algorithm{
		"\x0bHMAC-SHA224\x00": HMACSHA224, "\x0bhmac-sha256\x00": HMACSHA256,
		"\x0bhmac-sha384\x00": HMACSHA384, "\x0bhmac-sha512\x00": HMACSHA512, "\x03md5\x00": HMACSHA256,
	} {
		if k := decoy([]byte(name)); k.Algorithm != want || len(k.Secret) == 0 {
			t.Errorf("%q: %+v", name, k)
		}
	}
}

// begun reports whether a request that came at a time came before.
func begun(r *Replay, c *Context, at time.Time) bool {
	_, again := r.Begin(c, netip.AddrPort{}, false, at)
	return again
}

// signed returns a request that was taken, with a code that is n.
func signed(n int, at time.Time) *Context {
	return &Context{record: record{signed: uint64(at.Unix()), mac: binary.BigEndian.AppendUint64(make([]byte, 8), uint64(n))}}
}

// TestReplaysAreForgotten has requests be remembered for ten minutes at least, for as long
// as their time may still be right, and not for ever.
func TestReplaysAreForgotten(t *testing.T) {
	at := time.Unix(1_790_000_000, 0)
	for _, c := range []struct {
		others []time.Duration // when others come
		asked  time.Duration
		again  bool
	}{
		{nil, 0, true},
		{[]time.Duration{time.Second, 2 * time.Second}, 3 * time.Second, true},
		{[]time.Duration{600 * time.Second}, 1200 * time.Second, true},
		{[]time.Duration{601 * time.Second}, 1200 * time.Second, true},
		{[]time.Duration{601 * time.Second}, 1202 * time.Second, false},
	} {
		r, first := NewReplay(at), signed(0, at)
		if begun(r, first, at) {
			t.Fatal("the first came before")
		}
		for i, after := range c.others {
			if begun(r, signed(i+1, at), at.Add(after)) {
				t.Errorf("another came before, after %v", after)
			}
		}
		if again := begun(r, first, at.Add(c.asked)); again != c.again {
			t.Errorf("after %v, with others after %v: it came before: %v", c.asked, c.others, again)
		}
	}
}

// TestReplaysAreBounded has more requests than are remembered of one span of time.
func TestReplaysAreBounded(t *testing.T) {
	const most = 1 << 20
	at := time.Unix(1_790_000_000, 0)
	r := NewReplay(at)
	begun(r, signed(0, at), at)
	r.now = make(map[replayKey]*Outcome, most)
	var key replayKey
	for n := range most - 1 {
		binary.BigEndian.PutUint64(key[8:], uint64(n))
		r.now[key] = nil
	}
	begun(r, signed(most, at), at)
	if len(r.now) != most || r.old != nil {
		t.Errorf("%d are remembered, want %d", len(r.now), most)
	}
	begun(r, signed(most+1, at), at)
	if len(r.now) != 1 || len(r.old) != most {
		t.Errorf("%d and %d are remembered, want 1 and %d", len(r.now), len(r.old), most)
	}
	if !begun(r, signed(most, at), at) {
		t.Error("a request is forgotten at once")
	}
}
