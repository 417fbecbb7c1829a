package tsig

import (
	"encoding/binary"
	"sync"
	"time"
)

// A Replay remembers requests for as long as their signatures hold, so that one which
// changes something is not acted on twice. The zero value is ready; it is safe for use
// by many goroutines.
type Replay struct {
	mu       sync.Mutex
	now, old map[uint64]struct{} // by the first octets of the code; two spans of time
	turned   time.Time
}

// maxReplays bounds what is remembered of one span of time: 1,000 requests a second for
// longer than a span lasts. Only who has a key can fill it.
const maxReplays = 1 << 20

// span is how long a request is remembered at least: its time may lie Fudge seconds
// ahead of ours when it comes, and it is refused Fudge seconds behind.
const span = 2 * Fudge * time.Second

// Seen tells whether a request that was accepted came before, and remembers it.
func (r *Replay) Seen(c *Context, now time.Time) bool {
	key := binary.BigEndian.Uint64(c.record.mac)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.now == nil || now.Sub(r.turned) > span || len(r.now) >= maxReplays {
		r.old, r.now, r.turned = r.now, map[uint64]struct{}{}, now
	}
	if _, seen := r.now[key]; seen {
		return true
	}
	if _, seen := r.old[key]; seen {
		return true
	}
	r.now[key] = struct{}{}
	return false
}
