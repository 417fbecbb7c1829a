package signer_test

import (
	"math"
	"testing"

	"port53/internal/signer"
)

// TestLongestDSTTL has somebody answer in the parent's place with the longest TTL there is: what is
// waited for a DS record to leave caches ends after a week all the same.
func TestLongestDSTTL(t *testing.T) {
	var l signer.Lifecycle
	for _, c := range []struct{ ttl, want uint32 }{{3600, 3600}, {60, 3600}, {math.MaxInt32, 604800}, {86400, 604800}} {
		if l.Observe(&signer.Observation{Parent: []signer.ParentServer{{Server: "192.0.2.1", TTL: c.ttl}}}); l.DSTTL != c.want {
			t.Errorf("TTL %d: %d s are waited, want %d", c.ttl, l.DSTTL, c.want)
		}
	}
}
