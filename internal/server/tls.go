package server

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// handshakeTime is how long a client may take to begin TLS: three round trips of the
	// longest way there is, and a packet lost.
	handshakeTime = 5 * time.Second
	// defaultHandshakes is how many connections may begin TLS in a second: as many as a few
	// processors can do.
	defaultHandshakes = 5000
)

// Encrypted says what is served over TLS. Its connections are in a table of their own, so that
// those of TCP are there whatever becomes of it.
type Encrypted struct {
	DoT []netip.AddrPort // bound for TCP; TLS must not be nil then
	TLS *tls.Config      // what clients of DoT are shown; it is not modified

	// Services speak more than DNS on their connections.
	Services []ServiceBinding

	// Limits bound connections as those of TCP; Pending is of DoT.
	Limits Limits
	// Handshakes is how many may begin in a second, 5,000 by default. More are refused.
	Handshakes int
}

// A ServiceBinding is a service and where it listens: one of connections of TCP, or of datagrams.
type ServiceBinding struct {
	Addrs   []netip.AddrPort
	TLS     *tls.Config
	Service Service
	Packets PacketService // nil: Service is not
}

func (l *ServiceBinding) transport() Transport {
	if l.Packets != nil {
		return l.Packets.Transport()
	}
	return l.Service.Transport()
}

// endpoints are where e has this server listen.
func (e *Encrypted) endpoints() (list []endpoint) {
	for _, a := range e.DoT {
		list = append(list, endpoint{addr: a, over: DoT})
	}
	for i := range e.Services {
		l := &e.Services[i]
		for _, a := range l.Addrs {
			list = append(list, endpoint{addr: a, over: l.transport(), service: l})
		}
	}
	return list
}

// An endpoint is an address, and what is spoken there; UDP stands for UDP and TCP.
type endpoint struct {
	addr    netip.AddrPort
	over    Transport
	service *ServiceBinding // nil: what is spoken is known here
}

// packets reports whether what is spoken there goes over datagrams alone.
func (e endpoint) packets() bool { return e.service != nil && e.service.Packets != nil }

// A tlsWire is what lies below TLS. It has handshakes take turns, and lets TLS write without
// waiting: what the system does not take at once it keeps until there is time.
type tlsWire struct {
	net.Conn
	now writerNow

	line *handshakes // nil: the handshake is done
	who  netip.Prefix
	turn bool

	parted atomic.Bool // what cannot be written at once is not written at all
	mu     sync.Mutex  // of what is written, and what follows
	keep   bool
	kept   []byte
}

// Read implements net.Conn.
func (w *tlsWire) Read(b []byte) (int, error) {
	if w.line == nil {
		return w.Conn.Read(b)
	}
	w.pass()
	n, err := w.Conn.Read(b)
	if n > 0 {
		w.line.enter(w.who)
		w.turn = true
	}
	return n, err
}

// pass gives the turn back, if w has it.
func (w *tlsWire) pass() {
	if w.turn {
		w.turn = false
		w.line.leave()
	}
}

// Write implements net.Conn. Only TLS calls it.
func (w *tlsWire) Write(b []byte) (int, error) {
	if w.parted.Load() {
		// Who closes waits for nobody: a client that does not read misses the end.
		if w.mu.TryLock() {
			if len(w.kept) == 0 {
				w.now.write(b)
			}
			w.mu.Unlock()
		}
		return len(b), nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.keep {
		n := 0
		if len(w.kept) == 0 {
			n = w.now.write(b)
		}
		w.kept = append(w.kept, b[n:]...)
		return len(b), nil
	}
	if err := w.flushKept(); err != nil {
		return 0, err
	}
	return w.Conn.Write(b)
}

// try has TLS write b without waiting, and returns how many octets are kept that have yet to
// be sent by flush. Nobody else may write meanwhile.
func (w *tlsWire) try(conn net.Conn, b []byte) (kept int64, err error) {
	w.mu.Lock()
	w.keep = true
	w.mu.Unlock()
	_, err = conn.Write(b)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keep = false
	return int64(len(w.kept)), err
}

// flush sends what is kept, as long as the connection's deadline lets it.
func (w *tlsWire) flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.flushKept()
}

// flushKept needs the lock.
func (w *tlsWire) flushKept() error {
	if len(w.kept) == 0 {
		return nil
	}
	_, err := w.Conn.Write(w.kept)
	w.kept = nil
	return err
}

// part has what follows be written at once or not at all.
func (w *tlsWire) part() { w.parted.Store(true) }

// secured returns what TLS makes of conn, for a client of a network, and what is below it. Its
// handshake is to be done by shake.
func (s *Server) secured(conn net.Conn, who netip.Prefix, config *tls.Config) (*tls.Conn, *tlsWire) {
	w := &tlsWire{Conn: conn, line: &s.handshakes, who: who}
	w.now.bind(conn)
	return tls.Server(w, config), w
}

// shake begins TLS. On an error the connection is to be closed.
func (s *Server) shake(t *tls.Conn, w *tlsWire) error {
	count := &s.secure.shakes
	if !s.handshakes.allow(s.now()) {
		count.refused.Add(1)
		return errShakes
	}
	_ = w.SetDeadline(time.Now().Add(handshakeTime))
	err := t.Handshake()
	w.pass()
	w.line = nil
	if err != nil {
		count.failed.Add(1)
		return err
	}
	_ = w.SetDeadline(time.Time{})
	if count.done.Add(1); t.ConnectionState().DidResume {
		count.resumed.Add(1)
	}
	return nil
}

// errShakes is why a client may not begin TLS.
var errShakes = errors.New("server: too many handshakes")

// admitTLS serves conn over TLS, or closes it as admit does. The handshake has a goroutine of
// its own, whose memory, of which it needs much, is free again when it is done.
func (s *Server) admitTLS(conn net.Conn) {
	c := newTCPConn(&s.secure, conn)
	c.peer.Transport = DoT
	t, w := s.secured(conn, c.prefix, s.options.Encrypted.TLS)
	c.conn, c.wire = t, w
	if !s.secure.enter(&c.tenant) {
		c.reset()
		return
	}
	s.conns.Go(func() {
		if err := s.shake(t, w); err != nil {
			if errors.Is(err, errShakes) || isTimeout(err) {
				c.reset() // nothing is owed
			}
			c.close()
			s.secure.forget(&c.tenant)
			return
		}
		c.peer.Certificates = t.ConnectionState().PeerCertificates
		c.active.Store(s.now())
		s.conns.Go(c.serve)
	})
}

// writeTLS writes b, as one record if it fits into one: a length that travels alone is a packet
// more, and tells how long what follows is.
func (c *tcpConn) writeTLS(b [][]byte) error {
	whole := b[0]
	if len(b) > 1 {
		whole = slices.Concat(b...)
	}
	if len(whole) == 0 {
		return c.wire.flush()
	}
	_, err := c.conn.Write(whole)
	return err
}

// handshakes shares the processors among clients that begin TLS: few at a time compute, and
// networks take turns. Whoever sends nothing has no turn.
type handshakes struct {
	mu      sync.Mutex
	free    int // turns
	waiting map[netip.Prefix][]chan struct{}
	order   []netip.Prefix // of those that wait

	pace
}

func (h *handshakes) init(rate int) {
	// One processor is left for those who ask in the clear.
	h.free = max(1, runtime.GOMAXPROCS(0)-1)
	h.waiting = map[netip.Prefix][]chan struct{}{}
	h.pace.init(rate)
}

// A pace is how many of something there may be in a second.
type pace struct {
	mu     sync.Mutex
	rate   float64 // a second
	tokens float64
	last   int64 // when they were counted
}

func (p *pace) init(rate int) { p.rate, p.tokens = float64(rate), float64(rate) }

// allow takes one from those of this second, if there is one left. now is in nanoseconds.
func (p *pace) allow(now int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now > p.last {
		p.tokens = min(p.rate, p.tokens+p.rate*time.Duration(now-p.last).Seconds())
		p.last = now
	}
	if p.tokens < 1 {
		return false
	}
	p.tokens--
	return true
}

// enter waits for a turn.
func (h *handshakes) enter(who netip.Prefix) {
	h.mu.Lock()
	if h.free > 0 {
		h.free--
		h.mu.Unlock()
		return
	}
	turn := make(chan struct{})
	if len(h.waiting[who]) == 0 {
		h.order = append(h.order, who)
	}
	h.waiting[who] = append(h.waiting[who], turn)
	h.mu.Unlock()
	<-turn
}

// leave gives the turn to the next network.
func (h *handshakes) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.order) == 0 {
		h.free++
		return
	}
	who := h.order[0]
	h.order = h.order[1:]
	list := h.waiting[who]
	close(list[0])
	if len(list) == 1 {
		delete(h.waiting, who)
		return
	}
	h.waiting[who] = list[1:]
	h.order = append(h.order, who)
}
