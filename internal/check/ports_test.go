package check_test

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"port53/internal/check"
)

// scanned returns the states and reasons of a port, UDP first.
func scanned(t *testing.T, at netip.AddrPort, connect bool) [2]check.Port {
	t.Helper()
	p := check.Ports(t.Context(), at, &check.Options{Timeout: 100 * time.Millisecond, Connect: connect})
	if len(p) != 2 || p[0].Proto != "udp" || p[1].Proto != "tcp" || p[0].Number != at.Port() {
		t.Fatalf("%+v", p)
	}
	return [2]check.Port(p)
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

func TestPorts(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		u, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(host)})
		if err != nil {
			t.Logf("without %s: %v", host, err)
			continue
		}
		at := u.LocalAddr().(*net.UDPAddr).AddrPort()
		for _, connect := range []bool{false, true} {
			got := scanned(t, at, connect)
			if got[0].State != check.StateOpenFiltered || got[0].Reason != "no-response" {
				t.Errorf("%s silent: %+v", at, got[0])
			}
			if got[1].State != check.StateClosed || got[1].Reason != reset(connect) {
				t.Errorf("%s closed: %+v", at, got[1])
			}
		}
		u.Close()
		l, err := net.Listen("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		for _, connect := range []bool{false, true} {
			got := scanned(t, at, connect)
			if got[0].State != check.StateClosed || got[0].Reason != "port-unreach" {
				t.Errorf("%s closed: %+v", at, got[0])
			}
			if got[1].State != check.StateOpen || got[1].Reason != "syn-ack" {
				t.Errorf("%s open: %+v", at, got[1])
			}
		}
		l.Close()
	}
	at := serve(t, 1, good)[0]
	if got := scanned(t, at, true); got[0].State != check.StateOpen || got[0].Reason != "udp-response" || got[0].From != "" || got[1].State != check.StateOpen {
		t.Errorf("a server: %+v", got)
	}
}

// TestPortsAnswerFromElsewhere has a server that answers from another address, and
// after that from another port: no answers, but seen.
func TestPortsAnswerFromElsewhere(t *testing.T) {
	if _, err := os.Stat("/proc/net/udp"); err != nil {
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
			b[2] |= 0x80
			out.WriteToUDP(b[:n], from)
		}
	}()
	got := scanned(t, in.LocalAddr().(*net.UDPAddr).AddrPort(), true)[0]
	if got.State != check.StateOpenFiltered || got.Reason != "no-response" || got.From != out.LocalAddr().String() {
		t.Errorf("%+v", got)
	}
}

func TestScanTCP(t *testing.T) {
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
	var got []uint16
	for _, p := range check.ScanTCP(t.Context(), netip.MustParseAddr("127.0.0.1"), list, &check.Options{}) {
		got = append(got, p.Number)
		if p.State != check.StateOpen || p.Reason != "syn-ack" || p.Proto != "tcp" {
			t.Errorf("%+v", p)
		}
	}
	if !slices.Equal(got, open) {
		t.Errorf("open: %v, want %v", got, open)
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
		got, err := check.ParsePorts(x.text)
		if !slices.Equal(got, x.want) || (err != nil) != (x.want == nil) {
			t.Errorf("%q: %v %v", x.text, got, err)
		}
	}
	if all, err := check.ParsePorts("1-65535"); err != nil || len(all) != 65535 {
		t.Errorf("all: %d %v", len(all), err)
	}
}
