//go:build !linux

package scan

import (
	"context"
	"errors"
	"net"
	"net/netip"
)

// A socket is connected: of ICMP errors it tells only what the system makes an error
// of, and it sees no answers from other addresses.
type socket struct{ net.Conn }

func openUDP(ctx context.Context, at netip.AddrPort) (*socket, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "udp", at.String())
	if err != nil {
		return nil, err
	}
	return &socket{c}, nil
}

func (s *socket) send(msg []byte) error {
	_, err := s.Write(msg)
	return err
}

// sendTo cannot send elsewhere: who counts errors needs one socket for all ports.
func (s *socket) sendTo([]byte, netip.AddrPort) error { return errors.ErrUnsupported }

func (s *socket) receive(buf []byte) (received, error) {
	n, err := s.Read(buf)
	if err != nil {
		return received{}, err
	}
	from, err := netip.ParseAddrPort(s.RemoteAddr().String())
	return received{data: buf[:n], from: from}, err
}

// halfOpen has no raw sockets here: ports are looked at by connecting.
func (s *Scanner) halfOpen(context.Context, netip.AddrPort) (state, reason string, err error) {
	return "", "", errors.ErrUnsupported
}

// DontFragment leaves datagrams to the system here.
func DontFragment(net.Conn) error { return nil }
