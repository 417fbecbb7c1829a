package check

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
		return nil, nil //nolint:nilnil // neither: the caller reads on
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
	return nil, nil //nolint:nilnil // neither: the caller reads on
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

// The octets of a TCP header that a scan sends and reads (RFC 9293, section 3.1).
const (
	tcpLen  = 24 // with the option of the segment size, as systems send it
	flagSyn = 0x02
	flagRst = 0x04
	flagAck = 0x10
)

// scanSyn tells the state of a TCP port by the first half of a handshake, which no
// program at the other side sees. The system ends it by RST, since the port that it
// comes from is kept and listens to nothing. It fails where raw sockets are not allowed.
func scanSyn(ctx context.Context, at netip.AddrPort, p *pace) (state, reason string, err error) {
	addr := at.Addr().Unmap()
	network := "ip4:tcp"
	if addr.Is6() {
		network = "ip6:tcp"
	}
	c, err := net.DialIP(network, nil, &net.IPAddr{IP: addr.AsSlice()})
	if err != nil {
		return "", "", err
	}
	s, err := withErrors(&socket{conn: c, to: at, v6: addr.Is6()})
	if err != nil {
		return "", "", err
	}
	defer s.Close()
	stop := context.AfterFunc(ctx, func() { _ = s.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	local, ok := netip.AddrFromSlice(c.LocalAddr().(*net.IPAddr).IP)
	if !ok {
		return "", "", errors.New("no address of our own")
	}
	local = local.Unmap()
	buf := make([]byte, 4096) // a segment of a handshake and its headers, with room
	for try := range portTries {
		source, release, err := keepPort(local)
		if err != nil {
			return "", "", err
		}
		sequence := binary.BigEndian.Uint32(randomBytes(4))
		sent := time.Now()
		if err := s.send(synSegment(netip.AddrPortFrom(local, source), netip.AddrPortFrom(addr, at.Port()), sequence)); err != nil {
			if state, reason, ok := unsent(err); ok && reason != reasonPort {
				release()
				return state, reason, nil
			}
		}
		_ = s.SetReadDeadline(sent.Add(p.wait(try)))
		state, reason = "", ""
		for state == "" && ctx.Err() == nil {
			m, err := s.receive(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				release()
				if state, reason, ok := unsent(err); ok && reason != reasonPort {
					return state, reason, nil
				}
				return "", "", err
			}
			state, reason = judgeSegment(m, s.v6, source, at.Port(), sequence)
		}
		release()
		if state != "" {
			if state == StateOpen || reason == reasonReset {
				p.learn(time.Since(sent))
			}
			return state, reason, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return StateFiltered, reasonSilent, nil
}

// judgeSegment returns the state that a packet tells, or "" if it is not for the scan.
func judgeSegment(m received, v6 bool, source, port uint16, sequence uint32) (state, reason string) {
	b := m.data
	if m.icmp != nil {
		// The data is what was sent, from the TCP header on.
		if len(b) >= 8 && binary.BigEndian.Uint16(b) == source && binary.BigEndian.Uint16(b[2:]) == port {
			if reason := m.icmp.reason(); reason != "" {
				return StateFiltered, reason
			}
		}
		return "", ""
	}
	if !v6 { // an IPv4 header is before it
		if len(b) < 20 || len(b) < 4*int(b[0]&15) {
			return "", ""
		}
		b = b[4*int(b[0]&15):]
	}
	if len(b) < 20 || binary.BigEndian.Uint16(b) != port || binary.BigEndian.Uint16(b[2:]) != source {
		return "", ""
	}
	switch flags, ack := b[13], binary.BigEndian.Uint32(b[8:]); {
	case flags&flagRst != 0:
		return StateClosed, reasonReset
	case flags&(flagSyn|flagAck) == flagSyn|flagAck && ack == sequence+1:
		return StateOpen, reasonSynAck
	case flags&(flagSyn|flagAck) == flagSyn:
		return StateOpen, "split-handshake-syn"
	}
	return "", ""
}

// keepPort keeps a TCP port that nobody else gets until it is released.
func keepPort(local netip.Addr) (port uint16, release func(), err error) {
	family, a := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: local.As16()})
	if local.Is4() {
		family, a = unix.AF_INET, &unix.SockaddrInet4{Addr: local.As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, nil, os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, a); err != nil {
		unix.Close(fd)
		return 0, nil, os.NewSyscallError("bind", err)
	}
	got, err := unix.Getsockname(fd)
	if err != nil {
		unix.Close(fd)
		return 0, nil, os.NewSyscallError("getsockname", err)
	}
	return addrPort(got).Port(), func() { unix.Close(fd) }, nil
}

// synSegment returns the segment that opens a connection.
func synSegment(from, to netip.AddrPort, sequence uint32) []byte {
	b := make([]byte, tcpLen)
	binary.BigEndian.PutUint16(b, from.Port())
	binary.BigEndian.PutUint16(b[2:], to.Port())
	binary.BigEndian.PutUint32(b[4:], sequence)
	b[12], b[13] = tcpLen/4<<4, flagSyn
	binary.BigEndian.PutUint16(b[14:], 1024)                        // the window; nothing is to come
	copy(b[20:], []byte{2, 4, 0x05, 0xb4})                          // segments of 1,460 octets
	pseudo := append(from.Addr().AsSlice(), to.Addr().AsSlice()...) // the addresses count too
	sum := uint32(tcpLen + unix.IPPROTO_TCP)
	for _, part := range [][]byte{pseudo, b} {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[16:], ^uint16(sum))
	return b
}

// unfragmented sees to it that a socket's datagrams go in one piece or not at all.
func unfragmented(c net.Conn) error {
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
