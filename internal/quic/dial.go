//go:build !lean

package quic

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"

	quicgo "github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// Built reports whether QUIC is spoken by this program.
const Built = true

// A Conn is a connection to a server. It is safe for use by many goroutines.
type Conn struct {
	quic    *quicgo.Conn
	ways    *quicgo.Transport
	socket  net.Conn
	once    sync.Once
	over    chan struct{}
	http    *http3.ClientConn
	streams chan struct{} // places for questions
}

// maxQuestions is how many questions wait on one connection, unless the server allows fewer.
const maxQuestions = 100

// Dial begins QUIC with a server that datagrams of c go to, and judges it by config, whose first
// protocol is what is spoken. c is the connection's then, also after an error. There are no early
// data (0-RTT).
func Dial(ctx context.Context, c net.Conn, config *tls.Config) (*Conn, error) {
	d := &Conn{
		socket:  c,
		ways:    &quicgo.Transport{Conn: &connected{Conn: c}},
		over:    make(chan struct{}),
		streams: make(chan struct{}, maxQuestions),
	}
	server := int64(-1) // streams that the server may begin
	if config.NextProtos[0] == http3.NextProtoH3 {
		server = 8 // of control and of header compression, and what is unknown
	}
	conn, err := d.ways.Dial(ctx, c.RemoteAddr(), config, &quicgo.Config{
		HandshakeIdleTimeout: shakeTime, MaxIdleTimeout: idleTime,
		InitialStreamReceiveWindow: streamWindow, MaxStreamReceiveWindow: streamWindow,
		InitialConnectionReceiveWindow: 4 * streamWindow, MaxConnectionReceiveWindow: 16 * streamWindow,
		MaxIncomingStreams: -1, MaxIncomingUniStreams: server,
	})
	if err != nil {
		d.end()
		if untold := context.Cause(ctx); untold != nil {
			return nil, untold
		}
		return nil, plain(err)
	}
	d.quic = conn
	if server > 0 {
		d.http = (&http3.Transport{DisableCompression: true, MaxResponseHeaderBytes: 16 << 10}).NewClientConn(conn)
	}
	context.AfterFunc(conn.Context(), d.end)
	return d, nil
}

// end closes the socket: one that outlives its connection would be open until the program ends.
func (d *Conn) end() {
	d.once.Do(func() {
		_ = d.ways.Close()
		_ = d.socket.Close()
		close(d.over)
	})
}

// Done is closed when the connection has ended.
func (d *Conn) Done() <-chan struct{} { return d.over }

// Err returns why the connection has ended, or nil.
func (d *Conn) Err() error { return plain(context.Cause(d.quic.Context())) }

// State returns what was agreed on.
func (d *Conn) State() tls.ConnectionState { return d.quic.ConnectionState().TLS }

// Close ends the connection, and tells the server.
func (d *Conn) Close() error {
	err := d.quic.CloseWithError(NoError, "")
	<-d.over
	return err
}

// RoundTrip sends a request of HTTP/3.
func (d *Conn) RoundTrip(r *http.Request) (*http.Response, error) {
	if d.http == nil {
		return nil, errors.New("quic: the connection is not one of HTTP")
	}
	return d.http.RoundTrip(r)
}

// Ask sends a query on a stream of its own, and hands over each message that comes back, until
// the server has said all. The ID that is sent is 0 (RFC 9250, section 4.2.1). most is how many
// messages there may be; a message that is one too many, or has another ID, is an error.
func (d *Conn) Ask(ctx context.Context, query []byte, most int, each func(msg []byte) error) error {
	select {
	case d.streams <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-d.streams }()
	s, err := d.quic.OpenStreamSync(ctx)
	if err != nil {
		return cause(ctx, err)
	}
	stop := context.AfterFunc(ctx, func() {
		s.CancelRead(RequestCancelled)
		s.CancelWrite(RequestCancelled)
	})
	defer stop()
	out := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(query)), uint16(len(query)))
	out = append(out, query...)
	out[2], out[3] = 0, 0
	if _, err := s.Write(out); err != nil {
		return cause(ctx, err)
	}
	if err := s.Close(); err != nil {
		return cause(ctx, err)
	}
	for n := 0; ; n++ {
		msg, err := message(s)
		if err == io.EOF && n > 0 {
			return nil
		}
		if err == nil && (n == most || len(msg) < 12 || msg[0]|msg[1] != 0) {
			err = errForeign
			_ = d.quic.CloseWithError(ProtocolError, "")
		}
		if err != nil {
			s.CancelRead(RequestCancelled)
			return cause(ctx, err)
		}
		copy(msg, query[:2])
		if err := each(msg); err != nil {
			s.CancelRead(RequestCancelled)
			return err
		}
	}
}

// errForeign is why a connection ends on which something came that answers nothing.
var errForeign = errors.New("quic: the server has sent what is no answer")

// message reads one message: as much memory is taken as has come, whatever its length says. It is
// io.EOF if the stream ends before there is one.
func message(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	n := int64(binary.BigEndian.Uint16(length[:]))
	msg, err := io.ReadAll(io.LimitReader(r, n))
	if err == nil && int64(len(msg)) < n {
		err = io.ErrUnexpectedEOF
	}
	return msg, err
}

func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return plain(err)
}

// A failure is what quic-go says, which is net.ErrClosed besides whatever it is: who asks would
// take it for an end of its own.
type failure struct {
	text string
	err  error
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.err }

func plain(err error) error {
	if !errors.Is(err, net.ErrClosed) {
		return err
	}
	f := &failure{text: err.Error()}
	var timeout net.Error
	var ended *quicgo.ApplicationError
	var broken *quicgo.TransportError
	switch {
	case errors.As(err, &ended):
		f.err = &EndedError{uint64(ended.ErrorCode), ended.Remote}
	case errors.As(err, &broken):
		for _, reason := range broken.Unwrap() {
			if reason != net.ErrClosed {
				f.err = reason
			}
		}
	case errors.As(err, &timeout) && timeout.Timeout():
		f.err = os.ErrDeadlineExceeded
	}
	return f
}

// connected is a socket that has one peer, whose refusals (ICMP) reach it at once.
type connected struct{ net.Conn }

// ReadFrom implements net.PacketConn.
func (c *connected) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := c.Read(b)
	return n, c.RemoteAddr(), err
}

// WriteTo implements net.PacketConn.
func (c *connected) WriteTo(b []byte, _ net.Addr) (int, error) { return c.Write(b) }

// SetReadBuffer has quic-go set no buffer: those of a client hold what it may be sent.
func (c *connected) SetReadBuffer(int) error { return nil }

// SetWriteBuffer is as SetReadBuffer.
func (c *connected) SetWriteBuffer(int) error { return nil }
