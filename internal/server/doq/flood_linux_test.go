//go:build !lean

package doq_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"
	"golang.org/x/net/ipv4"

	"port53/internal/certs"
	"port53/internal/quic"
	"port53/internal/server"
	"port53/internal/server/doq"
)

// A recorder is a network that loses everything, and keeps the first datagram.
type recorder struct {
	net.PacketConn // of which nothing else is called
	first          chan []byte
	closed         chan struct{}
	once           sync.Once
}

func (r *recorder) WriteTo(b []byte, _ net.Addr) (int, error) {
	select {
	case r.first <- append([]byte(nil), b...):
	default:
	}
	return len(b), nil
}

func (r *recorder) ReadFrom([]byte) (int, net.Addr, error) {
	<-r.closed
	return 0, nil, net.ErrClosed
}

func (r *recorder) Close() error {
	r.once.Do(func() { close(r.closed) })
	return nil
}
func (r *recorder) SetReadDeadline(time.Time) error { return r.Close() } // only to have ReadFrom end
func (r *recorder) LocalAddr() net.Addr             { return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4} }

// initial returns the datagram by which a client begins.
func initial(t *testing.T, config *tls.Config) []byte {
	t.Helper()
	r := &recorder{first: make(chan []byte, 1), closed: make(chan struct{})}
	ways := &quicgo.Transport{Conn: r}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		_, _ = ways.Dial(ctx, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2), Port: 853}, config, nil)
		close(done)
	}()
	b := <-r.first
	cancel()
	<-done
	_ = ways.Close()
	return b
}

// forge sends what begins connections from tens of thousands of addresses, until done is closed.
func forge(to netip.AddrPort, initials [][]byte, done <-chan struct{}) (sent int, err error) {
	c, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	p, cm := ipv4.NewPacketConn(c), &ipv4.ControlMessage{}
	for {
		for range 20 {
			cm.Src = net.IPv4(127, byte(1+sent>>16&63), byte(sent>>8), byte(sent))
			// A full buffer loses one, as networks do.
			if _, err := p.WriteTo(initials[sent%len(initials)], cm, net.UDPAddrFromAddrPort(to)); err == nil {
				sent++
			}
		}
		select {
		case <-done:
			return sent, nil
		case <-time.After(time.Millisecond):
		}
	}
}

// A tally is what clients were answered.
type tally struct{ asked, answered, connections atomic.Int64 }

// keep asks on one connection until done is closed.
func (s *site) keep(c *quic.Conn, n *tally, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		default:
		}
		n.asked.Add(1)
		if _, err := ask(c, question(1)); err == nil {
			n.answered.Add(1)
		}
	}
}

// come asks each question on a new connection until done is closed.
func (s *site) come(n *tally, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		default:
		}
		n.asked.Add(1)
		u, err := net.Dial("udp", s.at().String())
		if err != nil {
			s.Error(err)
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		c, err := quic.Dial(ctx, u, s.peer.Client(certs.DoQ))
		cancel()
		if err != nil {
			u.Close()
			continue
		}
		if _, err := ask(c, question(1)); err == nil {
			n.answered.Add(1)
			n.connections.Add(1)
		}
		c.Close()
	}
}

// TestForgedInitials floods the server with beginnings of connections from addresses that are not the sender's:
// clients are answered on their connections, and come in on new ones, and few of the forged are kept.
func TestForgedInitials(t *testing.T) {
	s := open(t, doq.Options{}, server.Encrypted{Limits: server.Limits{PerAddr: 1000, PerPrefix: 1000}, Handshakes: 100_000}, nil)
	config := s.peer.Client(certs.DoQ)
	config.CurvePreferences = []tls.CurveID{tls.X25519} // it fits into one datagram
	initials := make([][]byte, 2000)
	for i := range initials {
		initials[i] = initial(t, config)
	}
	c := s.dial()
	if _, err := ask(c, question(1)); err != nil {
		t.Fatal(err)
	}
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	var n tally
	var clients, forger sync.WaitGroup
	done, over := make(chan struct{}), make(chan struct{})
	sent, failed := 0, error(nil)
	forger.Go(func() { sent, failed = forge(s.at(), initials, over) })
	clients.Go(func() { s.keep(c, &n, done) })
	clients.Go(func() { s.come(&n, done) })
	// It lasts until all have been seen, those who come by a proof among them.
	for end := time.Now().Add(patience); n.connections.Load() < 20 || s.Stats().Handshakes.Retried < 3000; {
		if time.Now().After(end) {
			t.Errorf("%d connections, %+v", n.connections.Load(), s.Stats().Handshakes)
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	after := heap() // while it goes on
	close(done)
	clients.Wait()
	close(over)
	forger.Wait()
	if failed != nil && !errors.Is(failed, net.ErrClosed) {
		t.Fatal(failed)
	}
	st := s.Stats().Handshakes
	t.Logf("%d forged, %d asked for a proof; %d of %d questions answered, %d connections made; the heap has grown by %d kB",
		sent, st.Retried, n.answered.Load(), n.asked.Load(), n.connections.Load(), (after-before)>>10)
	if n.answered.Load()*100 < n.asked.Load()*99 {
		t.Errorf("%d of %d questions are answered", n.answered.Load(), n.asked.Load())
	}
	if grown := after - before; grown > 32<<20 {
		t.Errorf("the heap has grown by %d MiB", grown>>20)
	}
}
