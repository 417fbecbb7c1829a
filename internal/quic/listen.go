//go:build !lean

package quic

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"

	quicgo "github.com/quic-go/quic-go"
)

// An AdmitFunc takes a client in that has come to an address. proven reports whether its own is known
// to be its own. end closes the connection, and does not wait. It is asked for each connection
// that begins, before anything is computed or kept for it.
type AdmitFunc[V ClientConn] func(from, at netip.AddrPort, proven bool, end func()) (V, error)

// A ClientConn is a client that was taken in.
type ClientConn interface {
	// HandshakeDone says that the handshake is done. On an error the connection is closed.
	HandshakeDone(resumed bool, certificates []*x509.Certificate) error
	// Close says that the connection has ended, or was none in the end. It is called once, and last.
	Close() error
}

// A Listener is where clients begin connections.
type Listener struct {
	ways *quicgo.Transport
	quic *quicgo.Listener
}

// Listen listens on a socket, which stays the caller's and is to be closed after the listener.
// unproven tells of whoever begins without a proof whether it has to give one, by sending back what
// is sent to its address (RFC 9000, section 8.1.2).
// streams is how many streams one client may have at the same time, and single how many more that lead
// one way, as HTTP/3 has them. A client may begin one more when one has ended and was released
// (ReleaseStreamCredit): what it gives up in the middle counts for as long as it is worked on.
func Listen[V ClientConn](
	c *net.UDPConn,
	config *tls.Config,
	unproven func() bool,
	admit AdmitFunc[V],
	streams, single int,
) (*Listener, error) {
	at := c.LocalAddr().(*net.UDPAddr).AddrPort()
	l := &Listener{ways: &quicgo.Transport{
		Conn: c, ConnectionIDLength: 8,
		VerifySourceAddress: func(net.Addr) bool { return unproven() },
		ConnContext: func(ctx context.Context, info *quicgo.ClientInfo) (context.Context, error) {
			return arrive(ctx, info, at, admit)
		},
	}}
	if single == 0 {
		single = -1
	}
	var err error
	l.quic, err = l.ways.Listen(config, &quicgo.Config{
		HandshakeIdleTimeout: shakeTime, MaxIdleTimeout: idleTime,
		InitialStreamReceiveWindow: streamWindow, MaxStreamReceiveWindow: streamWindow,
		InitialConnectionReceiveWindow: 4 * streamWindow, MaxConnectionReceiveWindow: 4 * streamWindow,
		MaxIncomingStreams: int64(streams), MaxIncomingUniStreams: int64(single),
		RequireStreamCreditRelease: true,
	})
	return l, err
}

// A guestKey finds the arrival in a connection's context.
type guestKey struct{}

// An arrival is a connection that begins.
type arrival struct {
	guest  ClientConn
	cancel context.CancelCauseFunc // ends the handshake
	conn   atomic.Pointer[quicgo.Conn]
}

// errEvicted is why a connection is ended for another.
var errEvicted = errors.New("quic: the place is needed")

// end is what an AdmitFunc is given.
func (a *arrival) end() {
	a.cancel(errEvicted)
	if c := a.conn.Load(); c != nil {
		go c.CloseWithError(ExcessiveLoad, "") // it waits for the connection to notice
	}
}

// arrive has a client taken in.
func arrive[V ClientConn](ctx context.Context, info *quicgo.ClientInfo, at netip.AddrPort, admit AdmitFunc[V]) (context.Context, error) {
	from, ok := addrPort(info.RemoteAddr)
	if !ok || from.Port() == 0 {
		return nil, errors.New("quic: a client without an address")
	}
	a := &arrival{}
	within, cancel := context.WithCancelCause(context.WithValue(ctx, guestKey{}, a))
	a.cancel = cancel
	v, err := admit(from, at, info.AddrVerified, a.end)
	if err != nil {
		cancel(err)
		return nil, err
	}
	a.guest = v
	context.AfterFunc(ctx, func() {
		cancel(nil)
		_ = a.guest.Close()
	})
	return within, nil
}

// Accept returns the next connection whose handshake is done. After Close the error is
// [net.ErrClosed].
func (l *Listener) Accept(ctx context.Context) (*quicgo.Conn, ClientConn, error) {
	for {
		c, err := l.quic.Accept(ctx)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, quicgo.ErrServerClosed) || errors.Is(err, quicgo.ErrTransportClosed) {
				err = net.ErrClosed
			}
			return nil, nil, err
		}
		a := c.Context().Value(guestKey{}).(*arrival)
		a.conn.Store(c)
		state := c.ConnectionState().TLS
		if err := a.guest.HandshakeDone(state.DidResume, state.PeerCertificates); err != nil {
			go c.CloseWithError(ExcessiveLoad, "")
			continue
		}
		return c, a.guest, nil
	}
}

// ClientConnOf returns who a connection's client is.
func ClientConnOf(c *quicgo.Conn) ClientConn { return c.Context().Value(guestKey{}).(*arrival).guest }

// Remote returns where a connection's client is now: its address may change (RFC 9000, section 9).
func Remote(c *quicgo.Conn) netip.AddrPort {
	at, _ := addrPort(c.RemoteAddr())
	return at
}

// Close ends all connections.
func (l *Listener) Close() error {
	_ = l.quic.Close()
	return l.ways.Close()
}

func addrPort(a net.Addr) (netip.AddrPort, bool) {
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}, false
	}
	at := u.AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port()), true
}
