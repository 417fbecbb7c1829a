package server

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// drainMax ends draining where questions come faster than they are answered;
	// new ones cannot be told from those that waited.
	drainMax = time.Second
	// drainQuiet is how long each look for what still waits may take, and
	// drainLooks how many must find nothing. One is not enough: a deadline that
	// passes before the look begins, on a busy machine, makes it find nothing.
	drainQuiet = 10 * time.Millisecond
	drainLooks = 3
)

// A drainer decides when a socket has nothing more. The zero value is ready.
type drainer struct {
	end    time.Time
	missed int
}

// next takes whether the last look found nothing, and returns the deadline of the
// next one, or false if there need not be any.
func (d *drainer) next(missed bool) (deadline time.Time, more bool) {
	now := time.Now()
	switch {
	case d.end.IsZero():
		d.end = now.Add(drainMax)
	case missed:
		d.missed++
	default:
		d.missed = 0
	}
	return now.Add(drainQuiet), d.missed < drainLooks && now.Before(d.end)
}

// A Server holds bound sockets and answers what comes.
//
// In one piece: it is what the goroutines of one server share until it stops.
type Server struct {
	options   Options
	udp       []*udpSocket
	listeners []*tcpListener
	gates     []*ServiceListener
	packets   []*PacketListener
	addrs     []netip.AddrPort
	encrypted []Listener
	kept      keptSockets // until all addresses are bound
	tcp       tcpTable
	secure    tcpTable  // of what is encrypted
	begun     time.Time // the fixed point of now

	slots      chan *tcpSlot // workers that connections take turns with, and none has
	handshakes handshakes
	headless   headless
	believed   pace                    // of clients over datagrams whose addresses are not proven
	unproven   atomic.Int64            // of these those that shake hands now
	visits     [transportCount]traffic // of services

	draining atomic.Bool
	workers  sync.WaitGroup // UDP workers and TCP accepters
	conns    sync.WaitGroup // TCP connections
	udpOwed  sync.WaitGroup // detached answers over UDP

	pending    atomic.Int64 // detached answers
	udpPending atomic.Int64 // those of them over UDP
	laterUDP   traffic      // what was sent by responders

	mu      sync.Mutex
	started bool
	absent  []endpoint    // that could not be had
	lacking error         // why
	stopped chan struct{} // closed when the sockets are
	drained error         // why draining ended early, once stopped is closed
}

func newServer(o Options) *Server {
	s := &Server{options: o, begun: time.Now(), stopped: make(chan struct{})}
	s.tcp.init(s, &s.options.Limits)
	s.secure.init(s, &s.options.Encrypted.Limits)
	s.handshakes.init(s.options.Encrypted.Handshakes)
	s.believed.init(max(s.options.Encrypted.Handshakes/unprovenShare, 1))
	return s
}

// A tcpListener takes connections, and has them served as what is spoken there.
type tcpListener struct {
	*net.TCPListener
	admit func(net.Conn)
}

// A Listener is an address at which something encrypted is served.
type Listener struct {
	Addr      netip.AddrPort
	Transport Transport
	QUIC      bool // over datagrams, as DoQ always is, and DoH is over HTTP/3
}

// now is the time in nanoseconds since the server was made.
func (s *Server) now() int64 { return int64(time.Since(s.begun)) }

// Addrs returns what the server listens on, in the order of Options.Addrs and then
// of Options.Files; port 0 has become a real one. The caller may keep the slice.
func (s *Server) Addrs() []netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]netip.AddrPort(nil), s.addrs...)
}

// Encrypted returns where what is encrypted is served; port 0 has become a real one.
func (s *Server) Encrypted() []Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Listener(nil), s.encrypted...)
}

// Start begins to answer and returns. It does nothing the second time, or after
// Shutdown.
func (s *Server) Start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started || s.draining.Load() {
		return
	}
	s.started = true
	s.work(s.udp, s.listeners, s.gates, s.packets)
	s.options.Logger.Info("listening", "addresses", s.addrs, "udp_workers", len(s.udp))
	for _, l := range s.encrypted {
		s.options.Logger.Info("listening", "address", l.Addr, "transport", l.Transport.String())
	}
}

// work has what comes to sockets answered. s.mu is held.
func (s *Server) work(udp []*udpSocket, listeners []*tcpListener, gates []*ServiceListener, packets []*PacketListener) {
	for _, u := range udp {
		for i := range u.counters {
			w, count := s.options.Handler.NewWorker(), &u.counters[i]
			s.workers.Go(func() { u.serve(w, count) })
		}
	}
	if len(listeners)+len(packets) > 0 && s.slots == nil {
		s.makeWorkers()
	}
	for _, g := range gates {
		s.conns.Go(func() {
			if err := g.service.Service.Serve(g); err != nil {
				s.options.Logger.Error("a listener ended", "address", g.addr, "error", err)
			}
		})
	}
	for _, g := range packets {
		s.conns.Go(func() {
			if err := g.service.Packets.Serve(g); err != nil {
				s.options.Logger.Error("a listener ended", "address", g.conn.LocalAddr(), "error", err)
			}
		})
	}
	for _, l := range listeners {
		s.workers.Go(func() { s.accept(l) })
	}
}

// Retry binds those of the addresses that could not be had when the server was made, and can be
// now: their link has come. The error says why one that could be had was not bound; it is not
// tried again.
func (s *Server) Retry() (bound []netip.AddrPort, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Load() {
		return nil, nil
	}
	var absent []endpoint
	for _, e := range s.absent {
		udp, listeners, gates, packets := len(s.udp), len(s.listeners), len(s.gates), len(s.packets)
		switch fault := s.bind(e); {
		case fault == nil:
			bound = append(bound, e.addr)
			if s.started {
				s.work(s.udp[udp:], s.listeners[listeners:], s.gates[gates:], s.packets[packets:])
			}
		case absentFamily(fault):
			absent = append(absent, e)
		default:
			err = errors.Join(err, fault)
		}
	}
	s.absent = absent
	return bound, err
}

// Serve answers until ctx ends, and then drains for at most Options.Drain. It also
// returns when Shutdown has been called and is done. The error is nil unless
// draining was cut short.
func (s *Server) Serve(ctx context.Context) error {
	s.Start()
	select {
	case <-ctx.Done():
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.options.Drain)
		defer cancel()
		return s.Shutdown(grace)
	case <-s.stopped:
		return s.drained
	}
}

// Shutdown stops listening, answers what has arrived, waits for the answers that
// are owed, and closes every socket. When ctx ends first, it closes them at once
// and returns the cause. Calling it again waits for the first call to end.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	first := !s.draining.Swap(true)
	s.mu.Unlock()
	if !first {
		select {
		case <-s.stopped:
			return s.drained
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	// Deadlines in the past wake everything that waits.
	past := time.Unix(1, 0)
	for _, l := range s.listeners {
		_ = l.SetDeadline(past)
	}
	for _, u := range s.udp {
		_ = u.conn.SetReadDeadline(past)
	}
	s.headless.end()
	s.tcp.wake(past)
	s.secure.wake(past)
	done := make(chan struct{})
	if s.options.Handover {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		go func() {
			s.workers.Wait() // until then questions are answered
			time.AfterFunc(handoverWait, cancel)
		}()
	}
	ending := make(chan struct{})
	go func() {
		defer close(done)
		s.workers.Wait()
		for _, g := range s.gates {
			g.Close()
			s.conns.Go(func() { g.service.Service.Shutdown(ctx) })
		}
		for _, g := range s.packets {
			s.conns.Go(func() { g.service.Packets.Shutdown(ctx) })
		}
		close(ending) // from here on, nothing is added
		s.conns.Wait()
		s.udpOwed.Wait()
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = context.Cause(ctx)
		s.options.Logger.Warn("draining cut short", "cause", err, "pending", s.pending.Load(), "connections", s.tcp.open())
	}
	s.closeSockets()
	if err != nil {
		// Closed sockets end their goroutines; responders may outlive them.
		<-ending
		s.conns.Wait()
	}
	s.drained = err
	close(s.stopped)
	return err
}

// closeSockets closes all there is.
func (s *Server) closeSockets() {
	for _, l := range s.listeners {
		_ = l.Close()
	}
	for _, u := range s.udp {
		_ = u.conn.Close()
	}
	for _, g := range s.gates {
		g.Close()
	}
	for _, g := range s.packets {
		_ = g.conn.Close()
	}
	s.tcp.closeAll()
	s.secure.closeAll()
}

// accept takes connections from l until the server drains, and then those that
// the system has accepted already.
func (s *Server) accept(l *tcpListener) {
	defer l.Close()
	var drain drainer
	missed := false
	for {
		if s.draining.Load() {
			deadline, more := drain.next(missed)
			if !more {
				return
			}
			_ = l.SetDeadline(deadline)
		}
		conn, err := l.AcceptTCP()
		missed = err != nil
		if err == nil {
			l.admit(conn)
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil && !isTimeout(err) {
			// Out of descriptors or memory, or the client went away.
			s.options.Logger.Debug("accepting a connection", "error", err)
			time.Sleep(errorPause)
		}
	}
}
