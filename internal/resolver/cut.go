package resolver

import (
	"hash/maphash"
	"net/netip"

	"port53/internal/cache"
	"port53/internal/dnssec"
	"port53/internal/wire"
)

// A cut is a zone and whom to ask for what is in it: what a referral told, a route,
// or a local zone.
type cut struct {
	zone      []byte          // in lower case
	partition cache.Partition // of the cache, so that what routes teach is kept apart
	route     *Route          // nil: iterated
	local     bool
	targets   []target
	expires   int64 // unix time
	stored    int64 // unix time; 0: not from the cache
	hints     bool  // the root as built in or configured, not yet primed

	glueless int // name servers whose addresses were looked up for this question
	dead     int // of these, those without any
}

// The routes by which something is learned, each of which has a part of the cache to itself. Those of
// [Settings] have 1 and up.
const (
	routeIteration = 0
	routeLocal     = 0xFFFF // by delegations out of local zones
)

// part returns the part of the cache that has what is learned by a route.
func (s *Config) part(route uint16) cache.Partition { return cache.NewPartition(s.Partition, route) }

// cutAbove returns the closest known cut at or above name, for a question of type
// typ: DS lies on the parent's side (RFC 4035, section 3.1.4.1).
func (t *task) cutAbove(name []byte, typ wire.Type) *cut {
	name = dnssec.ParentSide(name, typ)
	route, index := t.s.route(name)
	var apex []byte
	if t.s.Local != nil {
		if apex = t.s.Local.Apex(name, typ); apex != nil && (route == nil || len(apex) >= len(route.Zone)) {
			route, index = nil, routeLocal
		} else {
			apex = nil
		}
	}
	if route != nil && t.noRoute {
		route, index = nil, routeIteration
	}
	partition := t.s.part(index)
	for n := name; ; n = wire.Parent(n) {
		if apex != nil && len(n) == len(apex) {
			return &cut{zone: apex, partition: partition, local: true}
		}
		if route != nil && len(n) == len(route.Zone) {
			return routeCut(route, partition)
		}
		if c := t.cachedCut(partition, n); c != nil {
			return c
		}
		if len(n) == 1 {
			return t.rootCut()
		}
	}
}

// route returns the longest route at or above name, and its number. One without servers
// is an exception of those above it: the name is iterated.
func (s *Config) route(name []byte) (*Route, uint16) {
	for i := range s.routes {
		if wire.Subdomain(name, s.routes[i].Zone) {
			if len(s.routes[i].Servers) == 0 {
				break
			}
			return &s.routes[i], uint16(i + 1)
		}
	}
	return nil, routeIteration
}

// Routed reports whether an operator's route leads to name more closely than a zone of
// so many octets.
func (s *Config) Routed(name []byte, zone int) bool {
	route, _ := s.route(name)
	return route != nil && len(route.Zone) >= zone
}

// Routes reports whether there are routes at all.
func (s *Config) Routes() bool { return len(s.routes) > 0 }

func routeCut(r *Route, partition cache.Partition) *cut {
	return &cut{zone: r.Zone, partition: partition, route: r}
}

// rootCut returns the root's servers from the hints, and asks them for the present
// ones on the way (RFC 9609, section 3): one task does, the others wait for it.
func (t *task) rootCut() *cut {
	hints := t.s.hintCut()
	if t.priming {
		return hints
	}
	flight := flightKey{priming: true, view: t.s.Partition}
	f, mine := t.r.flights.join(t, flight)
	if !mine {
		if f != nil {
			t.waitFor(f)
		}
		if c := t.cachedCut(hints.partition, wire.Root); c != nil {
			return c
		}
		return hints
	}
	defer t.r.flights.done(flight, f)
	if c := t.cachedCut(hints.partition, wire.Root); c != nil {
		return c // another task was done with it just before
	}
	t.priming = true
	defer func() { t.priming = false }()
	if c := t.prime(hints); c != nil {
		return c
	}
	t.keepCut(hints, primeRetry)
	return hints
}

// primeRetry is how long, in seconds, the hints are used as they are when no server
// told the root's servers, before they are asked again.
const primeRetry = 10

// hintCut returns the root's servers as the hints name them.
func (s *Config) hintCut() *cut {
	c := &cut{zone: wire.Root, partition: s.part(routeIteration), hints: true}
	for _, h := range s.Hints {
		c.targets = append(c.targets, target{name: h.Name, addrs: h.Addrs})
	}
	return c
}

// prime asks for the root's NS records, and keeps them with the addresses that come
// along. It returns nil if no server answered.
func (t *task) prime(hints *cut) *cut {
	f, fail := t.ask(hints, wire.Root, wire.TypeNS, true)
	if fail != nil || f.kind != foundAnswer || f.set.Type != wire.TypeNS {
		return nil
	}
	c := &cut{zone: wire.Root, partition: hints.partition}
	for _, d := range f.set.Data[:min(len(f.set.Data), t.s.Limits.NameServers)] {
		name := wire.Lower(nil, d)
		c.targets = append(c.targets, target{name: name, addrs: f.addresses(name)})
	}
	known := false
	for i := range c.targets {
		if n := &c.targets[i]; len(n.addrs) == 0 {
			for _, h := range t.s.Hints {
				if wire.EqualFold(h.Name, n.name) {
					n.addrs = h.Addrs
				}
			}
		}
		known = known || len(c.targets[i].addrs) > 0
	}
	if !known {
		// Their addresses would have to be asked of themselves.
		c.targets = append(c.targets, hints.targets...)
	}
	t.keepCut(c, f.set.TTL)
	return c
}

// A cutRoom is the memory of most cuts that come from the cache, in one piece.
type cutRoom struct {
	cut
	targets [4]target
	addrs   [8]netip.Addr
	names   [128]byte
}

// cachedCut returns what the parent of zone last told of it, or nil.
func (t *task) cachedCut(partition cache.Partition, zone []byte) *cut {
	e := &t.entry
	if !t.r.cache.Delegation(partition, zone, t.unix(), e) || e.Stale || t.ahead > 0 && e.Expires <= t.unix()+t.ahead {
		return nil
	}
	room := &cutRoom{}
	c, names, addrs := &room.cut, append(room.names[:0], zone...), room.addrs[:0]
	*c = cut{zone: names[:len(zone):len(zone)], partition: partition, expires: e.Expires, stored: e.Stored, targets: room.targets[:0]}
	for _, d := range e.Data {
		n, err := wire.CheckName(d)
		if err != nil {
			continue
		}
		name := len(names)
		names = append(names, d[:n]...)
		g := target{name: names[name:len(names):len(names)]}
		first := len(addrs)
		for d = d[n:]; len(d) > 0; {
			size := int(d[0] &^ spareAddr)
			if size+1 > len(d) {
				break
			}
			switch a, ok := netip.AddrFromSlice(d[1 : 1+size]); {
			case !ok:
			case d[0]&spareAddr != 0:
				g.spare = append(g.spare, a)
			default:
				addrs = append(addrs, a)
			}
			d = d[1+size:]
		}
		g.addrs = addrs[first:len(addrs):len(addrs)]
		c.targets = append(c.targets, g)
	}
	return c
}

// spareAddr marks, in the length of an address as the cache keeps it, one that is tried last.
const spareAddr = 0x80

// keepCut stores a delegation for at most ttl seconds: no child can prolong it, so
// that a zone which its parent has withdrawn dies (ghost domains, 2012).
func (t *task) keepCut(c *cut, ttl uint32) {
	now := t.unix()
	ttl = min(ttl, maxDelegationTTL)
	servers := make([][]byte, 0, len(c.targets))
	for _, g := range c.targets {
		d := append(make([]byte, 0, len(g.name)+17*(len(g.addrs)+len(g.spare))), g.name...)
		for _, a := range g.addrs {
			d = append(append(d, byte(a.BitLen()/8)), a.AsSlice()...)
		}
		for _, a := range g.spare {
			d = append(append(d, byte(a.BitLen()/8)|spareAddr), a.AsSlice()...)
		}
		servers = append(servers, d)
	}
	c.expires = now + int64(ttl)
	t.w.PutDelegation(c.partition, c.zone, servers, ttl, now)
}

// dropCutsAbove forgets the delegations that led to c, but for the root's servers, if they
// are as old as that, and that keys did not validate: any of them may have been forged.
func (t *task) dropCutsAbove(c *cut) {
	for zone := c.zone; len(zone) > 1; zone = wire.Parent(zone) {
		if up := t.cachedCut(c.partition, zone); up != nil && t.unix()-up.stored > minCutAge {
			t.dropCut(up)
		}
		t.trusts().doubt(zone)
	}
}

// dropCut forgets a delegation whose servers are of no use, so that the parent is
// asked again.
func (t *task) dropCut(c *cut) {
	t.w.PutDelegation(c.partition, c.zone, nil, 0, t.unix())
}

// hash returns a number that stands for a name in lower case, in the view that the task is for.
func (t *task) hash(name []byte) uint64 {
	return maphash.Bytes(t.r.seed, name) + uint64(t.s.Partition)*0x9E3779B97F4A7C15
}
