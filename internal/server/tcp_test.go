package server_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"port53/internal/server"
)

// framed puts the length before a message (RFC 1035, section 4.2.2).
func framed(m []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(m))), m...)
}

// readFrame reads one message.
func readFrame(t testing.TB, c net.Conn) []byte {
	t.Helper()
	var length [2]byte
	if _, err := io.ReadFull(c, length[:]); err != nil {
		t.Fatal("reading a length:", err)
	}
	m := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(c, m); err != nil {
		t.Fatal("reading a message:", err)
	}
	return m
}

func exchangeTCP(t testing.TB, c net.Conn, id, n int) {
	t.Helper()
	if _, err := c.Write(framed(question(id, n))); err != nil {
		t.Fatal(err)
	}
	if m := readFrame(t, c); !bytes.Equal(m, answer(id, n)) {
		t.Fatalf("answer %d is %d octets, want %d and the same", id, len(m), n)
	}
}

// wantClosed fails unless the server closes c without sending anything.
func wantClosed(t testing.TB, c net.Conn) {
	t.Helper()
	n, err := c.Read(make([]byte, 1))
	if n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d octets, error %v; want the connection closed", n, err)
	}
}

func TestTCPSizes(t *testing.T) {
	peers := make(chan server.Peer, 1)
	s := listen(t, server.Options{Handler: worker(func(q []byte, p *server.Peer, r []byte) int {
		peers <- *p
		if len(r) != 65535 {
			t.Errorf("room for %d octets, want 65,535", len(r))
		}
		return echo(q, p, r)
	})})
	c := dial(t, "tcp", s)
	for i, n := range []int{12, 2045, 2046, 2047, 2048, 65535, 12, 65535, 300} {
		exchangeTCP(t, c, i, n)
		p := <-peers
		if p.Transport != server.TCP || p.Idle != 100 || p.Local != s.Addrs()[0].Addr() || p.Remote != c.LocalAddr().(*net.TCPAddr).AddrPort() {
			t.Errorf("peer %+v", p)
		}
	}
}

func TestTCPPipelining(t *testing.T) {
	const questions = 100
	for _, size := range []int{40, 1500, 40000} {
		s := listen(t, server.Options{Handler: worker(echo)})
		c := dial(t, "tcp", s)
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
		// The counter follows the answer.
		eventually(t, "all counted", func() bool { return s.Stats().TCP.Sent == questions })
		if st := s.Stats(); st.TCP.Received != questions || st.Accepted != 1 || st.Open != 1 {
			t.Errorf("counters %+v", st)
		}
	}
}

func TestTCPOctetByOctet(t *testing.T) {
	s := listen(t, server.Options{Handler: worker(echo)})
	c := dial(t, "tcp", s)
	for _, b := range framed(question(7, 40)) {
		if _, err := c.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	if m := readFrame(t, c); !bytes.Equal(m, answer(7, 40)) {
		t.Error("wrong answer")
	}
}

func TestTCPHalfClose(t *testing.T) {
	s := listen(t, server.Options{Handler: worker(echo)})
	c := dial(t, "tcp", s)
	_, _ = c.Write(append(framed(question(7, 40)), 0, 40, 1))
	_ = c.(*net.TCPConn).CloseWrite()
	if m := readFrame(t, c); !bytes.Equal(m, answer(7, 40)) {
		t.Error("wrong answer")
	}
	wantClosed(t, c)
	eventually(t, "closed", func() bool { return s.Stats().Open == 0 })
}

func TestTCPBadFrames(t *testing.T) {
	for _, tt := range []struct {
		name string
		send []byte
	}{
		{"no length", []byte{0, 0}},
		{"less than a header", append([]byte{0, 11}, make([]byte, 11)...)},
		{"the worker says so", framed(append(question(0, 12), 0xff))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := listen(t, server.Options{Handler: worker(func(q []byte, p *server.Peer, r []byte) int {
				if q[len(q)-1] == 0xff {
					return -1
				}
				return echo(q, p, r)
			})})
			c := dial(t, "tcp", s)
			// What came before is answered.
			if _, err := c.Write(append(framed(question(1, 20)), tt.send...)); err != nil {
				t.Fatal(err)
			}
			if m := readFrame(t, c); !bytes.Equal(m, answer(1, 20)) {
				t.Error("wrong answer to the question before")
			}
			wantClosed(t, c)
		})
	}
}

func TestTCPTimeouts(t *testing.T) {
	// What is not short is far longer than the test waits for.
	const short, long = 150 * time.Millisecond, time.Hour
	for _, tt := range []struct {
		name   string
		limits server.Limits
		send   []byte
	}{
		{"silence", server.Limits{Idle: short, Question: long}, nil},
		{"silence after a question", server.Limits{Idle: short, Question: long}, framed(question(1, 12))},
		{"half a length", server.Limits{Idle: long, Question: short}, []byte{0}},
		{"half a question", server.Limits{Idle: long, Question: short}, framed(question(1, 40))[:20]},
		{"half a second question", server.Limits{Idle: long, Question: short}, append(framed(question(1, 12)), 0, 40, 1)},
		{"half a long question", server.Limits{Idle: long, Question: short}, framed(question(1, 5000))[:4000]},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := listen(t, server.Options{Limits: tt.limits, Handler: worker(echo)})
			begin := time.Now()
			c := dial(t, "tcp", s)
			if _, err := c.Write(tt.send); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("not closed")
			}
			if took := time.Since(begin); took < short {
				t.Errorf("closed after %v, want %v", took, short)
			}
			eventually(t, "counted", func() bool { return s.Stats().TimedOut == 1 })
		})
	}
}

// TestTCPSlowQuestion sends a question in parts, none late, the whole too late.
func TestTCPSlowQuestion(t *testing.T) {
	s := listen(t, server.Options{Limits: server.Limits{Idle: time.Hour, Question: 200 * time.Millisecond}, Handler: worker(echo)})
	c := dial(t, "tcp", s)
	for _, b := range framed(question(7, 400)) {
		if _, err := c.Write([]byte{b}); err != nil {
			break
		}
		time.Sleep(5 * time.Millisecond) // this is the slowness under test
	}
	wantClosed(t, c)
	if n := s.Stats().TCP.Received; n != 0 {
		t.Errorf("%d questions answered", n)
	}
}

func TestTCPCeilings(t *testing.T) {
	linuxOnly(t)
	tryFrom := func(s *server.Server, a string) (net.Conn, error) {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(a), 0))}
		return d.Dial("tcp", s.Addrs()[0].String())
	}
	refused := func(t *testing.T, s *server.Server, a string) {
		t.Helper()
		c, err := tryFrom(s, a)
		if err != nil { // the reset came before Dial was done
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		wantClosed(t, c)
	}
	from := func(t *testing.T, s *server.Server, a string) net.Conn {
		t.Helper()
		c, err := tryFrom(s, a)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(patience))
		return c
	}
	t.Run("address", func(t *testing.T) {
		s := listen(t, server.Options{Limits: server.Limits{PerAddr: 2}, Handler: worker(echo)})
		a, b := from(t, s, "127.0.0.1"), from(t, s, "127.0.0.1")
		exchangeTCP(t, a, 1, 20)
		exchangeTCP(t, b, 2, 20)
		refused(t, s, "127.0.0.1")
		exchangeTCP(t, from(t, s, "127.0.0.2"), 3, 20)
		a.Close()
		eventually(t, "one place free", func() bool { return s.Stats().Open == 2 })
		exchangeTCP(t, from(t, s, "127.0.0.1"), 4, 20)
		if st := s.Stats(); st.Refused != 1 || st.Accepted != 4 {
			t.Errorf("counters %+v", st)
		}
	})
	t.Run("network", func(t *testing.T) {
		s := listen(t, server.Options{Limits: server.Limits{PerPrefix: 2}, Handler: worker(echo)})
		exchangeTCP(t, from(t, s, "127.0.0.1"), 1, 20)
		exchangeTCP(t, from(t, s, "127.0.0.2"), 2, 20)
		refused(t, s, "127.0.0.3")
		exchangeTCP(t, from(t, s, "127.0.1.1"), 3, 20)
	})
	t.Run("all", func(t *testing.T) {
		s := listen(t, server.Options{Limits: server.Limits{Conns: 4}, Handler: worker(func(q []byte, p *server.Peer, r []byte) int {
			n := echo(q, p, r)
			binary.BigEndian.PutUint16(r[4:], p.Idle)
			return n
		})})
		idle := func(c net.Conn) uint16 {
			if _, err := c.Write(framed(question(1, 20))); err != nil {
				t.Fatal(err)
			}
			return binary.BigEndian.Uint16(readFrame(t, c)[4:])
		}
		one := from(t, s, "127.0.1.1")
		if got := idle(one); got != 100 {
			t.Errorf("idle timeout %d with 1 of 4, want 100", got)
		}
		old, young := from(t, s, "127.0.2.1"), from(t, s, "127.0.2.2")
		idle(old)
		if got := idle(young); got != 55 {
			t.Errorf("idle timeout %d with 3 of 4, want 55", got)
		}
		idle(old) // now it is the younger
		old, young = young, old
		if got := idle(from(t, s, "127.0.3.1")); got != 10 {
			t.Errorf("idle timeout %d with 4 of 4, want 10", got)
		}
		idle(from(t, s, "127.0.4.1"))
		wantClosed(t, old)
		idle(young)
		idle(one)
		if st := s.Stats(); st.Evicted != 1 || st.Open != 4 || st.Accepted != 5 {
			t.Errorf("counters %+v", st)
		}
		// Every network has one now: any may go, and the table stays whole.
		for i := range 20 {
			idle(from(t, s, netip.AddrFrom4([4]byte{127, 0, byte(10 + i), 1}).String()))
		}
		if st := s.Stats(); st.Evicted != 21 || st.Open != 4 {
			t.Errorf("counters %+v", st)
		}
	})
}

func TestTCPSlowReader(t *testing.T) {
	s := listen(t, server.Options{Limits: server.Limits{Stall: 200 * time.Millisecond}, Handler: worker(func(q []byte, p *server.Peer, r []byte) int {
		if len(q) > 12 {
			return len(r)
		}
		return echo(q, p, r)
	})})
	slow := make([]net.Conn, 10) // more than there are workers
	wrote := make(chan error, 1) // of the first
	for i := range slow {
		slow[i] = dial(t, "tcp", s)
		_ = slow[i].(*net.TCPConn).SetReadBuffer(4096)
		q := framed(question(1, 13))
		go func() {
			var err error
			for range 2000 { // 131 MB of answers
				if _, err = slow[i].Write(q); err != nil {
					break
				}
			}
			if i == 0 {
				wrote <- err
			}
		}()
	}
	other := dial(t, "tcp", s)
	for i := range 100 {
		exchangeTCP(t, other, i, 12)
	}
	eventually(t, "slow readers cut", func() bool { return s.Stats().Stalled == 10 })
	eventually(t, "connections gone", func() bool { return s.Stats().Open == 1 })
	// The system tells of a reset once: whoever reads, or whoever writes.
	_, err := io.Copy(io.Discard, slow[0])
	if writing := <-wrote; !errors.Is(err, syscall.ECONNRESET) && !errors.Is(writing, syscall.ECONNRESET) {
		t.Errorf("the slow reader got %v, and %v when it wrote, want a reset", err, writing)
	}
	exchangeTCP(t, other, 1, 12)
}

func TestTCPDrain(t *testing.T) {
	const questions = 30
	gate, first := make(chan struct{}), make(chan struct{}, 100)
	s := listen(t, server.Options{Handler: worker(func(q []byte, p *server.Peer, r []byte) int {
		first <- struct{}{}
		<-gate
		return echo(q, p, r)
	})})
	busy, idle, half := dial(t, "tcp", s), dial(t, "tcp", s), dial(t, "tcp", s)
	var all []byte
	for i := range questions {
		all = append(all, framed(question(i, 1000))...)
	}
	if _, err := busy.Write(all); err != nil {
		t.Fatal(err)
	}
	<-first
	part := framed(question(5, 40))
	_, _ = half.Write(part[:10])
	eventually(t, "all accepted", func() bool { return s.Stats().Accepted == 3 })
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(context.Background()) }()
	eventually(t, "draining", s.Draining)
	_, _ = half.Write(part[10:])
	close(gate)
	for i := range questions {
		if m := readFrame(t, busy); !bytes.Equal(m, answer(i, 1000)) {
			t.Fatalf("answer %d is wrong", i)
		}
	}
	if m := readFrame(t, half); !bytes.Equal(m, answer(5, 40)) {
		t.Error("the answer to the question cut in half is wrong")
	}
	for _, c := range []net.Conn{busy, idle, half} {
		wantClosed(t, c)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if c, err := net.Dial("tcp", s.Addrs()[0].String()); err == nil {
		c.Close()
		t.Error("still listening")
	}
}
