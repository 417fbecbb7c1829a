package exchange

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"os"
	"time"
)

// ConnectTimeout is how long a connection may take to come about: four SYNs, which
// leave after 0, 1, 3 and 7 s.
const ConnectTimeout = 10 * time.Second

// A Dialer opens sockets and connections to servers. Its zero value is ready, and the
// system chooses where questions leave from.
type Dialer struct {
	Source  netip.AddrPort // where to send from; port 0: any; zero: the system chooses
	Timeout time.Duration  // of connecting; 0: ConnectTimeout
	// Dial opens in place of the system, for networks that are not the machine's; it
	// knows Source. network is udp or tcp.
	Dial func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error)
	// TLS has streams speak TLS; nil: they are in the clear.
	TLS *tls.Config
}

// Datagrams opens a UDP socket that is connected to a server.
func (d *Dialer) Datagrams(ctx context.Context, to netip.AddrPort) (Socket, error) {
	c, err := d.Open(ctx, "udp", to)
	if err != nil {
		return nil, err
	}
	return Datagrams(c), nil
}

// Stream connects to a server over TCP, or over TLS.
func (d *Dialer) Stream(ctx context.Context, to netip.AddrPort) (*Stream, error) {
	begin := time.Now()
	c, err := d.Open(ctx, "tcp", to)
	if err != nil {
		return nil, err
	}
	if d.TLS == nil {
		return NewStream(c), nil
	}
	// The time of connecting is that of both handshakes.
	within, cancel := context.WithDeadline(ctx, begin.Add(cmp.Or(d.Timeout, ConnectTimeout)))
	defer cancel()
	t := tls.Client(c, d.TLS)
	if err := t.HandshakeContext(within); err != nil {
		c.Close()
		if within.Err() != nil && ctx.Err() == nil {
			err = os.ErrDeadlineExceeded
		}
		return nil, ended(ctx, err)
	}
	return NewStream(t), nil
}

// Open opens a socket ("udp") or a connection ("tcp").
func (d *Dialer) Open(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	timeout := d.Timeout
	if timeout == 0 {
		timeout = ConnectTimeout
	}
	outer := ctx
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var c net.Conn
	var err error
	if d.Dial != nil {
		c, err = d.Dial(ctx, network, to)
	} else {
		c, err = d.system(ctx, network, to)
	}
	if err != nil {
		return nil, ended(outer, err)
	}
	return c, nil
}

func (d *Dialer) system(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	var n net.Dialer
	switch {
	case !d.Source.IsValid():
	case network == "tcp":
		n.LocalAddr = net.TCPAddrFromAddrPort(d.Source)
	default:
		n.LocalAddr = net.UDPAddrFromAddrPort(d.Source)
	}
	return n.DialContext(ctx, network, to.String())
}
