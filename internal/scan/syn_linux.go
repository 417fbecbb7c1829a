package scan

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The octets of a TCP header that a scan sends and reads (RFC 9293, section 3.1).
const (
	tcpLen  = 24 // with the option of the segment size, as systems send it
	flagSyn = 0x02
	flagRst = 0x04
	flagAck = 0x10
)

// halfOpen tells the state of a TCP port by the first half of a handshake, which no
// program at the other side sees. The system ends it by RST, since the port that it
// comes from is kept and listens to nothing. It fails where raw sockets are not allowed.
func (s *Scanner) halfOpen(ctx context.Context, at netip.AddrPort) (state, reason string, err error) {
	addr := at.Addr().Unmap()
	network := "ip4:tcp"
	if addr.Is6() {
		network = "ip6:tcp"
	}
	c, err := net.DialIP(network, nil, &net.IPAddr{IP: addr.AsSlice()})
	if err != nil {
		return "", "", err
	}
	raw, err := withErrors(&socket{conn: c, to: at, v6: addr.Is6()})
	if err != nil {
		return "", "", err
	}
	defer raw.Close()
	stop := context.AfterFunc(ctx, func() { _ = raw.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	local, ok := netip.AddrFromSlice(c.LocalAddr().(*net.IPAddr).IP)
	if !ok {
		return "", "", errors.New("no address of our own")
	}
	to := netip.AddrPortFrom(addr, at.Port())
	for try := range tries {
		sent := time.Now()
		state, reason, err = raw.handshake(ctx, local.Unmap(), to, sent.Add(s.wait(try, leastWait)))
		if err != nil {
			return "", "", err
		}
		if state == Open || reason == reasonReset {
			s.learn(time.Since(sent))
		}
		if state != "" {
			return state, reason, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return Filtered, reasonSilent, nil
}

// handshake sends one SYN and returns the state that comes back before the deadline, or
// "" if nothing does.
func (s *socket) handshake(ctx context.Context, local netip.Addr, to netip.AddrPort, deadline time.Time) (state, reason string, err error) {
	source, release, err := keepPort(local)
	if err != nil {
		return "", "", err
	}
	defer release()
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	sequence := binary.BigEndian.Uint32(random[:])
	if err := s.send(synSegment(netip.AddrPortFrom(local, source), to, sequence)); err != nil {
		if state, reason, ok := unsent(err); ok && reason != reasonPort {
			return state, reason, nil
		}
	}
	_ = s.SetReadDeadline(deadline)
	buf := make([]byte, 4096) // a segment of a handshake and its headers, with room
	for state == "" && ctx.Err() == nil {
		m, err := s.receive(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			if state, reason, ok := unsent(err); ok && reason != reasonPort {
				return state, reason, nil
			}
			return "", "", err
		}
		state, reason = judgeSegment(m, s.v6, source, to.Port(), sequence)
	}
	return state, reason, nil
}

// judgeSegment returns the state that a packet tells, or "" if it is not for the scan.
func judgeSegment(m received, v6 bool, source, port uint16, sequence uint32) (state, reason string) {
	b := m.data
	if m.icmp != nil {
		// The data is what was sent, from the TCP header on.
		if len(b) >= 8 && binary.BigEndian.Uint16(b) == source && binary.BigEndian.Uint16(b[2:]) == port {
			if reason := m.icmp.reason(); reason != "" {
				return Filtered, reason
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
		return Closed, reasonReset
	case flags&(flagSyn|flagAck) == flagSyn|flagAck && ack == sequence+1:
		return Open, reasonSynAck
	case flags&(flagSyn|flagAck) == flagSyn:
		return Open, "split-handshake-syn"
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
