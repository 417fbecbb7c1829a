package doh

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2/hpack"

	"port53/internal/server"
)

// http2Conns are the connections of HTTP/2 that are open.
type http2Conns struct {
	mu   sync.Mutex
	all  map[*http2Conn]struct{}
	late bool // nobody is taken in any more
}

// serve serves a connection until it ends.
func (h *http2Conns) serve(s *Server, conn *tls.Conn) {
	c := newHTTP2Conn(s, conn)
	h.mu.Lock()
	if h.all == nil {
		h.all = map[*http2Conn]struct{}{}
	}
	h.all[c] = struct{}{}
	c.draining = h.late
	h.mu.Unlock()
	c.serve()
	h.mu.Lock()
	delete(h.all, c)
	h.mu.Unlock()
}

// drain has connections end once their questions are answered.
func (h *http2Conns) drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.late = true
	for c := range h.all {
		go c.drain()
	}
}

// close closes all connections.
func (h *http2Conns) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.all {
		_ = c.conn.Close()
	}
}

// An http2Conn is a connection of HTTP/2 (RFC 9113). Its goroutine reads frames and has questions answered as
// they come; what is answered at once is written together, when all that has been read is done with. Only
// what is answered later has a goroutine of its own, which waits for it.
//
// A client that does not take what is written is not read from, and is cut off after a while: what it
// floods the connection with is not queued.
type http2Conn struct {
	server *Server
	conn   net.Conn
	client *server.ClientConn
	base   context.Context
	end    context.CancelFunc

	http2Input
	work sync.WaitGroup // goroutines that wait for answers

	mu       sync.Mutex // of what follows; whoever writes has it
	active   time.Time  // when something came, or was answered, last
	draining bool
	told     bool // that it drains
	gone     bool // the connection has ended
	streams  map[uint32]*http2Stream
	http2Output
}

// An http2Input is what is read. It is the goroutine's of the connection.
type http2Input struct {
	buf    []byte
	have   int
	since  time.Time // when the beginning of a frame that is not whole came; zero: there is none
	hpack  *hpack.Decoder
	fields http2Fields
	past
	greet  bool // the client's settings have come
	broken bool // the client has broken the protocol, and was told
	taken  int  // octets of bodies that the client may send again
	held   int  // octets of bodies that have not ended
	http2Header
	http2Question
}

// An http2Header is a header whose frames have not ended.
type http2Header struct {
	header uint32 // its stream; 0: there is none
	begun  []byte
	blocks int
	began  time.Time
	ended  bool // its stream ends with it
	looped bool // its stream depends on itself
}

// An http2Question is what is used again for each.
type http2Question struct {
	asked  request
	answer []byte
	spare  *http2Stream
	ctx    context.Context // if it is answered later
	cancel context.CancelFunc
	begin  func() <-chan struct{} // makes both
}

func newHTTP2Conn(s *Server, conn net.Conn) *http2Conn {
	c := &http2Conn{server: s, conn: conn, client: server.ClientConnOf(conn), streams: map[uint32]*http2Stream{}}
	c.base, c.end = context.WithCancel(context.Background())
	c.buf = make([]byte, smallRead)
	c.hpack = hpack.NewDecoder(headerTable, nil)
	c.hpack.SetMaxStringLength(maxHeader)
	c.http2Output.init()
	c.begin = func() <-chan struct{} {
		c.ctx, c.cancel = context.WithCancel(c.base)
		return c.ctx.Done()
	}
	return c
}

// serve is the life of a connection.
func (c *http2Conn) serve() {
	defer func() {
		c.mu.Lock()
		c.gone = true
		c.mu.Unlock()
		c.end()
		_ = c.conn.Close()
		c.work.Wait()
	}()
	if c.client == nil || !c.hello() {
		return
	}
	c.active = time.Now()
	for {
		c.await()
		n, err := c.conn.Read(c.buf[c.have:])
		c.have += n
		if !c.turn(n, err) {
			break
		}
	}
	if c.broken {
		c.linger()
	}
}

// linger reads what was on its way, for a while: closed over it, the connection would be reset, and its end lose the
// reason.
func (c *http2Conn) linger() {
	if t, ok := c.conn.(interface{ CloseWrite() error }); ok {
		_ = t.CloseWrite()
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(lastTime))
	_, _ = io.CopyN(io.Discard, c.conn, enough)
}

// turn works on what was read, and reports whether the connection goes on.
func (c *http2Conn) turn(n int, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if n > 0 {
		c.active = now
		if why := c.frames(now); why != codeNone {
			c.goAway(why)
			c.broken = c.flush()
			return false
		}
	}
	over := err != nil && (!timedOut(err) || c.overdue(now))
	return c.flush() && !over
}

func timedOut(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// hello reads the client's preface and sends the server's settings.
func (c *http2Conn) hello() bool {
	_ = c.conn.SetReadDeadline(time.Now().Add(c.server.o.Question))
	if _, err := io.ReadFull(c.conn, c.buf[:len(preface)]); err != nil || string(c.buf[:len(preface)]) != preface {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settings(map[uint16]uint32{
		settingStreams: uint32(c.server.o.Streams), settingWindow: connBuffer, settingHeaders: maxHeader, settingTable: headerTable,
	})
	c.windowUpdate(0, connBuffer-firstWindow)
	return c.flush()
}

// drain tells the client that nothing more is answered than what it has asked.
func (c *http2Conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	_ = c.conn.SetReadDeadline(time.Now())
}

// lastTime is how long a connection that drains stays open when nothing is left, for what is on its way.
const lastTime = 100 * time.Millisecond

// await sets the deadline of what is read next.
func (c *http2Conn) await() {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := &c.server.o
	d := c.active.Add(o.Idle)
	switch {
	case c.draining && !c.told:
		d = time.Now()
	case len(c.streams) > 0:
		d = time.Now().Add(o.Idle) // the client is the one who waits
	case c.draining:
		d = c.active.Add(lastTime)
	}
	earlier := func(t time.Time) {
		if t.Before(d) {
			d = t
		}
	}
	if !c.since.IsZero() {
		earlier(c.since.Add(o.Question))
	}
	if c.header != 0 {
		earlier(c.began.Add(o.Question))
	}
	for _, s := range c.streams {
		if !s.read {
			earlier(s.began.Add(2 * o.Question))
		}
	}
	if !c.stuck.IsZero() {
		earlier(c.stuck.Add(o.Stall))
	}
	_ = c.conn.SetReadDeadline(d)
}

// overdue does what is to be done when a deadline has passed, and reports whether the connection ends.
func (c *http2Conn) overdue(now time.Time) bool {
	o := &c.server.o
	if c.draining && !c.told {
		c.told, c.active = true, now
		c.goAway(codeNone)
		return false
	}
	if !c.since.IsZero() && !now.Before(c.since.Add(o.Question)) || c.header != 0 && !now.Before(c.began.Add(o.Question)) {
		return true
	}
	if !c.stuck.IsZero() && !now.Before(c.stuck.Add(o.Stall)) {
		return true
	}
	for _, s := range c.streams {
		if !s.read && !now.Before(s.began.Add(2*o.Question)) {
			c.reset(s.id, codeCancel)
		}
	}
	if len(c.streams) > 0 {
		return false
	}
	idle := o.Idle
	if c.draining {
		idle = lastTime
	}
	if now.Before(c.active.Add(idle)) {
		return false
	}
	c.goAway(codeNone)
	return true
}
