package doh

import (
	"encoding/binary"
	"math"
	"time"
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
