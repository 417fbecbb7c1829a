package doh

import (
	"context"
	"encoding/binary"
	"os"
	"time"

	"port53/internal/server"
)

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
