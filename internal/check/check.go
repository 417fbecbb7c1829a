// Package check looks at name servers, zones and resolvers as an attacker would.
//
// A [Check] is a small value: what it needs, what it sends, how it judges, what to do. Its
// Run yields findings. What could not be measured is Unknown, never Pass. [Examine] runs a
// list of them at one target; this package knows none of them itself.
//
// Package check tells nobody's secrets and changes nothing: checks that disturb
// a server are marked Active or Intrusive, and it is the caller's to leave them out.
package check

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"port53/internal/config"
	"port53/internal/exchange"
	"port53/internal/finding"
	"port53/internal/fingerprint"
	"port53/internal/scan"
	"port53/internal/wire"
)

// The bounds of one exchange.
const (
	AskTries   = 3               // the question and two repetitions (RFC 1035, section 4.2.1)
	askTimeout = 2 * time.Second // for each, unless Options has another

	// streamTimeout is how long a step on a TCP connection may take: three times what a name
	// server on another continent needs.
	streamTimeout = 3 * time.Second
)

// A Scope is what a check looks at.
type Scope uint8

// The scopes.
const (
	ScopeServer Scope = iota // one address
	ScopeZone                // a zone with all its servers
	ScopeResolver
	ScopeConfig // a configuration of this program
)

// A Product is a server program, by the short name that advice is kept under.
type Product = fingerprint.Product

// A Check is one entry of a catalogue. Do not modify.
type Check struct {
	finding.Check
	Scope Scope
	Needs Needs
	Run   func(ctx context.Context, r *Run) []finding.Finding

	// ExtraPorts returns what it found at ports beside the server's own: those that are open
	// are reported. nil: it looks at none.
	ExtraPorts func(ctx context.Context, r *Run) []scan.Port
}

// Options are the same for all checks of a run. Zero values mean the defaults.
type Options struct {
	Mode             finding.Mode
	Port             uint16           // of the name servers that are found; 0: 53
	PortDoT, PortDoH uint16           // 0: 853 and 443
	Roots            []finding.Server // where walks begin; without them zones cannot be followed
	Resolvers        []netip.AddrPort // that look names up where Roots are not known, and find targets
	Config           *config.Config   // that targets which name one are audited by; nil: none
	Limiter          *Limiter         // what all targets of a run share; nil: each address is asked as much as its checks ask
	Search
	Anchors []Anchor      // nil: the root's keys of 2017 and 2024
	Probe   *Probe        // nil: what needs one does not apply
	Timeout time.Duration // for one try; 0: two seconds
	Ports   []uint16      // more TCP ports to look at; the open ones are reported
	Connect bool          // look at TCP ports by whole connections only
	Lab     Lab
}

// A Search is which names of zones are looked at, beside the common ones.
type Search struct {
	Subdomains bool     // all that can be found
	Names      []string // these, relative to the zone or ending with a dot
	Selectors  []string // of DKIM: there are keys at them
}

// A Lab is what a laboratory has in place of the Internet. Its zero value is the Internet.
type Lab struct {
	Stranger   bool             // whom servers on private addresses answer counts as a stranger
	Closed     netip.AddrPort   // an address without a server; zero: one for documentation (RFC 5737)
	Neighbours []uint16         // ports to look at beside; nil: those of control, statistics and encryption
	TLSRoots   *x509.CertPool   // nil: the system's
	Now        func() time.Time // nil: time.Now
	Cooldown   time.Duration    // of a server at its rate limit; 0: longer than those of the usual servers look back

	Dial func(ctx context.Context, network, address string) (net.Conn, error) // nil: the system's
}

// An Anchor is a DS record that is trusted.
type Anchor struct {
	Owner []byte
	DS    []byte // RDATA
}

// A Run is one check at one target. Several questions of it may be on their way at one time.
type Run struct {
	Check    *Check
	Server   finding.Server
	Derived  bool             // the server was found as one of the zone's, and not named by whoever asks
	Zone     []byte           // in wire form; nil if none is known
	Servers  []finding.Server // of the zone; nil: those of its delegation
	Software fingerprint.Software
	Config   *config.Config // nil: none is known
	Options  *Options
	Facts    *Facts // of all checks of one target; nil: the run's own

	// CooledDown tells that the server was asked nothing for as long as rate limits look back: what it
	// does not answer now, it does not answer.
	CooledDown bool

	later bool
}

// RetryLater returns what a check says whose question was lost at the server's rate limit: unknown. It is run again when the
// server has rested, but for one that has been.
func (r *Run) RetryLater(ev finding.Evidence) []finding.Finding {
	r.later = !r.CooledDown
	return finding.Unmeasured(ev, errLimited)
}

var errLimited = errors.New("it is not answered, by a server that limits the rate of its answers")

// EDNS is the OPT record of a Query.
type EDNS struct {
	Version uint8
	Size    uint16
	DO      bool
	Flags   uint16 // other flags
	Options []byte // RDATA
}

// A Query is one question. Class 0 means IN.
type Query struct {
	Name   []byte
	Type   wire.Type
	Class  wire.Class
	Opcode wire.Opcode
	Flags  uint16
	EDNS   *EDNS
}

// A Reply is one reply, which may be malformed behind its header.
type Reply struct {
	wire.Message
	Raw  []byte
	Bad  wire.Malformed // why it could not be read to its end, or 0
	RTT  time.Duration
	From netip.AddrPort
	TCP  bool
}

// ErrTimeout says that nothing that fits the question came in time.
var ErrTimeout = errors.New("no answer in time")

// Bytes returns the question in wire form, with a random ID.
func (q *Query) Bytes() []byte {
	b := Question(q.Flags|uint16(q.Opcode)<<11, q.Name, q.Type)
	if q.Class != 0 {
		binary.BigEndian.PutUint16(b[len(b)-2:], uint16(q.Class))
	}
	if e := q.EDNS; e != nil {
		at := len(b)
		b = wire.AppendOPT(b, e.Size, e.DO, e.Options)
		b[at+6] = e.Version
		binary.BigEndian.PutUint16(b[at+7:], binary.BigEndian.Uint16(b[at+7:])|e.Flags)
		b[11]++
	}
	return b
}

// Timeout is how long one try of a question may take.
func (r *Run) Timeout() time.Duration {
	if r.Options.Timeout > 0 {
		return r.Options.Timeout
	}
	return askTimeout
}

// StepTimeout is how long a step on a connection may take.
func (r *Run) StepTimeout() time.Duration {
	if r.Options.Timeout > 0 {
		return r.Options.Timeout * 3 / 2
	}
	return streamTimeout
}

// DialTCP opens a TCP connection to the server that is checked.
func (r *Run) DialTCP(ctx context.Context) (*exchange.Stream, error) {
	c, err := r.dialer().Stream(ctx, r.Server.Addr)
	return c, StableError(err)
}

// DialUDP opens a UDP socket that is connected to the server, for what [Exchange] does not
// do: octets that are no query, and whatever comes back.
func (r *Run) DialUDP(ctx context.Context) (net.Conn, error) {
	c, err := r.dialer().Open(ctx, "udp", r.Server.Addr)
	return c, StableError(err)
}

// Apex returns the zone that a server is checked for, or the root if none is known.
func (r *Run) Apex() []byte {
	if len(r.Zone) == 0 {
		return wire.Root
	}
	return r.Zone
}

// Clock returns the time that signatures are judged at.
func (r *Run) Clock() time.Time {
	if r.Options.Lab.Now != nil {
		return r.Options.Lab.Now()
	}
	return time.Now()
}

// dialer returns what opens sockets and connections.
func (r *Run) dialer() *exchange.Dialer {
	d := &exchange.Dialer{Timeout: r.StepTimeout()}
	if dial := r.Options.Lab.Dial; dial != nil {
		d.Dial = func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
			return dial(ctx, network, to.String())
		}
	}
	return d
}

// Ask asks the run's server over UDP.
func (r *Run) Ask(ctx context.Context, q Query) (*Reply, error) {
	return r.AskServer(ctx, r.Server, q)
}

// AskServer asks any server over UDP, three times as a rule. What a server drops is not waited
// for again and again.
func (r *Run) AskServer(ctx context.Context, s finding.Server, q Query) (*Reply, error) {
	h, how := r.habits(s.Addr), q.manner(false)
	err := error(ErrTimeout)
	for _, wait := range h.waits(&q, how, r.Timeout()) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var m *Reply
		if m, err = r.askOnce(ctx, s, q.Bytes(), wait); err == nil {
			h.learn(how, &q, m, nil)
			return m, nil
		}
		if errors.Is(err, ErrNoRoute) {
			return nil, err
		}
	}
	if ctx.Err() == nil {
		h.learn(how, &q, nil, err)
	}
	if TimedOut(err) {
		err = ErrTimeout
	}
	return nil, err
}

// AskOnce asks any server over UDP, without repetition.
func (r *Run) AskOnce(ctx context.Context, s finding.Server, q Query, wait time.Duration) (*Reply, error) {
	m, err := r.askOnce(ctx, s, q.Bytes(), wait)
	if err == nil {
		r.habits(s.Addr).learn(q.manner(false), &q, m, nil)
	}
	return m, err
}

// atWork is how long a datagram counts as one that keeps a server at work: what is silent for
// longer has dropped it, and the next may be sent.
const atWork = 300 * time.Millisecond

// askOnce sends a message in a datagram, once.
func (r *Run) askOnce(ctx context.Context, s finding.Server, msg []byte, wait time.Duration) (*Reply, error) {
	if err := r.local(s.Addr); err != nil {
		return nil, err
	}
	leave, err := r.Options.Limiter.Acquire(ctx, s.Addr.Addr())
	if err != nil {
		return nil, err
	}
	leave = sync.OnceFunc(leave)
	defer leave()
	defer time.AfterFunc(atWork, leave).Stop()
	c, err := r.dialer().Open(ctx, "udp", s.Addr)
	if err != nil {
		return nil, noWay(err)
	}
	defer c.Close()
	m, err := Exchange(ctx, c, s.Addr, wait, msg)
	return m, noWay(err)
}

// buffers are for datagrams that are awaited: there are hundreds at the same time.
var buffers = sync.Pool{New: func() any { return new([wire.MaxMessage]byte) }}

// Exchange sends a datagram on a socket of a server's and waits for the reply to it: any
// with its ID, for what else is wrong with it is what is looked at.
func Exchange(ctx context.Context, c net.Conn, from netip.AddrPort, wait time.Duration, msg []byte) (*Reply, error) {
	begin := time.Now()
	s := exchange.Datagrams(c)
	if err := s.Send(msg); err != nil {
		return nil, StableError(err)
	}
	d := exchange.DatagramReceiver{ByID: true}
	buf := buffers.Get().(*[wire.MaxMessage]byte) // nothing else is put there
	defer buffers.Put(buf)
	raw, _, err := d.Receive(ctx, s, msg, buf[:], begin.Add(wait))
	if err != nil {
		return nil, StableError(err)
	}
	return read(raw, begin, from), nil
}

// ExchangeStream sends a message on a connection to a server and waits for the reply to
// it, which is the next message: on a connection nobody else answers.
func ExchangeStream(ctx context.Context, s *exchange.Stream, from netip.AddrPort, wait time.Duration, msg []byte) (*Reply, error) {
	begin := time.Now()
	if err := s.Send(ctx, msg, begin.Add(wait)); err != nil {
		return nil, StableError(err)
	}
	raw, err := s.Next(ctx, time.Now().Add(wait))
	switch {
	case errors.Is(err, exchange.ErrShort):
		return nil, errForeign
	case err != nil:
		return nil, StableError(err)
	case !exchange.ReplyTo(msg, raw):
		return nil, errForeign
	}
	m := read(raw, begin, from)
	m.TCP = true
	return m, nil
}

// errForeign says that something else came than an answer.
var errForeign = errors.New("a reply that does not fit the question")

// read reads a reply to what was sent at begin.
func read(raw []byte, begin time.Time, from netip.AddrPort) *Reply {
	m := &Reply{Raw: bytes.Clone(raw), RTT: time.Since(begin), From: from}
	m.Bad = m.Parse(m.Raw) // what was read until a fault stands, and is judged
	return m
}

// AskTCP asks the run's server over TCP.
func (r *Run) AskTCP(ctx context.Context, q Query) (*Reply, error) {
	return r.AskServerTCP(ctx, r.Server, q)
}

// AskServerTCP asks any server over TCP, on a connection of its own. A connection that is cut
// off is opened once more: servers bound how many a client may have.
func (r *Run) AskServerTCP(ctx context.Context, s finding.Server, q Query) (*Reply, error) {
	h, how := r.habits(s.Addr), q.manner(true)
	wait := r.Timeout()
	if h.mute(how) {
		wait /= 4
	}
	m, err := r.askTCP(ctx, s, q.Bytes(), wait)
	if err != nil && !TimedOut(err) && !errors.Is(err, ErrNoRoute) && !errors.Is(err, syscall.ECONNREFUSED) {
		select {
		case <-ctx.Done():
		case <-time.After(againAfter):
			m, err = r.askTCP(ctx, s, q.Bytes(), wait)
		}
	}
	if ctx.Err() == nil {
		h.learn(how, &q, m, err)
	}
	return m, err
}

// againAfter is how long is waited before a connection that was cut off is opened again.
const againAfter = 200 * time.Millisecond

// askTCP sends a message over a connection of its own, once.
func (r *Run) askTCP(ctx context.Context, s finding.Server, msg []byte, wait time.Duration) (*Reply, error) {
	if err := r.local(s.Addr); err != nil {
		return nil, err
	}
	leave, err := r.Options.Limiter.Acquire(ctx, s.Addr.Addr())
	if err != nil {
		return nil, err
	}
	defer leave()
	begin := time.Now()
	d := r.dialer()
	d.Timeout = min(d.Timeout, wait*3/2)
	c, err := d.Stream(ctx, s.Addr)
	if err != nil {
		return nil, noWay(err)
	}
	defer c.Close()
	m, err := ExchangeStream(ctx, c, s.Addr, wait, msg)
	if err == nil {
		m.RTT = time.Since(begin) // of the connection too
	}
	return m, err
}
