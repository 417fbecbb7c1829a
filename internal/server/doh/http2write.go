package doh

import (
	"bytes"
	"encoding/binary"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"golang.org/x/net/http2/hpack"

	"port53/internal/wire"
)

// maxBody is how many octets of a body are taken: one more than a message can have is too many.
const maxBody = wire.MaxMessage

var tooMuch = refusal{http.StatusRequestHeaderFieldsTooLarge, "the header is too long"}

// An http2Output is what is written. The lock of its connection is held.
type http2Output struct {
	out     []byte // frames
	enc     *hpack.Encoder
	block   bytes.Buffer
	added   bool               // to the table of headers, by what is in block
	heads   map[headKey][]byte // of answers, as long as nothing is added
	window  int64              // octets of bodies that may be sent
	initial int64              // of a stream
	stuck   time.Time          // since when something may not be sent; zero: nothing is
	second  int64              // of date
	date    string
}

func (o *http2Output) init() {
	o.enc = hpack.NewEncoder(&o.block)
	o.heads = map[headKey][]byte{}
	o.window, o.initial = firstWindow, firstWindow
}

// write appends a frame.
func (o *http2Output) write(kind, flags byte, id uint32, b []byte) {
	o.out = append(o.out, byte(len(b)>>16), byte(len(b)>>8), byte(len(b)), kind, flags)
	o.out = binary.BigEndian.AppendUint32(o.out, id)
	o.out = append(o.out, b...)
}

func (o *http2Output) settings(list map[uint16]uint32) {
	var b []byte
	for _, k := range slices.Sorted(maps.Keys(list)) {
		b = binary.BigEndian.AppendUint16(b, k)
		b = binary.BigEndian.AppendUint32(b, list[k])
	}
	o.write(frameSettings, 0, 0, b)
}

func (o *http2Output) windowUpdate(id, n uint32) {
	o.write(frameWindow, 0, id, binary.BigEndian.AppendUint32(nil, n))
}

// goAway says that no stream behind the last is looked at.
func (c *http2Conn) goAway(why code) {
	b := binary.BigEndian.AppendUint32(nil, c.last)
	c.write(frameGoAway, 0, 0, binary.BigEndian.AppendUint32(b, uint32(why)))
}

// flush writes what there is to write. It returns false if the client does not take it.
func (c *http2Conn) flush() bool {
	if len(c.out) == 0 {
		return true
	}
	if c.gone {
		return false
	}
	_ = c.conn.SetWriteDeadline(time.Now().Add(c.server.o.Stall))
	_, err := c.conn.Write(c.out)
	if c.out = c.out[:0]; cap(c.out) > smallRead {
		c.out = nil
	}
	return err == nil
}

// A headKey is what the header of an answer depends on.
type headKey struct {
	length int
	ttl    uint32
	second int64
	alt    *string
}

// manyHeads is how many headers a connection remembers.
const manyHeads = 64

// message answers a request with a message. The header of one like it was, if nothing has changed what
// its indices stand for, has the same octets.
func (c *http2Conn) message(s *http2Stream, answer []byte) {
	c.active = time.Now()
	key := headKey{len(answer), freshness(answer), c.active.Unix(), c.server.altSvc.Load()}
	head := c.heads[key]
	if head == nil {
		c.added = false
		c.head(http.StatusOK)
		c.field("content-type", mediaType)
		c.field("content-length", strconv.Itoa(len(answer)))
		c.field("cache-control", cacheControl(key.ttl))
		head = c.block.Bytes()
		if c.added || len(c.heads) >= manyHeads {
			clear(c.heads)
		}
		if !c.added {
			c.heads[key] = bytes.Clone(head)
		}
	}
	c.finish(s, head, answer)
}

// respond says why a request is not answered.
func (c *http2Conn) respond(s *http2Stream, why refusal) {
	text := why.text + "\n"
	c.added = false
	c.head(why.status)
	if why.status == http.StatusMethodNotAllowed {
		c.field("allow", allowed)
	}
	c.field("content-type", "text/plain; charset=utf-8")
	c.field("content-length", strconv.Itoa(len(text)))
	c.field("cache-control", "no-store")
	c.field("x-content-type-options", "nosniff")
	if c.added {
		clear(c.heads)
	}
	c.finish(s, c.block.Bytes(), []byte(text))
}

// head begins the header of a response.
func (c *http2Conn) head(status int) {
	c.block.Reset()
	c.field(":status", strconv.Itoa(status))
	now := time.Now()
	c.active = now
	if second := now.Unix(); second != c.second {
		c.second, c.date = second, now.UTC().Format(http.TimeFormat)
	}
	c.field("date", c.date)
	if alt := c.server.altSvc.Load(); alt != nil {
		c.field("alt-svc", *alt)
	}
}

func (c *http2Conn) field(name, value string) {
	at := c.block.Len()
	_ = c.enc.WriteField(hpack.HeaderField{Name: name, Value: value}) // a buffer takes all
	if c.block.Bytes()[at]&0x80 == 0 {                                // it is no index alone (RFC 7541, section 6.1)
		c.added = true
	}
}

// finish sends a response, or as much of it as may be sent.
func (c *http2Conn) finish(s *http2Stream, head, body []byte) {
	flags := byte(flagEndHeaders)
	if s.fields.method == http.MethodHead {
		body, flags = nil, flags|flagEnd
	}
	c.write(frameHeaders, flags, s.id, head)
	if body = c.send(s, body); len(body) > 0 {
		s.rest = bytes.Clone(body)
		if c.stuck.IsZero() {
			c.stuck = time.Now()
		}
		return
	}
	if s.cancel != nil {
		s.cancel()
	}
	delete(c.streams, s.id)
}

// send sends what may be sent of a body, and returns the rest.
func (c *http2Conn) send(s *http2Stream, body []byte) []byte {
	for len(body) > 0 {
		n := min(int64(len(body)), frameMost, c.window, s.window)
		if n <= 0 {
			break
		}
		flags := byte(0)
		if int(n) == len(body) {
			flags = flagEnd
		}
		c.write(frameData, flags, s.id, body[:n])
		c.window -= n
		s.window -= n
		body = body[n:]
	}
	return body
}

// resume sends what may be sent now. What moves is not stuck.
func (c *http2Conn) resume() {
	if c.stuck.IsZero() {
		return
	}
	for id, s := range c.streams {
		if len(s.rest) == 0 {
			continue
		}
		before := len(s.rest)
		if s.rest = c.send(s, s.rest); len(s.rest) < before {
			c.stuck = time.Now()
		}
		if len(s.rest) == 0 {
			if s.cancel != nil {
				s.cancel()
			}
			delete(c.streams, id)
		}
	}
	c.unstick()
}

// unstick forgets since when something was stuck, if nothing is.
func (c *http2Conn) unstick() {
	for _, s := range c.streams {
		if len(s.rest) > 0 {
			return
		}
	}
	c.stuck = time.Time{}
}
