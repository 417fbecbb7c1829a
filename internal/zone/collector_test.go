package zone_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"port53/internal/dnstest"
)

// TestCollector counts what the garbage collector has to look at for a zone: as much for
// twenty thousand names as for a thousand.
func TestCollector(t *testing.T) {
	objects := func(names int) int {
		var text strings.Builder
		text.WriteString("@ 60 SOA ns admin 1 1 2 3 4\n@ 60 NS ns\nns 60 A 192.0.2.1\n")
		for i := range names {
			fmt.Fprintf(&text, "h%d.s%d 60 A 192.0.2.1\nh%d.s%d 60 MX 10 h%d.s%d\n*.w%d 60 TXT x\n", i, i, i, i, i/2, i/2, i)
		}
		heap := func() uint64 {
			runtime.GC()
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return m.HeapObjects
		}
		before := heap()
		z := dnstest.Zone(t, "test.", text.String())
		after := heap()
		runtime.KeepAlive(z)
		return int(after) - int(before)
	}
	objects(10)
	small, large := objects(1000), objects(20_000)
	if large > small+50 {
		t.Errorf("%d objects for 20,000 names, %d for 1,000", large, small)
	}
}
