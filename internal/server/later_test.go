package server_test

import (
	"bytes"
	"context"
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
	k := keep{t, make(chan server.Responder, 100)}
	s := listen(t, server.Options{Handler: worker(k.handle)})
	c := dial(t, "tcp", s)
	_, _ = c.Write(append(framed(question(1, 20)), framed(question(2, 20))...))
	one, two := <-k.later, <-k.later
	if err := one.Reply(make([]byte, 65536)); !errors.Is(err, server.ErrTooLong) {
		t.Errorf("65,536 octets: error %v", err)
	}
	for _, r := range []struct {
		server.Responder
		id int
	}{{two, 2}, {one, 11}, {one, 12}, {one, 13}} { // as a zone transfer, in several messages
		send := r.Stream
		if r.id == 2 || r.id == 12 {
			send = r.Reply
		}
		if err := send(answer(r.id, 65535)); err != nil {
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

// TestTCPLaterHalfClose closes the client's half before the answers come, more of them
// than the system holds.
func TestTCPLaterHalfClose(t *testing.T) {
	k := keep{t, make(chan server.Responder, 100)}
	s := listen(t, server.Options{Handler: worker(k.handle)})
	for _, sizes := range [][]int{{20}, {47000, 20, 47000, 65535, 47000, 47000, 47000, 47000, 65535, 65535, 47000, 20, 300}} {
		c := dial(t, "tcp", s)
		var questions, answers []byte
		for i, n := range sizes {
			questions = append(questions, framed(question(i, 20))...)
			answers = append(answers, framed(answer(i, n))...)
		}
		_, _ = c.Write(questions)
		_ = c.(*net.TCPConn).CloseWrite()
		for i, n := range sizes {
			r := <-k.later
			if err := r.Reply(answer(i, n)); err != nil {
				t.Fatal(err)
			}
			r.Close()
		}
		if all, err := io.ReadAll(c); err != nil || !bytes.Equal(all, answers) {
			t.Errorf("%d answers: read %d octets, %v; want %d", len(sizes), len(all), err, len(answers))
		}
	}
	eventually(t, "closed", func() bool { return s.Stats().Open == 0 })
}

// TestTCPLaterNobodyReads has connections from several addresses that ask for long
// answers and read none, of which some close their half. Giving their answers does not
// wait, others are answered meanwhile, and in the end all of them are cut off.
func TestTCPLaterNobodyReads(t *testing.T) {
	linuxOnly(t)
	const conns, each = 30, 16
	k, mine := keep{t, make(chan server.Responder, conns*each)}, keep{t, make(chan server.Responder, 1)}
	s := listen(t, server.Options{Handler: worker(func(q []byte, p *server.Peer, r []byte) int {
		switch len(q) {
		case 12:
			return echo(q, p, r)
		case 13:
			return mine.handle(q, p, r)
		}
		return k.handle(q, p, r)
	}), Limits: server.Limits{Stall: 500 * time.Millisecond}})
	for i := range conns {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, byte(i%5), byte(1+i%3))}}
		c, err := d.Dial("tcp", s.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.(*net.TCPConn).SetReadBuffer(2048)
		for n := range each {
			if _, err := c.Write(framed(question(n, 20))); err != nil {
				t.Fatal(err)
			}
		}
		if i%2 == 0 {
			_ = c.(*net.TCPConn).CloseWrite()
		}
	}
	other := dial(t, "tcp", s)
	for i := range conns * each {
		r := <-k.later
		// Some are cut off while others are given their answers, if the machine is slow.
		if err := r.Reply(answer(1, 47000)); err != nil && !errors.Is(err, server.ErrGone) {
			t.Fatal(err)
		}
		r.Close()
		if i%100 == 0 {
			exchangeTCP(t, other, i, 12)
			_, _ = other.Write(framed(question(i, 13)))
			r := <-mine.later
			if err := r.Reply(answer(i, 47000)); err != nil {
				t.Error(err)
			}
			r.Close()
			if m := readFrame(t, other); !bytes.Equal(m, answer(i, 47000)) {
				t.Errorf("answer %d is wrong", i)
			}
		}
	}
	eventually(t, "cut off", func() bool { return s.Stats().Open == 1 })
	if st := s.Stats(); st.Stalled != conns || st.Pending != 0 {
		t.Errorf("counters %+v, want %d stalled", st, conns)
	}
	exchangeTCP(t, other, 9, 12)
}

// TestTCPLaterDrain shuts the server down while answers wait for a client to read them,
// and others are still to come: all do.
func TestTCPLaterDrain(t *testing.T) {
	const questions = 12
	k := keep{t, make(chan server.Responder, questions)}
	s := listen(t, server.Options{Handler: worker(k.handle)})
	c := dial(t, "tcp", s)
	for i := range questions {
		_, _ = c.Write(framed(question(i, 20)))
	}
	give := func(i int) {
		r := <-k.later
		if err := r.Reply(answer(i, 60000)); err != nil {
			t.Error(err)
		}
		r.Close()
	}
	for i := range questions / 2 {
		give(i)
	}
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(context.Background()) }()
	eventually(t, "draining", s.Draining)
	for i := questions / 2; i < questions; i++ {
		give(i)
	}
	for i := range questions {
		if m := readFrame(t, c); !bytes.Equal(m, answer(i, 60000)) {
			t.Fatalf("answer %d is wrong", i)
		}
	}
	wantClosed(t, c)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestTCPLaterDrainCut has a client that reads nothing: it keeps a shutdown for as long
// as that may take and no longer.
func TestTCPLaterDrainCut(t *testing.T) {
	k := keep{t, make(chan server.Responder, 16)}
	s := listen(t, server.Options{Handler: worker(k.handle), Limits: server.Limits{Stall: time.Hour}})
	c := dial(t, "tcp", s)
	_ = c.(*net.TCPConn).SetReadBuffer(2048)
	for i := range 16 {
		_, _ = c.Write(framed(question(i, 20)))
	}
	for range 16 {
		r := <-k.later
		if err := r.Reply(answer(1, 65535)); err != nil {
			t.Error(err)
		}
		r.Close()
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(ctx) }()
	eventually(t, "draining", s.Draining)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	if st := s.Stats(); st.Open != 0 || st.Pending != 0 {
		t.Errorf("counters %+v", st)
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
