package scan_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"port53/internal/scan"
)

// scanned returns the states and reasons of a port.
func scanned(t *testing.T, at netip.AddrPort, connect bool) (udp, tcp scan.Port) {
	t.Helper()
	udp, tcp = scan.New(scan.Options{Timeout: 100 * time.Millisecond, Connect: connect}).Ports(t.Context(), at)
	if udp.Proto != "udp" || tcp.Proto != "tcp" || udp.Number != at.Port() || tcp.Number != at.Port() {
		t.Fatalf("%+v %+v", udp, tcp)
	}
	return udp, tcp
}

// datagrams serves UDP at an address: handle returns what to send back, if anything.
func datagrams(t *testing.T, at netip.AddrPort, handle func(b []byte) []byte) netip.AddrPort {
	t.Helper()
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		t.Skipf("missing: %s: %v", at, err)
	}
	t.Cleanup(func() { u.Close() })
	go func() {
		b := make([]byte, 2048)
		for {
			n, from, err := u.ReadFromUDP(b)
			if err != nil {
				return
			}
			if m := handle(b[:n]); m != nil {
				u.WriteToUDP(m, from)
			}
		}
	}()
	return u.LocalAddr().(*net.UDPAddr).AddrPort()
}

func echo(b []byte) []byte {
	b[2] |= 0x80
	return b
}

// reset is how a closed TCP port shows.
func reset(connect bool) string {
	if c, err := net.DialIP("ip4:tcp", nil, &net.IPAddr{IP: net.IPv4(127, 0, 0, 1)}); err == nil {
		c.Close()
		if !connect {
			return "reset"
		}
	}
	return "conn-refused"
}

// errorsTold reports whether sockets tell ICMP errors here.
func errorsTold() bool {
	_, err := os.Stat("/proc/net/udp")
	return err == nil
}

// pair binds one port for UDP and for TCP. A port that is free for the one may be
// somebody's for the other: then another is tried.
func pair(t *testing.T, host string) (u net.PacketConn, l net.Listener) {
	t.Helper()
	const tries = 50
	var last error
	for range tries {
		u, err := net.ListenPacket("udp", net.JoinHostPort(host, "0"))
		if err != nil {
			t.Skipf("missing: %s: %v", host, err)
		}
		l, err := net.Listen("tcp", u.LocalAddr().String())
		if err == nil {
			t.Cleanup(func() { u.Close(); l.Close() })
			return u, l
		}
		u.Close()
		last = err
	}
	t.Fatal(last)
	return nil, nil
}

func TestPorts(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		t.Run(host, func(t *testing.T) {
			u, l := pair(t, host)
			l.Close()
			at := u.LocalAddr().(*net.UDPAddr).AddrPort()
			for _, connect := range []bool{false, true} {
				udp, tcp := scanned(t, at, connect)
				if udp.State != scan.OpenFiltered || udp.Reason != "no-response" {
					t.Errorf("%s silent: %+v", at, udp)
				}
				if tcp.State != scan.Closed || tcp.Reason != reset(connect) {
					t.Errorf("%s closed: %+v", at, tcp)
				}
			}
			u, l = pair(t, host)
			u.Close()
			at = l.Addr().(*net.TCPAddr).AddrPort()
			for _, connect := range []bool{false, true} {
				udp, tcp := scanned(t, at, connect)
				if udp.State != scan.Closed || udp.Reason != "port-unreach" {
					t.Errorf("%s closed: %+v", at, udp)
				}
				if tcp.State != scan.Open || tcp.Reason != "syn-ack" {
					t.Errorf("%s open: %+v", at, tcp)
				}
			}
		})
	}
	at := datagrams(t, netip.MustParseAddrPort("127.0.0.1:0"), echo)
	udp, _ := scanned(t, at, true)
	if udp.State != scan.Open || udp.Reason != "udp-response" || udp.From != "" || udp.Denied() || udp.NoRoute() {
		t.Errorf("a server: %+v", udp)
	}
	if got, want := udp.String(), at.String()[len("127.0.0.1:"):]+"/udp open (udp-response)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestFromElsewhere has a server that answers from another address: no answer, but seen.
func TestFromElsewhere(t *testing.T) {
	if !errorsTold() {
		t.Skip("missing: Linux, whose sockets see answers from elsewhere with the errors")
	}
	in, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2)})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	go func() {
		b := make([]byte, 512)
		for {
			n, from, err := in.ReadFromUDP(b)
			if err != nil {
				return
			}
			out.WriteToUDP(echo(b[:n]), from)
		}
	}()
	got, _ := scanned(t, in.LocalAddr().(*net.UDPAddr).AddrPort(), true)
	if got.State != scan.OpenFiltered || got.Reason != "no-response" || got.From != out.LocalAddr().String() {
		t.Errorf("%+v", got)
	}
}

// TestOtherServices has a server of multicast DNS, and one of QUIC that tells its
// versions to a datagram that is as RFC 9000, section 17.2, has it, and to no other.
func TestOtherServices(t *testing.T) {
	quic := func(b []byte) []byte {
		if len(b) < 1200 || b[0]&0xc0 != 0xc0 || b[5] > 20 || len(b) < 7+int(b[5]) || b[6+b[5]] > 20 {
			return nil
		}
		d := 6 + int(b[5])
		to, from := b[5:d], b[d:d+1+int(b[d])]
		if string(b[1:5]) == "\x00\x00\x00\x01" || string(b[1:5]) == "\x00\x00\x00\x00" {
			return nil // a version that there is, or one that is never asked with
		}
		return slices.Concat([]byte{0x80, 0, 0, 0, 0}, from, to, []byte{0, 0, 0, 1})
	}
	for port, handle := range map[uint16]func([]byte) []byte{scan.QUIC: quic, scan.HTTPS: quic, scan.MDNS: echo} {
		at := datagrams(t, netip.AddrPortFrom(netip.MustParseAddr("127.0.53.9"), port), handle)
		if udp, _ := scanned(t, at, true); udp.State != scan.Open || udp.Reason != "udp-response" {
			t.Errorf("%d: %v", port, udp)
		}
	}
}

func TestOpen(t *testing.T) {
	var list []uint16
	var open []uint16
	for i := range 3 {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		n := l.Addr().(*net.TCPAddr).AddrPort().Port()
		list = append(list, n)
		if i == 1 {
			l.Close()
		} else {
			open = append(open, n)
		}
	}
	s, host := scan.New(scan.Options{}), netip.MustParseAddr("127.0.0.1")
	var got []uint16
	for _, p := range s.Open(t.Context(), host, list) {
		got = append(got, p.Number)
		if p.State != scan.Open || p.Reason != "syn-ack" || p.Proto != "tcp" {
			t.Errorf("%+v", p)
		}
	}
	if !slices.Equal(got, open) {
		t.Errorf("open: %v, want %v", got, open)
	}
	for i, want := range []string{scan.Open, scan.Closed} {
		if p := s.Connect(t.Context(), netip.AddrPortFrom(host, list[i])); p.State != want || p.Number != list[i] || p.Proto != "tcp" {
			t.Errorf("%+v, want it %s", p, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := s.Open(ctx, host, list); len(got) != 0 {
		t.Errorf("after the end: %v", got)
	}
}

// TestCountRefused has the loopback of this machine, which refuses each closed port and
// does not limit errors.
func TestCountRefused(t *testing.T) {
	if !errorsTold() {
		t.Skip("missing: Linux, whose sockets tell the errors of many ports")
	}
	host := netip.MustParseAddr("127.0.53.10")
	datagrams(t, netip.AddrPortFrom(host, 33440), func([]byte) []byte { return nil })
	for _, x := range []struct{ n, want int }{{6, 6}, {7, 6}, {20, 19}} { // 33440 is the seventh, and open
		got, err := scan.CountRefused(t.Context(), host, 33434, x.n, 500*time.Millisecond)
		if err != nil || got != x.want {
			t.Errorf("%d of %d, want %d (%v)", got, x.n, x.want, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := scan.CountRefused(ctx, host, 33434, 1, time.Minute); err == nil {
		t.Error("it is counted after the end")
	}
}

func TestParsePorts(t *testing.T) {
	for _, x := range []struct {
		text string
		want []uint16
	}{
		{"53", []uint16{53}},
		{"53,80-82,81", []uint16{53, 80, 81, 82}},
		{"65534-65535", []uint16{65534, 65535}},
		{"", nil},
		{"0", nil},
		{"65536", nil},
		{"9-3", nil},
		{"-5", nil},
		{"x", nil},
		{"1-", nil},
	} {
		got, err := scan.ParsePorts(x.text)
		if !slices.Equal(got, x.want) || (err != nil) != (x.want == nil) {
			t.Errorf("%q: %v %v", x.text, got, err)
		}
	}
	if all, err := scan.ParsePorts("1-65535"); err != nil || len(all) != 65535 {
		t.Errorf("all: %d %v", len(all), err)
	}
}
