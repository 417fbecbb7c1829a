//go:build !lean

package doh

import (
	"context"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	quicgo "github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"port53/internal/quic"
	"port53/internal/server"
)

// HTTP3 returns the service that answers over HTTP/3 what s answers over HTTP/2, where it is told
// that this one is there as well (RFC 7838).
func (s *Server) HTTP3() server.PacketService {
	p := &overQUIC{doh: s}
	p.clients.Idle, p.clients.Code = s.o.Idle, quicgo.ApplicationErrorCode(http3.ErrCodeNoError)
	p.http = http3.Server{
		Handler: http.HandlerFunc(s.serve), MaxHeaderBytes: maxHeader,
		ConnContext: func(ctx context.Context, c *quicgo.Conn) context.Context {
			v, _ := quic.ClientConnOf(c).(*server.ClientConn)
			return context.WithValue(ctx, callerKey{}, &caller{client: v, at: func() netip.AddrPort { return quic.Remote(c) }})
		},
	}
	return p
}

// singleStreams is how many streams that lead one way a client may have: of control, of header
// compression, and some that nobody knows (RFC 9114, section 6.2.3).
const singleStreams = 8

// altSvcTime is for how long clients may know that HTTP/3 is there.
const altSvcTime = 24 * time.Hour

// overQUIC is a [server.PacketService].
type overQUIC struct {
	doh     *Server
	http    http3.Server
	clients quic.Clients
}

// Transport implements [server.PacketService].
func (p *overQUIC) Transport() server.Transport { return server.DoH }

// Serve implements [server.PacketService].
func (p *overQUIC) Serve(g *server.PacketListener) error {
	l, err := quic.Listen(g.Conn(), g.TLS(), g.ValidateAddress, g.Admit, p.doh.o.Streams, singleStreams)
	if err != nil {
		return err
	}
	alt := `h3=":` + strconv.Itoa(int(g.Addr().Port())) + `"; ma=` + strconv.Itoa(int(altSvcTime/time.Second))
	p.doh.altSvc.Store(&alt)
	return p.clients.Serve(l, p.begin)
}

// Shutdown implements [server.PacketService].
func (p *overQUIC) Shutdown(ctx context.Context) {
	p.doh.altSvc.Store(nil)
	p.clients.Shutdown(ctx)
}

// begin begins HTTP on a connection, and returns what serves its requests.
func (p *overQUIC) begin(c *quicgo.Conn, _ quic.ClientConn) func(*quicgo.Stream) {
	h, err := p.http.NewRawServerConn(c)
	if err != nil {
		return nil
	}
	go func() {
		for {
			s, err := c.AcceptUniStream(context.Background())
			if err != nil {
				return
			}
			go h.HandleUnidirectionalStream(s)
		}
	}()
	return func(s *quicgo.Stream) {
		// A request that does not come whole ends, as one of HTTP/2 does, and its place is free.
		_ = s.SetReadDeadline(time.Now().Add(2 * p.doh.o.Question))
		_ = s.SetWriteDeadline(time.Now().Add(maxAnswer + p.doh.o.Stall))
		h.HandleRequestStream(s)
	}
}
