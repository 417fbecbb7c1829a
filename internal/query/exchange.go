package query

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"port53/internal/wire"
)

// Bounds of an exchange.
const (
	DefaultTimeout = 5 * time.Second // for each try, as dig and resolv.conf have it
	DefaultTries   = 3               // as dig
	MaxTries       = 100             // a typing error must not become a flood
	maxStrangers   = 1000            // packets that are no reply, in one try: somebody floods the port
	maxResends     = 2               // after BADCOOKIE: with the cookie, then over TCP (RFC 7873, section 5.3)
)

// An Asker sends one question to one server: a [Route], or a test's own network.
type Asker interface {
	Ask(ctx context.Context, server netip.AddrPort, q *Question) (*Reply, error)
}

// A Route is how questions are sent. The zero value sends over UDP first, waits
// [DefaultTimeout] and tries [DefaultTries] times.
type Route struct {
	TCP     bool           // TCP at once
	UDPOnly bool           // a truncated reply is taken as it is
	Timeout time.Duration  // for each try
	Tries   int            // with each server
	Source  netip.AddrPort // where to send from; zero: the system chooses
}

// A Reply is what a server sent, and how it came.
type Reply struct {
	Question *Question
	Sent     []byte // the query that it answers
	Raw      []byte
	Message  wire.Message
	Fault    wire.Malformed // why Message is not whole; 0: it is

	Server netip.AddrPort
	TCP    bool
	RTT    time.Duration // of the query that it answers
	At     time.Time     // when that was sent

	Truncated bool      // it was asked again over TCP because the reply over UDP had TC set
	NewCookie bool      // it was asked again with the cookie that the server wanted
	Strangers int       // packets to the same port that did not answer the question
	Failed    []Attempt // tries before that failed
}

// An Attempt is a try that failed.
type Attempt struct {
	Server netip.AddrPort
	TCP    bool
	Err    error
}

// String returns the server, the transport and the cause.
func (a Attempt) String() string {
	return fmt.Sprintf("%v over %s: %s", a.Server, transport(a.TCP), errorText(a.Err))
}

func transport(tcp bool) string {
	if tcp {
		return "TCP"
	}
	return "UDP"
}

// Unanswered is the error of a question to which no server replied.
type Unanswered struct{ Attempts []Attempt }

// Error names each server once with each cause.
func (u *Unanswered) Error() string {
	return "no reply: " + u.causes(Attempt.String)
}

// causes joins what tell says of each attempt, each once.
func (u *Unanswered) causes(tell func(Attempt) string) string {
	var causes []string
	times := map[string]int{}
	for _, a := range u.Attempts {
		text := tell(a)
		if times[text]++; times[text] == 1 {
			causes = append(causes, text)
		}
	}
	for i, text := range causes {
		if n := times[text]; n > 1 {
			causes[i] = fmt.Sprintf("%s (%d times)", text, n)
		}
	}
	return strings.Join(causes, "; ")
}

// errTimeout is what a try ends with when nothing came in time.
type errTimeout struct {
	after     time.Duration
	strangers int
}

func (e *errTimeout) Error() string {
	text := fmt.Sprintf("nothing within %v", e.after)
	if e.strangers > 0 {
		text += fmt.Sprintf(", and %d packets with another ID or question", e.strangers)
	}
	return text
}

// Timeout reports that more time might have helped.
func (e *errTimeout) Timeout() bool { return true }

// errorText says in words what a socket said in its own.
func errorText(err error) string {
	var op *net.OpError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused by the host: nothing listens on the port"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "no route to the address"
	case errors.Is(err, syscall.ECONNRESET):
		return "the connection was reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed before a whole reply"
	case errors.As(err, &op):
		return op.Err.Error()
	}
	return err.Error()
}

// AskAll asks the servers in turn, again and again until one replies or all tries
// are spent; the error is then an [*Unanswered]. next tells of a reply whether the
// next server shall be asked instead; nil: never.
func (rt *Route) AskAll(ctx context.Context, servers []netip.AddrPort, q *Question, next func(*Reply) bool) (*Reply, error) {
	var failed []Attempt
	var second *Reply // what next did not like: better than nothing
	for range rt.tries() {
		for _, server := range servers {
			r, err := rt.once(ctx, server, q)
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if err == nil && next != nil && next(r) {
				second, err = r, fmt.Errorf("answered %v", r.Message.Rcode)
			}
			if err == nil {
				r.Failed = failed
				return r, nil
			}
			failed = append(failed, Attempt{server, rt.TCP, err})
		}
		if second != nil {
			break
		}
	}
	if second != nil {
		second.Failed = failed[:len(failed)-1]
		return second, nil
	}
	return nil, &Unanswered{failed}
}

// Ask asks one server.
func (rt *Route) Ask(ctx context.Context, server netip.AddrPort, q *Question) (*Reply, error) {
	return rt.AskAll(ctx, []netip.AddrPort{server}, q, nil)
}

func (rt *Route) tries() int {
	if rt.Tries > 0 {
		return rt.Tries
	}
	return DefaultTries
}

func (rt *Route) timeout() time.Duration {
	if rt.Timeout > 0 {
		return rt.Timeout
	}
	return DefaultTimeout
}

// once sends one query and what must follow it: the same over TCP after a truncated
// reply, the same with a cookie after BADCOOKIE.
func (rt *Route) once(ctx context.Context, server netip.AddrPort, q *Question) (*Reply, error) {
	var cookie []byte
	if q.Cookie {
		cookie = make([]byte, CookieLen)
		_, _ = rand.Read(cookie) // never fails
	}
	var all Reply
	tcp := rt.TCP
	for resends := 0; ; {
		r, err := rt.send(ctx, server, q, cookie, tcp)
		if err != nil {
			return nil, err
		}
		r.Truncated, r.NewCookie, r.Strangers = all.Truncated, all.NewCookie, all.Strangers+r.Strangers
		m := &r.Message
		own, _ := m.Option(wire.OptionCookie)
		switch {
		case !tcp && m.Flags&wire.FlagTC != 0 && !rt.UDPOnly:
			tcp, r.Truncated = true, true
		case m.Rcode == wire.BadCookie && resends < maxResends && !tcp &&
			len(own) > CookieLen && bytes.Equal(own[:CookieLen], cookie[:CookieLen]):
			cookie, r.NewCookie = bytes.Clone(own), true
			resends++
			tcp = resends == maxResends && !rt.UDPOnly
		default:
			return r, nil
		}
		all = *r
	}
}

func (rt *Route) send(ctx context.Context, server netip.AddrPort, q *Question, cookie []byte, tcp bool) (*Reply, error) {
	query := q.Append(nil, randomID(q), cookie)
	timeout := rt.timeout()
	begun := time.Now()
	c, err := rt.dial(ctx, server, tcp, timeout)
	if err != nil {
		if isTimeout(err) {
			err = &errTimeout{after: timeout}
		}
		return nil, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := c.SetDeadline(begun.Add(timeout)); err != nil {
		return nil, err
	}
	if err := write(c, query, tcp); err != nil {
		return nil, err
	}
	r := &Reply{Question: q, Sent: query, Server: server, TCP: tcp, At: begun}
	buf := make([]byte, wire.MaxMessage)
	for r.Strangers < maxStrangers {
		n, err := read(c, buf, tcp)
		if err != nil {
			if isTimeout(err) {
				err = &errTimeout{timeout, r.Strangers}
			}
			return nil, err
		}
		r.RTT = time.Since(begun)
		r.Fault = r.Message.Parse(buf[:n])
		if answers(&r.Message, buf[:n], query, q) {
			r.Raw = bytes.Clone(buf[:n])
			return r, nil
		}
		r.Strangers++
	}
	return nil, &errTimeout{timeout, r.Strangers}
}

// randomID returns the ID to send q with.
func randomID(q *Question) uint16 {
	if q.ID != nil {
		return *q.ID
	}
	var id [2]byte
	_, _ = rand.Read(id[:]) // never fails
	return binary.BigEndian.Uint16(id[:])
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}

func (rt *Route) dial(ctx context.Context, server netip.AddrPort, tcp bool, timeout time.Duration) (net.Conn, error) {
	d := net.Dialer{Timeout: timeout}
	if tcp {
		if rt.Source.IsValid() {
			d.LocalAddr = net.TCPAddrFromAddrPort(rt.Source)
		}
		return d.DialContext(ctx, "tcp", server.String())
	}
	if rt.Source.IsValid() {
		d.LocalAddr = net.UDPAddrFromAddrPort(rt.Source)
	}
	return d.DialContext(ctx, "udp", server.String())
}

// write sends a message, behind its length over TCP (RFC 1035, section 4.2.2) and in
// one piece (RFC 7766, section 8).
func write(c net.Conn, msg []byte, tcp bool) error {
	if tcp {
		msg = append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
	}
	_, err := c.Write(msg)
	return err
}

// read reads one message into buf.
func read(c net.Conn, buf []byte, tcp bool) (int, error) {
	if !tcp {
		return c.Read(buf)
	}
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return 0, err
	}
	return io.ReadFull(c, buf[:binary.BigEndian.Uint16(size[:])])
}

// answers tells whether the message read from msg answers query (RFC 5452, section
// 3). One without a question does if it is an error: some servers leave it out when
// they could not read the query.
func answers(m *wire.Message, msg, query []byte, q *Question) bool {
	if len(msg) < wire.HeaderLen || !bytes.Equal(msg[:2], query[:2]) || m.Flags&wire.FlagQR == 0 || m.Opcode != q.Opcode {
		return false
	}
	switch binary.BigEndian.Uint16(msg[4:]) {
	case 0:
		return q.NoQuestion || m.Rcode != wire.NoError
	case 1:
		return !q.NoQuestion && m.HasQuestion && m.Type == q.Type && m.Class == q.Class && wire.EqualFold(m.Name, q.Name)
	}
	return false
}
