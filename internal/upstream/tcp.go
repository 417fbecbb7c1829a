package upstream

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"port53/internal/exchange"
	"port53/internal/wire"
)

// Bounds of connections to servers.
const (
	tcpTimeout = 4 * time.Second // for a question, its connection included
	// tcpIdle is how long a connection is kept without a question (RFC 7766, section
	// 6.2.3): as long as our own server keeps those of its clients.
	tcpIdle = 10 * time.Second
	// maxConns is how many there are in all. Beyond it the one that was idle for
	// longest is closed, and without such a one the question fails.
	maxConns = 1024
	// serverConns is how many one server gets. It should be one (RFC 7766, section
	// 6.2.2); a server with more than maxStreams questions in flight is a forwarder's.
	serverConns = 8
	maxStreams  = 64 // questions in flight on one
	tcpTries    = 3  // a connection that is closed already, one that answers one question only, and another
)

var (
	errEnded = errors.New("upstream: connection closed by the server")
	errCut   = errors.New("upstream: reply over TCP is truncated")
	errBusy  = errors.New("upstream: too many connections")
)

// conns are the connections that are kept.
type conns struct {
	client *Client
	ctx    context.Context // ends with the client
	cancel context.CancelFunc

	mu     sync.Mutex // of all that follows, and of what a conn says is under it
	open   map[line][]*conn
	count  int
	idle   *conn // the ring of those without a question, the one idle for longest first
	closed bool
}

// A line is where connections lead: a server, and what is spoken with it.
type line struct {
	to        netip.AddrPort
	transport [sha256.Size]byte // the digest of the transport; zero: TCP in the clear
}

func lineTo(to netip.AddrPort, w *Transport) line {
	l := line{to: to}
	if w != nil {
		l.transport = w.digest
	}
	return l
}

// A conn is one connection with its questions in flight. One goroutine makes it, runs
// its pipeline and ends it.
type conn struct {
	owner     *conns
	to        line
	transport *Transport         // nil: TCP in the clear
	alone     bool               // the server answers one question a connection
	cancel    context.CancelFunc // of the dialling

	ready chan struct{} // closed once dialling has ended, and what follows is set
	nc    net.Conn
	pipe  pipe  // nil: there is no connection
	err   error // why

	// Under owner.mu.
	users      int  // questions that use it or wait for it
	retired    bool // it takes no more
	ended      bool
	prev, next *conn // in the ring of idle ones
}

func (cs *conns) init(c *Client) {
	cs.client = c
	cs.ctx, cs.cancel = context.WithCancel(context.Background())
	cs.open = make(map[line][]*conn)
}

// overTCP asks over TCP, on a connection that is open already if there is one. A
// connection that the server closed meanwhile is replaced (RFC 7766, section 6.2.4).
func (a *attempt) overTCP(ctx context.Context) error {
	a.c.counters.TCP.Add(1)
	begin := a.clock
	deadline, short := a.deadline(begin, tcpTimeout)
	if !deadline.After(begin) {
		return over(ctx)
	}
	sent := a.c.servers.stamp(begin)
	within, cancel := context.WithDeadlineCause(ctx, deadline, os.ErrDeadlineExceeded)
	defer cancel()
	var msg []byte
	var err error
	for try := range tcpTries {
		if a.spent() {
			break
		}
		a.reply.Packets++
		var again bool
		if msg, again, err = a.c.conns.ask(within, a, try > 0); !again {
			break
		}
	}
	a.clock = time.Now()
	if err != nil {
		if a.q.TCP && ctx.Err() == nil && !(short && errors.Is(err, os.ErrDeadlineExceeded)) && !errors.Is(err, errBusy) &&
			!errors.Is(err, net.ErrClosed) {
			a.learn(func(v *server, now stamp) { v.silent(now, sent) })
		}
		return err
	}
	if a.fit(msg) < exchange.NoQuestion {
		a.c.counters.Mismatched.Add(1)
		return errMismatch
	}
	rtt := a.clock.Sub(begin)
	a.learn(func(v *server, now stamp) {
		if v.udp == 0 && !a.q.TCP && a.reply.Packets == 1 {
			v.deaf = now // it was asked over TCP alone, since nothing came over UDP
		}
		if v.alive(now); v.srtt == 0 {
			v.replied(now, rtt) // better than nothing: perhaps twice as long, by the handshake
		}
	})
	if msg[2]&byte(wire.FlagTC>>8) != 0 {
		return errCut // what is missing is nowhere to be had, and what is there is not the answer (RFC 2181, section 9)
	}
	a.reply.Message, a.reply.RTT, a.reply.TCP = msg, rtt, true
	return nil
}

// ask asks once, on a new connection if it has to be fresh. again tells that the
// connection ended in a way that says nothing of the next one.
func (cs *conns) ask(ctx context.Context, a *attempt, fresh bool) (msg []byte, again bool, err error) {
	cn, joined, err := cs.get(a, fresh)
	if err != nil {
		return nil, false, err
	}
	defer cs.release(cn)
	select {
	case <-cn.ready:
	case <-ctx.Done():
		return nil, false, context.Cause(ctx)
	}
	if cn.pipe == nil {
		return nil, false, cn.err // a server that cannot be reached need not be tried again at once
	}
	_ = cn.nc.SetReadDeadline(time.Now().Add(tcpTimeout + tcpIdle))
	a.reply.Octets += len(a.query)
	msg, overtaken, err := cn.pipe.Ask(ctx, a.query)
	a.reply.Octets += len(msg)
	switch {
	case err == nil:
		return msg, false, nil
	case ctx.Err() == nil:
		if closed := cs.retire(cn); !closed && errors.Is(err, net.ErrClosed) {
			err = errEnded // by the server, while the question was being sent
		}
		return nil, joined || overtaken, err
	case !overtaken:
		cs.retire(cn) // nothing has come since: perhaps the connection is gone
	}
	return nil, false, context.Cause(ctx)
}

// retire has a connection take no more questions, and reports whether all of them are closed.
func (cs *conns) retire(cn *conn) (closed bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cn.retired = true
	return cs.closed
}

// get returns a connection to a server with a place for a question, and whether others
// had asked on it before. It may still be on its way, and if it has to be fresh, it is.
func (cs *conns) get(a *attempt, fresh bool) (cn *conn, joined bool, err error) {
	v := cs.client.servers.look(a.to)
	alone := v.single.within(cs.client.servers.now(), forgetTime)
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.closed {
		return nil, false, net.ErrClosed
	}
	to := lineTo(a.to, a.q.Transport)
	list := cs.open[to]
	for _, cn := range list {
		if !alone && !cn.alone && !cn.retired && cn.users < maxStreams && (!fresh || !cn.made()) {
			if cn.users == 0 {
				cs.unlink(cn)
			}
			cn.users++
			return cn, true, nil
		}
	}
	most := serverConns
	if alone {
		most = maxStreams
	}
	if len(list) >= most && !cs.dropIdle(list) || cs.count >= maxConns && !cs.dropIdle(nil) {
		return nil, false, errBusy
	}
	ctx, cancel := context.WithTimeout(cs.ctx, tcpTimeout)
	cn = &conn{owner: cs, to: to, transport: a.q.Transport, alone: alone, cancel: cancel, ready: make(chan struct{}), users: 1}
	cs.open[to] = append(cs.open[to], cn)
	cs.count++
	cs.client.counters.Dialled.Add(1)
	go cn.run(ctx)
	return cn, false, nil
}

// made reports whether dialling has ended.
func (cn *conn) made() bool {
	select {
	case <-cn.ready:
		return true
	default:
		return false
	}
}

// dropIdle makes room by closing a connection that is idle, of a list or the one that
// was so for longest.
func (cs *conns) dropIdle(list []*conn) bool {
	cn := cs.idle
	for _, one := range list {
		if cn = nil; one.next != nil {
			cn = one
			break
		}
	}
	if cn == nil {
		return false
	}
	cs.unlink(cn)
	cn.retired = true
	cs.forget(cn)
	cn.nc.Close()
	return true
}

// release takes a question's place back.
func (cs *conns) release(cn *conn) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cn.users--; cn.users > 0 || cn.ended {
		return
	}
	if !cn.made() {
		cn.retired = true // nobody waits for it any more
		cn.cancel()
		return
	}
	if cn.retired || cn.alone || cs.closed {
		cn.retired = true
		cn.nc.Close()
		return
	}
	_ = cn.nc.SetReadDeadline(time.Now().Add(tcpIdle))
	cs.link(cn)
}

// link puts a connection behind all that are idle.
func (cs *conns) link(cn *conn) {
	if cs.idle == nil {
		cn.prev, cn.next, cs.idle = cn, cn, cn
		return
	}
	cn.prev, cn.next = cs.idle.prev, cs.idle
	cn.prev.next, cn.next.prev = cn, cn
}

// unlink takes a connection from those that are idle, if it is one.
func (cs *conns) unlink(cn *conn) {
	if cn.next == nil {
		return
	}
	if cs.idle == cn {
		if cs.idle = cn.next; cs.idle == cn {
			cs.idle = nil
		}
	}
	cn.prev.next, cn.next.prev = cn.next, cn.prev
	cn.prev, cn.next = nil, nil
}

// forget takes a connection from the table.
func (cs *conns) forget(cn *conn) {
	list := cs.open[cn.to]
	for i, other := range list {
		if other == cn {
			list[i] = list[len(list)-1]
			list[len(list)-1] = nil
			if list = list[:len(list)-1]; len(list) == 0 {
				delete(cs.open, cn.to)
			} else {
				cs.open[cn.to] = list
			}
			cs.count--
			return
		}
	}
}

// close ends all connections.
func (cs *conns) close() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.closed = true
	cs.cancel()
	for _, list := range cs.open {
		for _, cn := range list {
			if cn.made() {
				cn.nc.Close() // one whose dialling failed is in no list
			}
		}
	}
}

// run makes the connection and has replies handed out until it ends.
func (cn *conn) run(ctx context.Context) {
	cs := cn.owner
	nc, err := cs.connect(ctx, cn.to.to, cn.transport)
	var pipe pipe
	if err == nil {
		nc, pipe, err = cs.begin(ctx, nc, cn.transport)
	}
	cn.cancel()
	cs.mu.Lock()
	switch {
	case cs.closed:
		err = net.ErrClosed
	case err == nil && cn.users == 0:
		err = errEnded // nobody is left who waits
	case errors.Is(err, context.DeadlineExceeded):
		err = os.ErrDeadlineExceeded
	}
	if err != nil {
		cn.err = err
		cs.drop(cn)
		close(cn.ready)
		cs.mu.Unlock()
		if nc != nil {
			nc.Close()
		}
		return
	}
	cn.nc, cn.pipe = nc, pipe
	close(cn.ready)
	cs.mu.Unlock()

	err = cn.pipe.Run()
	nc.Close()
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.drop(cn) // before its questions hear of it, and look for another
	switch {
	case cs.closed:
		err = net.ErrClosed
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded):
		err = errEnded
	}
	if overtaken := cn.pipe.End(err); overtaken && !cs.closed {
		// It left a question without a reply that was there when it sent its last one.
		cs.client.servers.change(cn.to.to, func(v *server) { v.single = cs.client.servers.now() })
	}
}

// newID returns an ID for a question whose own is taken.
func (cs *conns) newID() uint16 { return uint16(cs.client.random.Uint64()) }

// drop takes a connection that has ended out of all lists.
func (cs *conns) drop(cn *conn) {
	cn.ended = true
	cs.unlink(cn)
	cs.forget(cn)
}
