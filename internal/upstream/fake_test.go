package upstream_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"port53/internal/exchange"
	"port53/internal/upstream"
	"port53/internal/wire"
)

// A fake is a network of one host, for bubbles of testing/synctest: whatever address is
// asked, it answers as udp and tcp say, and counts what is left open.
type fake struct {
	rtt time.Duration
	// udp returns replies that arrive together after rtt: nil is that nobody listens, one
	// without octets what a router says. Without it there is silence.
	udp func(q []byte) [][]byte
	tcp func(c net.Conn) // serves one connection and closes it; nil: refused

	mu      sync.Mutex
	queries []packet
	sockets int // open
	dialled int
	conns   int // open
}

func (f *fake) note(to netip.AddrPort, q []byte, tcp bool) {
	f.mu.Lock()
	f.queries = append(f.queries, packet{to, bytes.Clone(q), tcp})
	f.mu.Unlock()
}

// sent returns the queries since it was last called.
func (f *fake) sent() []packet {
	f.mu.Lock()
	defer f.mu.Unlock()
	q := f.queries
	f.queries = nil
	return q
}

// left returns the sockets and connections that are open, and all that were dialled.
func (f *fake) left() (sockets, conns, dialled int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sockets, f.conns, f.dialled
}

type fakeSocket struct {
	net    *fake
	to     netip.AddrPort
	in     chan [][]byte
	queue  [][]byte
	closed chan struct{}
	once   sync.Once
}

// Socket implements upstream.Network.
func (f *fake) Socket(to netip.AddrPort) (exchange.Socket, error) {
	f.mu.Lock()
	f.sockets++
	f.mu.Unlock()
	return &fakeSocket{net: f, to: to, in: make(chan [][]byte, 1), closed: make(chan struct{})}, nil
}

func (s *fakeSocket) Send(q []byte) error {
	q = bytes.Clone(q)
	s.net.note(s.to, q, false)
	if s.net.udp == nil {
		return nil
	}
	replies := s.net.udp(q)
	time.AfterFunc(s.net.rtt, func() { s.in <- replies }) // once a socket
	return nil
}

func (s *fakeSocket) Recv(ctx context.Context, b []byte, deadline time.Time) (int, error) {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	for len(s.queue) == 0 {
		select {
		case s.queue = <-s.in:
		case <-timer.C:
			return 0, os.ErrDeadlineExceeded
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-s.closed:
			return 0, net.ErrClosed
		}
	}
	r := s.queue[0]
	s.queue = s.queue[1:]
	switch {
	case r == nil:
		return 0, syscall.ECONNREFUSED
	case len(r) == 0:
		return 0, syscall.EHOSTUNREACH
	}
	return copy(b, r), nil
}

func (s *fakeSocket) Close() error {
	s.once.Do(func() {
		close(s.closed)
		s.net.mu.Lock()
		s.net.sockets--
		s.net.mu.Unlock()
	})
	return nil
}

// DialTCP implements upstream.Network.
func (f *fake) DialTCP(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
	f.mu.Lock()
	f.dialled++
	serve := f.tcp
	f.mu.Unlock()
	select {
	case <-time.After(f.rtt):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if serve == nil {
		return nil, syscall.ECONNREFUSED
	}
	here, there := net.Pipe()
	f.mu.Lock()
	f.conns++
	f.mu.Unlock()
	go serve(there)
	return &fakeConn{Conn: here, net: f}, nil
}

type fakeConn struct {
	net.Conn
	net  *fake
	once sync.Once
}

func (c *fakeConn) Close() error {
	c.once.Do(func() {
		c.net.mu.Lock()
		c.net.conns--
		c.net.mu.Unlock()
	})
	return c.Conn.Close()
}

// serve returns what serves a connection with the replies of answer, each after rtt, in
// any order.
func (f *fake) serve(answer func(q []byte) [][]byte) func(net.Conn) {
	return func(c net.Conn) {
		defer c.Close()
		var mu sync.Mutex
		for {
			q, err := readFrame(c)
			if err != nil {
				return
			}
			f.note(netip.AddrPort{}, q, true)
			time.AfterFunc(f.rtt, func() {
				mu.Lock()
				defer mu.Unlock()
				for _, r := range answer(q) {
					_, _ = c.Write(frame(r))
				}
			})
		}
	}
}

func frame(msg []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
}

func readFrame(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	q := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(r, q)
	return q, err
}

// client returns a client on f, which the caller closes within the bubble.
func (f *fake) client(cookies bool) *upstream.Client {
	return upstream.New(upstream.Options{Network: f, Cookies: cookies})
}

func address(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(n >> 8), byte(n)}), 53)
}

// ask asks the server at address 1 and wants no error.
func ask(t *testing.T, c *upstream.Client, q *upstream.Question) upstream.Reply {
	t.Helper()
	r, err := c.Exchange(t.Context(), address(1), q)
	if err != nil {
		t.Fatalf("%+v: %v", r, err)
	}
	return r
}

// plain asks without a Timeout of the caller's.
func plain() *upstream.Question {
	q := question()
	q.Timeout = 0
	return q
}

// over tells how a question went: as U for each query over UDP and T over TCP.
func over(sent []packet) string {
	var b []byte
	for _, p := range sent {
		if p.tcp {
			b = append(b, 'T')
		} else {
			b = append(b, 'U')
		}
	}
	return string(b)
}

// parsed returns a query as a server reads it.
func parsed(t *testing.T, p packet) *wire.Query {
	t.Helper()
	q := new(wire.Query)
	if bad := q.Parse(p.msg); bad != 0 {
		t.Fatalf("query %x: %v", p.msg, bad)
	}
	return q
}

// withOPT adds an OPT record with options to a reply, and the upper bits of a response
// code.
func withOPT(r []byte, rcode wire.Rcode, options []byte) []byte {
	at := len(r)
	r = wire.AppendOPT(r, 1232, false, options)
	r[at+5] = byte(rcode >> 4)
	r[3] |= byte(rcode & 15)
	r[11] = 1
	return r
}

func cookieOption(cookie ...[]byte) []byte {
	all := bytes.Join(cookie, nil)
	return append([]byte{0, wire.OptionCookie, 0, byte(len(all))}, all...)
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
