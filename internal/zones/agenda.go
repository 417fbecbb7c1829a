package zones

import (
	"container/heap"
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// An agenda is work that is due at some time, each piece with one peer: a refresh, which
// asks a primary, or an announcement, which tells a secondary. So much is under way at one
// time, in all and with one peer. A peer that was silent when it was asked last costs its
// own work a wait, and nobody else's: what is with such peers has a share of the places,
// and never the last ones.
//
// No piece of work has a goroutine of its own until it begins. An agenda holds its lock
// over no I/O.
type agenda struct {
	idle func() // called without the lock when nothing is under way, or nil
	wake chan struct{}

	mu      sync.Mutex
	places  places
	ready   [late]taskQueue
	peers   map[netip.AddrPort]*peer
	running [classes]int
}

// The places of an agenda: how much is under way at the same time, at most.
type places struct {
	all      int // places, the last of which are for what is urgent
	ordinary int // of them, for what is not urgent
	doubtful int // of them, for what was in vain the last time, or is with peers that are silent
	late     int // besides, for what has taken longer than lateTime
	peer     int // with one peer
	silent   int // with one peer that is silent

	strangers bool // a peer that has not answered yet is taken for silent
}

// lateTime is how long work has one of the places that others wait for.
const lateTime = 3 * time.Second

// The classes of work, by which of the places it may have.
const (
	urgent = iota
	ordinary
	doubtful
	late // which is under way, and in no queue
	classes
)

// A peer is what is known of a server.
type peer struct {
	waiting taskQueue // work that is due, and has no place with the peer
	running int
	heard   bool // it has answered once
	silent  bool // it did not answer when it was asked last
}

// maxPeers is how many peers are remembered for nothing but having answered.
const maxPeers = 10_000

// A task is one piece of work that comes again. The agenda guards it.
type task struct {
	owner   any                     // whose it is
	with    func() []netip.AddrPort // the peers that would do, the first before the others; nil: nobody. It takes no lock.
	due     time.Time
	urgent  bool // it may have the last places
	failed  bool // it was in vain the last time
	running bool

	queue *taskQueue // that it is in, or nil
	place int        // there
	class int        // while it runs
	peer  *peer      // while it runs, or nil
	late  *time.Timer
}

func newAgenda(p places) *agenda {
	return &agenda{places: p, wake: make(chan struct{}, 1), peers: map[netip.AddrPort]*peer{}}
}

// rouse makes run look at the queues again.
func (a *agenda) rouse() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// change changes the places.
func (a *agenda) change(f func(p *places)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f(&a.places)
	for _, p := range a.peers {
		a.resume(p)
	}
	a.rouse()
}

// in has a task done in a while, unless it is being done.
func (a *agenda) in(t *task, wait time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !t.running {
		a.set(t, wait)
	}
}

// set puts a task into a queue. a.mu is held.
func (a *agenda) set(t *task, wait time.Duration) {
	a.drop(t)
	t.due = time.Now().Add(wait)
	a.enqueue(t)
	a.rouse()
}

func (a *agenda) enqueue(t *task) {
	class := ordinary
	switch {
	case t.failed:
		class = doubtful
	case t.urgent:
		class = urgent
	}
	heap.Push(&a.ready[class], t)
	t.queue = &a.ready[class]
}

// drop takes a task out of its queue. a.mu is held.
func (a *agenda) drop(t *task) {
	if t.queue != nil {
		heap.Remove(t.queue, t.place)
		t.queue = nil
	}
}

// remove has a task not be done any more.
func (a *agenda) remove(t *task) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.drop(t)
	t.due = time.Time{}
}

// when returns when a task is done next; the zero Time if that is not known.
func (a *agenda) when(t *task) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return t.due
}

// begin takes a task that is due and has a place. Without one it returns how long to wait,
// and whether nothing is under way.
func (a *agenda) begin() (t *task, wait time.Duration, idle bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	wait = time.Hour
	for class := range a.ready {
		q := &a.ready[class]
		for len(*q) > 0 && a.room(class) {
			t := (*q)[0]
			if left := time.Until(t.due); left > 0 {
				wait = min(wait, left)
				break
			}
			heap.Pop(q)
			t.queue = nil
			if a.take(t, class) {
				return t, 0, false
			}
		}
	}
	return nil, wait, a.under()+a.running[late] == 0
}

func (a *agenda) under() int { return a.running[urgent] + a.running[ordinary] + a.running[doubtful] }

// room reports whether there is a place for work of a class.
func (a *agenda) room(class int) bool {
	switch class {
	case urgent:
		return a.under() < a.places.all
	case ordinary:
		return a.under() < a.places.ordinary
	}
	return a.under() < a.places.ordinary && a.running[doubtful] < a.places.doubtful
}

// take gives a task of a class its place, or puts it where it has to wait. a.mu is held.
func (a *agenda) take(t *task, class int) bool {
	t.peer = nil
	if t.with != nil {
		t.peer = a.choose(t.with())
	}
	if p := t.peer; p != nil {
		if a.mute(p) && class == ordinary {
			heap.Push(&a.ready[doubtful], t)
			t.queue = &a.ready[doubtful]
			return false
		}
		if p.running >= a.most(p, class) {
			heap.Push(&p.waiting, t)
			t.queue = &p.waiting
			return false
		}
		p.running++
	}
	t.running, t.class = true, class
	a.running[class]++
	if a.places.late > 0 {
		t.late = time.AfterFunc(lateTime, func() { a.delayed(t) })
	}
	return true
}

// delayed takes the place of a task that takes long, which goes on.
func (a *agenda) delayed(t *task) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t.late == nil || t.class == late || a.running[late] >= a.places.late {
		return
	}
	a.running[t.class]--
	t.class = late
	a.running[late]++
	a.rouse()
}

// mute reports whether a peer is taken for silent.
func (a *agenda) mute(p *peer) bool { return p.silent || a.places.strangers && !p.heard }

// most returns how much there may be with a peer at the same time.
func (a *agenda) most(p *peer, class int) int {
	if p.silent && class != urgent {
		return a.places.silent
	}
	return a.places.peer
}

// choose returns the first of some peers that is not silent, or else the first.
func (a *agenda) choose(list []netip.AddrPort) *peer {
	if len(list) == 0 {
		return nil
	}
	for _, addr := range list {
		if p := a.peer(addr); !a.mute(p) {
			return p
		}
	}
	return a.peer(list[0])
}

// peer returns what is known of a server.
func (a *agenda) peer(addr netip.AddrPort) *peer {
	p := a.peers[addr]
	if p == nil {
		if len(a.peers) >= maxPeers {
			for other, p := range a.peers {
				if p.running == 0 && len(p.waiting) == 0 {
					delete(a.peers, other)
				}
			}
		}
		p = &peer{}
		a.peers[addr] = p
	}
	return p
}

// end gives back the place of a task. done is called with the lock held, and says when the
// task is done next; below zero: never.
func (a *agenda) end(t *task, done func() time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t.running, t.urgent = false, false
	if t.late != nil {
		t.late.Stop()
		t.late = nil
	}
	a.running[t.class]--
	if p := t.peer; p != nil {
		p.running--
		t.peer = nil
		a.resume(p)
	}
	if next := done(); next >= 0 {
		a.set(t, next)
	}
	a.rouse()
}

// resume puts as much of what waits for a peer where it can begin as there are places with
// the peer. a.mu is held.
func (a *agenda) resume(p *peer) {
	for n := a.most(p, ordinary) - p.running; n > 0 && len(p.waiting) > 0; n-- {
		a.enqueue(heap.Pop(&p.waiting).(*task))
	}
}

// mark says whether a peer has answered, or was silent.
func (a *agenda) mark(addr netip.AddrPort, answered bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.peer(addr)
	back := answered && a.mute(p)
	p.silent, p.heard = !answered, p.heard || answered
	if !back {
		return
	}
	// What could be with this peer is not doubtful any more, and what waits for a silent one
	// may be with this one instead.
	var list []*task
	for _, t := range a.ready[doubtful] {
		if t.with != nil && a.choose(t.with()) == p {
			list = append(list, t)
		}
	}
	for _, q := range a.peers {
		if q == p || a.mute(q) {
			list = append(list, q.waiting...)
		}
	}
	for _, t := range list {
		a.drop(t)
		t.failed = false
		a.enqueue(t)
	}
	a.rouse()
}

// heard reports whether a peer has ever answered and did so when it was asked last.
func (a *agenda) heard(addr netip.AddrPort) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.peers[addr]
	return p != nil && p.heard && !p.silent
}

// sort puts the peers that are silent last.
func (a *agenda) sort(list []netip.AddrPort) {
	a.mu.Lock()
	defer a.mu.Unlock()
	silent := func(addr netip.AddrPort) int {
		if p := a.peers[addr]; p != nil && p.silent {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(list, func(x, y netip.AddrPort) int { return silent(x) - silent(y) })
}

// run begins what is due, each by a goroutine of its own that calls do, until ctx ends.
func (a *agenda) run(ctx context.Context, work *sync.WaitGroup, do func(t *task)) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		case <-timer.C:
		}
		for {
			t, wait, idle := a.begin()
			if t == nil {
				if idle && a.idle != nil {
					a.idle()
				}
				timer.Reset(wait)
				break
			}
			work.Go(func() { do(t) })
		}
	}
}

// A taskQueue is tasks by when they are due.
type taskQueue []*task

func (q taskQueue) Len() int           { return len(q) }
func (q taskQueue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q taskQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

// Push implements [heap.Interface].
func (q *taskQueue) Push(x any) {
	t := x.(*task)
	t.place = len(*q)
	*q = append(*q, t)
}

// Pop implements [heap.Interface].
func (q *taskQueue) Pop() any {
	last := len(*q) - 1
	t := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	t.queue = nil
	return t
}
