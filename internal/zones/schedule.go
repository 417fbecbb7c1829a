package zones

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"net/netip"
	"runtime/debug"
	"sync/atomic"
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
	task
	zone  *managed
	last  time.Time  // when one ended last
	again bool       // one more is to follow
	whole bool       // the next is to fetch the zone whole, whatever its serial
	from  netip.Addr // who has announced a version; invalid: nobody
	fails int        // that failed since the last that did not
}

// A scheduler starts refreshes when they are due, and has zones expire.
type scheduler struct {
	*agenda
	expiries *agenda
	signings *agenda      // of zones whose signatures are to be renewed
	keepings *agenda      // of zones whose first version is to be written down
	taken    atomic.Int64 // bytes that transfers have used since memory was given back, about
}

// How many refreshes there may be under way. One that waits for an answer holds a socket
// and about 20 kB; bounds of what is being transferred are beside these ([Bounds.In]).
const (
	maxRefreshes = 768
	quick        = maxRefreshes / 2 // that have not taken long yet
	urgentShare  = 6                // one part of these in so many is for zones whose primary has announced a version
	silentShare  = 4                // and one for zones whose primaries were silent
)

// signings is how many zones are signed again at the same time: each uses all processors.
const signings = 2

// Qualifier zones that are fetched for the first time: how many are written down at the same time, and from
// how many refreshes under way on none of them waits for that.
const (
	keepings = 16 // which the store writes together
	crowd    = 16
)

// crowded reports whether many refreshes are under way.
func (s *scheduler) crowded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.under()+s.running[late] >= crowd
}

func newSchedule() (refreshes, expiries *agenda) {
	return newAgenda(
			places{all: quick, ordinary: quick - quick/urgentShare, doubtful: quick / silentShare, late: maxRefreshes - quick, silent: 1},
		),
		newAgenda(
			places{all: maxRefreshes, ordinary: maxRefreshes},
		)
}

// now asks for a refresh at once, or for one more after the one that is under way; with
// whole the zone is fetched whole.
func (s *scheduler) now(r *refresh, whole bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.whole = r.whole || whole
	s.soon(r, 0)
}

// announced asks for a refresh since somebody has announced a version.
func (s *scheduler) announced(r *refresh, from netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.from = from
	s.soon(r, max(0, time.Until(r.last.Add(notifyGap))))
}

// soon asks for a refresh that does not wait behind those that the timers ask for. s.mu is
// held.
func (s *scheduler) soon(r *refresh, wait time.Duration) {
	if r.running {
		r.again = true // what runs may have asked before the change
		return
	}
	// One that was in vain the last time is as good as any other now, and not better.
	r.urgent, r.failed = !r.failed, false
	s.set(&r.task, wait)
}

// A job is a refresh that has begun.
type job struct {
	whole bool
	from  netip.Addr
	fails int
}

// job returns what a refresh that has begun is to do.
func (s *scheduler) job(r *refresh) job {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := job{r.whole, r.from, r.fails}
	r.whole, r.from = false, netip.Addr{}
	return j
}

// end gives back the place of a refresh, and says when the next is due unless the zone has
// gone meanwhile.
func (s *scheduler) end(r *refresh, j job, err error, next time.Duration, gone bool) {
	s.agenda.end(&r.task, func() time.Duration {
		r.last = time.Now()
		again := r.again
		r.again = false
		switch r.failed = err != nil; {
		case gone:
			return -1
		case err == nil:
			r.fails = 0
		default:
			r.fails++
			r.whole = r.whole || j.whole
		}
		if again {
			r.urgent, r.failed = !r.failed, false
			return notifyGap
		}
		return next
	})
}

// Run refreshes secondary zones and announces changes until ctx ends.
func (m *Manager) Run(ctx context.Context) {
	defer context.AfterFunc(ctx, m.cancel)()
	m.notifier.begin()
	first := 0
	for _, z := range m.all() {
		z.mu.Lock()
		if m.announceAfter(z, time.Duration(first)*startPace) {
			first++
		}
		z.mu.Unlock()
	}
	m.work.Go(func() { m.notifier.run(ctx, &m.work, func(t *task) { m.notifier.tell(t.owner.(*telling)) }) })
	m.schedule.idle = func() {
		if m.schedule.taken.Swap(0) > bigLoad {
			m.work.Go(debug.FreeOSMemory)
		}
	}
	m.work.Go(func() { m.schedule.expiries.run(ctx, &m.work, func(t *task) { m.expire(t.owner.(*managed)) }) })
	m.work.Go(func() { m.schedule.signings.run(ctx, &m.work, func(t *task) { m.renewSignatures(t.owner.(*managed)) }) })
	m.work.Go(func() { m.schedule.keepings.run(ctx, &m.work, func(t *task) { m.keepFirst(t.owner.(*managed)) }) })
	m.schedule.run(ctx, &m.work, func(t *task) { m.refresh(t.owner.(*refresh)) })
	m.cancel()
	m.work.Wait()
	m.client.Pool.Close()
	m.keepRest()
}

// refresh asks the origin of a zone for a newer version and makes it the one served.
func (m *Manager) refresh(r *refresh) {
	j := m.schedule.job(r)
	next, gone, err := firstRetry, false, errFault
	m.contained(r.zone.name(), func() { next, gone, err = m.ask(r.zone, j) })
	m.schedule.end(r, j, err, next, gone)
}

// errNoVersion is why a refresh failed whose origin has nothing that could be served.
var errNoVersion = errors.New("the zone is not loaded")

// ask does the work of refresh, and returns when the next is due, or that the zone has gone.
func (m *Manager) ask(z *managed, j job) (next time.Duration, gone bool, err error) {
	z.mu.Lock()
	known, origin := Known{Zone: z.zone, Seed: m.seed, From: j.from, Check: check}, z.origin
	if j.whole || z.expired { // a version that has expired counts for nothing (RFC 1034, section 4.3.5)
		known.Zone = nil
	}
	z.mu.Unlock()
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
		c.keep, c.fetched = origin.Traits().Kept, true
		err = m.take(z, c)
	}
	return m.refreshed(z, c, err, j.fails), false, err
}

// take makes a version that was fetched the one that is served. z is held.
func (m *Manager) take(z *managed, c *Candidate) error {
	if err := m.commit(m.ctx, z, c); err != nil {
		return err
	}
	m.schedule.taken.Add(int64(c.Zone.Size()) + wire.MaxMessage)
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
		z.renew(now, c, t.expire)
		if z.expired && z.zone != nil { // while it was asked
			z.expired = false
			z.served.Store(z.shown())
		}
		m.keep(z)
		m.remember(z)
		if next = min(next, max(z.left(now)/2, soonest)); z.unkept != "" {
			next = min(next, keepAgain)
		}
	} else {
		next = min(t.retry<<min(fails, 6), max(t.refresh, t.retry, 10*time.Minute))
		z.trouble = err.Error()
		m.log.Warn("zone cannot be refreshed", "zone", z.name(), "error", z.trouble, "next", next.String())
		if z.zone != nil && !z.expired {
			next = min(next, max(z.left(now)/2, soonest))
		}
	}
	m.watch(z)
	return next - draw(next/jitter)
}

// soonest is how soon a zone is refreshed that is about to expire.
const soonest = time.Second

// renew begins the time again for which a zone may be served without its primaries. What a
// primary says of that (RFC 7314, section 4) is never more than the SOA record says, and
// does not shorten the time of a version that is here already. z is held.
func (z *managed) renew(now time.Time, c *Candidate, most time.Duration) {
	expire := most
	if c != nil && c.Expire > 0 {
		expire = min(c.Expire, most)
		if c.Zone == nil || !c.fetched {
			expire = min(max(expire, z.left(now)), most)
		}
	}
	z.checked, z.expire = now, expire
	z.served.Extend(now.Add(expire))
}

// left returns for how long a zone may be served on.
func (z *managed) left(now time.Time) time.Duration { return max(0, z.checked.Add(z.expire).Sub(now)) }

// watch has a zone expire in time, whatever its primaries do. z is held.
func (m *Manager) watch(z *managed) {
	if z.polled && z.zone != nil && !z.expired && !z.gone {
		m.schedule.expiries.in(&z.expiry, z.left(time.Now()))
	}
}

// expire ends the service of a zone whose time is over.
func (m *Manager) expire(z *managed) {
	z.mu.Lock()
	defer z.mu.Unlock()
	left := z.left(time.Now())
	over := z.zone != nil && !z.expired && !z.gone
	m.schedule.expiries.end(&z.expiry, func() time.Duration {
		if over && left > 0 {
			return left
		}
		return -1
	})
	if !over || left > 0 {
		return
	}
	z.expired = true
	z.served.Store(nil)
	trouble := z.trouble
	if trouble == "" {
		trouble = "it was not refreshed in time"
	}
	m.log.Error("zone has expired: it answers SERVFAIL until it can be transferred from a primary", "zone", z.name(),
		"checked", z.checked.Format(time.RFC3339), "expire", z.expire.String(), "error", trouble)
}
