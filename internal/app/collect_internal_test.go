package app

import (
	"runtime"
	"runtime/metrics"
	"testing"
)

func gcPercent() uint64 {
	s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// TestPaceOfCollections has a small heap collected each 16 MiB, a large one as by default, and
// the default back when it is over.
func TestPaceOfCollections(t *testing.T) {
	t.Setenv("GOGC", "")
	runtime.GC()
	stop := paceCollections()
	settle := func(good func(percent uint64) bool) uint64 {
		for range 100 { // the runtime says when it has collected in its own time
			if good(gcPercent()) {
				break
			}
			runtime.GC()
		}
		return gcPercent()
	}
	if p := settle(func(p uint64) bool { return p > 150 }); p <= 150 {
		t.Errorf("a small heap grows by %d percent", p)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 1 << 18 {
		garbage = make([]byte, 1024)
	}
	runtime.ReadMemStats(&after)
	if n := after.NumGC - before.NumGC; n > 256/8 {
		t.Errorf("%d collections for 256 MiB", n)
	}
	large := make([]byte, 8*collectEach)
	// What is set stays while it is less than a quarter off, as it may be when a collection met
	// the heap half grown.
	if p := settle(func(p uint64) bool { return p == collectShare }); p-p/4 > collectShare {
		t.Errorf("a large heap grows by %d percent", p)
	}
	runtime.KeepAlive(large)
	large = nil
	settle(func(p uint64) bool { return p > 150 })
	stop()
	if p := gcPercent(); p != collectShare {
		t.Errorf("it is over, and the heap grows by %d percent", p)
	}
	runtime.GC()
	if p := settle(func(p uint64) bool { return false }); p != collectShare {
		t.Errorf("it is over, and the heap grows by %d percent again", p)
	}
	t.Setenv("GOGC", "50")
	paceCollections()()
	if p := gcPercent(); p != collectShare {
		t.Errorf("GOGC was set, and the heap grows by %d percent", p)
	}
}

var garbage []byte
