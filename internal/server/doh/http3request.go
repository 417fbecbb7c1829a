//go:build !lean

package doh

import (
	"io"
	"strings"

	"github.com/quic-go/qpack"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"
	"golang.org/x/net/http2/hpack"

	"port53/internal/wire"
)

// The frames of HTTP/3 that matter here (RFC 9114, section 7.2; RFC 9218, section 7.2).
const (
	http3Data           = 0x0
	http3Headers        = 0x1
	http3PriorityUpdate = 0xf0700 // and the one behind it
)

// An http3Error is what is wrong with a request.
type http3Error struct {
	code http3.ErrCode
	conn bool // it ends the connection, and not its stream alone
}

func (e *http3Error) Error() string { return e.code.String() }

var (
	errFrameUnexpected   = &http3Error{http3.ErrCodeFrameUnexpected, true}
	errFrameCut          = &http3Error{http3.ErrCodeFrameError, true}
	errDecompression     = &http3Error{http3.ErrCodeQPACKDecompressionFailed, true}
	errMessage           = &http3Error{http3.ErrCodeMessageError, false}
	errRequestIncomplete = &http3Error{http3.ErrCodeRequestIncomplete, false}
)

// An http3Message is a request as its frames come.
type http3Message struct {
	fields http2Fields
	body   []byte
	headed bool   // its header is there
	ended  bool   // its trailer is there
	left   uint64 // octets of a frame that still come
	data   bool   // they are the body's, and not to be passed over
}

// clear makes room for the next one.
func (m *http3Message) clear() {
	*m = http3Message{body: m.body[:0]}
	m.fields.clear()
}

// over reports whether what has come has an answer, whatever else comes.
func (m *http3Message) over() bool { return m.fields.long || len(m.body) > wire.MaxMessage }

// take takes as much of what has come as can be read, and returns the rest.
func (m *http3Message) take(b []byte) ([]byte, error) {
	for !m.over() {
		if m.left > 0 {
			n := min(m.left, uint64(len(b)))
			if m.data {
				m.body = append(m.body, b[:n]...)
			}
			b = b[n:]
			if m.left -= n; m.left > 0 {
				return b, nil
			}
		}
		kind, n, err := quicvarint.Parse(b)
		if err != nil {
			return b, nil // it has not come yet
		}
		length, k, err := quicvarint.Parse(b[n:])
		if err != nil {
			return b, nil
		}
		if err := m.allowed(kind); err != nil {
			return b, err
		}
		if kind != http3Headers {
			b, m.left, m.data = b[n+k:], length, kind == http3Data
			continue
		}
		if length > maxHeader {
			m.fields.long = true
			return b, nil
		}
		if uint64(len(b)-n-k) < length {
			return b, nil
		}
		block := b[n+k : n+k+int(length)]
		b = b[n+k+int(length):]
		if m.headed {
			m.ended = true
			if err := trailer(block); err != nil {
				return b, err
			}
			continue
		}
		m.headed = true
		if err := m.header(block); err != nil {
			return b, err
		}
	}
	return b, nil
}

// allowed reports a frame that may not be on a stream of a request, or not there (RFC 9114, sections 4.1 and 7.2).
func (m *http3Message) allowed(kind uint64) error {
	switch {
	case kind == http3Data && (!m.headed || m.ended),
		kind == http3Headers && m.ended,
		kind > http3Headers && kind <= 0x9, // those of the control stream, of pushes, and of HTTP/2
		kind == 0xd,                        // MAX_PUSH_ID
		kind == http3PriorityUpdate, kind == http3PriorityUpdate+1:
		return errFrameUnexpected
	}
	return nil
}

// header reads the header.
func (m *http3Message) header(block []byte) error {
	next := qpack.NewDecoder().Decode(block)
	for {
		h, err := next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return errDecompression
		}
		if m.fields.add(hpack.HeaderField{Name: h.Name, Value: h.Value}); m.fields.long {
			return nil
		}
	}
	if !m.fields.right3() {
		return errMessage
	}
	return nil
}

// trailer reads a trailer, of which nothing is used.
func trailer(block []byte) error {
	next := qpack.NewDecoder().Decode(block)
	for {
		h, err := next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return errDecompression
		}
		if strings.HasPrefix(h.Name, ":") || !lower(h.Name) || !plain(h.Value) {
			return errMessage
		}
	}
}

// whole reports what is wrong with a message that has ended, with so many octets behind its last frame.
func (m *http3Message) whole(rest int) error {
	switch {
	case m.left > 0 || rest > 0:
		return errFrameCut
	case !m.headed:
		return errRequestIncomplete
	case m.fields.length >= 0 && m.fields.length != int64(len(m.body)):
		return errMessage
	}
	return nil
}

// read reads a request. b is memory for what is not read yet: a header, and the type and the length before it.
func (m *http3Message) read(r io.Reader, b []byte) error {
	have := 0
	for {
		n, err := r.Read(b[have:])
		have += n
		rest, bad := m.take(b[:have])
		if bad != nil {
			return bad
		}
		if have = copy(b, rest); m.over() {
			return nil
		}
		if err == io.EOF {
			return m.whole(have)
		}
		if err != nil {
			return err
		}
	}
}
