package transfer

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"port53/internal/certs"
	"port53/internal/exchange"
	"port53/internal/tsig"
	"port53/internal/wire"
	"port53/internal/zone"
)

// A Primary is a server that zones are fetched from.
type Primary struct {
	Addr netip.AddrPort
	Key  *tsig.Key // nil: nothing is signed
	TLS  *TLS      // nil: everything is in the clear
}

// A TLS is a server that is spoken with over TLS alone (RFC 9103).
type TLS struct {
	Peer   *certs.Peer // who it is, as a server and as a client
	config *tls.Config
}

// NewTLS returns what a server is spoken with by that is known as a peer. TLS is 1.3 at least, as RFC
// 9103, section 5 wants it.
func NewTLS(p *certs.Peer) *TLS {
	s := &TLS{Peer: p, config: p.Client(certs.DoT)}
	s.config.MinVersion = tls.VersionTLS13
	return s
}

// Limits bound what a primary may send. Zero means the default.
type Limits struct {
	Records int           // of one transfer
	Octets  int64         // of one transfer, on the wire and uncompressed
	Memory  int64         // octets that what comes and its version may take; 0: any
	Answer  time.Duration // until the answer to a question for the serial
	Connect time.Duration // until a connection has come about
	First   time.Duration // until the first message of a transfer; 0: as Idle
	Idle    time.Duration // until the next message
	Total   time.Duration // of one transfer
}

// The defaults of Limits: as much as a zone file may have; a primary that is silent for
// half a minute has gone (BIND waits an hour, Knot 2 s), and so has one that takes two
// hours (BIND max-transfer-time-in). A question has an answer at once, or is asked again.
const (
	defaultRecords = 5_000_000
	defaultOctets  = 1 << 30
	defaultAnswer  = 3 * time.Second
	defaultIdle    = 30 * time.Second
	defaultTotal   = 2 * time.Hour
)

func (l Limits) filled() Limits {
	if l.Records == 0 {
		l.Records = defaultRecords
	}
	if l.Octets == 0 {
		l.Octets = defaultOctets
	}
	if l.Answer == 0 {
		l.Answer = defaultAnswer
	}
	if l.Connect == 0 {
		l.Connect = exchange.ConnectTimeout
	}
	if l.Idle == 0 {
		l.Idle = defaultIdle
	}
	if l.First == 0 {
		l.First = l.Idle
	}
	if l.Total == 0 {
		l.Total = defaultTotal
	}
	return l
}

// A Client fetches zones. Its zero value is ready.
type Client struct {
	// Dial opens sockets ("udp") and connections ("tcp"); nil: as the system does.
	Dial   func(ctx context.Context, network string, addr netip.AddrPort) (net.Conn, error)
	Limits Limits

	// Pool has connections of transfers for the next ones; nil: each has one of its own.
	Pool *Pool

	// Memory is what all transfers share; nil: there is no bound but Limits.Memory.
	Memory *Memory

	// Slot returns the place that a transfer takes of those that there are at the same time;
	// nil: there is no bound.
	Slot func(ctx context.Context) Slot
}

// A Slot is that of one transfer among those that are received at the same time.
type Slot interface {
	Acquire() error      // waits for it
	Wait(f func()) error // runs f, which waits for the primary: if that takes long, others may have the place meanwhile
	Release()            // the transfer is over
}

// A Memory is what transfers that are received take of a bound, in octets.
type Memory struct {
	Limit int64 // at the same time; not modified
	used  atomic.Int64
}

// take takes so much more, or with a number below zero gives back. It reports false, and
// takes nothing, if that is not there.
func (m *Memory) take(n int64) bool {
	if m == nil {
		return true
	}
	if m.used.Add(n) <= m.Limit || n <= 0 {
		return true
	}
	m.used.Add(-n)
	return false
}

// unbounded is the Slot of a transfer that needs none.
type unbounded struct{}

func (unbounded) Acquire() error { return nil }
func (unbounded) Release()       {}

func (unbounded) Wait(f func()) error {
	f()
	return nil
}

// A Result is what was fetched.
type Result struct {
	Zone     *zone.Zone    // the new version; nil: the one at hand is the newest
	Deltas   []*zone.Delta // how it came about, if by differences
	Expire   time.Duration // how long it may be served without its primary (RFC 7314); 0: as its SOA says
	Octets   int64
	Messages int
}

// A RefusedError is a reply with an error code.
type RefusedError struct{ Rcode wire.Rcode }

func (e *RefusedError) Error() string { return "the server answers " + e.Rcode.String() }

// The errors of transfers that are not what they should be.
var (
	ErrWrong    = errors.New("the transfer is not in order")
	ErrTooLarge = errors.New("the transfer is larger than it may be")
	errNotIXFR  = errors.New("the differences do not fit")
)

// udpTries is how often a question is sent over UDP; TCP comes after. Each waits for a
// third of Limits.Answer.
const udpTries = 2

// Serial asks a primary for the serial of its version, over UDP and then TCP. One that is
// silent costs less than three times Limits.Answer.
func (c *Client) Serial(ctx context.Context, p Primary, apex []byte) (serial uint32, expire time.Duration, err error) {
	answer := c.Limits.filled().Answer
	for range udpTries {
		if p.TLS != nil {
			break
		}
		if serial, expire, err = c.serialUDP(ctx, p, apex); err == nil || ctx.Err() != nil {
			return serial, expire, err
		}
		var refused *RefusedError
		if errors.As(err, &refused) || errors.Is(err, tsig.ErrRefused) {
			return 0, 0, err
		}
	}
	quick := *c
	quick.Limits.Connect, quick.Limits.Idle = min(answer, c.Limits.filled().Connect), min(answer, c.Limits.filled().Idle)
	s, err := quick.connect(ctx, p)
	if err != nil {
		return 0, 0, err
	}
	defer s.Close()
	if err = s.ask(ctx, query(apex, wire.TypeSOA, nil)); err != nil {
		return 0, 0, err
	}
	m, err := s.next(ctx)
	if err != nil {
		return 0, 0, err
	}
	return serialOf(m, apex)
}

// query returns a question with an EXPIRE option (RFC 7314) and, for IXFR, the SOA
// record of the version at hand.
func query(apex []byte, t wire.Type, have *zone.Zone) []byte {
	var id [2]byte
	_, _ = rand.Read(id[:]) // it never fails
	msg := wire.AppendQuery(nil, binary.BigEndian.Uint16(id[:]), 0, apex, t)
	if have != nil {
		ttl, soa := have.SOA()
		msg = zone.AppendRecord(msg, apex, wire.TypeSOA, ttl, soa)
		msg[9] = 1
	}
	msg = wire.AppendOPT(msg, exchange.UDPSize, false, []byte{0, wire.OptionExpire, 0, 0})
	msg[11] = 1
	return msg
}

// plain returns a query without its OPT record, for servers that know none.
func plain(apex []byte, t wire.Type) []byte {
	msg := query(apex, t, nil)
	msg[11] = 0
	return msg[:wire.HeaderLen+len(apex)+4]
}

func (c *Client) serialUDP(ctx context.Context, p Primary, apex []byte) (uint32, time.Duration, error) {
	m, err := c.askUDP(ctx, p, query(apex, wire.TypeSOA, nil), time.Now().Add(c.Limits.filled().Answer/3))
	if err != nil {
		return 0, 0, err
	}
	if m.Flags&wire.FlagTC != 0 {
		return 0, 0, io.ErrShortBuffer
	}
	return serialOf(m, apex)
}

// serialOf reads the serial of a reply to a question for the SOA record.
func serialOf(m *wire.Message, apex []byte) (uint32, time.Duration, error) {
	if m.Rcode != wire.NoError {
		return 0, 0, &RefusedError{m.Rcode}
	}
	for i := range m.Records {
		rr := &m.Records[i]
		if rr.Section == wire.Answer && rr.Type == wire.TypeSOA && rr.Class == wire.ClassIN && wire.EqualFold(rr.Owner, apex) {
			if m.Flags&wire.FlagAA == 0 {
				return 0, 0, fmt.Errorf("%w: the answer is not authoritative: the server does not have the zone", ErrWrong)
			}
			return zone.SerialOf(rr.Data), expireOf(m), nil
		}
	}
	return 0, 0, fmt.Errorf("%w: the server has no SOA record for the zone", ErrWrong)
}

func expireOf(m *wire.Message) time.Duration {
	if d, ok := m.Option(wire.OptionExpire); ok && len(d) == 4 {
		return max(time.Second, time.Duration(binary.BigEndian.Uint32(d))*time.Second) // 0 is that nothing was said
	}
	return 0
}

// Forward gives a message to a server over TCP, as it is, and returns the reply to it.
func (c *Client) Forward(ctx context.Context, p Primary, msg []byte) ([]byte, error) {
	s, err := c.connect(ctx, p)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	s.key = nil // msg is signed by its sender, if it is
	if err = s.ask(ctx, msg); err != nil {
		return nil, err
	}
	reply, _, err := s.Receive(ctx, msg, s.deadline())
	if err != nil {
		return nil, s.broken(err)
	}
	return reply, nil
}

// Fetch fetches a zone: by differences if there is a version at hand that they fit, or
// else whole. seed is that of the set which will publish it. Without anything newer,
// the result has no zone; a version that is not newer than the one at hand is an error.
func (c *Client) Fetch(ctx context.Context, p Primary, apex []byte, have *zone.Zone, seed wire.Seed) (*Result, error) {
	if have == nil {
		return c.whole(ctx, p, apex, seed)
	}
	r, err := c.fetch(ctx, p, apex, have, seed, query(apex, wire.TypeIXFR, have))
	var refused *RefusedError
	// A server that does not know IXFR, or whose differences are no good, has the zone
	// all the same (RFC 1995, section 4).
	if errors.Is(err, errNotIXFR) || errors.As(err, &refused) {
		r, err = c.whole(ctx, p, apex, seed)
	}
	if err != nil {
		return nil, err
	}
	if r.Zone != nil && !zone.Newer(r.Zone.Serial(), have.Serial()) {
		return nil, fmt.Errorf("%w: its serial %d is not newer than ours, %d", ErrWrong, r.Zone.Serial(), have.Serial())
	}
	return r, nil
}

// whole fetches a zone whole.
func (c *Client) whole(ctx context.Context, p Primary, apex []byte, seed wire.Seed) (*Result, error) {
	r, err := c.fetch(ctx, p, apex, nil, seed, query(apex, wire.TypeAXFR, nil))
	var refused *RefusedError
	if errors.As(err, &refused) && (refused.Rcode == wire.FormErr || refused.Rcode == wire.NotImp) {
		return c.fetch(ctx, p, apex, nil, seed, plain(apex, wire.TypeAXFR)) // RFC 6891, section 7
	}
	return r, err
}

func (c *Client) fetch(ctx context.Context, p Primary, apex []byte, have *zone.Zone, seed wire.Seed, query []byte) (*Result, error) {
	place := Slot(unbounded{})
	if c.Slot != nil {
		place = c.Slot(ctx)
	}
	if err := place.Acquire(); err != nil {
		return nil, err
	}
	defer place.Release()
	limits := c.Limits.filled()
	ctx, cancel := context.WithTimeout(ctx, limits.Total)
	defer cancel()
	var s *stream
	var m *wire.Message
	var err error
	if lost := place.Wait(func() { s, m, err = c.begin(ctx, p, query) }); err == nil && lost != nil {
		s.Close()
		err = lost
	}
	if err != nil {
		return nil, err
	}
	whole := false
	defer func() {
		if whole {
			c.Pool.put(p.served(), s)
		} else {
			s.Close()
		}
	}()
	a := &assembly{apex: apex, have: have, seed: seed, limits: limits, memory: c.Memory}
	defer a.release()
	for !a.done {
		if m == nil {
			if lost := place.Wait(func() { m, err = s.next(ctx) }); err == nil {
				err = lost
			}
		}
		if err != nil {
			if a.state == wantSecond && s.Messages == 1 {
				return nil, fmt.Errorf("%w: %w", errNotIXFR, err) // the SOA alone says: take the whole zone
			}
			return nil, err
		}
		if m.Rcode != wire.NoError {
			return nil, &RefusedError{m.Rcode}
		}
		s.idle = limits.Idle
		if expire := expireOf(m); expire > 0 {
			a.result.Expire = expire
		}
		for i := range m.Records {
			if m.Records[i].Section != wire.Answer {
				continue
			}
			if err := a.take(&m.Records[i]); err != nil {
				return nil, err
			}
		}
		m = nil
		if s.Messages%growEvery == 0 {
			if err := a.grow(); err != nil {
				return nil, err
			}
		}
	}
	if err := a.grow(); err != nil {
		return nil, err
	}
	if s.verifier != nil {
		if err := s.verifier.Done(); err != nil {
			return nil, err
		}
	}
	a.result.Octets, a.result.Messages = s.Counts.Octets, s.Messages
	whole = true
	return a.finish()
}

// begin asks a server over a connection that is there, or a new one, and returns the first
// message of what it answers. What goes wrong on a connection that was used before says
// nothing: a server may end it at any time, and need not answer twice.
func (c *Client) begin(ctx context.Context, p Primary, query []byte) (*stream, *wire.Message, error) {
	for {
		s, err := c.Pool.take(p.served()), error(nil)
		if s != nil {
			c.reuse(s, p)
		} else if s, err = c.connect(ctx, p); err != nil {
			return nil, nil, err
		}
		limits := c.Limits.filled()
		var m *wire.Message
		if err = s.ask(ctx, query); err == nil {
			if s.idle = limits.First; s.reused {
				s.idle = min(limits.First, limits.Answer)
			}
			m, err = s.next(ctx)
		}
		if err == nil {
			return s, m, nil
		}
		s.Close()
		if !s.reused || ctx.Err() != nil {
			return nil, nil, err
		}
		c.Pool.failed(p.served())
	}
}

// An assembly makes a version of the records of a transfer, as they come.
type assembly struct {
	apex   []byte
	have   *zone.Zone // IXFR
	seed   wire.Seed
	limits Limits

	memory *Memory
	taken  int64 // of it

	records int
	octets  int64  // of the records, uncompressed
	soa     []byte // of the version that comes
	state   int
	builder *zone.Builder
	record  zone.Record
	delta   *zone.Delta // that is coming
	done    bool
	result  Result
}

// What comes next (RFC 1995, section 4; RFC 5936, section 2.2).
const (
	wantFirst   = iota // the new version's SOA
	wantSecond         // IXFR: an older SOA begins differences, anything else a whole zone
	wantWhole          // records of the zone, until the SOA comes again
	wantRemoved        // records that go, until the SOA of the version they lead to
	wantAdded          // records that come, until the SOA of the next difference, or the last
)

// recordHead is the octets of a record between its owner and its data.
const recordHead = 10

// take …
// In one piece: it is the automaton of RFC 5936 and RFC 1995, and its states share what was
// seen so far.
func (a *assembly) take(rr *wire.Record) error {
	if a.done {
		return fmt.Errorf("%w: records follow the last", ErrWrong)
	}
	if a.records++; a.records > 2*a.limits.Records {
		return fmt.Errorf("%w: more than %d records", ErrTooLarge, a.limits.Records)
	}
	// Names that are compressed on the wire are not in memory.
	if a.octets += int64(len(rr.Owner) + recordHead + len(rr.Data)); a.octets > a.limits.Octets {
		return fmt.Errorf("%w: more than %d octets, uncompressed", ErrTooLarge, a.limits.Octets)
	}
	if rr.Class != wire.ClassIN || !wire.Subdomain(rr.Owner, a.apex) {
		return fmt.Errorf("%w: %s is not in the zone", ErrWrong, wire.AppendName(nil, rr.Owner))
	}
	soa := rr.Type == wire.TypeSOA
	if soa && !wire.EqualFold(rr.Owner, a.apex) {
		return fmt.Errorf("%w: a SOA record stands at %s", ErrWrong, wire.AppendName(nil, rr.Owner))
	}
	switch a.state {
	case wantFirst:
		if !soa {
			return fmt.Errorf("%w: it does not begin with a SOA record", ErrWrong)
		}
		a.soa = bytes.Clone(rr.Data)
		if a.have == nil {
			a.whole()
			a.add(rr)
			return nil
		}
		if serial := zone.SerialOf(rr.Data); !zone.Newer(serial, a.have.Serial()) {
			a.done = true // nothing newer
			return nil
		}
		a.state = wantSecond
		a.record.TTL = rr.TTL
	case wantSecond:
		if soa && !bytes.Equal(rr.Data, a.soa) {
			return a.begin(rr)
		}
		a.whole()
		first := *rr
		first.Type, first.TTL, first.Data = wire.TypeSOA, a.record.TTL, a.soa
		first.Owner = a.apex
		a.add(&first)
		return a.take(rr)
	case wantWhole:
		if soa {
			if !bytes.Equal(rr.Data, a.soa) {
				return fmt.Errorf("%w: it ends with another SOA record than it began with", ErrWrong)
			}
			a.done = true
			return nil
		}
		if a.records > a.limits.Records {
			return fmt.Errorf("%w: more than %d records", ErrTooLarge, a.limits.Records)
		}
		a.add(rr)
	case wantRemoved:
		if soa {
			a.delta.To = zone.SerialOf(rr.Data)
			if !zone.Newer(a.delta.To, a.delta.From) {
				return errNotIXFR
			}
			a.state = wantAdded
			a.delta.Added = appendTo(a.delta.Added, rr)
			return nil
		}
		a.delta.Removed = appendTo(a.delta.Removed, rr)
	case wantAdded:
		if !soa {
			a.delta.Added = appendTo(a.delta.Added, rr)
			return nil
		}
		if a.delta.To == zone.SerialOf(a.soa) && bytes.Equal(rr.Data, a.soa) {
			a.done = true
			return nil
		}
		return a.begin(rr)
	}
	return nil
}

// growEvery is after how many messages the memory is looked at that a transfer takes.
const growEvery = 16

// memoryStep is the octets that a transfer takes at the same time of what all share.
const memoryStep = 1 << 20

// grow takes the memory that the records so far and their version need.
func (a *assembly) grow() error {
	need := 2 * a.octets // differences, and what applying them takes
	if a.builder != nil {
		held, more := a.builder.Size()
		need = int64(held + more)
	}
	if a.limits.Memory > 0 && need > a.limits.Memory {
		return fmt.Errorf("%w: it takes more than %d bytes of memory", ErrTooLarge, a.limits.Memory)
	}
	if need < memoryStep || need <= a.taken { // the small ones count for nothing
		return nil
	}
	step := (need - a.taken + memoryStep - 1) / memoryStep * memoryStep
	if !a.memory.take(step) {
		return fmt.Errorf("%w: together with other transfers under way it takes more than %d bytes of memory", ErrTooLarge, a.memory.Limit)
	}
	a.taken += step
	return nil
}

// release gives back the memory that was taken.
func (a *assembly) release() { a.memory.take(-a.taken) }

func appendTo(list []byte, rr *wire.Record) []byte {
	return zone.AppendRecord(list, rr.Owner, rr.Type, rr.TTL, rr.Data)
}

// begin begins a difference, with the SOA record of the version that it changes.
func (a *assembly) begin(rr *wire.Record) error {
	from := a.have.Serial()
	if n := len(a.result.Deltas); n > 0 {
		from = a.result.Deltas[n-1].To
	}
	if zone.SerialOf(rr.Data) != from {
		return errNotIXFR
	}
	a.delta = &zone.Delta{From: from, Removed: appendTo(nil, rr)}
	a.result.Deltas = append(a.result.Deltas, a.delta)
	a.state = wantRemoved
	return nil
}

// whole makes a version of its own of what comes.
func (a *assembly) whole() {
	a.builder = zone.NewBuilder(a.apex, a.seed)
	a.state = wantWhole
}

func (a *assembly) add(rr *wire.Record) {
	r := &a.record
	r.Owner, r.Type, r.TTL, r.Data = rr.Owner, rr.Type, rr.TTL, rr.Data
	a.builder.Add(r)
}

// finish checks and compiles the version that came.
func (a *assembly) finish() (*Result, error) {
	var problems []zone.Problem
	switch {
	case a.builder != nil:
		// Names above names, which nobody has sent, take memory too.
		if most := a.limits.Memory; most > 0 {
			a.builder.Limit(int(most))
		} else if a.memory != nil {
			a.builder.Limit(int(max(1, a.memory.Limit-a.memory.used.Load()+a.taken)))
		}
		a.result.Zone, problems = a.builder.Build()
	case len(a.result.Deltas) > 0:
		if a.result.Zone, _ = a.have.Apply(a.result.Deltas...); a.result.Zone == nil {
			return nil, errNotIXFR
		}
		a.result.Deltas = a.have.Exact(a.result.Zone, a.result.Deltas)
	default:
		return &a.result, nil
	}
	if a.result.Zone == nil {
		for _, p := range problems {
			if !p.Warning {
				return nil, fmt.Errorf("%w: the zone cannot be served: %s", ErrWrong, p)
			}
		}
	}
	return &a.result, nil
}
