package server

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestFreebind(t *testing.T) {
	// Documentation addresses (RFC 5737, RFC 3849): no interface has them.
	for _, a := range []string{"192.0.2.53:0", "[2001:db8::53]:0"} {
		o := Options{Addrs: []netip.AddrPort{netip.MustParseAddrPort(a)}, Handler: silent{}, Workers: 2}
		if _, err := Listen(o); !errors.Is(err, syscall.EADDRNOTAVAIL) {
			if a[0] == '[' && errors.Is(err, syscall.EAFNOSUPPORT) {
				continue // no IPv6
			}
			t.Fatalf("%s without Freebind: error %v, want EADDRNOTAVAIL", a, err)
		}
		o.Freebind = true
		s, err := Listen(o)
		if err != nil {
			t.Errorf("%s: %v", a, err)
			continue
		}
		if got := s.Addrs()[0]; got.Addr() != o.Addrs[0].Addr() || got.Port() == 0 {
			t.Errorf("%s: listens on %s", a, got)
		}
		s.closeSockets()
	}
}

// TestUDPSocketOptions reads back what keeps answers whole and ours.
func TestUDPSocketOptions(t *testing.T) {
	for _, tt := range []struct {
		addr  string
		level int
		want  map[int]int
	}{
		{"127.0.0.1:0", unix.IPPROTO_IP, map[int]int{unix.IP_MTU_DISCOVER: unix.IP_PMTUDISC_OMIT, unix.IP_PKTINFO: 0}},
		{"0.0.0.0:0", unix.IPPROTO_IP, map[int]int{unix.IP_MTU_DISCOVER: unix.IP_PMTUDISC_OMIT, unix.IP_PKTINFO: 1}},
		{"[::1]:0", unix.IPPROTO_IPV6, map[int]int{
			unix.IPV6_MTU_DISCOVER: unix.IPV6_PMTUDISC_OMIT, unix.IPV6_DONTFRAG: 1, unix.IPV6_V6ONLY: 1, unix.IPV6_RECVPKTINFO: 0,
		}},
		{"[::]:0", unix.IPPROTO_IPV6, map[int]int{
			unix.IPV6_MTU_DISCOVER: unix.IPV6_PMTUDISC_OMIT, unix.IPV6_DONTFRAG: 1, unix.IPV6_V6ONLY: 1, unix.IPV6_RECVPKTINFO: 1,
		}},
	} {
		t.Run(tt.addr, func(t *testing.T) {
			s, err := Listen(Options{Addrs: []netip.AddrPort{netip.MustParseAddrPort(tt.addr)}, Handler: silent{}, Workers: 1})
			if err != nil {
				t.Skip(err) // no IPv6
			}
			defer s.closeSockets()
			rc, err := s.udp[0].conn.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			err = rc.Control(func(fd uintptr) {
				for option, want := range tt.want {
					if got, err := unix.GetsockoptInt(int(fd), tt.level, option); err != nil || got != want {
						t.Errorf("option %d: %d, %v; want %d", option, got, err, want)
					}
				}
				// The system doubles what it grants, and may grant less.
				if got, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF); err != nil || got < 64<<10 {
					t.Errorf("receive buffer: %d octets, %v", got, err)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestAskedLink keeps the link of a link-local address, and of no other.
func TestAskedLink(t *testing.T) {
	for _, tt := range []struct {
		addr string
		keep bool
	}{{"fe80::53", true}, {"2001:db8::53", false}, {"fd00::53", false}, {"::1", false}} {
		c := make([]byte, unix.CmsgSpace(unix.SizeofInet6Pktinfo))
		h := (*unix.Cmsghdr)(unsafe.Pointer(&c[0]))
		h.Level, h.Type = unix.IPPROTO_IPV6, unix.IPV6_PKTINFO
		h.SetLen(unix.CmsgLen(unix.SizeofInet6Pktinfo))
		addr := netip.MustParseAddr(tt.addr)
		raw := addr.As16()
		copy(c[unix.CmsgLen(0):], raw[:])
		binary.NativeEndian.PutUint32(c[unix.CmsgLen(16):], 7)
		local, reply := asked(c)
		if local != addr || len(reply) != len(c) {
			t.Fatalf("%s: %v, %d octets", tt.addr, local, len(reply))
		}
		if got := binary.NativeEndian.Uint32(reply[unix.CmsgLen(16):]) == 7; got != tt.keep {
			t.Errorf("%s: the link is kept: %v, want %v", tt.addr, got, tt.keep)
		}
	}
}

// TestUDPLinkLocal asks a wildcard socket by a link-local address of this host,
// where it has one.
func TestUDPLinkLocal(t *testing.T) {
	var ask netip.Addr
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		addrs, _ := link.Addrs()
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() && link.Flags&net.FlagUp != 0 {
				ask = p.Addr().WithZone(link.Name)
			}
		}
	}
	if !ask.IsValid() {
		t.Skip("no interface has a link-local address")
	}
	for _, portable := range []bool{false, true} {
		s, err := Listen(Options{Addrs: []netip.AddrPort{netip.MustParseAddrPort("[::]:0")}, Handler: mirror{}, Portable: portable})
		if err != nil {
			t.Skip(err)
		}
		s.Start()
		c, err := net.DialUDP("udp6", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(ask, s.Addrs()[0].Port())))
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
		_, _ = c.Write(make([]byte, headerLen))
		if n, err := c.Read(make([]byte, 100)); n != headerLen {
			t.Errorf("portable %v: %d octets, %v", portable, n, err)
		}
		c.Close()
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// mirror sends everything back.
type mirror struct{}

func (mirror) NewWorker() Worker                               { return mirror{} }
func (mirror) Handle(q []byte, _ *Peer, _ int64, r []byte) int { return copy(r, q) }
