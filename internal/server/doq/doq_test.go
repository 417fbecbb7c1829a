//go:build !lean

package doq_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"port53/internal/certs"
	"port53/internal/certs/certtest"
	"port53/internal/quic"
	"port53/internal/server"
	"port53/internal/server/doq"
	"port53/internal/wire"
)

const patience = 2 * time.Minute

// A site is a server of DoQ, and a client that trusts it.
type site struct {
	testing.TB
	*server.Server
	peer  certs.Peer
	peers chan server.Peer
}

type worker func(query []byte, peer *server.Peer, reply []byte) int

func (w worker) NewWorker() server.Worker { return w }

func (w worker) Handle(query []byte, peer *server.Peer, _ int64, reply []byte) int {
	return w(query, peer, reply)
}

// answer answers with the question and one record, as large as its type says.
func answer(q []byte, p *server.Peer, r []byte) int {
	copy(r, q)
	r[2] |= 0x80
	r[7], r[11] = 1, 0
	size := int(binary.BigEndian.Uint16(q[12+10:]))
	n := 12 + 10 + 4
	copy(r[n:], []byte{0xC0, 12, 0, 16, 0, 1, 0, 0, 1, 44, byte(size >> 8), byte(size)})
	return n + 12 + size
}

// question returns a question that is answered with a record of so many octets.
func question(size int) []byte {
	return wire.AppendQuery(nil, 0, wire.FlagRD, []byte("\x03www\x04test\x00"), wire.Type(size))
}

func open(t testing.TB, o doq.Options, e server.Encrypted, h worker) *site {
	t.Helper()
	ca := certtest.New(t)
	c, key := ca.Issue(t.TempDir(), "own", "dns.test")
	k, err := certs.NewManager([]certs.Pair{{Certificate: c, Key: key}})
	if err != nil {
		t.Fatal(err)
	}
	s := &site{TB: t, peer: certs.Peer{Name: "dns.test", Roots: ca.Pool}, peers: make(chan server.Peer, 1000)}
	if h == nil {
		h = answer
	}
	config := k.Server(nil, certs.DoQ)
	tickets, err := certs.NewTickets("")
	if err != nil {
		t.Fatal(err)
	}
	tickets.Attach(config)
	if err := tickets.Rotate(time.Now()); err != nil {
		t.Fatal(err)
	}
	e.Services = []server.ServiceBinding{{Addrs: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, TLS: config, Packets: doq.New(o)}}
	s.Server, err = server.Listen(server.Options{
		Addrs: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")},
		Handler: worker(func(q []byte, p *server.Peer, r []byte) int {
			select {
			case s.peers <- *p:
			default:
			}
			return h(q, p, r)
		}),
		Encrypted: e,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error("Shutdown:", err)
		}
	})
	return s
}

func (s *site) at() netip.AddrPort { return s.Encrypted()[0].Addr }

// dial connects as package quic does.
func (s *site) dial() *quic.Conn {
	s.Helper()
	u, err := net.Dial("udp", s.at().String())
	if err != nil {
		s.Fatal(err)
	}
	c, err := quic.Dial(context.Background(), u, s.peer.Client(certs.DoQ))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { c.Close() })
	return c
}

// raw connects, for a client that keeps to no rule.
func (s *site) raw(config *tls.Config) (*quicgo.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return quicgo.DialAddr(ctx, s.at().String(), config, &quicgo.Config{MaxIdleTimeout: patience})
}

func (s *site) mustRaw() *quicgo.Conn {
	s.Helper()
	c, err := s.raw(s.peer.Client(certs.DoQ))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = c.CloseWithError(0, "") })
	return c
}

func ask(c *quic.Conn, q []byte) (msg []byte, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err = c.Ask(ctx, q, 1, func(m []byte) error { msg = m; return nil })
	return msg, err
}

func framed(msg []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
}

func TestAnswers(t *testing.T) {
	s := open(t, doq.Options{}, server.Encrypted{}, nil)
	c := s.dial()
	for _, size := range []int{0, 1, 500, 1200, 4000, 16400, 65497} {
		msg, err := ask(c, question(size))
		if err != nil || len(msg) != 26+12+size {
			t.Fatalf("%d octets: %d, %v", size, len(msg), err)
		}
		p := <-s.peers
		if p.Transport != server.DoQ || p.Remote.Addr() != s.at().Addr() || p.Local != s.at().Addr() || p.LocalPort != s.at().Port() {
			t.Errorf("the peer is %+v", p)
		}
	}
	var wg sync.WaitGroup
	for range 300 { // more than there may be at the same time
		wg.Go(func() {
			if _, err := ask(c, question(100)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	st := s.Stats()
	if st.DoQ.Received != 307 || st.DoQ.Sent != 307 || st.Handshakes.Done != 1 || st.Secure.Open != 1 {
		t.Errorf("%+v", st)
	}
	if c.State().NegotiatedProtocol != certs.DoQ || c.State().Version != tls.VersionTLS13 {
		t.Errorf("%+v", c.State())
	}
}

// A query longer than most, that comes octet by octet.
func TestPieces(t *testing.T) {
	s := open(t, doq.Options{}, server.Encrypted{}, nil)
	c := s.mustRaw()
	q := append(question(10), make([]byte, 3000)...)
	stream, err := c.OpenStreamSync(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{framed(q)[:1], framed(q)[1:5], framed(q)[5:1500], framed(q)[1500:]} {
		if _, err := stream.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-s.peers:
		t.Error("a question is answered before its end")
	case <-time.After(20 * time.Millisecond):
	}
	_ = stream.Close()
	if got, err := io.ReadAll(stream); err != nil || len(got) != 2+26+12+10 {
		t.Errorf("%d octets, %v", len(got), err)
	}
}

// What is against the protocol closes the connection (RFC 9250, section 4.3.3).
func TestBroken(t *testing.T) {
	s := open(t, doq.Options{}, server.Encrypted{}, nil)
	id := question(1)
	id[1] = 1
	keepalive := wire.AppendOPT(question(1), 1232, false, []byte{0, wire.OptionKeepalive, 0, 0})
	keepalive[11] = 1
	for name, b := range map[string][]byte{
		"nothing": {}, "half a length": {0}, "no message": {0, 0}, "less than a header": framed(make([]byte, 11)),
		"less than its length": framed(question(1))[:20], "a length alone": {255, 255}, "more than its length": append(framed(question(1)), 0),
		"two messages": append(framed(question(1)), framed(question(1))...), "an ID": framed(id), "keepalive": framed(keepalive),
	} {
		c := s.mustRaw()
		stream, err := c.OpenStreamSync(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = stream.Write(b)
		_ = stream.Close()
		_, err = io.ReadAll(stream)
		var closed *quicgo.ApplicationError
		if !errors.As(err, &closed) || closed.ErrorCode != quic.ProtocolError {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := s.Stats().DoQ.Received; n != 0 {
		t.Errorf("%d of them were handed on", n)
	}
	// A stream of one way is against the protocol as well.
	c := s.mustRaw()
	if _, err := c.OpenUniStream(); err == nil {
		t.Error("a stream of one way may be begun")
	}
	// A client of something else, and one that says of nothing what it speaks.
	for _, protocols := range [][]string{{"h3"}, nil} {
		config := s.peer.Client(protocols...)
		if _, err := s.raw(config); err == nil {
			t.Errorf("a client of %q shakes hands", protocols)
		}
	}
}

// Whoever does not send its question whole loses it, and nothing else.
func TestSlow(t *testing.T) {
	s := open(t, doq.Options{Question: 50 * time.Millisecond}, server.Encrypted{}, nil)
	c := s.mustRaw()
	stream, err := c.OpenStreamSync(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = stream.Write(framed(question(1))[:10])
	_, err = io.ReadAll(stream)
	var reset *quicgo.StreamError
	if !errors.As(err, &reset) || reset.ErrorCode != quic.ExcessiveLoad {
		t.Errorf("a slow question: %v", err)
	}
	stream, err = c.OpenStreamSync(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = stream.Write(framed(question(1)))
	_ = stream.Close()
	if _, err := io.ReadAll(stream); err != nil {
		t.Errorf("the next: %v", err)
	}
}

// What is answered later, in several messages, or never.
func TestLater(t *testing.T) {
	responders := make(chan server.Responder, 1000)
	s := open(t, doq.Options{Streams: 3}, server.Encrypted{}, func(q []byte, p *server.Peer, r []byte) int {
		if binary.BigEndian.Uint16(q[22:]) == 1 {
			return 0
		}
		later, err := p.Detach()
		if err != nil {
			t.Error(err)
			return 0
		}
		responders <- later
		return server.Pending
	})
	c := s.dial()
	var reset *quicgo.StreamError
	if _, err := ask(c, question(1)); !errors.As(err, &reset) || reset.ErrorCode != quic.InternalError {
		t.Errorf("silence: %v", err)
	}
	go func() {
		r := <-responders
		_ = r.Reply(make([]byte, 40))
		r.Close()
	}()
	if msg, err := ask(c, question(2)); err != nil || len(msg) != 40 {
		t.Errorf("%d octets, %v", len(msg), err)
	}
	go func() {
		r := <-responders
		for range 5 {
			if err := r.Stream(make([]byte, 30000)); err != nil {
				t.Error(err)
			}
		}
		r.Close()
	}()
	n := 0
	if err := c.Ask(t.Context(), question(2), 5, func(m []byte) error { n += len(m); return nil }); err != nil || n != 150000 {
		t.Errorf("%d octets, %v", n, err)
	}

	// Questions that are given up are worked on, and count: no more than Streams are there.
	for range 3 {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			_ = c.Ask(ctx, question(2), 1, func([]byte) error { return nil })
			close(done)
		}()
		r := <-responders
		cancel()
		<-done
		defer r.Close()
	}
	if n := s.Stats().Pending; n != 3 {
		t.Errorf("%d are worked on", n)
	}
}

// Connections are bounded by address, and count with those of TLS.
func TestBounds(t *testing.T) {
	s := open(t, doq.Options{}, server.Encrypted{Limits: server.Limits{PerAddr: 2}}, nil)
	one, two := s.dial(), s.dial()
	for _, c := range []*quic.Conn{one, two} { // now both of them are in the table
		if _, err := ask(c, question(1)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if c, err := s.raw(s.peer.Client(certs.DoQ)); err == nil {
			if _, err := c.AcceptStream(t.Context()); err == nil {
				t.Error("a third connection of one address is served")
			}
		}
	}
	if _, err := ask(one, question(1)); err != nil {
		t.Error(err)
	}
	_ = two.Close()
	for end := time.Now().Add(patience); s.Stats().Secure.Open > 1 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if _, err := ask(s.dial(), question(1)); err != nil {
		t.Error(err)
	}
}

// The one that has been idle longest makes room.
func TestEviction(t *testing.T) {
	s := open(t, doq.Options{}, server.Encrypted{Limits: server.Limits{Conns: 2}}, nil)
	one, two := s.dial(), s.dial()
	if _, err := ask(one, question(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(two, question(1)); err != nil {
		t.Fatal(err)
	}
	three := s.dial()
	if _, err := ask(three, question(1)); err != nil {
		t.Fatal(err)
	}
	<-one.Done()
	var ended *quic.EndedError
	if !errors.As(one.Err(), &ended) || ended.Code != quic.ExcessiveLoad {
		t.Errorf("it ended with %v", one.Err())
	}
	if _, err := ask(two, question(1)); err != nil {
		t.Error(err)
	}
}

// An idle connection is closed, as is one whose client only says that it is there.
func TestIdle(t *testing.T) {
	s := open(t, doq.Options{Idle: 100 * time.Millisecond}, server.Encrypted{}, nil)
	c, err := quicgo.DialAddr(t.Context(), s.at().String(), s.peer.Client(certs.DoQ), &quicgo.Config{KeepAlivePeriod: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-c.Context().Done():
	case <-time.After(patience):
		t.Fatal("it is open")
	}
	var closed *quicgo.ApplicationError
	if err := context.Cause(c.Context()); !errors.As(err, &closed) || closed.ErrorCode != quic.NoError || !closed.Remote {
		t.Errorf("it ended with %v", err)
	}
}

// Sessions are resumed, and early data are not taken.
func TestResumed(t *testing.T) {
	s := open(t, doq.Options{}, server.Encrypted{}, nil)
	config := s.peer.Client(certs.DoQ)
	for i := range 2 {
		c, err := quicgo.DialAddrEarly(t.Context(), s.at().String(), config, nil)
		if err != nil {
			t.Fatal(err)
		}
		stream, err := c.OpenStreamSync(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = stream.Write(framed(question(1)))
		_ = stream.Close()
		if _, err := io.ReadAll(stream); err != nil {
			t.Fatal(err)
		}
		state := c.ConnectionState()
		if state.TLS.DidResume != (i == 1) || state.Used0RTT {
			t.Errorf("the %d. connection: resumed %v, early data %v", i+1, state.TLS.DidResume, state.Used0RTT)
		}
		_ = c.CloseWithError(0, "")
	}
	if h := s.Stats().Handshakes; h.Done != 2 || h.Resumed != 1 {
		t.Errorf("%+v", h)
	}
}

// A client whose address changes is answered at the new one (RFC 9000, section 9; section 5.5.3 of RFC 9250 wants it).
func TestRebinding(t *testing.T) {
	s := open(t, doq.Options{}, server.Encrypted{}, nil)
	socket := func() *quicgo.Transport {
		u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		tr := &quicgo.Transport{Conn: u}
		t.Cleanup(func() { tr.Close(); u.Close() })
		return tr
	}
	c, err := socket().Dial(t.Context(), net.UDPAddrFromAddrPort(s.at()), s.peer.Client(certs.DoQ), nil)
	if err != nil {
		t.Fatal(err)
	}
	tell := func() netip.AddrPort {
		t.Helper()
		stream, err := c.OpenStreamSync(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = stream.Write(framed(question(1)))
		_ = stream.Close()
		if _, err := io.ReadAll(stream); err != nil {
			t.Fatal(err)
		}
		return (<-s.peers).Remote
	}
	before := tell()
	tr := socket()
	path, err := c.AddPath(tr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := path.Probe(ctx); err != nil {
		t.Fatal(err)
	}
	if err := path.Switch(); err != nil {
		t.Fatal(err)
	}
	after := tell()
	for end := time.Now().Add(patience); after == before && time.Now().Before(end); {
		after = tell()
	}
	if want := tr.Conn.LocalAddr().(*net.UDPAddr).AddrPort(); after != want {
		t.Errorf("it was at %v, and is at %v, not %v", before, after, want)
	}
}

// What was asked is answered before the server ends.
func TestShutdown(t *testing.T) {
	responders := make(chan server.Responder, 1)
	s := open(t, doq.Options{}, server.Encrypted{}, func(_ []byte, p *server.Peer, _ []byte) int {
		later, err := p.Detach()
		if err != nil {
			t.Error(err)
		}
		responders <- later
		return server.Pending
	})
	c := s.dial()
	got := make(chan error)
	go func() {
		_, err := ask(c, question(1))
		got <- err
	}()
	r := <-responders
	down := make(chan error)
	go func() { down <- s.Shutdown(context.Background()) }()
	select {
	case err := <-down:
		t.Fatal("it ended before it had answered:", err)
	case <-time.After(50 * time.Millisecond):
	}
	_ = r.Reply(make([]byte, 20))
	r.Close()
	if err := <-got; err != nil {
		t.Error(err)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
	<-c.Done()
}

// Beyond a few, whoever begins proves its address first, and is served all the same.
func TestRetry(t *testing.T) {
	s := open(t, doq.Options{}, server.Encrypted{Handshakes: 10}, nil) // one in a second without a proof
	before := s.Stats().Handshakes.Done
	for i := range 4 {
		begin := time.Now()
		if _, err := ask(s.dial(), question(1)); err != nil {
			t.Fatal(err)
		}
		t.Logf("the %d. took %v", i+1, time.Since(begin))
	}
	if n := s.Stats().Handshakes.Done - before; n != 4 {
		t.Errorf("%d handshakes", n)
	}
	if n := s.Stats().Handshakes.Retried; n == 0 {
		t.Error("nobody had to prove its address")
	}
}

// FuzzStreams sends anything on a stream, and wants an answer or an end.
func FuzzStreams(f *testing.F) {
	f.Add(framed(question(1)))
	f.Add([]byte{})
	f.Add(append(framed(question(1)), 0))
	f.Add(framed(question(1))[:9])
	f.Add(framed(append(question(3), bytes.Repeat([]byte{0}, 4000)...)))
	s := open(f, doq.Options{}, server.Encrypted{Limits: server.Limits{PerAddr: 100000, PerPrefix: 100000}, Handshakes: 100000}, func(q []byte, p *server.Peer, r []byte) int {
		return copy(r, q[:12])
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 70000 {
			return
		}
		c, err := s.raw(s.peer.Client(certs.DoQ))
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseWithError(0, "")
		stream, err := c.OpenStreamSync(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_ = stream.SetDeadline(time.Now().Add(patience))
		go func() {
			_, _ = stream.Write(b)
			_ = stream.Close()
		}()
		got, err := io.ReadAll(stream)
		good := len(b) >= 14 && len(b) == 2+int(binary.BigEndian.Uint16(b)) && b[2]|b[3] == 0
		var closed *quicgo.ApplicationError
		switch {
		case err == nil && good && len(got) == 14:
		case errors.As(err, &closed) && closed.ErrorCode == quic.ProtocolError && (!good || bytes.Contains(b, []byte{0, wire.OptionKeepalive})):
		default:
			t.Errorf("%x: %x, %v", b, got, err)
		}
	})
}
