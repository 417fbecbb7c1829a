package zones

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"port53/internal/transfer"
	"port53/internal/tsig"
	"port53/internal/wire"
	"port53/internal/zone"
)

// A notifier sends NOTIFY (RFC 1996) for the versions that are served. It holds its lock
// over no I/O.
type notifier struct {
	log    *slog.Logger
	client *transfer.Client
	ctx    context.Context
	work   *sync.WaitGroup

	mu     sync.Mutex
	begun  bool // nobody is told before the server is there to be asked
	rounds map[string]*round
}

// A notice is one version to announce.
type notice struct {
	zone      *zone.Zone
	followers []netip.AddrPort
	key       *tsig.Key // to sign with; nil: it is not signed
}

// A round is what is known of the announcements of one zone.
type round struct {
	last time.Time // when the last began
	stop func()    // ends it
	next *notice   // that waits until notifyGap is over; nil: none
}

// notifyGap is the time between two rounds of NOTIFY for a zone, and between two refreshes
// that NOTIFY leads to: changes that come closer together are told of together, and a
// forged NOTIFY does not make a primary be asked all the time.
const notifyGap = time.Second

// begin lets announcements be sent.
func (n *notifier) begin() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.begun = true
}

// announce sends a notice to all followers, at once or, unless now is set, when notifyGap
// has passed since the last.
func (n *notifier) announce(key string, what notice, now bool) {
	if len(what.followers) == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.begun || n.ctx.Err() != nil {
		return
	}
	r := n.rounds[key]
	if r == nil {
		r = &round{}
		n.rounds[key] = r
	}
	wait := time.Until(r.last.Add(notifyGap))
	if now || wait <= 0 && r.next == nil {
		n.send(r, what)
		return
	}
	waits := r.next != nil
	r.next = &what
	if waits {
		return
	}
	n.work.Go(func() {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-n.ctx.Done():
			return
		case <-timer.C:
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		if next := r.next; next != nil {
			r.next = nil
			n.send(r, *next)
		}
	})
}

// send begins a round, and ends the one before. n.mu is held.
func (n *notifier) send(r *round, what notice) {
	if r.stop != nil {
		r.stop() // an older version's
	}
	ctx, cancel := context.WithCancel(n.ctx)
	r.stop, r.last = cancel, time.Now()
	name := string(wire.AppendName(nil, what.zone.Apex()))
	for _, addr := range what.followers {
		n.work.Go(func() {
			err := n.client.Notify(ctx, transfer.Primary{Addr: addr, Key: what.key}, what.zone)
			if err != nil && ctx.Err() == nil {
				n.log.Warn("a server was not told that a zone has changed", "zone", name, "server", addr.String(), "problem", err.Error())
			}
		})
	}
}

// forget ends what is under way for a zone.
func (n *notifier) forget(key string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if r := n.rounds[key]; r != nil {
		if r.stop != nil {
			r.stop()
		}
		r.next = nil
		delete(n.rounds, key)
	}
}
