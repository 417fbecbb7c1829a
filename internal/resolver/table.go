package resolver

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"port53/internal/wire"
)

// An expiring is a bounded table of facts that hold until a time. When it is full,
// what has expired goes, or else whatever comes first.
type expiring[K comparable] struct {
	mu sync.Mutex
	m  map[K]time.Time
}

func (e *expiring[K]) put(k K, until time.Time, most int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.m == nil {
		e.m = make(map[K]time.Time)
	}
	if len(e.m) >= most {
		now := time.Now()
		for old, end := range e.m {
			if end.Before(now) {
				delete(e.m, old)
			}
		}
		for old := range e.m {
			if len(e.m) < most {
				break
			}
			delete(e.m, old)
		}
	}
	e.m[k] = until
}

func (e *expiring[K]) drop(k K) {
	e.mu.Lock()
	delete(e.m, k)
	e.mu.Unlock()
}

func (e *expiring[K]) has(k K) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	end, ok := e.m[k]
	return ok && time.Now().Before(end)
}

// A lameKey is a server of a zone.
type lameKey struct {
	server netip.AddrPort
	zone   uint64 // hash of its name
}

// A lameFor is a server that said of a question of a type that it does not serve the zone
// (RFC 1912, section 2.8).
type lameFor struct {
	lameKey
	typ wire.Type
}

// A targetKey is a name server without addresses.
type targetKey struct{ name uint64 }

// quotas bound the questions that are outstanding, by zone and by server, so that a
// flood for one zone leaves room for the others. A zone that is full turns away at
// once; a server that is full lets wait, since it may serve many zones.
type quotas struct {
	mu      sync.Mutex
	zones   map[uint64]*zoneQuota
	servers map[netip.AddrPort]*serverQuota

	// What was given back, for the next question: most have a zone and a server for themselves.
	freeZones   []*zoneQuota
	freeServers []*serverQuota
}

// A zoneQuota adapts to how the zone's servers do: when more than three in ten
// questions time out, fewer may wait for them.
type zoneQuota struct {
	out       int // outstanding, those that wait for a server too
	good, bad int // since the last adaptation
	allowed   int // tenths of the limit
}

type serverQuota struct {
	out   int
	queue []chan struct{} // who waits, in order
}

const (
	quotaWindow = 50 // outcomes between two adaptations
	quotaTenths = 10
	maxQuotas   = 65536 // zones that are remembered to be slow
)

// take reserves a place for one question to server for zone, waiting for it if the
// server has too many. It is false if the zone has, or if the time ran out.
func (q *quotas) take(zone uint64, server netip.AddrPort, l *Limits, wait time.Duration) bool {
	q.mu.Lock()
	if q.zones == nil {
		q.zones, q.servers = make(map[uint64]*zoneQuota), make(map[netip.AddrPort]*serverQuota)
	}
	z := q.zones[zone]
	if z == nil {
		if len(q.zones) >= maxQuotas {
			for k, old := range q.zones {
				if old.out == 0 {
					delete(q.zones, k)
				}
			}
		}
		z = reuse(&q.freeZones)
		*z = zoneQuota{allowed: quotaTenths}
		q.zones[zone] = z
	}
	if z.out >= max(l.PerZone*z.allowed/quotaTenths, 1) {
		q.mu.Unlock()
		return false
	}
	z.out++
	s := q.servers[server]
	if s == nil {
		s = reuse(&q.freeServers)
		*s = serverQuota{}
		q.servers[server] = s
	}
	if s.out < l.PerServer {
		s.out++
		q.mu.Unlock()
		return true
	}
	turn := make(chan struct{}, 1)
	s.queue = append(s.queue, turn)
	q.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-turn: // whoever gave its place gave it to us
		return true
	case <-timer.C:
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(s.queue, turn); i >= 0 {
		s.queue = slices.Delete(s.queue, i, i+1)
		z.out--
		return false
	}
	return true // it came at the last moment
}

// give returns the place. What has no question outstanding and no history takes no
// memory.
func (q *quotas) give(zone uint64, server netip.AddrPort, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.servers[server]
	switch {
	case len(s.queue) > 0:
		s.queue[0] <- struct{}{}
		s.queue = s.queue[1:]
	case s.out > 1:
		s.out--
	default:
		delete(q.servers, server)
		keepFree(&q.freeServers, s)
	}
	z := q.zones[zone]
	z.out--
	if ok {
		z.good++
	} else {
		z.bad++
	}
	if z.good+z.bad >= quotaWindow {
		if 10*z.bad > 3*(z.good+z.bad) {
			z.allowed = max(z.allowed/2, 1)
		} else {
			z.allowed = min(z.allowed+2, quotaTenths)
		}
		z.good, z.bad = 0, 0
	}
	if z.out == 0 && z.allowed == quotaTenths {
		delete(q.zones, zone)
		keepFree(&q.freeZones, z)
	}
}

// maxFree is how many records that nobody uses are kept, of each kind.
const maxFree = 256

// reuse returns a record that is free, as it was left, or a new one.
func reuse[T any](free *[]*T) *T {
	n := len(*free)
	if n == 0 {
		return new(T)
	}
	v := (*free)[n-1]
	*free = (*free)[:n-1]
	return v
}

func keepFree[T any](free *[]*T, v *T) {
	if len(*free) < maxFree {
		*free = append(*free, v)
	}
}

// sortRoutes returns the routes with the longest zones first.
func sortRoutes(routes []Route) []Route {
	sorted := slices.Clone(routes)
	for i := range sorted {
		sorted[i].Zone = wire.Lower(nil, sorted[i].Zone)
	}
	slices.SortStableFunc(sorted, func(a, b Route) int { return wire.LabelCount(b.Zone) - wire.LabelCount(a.Zone) })
	return sorted
}
