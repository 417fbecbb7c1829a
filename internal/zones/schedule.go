package zones

import (
	"container/heap"
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	"port53/internal/wire"
	"port53/internal/zone"
)

// What the numbers of a SOA record are held to: a primary that says 0 is not to be asked
// all the time, and one that says a year is asked sooner.
const (
	minRefresh = 30 * time.Second
	maxRefresh = 7 * 24 * time.Hour
	minRetry   = 15 * time.Second
	maxRetry   = 24 * time.Hour
	firstRetry = 5 * time.Second // of a zone of which there is no version yet; twice as long each time
	jitter     = 10              // one part in ten of each time is drawn, so that zones do not come in step
)

// timers are the times of a SOA record (RFC 1035, section 3.3.13).
type timers struct{ refresh, retry, expire time.Duration }

func timersOf(z *zone.Zone) timers {
	if z == nil {
		return timers{firstRetry, firstRetry, 0}
	}
	_, soa := z.SOA()
	numbers := soa[len(soa)-20:]
	at := func(i int) time.Duration { return time.Duration(binary.BigEndian.Uint32(numbers[4*i:])) * time.Second }
	return timers{
		refresh: min(max(at(1), minRefresh), maxRefresh), retry: min(max(at(2), minRetry), maxRetry), expire: at(3),
	}
}

// draw returns a random time below d.
func draw(d time.Duration) time.Duration {
	var b [8]byte
	_, _ = crand.Read(b[:]) // it never fails
	return time.Duration(binary.LittleEndian.Uint64(b[:]) % uint64(max(d, 1)))
}

// A refresh is when the polled origin of a zone is asked next. The scheduler guards it.
type refresh struct {
	zone    *managed
	due     time.Time
	place   int       // in the queue, or -1
	last    time.Time // when one ended last
	running bool
	again   bool       // one more is to follow
	whole   bool       // the next is to fetch the zone whole, whatever its serial
	from    netip.Addr // who has announced a version; invalid: nobody
	fails   int        // that failed since the last that did not
}

// A scheduler starts refreshes when they are due, so many at one time. No zone has a
// goroutine of its own while nothing is under way. It holds its lock over no I/O.
type scheduler struct {
	mu      sync.Mutex
	queue   refreshQueue
	limit   int // refreshes under way at one time, at most
	running int
	wake    chan struct{}
	taken   int // bytes that transfers have used since memory was given back, about
}

// rouse makes the scheduler look at the queue again.
func (s *scheduler) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *scheduler) setLimit(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = n
	s.rouse()
}

// in sets when a zone is to be refreshed, unless that is under way.
func (s *scheduler) in(r *refresh, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !r.running {
		s.set(r, wait)
	}
}

// set puts a refresh into the queue. s.mu is held.
func (s *scheduler) set(r *refresh, wait time.Duration) {
	r.due = time.Now().Add(wait)
	if r.place >= 0 {
		heap.Fix(&s.queue, r.place)
	} else {
		heap.Push(&s.queue, r)
	}
	s.rouse()
}

// remove takes a zone out of the queue.
func (s *scheduler) remove(r *refresh) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.place >= 0 {
		heap.Remove(&s.queue, r.place)
	}
}

// now asks for a refresh at once, or for one more after the one that is under way; with
// whole the zone is fetched whole.
func (s *scheduler) now(r *refresh, whole bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.whole = r.whole || whole
	if r.running {
		r.again = true
		return
	}
	s.set(r, 0)
}

// announced asks for a refresh since somebody has announced a version.
func (s *scheduler) announced(r *refresh, from netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.from = from
	if r.running {
		r.again = true // what runs may have asked before the change
		return
	}
	s.set(r, max(0, time.Until(r.last.Add(notifyGap))))
}

// due returns when a zone is refreshed next; the zero Time if that is not known.
func (s *scheduler) due(r *refresh) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return r.due
}

// A job is a refresh that has begun.
type job struct {
	whole bool
	from  netip.Addr
	fails int
}

// begin takes the next refresh that is due, if there is a place for it. Without one it
// returns how long to wait, and whether memory that transfers took is to be given back.
func (s *scheduler) begin() (r *refresh, j job, wait time.Duration, idle bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 || s.running >= s.limit {
		return nil, job{}, time.Hour, false
	}
	r = s.queue[0]
	if wait := time.Until(r.due); wait > 0 {
		if s.running == 0 && s.taken > bigLoad {
			s.taken, idle = 0, true
		}
		return nil, job{}, wait, idle
	}
	heap.Pop(&s.queue)
	j = job{r.whole, r.from, r.fails}
	r.running, r.again, r.whole, r.from = true, false, false, netip.Addr{}
	s.running++
	return r, j, 0, false
}

// end gives back the place of a refresh, and says when the next is due unless the zone has
// gone meanwhile.
func (s *scheduler) end(r *refresh, j job, err error, next time.Duration, gone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	r.running, r.last = false, time.Now()
	s.rouse() // there is room for another now
	if gone {
		return
	}
	if err == nil {
		r.fails = 0
	} else {
		r.fails++
		r.whole = r.whole || j.whole
	}
	if r.again {
		next = notifyGap
	}
	s.set(r, next)
}

func (s *scheduler) used(bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken += bytes
}

// Run refreshes secondary zones and announces changes until ctx ends.
func (m *Manager) Run(ctx context.Context) {
	defer context.AfterFunc(ctx, m.cancel)()
	m.notifier.begin()
	for _, z := range m.all() {
		z.mu.Lock()
		m.announce(z)
		z.mu.Unlock()
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			m.cancel()
			m.work.Wait()
			return
		case <-m.schedule.wake:
		case <-timer.C:
		}
		timer.Reset(m.start())
	}
}

// start begins what is due, and returns how long to wait for what comes next.
func (m *Manager) start() time.Duration {
	for {
		r, j, wait, idle := m.schedule.begin()
		if idle {
			m.work.Go(debug.FreeOSMemory)
		}
		if r == nil {
			return wait
		}
		m.work.Go(func() { m.refresh(r, j) })
	}
}

// refresh asks the origin of a zone for a newer version and makes it the one served.
func (m *Manager) refresh(r *refresh, j job) {
	next, gone, err := firstRetry, false, errFault
	m.contained(r.zone.name(), func() { next, gone, err = m.ask(r.zone, j) })
	m.schedule.end(r, j, err, next, gone)
}

// errNoVersion is why a refresh failed whose origin has nothing that could be served.
var errNoVersion = errors.New("there is no version that could be served")

// ask does the work of refresh, and returns when the next is due, or that the zone has gone.
func (m *Manager) ask(z *managed, j job) (next time.Duration, gone bool, err error) {
	z.mu.Lock()
	known, origin := Known{Zone: z.zone, Seed: m.seed, From: j.from, Check: check}, z.origin
	z.mu.Unlock()
	if j.whole {
		known.Zone = nil
	}
	c, err := origin.Candidate(m.ctx, known)
	z.hold()
	defer z.release()
	if z.gone {
		return 0, true, nil
	}
	switch {
	case err != nil || c == nil || c.Zone != nil && c.Zone == known.Zone:
	case c.Zone == nil:
		err = errNoVersion
	default:
		c.keep = origin.Traits().Kept
		err = m.take(z, c)
	}
	return m.refreshed(z, c, err, j.fails), false, err
}

// take makes a version that was fetched the one that is served. z is held.
func (m *Manager) take(z *managed, c *Candidate) error {
	if err := m.commit(m.ctx, z, c); err != nil {
		return err
	}
	m.schedule.used(c.Zone.Size() + wire.MaxMessage)
	m.log.Info("zone fetched", "zone", z.name(), "serial", c.Zone.Serial(), "records", c.Zone.Records(),
		"differences", len(c.Deltas), "octets", c.Octets)
	if z.source.Consumes != nil {
		m.work.Go(m.catalogChanged)
	}
	return nil
}

// refreshed remembers how a refresh went and returns when the next is due. z is held.
func (m *Manager) refreshed(z *managed, c *Candidate, err error, fails int) time.Duration {
	now := time.Now()
	t := timersOf(z.zone)
	z.tried, z.trouble = now, ""
	next := t.refresh
	if err == nil {
		z.checked, z.expire = now, t.expire
		if c != nil && c.Expire > 0 {
			z.expire = min(c.Expire, t.expire) // RFC 7314, section 4
		}
		if z.expired && z.zone != nil {
			z.expired = false
			z.served.Store(z.zone)
			m.log.Info("zone is served again", "zone", z.name())
		}
		z.served.Extend(now.Add(z.expire))
		m.remember(z)
	} else {
		next = min(t.retry<<min(fails, 6), max(t.refresh, t.retry, 10*time.Minute))
		z.trouble = err.Error()
		m.log.Warn("zone cannot be refreshed", "zone", z.name(), "problem", z.trouble, "next", next.String())
	}
	if z.zone != nil && !z.expired {
		if left := z.expire - now.Sub(z.checked); left <= 0 {
			z.expired = true
			z.served.Store(nil)
			m.log.Error("zone has expired: no primary answered for it in time; it answers SERVFAIL", "zone", z.name(), "checked", z.checked.Format(time.RFC3339))
		} else {
			next = min(next, left+time.Second)
		}
	}
	return next - draw(next/jitter)
}

// A refreshQueue is the refreshes by when they are due.
type refreshQueue []*refresh

func (q refreshQueue) Len() int           { return len(q) }
func (q refreshQueue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q refreshQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

// Push implements [heap.Interface].
func (q *refreshQueue) Push(x any) {
	r := x.(*refresh)
	r.place = len(*q)
	*q = append(*q, r)
}

// Pop implements [heap.Interface].
func (q *refreshQueue) Pop() any {
	last := len(*q) - 1
	r := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	r.place = -1
	return r
}
