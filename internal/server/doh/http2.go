package doh

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/net/http2/hpack"

	"port53/internal/server"
)

// The types of frames (RFC 9113, section 6).
const (
	frameData         = 0
	frameHeaders      = 1
	framePriority     = 2
	frameReset        = 3
	frameSettings     = 4
	framePush         = 5
	framePing         = 6
	frameGoAway       = 7
	frameWindow       = 8
	frameContinuation = 9
)

// Their flags.
const (
	flagEnd        = 0x1 // END_STREAM, and ACK
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// Settings (RFC 9113, section 6.5.2).
const (
	settingTable   = 1
	settingPush    = 2
	settingStreams = 3
	settingWindow  = 4
	settingFrame   = 5
	settingHeaders = 6
)

// A code says why a stream or a connection ends (RFC 9113, section 7).
type code uint32

const (
	codeNone        code = 0
	codeProtocol    code = 1
	codeFlow        code = 3
	codeClosed      code = 5
	codeSize        code = 6
	codeRefused     code = 7
	codeCancel      code = 8
	codeCompression code = 9
	codeCalm        code = 11
)

const (
	preface       = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	frameHead     = 9
	frameMost     = 16384 // octets that a frame may have
	firstWindow   = 65535 // of streams and connections, until somebody says more
	smallRead     = 4096  // the buffer of a connection: dozens of questions
	enough        = 64 << 10
	continuations = 16 // frames that a header may have
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

// A past is what is known of streams that are not there any more.
type past struct {
	last   uint32 // stream of the client
	opened uint64 // which of it and the 63 before it were opened: bit 0 is the last
	passed uint64 // which of them were ended here: what the client had sent already is passed over
}

// open takes in a new stream.
func (p *past) open(id uint32) {
	n := (int64(id) - int64(p.last) + 1) / 2
	p.last, p.opened, p.passed = id, p.opened<<n|1, p.passed<<n
}

// pass has what still comes for a stream be passed over.
func (p *past) pass(id uint32) {
	if n := (p.last - id) / 2; id&1 == 1 && n < 64 {
		p.passed |= 1 << n
	}
}

// late returns what a frame is that begins or goes on with a stream that is not there, but was (RFC 9113,
// section 5.1). Of those that are long gone nothing is known.
func (p *past) late(id uint32) code {
	switch n := (p.last - id) / 2; {
	case id&1 == 0:
		return codeProtocol
	case n >= 64 || p.passed>>n&1 != 0:
		return codeNone
	case p.opened>>n&1 == 0:
		return codeProtocol
	}
	return codeClosed
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

// An http2Stream is a request whose body, or whose response, has not ended.
type http2Stream struct {
	id     uint32
	fields http2Fields
	body   []byte
	began  time.Time
	read   bool               // its body has ended
	cancel context.CancelFunc // calls a question off that is answered later
	window int64              // octets that may be sent
	rest   []byte             // of the response, that may not
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

// frames works on the whole frames that have been read. Unless it is codeNone, the connection ends for the
// reason returned. It needs the lock.
func (c *http2Conn) frames(now time.Time) code {
	done := 0
	for c.have-done >= frameHead {
		b := c.buf[done:c.have]
		size := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
		if size > frameMost {
			return codeSize
		}
		if len(b) < frameHead+size {
			break
		}
		why := c.frame(b[3], b[4], binary.BigEndian.Uint32(b[5:])&math.MaxInt32, b[frameHead:frameHead+size], now)
		if why != codeNone {
			return why
		}
		done += frameHead + size
		if len(c.out) > enough && !c.flush() {
			return codeCancel
		}
	}
	if done > 0 {
		c.since = time.Time{}
		c.have = copy(c.buf, c.buf[done:c.have])
	}
	if c.have > 0 && c.since.IsZero() {
		c.since = now
	}
	c.fit()
	if c.taken > connBuffer/2 {
		c.windowUpdate(0, uint32(c.taken))
		c.taken = 0
	}
	return codeNone
}

// fit gives the beginning of a frame the room that the whole needs.
func (c *http2Conn) fit() {
	need := smallRead
	if c.have >= frameHead {
		need = max(need, frameHead+(int(c.buf[0])<<16|int(c.buf[1])<<8|int(c.buf[2])))
	}
	if need > len(c.buf) || len(c.buf) > smallRead && need == smallRead && c.have <= smallRead {
		c.buf = append(make([]byte, 0, need), c.buf[:c.have]...)[:need]
	}
}

// frame works on one frame.
func (c *http2Conn) frame(kind, flags byte, id uint32, b []byte, now time.Time) code {
	if !c.greet && (kind != frameSettings || flags&flagEnd != 0) {
		return codeProtocol
	}
	if c.header != 0 && (kind != frameContinuation || id != c.header) {
		return codeProtocol
	}
	switch kind {
	case frameData:
		return c.data(flags, id, b)
	case frameHeaders:
		return c.headers(flags, id, b, now)
	case frameContinuation:
		if c.header == 0 {
			return codeProtocol
		}
		return c.fragment(flags, b, now)
	case framePriority:
		switch {
		case len(b) != 5:
			return codeSize
		case id == 0:
			return codeProtocol
		case dependsOn(b) == id: // RFC 7540, section 5.3.1
			c.reset(id, codeProtocol)
		}
	case frameReset:
		if len(b) != 4 {
			return codeSize
		}
		if id == 0 || id > c.last {
			return codeProtocol
		}
		c.forget(id)
	case frameSettings:
		return c.set(flags, id, b)
	case framePing:
		if len(b) != 8 {
			return codeSize
		}
		if id != 0 {
			return codeProtocol
		}
		if flags&flagEnd == 0 {
			c.write(framePing, flagEnd, 0, b)
		}
	case framePush:
		return codeProtocol
	case frameGoAway:
		if id != 0 {
			return codeProtocol
		}
	case frameWindow:
		return c.more(id, b)
	}
	return codeNone
}

// dependsOn returns the stream that a stream depends on, by the fields of its priority.
func dependsOn(b []byte) uint32 { return binary.BigEndian.Uint32(b) & math.MaxInt32 }

// unpadded returns what a frame has beside its padding.
func unpadded(flags byte, b []byte) ([]byte, bool) {
	if flags&flagPadded == 0 {
		return b, true
	}
	if len(b) == 0 || int(b[0]) >= len(b) {
		return nil, false
	}
	return b[1 : len(b)-int(b[0])], true
}

// data takes a part of a body.
func (c *http2Conn) data(flags byte, id uint32, b []byte) code {
	if id == 0 || id > c.last {
		return codeProtocol
	}
	part, ok := unpadded(flags, b)
	if !ok {
		return codeProtocol
	}
	s := c.streams[id]
	if s == nil {
		c.taken += len(b)
		return c.late(id)
	}
	if s.read {
		c.taken += len(b)
		c.reset(id, codeClosed)
		return codeNone
	}
	// What bodies hold that have not ended cannot be sent once more.
	if c.taken += len(b) - len(part); len(part) > 0 {
		if c.held += len(part); c.held > connBuffer {
			return codeFlow
		}
		s.body = append(s.body, part...)
	}
	length := s.fields.length
	if length >= 0 && (int64(len(s.body)) > length || flags&flagEnd != 0 && int64(len(s.body)) < length) {
		c.reset(id, codeProtocol)
		return codeNone
	}
	if flags&flagEnd != 0 {
		c.whole(s)
	} else if len(s.body) > maxBody {
		c.respond(s, tooLong)
		c.reset(id, codeNone)
	}
	return codeNone
}

// headers takes a header, or the beginning of one.
func (c *http2Conn) headers(flags byte, id uint32, b []byte, now time.Time) code {
	b, ok := unpadded(flags, b)
	if !ok || id == 0 {
		return codeProtocol
	}
	c.looped = false
	if flags&flagPriority != 0 {
		if len(b) < 5 {
			return codeSize
		}
		c.looped = dependsOn(b) == id
		b = b[5:]
	}
	if id > c.last && id&1 == 0 {
		return codeProtocol
	}
	c.header, c.began, c.ended, c.blocks, c.begun = id, now, flags&flagEnd != 0, 0, c.begun[:0]
	return c.fragment(flags, b, now)
}

// fragment takes a part of a header.
func (c *http2Conn) fragment(flags byte, b []byte, now time.Time) code {
	if c.blocks++; c.blocks > continuations || len(c.begun)+len(b) > 2*maxHeader {
		return codeCalm
	}
	if flags&flagEndHeaders == 0 {
		c.begun = append(c.begun, b...)
		return codeNone
	}
	if len(c.begun) > 0 {
		c.begun = append(c.begun, b...)
		b = c.begun
	}
	id := c.header
	c.header = 0
	if cap(c.begun) > smallRead {
		c.begun = nil
	}
	f := &c.fields
	f.clear()
	c.hpack.SetEmitEnabled(true)
	c.hpack.SetEmitFunc(c.emit)
	if _, err := c.hpack.Write(b); err != nil {
		return codeCompression
	}
	if c.hpack.Close() != nil {
		return codeCompression
	}
	if id <= c.last {
		return c.trailer(id)
	}
	c.open(id)
	return c.request(id, now)
}

// trailer takes what comes behind a body: nothing of it matters but the end.
func (c *http2Conn) trailer(id uint32) code {
	s := c.streams[id]
	switch {
	case s == nil:
		return c.late(id)
	case s.read:
		c.reset(id, codeClosed)
	case !c.ended || s.fields.length >= 0 && int64(len(s.body)) != s.fields.length:
		c.reset(id, codeProtocol)
	default:
		c.whole(s)
	}
	return codeNone
}

// request begins one.
func (c *http2Conn) request(id uint32, now time.Time) code {
	switch {
	case c.told: // it may be asked of another connection
		c.pass(id)
		return codeNone
	case len(c.streams) >= c.server.o.Streams:
		c.reset(id, codeRefused)
		return codeNone
	case !c.fields.right() || c.ended && c.fields.length > 0 || c.looped:
		c.reset(id, codeProtocol)
		return codeNone
	}
	s := c.spare
	if c.spare = nil; s == nil {
		s = &http2Stream{}
	}
	*s = http2Stream{id: id, fields: c.fields, body: s.body[:0], began: now, window: c.initial}
	c.streams[id] = s
	if s.fields.long {
		s.read = c.ended
		c.respond(s, tooMuch)
		if !c.ended {
			c.reset(id, codeNone)
		}
		return codeNone
	}
	if c.ended {
		c.whole(s)
	}
	return codeNone
}

// whole answers a request.
func (c *http2Conn) whole(s *http2Stream) {
	s.read = true
	c.let(s)
	c.asked = request{
		method: s.fields.method, path: s.fields.path, query: s.fields.query, types: s.fields.types, encoding: s.fields.encoding,
		length: int64(len(s.body)), whole: s.body[:len(s.body):len(s.body)],
	}
	if s.body == nil {
		c.asked.whole = nobody
	}
	query, why := c.server.question(&c.asked)
	if why.status != 0 {
		c.respond(s, why)
		return
	}
	from, why := c.server.asker(c.client.Remote(), s.fields.proxies)
	if why.status != 0 {
		c.respond(s, why)
		return
	}
	answer, later, err := c.client.Begin(c.begin, query, from, c.answer[:0])
	switch {
	case err != nil:
		c.respond(s, refused(err))
	case later == nil:
		_ = c.client.Sent(nil)
		c.message(s, answer)
		if c.streams[s.id] == nil && cap(s.body) <= smallRead { // nobody has it
			c.spare = s
		}
		if c.answer = answer; cap(answer) > smallRead {
			c.answer = nil
		}
	default:
		s.cancel = c.cancel
		ctx := c.ctx
		c.work.Go(func() { c.wait(ctx, s, later) })
	}
}

// nobody is the body of a request that has none.
var nobody = []byte{}

// wait waits for an answer that comes later.
func (c *http2Conn) wait(ctx context.Context, s *http2Stream, later *server.Later) {
	sent := false
	err := later.Wait(ctx, func(answer []byte) error {
		if sent {
			return server.ErrTooLong // a response has one message
		}
		sent = true
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.gone || c.streams[s.id] != s {
			return server.ErrGone
		}
		c.message(s, answer)
		if !c.flush() {
			return os.ErrDeadlineExceeded
		}
		return nil
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if !sent && !c.gone && c.streams[s.id] == s {
		c.respond(s, refused(err))
		c.flush()
	}
	if c.draining && len(c.streams) == 0 {
		_ = c.conn.SetReadDeadline(time.Now()) // nothing is left to wait for
	}
}

// let gives the room of a body back.
func (c *http2Conn) let(s *http2Stream) {
	c.held -= len(s.body)
	c.taken += len(s.body)
}

// forget ends a stream.
func (c *http2Conn) forget(id uint32) {
	s := c.streams[id]
	if s == nil {
		return
	}
	delete(c.streams, id)
	if !s.read {
		c.let(s)
		s.read = true
	}
	if s.cancel != nil {
		s.cancel()
	}
	c.unstick()
}

// reset ends a stream, and tells the client why.
func (c *http2Conn) reset(id uint32, why code) {
	c.forget(id)
	if id <= c.last {
		c.pass(id)
	}
	c.write(frameReset, 0, id, binary.BigEndian.AppendUint32(nil, uint32(why)))
}

// set takes the client's settings.
func (c *http2Conn) set(flags byte, id uint32, b []byte) code {
	if id != 0 {
		return codeProtocol
	}
	if flags&flagEnd != 0 {
		if len(b) > 0 {
			return codeSize
		}
		return codeNone
	}
	if len(b)%6 != 0 {
		return codeSize
	}
	c.greet = true
	c.write(frameSettings, flagEnd, 0, nil) // before what it lets be sent
	for ; len(b) > 0; b = b[6:] {
		switch v := binary.BigEndian.Uint32(b[2:]); binary.BigEndian.Uint16(b) {
		case settingTable:
			c.enc.SetMaxDynamicTableSize(min(v, headerTable))
			clear(c.heads)
		case settingPush:
			if v > 1 {
				return codeProtocol
			}
		case settingWindow:
			if v > math.MaxInt32 {
				return codeFlow
			}
			for _, s := range c.streams {
				if s.window += int64(v) - c.initial; s.window > math.MaxInt32 {
					return codeFlow
				}
			}
			c.initial = int64(v)
			c.resume()
		case settingFrame:
			if v < frameMost || v > 1<<24-1 {
				return codeProtocol
			}
		}
	}
	return codeNone
}

// more lets more be sent.
func (c *http2Conn) more(id uint32, b []byte) code {
	if len(b) != 4 {
		return codeSize
	}
	n := int64(binary.BigEndian.Uint32(b) & math.MaxInt32)
	if id > c.last {
		return codeProtocol
	}
	if id == 0 {
		if n == 0 {
			return codeProtocol
		}
		if c.window += n; c.window > math.MaxInt32 {
			return codeFlow
		}
		c.resume()
		return codeNone
	}
	s := c.streams[id]
	if s == nil {
		return codeNone
	}
	switch s.window += n; {
	case n == 0:
		c.reset(id, codeProtocol)
	case s.window > math.MaxInt32:
		c.reset(id, codeFlow)
	default:
		c.resume()
	}
	return codeNone
}
