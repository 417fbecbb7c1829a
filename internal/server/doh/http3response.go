//go:build !lean

package doh

import (
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	quicgo "github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"

	"port53/internal/quic"
	"port53/internal/server"
)

// An http3Conn is what the requests of one connection share.
type http3Conn struct {
	server *Server
	client *server.ClientConn
	quic   *quicgo.Conn
}

// http3Most is how much of a request waits at most until it can be read: a header, and the type and the length before it.
const http3Most = maxHeader + 16

// An http3Room is memory for one request and its response.
type http3Room struct {
	in      [http3Most]byte
	message http3Message
	asked   request
	block   []byte // the header of the response
	out     []byte
}

var http3Rooms = sync.Pool{New: func() any { return &http3Room{} }}

// give gives the memory back, unless it is that of something long.
func (m *http3Room) give() {
	if cap(m.message.body) > smallRead || cap(m.out) > smallRead {
		return
	}
	m.message.clear() // nothing of one client stays for the next
	m.asked = request{}
	http3Rooms.Put(m)
}

// request answers the request of one stream.
func (c *http3Conn) request(s *quicgo.Stream) {
	m := http3Rooms.Get().(*http3Room)
	defer m.give()
	m.message.clear()
	now := time.Now()
	// A request that does not come whole ends, as one of HTTP/2 does, and its place is free.
	_ = s.SetReadDeadline(now.Add(2 * c.server.o.Question))
	_ = s.SetWriteDeadline(now.Add(maxAnswer + c.server.o.Stall))
	if err := m.message.read(s, m.in[:]); err != nil {
		c.refuse(s, err)
		return
	}
	if err := c.respond(s, m); err != nil {
		code := quicgo.StreamErrorCode(http3.ErrCodeRequestCanceled)
		s.CancelRead(code)
		s.CancelWrite(code)
		return
	}
	// What still comes is not read: the answer does not need it (RFC 9114, section 4.1.1).
	s.CancelRead(quicgo.StreamErrorCode(http3.ErrCodeNoError))
	_ = s.Close()
}

// refuse ends a stream whose request cannot be read, or the connection.
func (c *http3Conn) refuse(s *quicgo.Stream, err error) {
	code := http3.ErrCodeRequestIncomplete
	var wrong *http3Error
	var reset *quicgo.StreamError
	switch {
	case errors.As(err, &wrong):
		if code = wrong.code; wrong.conn {
			_ = c.quic.CloseWithError(quicgo.ApplicationErrorCode(code), "")
			return
		}
	case errors.As(err, &reset):
		code = http3.ErrCodeRequestCanceled
	}
	s.CancelRead(quicgo.StreamErrorCode(code))
	s.CancelWrite(quicgo.StreamErrorCode(code))
}

// respond answers a request that has been read, in one write as a rule.
func (c *http3Conn) respond(s *quicgo.Stream, m *http3Room) error {
	f := &m.message.fields
	head := f.method == http.MethodHead
	if f.long {
		return m.fail(s, head, tooMuch)
	}
	m.asked = request{
		method: f.method, path: f.path, query: f.query, types: f.types, encoding: f.encoding,
		length: int64(len(m.message.body)), whole: m.message.body,
	}
	if m.asked.whole == nil {
		m.asked.whole = nobody
	}
	query, why := c.server.question(&m.asked)
	if why.status != 0 {
		return m.fail(s, head, why)
	}
	client, why := c.server.asker(quic.Remote(c.quic), f.proxies)
	if why.status != 0 {
		return m.fail(s, head, why)
	}
	sent := false
	err := c.client.Ask(s.Context(), query, client, func(answer []byte) error {
		if sent {
			return server.ErrTooLong // a response has one message
		}
		sent = true
		m.begin(http.StatusOK)
		m.block = append(m.block, http3Indexed|http3Type)
		m.named(http3Length, strconv.Itoa(len(answer)))
		m.named(http3Cache, cacheControl(freshness(answer)))
		return m.write(s, head, answer)
	})
	if err != nil && !sent {
		return m.fail(s, head, refused(err))
	}
	return err
}

// fail says why there is no answer.
func (m *http3Room) fail(s *quicgo.Stream, head bool, why refusal) error {
	text := why.text + "\n"
	m.begin(why.status)
	if why.status == http.StatusMethodNotAllowed {
		m.unnamed("allow", allowed)
	}
	m.named(http3Type, "text/plain; charset=utf-8")
	m.named(http3Length, strconv.Itoa(len(text)))
	m.block = append(m.block, http3Indexed|http3NoStore, http3Indexed|http3NoSniff)
	return m.write(s, head, []byte(text))
}

// Fields of QPACK's static table (RFC 9204, appendix A), and what says that a field is one of them, or has the name of one: the table of
// the connection is not used.
const (
	http3Length  = 4  // content-length
	http3Date    = 6  // date
	http3Status  = 24 // :status
	http3OK      = 25 // :status: 200
	http3Cache   = 36 // cache-control
	http3NoStore = 40 // cache-control: no-store
	http3Type    = 44 // content-type: application/dns-message
	http3NoSniff = 61 // x-content-type-options: nosniff

	http3Indexed = 0xc0
	http3Named   = 0x50
	http3Literal = 0x20
)

// begin begins the header of a response.
func (m *http3Room) begin(status int) {
	m.block = append(m.block[:0], 0, 0) // nothing of the connection's table is needed
	if status == http.StatusOK {
		m.block = append(m.block, http3Indexed|http3OK)
	} else {
		m.named(http3Status, strconv.Itoa(status))
	}
	var date [len(http.TimeFormat)]byte
	m.named(http3Date, string(time.Now().UTC().AppendFormat(date[:0], http.TimeFormat)))
}

// named appends a field whose name is in the static table (RFC 9204, section 4.5.4).
func (m *http3Room) named(index byte, value string) {
	m.block = appendPrefixed(m.block, http3Named, 4, int(index))
	m.block = append(appendPrefixed(m.block, 0, 7, len(value)), value...)
}

// unnamed appends a field whose name is not (RFC 9204, section 4.5.6).
func (m *http3Room) unnamed(name, value string) {
	m.block = append(appendPrefixed(m.block, http3Literal, 3, len(name)), name...)
	m.block = append(appendPrefixed(m.block, 0, 7, len(value)), value...)
}

// appendPrefixed appends an integer behind what the octet has before it (RFC 7541, section 5.1).
func appendPrefixed(b []byte, before byte, bits, n int) []byte {
	most := 1<<bits - 1
	if n < most {
		return append(b, before|byte(n))
	}
	b = append(b, before|byte(most))
	for n -= most; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// write writes the response.
func (m *http3Room) write(s *quicgo.Stream, head bool, body []byte) error {
	m.out = quicvarint.Append(append(m.out[:0], http3Headers), uint64(len(m.block)))
	m.out = append(m.out, m.block...)
	if !head {
		m.out = quicvarint.Append(append(m.out, http3Data), uint64(len(body)))
		m.out = append(m.out, body...)
	}
	_, err := s.Write(m.out)
	return err
}
