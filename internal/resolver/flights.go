package resolver

import (
	"sync"

	"port53/internal/cache"
)

// flights are the questions that are being asked, so that who needs the same answer
// waits for it instead of asking again (RFC 5452, section 5: equal questions in
// flight are what a birthday attack lives on).
type flights struct {
	mu   sync.Mutex
	m    map[flightKey]*flight
	free []*flight // that nobody has waited for
}

type flightKey struct {
	question
	priming  bool // the root's servers are asked for, which no client's question is
	validate bool
	direct   bool  // past the forwarders
	view     uint8 // that is asked for: what one learns is nobody else's
	w        cache.Writer
}

// A flight is one question being asked by its owner.
type flight struct {
	owner *task
	done  chan struct{} // closed as it ends; nil: nobody waits
}

func (f *flights) init() { f.m = make(map[flightKey]*flight) }

// join returns the flight of a question. mine tells that t owns it, and must end it
// with done. It is nil if waiting for it would be waiting for oneself: its owner,
// or whom that one waits for, waits for t.
func (f *flights) join(t *task, k flightKey) (fl *flight, mine bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl = f.m[k]
	if fl == nil {
		fl = reuse(&f.free)
		*fl = flight{owner: t}
		f.m[k] = fl
		return fl, true
	}
	for owner := fl.owner; ; owner = owner.waits.owner {
		if owner == t {
			return nil, false
		}
		if owner.waits == nil {
			break
		}
	}
	t.waits = fl
	if fl.done == nil {
		fl.done = make(chan struct{})
	}
	return fl, false
}

func (f *flights) stopWaiting(t *task) {
	f.mu.Lock()
	t.waits = nil
	f.mu.Unlock()
}

func (f *flights) done(k flightKey, fl *flight) {
	f.mu.Lock()
	delete(f.m, k)
	done := fl.done
	if done == nil {
		fl.owner = nil
		keepFree(&f.free, fl)
	}
	f.mu.Unlock()
	if done != nil {
		close(done)
	}
}
