package server

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// A Service speaks a protocol that carries DNS, as HTTP does, over connections that the server
// takes for it.
type Service interface {
	// Transport is what its questions come over.
	Transport() Transport
	// Serve takes clients in until Shutdown is called, and returns nil then.
	Serve(g *ServiceListener) error
	// Shutdown has Serve end, has what was asked answered, and closes the connections, or ends
	// with ctx.
	Shutdown(ctx context.Context)
}

// A ServiceListener is where a service's clients come from: a [net.Listener] whose connections are within
// the server's limits and have shaken hands. Each is a *tls.Conn, of which [ClientConnOf] returns
// the [ClientConn].
type ServiceListener struct {
	server  *Server
	service *ServiceBinding
	addr    net.Addr
	conns   chan net.Conn
	once    sync.Once
	done    chan struct{}
}

func (s *Server) newGate(e endpoint, addr net.Addr) *ServiceListener {
	return &ServiceListener{server: s, service: e.service, addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

// Accept implements [net.Listener].
func (g *ServiceListener) Accept() (net.Conn, error) {
	select {
	case c := <-g.conns:
		return c, nil
	case <-g.done:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener]. The socket is the server's, and stays open.
func (g *ServiceListener) Close() error {
	g.once.Do(func() { close(g.done) })
	return nil
}

// Addr implements [net.Listener].
func (g *ServiceListener) Addr() net.Addr { return g.addr }

// admit has a connection that was accepted shake hands, and hands it to the service.
func (g *ServiceListener) admit(conn net.Conn) {
	s := g.server
	remote, local := unmap(conn.RemoteAddr().(*net.TCPAddr).AddrPort()), unmap(conn.LocalAddr().(*net.TCPAddr).AddrPort())
	c := &clientConn{Conn: conn}
	c.client = newClientConn(s, remote, local, g.service.transport(), c.reset)
	if !s.secure.enter(&c.client.tenant) {
		c.reset()
		return
	}
	c.client.entered = true
	t, w := s.secured(c, c.client.prefix, g.service.TLS)
	s.conns.Add(1) // until the client is closed
	s.conns.Go(func() {
		if err := s.shake(t, w); err != nil {
			if errors.Is(err, errShakes) || isTimeout(err) {
				c.reset()
			}
			c.Close()
			return
		}
		c.client.certificates = t.ConnectionState().PeerCertificates
		select {
		case g.conns <- t:
		case <-g.done:
			c.Close()
		}
	})
}

// A clientConn is the connection of a client, below TLS.
type clientConn struct {
	net.Conn
	client *ClientConn
}

// Close closes the connection, and gives its place back.
func (c *clientConn) Close() error {
	err := c.Conn.Close()
	_ = c.client.Close()
	return err
}

// reset closes the connection at once. Its place is given back when the service closes it too.
func (c *clientConn) reset() {
	if l, ok := c.Conn.(interface{ SetLinger(seconds int) error }); ok {
		_ = l.SetLinger(0)
	}
	_ = c.Conn.Close()
}

// A ClientConn is a client of a service, and what it may ask.
type ClientConn struct {
	tenant
	packetArrival
	server       *Server
	over         Transport
	remote       netip.AddrPort
	local        netip.AddrPort
	certificates []*x509.Certificate
	unfinished   atomic.Int32 // questions that are worked on, whether or not somebody still waits
	once         sync.Once
}

func newClientConn(s *Server, remote, local netip.AddrPort, over Transport, end func()) *ClientConn {
	v := &ClientConn{
		server: s, over: over,
		remote: netip.AddrPortFrom(remote.Addr().WithZone(""), remote.Port()),
		local:  netip.AddrPortFrom(local.Addr().Unmap().WithZone(""), local.Port()),
	}
	v.settleIn(&s.secure, v.remote.Addr(), end, func(time.Time) {})
	return v
}

// ClientConnOf returns the client whose connection a [ServiceListener] has given, or nil.
func ClientConnOf(c net.Conn) *ClientConn {
	t, ok := c.(interface{ NetConn() net.Conn })
	if !ok {
		return nil
	}
	w, ok := t.NetConn().(*tlsWire)
	if !ok {
		return nil
	}
	if c, ok := w.Conn.(*clientConn); ok {
		return c.client
	}
	return nil
}

// Remote returns where the connection came from.
func (v *ClientConn) Remote() netip.AddrPort { return v.remote }

// Close gives the client's place back. Its connection has ended.
func (v *ClientConn) Close() error {
	v.once.Do(func() {
		v.leave()
		v.server.conns.Done()
	})
	return nil
}

// unfinishedMost is how many questions of one connection are worked on at most. What a client has
// given up, and asks again at once, is still worked on.
const unfinishedMost = 512

// The errors of questions that are not answered.
var (
	// ErrShort is a message that is shorter than a header.
	ErrShort = errors.New("server: message shorter than a header")
	// ErrSilence is why a message gets no answer: it is no question. One that is, and is to have none, gets ErrGone.
	ErrSilence = errors.New("server: nothing is answered to this")
)

// Ask has a question answered: send is called with each message of the answer, on the
// goroutine of the caller, and must not keep it. from is who asks, as a rule v.Remote(). The
// error is ErrShort, ErrSilence, that of ctx, or that of send; ErrGone if the server lets the
// question go unanswered.
func (v *ClientConn) Ask(ctx context.Context, query []byte, from netip.AddrPort, send func(message []byte) error) error {
	answer, later, err := v.Begin(ctx.Done, query, from, nil)
	switch {
	case err != nil:
		return err
	case later != nil:
		return later.Wait(ctx, send)
	}
	v.pending.Add(1)
	err = v.Sent(send(answer))
	v.active.Store(v.server.now())
	v.pending.Add(-1)
	return err
}

// Begin has a question answered as Ask does, but waits for nothing: an answer that is there at once
// is appended to room, and what becomes of it is to be told to Sent. Else later is not nil, and has to be waited for; it is
// called off when what gone returns is closed. gone is called only then, within Begin.
func (v *ClientConn) Begin(
	gone func() <-chan struct{}, query []byte, from netip.AddrPort, room []byte,
) (answer []byte, later *Later, err error) {
	s := v.server
	count := &s.visits[v.over]
	count.received.Add(1)
	if len(query) < headerLen {
		count.short.Add(1)
		return nil, nil, ErrShort
	}
	v.active.Store(s.now())
	if v.unfinished.Load() >= unfinishedMost {
		return nil, nil, ErrBusy
	}
	q := clientQuestion{client: v, gone: gone}
	q.peer = Peer{
		Remote:       from,
		Local:        v.local.Addr(),
		LocalPort:    v.local.Port(),
		Transport:    v.over,
		Certificates: v.certificates,
		Later:        q.detach,
	}
	slot := <-s.slots
	n := slot.worker.Handle(query, &q.peer, s.now(), slot.out[:tcpLarge-2:tcpLarge-2])
	if n > 0 {
		answer = append(room, slot.out[:n]...)
	}
	s.slots <- slot
	switch {
	case n > 0:
		return answer, nil, nil
	case n == Pending:
		v.pending.Add(1)
		return nil, &Later{client: v, responder: q.later}, nil
	case n == 0:
		return nil, nil, ErrGone
	}
	return nil, nil, ErrSilence
}

// A Later is an answer that is not there yet.
type Later struct {
	client    *ClientConn
	responder *clientResponder
}

// Wait passes each message of the answer to send, as Ask does, and returns its errors. It has to be
// called once.
func (l *Later) Wait(ctx context.Context, send func(message []byte) error) error {
	v := l.client
	defer func() {
		v.active.Store(v.server.now())
		v.pending.Add(-1)
	}()
	return l.responder.wait(ctx, func(m []byte) error { return v.Sent(send(m)) })
}

// A clientQuestion is a question in the hands of a worker.
type clientQuestion struct {
	client *ClientConn
	peer   Peer
	gone   func() <-chan struct{}
	later  *clientResponder
}

func (q *clientQuestion) detach(*Peer) (Responder, error) {
	q.client.server.pending.Add(1)
	q.client.unfinished.Add(1)
	q.later = &clientResponder{
		client: q.client, gone: q.gone(),
		later: make(chan []byte, 1), each: make(chan []byte), sent: make(chan error), closed: make(chan struct{}),
	}
	return q.later, nil
}

// Sent counts a message that was sent, or, with an error, was not, and returns the error.
func (v *ClientConn) Sent(err error) error {
	if err != nil {
		v.server.visits[v.over].sendErrors.Add(1)
	} else {
		v.server.visits[v.over].sent.Add(1)
	}
	return err
}

// A clientResponder carries what comes later to the goroutine that waits for it.
type clientResponder struct {
	client *ClientConn
	later  chan []byte // the one reply that may come by Reply
	each   chan []byte // what comes by Stream
	sent   chan error  // what became of it
	closed chan struct{}
	gone   <-chan struct{}
	once   sync.Once
}

// wait sends what comes until there is no more.
func (r *clientResponder) wait(ctx context.Context, send func([]byte) error) error {
	some := false
	var failed error
	for {
		select {
		case m := <-r.each:
			if failed == nil {
				failed = send(m)
			}
			some = true
			r.sent <- failed
		case m := <-r.later:
			failed, some = send(m), true
		case <-r.closed:
			select {
			case m := <-r.later:
				return send(m)
			default:
			}
			if !some {
				return ErrGone
			}
			return failed
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Reply implements [Responder].
func (r *clientResponder) Reply(message []byte) error {
	if len(message) > tcpLarge-2 {
		return ErrTooLong
	}
	select {
	case <-r.gone:
		return ErrGone
	default:
	}
	select {
	case r.later <- message:
		return nil
	default:
		return ErrGone
	}
}

// Stream implements [Responder].
func (r *clientResponder) Stream(message []byte) error {
	if len(message) > tcpLarge-2 {
		return ErrTooLong
	}
	select {
	case r.each <- message:
		return <-r.sent
	case <-r.gone:
		return ErrGone
	}
}

// Close implements [Responder].
func (r *clientResponder) Close() {
	r.once.Do(func() {
		r.client.unfinished.Add(-1)
		r.client.server.pending.Add(-1)
		close(r.closed)
	})
}
