//go:build !linux

package upstream

import (
	"context"
	"net"
	"net/netip"
	"time"
)

const (
	firstPort = 1024
	portCount = 65536 - firstPort
	bindTries = 10
)

type system struct {
	random  Entropy
	sources []netip.Addr
}

// System returns the network of this machine. sources are the addresses that questions
// leave from; without any of a server's family, routes decide.
func System(sources ...netip.Addr) Network { return &system{sources: sources} }

func (s *system) source(to netip.Addr) net.IP {
	for _, a := range s.sources {
		if a.Is4() == to.Is4() {
			return a.AsSlice()
		}
	}
	return nil
}

// Socket implements [Network].
func (s *system) Socket(to netip.AddrPort) (Socket, error) {
	for tries := 0; ; tries++ {
		local := &net.UDPAddr{IP: s.source(to.Addr()), Port: firstPort + int(s.random.Below(portCount))}
		conn, err := net.DialUDP("udp", local, net.UDPAddrFromAddrPort(to))
		if err == nil {
			return socket{conn}, nil
		}
		if tries == bindTries {
			return nil, err
		}
	}
}

type socket struct{ conn *net.UDPConn }

func (c socket) Send(b []byte) error {
	_, err := c.conn.Write(b)
	return err
}

func (c socket) Recv(b []byte, deadline time.Time) (int, error) {
	if err := c.conn.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	return c.conn.Read(b)
}

func (c socket) Close() error { return c.conn.Close() }

// DialTCP implements [Network].
func (s *system) DialTCP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", to.String())
}
