//go:build !lean

package doq

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"port53/internal/quic"
	"port53/internal/server"
	"port53/internal/wire"
)

// A service is a [server.PacketService].
type service struct {
	o       Options
	clients quic.Clients
}

// New returns a service.
func New(o Options) server.PacketService {
	s := &service{o: o.fill()}
	s.clients.Idle, s.clients.Code = s.o.Idle, quic.NoError
	return s
}

// Transport implements [server.PacketService].
func (s *service) Transport() server.Transport { return server.DoQ }

// Serve implements [server.PacketService].
func (s *service) Serve(g *server.PacketListener) error {
	l, err := quic.Listen(g.Conn(), g.TLS(), g.ValidateAddress, g.Admit, s.o.Streams, 0)
	if err != nil {
		return err
	}
	return s.clients.Serve(l, func(c *quicgo.Conn, guest quic.ClientConn) func(*quicgo.Stream) {
		one := &conn{service: s, quic: c, visitor: guest.(*server.ClientConn)}
		return one.answer
	})
}

// Shutdown implements [server.PacketService].
func (s *service) Shutdown(ctx context.Context) { s.clients.Shutdown(ctx) }

// A conn is one connection.
type conn struct {
	service *service
	quic    *quicgo.Conn
	visitor *server.ClientConn
}

// A room is memory for one question of usual length, and its answer.
type room struct {
	in    [1024]byte
	out   []byte
	query wire.Query
}

var rooms = sync.Pool{New: func() any { return &room{out: make([]byte, 0, 1024)} }}

// answer answers the question of one stream.
func (c *conn) answer(s *quicgo.Stream) {
	m := rooms.Get().(*room)
	defer rooms.Put(m)
	_ = s.SetReadDeadline(time.Now().Add(c.service.o.Question))
	query, err := m.read(s)
	var reset *quicgo.StreamError
	switch {
	case err == nil:
	case errors.Is(err, os.ErrDeadlineExceeded):
		refuse(s, quic.ExcessiveLoad) // whoever sends slowly loses its question alone
		return
	case errors.As(err, &reset):
		refuse(s, quic.RequestCancelled)
		return
	case errors.Is(err, errBroken):
		_ = c.quic.CloseWithError(quic.ProtocolError, "")
		return
	default: // the connection has ended
		return
	}
	err = c.visitor.Ask(s.Context(), query, quic.Remote(c.quic), func(msg []byte) error {
		// One write is one frame, as a rule, and one packet.
		out := append(binary.BigEndian.AppendUint16(m.out[:0], uint16(len(msg))), msg...)
		_ = s.SetWriteDeadline(time.Now().Add(c.service.o.Stall))
		_, err := s.Write(out)
		return err
	})
	switch {
	case err == nil:
		_ = s.Close()
	case errors.Is(err, server.ErrBusy), errors.Is(err, os.ErrDeadlineExceeded):
		refuse(s, quic.ExcessiveLoad)
	default:
		refuse(s, quic.InternalError)
	}
}

// refuse ends a stream without an answer, or without the rest of it (RFC 9250, section 4.3).
func refuse(s *quicgo.Stream, code quicgo.StreamErrorCode) {
	s.CancelRead(code)
	s.CancelWrite(code)
}

// errBroken is why a connection is closed: what came is against the protocol (RFC 9250, section
// 4.3.3), and who sent it is broken, or tries something.
var errBroken = errors.New("doq: what came is no question")

// read reads the one message of a stream, and the end behind it.
func (m *room) read(r io.Reader) ([]byte, error) {
	b := m.in[:0]
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)] // it is full: only then more room is taken
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if len(b) > 2 && len(b) > 2+int(binary.BigEndian.Uint16(b)) {
			return nil, errBroken
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	if len(b) < 2+wire.HeaderLen || len(b) != 2+int(binary.BigEndian.Uint16(b)) {
		return nil, errBroken
	}
	msg := b[2:]
	if msg[0]|msg[1] != 0 || m.hasKeepalive(msg) {
		return nil, errBroken
	}
	return msg, nil
}

// hasKeepalive reports whether a query has the option by which TCP negotiates idle times, which may
// not be sent over QUIC (RFC 9250, section 5.5.2). What cannot be read has none.
func (m *room) hasKeepalive(msg []byte) bool {
	if binary.BigEndian.Uint16(msg[10:]) == 0 {
		return false
	}
	fault := m.query.Parse(msg)
	return fault == 0 && m.query.Keepalive
}
