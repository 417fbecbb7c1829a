package event

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Sizes of rings, in octets. One that was more than half full is twice as large from then on.
const (
	smallRing    = 32 << 10 // problems alone
	answersRing  = 256 << 10
	messagesRing = 1 << 20
	maxRing      = 4 << 20
)

// pace is how long records wait for others before they are given to those who take them.
const pace = 20 * time.Millisecond

// A Hub takes what its writers have to tell to those who want it.
type Hub struct {
	asleep atomic.Bool   // nothing is awaited: the next record wakes the goroutine that takes them out
	soon   chan struct{} // a record has come after none
	full   chan struct{} // a ring is half full

	writers atomic.Pointer[[]*Writer] // only added to

	mu     sync.Mutex // over what follows, and who adds a writer
	takers []*taker
	wants  Wants
	quit   chan struct{} // of the goroutine that takes records out; nil: there is none
	done   chan struct{}

	taking sync.Mutex // held while records are given out
	rec    Record
	old    []replaced
}

// A replaced is a ring in whose place is another. Whoever had it in hand may still put a record there.
type replaced struct {
	ring *ring
	at   time.Time
}

// oldTime is how long a ring that was replaced is looked at.
const oldTime = time.Second

// A taker is somebody who takes records.
type taker struct {
	wants Wants
	take  func(*Record)
}

// New returns a hub that nobody takes anything from yet.
func New() *Hub {
	h := &Hub{soon: make(chan struct{}, 1), full: make(chan struct{}, 1)}
	h.writers.Store(&[]*Writer{})
	return h
}

// NewWriter returns a writer for one goroutine at a time.
func (h *Hub) NewWriter() *Writer {
	w := &Writer{hub: h}
	h.mu.Lock()
	defer h.mu.Unlock()
	all := append(slices.Clip(*h.writers.Load()), w)
	h.writers.Store(&all)
	h.equip(w)
	return w
}

// NewShared returns a writer for many goroutines.
func (h *Hub) NewShared() *Shared { return &Shared{writer: h.NewWriter()} }

// equip gives a writer a ring for what is wanted, and tells it that. The lock is held.
func (h *Hub) equip(w *Writer) {
	size := smallRing
	switch {
	case h.wants&Messages != 0:
		size = messagesRing
	case h.wants&(Answers|Upstream) != 0:
		size = answersRing
	}
	r := w.ring.Load()
	if h.wants != 0 && (r == nil || len(r.octets) < size) {
		h.replace(w, newRing(size))
	}
	w.wants.Store(uint32(h.wants))
	if h.wants == 0 && r != nil {
		h.replace(w, nil)
	}
}

// replace gives a writer another ring. What stands in the one before is still taken.
func (h *Hub) replace(w *Writer, r *ring) {
	if was := w.ring.Swap(r); was != nil {
		h.old = append(h.old, replaced{was, time.Now()})
	}
}

// Subscribe has f called with each record that fits wants, by one goroutine. f must not wait, and must not end
// the taking. When stop returns, f is not called any more.
func (h *Hub) Subscribe(wants Wants, f func(*Record)) (stop func()) {
	t := &taker{wants: wants, take: f}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.taking.Lock()
	h.takers = append(slices.Clip(h.takers), t)
	h.change()
	h.taking.Unlock()
	if h.quit == nil {
		h.quit, h.done = make(chan struct{}), make(chan struct{})
		go h.run(h.quit, h.done)
	}
	return sync.OnceFunc(func() { h.leave(t) })
}

// change tells all writers what is wanted now. Both locks are held.
func (h *Hub) change() {
	h.wants = 0
	for _, t := range h.takers {
		h.wants |= t.wants
	}
	for _, w := range *h.writers.Load() {
		h.equip(w)
	}
}

func (h *Hub) leave(t *taker) {
	h.mu.Lock()
	h.taking.Lock()
	h.takers = slices.DeleteFunc(slices.Clone(h.takers), func(o *taker) bool { return o == t })
	h.change()
	if len(h.takers) == 0 {
		h.old = nil
	}
	h.taking.Unlock()
	var done chan struct{}
	if len(h.takers) == 0 {
		close(h.quit)
		done = h.done
		h.quit, h.done = nil, nil
	}
	h.mu.Unlock()
	if done != nil {
		<-done
	}
}

// rouse wakes the goroutine that takes records out.
func (h *Hub) rouse(full bool) {
	if full {
		select {
		case h.full <- struct{}{}:
		default:
		}
	}
	if h.asleep.Load() && h.asleep.CompareAndSwap(true, false) {
		select {
		case h.soon <- struct{}{}:
		default:
		}
	}
}

// run takes records out until quit is closed.
func (h *Hub) run(quit, done chan struct{}) {
	defer close(done)
	wait := time.NewTimer(pace)
	defer wait.Stop()
	for {
		if h.Flush() == 0 {
			h.asleep.Store(true)
			if h.Flush() == 0 { // none has come before that was to be seen
				select {
				case <-quit:
					return
				case <-h.soon:
				}
			}
			h.asleep.Store(false)
		}
		wait.Reset(pace)
		select {
		case <-quit:
			return
		case <-h.full:
		case <-wait.C:
		}
	}
}

// Flush gives those who take records all that there are now, and returns how many octets those have.
func (h *Hub) Flush() (octets int) {
	h.taking.Lock()
	defer h.taking.Unlock()
	for _, o := range h.old {
		octets += o.ring.take(&h.rec, h.give)
	}
	h.old = slices.DeleteFunc(h.old, func(o replaced) bool { return time.Since(o.at) > oldTime })
	for _, w := range *h.writers.Load() {
		r := w.ring.Load()
		if r == nil {
			continue
		}
		n := r.take(&h.rec, h.give)
		octets += n
		if n > len(r.octets)/2 && len(r.octets) < maxRing {
			h.replace(w, newRing(2*len(r.octets)))
		}
	}
	return octets
}

// give gives a record to those who want it.
func (h *Hub) give(rec *Record) {
	is := rec.wanted()
	for _, t := range h.takers {
		if t.wants&is != 0 {
			t.take(rec)
		}
	}
}

// wanted returns by which wants a record is taken.
func (rec *Record) wanted() Wants {
	if rec.Kind == Server {
		return Upstream
	}
	is := Answers
	if rec.Path == Miss {
		is |= Misses
	}
	if rec.Problem() {
		is |= Problems
	}
	if rec.Why != 0 {
		is |= Explained
	}
	return is
}

// Problem reports whether a record is of an answer that somebody may ask about.
func (rec *Record) Problem() bool {
	return rec.Path == Stale || rec.Path == Policy || rec.Outcome != Replied || rec.Rcode != 0 && rec.Rcode != 3 || rec.Why != 0
}

// Lost returns how many records were left out, since they were not taken fast enough.
func (h *Hub) Lost() (n uint64) {
	for _, w := range *h.writers.Load() {
		n += w.lost.Load()
	}
	return n
}
