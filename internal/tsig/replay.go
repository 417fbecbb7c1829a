package tsig

import (
	"net/netip"
	"sync"
	"time"

	"port53/internal/wire"
)

// A Replay remembers requests for as long as their signatures hold, so that one which
// changes something is not acted on twice. It is safe for use by many goroutines.
type Replay struct {
	since    time.Time // what was signed before may have been acted on by a process before this one
	mu       sync.Mutex
	now, old map[replayKey]*Outcome // two spans of time
	turned   time.Time
}

// NewReplay returns a Replay that refuses what was signed before since, in whole seconds:
// a restart forgets.
func NewReplay(since time.Time) *Replay { return &Replay{since: since} }

// replayKey is the first octets of the code.
type replayKey [16]byte

// An Outcome is what became of a request.
type Outcome struct {
	from  netip.AddrPort
	done  chan struct{}
	rcode wire.Rcode
}

// maxReplays bounds what is remembered of one span of time: 1,000 requests a second for
// longer than a span lasts. Only who has a key can fill it.
const maxReplays = 1 << 20

// span is how long a request is remembered at least: its time may lie Fudge seconds
// ahead of ours when it comes, and it is refused Fudge seconds behind.
const span = 2 * Fudge * time.Second

// Begin remembers a request that was accepted and came over a transport from an address.
// It returns the Outcome to tell of when the request is done; or, for one that came
// before, that of the first if the same socket sent it, which is a client that had no
// reply, and otherwise nil.
func (r *Replay) Begin(c *Context, from netip.AddrPort, udp bool, now time.Time) (o *Outcome, again bool) {
	if int64(c.record.signed) < r.since.Unix() {
		return nil, true
	}
	var key replayKey
	copy(key[:], c.record.mac)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.now == nil || now.Sub(r.turned) > span || len(r.now) >= maxReplays {
		r.old, r.now, r.turned = r.now, map[replayKey]*Outcome{}, now
	}
	o, again = r.now[key]
	if !again {
		o, again = r.old[key]
	}
	switch {
	case !again:
		o = &Outcome{from: from, done: make(chan struct{})}
		r.now[key] = o
	case !udp || o.from != from:
		return nil, true
	}
	return o, again
}

// Done tells what became of the request, once.
func (o *Outcome) Done(rcode wire.Rcode) {
	o.rcode = rcode
	close(o.done)
}

// Wait returns what Done was told, when it has been.
func (o *Outcome) Wait() wire.Rcode {
	<-o.done
	return o.rcode
}
