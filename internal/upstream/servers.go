package upstream

import (
	"hash/maphash"
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

// Times of a server's replies.
const (
	unknownTimeout = 400 * time.Millisecond // as Knot Resolver; Unbound 376 ms
	leastTimeout   = 300 * time.Millisecond // shorter waits would only double what is sent
	mostTimeout    = 3 * time.Second
	// deadAfter is how often in a row a server is waited for in vain, each time with
	// a question that was sent after the last one had been given up: half a minute
	// of silence. PowerDNS Recursor gives up after 64 questions, Unbound after 120 s.
	deadAfter = 12
	deadTime  = 60 * time.Second // until one question tries again, as PowerDNS Recursor
	probeTime = 5 * time.Second  // until another one does, if nothing is heard of that one
)

// What a server does not understand may be mended.
const (
	forgetTime = 15 * time.Minute
	// With DNSSEC a server without EDNS is of no use (RFC 6891, section 6.2.2), so
	// that a question which wants signatures soon tries whether it has learned.
	forgetTimeDO = time.Minute
	// bearsTime is how long a server that bore mixed case is taken to do so.
	bearsTime = 24 * time.Hour
	// noCookieTime is how long a server that knows no cookies is sent none
	// (RFC 9018, section 3).
	noCookieTime = 5 * time.Minute
	// cookieTime is how long a client cookie is used: the default lifetime of RFC
	// 7873, section 7.1. Server cookies need no such bound, because a server sends a
	// new one in time (RFC 9018, section 4.3) or says BADCOOKIE.
	cookieTime = 24 * time.Hour
)

// Sizes of the table of servers: as many as a busy resolver talks to in an hour, and 9
// MiB at most. Shards spread its locks.
const (
	tableShards = 64
	shardSize   = 1024
	evictLook   = 8 // entries looked at for the one to go
)

// A stamp is a time since the table was made, in nanoseconds; 0 is never.
type stamp int64

// within reports whether now is less than d after t.
func (t stamp) within(now stamp, d time.Duration) bool { return t != 0 && now-t < stamp(d) }

// A server is what is known of one address and port. It holds no pointers, so that the
// table costs nothing to collect.
//
// In one piece: it has a field for each thing that can be known.
type server struct {
	used     stamp // when it was last asked
	heard    stamp // when it last replied
	udp      stamp // when it last replied over UDP
	deaf     stamp // when it was seen to answer over TCP, and never over UDP
	missed   stamp // when a reply was last waited for in vain
	probe    stamp // of a dead one: when it may be tried
	plain    stamp // when it was seen not to understand EDNS
	folds    stamp // when it was seen not to bear mixed case: it changes it, or does not find the name
	bears    stamp // when it was seen to find a name with upper-case letters
	single   stamp // when it was seen to answer one question a connection
	baked    stamp // when the client cookie was made
	noCookie stamp // when it was seen not to know cookies

	srtt, rttvar time.Duration
	timeouts     uint16 // in a row

	client    [8]byte // cookie for it; if baked
	cookieLen uint8
	cookie    [32]byte // its own; of 8 to 32 octets (RFC 7873, section 4)
}

// A place is a server's address as the key of a table, without pointers.
type place struct {
	addr [16]byte
	zone uint32
	port uint16
}

type servers struct {
	begin  time.Time
	seed   maphash.Seed
	shards [tableShards]shard
}

// A shard is a part of the table. When it is full, what was not used for longest of a
// few entries goes.
type shard struct {
	mu    sync.Mutex
	index map[place]int32
	keys  []place
	all   []server
	hand  int32
}

func (t *servers) init() {
	t.begin = time.Now().Add(-1) // so that no stamp is 0
	t.seed = maphash.MakeSeed()
	for i := range t.shards {
		t.shards[i].index = make(map[place]int32)
	}
}

// now returns the present as a stamp.
func (t *servers) now() stamp { return t.stamp(time.Now()) }

// stamp returns a time as a stamp.
func (t *servers) stamp(at time.Time) stamp { return stamp(at.Sub(t.begin)) }

// locked returns the shard of a server, locked.
func (t *servers) locked(a netip.AddrPort) (*shard, place) {
	k := place{addr: a.Addr().As16(), port: a.Port()}
	if zone := a.Addr().Zone(); zone != "" {
		k.zone = uint32(maphash.String(t.seed, zone))
	}
	s := &t.shards[maphash.Comparable(t.seed, k)%tableShards]
	s.mu.Lock()
	return s, k
}

// look returns what is known of a server.
func (t *servers) look(a netip.AddrPort) (v server) {
	s, k := t.locked(a)
	if i, ok := s.index[k]; ok {
		v = s.all[i]
	}
	s.mu.Unlock()
	return v
}

// change calls f with what is known of a server, under its shard's lock.
func (t *servers) change(a netip.AddrPort, f func(*server)) {
	s, k := t.locked(a)
	defer s.mu.Unlock()
	i, ok := s.index[k]
	if !ok {
		i = s.room()
		s.index[k], s.keys[i], s.all[i] = i, k, server{}
	}
	f(&s.all[i])
}

// room returns the place of an entry that is free, or made so.
func (s *shard) room() int32 {
	n := int32(len(s.all))
	if n < shardSize {
		s.keys, s.all = append(s.keys, place{}), append(s.all, server{})
		return n
	}
	oldest := s.hand
	for range evictLook {
		if s.all[s.hand].used < s.all[oldest].used {
			oldest = s.hand
		}
		s.hand = (s.hand + 1) % n
	}
	delete(s.index, s.keys[oldest])
	return oldest
}

// timeout returns how long a reply is waited for (RFC 6298, section 2.3, with bounds),
// doubled for each time that none came.
func (v *server) timeout() time.Duration {
	d := unknownTimeout
	if v.srtt > 0 {
		d = max(v.srtt+4*v.rttvar, leastTimeout)
	}
	for i := uint16(0); i < v.timeouts && d < mostTimeout; i++ {
		d *= 2
	}
	return min(d, mostTimeout)
}

// replied takes a reply's time into the average (RFC 6298, section 2.3).
func (v *server) replied(now stamp, rtt time.Duration) {
	rtt = max(rtt, time.Microsecond)
	if v.srtt == 0 {
		v.srtt, v.rttvar = rtt, rtt/2
	} else {
		v.rttvar += ((v.srtt - rtt).Abs() - v.rttvar) / 4
		v.srtt += (rtt - v.srtt) / 8
	}
	v.alive(now)
}

// alive takes note of a reply whose time says nothing.
func (v *server) alive(now stamp) { v.heard, v.timeouts, v.probe = now, 0, 0 }

// silent takes note that no reply came to a question sent at a time. Questions that
// wait together count once, and none counts that was sent before something was heard: a
// packet was lost then, not the server.
func (v *server) silent(now, sent stamp) {
	if sent < v.missed || sent < v.heard {
		return
	}
	v.missed = now
	if v.timeouts < deadAfter {
		v.timeouts++
	}
	if v.timeouts == deadAfter {
		v.probe = now + stamp(deadTime)
	}
}

// Estimate tells how long a reply of a server should be waited for, and what is known
// of it. For a dead one, probe is true for one caller now and then, who may try it.
func (c *Client) Estimate(a netip.AddrPort) (timeout time.Duration, state State, probe bool) {
	a = unmap(a)
	s, k := c.servers.locked(a)
	defer s.mu.Unlock()
	i, ok := s.index[k]
	if !ok {
		return unknownTimeout, Unknown, false
	}
	v := &s.all[i]
	switch {
	case v.timeouts == deadAfter:
		state = Dead
		if now := c.servers.now(); now >= v.probe {
			probe = true
			v.probe = now + stamp(probeTime)
		}
	case v.timeouts > 0:
		state = Slow
	case v.heard > 0:
		state = Good
	}
	return v.timeout(), state, probe
}

// RTT returns a server's smoothed round-trip time, or 0.
func (c *Client) RTT(a netip.AddrPort) time.Duration {
	v := c.servers.look(unmap(a))
	return v.srtt
}

// NoteCasePreserved notes what a server makes of upper-case letters in a name: it finds it, or not
// (RFC 4343, section 3), and then it is sent none for a while.
func (c *Client) NoteCasePreserved(a netip.AddrPort, bears bool) {
	now := c.servers.now()
	c.servers.change(unmap(a), func(v *server) {
		if v.bears = now; !bears {
			v.bears, v.folds = 0, now
		}
	})
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
