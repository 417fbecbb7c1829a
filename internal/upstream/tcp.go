package upstream

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

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
	// maxStray is how many messages that nobody waits for are read from a connection,
	// more than come late.
	maxStray  = 128
	tcpBuffer = 2048 // octets read at once: most replies are shorter
	tcpTries  = 3    // a connection that is closed already, one that answers one question only, and another
)

var (
	errEnded = errors.New("upstream: connection closed by the server")
	errBusy  = errors.New("upstream: too many connections")
	errStray = errors.New("upstream: too many messages that nobody asked for")
)

// conns are the connections that are kept.
type conns struct {
	client *Client
	ctx    context.Context // ends with the client
	cancel context.CancelFunc

	mu     sync.Mutex // of all that follows, and of what a conn says is under it
	open   map[netip.AddrPort][]*conn
	count  int
	idle   *conn // the ring of those without a question, the one idle for longest first
	closed bool
}

// A conn is one connection with its questions in flight, by ID. One goroutine makes it,
// reads from it and ends it.
type conn struct {
	owner  *conns
	to     netip.AddrPort
	alone  bool               // the server answers one question a connection
	cancel context.CancelFunc // of the dialling
	ready  chan struct{}      // closed once nc is set, or err
	nc     net.Conn
	write  sync.Mutex // of nc
	stray  int        // by the reader only
	reader *bufio.Reader

	// Under owner.mu.
	wait       map[uint16]waiter
	users      int // questions that have or will have a place in wait
	order      int // of questions and replies
	lastReply  int // its order
	retired    bool
	err        error // once it has ended
	prev, next *conn // in the ring of idle ones
}

// A waiter is a question in flight.
type waiter struct {
	reply chan tcpDone
	order int
}

// tcpDone is what comes of a question over TCP: a message, or the end of the connection.
type tcpDone struct {
	msg []byte
	// err ended the connection.
	err error
}

func (cs *conns) init(c *Client) {
	cs.client = c
	cs.ctx, cs.cancel = context.WithCancel(context.Background())
	cs.open = make(map[netip.AddrPort][]*conn)
}

// overTCP asks over TCP, on a connection that is open already if there is one. A
// connection that the server closed meanwhile is replaced (RFC 7766, section 6.2.4).
func (a *attempt) overTCP(ctx context.Context) error {
	a.c.counters.TCP.Add(1)
	begin := time.Now()
	deadline, short := a.deadline(begin, tcpTimeout)
	if !deadline.After(begin) {
		return over(ctx)
	}
	sent := a.c.servers.now()
	a.timer.Reset(time.Until(deadline))
	defer a.timer.Stop()
	var msg []byte
	var err error
	for try := range tcpTries {
		a.reply.Packets++
		var again bool
		if msg, again, err = a.c.conns.ask(ctx, a, deadline, try > 0); !again {
			break
		}
	}
	if err != nil {
		if a.q.TCP && ctx.Err() == nil && !(short && errors.Is(err, os.ErrDeadlineExceeded)) && !errors.Is(err, errBusy) && !errors.Is(err, net.ErrClosed) {
			a.learn(func(v *server, now stamp) { v.silent(now, sent) })
		}
		return err
	}
	fit := a.matches(msg)
	if fit == not || fit == nearly || fit == fits && a.edns && a.cookies && a.taste(msg) == wrong {
		a.c.counters.Mismatched.Add(1)
		return errMismatch
	}
	rtt := time.Since(begin)
	a.learn(func(v *server, now stamp) {
		if v.alive(now); v.srtt == 0 {
			v.replied(now, rtt) // better than nothing: perhaps twice as long, by the handshake
		}
	})
	a.reply.Message, a.reply.RTT, a.reply.TCP = msg, rtt, true
	return nil
}

// ask asks once, on a new connection if it has to be fresh. again tells that the
// connection ended in a way that says nothing of the next one.
func (cs *conns) ask(ctx context.Context, a *attempt, deadline time.Time, fresh bool) (msg []byte, again bool, err error) {
	cn, joined, err := cs.get(a, fresh)
	if err != nil {
		return nil, false, err
	}
	defer cs.release(cn)
	select {
	case <-cn.ready:
	case <-ctx.Done():
		return nil, false, ctx.Err()
	case <-a.timer.C:
		return nil, false, os.ErrDeadlineExceeded
	}

	cs.mu.Lock()
	if cn.err != nil {
		cs.mu.Unlock()
		// A server that cannot be reached need not be tried again at once.
		return nil, joined && cn.nc != nil, cn.err
	}
	for cn.wait[a.id].reply != nil { // no ID twice on a connection (RFC 7766, section 6.2.1)
		a.setID(uint16(a.c.random.Uint64()))
	}
	cn.order++
	order := cn.order
	cn.wait[a.id] = waiter{a.replies, order}
	cs.mu.Unlock()
	defer func() {
		cs.mu.Lock()
		if cn.wait[a.id].reply == a.replies { // else somebody else has the ID by now
			delete(cn.wait, a.id)
		}
		cs.mu.Unlock()
		select {
		case <-a.replies: // too late
		default:
		}
	}()

	cn.write.Lock()
	_ = cn.nc.SetWriteDeadline(deadline)
	_ = cn.nc.SetReadDeadline(time.Now().Add(tcpTimeout + tcpIdle))
	n, err := cn.nc.Write(a.query)
	cn.write.Unlock()
	a.reply.Octets += n
	if err != nil {
		// Part of the query may be under way: nothing can follow it.
		cs.mu.Lock()
		cn.retired = true
		cs.mu.Unlock()
		cn.nc.Close()
		return nil, joined, err
	}
	select {
	case done := <-a.replies:
		a.reply.Octets += len(done.msg)
		return done.msg, done.err != nil && (joined || order < cn.lastReplyLocked()), done.err
	case <-ctx.Done():
		return nil, false, ctx.Err()
	case <-a.timer.C:
		cs.mu.Lock()
		if cn.lastReply < order {
			cn.retired = true // nothing has come since: perhaps the connection is gone
		}
		cs.mu.Unlock()
		return nil, false, os.ErrDeadlineExceeded
	}
}

func (cn *conn) lastReplyLocked() int {
	cn.owner.mu.Lock()
	defer cn.owner.mu.Unlock()
	return cn.lastReply
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
	list := cs.open[a.to]
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
	cn = &conn{owner: cs, to: a.to, alone: alone, cancel: cancel, ready: make(chan struct{}), wait: make(map[uint16]waiter), users: 1}
	cs.open[a.to] = append(cs.open[a.to], cn)
	cs.count++
	cs.client.counters.Dialled.Add(1)
	go cn.run(ctx)
	return cn, false, nil
}

// made tells whether dialling has ended.
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
	if cn.users--; cn.users > 0 || cn.err != nil {
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

// run makes the connection and hands out replies until it ends.
func (cn *conn) run(ctx context.Context) {
	cs := cn.owner
	nc, err := cs.client.o.Network.DialTCP(ctx, cn.to)
	cn.cancel()
	cs.mu.Lock()
	cn.nc = nc
	switch {
	case err == nil && cs.closed:
		err = net.ErrClosed
	case err == nil && cn.users == 0:
		err = errEnded // nobody is left who waits
	case err != nil && errors.Is(err, context.DeadlineExceeded):
		err = os.ErrDeadlineExceeded
	}
	if err != nil {
		cn.end(err)
		close(cn.ready)
		cs.mu.Unlock()
		if nc != nil {
			nc.Close()
		}
		return
	}
	close(cn.ready)
	cs.mu.Unlock()
	cn.reader = bufio.NewReaderSize(nc, tcpBuffer)
	for err == nil {
		err = cn.read()
	}
	nc.Close()
	cs.mu.Lock()
	cn.end(err)
	cs.mu.Unlock()
}

// end tells all that wait that the connection has ended.
func (cn *conn) end(err error) {
	cs := cn.owner
	switch {
	case cs.closed:
		err = net.ErrClosed
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		cn.nc != nil && errors.Is(err, os.ErrDeadlineExceeded):
		err = errEnded
	}
	cn.err, cn.retired = err, true
	cs.unlink(cn)
	cs.forget(cn)
	single := false
	for id, w := range cn.wait {
		single = single || w.order < cn.lastReply
		w.reply <- tcpDone{err: err}
		delete(cn.wait, id)
	}
	if single && !cs.closed {
		// It left a question without a reply that was there when it sent its last one.
		cs.client.servers.change(cn.to, func(v *server) { v.single = cs.client.servers.now() })
	}
}

// read reads one message and hands it out.
func (cn *conn) read() error {
	msg, err := readMessage(cn.reader)
	if err != nil {
		return err
	}
	cs := cn.owner
	id := binary.BigEndian.Uint16(msg)
	cs.mu.Lock()
	defer cs.mu.Unlock()
	w, ok := cn.wait[id]
	if !ok {
		if cn.stray++; cn.stray > maxStray {
			return errStray
		}
		return nil
	}
	cn.order++
	cn.lastReply = cn.order
	delete(cn.wait, id)
	w.reply <- tcpDone{msg: msg}
	return nil
}

// readMessage reads one message with its length before it.
func readMessage(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if n < wire.HeaderLen {
		return nil, errMismatch
	}
	msg := make([]byte, n)
	_, err := io.ReadFull(r, msg)
	return msg, err
}
