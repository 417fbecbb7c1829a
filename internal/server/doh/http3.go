//go:build !lean

package doh

import (
	"context"
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
	p.http.MaxHeaderBytes = maxHeader
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
	http    http3.Server // of the streams that lead one way
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
func (p *overQUIC) begin(c *quicgo.Conn, client quic.ClientConn) func(*quicgo.Stream) {
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
	one := &http3Conn{server: p.doh, client: client.(*server.ClientConn), quic: c}
	return one.request
}
