package keeper

import (
	"bytes"
	"container/heap"
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime/debug"
	"slices"
	"time"

	"port53/internal/transfer"
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

// A queue is the secondary zones by when they are due.
type queue []*kept

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

func (q *queue) Push(x any) {
	z := x.(*kept)
	z.place = len(*q)
	*q = append(*q, z)
}

func (q *queue) Pop() any {
	last := len(*q) - 1
	z := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	z.place = -1
	return z
}

// schedule sets when a secondary zone is due, and wakes the scheduler. k.state is held.
func (k *Keeper) schedule(z *kept, in time.Duration) {
	z.due = time.Now().Add(in)
	if z.place >= 0 {
		heap.Fix(&k.queue, z.place)
	} else {
		heap.Push(&k.queue, z)
	}
	k.rouse()
}

// unschedule takes a zone out of the queue. k.state is held.
func (k *Keeper) unschedule(z *kept) {
	if z.place >= 0 {
		heap.Remove(&k.queue, z.place)
	}
}

// Run refreshes secondary zones and tells others of changes until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	k.state.Lock()
	k.ctx = ctx
	for _, z := range k.zones {
		if z.zone != nil {
			k.tellOthers(z)
		}
	}
	k.state.Unlock()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			k.work.Wait()
			return
		case <-k.wake:
		case <-timer.C:
		}
		timer.Reset(k.start(ctx))
	}
}

// start begins what is due, and returns how long to wait for what comes next.
func (k *Keeper) start(ctx context.Context) time.Duration {
	k.state.Lock()
	defer k.state.Unlock()
	for len(k.queue) > 0 && k.fetching < k.in {
		z := k.queue[0]
		if wait := time.Until(z.due); wait > 0 {
			if k.fetching == 0 && k.taken > bigLoad {
				k.taken = 0
				k.work.Go(debug.FreeOSMemory)
			}
			return wait
		}
		heap.Pop(&k.queue)
		source, have, turn := z.source, z.zone, z.turn
		whole := z.whole
		if whole {
			have = nil
		}
		z.running, z.again, z.whole = true, false, false
		k.fetching++
		k.work.Go(func() {
			var result *transfer.Result
			err := errFault
			k.contained(z, func() { result, turn, err = k.refresh(ctx, z, source, have, turn) }, func() {})
			k.state.Lock()
			defer k.state.Unlock()
			k.fetching--
			z.running, z.turn = false, turn
			if k.zones[z.key] == z {
				z.whole = z.whole || whole && err != nil
				k.settle(z, err, result)
			}
			k.rouse() // there is room for another now
		})
	}
	return time.Hour
}

// errFault is why a refresh failed that ended in a fault of ours.
var errFault = errors.New("an error in port53, which the log has")

// rouse wakes the scheduler.
func (k *Keeper) rouse() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// errBehind is what ask returns of a primary whose version is older than ours.
var errBehind = errors.New("its version is older than the one here")

// refresh asks the primaries of a zone, one after the other from turn on, for a newer
// version. It returns whose turn it is the next time.
func (k *Keeper) refresh(ctx context.Context, z *kept, source *Source, have *zone.Zone, turn int) (*transfer.Result, int, error) {
	var failures []error
	for i := range source.Primaries {
		at := (turn + i) % len(source.Primaries)
		addr := source.Primaries[at]
		r, err := k.ask(ctx, source, transfer.Primary{Addr: addr, Key: source.Key}, have)
		if err == nil && r.Zone != nil {
			err = k.take(z, source, r)
		}
		if err == nil {
			return r, at, nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", addr, err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, turn, errors.Join(failures...)
}

// ask asks one primary, and fetches what is newer.
func (k *Keeper) ask(ctx context.Context, source *Source, p transfer.Primary, have *zone.Zone) (*transfer.Result, error) {
	apex := wire.Lower(nil, source.Apex)
	if have != nil {
		serial, expire, err := k.client.Serial(ctx, p, apex)
		if err != nil {
			return nil, err
		}
		if zone.Newer(have.Serial(), serial) {
			return nil, fmt.Errorf("%w: serial %d, not %d", errBehind, serial, have.Serial())
		}
		if serial == have.Serial() {
			return &transfer.Result{Expire: expire}, nil
		}
	}
	lower()
	client := k.client
	client.Limits = transfer.Limits{Records: source.MaxRecords, Octets: source.MaxSize}
	return client.Fetch(ctx, p, apex, have, k.set.Seed())
}

// take checks a version that was fetched, puts it on disk, and serves it.
func (k *Keeper) take(z *kept, source *Source, r *transfer.Result) error {
	if err := r.Zone.CheckDigest(time.Now()); err != nil {
		return err
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.gone {
		return nil
	}
	if z.disk != nil {
		var err error
		if r.Deltas != nil {
			if err = z.disk.Append(r.Deltas...); err == nil && z.disk.Full() {
				err = z.disk.Save(r.Zone, true)
			}
		} else {
			err = z.disk.Save(r.Zone, false)
		}
		if err != nil {
			return fmt.Errorf("it cannot be kept on disk: %w", err)
		}
	}
	deltas := r.Deltas
	if deltas == nil && z.zone != nil && source.shared() && zone.Newer(r.Zone.Serial(), z.zone.Serial()) {
		// Who has the zone from here need not take it whole as well.
		deltas = []*zone.Delta{zone.Diff(z.zone, r.Zone)}
	}
	k.state.Lock()
	defer k.state.Unlock()
	z.zone, z.loaded, z.expired = r.Zone, time.Now(), false
	k.taken += r.Zone.Size() + wire.MaxMessage
	if deltas != nil {
		z.history.add(r.Zone, deltas...)
	} else {
		z.history = history{}
	}
	k.set.Publish(zone.Change{Apex: source.Apex, Zone: r.Zone})
	k.log.Info("zone fetched", "zone", z.name(), "serial", r.Zone.Serial(), "records", r.Zone.Records(),
		"differences", len(r.Deltas), "octets", r.Octets)
	k.tellOthers(z)
	if source.Consumes != nil {
		k.work.Go(k.catalogChanged)
	}
	return nil
}

// settle remembers how a refresh went and when the next is due. k.state is held.
func (k *Keeper) settle(z *kept, err error, r *transfer.Result) {
	now := time.Now()
	t := timersOf(z.zone)
	z.tried, z.trouble = now, ""
	next := t.refresh
	if err == nil {
		z.checked, z.fails = now, 0
		if z.expire = t.expire; r.Expire > 0 {
			z.expire = min(r.Expire, t.expire) // RFC 7314, section 4
		}
		if z.expired && z.zone != nil {
			z.expired = false
			k.set.Publish(zone.Change{Apex: z.source.Apex, Zone: z.zone})
			k.log.Info("zone is served again", "zone", z.name())
		}
		if z.disk != nil {
			if err := z.disk.SetChecked(now, z.expire); err != nil {
				k.log.Warn("when the zone was checked cannot be written down", "zone", z.name(), "problem", err.Error())
			}
		}
	} else {
		next = min(t.retry<<min(z.fails, 6), max(t.refresh, t.retry, 10*time.Minute))
		z.fails++
		z.trouble = err.Error()
		k.log.Warn("zone cannot be refreshed", "zone", z.name(), "problem", z.trouble, "next", next.String())
	}
	if z.zone != nil && !z.expired {
		if left := z.expire - now.Sub(z.checked); left <= 0 {
			z.expired = true
			k.set.Publish(zone.Change{Apex: z.source.Apex})
			k.log.Error("zone has expired: no primary answered for it in time; it answers SERVFAIL", "zone", z.name(), "checked", z.checked.Format(time.RFC3339))
		} else {
			next = min(next, left+time.Second)
		}
	}
	next -= draw(next / jitter)
	if z.again {
		next = notifyGap
	}
	k.schedule(z, next)
}

// Notified is told that the primary of a zone has a new version (RFC 1996), and tells
// whether the sender may say so.
func (k *Keeper) Notified(apex []byte, p Peer) bool {
	k.state.Lock()
	defer k.state.Unlock()
	z := k.find(apex)
	if z == nil || !z.source.hears(p) {
		return false
	}
	// Who says so has the new version, as a rule.
	if i := slices.IndexFunc(z.source.Primaries, func(a netip.AddrPort) bool { return a.Addr() == p.Addr.Addr() }); i >= 0 && !z.running {
		z.turn = i
	}
	if z.running {
		z.again = true // what runs may have asked before the change
		return true
	}
	k.schedule(z, max(0, time.Until(z.tried.Add(notifyGap))))
	return true
}

// notifyGap is how long after a refresh NOTIFY leads to the next at the soonest: it may be
// forged, and is not to make a primary be asked all the time.
const notifyGap = time.Second

// MayNotify tells whether the peer may tell of changes of the zone.
func (k *Keeper) MayNotify(apex []byte, p Peer) bool {
	s := k.source(apex)
	return s != nil && s.hears(p)
}

// hears tells whether the peer is a primary of the zone, and signed as it has to. One
// that came unsigned for a zone with a key is heard as well, since many primaries do not
// sign NOTIFY: it only leads to a question that is signed.
func (s *Source) hears(p Peer) bool {
	a := p.Addr.Addr()
	known := slices.ContainsFunc(s.Primaries, func(from netip.AddrPort) bool { return from.Addr() == a }) ||
		len(s.Primaries) > 0 && slices.ContainsFunc(s.AllowNotify, func(n netip.Prefix) bool { return n.Contains(a) })
	return known && (p.Key == nil || s.Key != nil && bytes.Equal(s.Key.Name, p.Key))
}

// Refresh asks the primaries of a zone now. With whole, the zone is fetched whole,
// whatever its serial.
func (k *Keeper) Refresh(apex []byte, whole bool) error {
	k.state.Lock()
	defer k.state.Unlock()
	z := k.find(apex)
	switch {
	case z == nil:
		return errors.New("the zone is not served here")
	case len(z.source.Primaries) == 0:
		return errors.New("the zone has no primaries: port53 reload reads its file again")
	}
	z.whole = z.whole || whole
	if z.running {
		z.again = true
		return nil
	}
	k.schedule(z, 0)
	return nil
}

// tellOthers sends NOTIFY to those who follow a zone: at once, or a little later if they
// have just been told. k.state is held.
func (k *Keeper) tellOthers(z *kept) {
	if k.ctx == nil || k.ctx.Err() != nil || z.zone == nil || len(z.source.told()) == 0 || z.later {
		return
	}
	if wait := time.Until(z.told.Add(tellGap)); wait > 0 {
		z.later = true
		ctx := k.ctx
		k.work.Go(func() {
			timer := time.NewTimer(wait)
			defer timer.Stop()
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
			k.state.Lock()
			defer k.state.Unlock()
			if z.later && k.zones[z.key] == z {
				z.later = false
				k.sendNotify(z)
			}
		})
		return
	}
	k.sendNotify(z)
}

// tellGap is the time between two rounds of NOTIFY for a zone: changes that come closer
// together are told of at once.
const tellGap = time.Second

// sendNotify begins a round of NOTIFY, and ends the one before. k.state is held.
func (k *Keeper) sendNotify(z *kept) {
	if z.stop != nil {
		z.stop() // an older version's
		z.stop = nil
	}
	if k.ctx == nil || k.ctx.Err() != nil || z.zone == nil {
		return
	}
	ctx, cancel := context.WithCancel(k.ctx)
	z.stop, z.told = cancel, time.Now()
	version, name, key := z.zone, z.name(), z.source.Key
	for _, addr := range z.source.told() {
		k.work.Go(func() {
			if err := k.client.Notify(ctx, transfer.Primary{Addr: addr, Key: key}, version); err != nil && ctx.Err() == nil {
				k.log.Warn("a server was not told that a zone has changed", "zone", name, "server", addr.String(), "problem", err.Error())
			}
		})
	}
}

// Tell sends NOTIFY for a zone now.
func (k *Keeper) Tell(apex []byte) error {
	k.state.Lock()
	defer k.state.Unlock()
	z := k.find(apex)
	switch {
	case z == nil:
		return errors.New("the zone is not served here")
	case len(z.source.told()) == 0:
		return errors.New("the zone has neither secondaries nor notify: there is nobody to tell")
	}
	k.sendNotify(z)
	return nil
}
