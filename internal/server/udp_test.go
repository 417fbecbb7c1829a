package server_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"port53/internal/server"
)

func TestUDP(t *testing.T) {
	for _, portable := range []bool{false, true} {
		for _, tt := range []struct{ name, listen, ask string }{
			{"v4", "127.0.0.1:0", "127.0.0.1"},
			{"v6", "[::1]:0", "::1"},
			{"v4 wildcard", "0.0.0.0:0", "127.0.0.1"},
			{"v4 wildcard, second address", "0.0.0.0:0", "127.0.0.2"},
			{"v6 wildcard", "[::]:0", "::1"},
		} {
			name := tt.name
			if portable {
				name += ", portable"
			}
			t.Run(name, func(t *testing.T) {
				if tt.ask == "127.0.0.2" {
					linuxOnly(t)
				}
				peers := make(chan server.Peer, 4)
				s, err := server.Listen(server.Options{
					Addrs: []netip.AddrPort{netip.MustParseAddrPort(tt.listen)}, Portable: portable, Workers: 2,
					Handler: worker(func(q []byte, p *server.Peer, r []byte) int {
						peers <- *p
						return echo(q, p, r)
					}),
				})
				if err != nil {
					t.Skip(err) // no IPv6
				}
				s.Start()
				defer func() { _ = s.Shutdown(t.Context()) }()
				to := netip.AddrPortFrom(netip.MustParseAddr(tt.ask), s.Addrs()[0].Port()).String()
				c, err := net.Dial("udp", to)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(patience))
				// A connected socket hears only what comes from the address it asked.
				for i, n := range []int{12, 512, 4096} {
					exchange(t, c, i, n)
					p := <-peers
					if p.Transport != server.UDP || p.Idle != 0 {
						t.Errorf("transport %d, idle %d", p.Transport, p.Idle)
					}
					if want := c.LocalAddr().(*net.UDPAddr).AddrPort(); p.Remote != want {
						t.Errorf("remote %v, want %v", p.Remote, want)
					}
					if want := netip.MustParseAddr(tt.ask); p.Local != want && runtime.GOOS == "linux" {
						t.Errorf("local %v, want %v", p.Local, want)
					}
				}
			})
		}
	}
}

func TestUDPDropsAndSilence(t *testing.T) {
	for _, portable := range []bool{false, true} {
		s := listen(t, server.Options{Workers: 1, Portable: portable, Handler: worker(func(q []byte, p *server.Peer, r []byte) int {
			if q[3] == 0xff {
				return 0
			}
			return echo(q, p, r)
		})})
		c := dial(t, "udp", s)
		silent := question(9, 12)
		silent[3] = 0xff
		for _, q := range [][]byte{{}, make([]byte, 11), make([]byte, 4097), silent} {
			if _, err := c.Write(q); err != nil {
				t.Fatal(err)
			}
		}
		exchange(t, c, 1, 12)
		if st := s.Stats().UDP; st.Received != 5 || st.Short != 2 || st.Long != 1 {
			t.Errorf("portable %v: counters %+v, want 5 received, 2 of them short and 1 long", portable, st)
		}
	}
}

// TestUDPLongUpdates has updates of more octets than a query may have, among queries: they
// arrive whole, several at once too. Queries of that length do not.
func TestUDPLongUpdates(t *testing.T) {
	long := func(id, n int) []byte {
		q := question(id, n)
		q[2] = 5 << 3
		for i := 12; i < n; i++ {
			q[i] = byte(i * (id + 1) / 7)
		}
		return q
	}
	for _, portable := range []bool{false, true} {
		got := make(chan []byte, 100)
		hold, held := make(chan struct{}), make(chan struct{}, 1)
		s := listen(t, server.Options{Workers: 1, Portable: portable, Handler: worker(func(q []byte, p *server.Peer, r []byte) int {
			if q[3] == 0xff {
				held <- struct{}{}
				<-hold
				return 0
			}
			got <- bytes.Clone(q)
			return 0
		})})
		c := dial(t, "udp", s)
		send := func(q []byte) {
			if _, err := c.Write(q); err != nil {
				t.Fatal(err)
			}
		}
		for i, n := range []int{4096, 4097, 5500, 65507, 12} {
			send(long(i, n))
			if q := <-got; !bytes.Equal(q, long(i, n)) {
				t.Errorf("portable %v: of an update of %d octets %d arrived, or others", portable, n, len(q))
			}
		}
		// What comes while the worker is busy is one batch.
		stop := question(9, 12)
		stop[3] = 0xff
		send(stop)
		<-held
		for _, q := range [][]byte{question(20, 60), long(21, 5000), question(22, 5000), long(23, 6000), question(24, 61)} {
			send(q)
		}
		close(hold)
		want := [][]byte{question(20, 60), long(21, 5000), long(23, 6000), question(24, 61)}
		for _, w := range want {
			if q := <-got; !bytes.Equal(q, w) {
				t.Errorf("portable %v: got %d octets that begin with %x, want %d, %x", portable, len(q), q[:4], len(w), w[:4])
			}
		}
		cut := uint64(5 - len(want))
		eventually(t, "all counted", func() bool { st := s.Stats().UDP; return st.Received == 11 && st.Long == cut })
	}
}

func TestUDPBurst(t *testing.T) {
	const clients, each = 4, 250 // each client's answers fit into its receive buffer
	for _, portable := range []bool{false, true} {
		s := listen(t, server.Options{Handler: worker(echo), Portable: portable})
		var wg sync.WaitGroup
		for range clients {
			c := dial(t, "udp", s)
			wg.Go(func() {
				missing := make(map[uint16]bool)
				for i := range each {
					missing[uint16(i)] = true
				}
				buf := make([]byte, 4096)
				for end := time.Now().Add(patience); len(missing) > 0 && time.Now().Before(end); {
					for i := range missing {
						if _, err := c.Write(question(int(i), 40)); err != nil {
							t.Error(err)
							return
						}
					}
					// UDP may lose some: those are asked again.
					_ = c.SetReadDeadline(time.Now().Add(time.Second))
					for len(missing) > 0 {
						n, err := c.Read(buf)
						if err != nil {
							break
						}
						id := binary.BigEndian.Uint16(buf)
						if !bytes.Equal(buf[:n], answer(int(id), 40)) {
							t.Errorf("answer %d is wrong", id)
							return
						}
						delete(missing, id)
					}
				}
				if len(missing) > 0 {
					t.Errorf("%d questions were not answered", len(missing))
				}
			})
		}
		wg.Wait()
		// The counter follows the answer.
		eventually(t, "all counted", func() bool { st := s.Stats().UDP; return st.Sent == st.Received })
		if st := s.Stats().UDP; st.Sent < clients*each || st.SendErrors != 0 {
			t.Errorf("portable %v: counters %+v", portable, st)
		}
	}
}

func TestUDPDrain(t *testing.T) {
	const questions = 150 // more than a batch, less than a receive buffer
	for _, portable := range []bool{false, true} {
		gate := make(chan struct{})
		first := make(chan struct{}, questions)
		s := listen(t, server.Options{Workers: 1, Portable: portable, Handler: worker(func(q []byte, p *server.Peer, r []byte) int {
			first <- struct{}{}
			<-gate
			return echo(q, p, r)
		})})
		c := dial(t, "udp", s)
		for i := range questions {
			if _, err := c.Write(question(i, 40)); err != nil {
				t.Fatal(err)
			}
		}
		<-first
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(context.Background()) }()
		eventually(t, "draining", s.Draining)
		close(gate)
		buf := make([]byte, 4096)
		for i := range questions {
			if n, err := c.Read(buf); err != nil || !bytes.Equal(buf[:n], answer(i, 40)) {
				t.Fatalf("portable %v: answer %d: %v", portable, i, err)
			}
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestUDPLater(t *testing.T) {
	for _, tt := range []struct {
		addr     string
		portable bool
	}{{"127.0.0.1:0", false}, {"127.0.0.1:0", true}, {"0.0.0.0:0", false}, {"0.0.0.0:0", true}} {
		responders := make(chan server.Responder, 8)
		s := listen(t, server.Options{
			Addrs: []netip.AddrPort{netip.MustParseAddrPort(tt.addr)}, Portable: tt.portable, Workers: 1,
			Handler: worker(func(q []byte, p *server.Peer, r []byte) int {
				later, err := p.Detach()
				if err != nil {
					t.Error(err)
					return 0
				}
				responders <- later
				return server.Pending
			}),
		})
		c, err := net.Dial("udp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), s.Addrs()[0].Port()).String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		for i := range 3 {
			_, _ = c.Write(question(i, 40))
		}
		rs := []server.Responder{<-responders, <-responders, <-responders}
		if n := s.Stats().Pending; n != 3 {
			t.Errorf("%d pending, want 3", n)
		}
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(context.Background()) }()
		eventually(t, "draining", s.Draining)
		buf := make([]byte, 4096)
		for i := 2; i >= 0; i-- {
			if err := rs[i].Reply(make([]byte, 5000)); !errors.Is(err, server.ErrTooLong) {
				t.Errorf("5,000 octets over UDP: error %v", err)
			}
			if err := rs[i].Reply(answer(i, 40)); err != nil {
				t.Error(err)
			}
			if n, err := c.Read(buf); err != nil || !bytes.Equal(buf[:n], answer(i, 40)) {
				t.Errorf("answer %d: %v", i, err)
			}
			rs[i].Close()
			rs[i].Close()
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n := s.Stats().Pending; n != 0 {
			t.Errorf("%d pending after all, want 0", n)
		}
		if err := rs[0].Reply(answer(0, 40)); !errors.Is(err, server.ErrGone) {
			t.Errorf("after draining: error %v, want ErrGone", err)
		}
	}
}

func TestShutdownCutShort(t *testing.T) {
	responders := make(chan server.Responder, 8)
	s := listen(t, server.Options{Handler: worker(func(q []byte, p *server.Peer, r []byte) int {
		later, _ := p.Detach()
		responders <- later
		return server.Pending
	})})
	u, c := dial(t, "udp", s), dial(t, "tcp", s)
	_, _ = u.Write(question(1, 12))
	_, _ = c.Write(framed(question(2, 12)))
	a, b := <-responders, <-responders
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	for _, r := range []server.Responder{a, b} {
		if err := r.Reply(answer(1, 12)); !errors.Is(err, server.ErrGone) {
			t.Errorf("error %v, want ErrGone", err)
		}
		r.Close()
	}
}
