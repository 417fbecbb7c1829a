package resolver

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"time"

	"port53/internal/upstream"
	"port53/internal/wire"
)

// edeNone is the Extended DNS Error of what has none.
const edeNone = -1

// A failure is why there is no answer. It becomes SERVFAIL with an Extended DNS
// Error.
type failure struct {
	ede  int
	text string
	now  bool // of this question alone, such as a spent budget: it says nothing of others
	busy bool // of this moment: the question itself is not remembered to fail
}

// candidate is an address that a question may go to.
type candidate struct {
	server  netip.AddrPort
	timeout time.Duration // to wait for its reply
	tries   int
	good    bool // it answered the last time
	out     bool // it gave an answer that was no use
	lame    bool // it said that it does not serve the zone
	known   bool // to be lame, before it was asked
}

// An asking is one question to the servers of one zone.
type asking struct {
	t       *task
	c       *cut
	name    []byte
	typ     wire.Type
	whole   bool // the name is all that a client asked for, not a part of it
	zone    uint64
	list    []candidate
	most    int       // packets to one address
	end     time.Time // of the wait for all of them
	fail    *failure  // why there is no answer yet
	last    *finding  // an answer of a server that does not claim authority
	useless int       // servers whose answer was no use
}

// ask sends one question to the servers of c, one after the other, until one of them
// gives a finding that is of use.
func (t *task) ask(c *cut, name []byte, typ wire.Type, whole bool) (*finding, *failure) {
	if c.local {
		return t.askLocal(c, name, typ)
	}
	a := asking{t: t, c: c, name: name, typ: typ, whole: whole, zone: t.r.hash(c.zone)}
	a.fail = &failure{ede: wire.EDENoReachableAuthority, text: "no server of the zone could be asked"}
	a.list = t.candidates(c, nil)
	a.most, a.end = t.patience(c)
	for {
		if t.b.left() == 0 || t.r.ctx.Err() != nil {
			return nil, t.spent(a.fail)
		}
		if a.end != t.b.deadline && !time.Now().Before(a.end) {
			return nil, a.fail
		}
		i := a.choose()
		if i < 0 {
			if t.moreAddresses(c) {
				a.list = t.candidates(c, a.list)
				continue
			}
			return a.none()
		}
		f, busy := a.try(&a.list[i])
		switch {
		case busy != nil:
			return nil, busy
		case f != nil && a.weigh(&a.list[i], f):
			return f, nil
		case a.useless >= maxServfail:
			return a.none()
		}
	}
}

// none returns what there is when nobody is left to be asked.
func (a *asking) none() (*finding, *failure) {
	// Servers that all turn down a part of a name may still know the whole.
	if a.last != nil || a.whole || a.t.s.Minimise == Strict {
		a.learnLame()
	}
	if a.last != nil {
		return a.last, nil
	}
	return nil, a.fail
}

// try asks one server. It returns nil if nothing came of it, and a failure if no more may
// be asked.
func (a *asking) try(s *candidate) (*finding, *failure) {
	t := a.t
	s.tries++
	limited := a.c.route == nil // the operator chose the servers of routes for all there is
	if limited && !t.r.quota.take(a.zone, s.server, &t.s.Limits, t.b.left()) {
		return nil, &failure{ede: wire.EDENoReachableAuthority, text: "too many questions are waiting for the servers of this zone", now: true, busy: true}
	}
	m, err := t.exchange(a.c, s, a.name, a.typ, a.end)
	if limited {
		t.r.quota.give(a.zone, s.server, err == nil)
	}
	if err != nil {
		a.fail = failed(err, a.fail)
		return nil, nil
	}
	f := t.admit(m, a.c, a.name, a.typ)
	f.server = s.server
	t.trace.received(a.c, s.server, f, &m.Message)
	return f, nil
}

// weigh tells whether a finding is of use, and takes note of the server that gave it.
func (a *asking) weigh(s *candidate, f *finding) bool {
	iterated := a.c.route == nil
	switch {
	case f.kind == foundNothing:
		s.out, s.lame = true, f.lame && iterated
		a.fail = useless(f)
		a.useless++
		return false
	case !f.aa && iterated && f.kind != foundReferral && !a.whole && f.kind != foundAlias && a.last == nil:
		// An intermediate name: any answer will do.
	case !f.aa && iterated && f.kind != foundReferral && a.last == nil:
		// Not an authority's: somebody else may know better.
		s.out = true
		a.last = f
		return false
	}
	a.learnLame()
	if s.known {
		a.t.r.lame.drop(lameFor{lameKey{s.server, a.zone}, a.typ})
	}
	return true
}

// patience returns how often one address of c is asked, and until when.
func (t *task) patience(c *cut) (most int, end time.Time) {
	switch {
	case c.route == nil:
	case !c.route.First:
		return maxForward, t.b.deadline
	default:
		// Iteration comes behind the forwarders, and needs its time as well.
		return maxTries, t.b.deadline.Add(-t.b.left() / 2)
	}
	return maxTries, t.b.deadline
}

// useless is the failure that a finding of no use comes to.
func useless(f *finding) *failure {
	fail := &failure{ede: wire.EDENoReachableAuthority, text: "servers answer " + f.why}
	if f.wrong || f.rcode == wire.FormErr || f.rcode == wire.NotImp {
		fail.ede = wire.EDEInvalidData
	}
	return fail
}

// learnLame remembers who said that it does not serve the zone, when all are through. It is
// lame for what it was asked: others are asked before it when questions of the type come.
// Without others it is asked again, for a server may refuse one name or one type alone, and no
// client's question is to take a zone away from all (CVE-2021-25219).
func (a *asking) learnLame() {
	for i := range a.list {
		if s := &a.list[i]; s.lame {
			a.t.r.lame.put(lameFor{lameKey{s.server, a.zone}, a.typ}, time.Now().Add(lameTime), maxLame)
		}
	}
}

// spent says which part of the budget is used up.
func (t *task) spent(fail *failure) *failure {
	switch {
	case t.r.ctx.Err() != nil:
		return &failure{ede: wire.EDENotReady, text: "shutting down", now: true, busy: true}
	case t.b.packets <= 0:
		return &failure{ede: wire.EDEOther, text: "limit of packets for one question reached", now: true}
	case t.b.octets <= 0:
		return &failure{ede: wire.EDEOther, text: "limit of octets for one question reached", now: true}
	}
	return &failure{ede: wire.EDENoReachableAuthority, text: "no answer in time: " + fail.text}
}

func failed(err error, before *failure) *failure {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return &failure{ede: wire.EDENoReachableAuthority, text: "servers do not answer"}
	case errors.Is(err, context.Canceled):
		return before
	case errors.Is(err, errMalformed):
		return &failure{ede: wire.EDEInvalidData, text: "servers send what cannot be read"}
	}
	return &failure{ede: wire.EDENetworkError, text: "servers cannot be reached"}
}

// candidates returns the addresses that may be asked for c: those in list, and those
// that have become known since.
func (t *task) candidates(c *cut, list []candidate) []candidate {
	add := func(a netip.AddrPort, routed bool) {
		if !t.usable(a.Addr(), routed) {
			return
		}
		for i := range list {
			if list[i].server == a {
				return // ten names for one address are one server (CVE-2026-3592)
			}
		}
		if len(list) < maxAddresses {
			list = append(list, candidate{server: a})
		}
	}
	if c.route != nil {
		for _, a := range c.route.Servers {
			add(a, true)
		}
		return list
	}
	for i := range c.targets {
		for _, a := range c.targets[i].addrs {
			add(netip.AddrPortFrom(a.Unmap(), t.s.port), false)
		}
		for _, a := range c.targets[i].spare {
			// It is tried last, unless it has answered before.
			at := netip.AddrPortFrom(a.Unmap(), t.s.port)
			if _, state, _ := t.r.exchange.Estimate(at); state == upstream.Good {
				add(at, false)
			}
		}
	}
	return list
}

// usable tells whether an address may be sent to at all. What a stranger's zone names
// as a server must not lead back to this machine.
func (t *task) usable(a netip.Addr, routed bool) bool {
	switch {
	case a.Is4() && !t.s.IPv4, a.Is6() && !t.s.IPv6:
		return false
	case a.IsUnspecified(), a.IsMulticast(), a.Is4() && a.As4()[0] == 0, a.Is4() && a.As4()[0] >= 240:
		return false
	case routed:
		return true
	}
	for _, p := range t.s.Forbidden {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// How servers are compared.
const (
	explore = 16 // how rarely, one question in so many, a server is asked that is not the best

	// exploreTimeout is how long a server is waited for that is asked to find out
	// how it does, while another one is known to answer: whoever asked waits, too.
	exploreTimeout = 400 * time.Millisecond

	// unknownRTT is what a server is taken to have that was never asked: it is tried
	// if those that are known are farther away than servers of one continent are.
	unknownRTT = 100 * time.Millisecond

	// lameRTT is what a server is taken to have besides, that said lately that it does not
	// serve the zone: those are asked before it that are not known to be silent.
	lameRTT = time.Second

	// sameRTT is a difference that nobody notices.
	sameRTT = 10 * time.Millisecond
)

// choose returns the index of the server to ask next, or -1. It takes the one whose
// reply is expected first; now and then another, so that a better one is found; and
// one that was dead when it is time to see whether it still is.
func (a *asking) choose() int {
	t, c, list := a.t, a.c, a.list
	best, found, other := time.Duration(0), -1, false
	random := uint32(t.r.random.Uint64())
	first := !slices.ContainsFunc(list, func(s candidate) bool { return s.tries > 0 })
	wild := first && random%explore == 0 // whoever waited in vain shall not wait again
	for i := range list {
		s := &list[i]
		key := lameKey{s.server, a.zone}
		if s.out || s.tries >= a.most || slices.Contains(t.avoid, key) {
			continue
		}
		lame := c.route == nil && t.r.lame.has(lameFor{key, a.typ})
		timeout, state, probe := t.r.exchange.Estimate(s.server)
		if state == upstream.Dead && !probe && c.route == nil {
			continue
		}
		s.timeout = timeout
		score := timeout
		switch state {
		case upstream.Unknown:
			score = unknownRTT
		case upstream.Good:
			score = t.r.exchange.RTT(s.server) + sameRTT
			other = other || s.tries == 0 && !lame
		case upstream.Dead:
			score *= 4
		}
		random = random*1664525 + 1013904223 // spreads the one draw over the list
		if s.tries > 0 {
			score = timeout * time.Duration(s.tries+1) // it may answer over UDP, but not over TCP
		}
		switch {
		case lame:
			score += lameRTT
		case probe:
			score = 0
		case wild:
			score = time.Duration(random >> 8)
		default:
			// Servers that are about as fast share the load.
			score += score * time.Duration(random>>24) / 1024
		}
		if found < 0 || score < best {
			best, found, s.good, s.known = score, i, state == upstream.Good, lame
		}
	}
	if found < 0 {
		return found
	}
	if s := &list[found]; other && !s.good {
		s.timeout = min(s.timeout, max(exploreTimeout, 2*t.r.exchange.RTT(s.server)))
	}
	return found
}

// errMalformed is a reply that does not parse.
var errMalformed = errors.New("malformed reply")

// exchange sends the question to one server and reads the reply, until end at most.
func (t *task) exchange(c *cut, s *candidate, name []byte, typ wire.Type, end time.Time) (*reading, error) {
	timeout := s.timeout
	if s.tries > 1 {
		timeout *= 2
	}
	forward := c.route != nil && c.route.Forward
	q := upstream.Question{
		Name: name, Type: typ, RD: forward, CD: forward && t.s.Validate,
		EDNS: true, DO: t.s.Validate, TCP: c.route != nil && c.route.TCP,
		Timeout: timeout, End: end, MixCase: t.s.MixCase,
	}
	t.trace.sent(c, s.server, name, typ)
	reply, err := t.r.exchange.Exchange(t.r.ctx, s.server, &q)
	t.b.packets -= max(reply.Packets, 1)
	t.b.octets -= reply.Octets
	t.r.counters.Sent.Add(uint64(max(reply.Packets, 1)))
	if reply.Spoof {
		t.r.counters.Spoofed.Add(1)
	}
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.r.counters.Timeouts.Add(1)
		}
		t.trace.failed(c, s.server, err)
		return nil, err
	}
	m := t.reading()
	if bad := m.Parse(reply.Message); bad != 0 {
		s.out = true
		t.trace.failed(c, s.server, bad)
		return nil, errMalformed
	}
	if t.s.Reporting && c.route == nil {
		t.agentOf(m)
	}
	t.trace.rtt(reply.RTT, reply.TCP)
	return m, nil
}

// askLocal asks the zones of this server.
func (t *task) askLocal(c *cut, name []byte, typ wire.Type) (*finding, *failure) {
	m := t.reading()
	if bad := m.Parse(t.s.Local.Answer(name, typ)); bad != 0 {
		return nil, &failure{ede: wire.EDEInvalidData, text: "a local zone cannot be served"}
	}
	f := t.admit(m, c, name, typ)
	if f.kind == foundNothing {
		return nil, &failure{ede: wire.EDEInvalidData, text: "a local zone cannot be served"}
	}
	return f, nil
}
