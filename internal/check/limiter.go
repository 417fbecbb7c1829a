package check

import (
	"context"
	"net/netip"
	"sync"
)

// atAddress is how many exchanges with one address may be under way: as many as a busy
// stub has. Targets share servers: those of a thousand zones may be two addresses.
const atAddress = 8

// A Limiter lets few questions at the same time be under way to each address. It is safe for
// concurrent use.
type Limiter struct {
	mu sync.Mutex
	at map[netip.Addr]*slots

	// What servers are is found out once for all targets that have them.
	servers Facts
}

type slots struct {
	users int
	free  chan struct{}
}

// NewLimiter returns a limiter.
func NewLimiter() *Limiter { return &Limiter{at: map[netip.Addr]*slots{}} }

// Acquire waits for its turn and returns what has to be called at the end.
func (g *Limiter) Acquire(ctx context.Context, a netip.Addr) (leave func(), err error) {
	if g == nil {
		return func() {}, nil
	}
	g.mu.Lock()
	d := g.at[a]
	if d == nil {
		d = &slots{free: make(chan struct{}, atAddress)}
		g.at[a] = d
	}
	d.users++
	g.mu.Unlock()
	gone := func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if d.users--; d.users == 0 {
			delete(g.at, a)
		}
	}
	select {
	case d.free <- struct{}{}:
		return func() { <-d.free; gone() }, nil
	case <-ctx.Done():
		gone()
		return nil, ctx.Err()
	}
}
