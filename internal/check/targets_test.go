package check_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"port53/internal/check"
)

func TestParseWord(t *testing.T) {
	for text, ok := range map[string]bool{
		"192.0.2.1": true, "192.0.2.1:5300": true, "[2001:db8::1]:53": true, "2001:db8::1": true, "[2001:db8::1]": true, "192.0.2.0/24": true, "2001:db8::/120": true,
		"example.com": true, "ns1.example.com:5300": true, ".": true, "example.com.": true, "xn--bcher-kva.example": true,
		"": false, "192.0.2.256": false, "192.0.2": false, "1.2.3.4.5": false, "example..com": false, "ns1.example.com:x": false, "ns1.example.com:0": false, "ns1.example.com:70000": false,
		"192.0.2.0/33": false, "example.com/24": false, strings.Repeat("a", 64) + ".com": false,
	} {
		if _, err := check.ParseWord(text); (err == nil) != ok {
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
		t.Errorf("%d of %d, %d at one time", next, n, most.Load())
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
