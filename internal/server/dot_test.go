package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"port53/internal/certs"
	"port53/internal/certs/certtest"
	"port53/internal/server"
)

// shown makes the certificate of a server of DoT for a test, and what its clients trust.
func shown(t testing.TB, mutual bool, protocols ...string) (config *tls.Config, client certs.Peer) {
	t.Helper()
	ca, dir := certtest.New(t), t.TempDir()
	c, key := ca.Issue(dir, "ns.test", "ns.test")
	k, err := certs.NewManager([]certs.Pair{{Certificate: c, Key: key}})
	if err != nil {
		t.Fatal(err)
	}
	return k.Server(func() bool { return mutual }, protocols...), certs.Peer{Name: "ns.test", Roots: ca.Pool, Own: k}
}

// encrypted starts a server of DoT.
func encrypted(t testing.TB, o server.Options) (*server.Server, *certs.Peer) {
	t.Helper()
	config, peer := shown(t, true, certs.DoT)
	o.Encrypted.DoT, o.Encrypted.TLS = loopback(), config
	return listen(t, o), &peer
}

// dialTLS connects to what is encrypted at a server, from an address of this machine.
func dialTLS(t testing.TB, s *server.Server, p *certs.Peer, from string) *tls.Conn {
	t.Helper()
	d := net.Dialer{Timeout: patience, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))}
	c, err := tls.DialWithDialer(&d, "tcp", s.Encrypted()[0].Addr.String(), p.Client(certs.DoT))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

func TestDoTSizes(t *testing.T) {
	peers := make(chan server.Peer, 1)
	s, p := encrypted(t, server.Options{Handler: worker(func(q []byte, p *server.Peer, r []byte) int {
		peers <- *p
		return echo(q, p, r)
	})})
	c := dialTLS(t, s, p, "127.0.0.1")
	for i, n := range []int{12, 2045, 2046, 2047, 2048, 16383, 16384, 16385, 65535, 12, 65535, 300} {
		exchangeTCP(t, c, i, n)
		got := <-peers
		if got.Transport != server.DoT || got.Idle != 100 || got.Local != s.Addrs()[0].Addr() || got.Remote != c.LocalAddr().(*net.TCPAddr).AddrPort() {
			t.Errorf("peer %+v", got)
		}
		if len(got.Certificates) != 1 || got.Certificates[0].DNSNames[0] != "ns.test" {
			t.Errorf("%d certificates of the client are told", len(got.Certificates))
		}
	}
	st := s.Stats()
	if st.DoT.Received != 12 || st.Secure.Accepted != 1 || st.Secure.Open != 1 || st.Handshakes.Done != 1 || st.Open != 0 || st.TCP.Received != 0 {
		t.Errorf("counters %+v", st)
	}
}

func TestDoTPipelining(t *testing.T) {
	const questions = 200
	for _, size := range []int{40, 1500, 40000} {
		s, p := encrypted(t, server.Options{Handler: worker(echo)})
		c := dialTLS(t, s, p, "127.0.0.1")
		var all []byte
		for i := range questions {
			all = append(all, framed(question(i, size))...)
		}
		go func() { _, _ = c.Write(all) }()
		for i := range questions {
			if m := readFrame(t, c); !bytes.Equal(m, answer(i, size)) {
				t.Fatalf("answer %d of size %d is wrong", i, size)
			}
		}
	}
}

// Answers of the straight path and later ones, of a client that reads late, come whole and in
// an order that makes sense, whatever the system holds of them.
func TestDoTSlowReader(t *testing.T) {
	const questions = 60
	k := keep{t, make(chan server.Responder, questions)}
	s, p := encrypted(t, server.Options{Handler: worker(func(q []byte, peer *server.Peer, r []byte) int {
		if q[1]%3 == 0 {
			return k.handle(q, peer, r)
		}
		copy(r, question(int(q[1]), 60000))
		r[2] |= 0x80
		return 60000
	})})
	c := dialTLS(t, s, p, "127.0.0.1")
	go func() {
		for i := range questions {
			_, _ = c.Write(framed(question(i, 20)))
		}
	}()
	go func() {
		for i := 0; i < questions; i += 3 {
			r := <-k.later
			send := r.Reply
			if i%2 == 0 {
				send = r.Stream
			}
			if err := send(answer(i, 50000)); err != nil {
				t.Error(err)
			}
			r.Close()
		}
	}()
	seen := map[byte]bool{}
	for range questions {
		time.Sleep(time.Millisecond) // the reader is slow
		m := readFrame(t, c)
		id, size := int(m[1]), 60000
		if id%3 == 0 {
			size = 50000
		}
		if seen[m[1]] || !bytes.Equal(m, answer(id, size)) {
			t.Fatalf("answer %d has %d octets, or is wrong, or came twice", id, len(m))
		}
		seen[m[1]] = true
	}
}

// A client that reads nothing is cut off, and takes nothing from others.
func TestDoTStall(t *testing.T) {
	s, p := encrypted(t, server.Options{Handler: worker(func(q []byte, _ *server.Peer, r []byte) int {
		copy(r, q)
		r[2] |= 0x80
		return len(r)
	}), Encrypted: server.Encrypted{Limits: server.Limits{Stall: 100 * time.Millisecond}}})
	deaf := dialTLS(t, s, p, "127.0.0.1")
	go func() {
		for i := range 10000 {
			if _, err := deaf.Write(framed(question(i, 20))); err != nil {
				return
			}
		}
	}()
	eventually(t, "the client cut off", func() bool { return s.Stats().Secure.Stalled > 0 })
	c := dialTLS(t, s, p, "127.0.0.1")
	if _, err := c.Write(framed(question(1, 20))); err != nil {
		t.Fatal(err)
	}
	if m := readFrame(t, c); len(m) != 65535 {
		t.Errorf("%d octets", len(m))
	}
	eventually(t, "the connection gone", func() bool { return s.Stats().Secure.Open == 1 })
}

func TestDoTRefuses(t *testing.T) {
	s, p := encrypted(t, server.Options{Handler: worker(echo)})
	at := s.Encrypted()[0].Addr.String()
	other := p.Client(certs.H2)
	if c, err := tls.Dial("tcp", at, other); err == nil {
		c.Close()
		t.Error("a client of HTTP is served")
	}
	none := p.Client()
	c, err := tls.Dial("tcp", at, none) // RFC 7858 knows no ALPN
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	exchangeTCP(t, c, 1, 40)
	plain, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	_ = plain.SetDeadline(time.Now().Add(patience))
	if _, err := plain.Write(framed(question(1, 40))); err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(plain); bytes.Contains(got, answer(1, 40)) {
		t.Error("a question in the clear is answered")
	}
	eventually(t, "both counted", func() bool { return s.Stats().Handshakes.Failed == 2 })
}

// Clients that open connections and say nothing keep their places, and no others.
func TestDoTHalfOpen(t *testing.T) {
	linuxOnly(t)
	const conns = 40
	s, p := encrypted(t, server.Options{Handler: worker(echo), Encrypted: server.Encrypted{Limits: server.Limits{Conns: conns, PerAddr: 4, PerPrefix: 20}}})
	at := s.Encrypted()[0].Addr.String()
	for i := range 200 {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 2, byte(i%5), byte(1+i%10))}}
		c, err := d.Dial("tcp", at)
		if err != nil {
			continue // reset before it was seen
		}
		t.Cleanup(func() { c.Close() })
		if i%2 == 0 {
			_, _ = c.Write([]byte{22, 3, 1, 2, 0, 1}) // the beginning of a hello
		}
	}
	for i := range 10 {
		c := dialTLS(t, s, p, "127.3.0.1")
		exchangeTCP(t, c, i, 40)
		c.Close()
	}
	if st := s.Stats(); st.Secure.Open > conns || st.Secure.Refused == 0 {
		t.Errorf("counters %+v", st.Secure)
	}
	exchangeTCP(t, dial(t, "tcp", s), 1, 40) // TCP has not noticed
}

func TestDoTHandshakeRate(t *testing.T) {
	s, p := encrypted(t, server.Options{Handler: worker(echo), Encrypted: server.Encrypted{Handshakes: 5}})
	at := s.Encrypted()[0].Addr.String()
	good := 0
	for range 15 {
		if c, err := tls.Dial("tcp", at, p.Client(certs.DoT)); err == nil {
			good++
			c.Close()
		}
	}
	if st := s.Stats().Handshakes; good < 5 || good == 15 || st.Refused == 0 {
		t.Errorf("%d of 15 shook hands, counters %+v", good, st)
	}
	// The server is done after the client, and by then the client may have left.
	eventually(t, "all counted", func() bool {
		st := s.Stats().Handshakes
		return st.Done+st.Failed == uint64(good)
	})
}

func TestDoTResumes(t *testing.T) {
	s, p := encrypted(t, server.Options{Handler: worker(echo)})
	config := p.Client(certs.DoT)
	for range 3 {
		c, err := tls.Dial("tcp", s.Encrypted()[0].Addr.String(), config)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		exchangeTCP(t, c, 1, 40)
		c.Close()
	}
	if st := s.Stats().Handshakes; st.Done != 3 || st.Resumed != 2 {
		t.Errorf("counters %+v, want 2 of 3 resumed", st)
	}
}

// What was asked before the server ends is answered.
func TestDoTDrain(t *testing.T) {
	k := keep{t, make(chan server.Responder, 1)}
	config, peer := shown(t, false, certs.DoT)
	s, err := server.Listen(server.Options{Addrs: loopback(), Handler: worker(k.handle), Encrypted: server.Encrypted{DoT: loopback(), TLS: config}})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	c := dialTLS(t, s, &peer, "127.0.0.1")
	idle := dialTLS(t, s, &peer, "127.0.0.1")
	if _, err := c.Write(framed(question(7, 40))); err != nil {
		t.Fatal(err)
	}
	r := <-k.later
	var wg sync.WaitGroup
	wg.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	wantClosed(t, idle)
	if err := r.Reply(answer(7, 40)); err != nil {
		t.Error(err)
	}
	r.Close()
	if m := readFrame(t, c); !bytes.Equal(m, answer(7, 40)) {
		t.Error("wrong answer")
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the connection ends with %v: its client is to be told", err)
	}
	wg.Wait()
}

// echoService answers each line of octets behind its length, as DoT does, by way of a client.
type echoService struct {
	t     *testing.T
	conns sync.WaitGroup
}

func (e *echoService) Transport() server.Transport { return server.DoH }

func (e *echoService) Serve(g *server.ServiceListener) error {
	for {
		c, err := g.Accept()
		if err != nil {
			return nil
		}
		e.conns.Go(func() {
			defer c.Close()
			v := server.ClientConnOf(c)
			for {
				var length [2]byte
				if _, err := io.ReadFull(c, length[:]); err != nil {
					return
				}
				m := make([]byte, int(length[0])<<8|int(length[1]))
				if _, err := io.ReadFull(c, m); err != nil {
					return
				}
				err := v.Ask(context.Background(), m, v.Remote(), func(a []byte) error {
					_, err := c.Write(framed(a))
					return err
				})
				if err != nil && !errors.Is(err, server.ErrShort) {
					e.t.Error(err)
				}
			}
		})
	}
}

func (e *echoService) Shutdown(context.Context) {}

func TestClientConn(t *testing.T) {
	config, peer := shown(t, true, certs.DoT)
	service := &echoService{t: t}
	s := listen(t, server.Options{Handler: worker(func(q []byte, p *server.Peer, r []byte) int {
		if q[1] != 2 {
			return echo(q, p, r)
		}
		to, err := p.Detach()
		if err != nil {
			t.Error(err)
			return 0
		}
		q = bytes.Clone(q)
		go func() {
			defer to.Close()
			for _, send := range []func([]byte) error{to.Stream, to.Stream, to.Reply} {
				if err := send(answer(2, len(q))); err != nil {
					t.Error(err)
				}
			}
		}()
		return server.Pending
	}), Encrypted: server.Encrypted{Services: []server.ServiceBinding{{Addrs: loopback(), TLS: config, Service: service}}, Limits: server.Limits{PerAddr: 1}}})
	c := dialTLS(t, s, &peer, "127.0.0.1")
	for i, n := range []int{12, 65535, 300} {
		if i == 2 {
			_, _ = c.Write(framed(question(9, 4))) // shorter than a header, and passed over
			_, _ = c.Write(framed(question(i, n)))
			for range 3 {
				if m := readFrame(t, c); !bytes.Equal(m, answer(i, n)) {
					t.Error("a later answer is wrong")
				}
			}
			continue
		}
		exchangeTCP(t, c, i, n)
	}
	if d, err := tls.Dial("tcp", s.Encrypted()[0].Addr.String(), peer.Client(certs.DoT)); err == nil {
		d.Close()
		t.Error("a second connection of an address is taken")
	}
	// An answer is counted once it is written, and may have been read before that.
	eventually(t, "five answers counted", func() bool { return s.Stats().DoH.Sent == 5 && s.Stats().Pending == 0 })
	if st := s.Stats(); st.DoH.Received != 4 || st.DoH.Short != 1 || st.DoH.Sent != 5 || st.Secure.Open != 1 || st.Pending != 0 {
		t.Errorf("counters %+v", st)
	}
	c.Close()
	service.conns.Wait()
	eventually(t, "the place free", func() bool { return s.Stats().Secure.Open == 0 })
}
