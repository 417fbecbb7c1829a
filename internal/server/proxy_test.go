package server_test

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"port53/internal/certs"
	"port53/internal/server"
)

// proxied is a listener behind a proxy that has an address of loopback.
func proxied(from string) []server.Proxied {
	return []server.Proxied{{Addr: loopback()[0], From: []netip.Prefix{netip.MustParsePrefix(from)}}}
}

// onBehalf makes the PROXY header of a client; without one, of the proxy itself.
func onBehalf(client string) []byte {
	b := []byte("\r\n\r\n\x00\r\nQUIT\n")
	if client == "" {
		return append(b, 0x20, 0, 0, 0)
	}
	a := netip.MustParseAddrPort(client)
	from, to, family := a.Addr().AsSlice(), make([]byte, a.Addr().BitLen()/8), byte(0x11)
	if a.Addr().Is6() {
		family = 0x21
	}
	b = append(b, 0x21, family)
	b = binary.BigEndian.AppendUint16(b, uint16(2*len(from)+4))
	b = append(append(b, from...), to...)
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, a.Port()), 53)
}

// told answers with who asked, at once or, if the message says so, later.
func told(q []byte, p *server.Peer, reply []byte) int {
	whose := p.Remote.String()
	if len(q) > 12 && q[12] == 'l' {
		r, err := p.Detach()
		if err != nil {
			return 0
		}
		go func() {
			_ = r.Reply(append(append([]byte(nil), q[:12]...), whose...))
			r.Close()
		}()
		return server.Pending
	}
	return copy(reply, q[:12]) + copy(reply[12:], whose)
}

func TestProxyUDP(t *testing.T) {
	for _, portable := range []bool{false, true} {
		s := listen(t, server.Options{Handler: worker(told), Portable: portable, Workers: 1, Proxied: proxied("127.0.0.1/32")})
		c := dial(t, "udp", s)
		own := c.LocalAddr().String()
		for _, kind := range []string{"now", "later"} {
			for _, tt := range []struct{ client, want string }{
				{"192.0.2.7:40000", "192.0.2.7:40000"},
				{"", own},
				{"[2001:db8::7]:40000", "[2001:db8::7]:40000"},
				{"[::ffff:192.0.2.8]:53", "192.0.2.8:53"},
				{"", own},
			} {
				q := append(question(1, 12), kind...)
				bad := [][]byte{q, append(onBehalf("192.0.2.9:1"), append(onBehalf("192.0.2.7:2"), q...)...), onBehalf("192.0.2.9:1")[:20]}
				for _, b := range append(bad, append(onBehalf(tt.client), q...)) {
					if _, err := c.Write(b); err != nil {
						t.Fatal(err)
					}
				}
				b := make([]byte, 512)
				n, err := c.Read(b)
				if err != nil || string(b[12:max(n, 12)]) != tt.want {
					t.Errorf("portable %v, %s for %q: %v of %q, want %q", portable, kind, tt.client, err, b[:n], tt.want)
				}
			}
		}
		d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2)}}
		stranger, err := d.Dial("udp", s.Addrs()[0].String())
		if err != nil {
			t.Skip(err)
		}
		defer stranger.Close()
		for _, b := range [][]byte{question(1, 12), append(onBehalf("127.0.0.1:40000"), question(1, 12)...)} {
			_, _ = stranger.Write(b)
		}
		eventually(t, "what a stranger sends to be dropped", func() bool { return s.Stats().UDP.ProxySender == 2 })
		if st := s.Stats().UDP; st.ProxyHeader != 30 || st.SendErrors != 0 {
			t.Errorf("counters %+v, want 30 without a header", st)
		}
	}
}

// readTold reads one message over a stream and returns whom it names; "" if there is none.
func readTold(c net.Conn) string {
	length := make([]byte, 2)
	if _, err := io.ReadFull(c, length); err != nil {
		return ""
	}
	b := make([]byte, binary.BigEndian.Uint16(length))
	if _, err := io.ReadFull(c, b); err != nil {
		return ""
	}
	return string(b[12:])
}

func TestProxyTCP(t *testing.T) {
	s := listen(t, server.Options{
		Handler: worker(told), Proxied: proxied("127.0.0.1/32"),
		Limits: server.Limits{PerAddr: 2, Question: time.Second},
	})
	q := framed(append(question(1, 12), "now"...))
	ask := func(from string, b []byte, cut int) (whom, own string) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		c, err := d.Dial("tcp", s.Addrs()[0].String())
		if errors.Is(err, syscall.ECONNRESET) {
			return "", "" // a stranger, who was turned away before connect was told of the connection
		} else if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(patience))
		for len(b) > 0 {
			n := min(cut, len(b))
			if _, err := c.Write(b[:n]); err != nil {
				break
			}
			b = b[n:]
		}
		return readTold(c), c.LocalAddr().String()
	}
	// What the wrong ones hold is given back after the client sees the end, so the count below is of another.
	const client, wrong = "192.0.2.7:40000", "192.0.2.8:40000"
	for _, cut := range []int{1000, 7, 1} {
		if got, _ := ask("127.0.0.1", append(onBehalf("[2001:db8:"+string(rune('0'+cut%7))+"::7]:9"), q...), cut); got == "" {
			t.Errorf("cut into %d: no answer", cut)
		}
		for name, b := range map[string][]byte{
			"none":          q,
			"two":           append(onBehalf(wrong), append(onBehalf(wrong), q...)...),
			"version 1":     append([]byte("PROXY TCP4 192.0.2.7 127.0.0.1 4 53\r\n"), q...),
			"an unfinished": onBehalf(wrong)[:20],
		} {
			if got, _ := ask("127.0.0.1", b, cut); got != "" {
				t.Errorf("cut into %d, %s header: answer for %q", cut, name, got)
			}
		}
	}
	if got, own := ask("127.0.0.1", append(onBehalf(""), q...), 1000); got != own {
		t.Errorf("the proxy itself is %q, want %q", got, own)
	}
	if got, _ := ask("127.0.0.2", append(onBehalf(client), q...), 1000); got != "" {
		t.Errorf("a stranger is believed to be %q", got)
	}
	// Connections count for whom they are made, so that one client takes no other's place.
	for i, want := range []string{client, client, ""} {
		if got, _ := ask("127.0.0.1", append(onBehalf(client), q...), 1000); got != want {
			t.Errorf("connection %d of a client: %q, want %q", i, got, want)
		}
	}
	if got, _ := ask("127.0.0.1", append(onBehalf("198.51.100.1:1"), q...), 1000); got != "198.51.100.1:1" {
		t.Errorf("another client: %q", got)
	}
	if st := s.Stats().TCP; st.ProxySender != 1 || st.ProxyHeader < 9 {
		t.Errorf("counters %+v", st)
	}
}

// TestProxyDoT has a header before TLS.
func TestProxyDoT(t *testing.T) {
	s, p := encrypted(t, server.Options{Handler: worker(told), Proxied: proxied("127.0.0.1/32")})
	c, err := net.Dial("tcp", s.Encrypted()[0].Addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = c.Write(onBehalf("192.0.2.7:40000"))
	secure := tls.Client(c, p.Client(certs.DoT))
	if _, err := secure.Write(framed(append(question(1, 12), "now"...))); err != nil {
		t.Fatal(err)
	}
	if got := readTold(secure); got != "192.0.2.7:40000" {
		t.Errorf("asked by %q", got)
	}
	plain, err := net.Dial("tcp", s.Encrypted()[0].Addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	_ = plain.SetDeadline(time.Now().Add(patience))
	if err := tls.Client(plain, p.Client(certs.DoT)).Handshake(); err == nil {
		t.Error("TLS begins without a header")
	}
}

// TestProxyWaiting wants that connections whose header does not come are bounded, and end with the server.
func TestProxyWaiting(t *testing.T) {
	s := listen(t, server.Options{
		Handler: worker(told), Proxied: proxied("127.0.0.1/32"),
		Limits: server.Limits{Conns: 3, Question: time.Hour},
	})
	var waiting []net.Conn
	for range 3 {
		waiting = append(waiting, dial(t, "tcp", s))
	}
	if c, err := net.Dial("tcp", s.Addrs()[0].String()); err == nil { // it may be reset before it is told of
		defer c.Close()
	}
	eventually(t, "the connection too many to be refused", func() bool { return s.Stats().Refused == 1 })
	start := time.Now()
	if err := s.Shutdown(t.Context()); err != nil || time.Since(start) > patience/2 {
		t.Errorf("shutdown: %v after %v", err, time.Since(start))
	}
	for _, c := range waiting {
		if n, err := c.Read(make([]byte, 1)); err == nil {
			t.Errorf("%d octets on a connection without a header", n)
		}
	}
}

func TestProxyOptions(t *testing.T) {
	for _, p := range []server.Proxied{
		{Addr: loopback()[0]},
		{Addr: netip.MustParseAddrPort("127.0.0.9:1"), From: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}},
	} {
		if s, err := server.Listen(server.Options{Addrs: loopback(), Handler: worker(told), Proxied: []server.Proxied{p}}); err == nil {
			_ = s.Shutdown(t.Context())
			t.Errorf("%+v is taken", p)
		}
	}
}
