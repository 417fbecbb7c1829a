package server_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"port53/internal/server"
)

// keep is a worker that detaches every question and hands it out.
type keep struct {
	t     testing.TB
	later chan server.Responder
}

func (k keep) handle(_ []byte, p *server.Peer, _ []byte) int {
	r, err := p.Detach()
	if err != nil {
		k.t.Error(err)
		return 0
	}
	k.later <- r
	return server.Pending
}

func TestDetachWithoutResponder(t *testing.T) {
	if _, err := new(server.Peer).Detach(); !errors.Is(err, server.ErrNotDetachable) {
		t.Errorf("error %v, want ErrNotDetachable", err)
	}
}

func TestTCPLater(t *testing.T) {
	const idle = 500 * time.Millisecond // long enough for the questions to arrive
	k := keep{t, make(chan server.Responder, 100)}
	s := listen(t, server.Options{Handler: worker(k.handle), Limits: server.Limits{Idle: idle}})
	c := dial(t, "tcp", s)
	_, _ = c.Write(append(framed(question(1, 20)), framed(question(2, 20))...))
	one, two := <-k.later, <-k.later
	// The client waits for us: that is no idleness.
	time.Sleep(2 * idle)
	if err := one.Reply(make([]byte, 65536)); !errors.Is(err, server.ErrTooLong) {
		t.Errorf("65,536 octets: error %v", err)
	}
	for _, r := range []struct {
		server.Responder
		id int
	}{{two, 2}, {one, 11}, {one, 12}, {one, 13}} { // as a zone transfer, in several messages
		if err := r.Reply(answer(r.id, 65535)); err != nil {
			t.Fatal(err)
		}
		if m := readFrame(t, c); !bytes.Equal(m, answer(r.id, 65535)) {
			t.Errorf("answer %d is wrong", r.id)
		}
	}
	one.Close()
	two.Close()
	two.Close()
	wantClosed(t, c)
	if st := s.Stats(); st.Pending != 0 || st.TCP.Sent != 4 {
		t.Errorf("counters %+v", st)
	}
	if err := one.Reply(answer(1, 12)); !errors.Is(err, server.ErrGone) {
		t.Errorf("after the end: error %v, want ErrGone", err)
	}
}

// TestTCPLaterBound sends more questions than may be pending: the rest waits unread.
func TestTCPLaterBound(t *testing.T) {
	const questions, most = 200, 16
	var now, peak atomic.Int32
	k := keep{t, make(chan server.Responder, questions)}
	s := listen(t, server.Options{Handler: worker(func(q []byte, p *server.Peer, r []byte) int {
		peak.Store(max(peak.Load(), now.Add(1)))
		return k.handle(q, p, r)
	})})
	c := dial(t, "tcp", s)
	go func() {
		for i := range questions {
			_, _ = c.Write(framed(question(i, 20)))
		}
	}()
	var wg sync.WaitGroup
	eventually(t, "as many as may be", func() bool { return s.Stats().Pending == most })
	for range questions {
		r := <-k.later
		wg.Go(func() {
			if err := r.Reply(answer(9, 20)); err != nil {
				t.Error(err)
			}
			now.Add(-1)
			r.Close()
		})
	}
	for range questions {
		if m := readFrame(t, c); !bytes.Equal(m, answer(9, 20)) {
			t.Fatal("wrong answer")
		}
	}
	wg.Wait()
	if p := peak.Load(); p != most {
		t.Errorf("%d pending at the peak, want %d", p, most)
	}
}

func TestTCPLaterClientGone(t *testing.T) {
	k := keep{t, make(chan server.Responder, 1)}
	s := listen(t, server.Options{Handler: worker(k.handle)})
	c := dial(t, "tcp", s)
	_, _ = c.Write(framed(question(1, 20)))
	r := <-k.later
	_ = c.(*net.TCPConn).SetLinger(0)
	c.Close()
	// The system tells of the reset with the second write at the latest.
	eventually(t, "an error", func() bool { return r.Reply(answer(1, 20)) != nil })
	if err := r.Reply(answer(1, 20)); !errors.Is(err, server.ErrGone) {
		t.Errorf("error %v, want ErrGone", err)
	}
	r.Close()
	eventually(t, "closed", func() bool { return s.Stats().Open == 0 })
}

// TestTCPLaterHalfClose closes the client's half before the answer comes.
func TestTCPLaterHalfClose(t *testing.T) {
	k := keep{t, make(chan server.Responder, 1)}
	s := listen(t, server.Options{Handler: worker(k.handle)})
	c := dial(t, "tcp", s)
	_, _ = c.Write(framed(question(1, 20)))
	_ = c.(*net.TCPConn).CloseWrite()
	r := <-k.later
	if err := r.Reply(answer(1, 20)); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if all, err := io.ReadAll(c); err != nil || !bytes.Equal(all, framed(answer(1, 20))) {
		t.Errorf("read %d octets, %v", len(all), err)
	}
}

func TestTCPLaterStall(t *testing.T) {
	k := keep{t, make(chan server.Responder, 1)}
	s := listen(t, server.Options{Handler: worker(k.handle), Limits: server.Limits{Stall: 100 * time.Millisecond}})
	c := dial(t, "tcp", s)
	_, _ = c.Write(framed(question(1, 20)))
	r := <-k.later
	eventually(t, "an error", func() bool { return r.Reply(answer(1, 65535)) != nil })
	r.Close()
	if st := s.Stats(); st.Stalled != 1 {
		t.Errorf("counters %+v, want one stalled", st)
	}
}

func TestUDPLaterBound(t *testing.T) {
	full := make(chan error, 1)
	kept := make(chan server.Responder, server.MaxUDPPending)
	s := listen(t, server.Options{Workers: 1, Handler: worker(func(q []byte, p *server.Peer, r []byte) int {
		for {
			later, err := p.Detach()
			if err != nil {
				full <- err
				return 0
			}
			kept <- later
		}
	})})
	_, _ = dial(t, "udp", s).Write(question(1, 12))
	if err := <-full; !errors.Is(err, server.ErrBusy) {
		t.Errorf("error %v, want ErrBusy", err)
	}
	if n := s.Stats().Pending; n != server.MaxUDPPending {
		t.Errorf("%d pending, want %d", n, server.MaxUDPPending)
	}
	for range server.MaxUDPPending {
		(<-kept).Close()
	}
}
