package zones

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// A line is where transfers wait for one of the places that there are at the same time, in all
// and for each peer. Peers have their turns one after the other, however many transfers of
// one wait. A transfer that stalls, since its peer takes nothing or sends nothing, goes on
// without a place, and counts for its peer alone.
type line struct {
	patience time.Duration // of what waits; 0: as its context has

	mu     sync.Mutex
	bounds Bounds
	total  int // that have a place
	wait   int // that wait
	peers  map[netip.Addr]*lined
	turns  []netip.Addr // of those of whom something waits, the next first
}

// lined is what of one peer is in a line.
type lined struct {
	under   int // way, those that have stalled as well
	waiting []*waiter
}

// A waiter waits for a place, which it has when got is closed.
type waiter struct {
	got  chan struct{}
	back bool // it is under way, and has stalled
}

// How much waits in a line. Each of it holds its message and a goroutine: 10 kB.
const (
	maxLine     = 8192
	maxLinePeer = 4096
	lineTime    = time.Minute // that one waits: as long as the most patient of servers
)

// The errors of await.
var (
	errFullLine = errors.New("too many wait already")
	errLongLine = errors.New("it has waited for too long")
)

func (l *line) set(b Bounds) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bounds = b
	l.grant()
}

// await waits for a place. back: the transfer is under way, and goes before others.
func (l *line) await(ctx context.Context, a netip.Addr, back bool) error {
	l.mu.Lock()
	p := l.peers[a]
	if p == nil {
		if l.peers == nil {
			l.peers = map[netip.Addr]*lined{}
		}
		p = &lined{}
		l.peers[a] = p
	}
	if !back && (l.wait >= maxLine || len(p.waiting) >= maxLinePeer) {
		l.tidy(a, p)
		l.mu.Unlock()
		return errFullLine
	}
	w := &waiter{make(chan struct{}), back}
	if len(p.waiting) == 0 {
		l.turns = append(l.turns, a)
	}
	if l.wait++; back {
		p.waiting = slices.Insert(p.waiting, 0, w)
	} else {
		p.waiting = append(p.waiting, w)
	}
	l.grant()
	l.mu.Unlock()
	if l.patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, l.patience, errLongLine)
		defer cancel()
	}
	select {
	case <-w.got:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-w.got:
		return nil // it has come meanwhile
	default:
	}
	l.wait--
	p.waiting = slices.DeleteFunc(p.waiting, func(x *waiter) bool { return x == w })
	if len(p.waiting) == 0 {
		l.turns = slices.DeleteFunc(l.turns, func(x netip.Addr) bool { return x == a })
	}
	l.tidy(a, p)
	return context.Cause(ctx)
}

// grant gives the places that are free to whose turn it is. l.mu is held.
func (l *line) grant() {
	for l.total < l.bounds.Out {
		i := slices.IndexFunc(l.turns, func(a netip.Addr) bool {
			p := l.peers[a]
			return p.waiting[0].back || p.under < l.bounds.OutPeer
		})
		if i < 0 {
			return
		}
		a := l.turns[i]
		p := l.peers[a]
		w := p.waiting[0]
		p.waiting[0] = nil
		p.waiting = p.waiting[1:]
		l.turns = slices.Delete(l.turns, i, i+1)
		if len(p.waiting) > 0 {
			l.turns = append(l.turns, a)
		}
		l.wait--
		l.total++
		if !w.back {
			p.under++
		}
		close(w.got)
	}
}

// tidy forgets a peer of whom nothing is there. l.mu is held.
func (l *line) tidy(a netip.Addr, p *lined) {
	if p.under == 0 && len(p.waiting) == 0 {
		delete(l.peers, a)
	}
}

// leave ends a transfer; placed: it has its place.
func (l *line) leave(a netip.Addr, placed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if placed {
		l.total--
	}
	p := l.peers[a]
	p.under--
	l.tidy(a, p)
	l.grant()
}

// stall takes the place of a transfer that goes on.
func (l *line) stall() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	l.grant()
}

// A slot is one transfer's in a line.
type slot struct {
	line *line
	ctx  context.Context
	peer netip.Addr

	waits int // of its goroutine for the peer

	mu    sync.Mutex
	held  bool
	begun bool
}

// lowerAfter is after how many messages a transfer gets a thread of its own, behind all
// others: for one that is over by then, that would cost more than it saves.
const lowerAfter = 8

// stallTime is how long a transfer may wait for its peer before it loses its place.
const stallTime = 50 * time.Millisecond

// Acquire waits until the transfer has a place.
func (p *slot) Acquire() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held {
		return nil
	}
	if err := p.line.await(p.ctx, p.peer, p.begun); err != nil {
		return err
	}
	p.held, p.begun = true, true
	return nil
}

// Wait runs f, which waits for the peer, and then waits for a place if it took so long that
// the transfer has lost its own.
func (p *slot) Wait(f func()) error {
	timer := time.AfterFunc(stallTime, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.held {
			p.held = false
			p.line.stall()
		}
	})
	f()
	timer.Stop()
	if p.waits++; p.waits == lowerAfter {
		lower()
	}
	return p.Acquire()
}

// Release ends the transfer.
func (p *slot) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.begun {
		p.line.leave(p.peer, p.held)
	}
	p.held, p.begun = false, false
}
