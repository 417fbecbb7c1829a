package upstream

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dchest/siphash"

	"port53/internal/wire"
)

// Options make a Client. A zero field means the default.
type Options struct {
	Network Network // nil: System()
	UDPSize int     // the largest reply over UDP, in octets; 0: 1232 (RFC 9715)
	Cookies bool    // send DNS cookies (RFC 7873)
}

const (
	defaultUDPSize = 1232
	// maxMismatches is how many replies that are nearly right are ignored before the
	// question goes over TCP (PowerDNS Recursor: 1; SECURITY: 3).
	maxMismatches = 3
	cookieAge     = time.Hour // that a server's cookie is sent (RFC 9018, section 4.3)
)

// A Client asks servers. It is safe for use by many goroutines.
type Client struct {
	o       Options
	random  Entropy
	secret  [2]uint64 // of client cookies
	servers servers
	conns   conns
	bufs    sync.Pool

	counters Counters
}

// Counters count what came back.
type Counters struct {
	Mismatched atomic.Uint64 // replies with another ID, question, case or cookie
	Oversized  atomic.Uint64 // replies over UDP that were larger than asked for
	Truncated  atomic.Uint64 // questions asked again over TCP for TC
	TCP        atomic.Uint64 // questions asked over TCP
}

// New returns a client.
func New(o Options) *Client {
	if o.Network == nil {
		o.Network = System()
	}
	if o.UDPSize == 0 {
		o.UDPSize = defaultUDPSize
	}
	c := &Client{o: o}
	c.secret = [2]uint64{c.random.Uint64(), c.random.Uint64()}
	c.bufs.New = func() any { b := make([]byte, o.UDPSize+1); return &b }
	c.conns.m = make(map[netip.AddrPort]*conn)
	return c
}

// Counters returns the counters, which go on counting.
func (c *Client) Counters() *Counters { return &c.counters }

// Close closes the connections that are kept.
func (c *Client) Close() { c.conns.close() }

// A Question is what one server is asked.
type Question struct {
	Name    []byte
	Type    wire.Type
	RD      bool // of forwarders
	CD      bool
	EDNS    bool // false: without, whatever the server understands
	DO      bool
	TCP     bool          // over TCP at once
	Timeout time.Duration // of the wait for a reply over UDP; 0: what is known of the server
	End     time.Time     // of everything, TCP too; zero: the context's
	MixCase bool          // 0x20
}

// A Reply is what the server said.
type Reply struct {
	Message []byte // the caller's
	RTT     time.Duration
	TCP     bool
	Packets int  // that were sent, connections of TCP as one
	Octets  int  // both ways
	Spoof   bool // somebody seems to have guessed
}

// An attempt is one question to one server with all its packets.
type attempt struct {
	c      *Client
	to     netip.AddrPort
	q      *Question
	reply  Reply
	query  []byte // as sent
	id     uint16
	edns   bool
	cookie [8]byte // the client's
	mixed  bool
	room   [512]byte
}

// The errors of Exchange beside those of the network.
var (
	errMismatch  = errors.New("upstream: reply does not fit the question")
	errTruncated = errors.New("upstream: truncated")
	errNoSend    = errors.New("upstream: not an address of a server")
)

// Exchange sends q to a server and returns the reply that matches it, whatever it says.
// It falls back to TCP for truncated replies and where somebody guesses, and to a
// question without EDNS for servers that do not understand it. The error is
// os.ErrDeadlineExceeded if nothing that matches came in time, or the network's. The
// counts of the Reply hold beside an error as well.
func (c *Client) Exchange(ctx context.Context, to netip.AddrPort, q *Question) (Reply, error) {
	if a := to.Addr(); !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || to.Port() == 0 {
		return Reply{}, errNoSend
	}
	a := attempt{c: c, to: to, q: q, edns: q.EDNS, mixed: q.MixCase}
	var cookie []byte
	timeout := q.Timeout
	now := time.Now()
	c.servers.with(to, func(v *server) {
		v.used = now
		if v.noEDNS.After(now) {
			a.edns = false
		}
		if v.noCase.After(now) {
			a.mixed = false
		}
		if v.cookie != nil && now.Sub(v.cookieAt) < cookieAge {
			cookie = v.cookie
		}
		if timeout == 0 {
			timeout = v.timeout()
		}
	})
	if c.o.Cookies && a.edns {
		a.clientCookie()
	}
	err := a.exchange(ctx, cookie, timeout, now)
	return a.reply, err
}

// exchange sends the question as often as the server's answers demand.
func (a *attempt) exchange(ctx context.Context, cookie []byte, timeout time.Duration, now time.Time) error {
	tcp := a.q.TCP
	for range 4 { // UDP, then with another cookie or without EDNS, then over TCP
		a.build(cookie)
		var err error
		if tcp {
			err = a.overTCP(ctx)
		} else {
			err = a.overUDP(ctx, timeout, cookie != nil)
		}
		switch {
		case errors.Is(err, errTruncated):
			a.c.counters.Truncated.Add(1)
			tcp = true
			continue
		case errors.Is(err, errMismatch):
			a.reply.Spoof = a.reply.Spoof || !tcp
			if tcp {
				return err
			}
			tcp = true
			continue
		case err != nil:
			return err
		}
		msg := a.reply.Message
		rcode, opt := wire.Rcode(msg[3]&15), findOPT(msg)
		switch {
		case a.edns && opt == nil && (rcode == wire.FormErr || rcode == wire.NotImp):
			// It does not know EDNS (RFC 6891, section 7).
			a.c.servers.with(a.to, func(v *server) { v.noEDNS = time.Now().Add(forgetTime) })
			a.edns = false
			continue
		case a.edns && opt != nil:
			if got := cookieOf(opt); len(got) >= 16 && bytes.Equal(got[:8], a.cookie[:]) {
				kept := bytes.Clone(got[8:min(len(got), 40)])
				a.c.servers.with(a.to, func(v *server) { v.cookie, v.cookieAt = kept, time.Now() })
				if rcode|wire.Rcode(opt[4])<<4 == wire.BadCookie && !tcp {
					if cookie != nil && bytes.Equal(cookie, kept) {
						tcp = true // it did not like the one it gave (RFC 7873, section 5.3)
					}
					cookie = kept
					continue
				}
			}
		}
		return nil
	}
	return nil
}

// build writes the query with a new ID and a new case.
func (a *attempt) build(cookie []byte) {
	flags := uint16(0)
	if a.q.RD {
		flags |= wire.FlagRD
	}
	if a.q.CD {
		flags |= wire.FlagCD
	}
	a.id = uint16(a.c.random.Uint64())
	b := wire.AppendQuery(a.room[:2], a.id, flags, a.q.Name, a.q.Type) // two octets before it, for TCP's length
	if a.mixed {
		a.c.random.mixCase(b[2+wire.HeaderLen:], a.q.Name)
	}
	if a.edns {
		var room [64]byte
		options := room[:0]
		if a.c.o.Cookies {
			options = append(options, 0, wire.OptionCookie, 0, byte(8+len(cookie)))
			options = append(options, a.cookie[:]...)
			options = append(options, cookie...)
		}
		b = wire.AppendOPT(b, uint16(a.c.o.UDPSize), a.q.DO, options)
		b[2+11] = 1
	}
	binary.BigEndian.PutUint16(b, uint16(len(b)-2))
	a.query = b
}

// clientCookie makes the cookie for the server: one for each, that tells nothing of
// the others (RFC 9018, section 3).
func (a *attempt) clientCookie() {
	ip := a.to.Addr().As16()
	binary.LittleEndian.PutUint64(a.cookie[:], siphash.Hash(a.c.secret[0], a.c.secret[1], ip[:]))
}

// end returns when the question must have an answer.
func (a *attempt) end(ctx context.Context) (time.Time, bool) {
	end, ok := ctx.Deadline()
	if !a.q.End.IsZero() && (!ok || a.q.End.Before(end)) {
		return a.q.End, true
	}
	return end, ok
}

// overUDP asks over UDP.
func (a *attempt) overUDP(ctx context.Context, timeout time.Duration, hadCookie bool) error {
	socket, err := a.c.o.Network.Socket(a.to)
	if err != nil {
		return err
	}
	defer socket.Close()
	begin := time.Now()
	deadline := begin.Add(timeout)
	if end, ok := a.end(ctx); ok && end.Before(deadline) {
		deadline = end
	}
	query := a.query[2:]
	a.reply.Packets++
	a.reply.Octets += len(query)
	if err := socket.Send(query); err != nil {
		return err
	}
	buf := a.c.bufs.Get().(*[]byte)
	defer a.c.bufs.Put(buf)
	mismatches := 0
	for {
		n, err := socket.Recv(*buf, deadline)
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil {
				now := time.Now()
				a.c.servers.with(a.to, func(v *server) { v.silent(now) })
			} else if ctx.Err() == nil {
				// Refused by the host itself, which anybody can pretend: it counts as silence.
				a.c.servers.with(a.to, func(v *server) { v.silent(time.Now()) })
			}
			return err
		}
		a.reply.Octets += n
		if n > a.c.o.UDPSize {
			a.c.counters.Oversized.Add(1)
			continue
		}
		msg := (*buf)[:n]
		switch a.matches(msg) {
		case nearly:
			a.c.counters.Mismatched.Add(1)
			if mismatches++; mismatches >= maxMismatches {
				return errMismatch
			}
			continue
		case not:
			a.c.counters.Mismatched.Add(1)
			continue
		case otherCase:
			// The server breaks case, or somebody guesses: TCP tells.
			a.c.counters.Mismatched.Add(1)
			a.reply.Spoof = true
			return a.breaksCase(ctx)
		}
		if hadCookie && !goodCookie(msg, a.cookie) {
			// A server that knew cookies does not forget them: over TCP nobody can have
			// forged the reply (RFC 7873, section 5.3).
			a.c.counters.Mismatched.Add(1)
			return errMismatch
		}
		rtt := time.Since(begin)
		a.c.servers.with(a.to, func(v *server) { v.replied(rtt) })
		if msg[2]&byte(wire.FlagTC>>8) != 0 {
			return errTruncated
		}
		a.reply.Message, a.reply.RTT, a.reply.TCP = bytes.Clone(msg), rtt, false
		return nil
	}
}

// breaksCase asks over TCP what was answered with another case over UDP, and remembers
// the server for it if it does so there as well.
func (a *attempt) breaksCase(ctx context.Context) error {
	err := a.overTCP(ctx)
	if err == nil && !bytes.Equal(a.reply.Message[wire.HeaderLen:wire.HeaderLen+len(a.q.Name)], a.query[2+wire.HeaderLen:][:len(a.q.Name)]) {
		a.c.servers.with(a.to, func(v *server) { v.noCase = time.Now().Add(forgetTime) })
		a.reply.Spoof = false
	}
	return err
}

// How a datagram fits the question.
const (
	fits      = iota
	not       // it is not a reply to anything like it
	nearly    // the question is right and the ID is not, or the other way
	otherCase // all is right but the case of the name
)

// matches compares a reply with the question: ID, QR, opcode, name, type and class
// (RFC 5452, section 9.1). A reply without a question can only be an error that was
// made before the question was read.
func (a *attempt) matches(msg []byte) int {
	query := a.query[2:]
	end := wire.HeaderLen + len(a.q.Name) + 4
	if len(msg) < wire.HeaderLen || msg[2]&0x80 == 0 || msg[2]&0x78 != 0 {
		return not
	}
	id := binary.BigEndian.Uint16(msg) == a.id
	questions := binary.BigEndian.Uint16(msg[4:])
	if questions == 0 && len(msg) == wire.HeaderLen && msg[3]&15 != 0 {
		if id {
			return fits
		}
		return nearly
	}
	if questions != 1 || len(msg) < end {
		if id {
			return nearly
		}
		return not
	}
	same := bytes.Equal(msg[wire.HeaderLen:end], query[wire.HeaderLen:end])
	folded := same || bytes.Equal(msg[end-4:end], query[end-4:end]) && wire.EqualFold(msg[wire.HeaderLen:end-4], query[wire.HeaderLen:end-4])
	switch {
	case id && same:
		return fits
	case id && folded && a.mixed:
		return otherCase
	case id && folded:
		return fits
	case id || folded:
		return nearly
	}
	return not
}

// goodCookie tells whether a reply has our cookie.
func goodCookie(msg []byte, client [8]byte) bool {
	got := cookieOf(findOPT(msg))
	return len(got) >= 8 && [8]byte(got[:8]) == client
}

// findOPT returns the OPT record of a message, from its type on, or nil. Records are
// walked; what is not whole ends the walk.
func findOPT(msg []byte) []byte {
	pos := wire.HeaderLen
	skip := func() bool {
		for pos < len(msg) {
			l := int(msg[pos])
			switch {
			case l == 0:
				pos++
				return true
			case l >= 0xC0:
				pos += 2
				return pos <= len(msg)
			case l > wire.MaxLabel:
				return false
			}
			pos += l + 1
		}
		return false
	}
	for range int(binary.BigEndian.Uint16(msg[4:])) {
		if !skip() {
			return nil
		}
		pos += 4
	}
	records := int(binary.BigEndian.Uint16(msg[6:])) + int(binary.BigEndian.Uint16(msg[8:])) + int(binary.BigEndian.Uint16(msg[10:]))
	for range records {
		rooted := pos < len(msg) && msg[pos] == 0
		if !skip() || pos+10 > len(msg) {
			return nil
		}
		start := pos
		pos += 10 + int(binary.BigEndian.Uint16(msg[pos+8:]))
		if pos > len(msg) {
			return nil
		}
		if rooted && binary.BigEndian.Uint16(msg[start:]) == uint16(wire.TypeOPT) {
			return msg[start:pos]
		}
	}
	return nil
}

// cookieOf returns the cookie option's data in an OPT record, or nil.
func cookieOf(opt []byte) []byte {
	if len(opt) < 10 {
		return nil
	}
	for b := opt[10:]; len(b) >= 4; {
		n := int(binary.BigEndian.Uint16(b[2:]))
		if 4+n > len(b) {
			return nil
		}
		if binary.BigEndian.Uint16(b) == wire.OptionCookie {
			return b[4 : 4+n]
		}
		b = b[4+n:]
	}
	return nil
}
