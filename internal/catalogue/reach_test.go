package catalogue_test

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"port53/internal/catalogue"
	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/scan"
	"port53/internal/wire"
)

// reached runs one check at an address, with what set changes.
func reached(t *testing.T, id string, at netip.AddrPort, set func(*check.Run)) []finding.Finding {
	t.Helper()
	r := &check.Run{
		Check: checkOf(t, id), Server: finding.Server{Addr: at, Name: name("ns1.example.test")}, Zone: zone,
		Options: &check.Options{Timeout: 200 * time.Millisecond, Mode: finding.Active},
	}
	if set != nil {
		set(r)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	return r.Check.Run(ctx, r)
}

// datagram answers UDP alone: handle gets what came and where from, and returns what to
// send, if anything.
func datagram(t *testing.T, host string, handle func(u *net.UDPConn, b []byte, from *net.UDPAddr)) netip.AddrPort {
	t.Helper()
	u, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(host)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	go func() {
		b := make([]byte, 65535)
		for {
			n, from, err := u.ReadFromUDP(b)
			if err != nil {
				return
			}
			if n >= wire.HeaderLen && b[2]&0x80 == 0 {
				handle(u, b[:n], from)
			}
		}
	}()
	return u.LocalAddr().(*net.UDPAddr).AddrPort()
}

// echo returns a question as its answer.
func echo(u *net.UDPConn, b []byte, from *net.UDPAddr) {
	b[2] |= 0x80
	u.WriteToUDP(b, from)
}

// mute accepts TCP connections at a free port of UDP too, and says nothing.
func mute(t *testing.T) netip.AddrPort {
	t.Helper()
	pair := listen(t, 1)[0]
	pair.udp.Close()
	t.Cleanup(func() { pair.tcp.Close() })
	go func() {
		for {
			c, err := pair.tcp.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
		}
	}()
	return pair.tcp.Addr().(*net.TCPAddr).AddrPort()
}

func want(t *testing.T, id string, got []finding.Finding, state finding.State, detail string) {
	t.Helper()
	if !slices.ContainsFunc(got, func(f finding.Finding) bool {
		return f.State == state && strings.Contains(f.Title+" "+f.Detail, detail) && f.Evidence.Command != ""
	}) {
		t.Errorf("%s: %+v, want %s with %q", id, got, state, detail)
	}
}

// TestMirror asks a server that sends back what it gets: a query is no answer, to whatever
// opcode.
func TestMirror(t *testing.T) {
	t.Parallel()
	mirror := datagram(t, "127.0.0.1", func(u *net.UDPConn, b []byte, from *net.UDPAddr) { u.WriteToUDP(b, from) })
	for _, id := range []string{"SRV-UPDATE", "SRV-NOTIFY", "SRV-AA"} {
		want(t, id, reached(t, id, mirror, nil), finding.Unknown, "")
	}
}

// TestReached has each check of reach at a server that is wrong and at one that is
// right; TestUnreachable has them where nobody is.
func TestReached(t *testing.T) {
	right := serve(t, 1, good)[0]
	udpOnly := datagram(t, "127.0.0.1", echo)
	tcpOnly := mute(t)
	out, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 3)})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	elsewhere := datagram(t, "127.0.0.1", func(_ *net.UDPConn, b []byte, from *net.UDPAddr) { echo(out, b, from) })
	small := datagram(t, "127.0.0.1", func(u *net.UDPConn, b []byte, from *net.UDPAddr) {
		if len(b) < 1000 {
			echo(u, b, from)
		}
	})
	tunnel := datagram(t, "127.0.0.1", func(u *net.UDPConn, b []byte, from *net.UDPAddr) {
		if len(b) <= 1400 {
			echo(u, b, from)
		}
	})
	control, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	var wg sync.WaitGroup
	for _, x := range []struct {
		id     string
		at     netip.AddrPort
		set    func(*check.Run)
		state  finding.State
		detail string
	}{
		{"PORT-UDP", right, nil, finding.Pass, "open (udp-response)"},
		{"PORT-UDP", tcpOnly, nil, finding.Fail, "closed (port-unreach), while"},
		{"PORT-TCP", right, nil, finding.Pass, "and answers"},
		{"PORT-TCP", udpOnly, nil, finding.Fail, "while"},
		{"PORT-TCP", tcpOnly, nil, finding.Fail, "not answered"},
		{"PORT-SRCADDR", right, nil, finding.Pass, "open"},
		{"PORT-SRCADDR", elsewhere, nil, finding.Fail, "127.0.0.3"},
		{"HOST-TTL", right, nil, finding.Pass, "1452 octets"},
		{"HOST-TTL", small, nil, finding.Warn, "1232 octets are lost"},
		{"HOST-TTL", tunnel, nil, finding.Info, "1452 octets are lost"},
		{"PORT-NEIGH", right, nil, finding.Unknown, "loopback"},
		{"PORT-NEIGH", right, func(r *check.Run) { r.Options.Lab.Neighbours = []uint16{1} }, finding.Pass, "none"},
	} {
		wg.Go(func() { want(t, x.id, reached(t, x.id, x.at, x.set), x.state, x.detail) })
	}
	wg.Wait()
	// What is open is reported with the ports of the target, whatever it is for.
	rep := examine(t.Context(), finding.Target{Text: "x", Server: finding.Server{Addr: right}}, &check.Options{
		Timeout: 100 * time.Millisecond, Ports: []uint16{control.Addr().(*net.TCPAddr).AddrPort().Port(), 1},
	}, func(c *check.Check) bool { return c.ID == "PORT-UDP" }, func(int, int) {})
	if len(rep.Ports) != 3 || rep.Ports[2].State != scan.Open || rep.Ports[2].String() != control.Addr().(*net.TCPAddr).AddrPort().String()[len("127.0.0.1:"):]+"/tcp open (syn-ack)" {
		t.Errorf("ports: %v", rep.Ports)
	}
}

// TestNeighbours has control ports open: they are fixed, so it needs those to be free.
func TestNeighbours(t *testing.T) {
	right := serve(t, 1, good)[0]
	for port, state := range map[uint16]finding.State{8953: finding.Fail, 9153: finding.Warn} {
		at := netip.AddrPortFrom(netip.MustParseAddr("127.0.53.7"), port)
		l, err := net.Listen("tcp4", at.String())
		if err != nil {
			t.Skipf("missing: a free port: %v", err)
		}
		defer l.Close()
		got := reached(t, "PORT-NEIGH", netip.AddrPortFrom(at.Addr(), right.Port()), func(r *check.Run) { r.Options.Lab.Neighbours = []uint16{port, 8952} })
		if len(got) != 1 || got[0].State != state || !strings.Contains(got[0].Title, "strangers reach") || got[0].Key == "" {
			t.Errorf("%d: %+v", port, got)
		}
	}
}

// TestDatagramNeighbours has a server of multicast DNS, and one of QUIC that tells its
// versions to a datagram that is as RFC 9000, section 17.2, has it, and to no other.
func TestDatagramNeighbours(t *testing.T) {
	host := netip.MustParseAddr("127.0.53.8")
	right := serve(t, 1, good)[0]
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
	for port, reply := range map[uint16]func([]byte) []byte{853: quic, 5353: func(b []byte) []byte { b[2] |= 0x80; return b }} {
		u, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(host, port)))
		if err != nil {
			t.Skipf("missing: port %d: %v", port, err)
		}
		defer u.Close()
		go func() {
			b := make([]byte, 2048)
			for {
				n, from, err := u.ReadFromUDP(b)
				if err != nil {
					return
				}
				if m := reply(b[:n]); m != nil {
					u.WriteToUDP(m, from)
				}
			}
		}()
	}
	got := reached(t, "PORT-NEIGH", netip.AddrPortFrom(host, right.Port()), func(r *check.Run) { r.Options.Lab.Neighbours = []uint16{853, 5353} })
	if len(got) != 1 || got[0].State != finding.Warn || !strings.Contains(got[0].Title, "multicast DNS") || !strings.Contains(got[0].Evidence.Command, "dig ") {
		t.Errorf("%+v", got)
	}
}

func TestBothFamilies(t *testing.T) {
	right := serve(t, 1, good)[0]
	six, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback, Port: int(right.Port())})
	if err != nil {
		t.Skipf("missing: IPv6 on loopback, and a free port: %v", err)
	}
	defer six.Close()
	go func() {
		b := make([]byte, 2048)
		for {
			n, from, err := six.ReadFromUDP(b)
			if err != nil {
				return
			}
			echo(six, b[:n], from)
		}
	}()
	both := func(r *check.Run) {
		n := name("ns1.example.test")
		r.Servers = []finding.Server{{Addr: right, Name: n}, {Addr: netip.AddrPortFrom(netip.IPv6Loopback(), right.Port()), Name: n}, {Addr: right, Name: name("ns2.example.test")}}
	}
	want(t, "PORT-V6", reached(t, "PORT-V6", right, both), finding.Warn, "::1: ")
	l, err := net.Listen("tcp6", six.LocalAddr().String())
	if err != nil {
		t.Skipf("missing: a free port: %v", err)
	}
	defer l.Close()
	want(t, "PORT-V6", reached(t, "PORT-V6", right, both), finding.Pass, "::1: ")
}

// TestSourcePort has a network of its own where it can: port 53 is what other tests want to find free.
func TestSourcePort(t *testing.T) {
	const own = "PORT53_OWN_NETWORK"
	if os.Getenv(own) == "" && os.Getuid() == 0 {
		cmd := exec.Command("unshare", "-n", "sh", "-c", `ip link set lo up && exec "$0" -test.run='^TestSourcePort$' -test.v`, os.Args[0])
		cmd.Env = append(os.Environ(), own+"=1")
		if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: TestSourcePort")) {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	probe, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 53})
	if err != nil {
		t.Skipf("missing: source port 53, which needs root and no server on loopback: %v", err)
	}
	probe.Close()
	trusting := datagram(t, "127.0.0.1", func(u *net.UDPConn, b []byte, from *net.UDPAddr) {
		if from.Port == 53 {
			echo(u, b, from)
		}
	})
	other := datagram(t, "127.0.0.1", func(u *net.UDPConn, b []byte, from *net.UDPAddr) {
		if from.Port == 53 {
			b[3] |= 5
		}
		echo(u, b, from)
	})
	careful := datagram(t, "127.0.0.1", func(u *net.UDPConn, b []byte, from *net.UDPAddr) {
		if from.Port != 53 {
			echo(u, b, from)
		}
	})
	want(t, "PORT-SRC", reached(t, "PORT-SRC", trusting, nil), finding.Warn, "only questions from port 53")
	want(t, "PORT-SRC", reached(t, "PORT-SRC", other, nil), finding.Warn, "REFUSED")
	want(t, "PORT-SRC", reached(t, "PORT-SRC", careful, nil), finding.Pass, "dropped")
	want(t, "PORT-SRC", reached(t, "PORT-SRC", serve(t, 1, good)[0], nil), finding.Pass, "same")
}

// TestErrorLimit has the loopback of this machine, which does not limit errors, and the
// counts of hosts that do.
func TestErrorLimit(t *testing.T) {
	if _, err := os.Stat("/proc/net/udp"); err == nil {
		want(t, "HOST-ICMP", reached(t, "HOST-ICMP", serve(t, 1, good)[0], nil), finding.Pass, "closed ports send")
	}
	for _, x := range []struct {
		n    [2]int
		want finding.State
	}{{[2]int{50, 50}, finding.Warn}, {[2]int{50, 49}, finding.Pass}, {[2]int{6, 1}, finding.Pass}, {[2]int{60, 60}, finding.Pass}, {[2]int{}, finding.Unknown}} {
		if got, detail := catalogue.JudgeErrors(x.n); got != x.want || detail == "" {
			t.Errorf("%v: %s %q", x.n, got, detail)
		}
	}
}

// TestReachCovered lists what the tests of this group's checks are: a check without one
// fails it.
func TestReachCovered(t *testing.T) {
	have := []string{
		"PORT-UDP", "PORT-TCP", "PORT-V6", "PORT-NEIGH", "PORT-SRC", "PORT-SRCADDR", "HOST-ICMP", "HOST-TTL",
		"ID-VERSION", "ID-HOST", "ID-AUTHORS", "ID-BEHAVE", "ID-CVE",
	}
	for _, c := range catalogue.All() {
		if c.Group == catalogue.GroupReach && !slices.Contains(have, c.ID) {
			t.Errorf("%s has no test", c.ID)
		}
	}
}
