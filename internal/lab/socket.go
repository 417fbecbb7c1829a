package lab

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"port53/internal/wire"
)

// A socket is a UDP socket of the asker.
type socket struct {
	net       *Net
	local, to netip.AddrPort
	wake      chan struct{} // holds one token while queue may be non-empty
	closed    chan struct{}

	mu    sync.Mutex
	queue []received
	shut  bool
}

// received is a datagram, or the error that an ICMP message makes.
type received struct {
	message []byte
	err     error
}

func (s *socket) push(r received) {
	s.mu.Lock()
	s.queue = append(s.queue, r)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *socket) pop() (r received, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return r, false
	}
	r = s.queue[0]
	s.queue = s.queue[1:]
	return r, true
}

// Send sends b to the address that the socket is connected to.
func (s *socket) Send(b []byte) error {
	s.mu.Lock()
	shut := s.shut
	s.mu.Unlock()
	if shut {
		return net.ErrClosed
	}
	s.net.send(s.local, s.to, append([]byte(nil), b...))
	return nil
}

// Recv waits for a datagram until the deadline, zero meaning for ever, or the end of
// ctx. What is longer than b is cut off, as the system does it.
func (s *socket) Recv(ctx context.Context, b []byte, deadline time.Time) (int, error) {
	var late <-chan time.Time
	for {
		if r, ok := s.pop(); ok {
			return copy(b, r.message), r.err
		}
		if late == nil && !deadline.IsZero() {
			left := time.Until(deadline)
			if left <= 0 {
				return 0, os.ErrDeadlineExceeded
			}
			timer := time.NewTimer(left)
			defer timer.Stop()
			late = timer.C
		}
		select {
		case <-s.wake:
		case <-s.closed:
			return 0, net.ErrClosed
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-late:
			return 0, os.ErrDeadlineExceeded
		}
	}
}

// Close frees the port and ends Recv.
func (s *socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut {
		return net.ErrClosed
	}
	s.shut = true
	close(s.closed)
	s.net.mu.Lock()
	defer s.net.mu.Unlock()
	delete(s.net.sockets, s.local)
	return nil
}

// DialTCP connects to a host, which takes a round trip. It implements
// upstream.Network.
func (n *Net) DialTCP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	f := family(to.Addr())
	n.mu.Lock()
	if !n.routed[f] {
		n.mu.Unlock()
		return nil, fmt.Errorf("connect to %v: %w", to, syscall.ENETUNREACH)
	}
	l := n.link(to.Addr())
	mode := l.TCP
	fate := Established
	_, listens := n.hosts[to]
	switch {
	case n.addrs[to.Addr()] == 0:
		fate = NoHost
	case l.DropQueries, l.DropReplies, mode == TCPHang:
		fate = Lost
	case !listens, mode == TCPRefused:
		fate = Refused
	}
	n.nextPort = max(n.nextPort+1, 1024)
	local := netip.AddrPortFrom(n.local[f], n.nextPort)
	n.record(Packet{From: local, To: to, TCP: true, Fate: fate})
	rtt := n.way(l) + n.way(l)
	n.mu.Unlock()

	if fate == Lost || fate == NoHost {
		<-ctx.Done()
		return nil, fmt.Errorf("connect to %v: %w", to, context.Cause(ctx))
	}
	if rtt > 0 {
		timer := time.NewTimer(rtt)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("connect to %v: %w", to, context.Cause(ctx))
		}
	}
	if fate == Refused {
		return nil, fmt.Errorf("connect to %v: %w", to, syscall.ECONNREFUSED)
	}
	return &conn{net: n, local: local, to: to, mode: mode, wake: make(chan struct{}, 1), shut: make(chan struct{})}, nil
}

// A conn is a connection of the asker. The host's end has no goroutine: it reads
// what Write is given, and what it answers is put into the buffer of Read once its
// way back is over.
type conn struct {
	net       *Net
	local, to netip.AddrPort
	mode      TCPMode
	wake      chan struct{} // holds one token when Read should look again
	shut      chan struct{} // closed by Close

	mu       sync.Mutex
	pending  []byte // octets of questions that are not whole yet
	arrived  []byte // octets for Read
	end      error  // behind arrived: io.EOF or a reset
	asked    int
	deadline time.Time // of Read
	closed   bool
}

func (c *conn) notify() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Write takes octets to the host. Whole questions among them are answered.
func (c *conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	switch {
	case c.closed:
		c.mu.Unlock()
		return 0, net.ErrClosed
	case c.end != nil:
		c.mu.Unlock()
		return 0, syscall.EPIPE
	}
	c.pending = append(c.pending, b...)
	var questions [][]byte
	for len(c.pending) >= 2 {
		n := 2 + int(binary.BigEndian.Uint16(c.pending))
		if len(c.pending) < n {
			break
		}
		questions = append(questions, append([]byte(nil), c.pending[2:n]...))
		c.pending = c.pending[n:]
	}
	c.asked += len(questions)
	c.mu.Unlock()
	for _, q := range questions {
		c.ask(q)
	}
	return len(b), nil
}

func (c *conn) ask(query []byte) {
	n := c.net
	n.mu.Lock()
	l := n.link(c.to.Addr())
	fate := Delivered
	switch {
	case l.DropQueries:
		fate = Lost
	case c.mode == TCPReset:
		fate = Reset
	}
	n.record(Packet{From: c.local, To: c.to, TCP: true, Message: query, Fate: fate})
	there, back := n.way(l), n.way(l)
	n.mu.Unlock()
	switch {
	case fate == Reset:
		after(there+back, func() { c.receive(nil, syscall.ECONNRESET) })
	case fate == Delivered && c.mode != TCPSilent:
		after(there, func() { c.answer(query) })
	}
}

func (c *conn) answer(query []byte) {
	n := c.net
	n.mu.Lock()
	h, tamper := n.hosts[c.to], n.tampers[c.to.Addr()]
	n.mu.Unlock()
	if h == nil {
		return
	}
	r := Reply{Query: query, Asker: c.local, Server: c.to, Source: c.to, TCP: true}
	h(&r)
	if tamper != nil {
		tamper(&r)
	}
	if r.Message == nil || len(r.Message) > wire.MaxMessage {
		return
	}
	n.mu.Lock()
	l := n.link(c.to.Addr())
	fate := Delivered
	if l.DropReplies {
		fate = Lost
		n.record(Packet{From: c.to, To: c.local, TCP: true, Reply: true, Message: r.Message, Fate: fate})
	}
	back := n.way(l) + r.Delay
	n.mu.Unlock()
	if fate == Delivered {
		after(back, func() {
			var end error
			if c.mode == TCPClose {
				end = io.EOF
			}
			c.receive(r.Message, end)
		})
	}
}

// receive puts a message into the buffer of Read, and the end of the connection
// behind it.
func (c *conn) receive(message []byte, end error) {
	c.mu.Lock()
	open := !c.closed && c.end == nil
	if open {
		if message != nil {
			c.arrived = binary.BigEndian.AppendUint16(c.arrived, uint16(len(message)))
			c.arrived = append(c.arrived, message...)
		}
		c.end = end
	}
	c.mu.Unlock()
	if message != nil {
		c.net.mu.Lock()
		fate := Delivered
		if !open {
			fate = NotAsked
		}
		c.net.record(Packet{From: c.to, To: c.local, TCP: true, Reply: true, Message: message, Fate: fate})
		c.net.mu.Unlock()
	}
	c.notify()
}

// Read takes what has arrived.
func (c *conn) Read(b []byte) (int, error) {
	for {
		c.mu.Lock()
		switch {
		case c.closed:
			c.mu.Unlock()
			return 0, net.ErrClosed
		case len(c.arrived) > 0:
			n := copy(b, c.arrived)
			if c.arrived = c.arrived[n:]; len(c.arrived) > 0 || c.end != nil {
				c.notify()
			}
			c.mu.Unlock()
			return n, nil
		case c.end != nil:
			err := c.end
			c.mu.Unlock()
			c.notify() // for the next Read
			return 0, err
		}
		deadline := c.deadline
		c.mu.Unlock()
		var timer *time.Timer
		var late <-chan time.Time
		if !deadline.IsZero() {
			left := time.Until(deadline)
			if left <= 0 {
				return 0, os.ErrDeadlineExceeded
			}
			timer = time.NewTimer(left)
			late = timer.C
		}
		select {
		case <-c.wake:
		case <-c.shut:
		case <-late:
		}
		if timer != nil {
			timer.Stop()
		}
	}
}

// Close ends the connection.
func (c *conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.closed = true
	close(c.shut)
	return nil
}

// LocalAddr returns the asker's address.
func (c *conn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.local) }

// RemoteAddr returns the host's address.
func (c *conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.to) }

// SetDeadline sets the time that Read waits for at most. Write never waits.
func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline sets the time that Read waits for at most.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	c.deadline = t
	c.mu.Unlock()
	c.notify()
	return nil
}

// SetWriteDeadline does nothing: Write never waits.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }
