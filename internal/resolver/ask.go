package resolver

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"

	"port53/internal/upstream"
	"port53/internal/why"
	"port53/internal/wire"
)

// edeNone is the Extended DNS Error of what has none.
const edeNone = -1

// A failure is why there is no answer. It becomes SERVFAIL with an Extended DNS
// Error.
type failure struct {
	ede   int
	text  string
	now   bool // of this question alone, such as a spent budget: it says nothing of others
	busy  bool // of this moment: the question itself is not remembered to fail
	child bool // the zone below a cut answered for DS records, which are the zone's above
	cause why.Cause
}

// candidate is an address that a question may go to.
type candidate struct {
	server  netip.AddrPort
	timeout time.Duration // to wait for its reply
	tries   int
	good    bool     // it answered the last time
	silent  bool     // it was waited for in vain
	upper   *finding // an error that it answered to a question with upper-case letters
	out     bool     // it gave an answer that was no use
	lame    bool     // it said that it does not serve the zone
	known   bool     // to be lame, before it was asked
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
	waves   int       // in which those that were silent are asked again, all at once
	silent  int       // servers that were waited for in vain
	lowered int       // errors that were asked for again in lower case
	end     time.Time // of the wait for all of them
	fail    *failure  // why there is no answer yet
	last    *finding  // an answer of a server that does not claim authority
	useless int       // servers whose answer was no use
	except  Exception // what the zone does not bear
}

// ask sends one question to the servers of c, one after the other, until one of them
// gives a finding that is of use.
func (t *task) ask(c *cut, name []byte, typ wire.Type, whole bool) (*finding, *failure) {
	if c.local {
		return t.askLocal(c, name, typ)
	}
	a := asking{t: t, c: c, name: name, typ: typ, whole: whole, zone: t.hash(c.zone)}
	a.fail = notAsked
	a.except = t.s.except.ofZone(name)
	a.list = t.candidates(c, nil)
	a.waves, a.end = t.patience(c)
	for {
		if t.b.left() == 0 || t.r.ctx.Err() != nil {
			return nil, t.spent(a.fail)
		}
		if a.end != t.b.deadline && !t.b.at.Before(a.end) {
			return nil, a.fail
		}
		i := a.choose()
		if i < 0 && a.last != nil && !a.last.lame && !a.last.ra {
			return a.none() // an answer without AA is better than waiting for who knows whom
		}
		if i < 0 && t.moreAddresses(c) {
			a.list = t.candidates(c, a.list)
			continue
		}
		var f *finding
		var busy *failure
		switch {
		case i >= 0 && (a.silent < maxSilent || a.waves == 0):
			if f, busy = a.try(&a.list[i]); f != nil && !a.weigh(&a.list[i], f) {
				f = nil
			}
		case a.waves > 0:
			f = a.together()
		default:
			if f = a.lowers(); f == nil {
				return a.none()
			}
		}
		switch {
		case busy != nil:
			return nil, busy
		case f == nil && a.useless >= maxServfail:
			if f = a.lowers(); f == nil {
				return a.none()
			}
			fallthrough
		case f != nil:
			return f, nil
		}
	}
}

// notAsked is why there is no answer before anybody was asked. It is not modified.
var notAsked = &failure{ede: wire.EDENoReachableAuthority, text: "no server of the zone could be asked", cause: why.NoServerAddress}

// none returns what there is when nobody is left to be asked.
func (a *asking) none() (*finding, *failure) {
	a.refusesZone()
	// Servers that all turn down a part of a name may still know the whole.
	if a.last != nil || a.whole || a.t.s.Minimise == Strict {
		a.learnLame()
	}
	switch {
	case a.last != nil && (a.whole || !a.last.lame || a.last.kind != foundNXDomain):
		return a.last, nil
	case a.t.b.vain >= maxVain:
		return nil, &failure{
			ede: wire.EDENoReachableAuthority, text: "limit of name servers without glue reached", now: true, cause: why.LimitServers,
		}
	case a.fail == notAsked || a.fail == refusing:
		a.noteUnasked()
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
		return nil, &failure{
			ede:  wire.EDENoReachableAuthority,
			text: "too many queries are waiting for the servers of this zone",
			now:  true,
			busy: true,

			cause: why.LimitZone,
		}
	}
	t.look() // there may have been others before it
	t.out = a.question(s, s.timeout)
	q := &t.out
	if end := t.b.at.Add(max(tryTime, 4*s.timeout)); end.Before(q.End) {
		q.End = end
	}
	t.trace.sent(a.c, s.server, a.name, a.typ)
	t.noteAsked(a.c, s.server, a.name, a.typ)
	reply, err := t.r.exchange.Exchange(t.r.ctx, s.server, q)
	if limited {
		t.r.quota.give(a.zone, s.server, err == nil)
	}
	t.charge(max(reply.Packets, 1), reply.Octets)
	return a.read(s, &reply, err), nil
}

// question returns the question as it is sent to a server, who is waited for so long.
func (a *asking) question(s *candidate, timeout time.Duration) upstream.Question {
	t, route := a.t, a.c.route
	forward := route != nil && route.Forward
	except := a.except.and(t.s.except.ofServer(s.server.Addr()))
	q := upstream.Question{
		Name: a.name, Type: a.typ, RD: forward, CD: forward && t.s.Validate,
		EDNS: !except.EDNS, DO: true, TCP: route != nil && route.TCP,
		Timeout: timeout, End: a.end, Packets: t.b.packets, MixCase: t.s.MixCase && !except.Case,
	}
	if !t.s.MixCase && !except.Case {
		q.Name = t.asWritten(a.name)
	}
	if route != nil {
		if q.Transport = route.Transports[s.server]; q.Transport != nil {
			q.TCP = true
		}
	}
	if except.Cookies {
		q.Cookie = upstream.CookieNone
	}
	return q
}

// asWritten returns a name with the letters that the client wrote, if it is the client's, or the end of it (RFC 4343, section 4.1,
// has the case be kept).
func (t *task) asWritten(name []byte) []byte {
	if n := len(t.written) - len(name); n >= 0 && wire.EqualFold([]byte(t.written[n:]), name) {
		return []byte(t.written[n:])
	}
	return name
}

// read reads what came of asking a server. It returns nil if that is nothing.
func (a *asking) read(s *candidate, reply *upstream.Reply, err error) *finding {
	t := a.t
	if reply.SuspectedSpoof {
		t.r.counters.Spoofed.Add(1)
	}
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.r.counters.Timeouts.Add(1)
			s.silent = true
			a.silent++
		} else {
			s.out = true // what cannot be reached, or makes no sense, does not come around by being asked again
		}
		t.trace.failed(a.c, s.server, err)
		a.fail = failed(err, a.fail)
		t.b.why = a.fail
		t.noteSilence(a.c, s.server, a.name, a.typ, err, a.fail.cause)
		return nil
	}
	t.b.heard = true
	m := t.reading()
	if bad := m.Parse(reply.Message); bad != 0 {
		s.out = true
		t.trace.failed(a.c, s.server, bad)
		a.fail = failed(errMalformed, a.fail)
		t.noteSilence(a.c, s.server, a.name, a.typ, errMalformed, a.fail.cause)
		return nil
	}
	if t.s.Reporting && a.c.route == nil {
		t.agentOf(m)
	}
	t.trace.rtt(reply.RTT, reply.TCP)
	f := t.admit(m, a.c, a.name, a.typ)
	f.server = s.server
	t.trace.received(a.c, s.server, f, &m.Message)
	t.noteReply(a.c, f, reply, a.name, a.typ)
	switch {
	case !reply.CaseUnknown:
	case f.kind == foundNothing:
		s.upper = f // others are asked first
	default:
		f = a.inLower(s, f)
	}
	return f
}

// lowers asks those again in lower case that have answered with errors, when nobody else is
// left. It returns the first finding that is of use, or nil.
func (a *asking) lowers() *finding {
	for i := range a.list {
		s := &a.list[i]
		if f := s.upper; f != nil && a.lowered < maxLowered {
			a.lowered++
			s.upper = nil
			if g := a.inLower(s, f); g != f && a.weigh(s, g) {
				return g
			}
		}
	}
	return nil
}

// inLower asks again without upper-case letters, over TCP, what a server has answered with an
// error or with nothing, unsigned: some find only lower-case names (RFC 4343, section 3, wants it
// otherwise). It returns the better finding, and what the server does is remembered, so that
// each is asked once.
func (a *asking) inLower(s *candidate, f *finding) *finding {
	t := a.t
	switch {
	case f.kind != foundNothing && f.kind != foundNoData && f.kind != foundNXDomain:
		t.r.exchange.NoteCasePreserved(s.server, true)
		return f
	case !a.whole && t.s.Minimise != Strict: // what is said of a part of the name decides nothing
		return f
	case slices.ContainsFunc(f.proof, func(s *wire.RRset) bool { return len(s.Sigs) > 0 }), t.b.left() == 0:
		return f
	}
	q := a.question(s, 0)
	q.TCP, q.MixCase = true, false
	if end := t.b.at.Add(lowerTime); end.Before(q.End) {
		q.End = end
	}
	t.trace.sent(a.c, s.server, a.name, a.typ)
	reply, err := t.r.exchange.Exchange(t.r.ctx, s.server, &q)
	t.charge(max(reply.Packets, 1), reply.Octets)
	if err != nil {
		t.trace.failed(a.c, s.server, err)
		t.r.exchange.NoteCasePreserved(s.server, true) // nothing says otherwise
		return f
	}
	m := t.reading()
	if m.Parse(reply.Message) != 0 {
		return f
	}
	t.trace.rtt(reply.RTT, reply.TCP)
	g := t.admit(m, a.c, a.name, a.typ)
	g.server = s.server
	t.trace.received(a.c, s.server, g, &m.Message)
	t.noteReply(a.c, g, &reply, a.name, a.typ)
	switch better := g.kind != foundNothing && g.kind != f.kind && g.kind != foundNXDomain; {
	case better:
		t.r.exchange.NoteCasePreserved(s.server, false)
		return g
	case f.kind == foundNothing:
		t.r.exchange.NoteCasePreserved(s.server, true)
	default:
		a.findsUpper(s)
	}
	return f
}

// findsUpper finds out whether a server finds names with upper-case letters, when it has denied
// one in lower case as well, which says nothing: it is asked for the SOA record of its zone, which
// is there.
func (a *asking) findsUpper(s *candidate) {
	t := a.t
	if len(a.c.zone) == 1 || a.c.route != nil && a.c.route.Forward || t.b.left() == 0 {
		t.r.exchange.NoteCasePreserved(s.server, true) // it has no letters, or whoever recurses finds what it asks for
		return
	}
	q := a.question(s, lowerTime)
	q.Name, q.Type = a.c.zone, wire.TypeSOA
	if end := time.Now().Add(lowerTime); end.Before(q.End) {
		q.End = end
	}
	t.trace.sent(a.c, s.server, q.Name, q.Type)
	reply, err := t.r.exchange.Exchange(t.r.ctx, s.server, &q)
	t.charge(max(reply.Packets, 1), reply.Octets)
	if err != nil {
		t.trace.failed(a.c, s.server, err)
		return
	}
	m := t.reading()
	if m.Parse(reply.Message) != 0 || !reply.CaseUnknown { // by chance there was none
		return
	}
	t.trace.rtt(reply.RTT, reply.TCP)
	f := t.admit(m, a.c, q.Name, q.Type)
	t.trace.received(a.c, s.server, f, &m.Message)
	t.r.exchange.NoteCasePreserved(s.server, f.kind == foundAnswer)
}

// tryTime is how long one server is waited for at least, TCP too, before the next one is asked.
const tryTime = 1500 * time.Millisecond

// lowerTime is how long the answer to a question without upper-case letters is waited for,
// where there is an answer already.
const lowerTime = time.Second

// charge takes what was sent and received from what the question may cost.
func (t *task) charge(packets, octets int) {
	t.look()
	t.b.packets -= packets
	t.b.octets -= octets
	t.r.counters.Sent.Add(uint64(packets))
}

// weigh reports whether a finding is of use, and takes note of the server that gave it.
func (a *asking) weigh(s *candidate, f *finding) bool {
	iterated := a.c.route == nil
	switch {
	case f.kind == foundNothing:
		s.out, s.lame = true, f.lame && iterated
		if f.rcode == wire.Refused && iterated && a.t.depth == 0 {
			a.t.r.refusals.refused(lameKey{s.server, a.zone}, a.t.hash(a.name))
		}
		a.fail = useless(f)
		a.useless++
		return false
	case f.lame:
		s.out, s.lame = true, iterated
		a.fail = useless(f)
		a.useless++
		if a.last == nil {
			a.last = f
		}
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
	a.t.r.refusals.answered(lameKey{s.server, a.zone})
	return true
}

// patience returns how often those servers of c that are silent are asked again, and until
// when.
func (t *task) patience(c *cut) (waves int, end time.Time) {
	switch {
	case t.brief > 0:
		return 0, t.b.at.Add(min(t.brief, t.b.left()))
	case c.route == nil:
		return maxWaves, t.b.deadline
	case !c.route.First:
		return maxForward, t.b.deadline
	}
	// Iteration comes behind the forwarders, and needs its time as well: a half of what whoever
	// asked waits for.
	left := t.b.left()
	if d := t.b.reply.Sub(t.b.at); d > 0 {
		left = min(left, d)
	}
	return maxWaves, t.b.at.Add(left / 2)
}

// useless is the failure that a finding of no use comes to.
func useless(f *finding) *failure {
	fail := &failure{ede: wire.EDENoReachableAuthority, text: "servers answer " + f.why, child: f.below, cause: why.ServersFail}
	switch {
	case f.wrong:
		fail.ede, fail.cause = wire.EDEInvalidData, why.ServersGarbled
	case f.rcode == wire.FormErr || f.rcode == wire.NotImp:
		fail.ede, fail.cause = wire.EDEInvalidData, why.ServersReject
	case f.rcode == wire.BadVers:
		fail.cause = why.ServersReject
	case f.rcode == wire.Refused || f.rcode == wire.NotAuth:
		fail.cause = why.ServersRefuse
	case f.rcode == wire.NoError || f.rcode == wire.NXDomain:
		fail.cause = why.ServersLame
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
		return &failure{ede: wire.EDENotReady, text: "shutting down", now: true, busy: true, cause: why.ShuttingDown}
	case t.b.packets <= 0 && !t.b.heard && t.b.why != nil:
		// Nothing leads out of this machine, or nothing came back: the limit is not the cause.
		return &failure{ede: t.b.why.ede, text: t.b.why.text, now: true, cause: t.b.why.cause}
	case t.b.packets <= 0:
		return &failure{ede: wire.EDEOther, text: "limit of packets for one query reached", now: true, cause: why.LimitPackets}
	case t.b.octets <= 0:
		return &failure{ede: wire.EDEOther, text: "limit of bytes for one query reached", now: true, cause: why.LimitOctets}
	}
	cause := why.LimitTime
	if fail.cause != why.Unknown && fail != notAsked {
		cause = fail.cause
	}
	return &failure{ede: wire.EDENoReachableAuthority, text: "no answer in time: " + fail.text, cause: cause}
}

func failed(err error, before *failure) *failure {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return &failure{ede: wire.EDENoReachableAuthority, text: "servers do not answer", cause: why.ServersSilent}
	case errors.Is(err, context.Canceled):
		return before
	case errors.Is(err, errMalformed):
		return &failure{ede: wire.EDEInvalidData, text: "servers send what cannot be read", cause: why.ServersGarbled}
	}
	text := "servers cannot be reached"
	var errno syscall.Errno
	if errors.As(err, &errno) {
		text += ": " + errno.Error() // such as that there is no route
	}
	cause := why.ServersUnreachable
	if upstream.Garbled(err) {
		cause = why.ServersGarbled
	}
	return &failure{ede: wire.EDENetworkError, text: text, cause: cause}
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

// usable reports whether an address may be sent to at all. What a stranger's zone names
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
	for _, p := range t.s.DoNotQuery {
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
	random := uint32(1)
	if len(list) > 1 {
		random = uint32(t.r.random.Uint64())
	}
	first := !slices.ContainsFunc(list, func(s candidate) bool { return s.tries > 0 })
	wild := first && random%explore == 0 // whoever waited in vain shall not wait again
	for i := range list {
		s := &list[i]
		key := lameKey{s.server, a.zone}
		if s.out || s.tries > 0 || slices.Contains(t.avoid, key) {
			continue
		}
		if c.route == nil && t.r.refusals.alone(key) {
			a.leaveAlone()
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
			rtt := t.r.exchange.RTT(s.server)
			s.timeout = max(timeout, rtt+rtt/4) // it may be farther than others are waited for
			score = rtt + sameRTT
			other = other || !lame
		case upstream.Slow:
			// Should it be silent again, there is another way to wait for it longer.
			s.timeout = min(timeout, max(exploreTimeout, 2*t.r.exchange.RTT(s.server)))
		case upstream.Dead:
			score *= 4
		}
		random = random*1664525 + 1013904223 // spreads the one draw over the list
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

// leaveAlone has the question fail because of servers that refuse the zone, if nothing else
// comes of it.
func (a *asking) leaveAlone() {
	if a.fail == notAsked {
		a.fail = refusing
	}
}

// refusing is why servers are left alone. It is not modified.
var refusing = &failure{ede: wire.EDENoReachableAuthority, text: "servers answer REFUSED", cause: why.ServersRefuse}

// errMalformed is a reply that does not parse.
var errMalformed = errors.New("malformed reply")

// askLocal asks the zones of this server.
func (t *task) askLocal(c *cut, name []byte, typ wire.Type) (*finding, *failure) {
	m := t.reading()
	if bad := m.Parse(t.s.Local.Answer(name, typ)); bad != 0 {
		return nil, &failure{ede: wire.EDEInvalidData, text: "a local zone cannot be served", cause: why.LocalZone}
	}
	f := t.admit(m, c, name, typ)
	if f.kind == foundNothing {
		return nil, &failure{ede: wire.EDEInvalidData, text: "a local zone cannot be served", cause: why.LocalZone}
	}
	return f, nil
}
