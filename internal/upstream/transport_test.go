package upstream_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"port53/internal/certs"
	"port53/internal/certs/certtest"
	"port53/internal/exchange"
	"port53/internal/server"
	"port53/internal/server/doh"
	"port53/internal/server/doq"
	"port53/internal/upstream"
	"port53/internal/wire"
)

// A sealedServer answers over TLS, HTTPS and QUIC alone, with as many octets as it is to.
type sealedServer struct {
	*testing.T
	*server.Server
	ca    *certtest.Authority
	size  atomic.Int32
	mute  atomic.Bool
	asked atomic.Int32
	last  atomic.Pointer[[]byte]
}

func (s *sealedServer) NewWorker() server.Worker { return s }

func (s *sealedServer) Handle(q []byte, p *server.Peer, _ int64, r []byte) int {
	s.asked.Add(1)
	q = bytes.Clone(q)
	s.last.Store(&q)
	if p.Transport == server.UDP || p.Transport == server.TCP {
		s.Errorf("a question came over %v", p.Transport)
	}
	if s.mute.Load() {
		return 0
	}
	n := copy(r, wire.AppendQuery(nil, uint16(q[0])<<8|uint16(q[1]), wire.FlagQR|wire.FlagRD, []byte("\x03www\x04test\x00"), wire.TypeTXT))
	size := int(s.size.Load())
	r[7] = 1
	copy(r[n:], []byte{0xC0, 12, 0, 16, 0, 1, 0, 0, 1, 44, byte(size >> 8), byte(size)})
	return n + 12 + size
}

func newSealedServer(t *testing.T, ca *certtest.Authority) *sealedServer {
	t.Helper()
	s := &sealedServer{T: t, ca: ca}
	s.size.Store(10)
	c, key := ca.Issue(t.TempDir(), "own", "dns.test", "127.0.0.1")
	k, err := certs.NewManager([]certs.Pair{{Certificate: c, Key: key}})
	if err != nil {
		t.Fatal(err)
	}
	at := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	s.Server, err = server.Listen(server.Options{Addrs: at, Handler: s, Drain: time.Millisecond, Encrypted: server.Encrypted{
		DoT: at, TLS: k.Server(nil, certs.DoT),
		Services: []server.ServiceBinding{{Addrs: at, TLS: k.Server(nil, certs.H2), Service: doh.New(doh.Options{Path: "/dns-query"})}, {Addrs: at, TLS: k.Server(nil, certs.DoQ), Packets: doq.New(doq.Options{})}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(s.kill)
	return s
}

// kill ends the server at once.
func (s *sealedServer) kill() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.Shutdown(ctx)
}

// transport returns where the server is asked, and how.
func (s *sealedServer) transport(over server.Transport, p *certs.Peer) (netip.AddrPort, *upstream.Transport) {
	path := ""
	if over == server.DoH {
		path = "/dns-query"
	}
	for _, l := range s.Encrypted() {
		if l.Transport == over {
			if over == server.DoQ {
				return l.Addr, upstream.NewQUICTransport(p, "")
			}
			return l.Addr, upstream.NewTransport(p, "dns.test", path, "")
		}
	}
	s.Fatal("nothing is served over", over)
	return netip.AddrPort{}, nil
}

// streamsOnly is a network that has no datagrams, and counts connections.
type streamsOnly struct {
	upstream.Network
	t     *testing.T
	dials atomic.Int32
}

func (n *streamsOnly) Socket(netip.AddrPort) (exchange.Socket, error) {
	n.t.Error("a datagram would leave")
	return nil, net.ErrClosed
}

func (n *streamsOnly) DialTCP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	n.dials.Add(1)
	return n.Network.DialTCP(ctx, to)
}

// DialUDP implements [upstream.Packets].
func (n *streamsOnly) DialUDP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	n.dials.Add(1)
	return n.Network.(upstream.Packets).DialUDP(ctx, to)
}

func TestWays(t *testing.T) {
	ca := certtest.New(t)
	for _, over := range []server.Transport{server.DoT, server.DoH, server.DoQ} {
		s := newSealedServer(t, ca)
		network := &streamsOnly{Network: upstream.System(), t: t}
		c := upstream.New(upstream.Options{Network: network, Cookies: true})
		defer c.Close()
		to, tr := s.transport(over, &certs.Peer{Name: "dns.test", Roots: ca.Pool})
		ask := func() (upstream.Reply, error) {
			return c.Exchange(t.Context(), to, &upstream.Question{
				Name: []byte("\x03www\x04test\x00"), Type: wire.TypeTXT, RD: true, EDNS: true, DO: true, MixCase: true, TCP: true, Transport: tr,
				End: time.Now().Add(time.Minute),
			})
		}
		for _, size := range []int{10, 500, 16400, 65490} {
			s.size.Store(int32(size))
			r, err := ask()
			if err != nil || len(r.Message) != 26+12+size || !r.TCP {
				t.Fatalf("%v, %d octets: %d, %v", over, size, len(r.Message), err)
			}
			q := *s.last.Load()
			if len(q)%128 != 0 || !bytes.Contains(q, []byte("\x03www\x04test\x00")) || bytes.Contains(q, []byte{0, wire.OptionCookie, 0, 8}) {
				t.Errorf("%v: the query has %d octets: %x", over, len(q), q)
			}
			if over != server.DoT && (q[0] != 0 || q[1] != 0) {
				t.Errorf("the query over %v has the ID %x", over, q[:2])
			}
		}
		s.size.Store(300)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, err := ask(); err != nil {
					t.Errorf("%v: %v", over, err)
				}
			})
		}
		wg.Wait()
		if n := network.dials.Load(); n != 1 {
			t.Errorf("%v: %d connections for 54 questions", over, n)
		}
	}
}

// Whoever is not who it should be gets no question, over whatever transport.
func TestWaysUntrusted(t *testing.T) {
	ca, other := certtest.New(t), certtest.New(t)
	s := newSealedServer(t, ca)
	c := upstream.New(upstream.Options{Network: &streamsOnly{Network: upstream.System(), t: t}})
	defer c.Close()
	for _, over := range []server.Transport{server.DoT, server.DoH, server.DoQ} {
		for name, p := range map[string]*certs.Peer{
			"another name": {Name: "ns.test", Roots: ca.Pool}, "another authority": {Name: "dns.test", Roots: other.Pool},
			"another key": {Name: "dns.test", Roots: ca.Pool, Pins: []certs.Pin{{1}}}, "the system's authorities": {Name: "dns.test"},
		} {
			to, tr := s.transport(over, p)
			_, err := c.Exchange(t.Context(), to, &upstream.Question{Name: wire.Root, Type: wire.TypeNS, TCP: true, Transport: tr, End: time.Now().Add(time.Minute)})
			if !errors.As(err, new(*certs.UntrustedError)) {
				t.Errorf("%s over %v: %v", name, over, err)
			}
		}
		if over == server.DoQ {
			continue // its packets say nothing that is read
		}
		// A server that speaks in the clear on that port is none.
		_, tr := s.transport(over, &certs.Peer{Name: "dns.test", Roots: ca.Pool})
		if _, err := c.Exchange(t.Context(), s.Addrs()[0], &upstream.Question{Name: wire.Root, Type: wire.TypeNS, TCP: true, Transport: tr, End: time.Now().Add(300 * time.Millisecond)}); err == nil {
			t.Errorf("%v: a server in the clear answers", over)
		}
	}
	if n := s.asked.Load(); n != 0 {
		t.Errorf("%d questions were told", n)
	}
	if n := c.Counters().Failures[upstream.FailedTrust].Load(); n != 12 {
		t.Errorf("%d failures are counted, want 12", n)
	}
}

// A connection that has ended is replaced, one that is silent is given up, and transports that differ
// share none.
func TestWaysEnd(t *testing.T) {
	ca := certtest.New(t)
	for _, over := range []server.Transport{server.DoT, server.DoH, server.DoQ} {
		s := newSealedServer(t, ca)
		network := &streamsOnly{Network: upstream.System(), t: t}
		c := upstream.New(upstream.Options{Network: network})
		defer c.Close()
		to, tr := s.transport(over, &certs.Peer{Name: "dns.test", Roots: ca.Pool})
		ask := func(w *upstream.Transport, patience time.Duration) error {
			_, err := c.Exchange(t.Context(), to, &upstream.Question{Name: []byte("\x03www\x04test\x00"), Type: wire.TypeTXT, TCP: true, Transport: w, End: time.Now().Add(patience)})
			return err
		}
		if err := ask(tr, time.Minute); err != nil {
			t.Fatal(err)
		}
		_, same := s.transport(over, &certs.Peer{Name: "dns.test", Roots: ca.Pool})
		if err := ask(same, time.Minute); err != nil || network.dials.Load() != 1 || !tr.Same(same) {
			t.Errorf("%v: the same transport, made again: %v, %d connections", over, err, network.dials.Load())
		}
		_, differs := s.transport(over, &certs.Peer{Name: "127.0.0.1", Roots: ca.Pool})
		if err := ask(differs, time.Minute); err != nil || network.dials.Load() != 2 {
			t.Errorf("%v: another transport: %v, %d connections", over, err, network.dials.Load())
		}
		if over == server.DoT {
			s.mute.Store(true)
			if err := ask(tr, 200*time.Millisecond); err == nil {
				t.Error("silence is an answer")
			}
			s.mute.Store(false)
			if err := ask(tr, time.Minute); err != nil {
				t.Errorf("after silence: %v", err)
			}
		}
		s.kill()
		if err := ask(tr, time.Minute); err == nil {
			t.Errorf("%v: a server that is dead answers", over)
		}
	}
}
