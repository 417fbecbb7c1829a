package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"port53/internal/exchange"
	"port53/internal/finding"
	"port53/internal/wire"
)

// ErrNoRoute says that this machine has no way to an address: it lacks the family, a route, or
// the right to send there. That tells nothing of the server.
var ErrNoRoute error = ownError("this machine has no way to it")

// An ownError is what this machine lacks.
type ownError string

func (e ownError) Error() string        { return string(e) }
func (e ownError) Is(target error) bool { return target == finding.ErrLocal }

// noWay wraps an error of opening a socket, or of sending, that this machine is the cause of.
func noWay(err error) error {
	for _, e := range []error{syscall.ENETUNREACH, syscall.EADDRNOTAVAIL, syscall.EAFNOSUPPORT, syscall.EPERM, syscall.EACCES} {
		if errors.Is(err, e) {
			return fmt.Errorf("%w: %w", ErrNoRoute, StableError(err))
		}
	}
	return StableError(err)
}

// A socketError is an error of a socket without what varies from run to run: the system's own text
// has the port that a question left from.
type socketError struct{ error }

func (e socketError) Error() string {
	if TimedOut(e.error) {
		return ErrTimeout.Error()
	}
	return exchange.ErrorText(e.error)
}

func (e socketError) Unwrap() error { return e.error }

// StableError returns an error whose text is the same in each run. What it is stays.
func StableError(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return socketError{err}
	}
	return err
}

// A way is whether this machine can send to an address.
type way bool

// HasRoute reports whether this machine has a way to an address. Nothing is sent.
func (r *Run) HasRoute(ctx context.Context, to netip.AddrPort) bool {
	find := func() way {
		c, err := r.dialer().Open(ctx, "udp", to)
		if err != nil {
			// What a name server's own port answers to a packet comes later than this.
			return way(!errors.Is(noWay(err), ErrNoRoute) && !errors.Is(err, syscall.EHOSTUNREACH))
		}
		c.Close()
		return true
	}
	if r.Facts == nil && r.Options.Limiter == nil {
		return bool(find())
	}
	return bool(onceOfServer(r, Fact[way]{Server: to}, find))
}

// A manner is how a question is asked, as far as servers and what is before them make a
// difference: some drop whatever has an OPT record.
type manner struct {
	tcp, edns, do, options bool
	version                uint8
	opcode                 wire.Opcode
}

func (q *Query) manner(tcp bool) manner {
	m := manner{tcp: tcp, opcode: q.Opcode}
	if e := q.EDNS; e != nil {
		m.edns, m.do, m.options, m.version = true, e.DO, len(e.Options) > 0, e.Version
	}
	return m
}

// Habits are how a server took to what it was asked, so that nobody waits for each of a hundred
// questions of a kind that it drops. They are safe for concurrent use; nil knows nothing.
type habits struct {
	mu      sync.Mutex
	heard   map[manner]bool
	silent  map[manner]int // questions that were repeated, and never answered
	drops   int            // all of them
	rtt     time.Duration  // the longest, of what was answered without recursion; 0: none yet
	limits  bool           // it sent an empty reply with TC to a question whose answer is small, or answers what it refused no more
	refused *Query         // the first over UDP that it answered with an error; nil: none yet
}

// forget has the server asked as often as one that has dropped nothing.
func (h *habits) forget() {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.silent)
	h.drops = 0
}

// muteAfter is how many questions of a manner have to be dropped, with all their repetitions,
// before it is taken for what the server does.
const muteAfter = 2

func (r *Run) habits(s netip.AddrPort) *habits {
	if r.Facts == nil && r.Options.Limiter == nil {
		return nil
	}
	return onceOfServer(r, Fact[*habits]{Server: s}, func() *habits {
		return &habits{heard: map[manner]bool{}, silent: map[manner]int{}}
	})
}

// mute reports whether the server has answered nothing of a manner so far.
func (h *habits) mute(m manner) bool {
	if h == nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.heard[m] && h.silent[m] >= muteAfter
}

// dead reports whether the server has answered nothing at all, though it was asked repeatedly.
func (h *habits) dead() bool {
	if h == nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.heard) == 0 && h.drops >= muteAfter
}

// AnswersUDP reports whether the server has answered anything over UDP so far: then silence there may
// be a rate limit's, and that TCP is answered tells nothing.
func (r *Run) AnswersUDP(s finding.Server) bool {
	h := r.habits(s.Addr)
	if h == nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for m := range h.heard {
		if !m.tcp {
			return true
		}
	}
	return false
}

// RateLimits reports whether the server was seen to limit the rate of its answers: its silence to what it
// has no answer to may be that limit's, which is another one in some servers.
func (r *Run) RateLimits(s finding.Server) bool {
	h := r.habits(s.Addr)
	if h == nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.limits
}

// AnswersErrors reports whether the server answers a question over UDP that it answered with an error before: what it drops
// meanwhile is not dropped by a limit of errors, which some servers leave out without a sign. known is false if it has not
// answered any with an error.
func (r *Run) AnswersErrors(ctx context.Context, s finding.Server) (still, known bool) {
	h := r.habits(s.Addr)
	if h == nil {
		return false, false
	}
	h.mu.Lock()
	q := h.refused
	h.mu.Unlock()
	if q == nil {
		return false, false
	}
	if _, err := r.AskOnce(ctx, s, *q, r.ShortTimeout(s)); err == nil || !TimedOut(err) {
		return true, true
	}
	h.mu.Lock()
	h.limits = true
	h.mu.Unlock()
	return false, true
}

// Cut reports whether a reply is what a server at its rate limit sends: an empty one that leads to TCP.
// As a control question's it says nothing of other questions.
func (m *Reply) Cut() bool { return m.Flags&wire.FlagTC != 0 && !m.TCP }

// learn remembers how a question ended.
func (h *habits) learn(m manner, q *Query, reply *Reply, err error) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case err == nil:
		h.heard[m] = true
		h.limits = h.limits || reply.Cut() && q.Type == wire.TypeSOA
		if h.refused == nil && !m.tcp && !reply.Cut() && reply.Rcode != wire.NoError && reply.Rcode != wire.NXDomain {
			again := *q
			again.Name = bytes.Clone(q.Name)
			h.refused = &again
		}
		if q.Flags&wire.FlagRD == 0 {
			h.rtt = max(h.rtt, reply.RTT)
		}
	case TimedOut(err) || errors.Is(err, ErrTimeout):
		h.silent[m]++
		h.drops++
	}
}

// The patience with a server that answers some questions and drops others.
const (
	leastWait   = 400 * time.Millisecond // for a first try, however near the server is
	leastBeside = 250 * time.Millisecond // the same beside a control question
	waitRTTs    = 6                      // what takes longer is lost
	fewDrops    = 6                      // questions that are dropped, after which the next are repeated once
	manyDrops   = 20                     // the same, not repeated
)

// waits returns how long each try of a question may take. As long as nothing is known of how far
// the server is, that is the same for each; then a question that no other server has to be asked
// for is repeated sooner.
func (h *habits) waits(q *Query, m manner, timeout time.Duration) []time.Duration {
	if h.mute(m) {
		return []time.Duration{timeout / 4}
	}
	if h == nil {
		return slices.Repeat([]time.Duration{timeout}, AskTries)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	tries, wait := AskTries, min(timeout, max(leastWait, waitRTTs*h.rtt))
	switch {
	case h.drops >= manyDrops:
		tries = 1
	case h.drops >= fewDrops, h.drops > 0 && h.rtt > 0 && q.Flags&wire.FlagRD != 0:
		tries = 2
	}
	if h.rtt == 0 || q.Flags&wire.FlagRD != 0 { // who looks a name up needs its time
		return slices.Repeat([]time.Duration{timeout}, tries)
	}
	var out []time.Duration
	for range tries {
		out = append(out, wait)
		wait = min(timeout, 2*wait)
	}
	return out
}

// ShortTimeout returns how long an answer takes at most, of a server that has answered others: what is asked beside a control
// question need not be waited for any longer.
func (r *Run) ShortTimeout(s finding.Server) time.Duration {
	wait := r.Timeout() / 3
	h := r.habits(s.Addr)
	if h == nil {
		return wait
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.rtt == 0 {
		return wait
	}
	return min(wait, max(leastBeside, waitRTTs*h.rtt))
}

// RecordDrop remembers that the server drops a question, beside others that it answers.
func (r *Run) RecordDrop(s finding.Server, q *Query, tcp bool) {
	r.habits(s.Addr).learn(q.manner(tcp), q, nil, ErrTimeout)
}

// AskWithFallback asks a server for what it has, as a resolver does that wants to know: over UDP; over
// TCP what is truncated, or what UDP does not bring; and without EDNS where the server cannot
// do with it (RFC 6891, section 6.2.2). What is wrong with a server that needs this is for
// other questions to tell. It takes no longer than a question that nobody answers.
func (r *Run) AskWithFallback(ctx context.Context, s finding.Server, q Query) (*Reply, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h := hedge{ctx: ctx, s: s, done: make(chan hedged, 3)}
	h.ask(r.AskServer, q)
	others := time.NewTimer(r.Timeout())
	defer others.Stop()
	if r.habits(s.Addr).mute(q.manner(false)) {
		others.Reset(0)
	}
	bare := q
	bare.EDNS = nil
	more := func() {
		if h.started > 1 {
			return
		}
		h.ask(r.AskServerTCP, q)
		if q.EDNS != nil {
			h.ask(r.AskServer, bare)
		}
	}
	var first error   // of the question as it is, over UDP
	var second *Reply // the answer without EDNS
	for ended := 0; ended < h.started; {
		select {
		case <-others.C:
			more()
			continue
		case x := <-h.done:
			ended++
			switch {
			case x.err != nil && x.n == 0:
				if first = x.err; !errors.Is(x.err, ErrNoRoute) && ctx.Err() == nil {
					more()
				}
			case x.err != nil:
			case x.n == 2:
				second = x.m
			case x.n == 1 && !refusesEDNS(q, x.m), x.n == 0:
				return r.whole(ctx, s, q, x.m)
			}
		}
	}
	if second != nil {
		return r.whole(ctx, s, bare, second)
	}
	return nil, first
}

// A hedge is one question that is asked in several ways at the same time.
type hedge struct {
	ctx     context.Context
	s       finding.Server
	started int
	done    chan hedged
}

type hedged struct {
	n   int // in the order in which they were started
	m   *Reply
	err error
}

func (h *hedge) ask(do func(context.Context, finding.Server, Query) (*Reply, error), q Query) {
	n := h.started
	h.started++
	go func() {
		m, err := do(h.ctx, h.s, q)
		h.done <- hedged{n, m, err}
	}()
}

// refusesEDNS reports whether a reply is that of a server that cannot read the question for its
// OPT record.
func refusesEDNS(q Query, m *Reply) bool {
	return q.EDNS != nil && !m.EDNS && (m.Rcode == wire.FormErr || m.Rcode == wire.NotImp)
}

// whole asks again for what a reply leaves out.
func (r *Run) whole(ctx context.Context, s finding.Server, q Query, m *Reply) (*Reply, error) {
	if refusesEDNS(q, m) {
		bare := q
		bare.EDNS = nil
		if again, err := r.AskServer(ctx, s, bare); err == nil && again.Rcode != m.Rcode {
			q, m = bare, again
		}
	}
	if m.Flags&wire.FlagTC == 0 || m.TCP {
		return m, nil
	}
	over, err := r.AskServerTCP(ctx, s, q)
	if err != nil {
		return nil, fmt.Errorf("the answer is truncated, and over TCP: %w", err)
	}
	return over, nil
}
