package upstream

import (
	"net/netip"
	"sync"
	"time"
)

// A State is what is known of a server.
type State uint8

// The states.
const (
	Unknown State = iota
	Good
	Slow // it did not answer lately
	Dead // it has not answered for long: one question at a time tries it
)

// Times of a server's replies. RFC 9199 and RFC 2308, section 7.2 leave them open.
const (
	unknownTimeout = 400 * time.Millisecond // as Knot Resolver; Unbound 376 ms
	leastTimeout   = 300 * time.Millisecond // shorter waits would only double what is sent
	mostTimeout    = 3 * time.Second
	deadAfter      = 12               // timeouts in a row; PowerDNS Recursor 64, Unbound after 120 s
	deadTime       = 60 * time.Second // until one question tries again
	probeTime      = 5 * time.Second  // until another one does
	forgetTime     = 15 * time.Minute // what a server does not understand may be mended
)

// A server is what is known of one address and port.
type server struct {
	used     time.Time // when it was last asked
	srtt     time.Duration
	rttvar   time.Duration
	timeouts int       // in a row
	deadTill time.Time // with enough timeouts: when it may be tried
	noEDNS   time.Time // until then it is asked without
	noCase   time.Time // until then its replies may have another case
	cookie   []byte    // the server's cookie
	cookieAt time.Time
}

// tableShards spreads the table's locks, and tableSize is how many servers each holds:
// as many as a busy resolver talks to in an hour.
const (
	tableShards = 64
	tableSize   = 1024
)

// servers is a bounded table. When a shard is full, what was not used for longest of a
// few goes.
type servers struct {
	shards [tableShards]struct {
		mu sync.Mutex
		m  map[netip.AddrPort]*server
	}
}

// with calls f with what is known of a server, under its shard's lock.
func (t *servers) with(a netip.AddrPort, f func(*server)) {
	b := a.Addr().As16()
	h := uint32(a.Port())
	for _, x := range b {
		h = h*31 + uint32(x)
	}
	s := &t.shards[h%tableShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.m[a]
	if v == nil {
		if s.m == nil {
			s.m = make(map[netip.AddrPort]*server)
		}
		if len(s.m) >= tableSize {
			var oldest netip.AddrPort
			var used time.Time
			seen := 0
			for k, old := range s.m {
				if seen == 0 || old.used.Before(used) {
					oldest, used = k, old.used
				}
				if seen++; seen == 8 {
					break
				}
			}
			delete(s.m, oldest)
		}
		v = &server{}
		s.m[a] = v
	}
	f(v)
}

// timeout returns how long a reply is waited for (RFC 6298, section 2.3, with bounds),
// doubled for each time that none came.
func (v *server) timeout() time.Duration {
	d := unknownTimeout
	if v.srtt > 0 {
		d = v.srtt + 4*v.rttvar
	}
	for i := 0; i < v.timeouts && d < mostTimeout; i++ {
		d *= 2
	}
	return min(max(d, leastTimeout), mostTimeout)
}

// replied takes a reply's time into the average (RFC 6298, section 2.3).
func (v *server) replied(rtt time.Duration) {
	rtt = max(rtt, time.Microsecond)
	if v.srtt == 0 {
		v.srtt, v.rttvar = rtt, rtt/2
	} else {
		v.rttvar += ((v.srtt - rtt).Abs() - v.rttvar) / 4
		v.srtt += (rtt - v.srtt) / 8
	}
	v.timeouts, v.deadTill = 0, time.Time{}
}

// silent takes note that no reply came.
func (v *server) silent(now time.Time) {
	if v.timeouts++; v.timeouts >= deadAfter {
		v.deadTill = now.Add(deadTime)
	}
}

// Estimate tells how long a reply of a server should be waited for, and what is known
// of it. For a dead one, probe is true for one caller now and then, who may try it.
func (c *Client) Estimate(a netip.AddrPort) (timeout time.Duration, state State, probe bool) {
	c.servers.with(a, func(v *server) {
		timeout = v.timeout()
		switch {
		case v.timeouts >= deadAfter:
			state = Dead
			if now := time.Now(); now.After(v.deadTill) {
				probe = true
				v.deadTill = now.Add(probeTime)
			}
		case v.timeouts > 0:
			state = Slow
		case v.srtt > 0:
			state = Good
		}
	})
	return timeout, state, probe
}

// RTT returns a server's smoothed round-trip time, or 0.
func (c *Client) RTT(a netip.AddrPort) (rtt time.Duration) {
	c.servers.with(a, func(v *server) { rtt = v.srtt })
	return rtt
}
