package scan

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A socket is one that tells ICMP errors with their type and code, which Linux does
// without privileges (IP_RECVERR).
type socket struct {
	conn interface {
		net.PacketConn
		syscall.Conn
	}
	raw syscall.RawConn
	to  netip.AddrPort
	v6  bool
}

func (s *socket) Close() error                      { return s.conn.Close() }
func (s *socket) SetReadDeadline(t time.Time) error { return s.conn.SetReadDeadline(t) }

// openUDP opens a socket that takes datagrams from anybody, so that answers from
// another address than the one that was asked are seen.
func openUDP(_ context.Context, at netip.AddrPort) (*socket, error) {
	network := "udp4"
	if !at.Addr().Unmap().Is4() {
		network = "udp6"
	}
	c, err := net.ListenUDP(network, nil)
	if err != nil {
		return nil, err
	}
	return withErrors(&socket{conn: c, to: netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), v6: network == "udp6"})
}

// withErrors turns on that ICMP errors are told.
func withErrors(s *socket) (*socket, error) {
	var err error
	if s.raw, err = s.conn.SyscallConn(); err != nil {
		s.Close()
		return nil, err
	}
	level, opt := unix.SOL_IP, unix.IP_RECVERR
	if s.v6 {
		level, opt = unix.SOL_IPV6, unix.IPV6_RECVERR
	}
	var failed error
	if err := s.raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), level, opt, 1) }); err != nil || failed != nil {
		s.Close()
		return nil, errors.Join(err, failed)
	}
	return s, nil
}

// send sends a datagram. An error that is the answer to an earlier one is not this
// one's: it stands in the queue of errors, and the datagram goes again.
func (s *socket) send(msg []byte) error { return s.sendTo(msg, s.to) }

func (s *socket) sendTo(msg []byte, to netip.AddrPort) error {
	var err error
	for range 3 { // as many as may be under way
		if u, ok := s.conn.(*net.UDPConn); ok {
			_, err = u.WriteToUDPAddrPort(msg, to)
		} else {
			_, err = s.conn.(net.Conn).Write(msg)
		}
		if err == nil || errors.Is(err, unix.EPERM) {
			return err
		}
	}
	return err
}

// receive waits for a datagram or an ICMP error.
func (s *socket) receive(buf []byte) (received, error) {
	oob := make([]byte, 512) // struct sock_extended_err and two addresses, with room
	for {
		var got received
		var local error
		err := s.raw.Read(func(fd uintptr) bool {
			n, size, _, from, err := unix.Recvmsg(int(fd), buf, oob, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
			if err == nil {
				got = received{data: buf[:n], from: addrPort(from)}
				got.icmp, local = parseError(oob[:size])
				return true
			}
			n, from, err = unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT)
			if err == nil {
				got = received{data: buf[:n], from: addrPort(from)}
			}
			// Any other error is one that the queue tells more of: it is read next.
			return !errors.Is(err, unix.EAGAIN)
		})
		if err != nil || local != nil || got.icmp != nil || got.data != nil {
			return got, errors.Join(err, local)
		}
	}
}

// parseError reads what the queue of errors holds of one: an ICMP error, or an error of
// our own system (struct sock_extended_err in linux/errqueue.h).
func parseError(oob []byte) (*icmpError, error) {
	const (
		ofICMP, ofICMP6 = 2, 3
		size            = 16 // of the struct; the sender's address follows
	)
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, nil // neither: the caller reads on
	}
	for _, m := range messages {
		is4 := m.Header.Level == unix.SOL_IP && m.Header.Type == unix.IP_RECVERR
		is6 := m.Header.Level == unix.SOL_IPV6 && m.Header.Type == unix.IPV6_RECVERR
		if !is4 && !is6 || len(m.Data) < size {
			continue
		}
		origin := m.Data[4]
		if origin != ofICMP && origin != ofICMP6 {
			return nil, os.NewSyscallError("sendto", syscall.Errno(binary.NativeEndian.Uint32(m.Data)))
		}
		e := &icmpError{v6: origin == ofICMP6, kind: m.Data[5], code: m.Data[6]}
		switch a := m.Data[size:]; {
		case len(a) >= 8 && binary.NativeEndian.Uint16(a) == unix.AF_INET:
			e.from, _ = netip.AddrFromSlice(a[4:8])
		case len(a) >= 24 && binary.NativeEndian.Uint16(a) == unix.AF_INET6:
			e.from, _ = netip.AddrFromSlice(a[8:24])
		}
		return e, nil
	}
	return nil, nil // neither: the caller reads on
}

// addrPort returns the address of a socket address.
func addrPort(a unix.Sockaddr) netip.AddrPort {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// DontFragment makes a UDP socket send its datagrams in one piece or not at all.
func DontFragment(c net.Conn) error {
	u, ok := c.(*net.UDPConn)
	if !ok {
		return errors.ErrUnsupported
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return err
	}
	level, opt, value := unix.SOL_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO
	if a, ok := c.RemoteAddr().(*net.UDPAddr); ok && a.IP.To4() == nil {
		level, opt, value = unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), level, opt, value) }); err != nil {
		return err
	}
	return os.NewSyscallError("setsockopt", failed)
}
