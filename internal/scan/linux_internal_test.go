//go:build linux

package scan

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDontFragment reads back what was set.
func TestDontFragment(t *testing.T) {
	for at, want := range map[string][3]int{
		"127.0.0.1:9": {unix.SOL_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO},
		"[::1]:9":     {unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO},
	} {
		c, err := net.Dial("udp", at)
		if err != nil {
			t.Logf("without %s: %v", at, err)
			continue
		}
		defer c.Close()
		if err := DontFragment(c); err != nil {
			t.Errorf("%s: %v", at, err)
		}
		raw, err := c.(*net.UDPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var got int
		var failed error
		if err := raw.Control(func(fd uintptr) { got, failed = unix.GetsockoptInt(int(fd), want[0], want[1]) }); err != nil || failed != nil || got != want[2] {
			t.Errorf("%s: %d, want %d (%v, %v)", at, got, want[2], err, failed)
		}
	}
	one, two := net.Pipe()
	defer one.Close()
	defer two.Close()
	if err := DontFragment(one); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("of what is no datagram socket: %v", err)
	}
}

// segment returns a TCP header as an answer to a SYN of sequence 1000 from port 4000 to 53.
func segment(from, to uint16, ack uint32, flags byte) []byte {
	b := make([]byte, 20)
	binary.BigEndian.PutUint16(b, from)
	binary.BigEndian.PutUint16(b[2:], to)
	binary.BigEndian.PutUint32(b[8:], ack)
	b[12], b[13] = 5<<4, flags
	return b
}

// TestSegments has the packets that a raw socket gets, which are all of the machine's: of
// another port, of another handshake, cut off.
func TestSegments(t *testing.T) {
	const v4 = 20
	for _, x := range []struct {
		name          string
		b             []byte
		icmp          *icmpError
		state, reason string
	}{
		{"open", segment(53, 4000, 1001, flagSyn|flagAck), nil, Open, "syn-ack"},
		{"an acknowledgement of another handshake", segment(53, 4000, 1000, flagSyn|flagAck), nil, "", ""},
		{"closed", segment(53, 4000, 1001, flagRst|flagAck), nil, Closed, "reset"},
		{"split handshake", segment(53, 4000, 0, flagSyn), nil, Open, "split-handshake-syn"},
		{"another service", segment(54, 4000, 1001, flagSyn|flagAck), nil, "", ""},
		{"another program's", segment(53, 4001, 1001, flagRst|flagAck), nil, "", ""},
		{"an acknowledgement alone", segment(53, 4000, 1001, flagAck), nil, "", ""},
		{"cut off", segment(53, 4000, 1001, flagRst|flagAck)[:19], nil, "", ""},
		{"prohibited", segment(4000, 53, 0, flagSyn)[:8], &icmpError{kind: 3, code: 13}, Filtered, "admin-prohibited"},
		{"an error of another port", segment(4001, 53, 0, flagSyn)[:8], &icmpError{kind: 3, code: 13}, "", ""},
		{"an error of another service", segment(4000, 54, 0, flagSyn)[:8], &icmpError{kind: 3, code: 13}, "", ""},
		{"an error that is cut off", segment(4000, 53, 0, flagSyn)[:7], &icmpError{kind: 3, code: 13}, "", ""},
		{"an error that tells no state", segment(4000, 53, 0, flagSyn)[:8], &icmpError{kind: 3, code: 4}, "", ""},
	} {
		m := received{data: x.b, icmp: x.icmp}
		if state, reason := judgeSegment(m, true, 4000, 53, 1000); state != x.state || reason != x.reason {
			t.Errorf("%s: %s %s, want %s %s", x.name, state, reason, x.state, x.reason)
		}
		if x.icmp == nil { // IPv4's header stands before it, with options or without
			for _, length := range []int{v4, v4 + 4} {
				head := make([]byte, length)
				head[0] = 0x40 | byte(length/4)
				m.data = slices.Concat(head, x.b)
				if state, reason := judgeSegment(m, false, 4000, 53, 1000); state != x.state || reason != x.reason {
					t.Errorf("%s, IPv4: %s %s, want %s %s", x.name, state, reason, x.state, x.reason)
				}
			}
		}
	}
	for _, b := range [][]byte{nil, {0x45}, append([]byte{0x4f}, make([]byte, 30)...)} {
		if state, _ := judgeSegment(received{data: b}, false, 4000, 53, 1000); state != "" {
			t.Errorf("%x: %s", b, state)
		}
	}
}

// TestSynSegment checks the checksum as the one who gets it does (RFC 9293, section 3.1).
func TestSynSegment(t *testing.T) {
	for _, x := range [][2]string{{"192.0.2.1:4000", "192.0.2.2:53"}, {"[2001:db8::1]:4000", "[2001:db8::2]:53"}} {
		from, to := netip.MustParseAddrPort(x[0]), netip.MustParseAddrPort(x[1])
		b := synSegment(from, to, 1<<31+77)
		if len(b) != tcpLen || int(b[12]>>4)*4 != tcpLen || b[13] != flagSyn || binary.BigEndian.Uint16(b) != 4000 || binary.BigEndian.Uint16(b[2:]) != 53 || binary.BigEndian.Uint32(b[4:]) != 1<<31+77 {
			t.Errorf("%s: %x", x[1], b)
		}
		sum := uint32(len(b) + 6)
		all := slices.Concat(from.Addr().AsSlice(), to.Addr().AsSlice(), b)
		for i := 0; i < len(all); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(all[i:]))
		}
		for sum > 0xffff {
			sum = sum>>16 + sum&0xffff
		}
		if sum != 0xffff {
			t.Errorf("%s: the checksum is wrong by %x", x[1], sum)
		}
	}
}

// control returns one control message as the queue of errors has them.
func control(level, kind int, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	binary.NativeEndian.PutUint64(b, uint64(unix.CmsgLen(len(data))))
	binary.NativeEndian.PutUint32(b[unix.SizeofCmsghdr-8:], uint32(level))
	binary.NativeEndian.PutUint32(b[unix.SizeofCmsghdr-4:], uint32(kind))
	copy(b[unix.CmsgLen(0):], data)
	return b
}

// TestParseError has errors as linux/errqueue.h lays them out, of both families, of our
// own system, and cut off.
func TestParseError(t *testing.T) {
	if unix.SizeofCmsghdr != 16 {
		t.Skip("missing: a machine of 64 bits, whose messages are made here")
	}
	ee := func(errno uint32, origin, kind, code byte, from []byte) []byte {
		b := binary.NativeEndian.AppendUint32(nil, errno)
		b = append(b, origin, kind, code, 0)
		return append(append(b, make([]byte, 8)...), from...)
	}
	in4 := append(binary.NativeEndian.AppendUint16(nil, unix.AF_INET), 0, 0, 192, 0, 2, 9, 0, 0, 0, 0, 0, 0, 0, 0)
	in6 := append(binary.NativeEndian.AppendUint16(nil, unix.AF_INET6), make([]byte, 26)...)
	six := netip.MustParseAddr("2001:db8::9").As16()
	copy(in6[8:], six[:])
	for _, x := range []struct {
		name string
		oob  []byte
		want *icmpError
		err  error
	}{
		{"IPv4", control(unix.SOL_IP, unix.IP_RECVERR, ee(0, 2, 3, 3, in4)), &icmpError{kind: 3, code: 3, from: netip.MustParseAddr("192.0.2.9")}, nil},
		{"IPv6", control(unix.SOL_IPV6, unix.IPV6_RECVERR, ee(0, 3, 1, 4, in6)), &icmpError{v6: true, kind: 1, code: 4, from: netip.MustParseAddr("2001:db8::9")}, nil},
		{"without a sender", control(unix.SOL_IP, unix.IP_RECVERR, ee(0, 2, 3, 3, nil)), &icmpError{kind: 3, code: 3}, nil},
		{"a sender that is cut off", control(unix.SOL_IP, unix.IP_RECVERR, ee(0, 2, 3, 3, in4[:7])), &icmpError{kind: 3, code: 3}, nil},
		{"our own", control(unix.SOL_IP, unix.IP_RECVERR, ee(uint32(syscall.EHOSTUNREACH), 1, 0, 0, nil)), nil, syscall.EHOSTUNREACH},
		{"another message", control(unix.SOL_SOCKET, unix.SO_TIMESTAMP, ee(0, 2, 3, 3, in4)), nil, nil},
		{"a struct that is cut off", control(unix.SOL_IP, unix.IP_RECVERR, make([]byte, 15)), nil, nil},
		{"nothing", nil, nil, nil},
		{"junk", []byte{1, 2, 3}, nil, nil},
	} {
		got, err := parseError(x.oob)
		if (got == nil) != (x.want == nil) || got != nil && *got != *x.want || !errors.Is(err, x.err) {
			t.Errorf("%s: %+v, %v, want %+v, %v", x.name, got, err, x.want, x.err)
		}
	}
}

// FuzzPackets has packets and control messages as nobody sends them.
func FuzzPackets(f *testing.F) {
	f.Add(segment(53, 4000, 1001, flagSyn|flagAck), false)
	f.Add(control(unix.SOL_IP, unix.IP_RECVERR, make([]byte, 32)), true)
	f.Fuzz(func(_ *testing.T, b []byte, v6 bool) {
		judgeSegment(received{data: b}, v6, 4000, 53, 1000)
		judgeSegment(received{data: b, icmp: &icmpError{v6: v6, kind: 3, code: 3}}, v6, 4000, 53, 1000)
		e, _ := parseError(b)
		if e != nil {
			e.reason()
		}
		var p Port
		p.judge(netip.MustParseAddrPort("192.0.2.1:53"), received{data: b, icmp: e}, [][]byte{b})
	})
}
