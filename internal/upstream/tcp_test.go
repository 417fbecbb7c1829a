package upstream_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/upstream"
	"port53/internal/wire"
)

func overTCP() *upstream.Question {
	q := plain()
	q.TCP = true
	return q
}

// askAll asks n questions over TCP at once and counts the errors.
func askAll(t *testing.T, c *upstream.Client, n int) (failed int) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			r, err := c.Exchange(t.Context(), address(1), overTCP())
			if err == nil && (!r.TCP || r.Message[2]&4 == 0) {
				t.Errorf("%+v", r)
			}
			if err != nil {
				mu.Lock()
				failed++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return failed
}

// TestPipelining asks many questions at once (RFC 7766, section 6.2.1.1): they share
// connections, even while those are being made, and replies come in any order.
func TestPipelining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{rtt: 20 * time.Millisecond}
		type asked struct {
			q []byte
			c net.Conn
		}
		var mu sync.Mutex
		var held []asked
		ids := map[net.Conn]map[uint16]bool{}
		f.tcp = func(c net.Conn) {
			defer c.Close()
			for {
				q, err := readFrame(c)
				if err != nil {
					return
				}
				mu.Lock()
				held = append(held, asked{q, c})
				if ids[c] == nil {
					ids[c] = map[uint16]bool{}
				}
				id := binary.BigEndian.Uint16(q)
				if ids[c][id] {
					t.Errorf("ID %d twice on a connection", id)
				}
				ids[c][id] = true
				mu.Unlock()
			}
		}
		c := f.client(false)
		defer c.Close()
		time.AfterFunc(time.Second, func() {
			mu.Lock()
			defer mu.Unlock()
			for i := len(held) - 1; i >= 0; i-- {
				_, _ = held[i].c.Write(frame(echo(held[i].q, wire.FlagAA)))
			}
		})
		begin := time.Now()
		if failed := askAll(t, c, 100); failed != 0 || time.Since(begin) != time.Second {
			t.Errorf("%d of 100 failed, after %v", failed, time.Since(begin))
		}
		if _, conns, dialled := f.left(); conns != 2 || dialled != 2 || len(ids) != 2 {
			t.Errorf("%d connections, %d dialled, for 100 questions, want 2 of 64", conns, dialled)
		}
		time.Sleep(10*time.Second - time.Nanosecond)
		synctest.Wait()
		if _, conns, _ := f.left(); conns != 2 {
			t.Errorf("%d connections just before they were idle for ten seconds", conns)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if _, conns, _ := f.left(); conns != 0 {
			t.Errorf("%d connections are idle for ten seconds", conns)
		}
	})
}

// TestReuse asks one question after the other.
func TestReuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		f.tcp = func(c net.Conn) {
			defer c.Close()
			for {
				q, err := readFrame(c)
				if err != nil {
					return
				}
				_, _ = c.Write(frame(echo(q, wire.FlagAA)))
			}
		}
		c := f.client(false)
		defer c.Close()
		for range 2000 {
			ask(t, c, overTCP())
		}
		if _, _, dialled := f.left(); dialled != 1 {
			t.Errorf("%d connections for questions one after the other", dialled)
		}
	})
}

// TestClosedBetween has a server that closes connections when they have been idle for
// less than we keep them.
func TestClosedBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{rtt: time.Millisecond}
		f.tcp = func(c net.Conn) {
			defer c.Close()
			for range 3 {
				_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
				q, err := readFrame(c)
				if err != nil {
					return
				}
				_, _ = c.Write(frame(echo(q, wire.FlagAA)))
			}
			_, _ = readFrame(c) // a fourth, and closes without an answer
		}
		c := f.client(false)
		defer c.Close()
		for range 2 {
			ask(t, c, overTCP())
		}
		time.Sleep(2*time.Second + time.Millisecond)
		ask(t, c, overTCP())
		if _, conns, dialled := f.left(); conns != 1 || dialled != 2 {
			t.Errorf("after it was closed: %d connections, %d dialled", conns, dialled)
		}
		for range 3 {
			ask(t, c, overTCP())
		}
		if _, _, dialled := f.left(); dialled != 3 {
			t.Errorf("closed on a question: %d dialled, want it asked again (RFC 7766, section 6.2.4)", dialled)
		}
	})
}

// TestOneQuestionEach has a server of the old kind: it answers one question and closes.
func TestOneQuestionEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{rtt: time.Millisecond}
		f.tcp = func(c net.Conn) {
			defer c.Close()
			q, err := readFrame(c)
			if err == nil {
				go io.Copy(io.Discard, c) // what else is sent
				time.Sleep(5 * time.Millisecond)
				_, _ = c.Write(frame(echo(q, wire.FlagAA)))
			}
		}
		c := f.client(false)
		defer c.Close()
		if failed := askAll(t, c, 40); failed != 0 {
			t.Errorf("%d of 40 failed", failed)
		}
		_, _, before := f.left()
		if failed := askAll(t, c, 40); failed != 0 {
			t.Errorf("%d of 40 failed, once it was known", failed)
		}
		if _, _, after := f.left(); after-before != 40 {
			t.Errorf("%d connections for 40 questions to a server that answers one on each", after-before)
		}
	})
}

// TestLastAnsweredFirst has a server that answers the last of the questions that are on a
// connection and closes it: the others are asked again, that of who connected too.
func TestLastAnsweredFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{rtt: time.Millisecond}
		f.tcp = func(c net.Conn) {
			defer c.Close()
			var q []byte
			for {
				_ = c.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
				next, err := readFrame(c)
				if err != nil {
					break
				}
				q = next
			}
			if q != nil {
				_, _ = c.Write(frame(echo(q, wire.FlagAA)))
			}
		}
		c := f.client(false)
		defer c.Close()
		var wg sync.WaitGroup
		for i := range 2 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 2 * time.Millisecond) // the second is later on the same connection
				if _, err := c.Exchange(t.Context(), address(1), overTCP()); err != nil {
					t.Errorf("question %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		if _, _, dialled := f.left(); dialled != 2 {
			t.Errorf("%d connections, want one, and another for the question that was left", dialled)
		}
	})
}

// TestTCPFaults has servers that do with a connection what they should not.
func TestTCPFaults(t *testing.T) {
	pause := func(c net.Conn, b ...byte) {
		_, _ = readFrame(c)
		_, _ = c.Write(b)
		_, _ = readFrame(c) // until the other side closes
		c.Close()
	}
	end := func(c net.Conn, b ...byte) {
		_, _ = readFrame(c)
		_, _ = c.Write(b)
		c.Close()
	}
	for name, c := range map[string]struct {
		serve func(c net.Conn)
		after time.Duration
		late  bool // the error is a timeout
	}{
		"silence":          {func(c net.Conn) { pause(c) }, 4 * time.Second, true},
		"half a length":    {func(c net.Conn) { pause(c, 0) }, 4 * time.Second, true},
		"half a message":   {func(c net.Conn) { pause(c, 0, 40, 1, 2, 3) }, 4 * time.Second, true},
		"half and the end": {func(c net.Conn) { end(c, 0, 40, 1, 2, 3) }, 0, false},
		"the end":          {func(c net.Conn) { end(c) }, 0, false},
		"no header":        {func(c net.Conn) { end(c, 0, 0) }, 0, false},
		"nothing is read":  {func(c net.Conn) { time.Sleep(time.Minute); c.Close() }, 4 * time.Second, true},
		"another question": {func(c net.Conn) {
			q, _ := readFrame(c)
			r := echo(q, 0)
			r[14] ^= 3
			_, _ = c.Write(frame(r))
			pause(c)
		}, 0, false},
		"strays for ever":   {func(c net.Conn) { strays(c, 100000) }, 0, false},
		"a byte now, again": {func(c net.Conn) { drip(c) }, 4 * time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{tcp: c.serve}
				cl := f.client(false)
				defer cl.Close()
				begin := time.Now()
				r, err := cl.Exchange(t.Context(), address(1), overTCP())
				if err == nil || isTimeout(err) != c.late || time.Since(begin) != c.after || r.Message != nil {
					t.Errorf("%+v %v after %v", r, err, time.Since(begin))
				}
				synctest.Wait()
				if _, conns, _ := f.left(); conns != 0 && name != "another question" {
					t.Errorf("%d connections are kept", conns)
				}
				time.Sleep(time.Minute) // until the other side has ended
			})
		})
	}
}

func strays(c net.Conn, n int) {
	defer c.Close()
	q, _ := readFrame(c)
	for i := range n {
		r := echo(q, 0)
		binary.BigEndian.PutUint16(r, binary.BigEndian.Uint16(q)+1+uint16(i%1000))
		if _, err := c.Write(frame(r)); err != nil {
			return
		}
	}
}

func drip(c net.Conn) {
	defer c.Close()
	q, _ := readFrame(c)
	for _, b := range frame(echo(q, 0)) {
		time.Sleep(500 * time.Millisecond)
		if _, err := c.Write([]byte{b}); err != nil {
			return
		}
	}
}

// TestUnreachable has a server that does not take connections, and one where they hang.
func TestUnreachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{udp: reply(wire.FlagTC), rtt: 10 * time.Millisecond}
		c := f.client(false)
		defer c.Close()
		if _, err := c.Exchange(t.Context(), address(1), plain()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Error(err)
		}
		if _, state, _ := c.Estimate(address(1)); state != upstream.Good {
			t.Errorf("a server that answers over UDP: state %v", state)
		}
		for range 12 {
			if _, err := c.Exchange(t.Context(), address(2), overTCP()); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Error(err)
			}
		}
		if _, state, _ := c.Estimate(address(2)); state != upstream.Dead {
			t.Errorf("a server that is asked over TCP: state %v", state)
		}
		f.rtt = time.Hour
		begin := time.Now()
		if failed := askAll(t, c, 10); failed != 10 || time.Since(begin) != 4*time.Second {
			t.Errorf("%d failed after %v", failed, time.Since(begin))
		}
		if _, _, dialled := f.left(); dialled != 14 {
			t.Errorf("%d dialled", dialled)
		}
		// Nobody is left who waits for it: dialling ends.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Exchange(ctx, address(3), overTCP()); err == nil {
			t.Error("no error")
		}
		synctest.Wait()
	})
}

// TestSilentConnection has a connection that no longer leads anywhere: the next question
// does not wait for it.
func TestSilentConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		first := true
		f.tcp = func(c net.Conn) {
			defer c.Close()
			mute := first
			first = false
			for n := 0; ; n++ {
				q, err := readFrame(c)
				if err != nil {
					return
				}
				if n == 0 || !mute {
					_, _ = c.Write(frame(echo(q, wire.FlagAA)))
				}
			}
		}
		c := f.client(false)
		defer c.Close()
		ask(t, c, overTCP())
		if _, err := c.Exchange(t.Context(), address(1), overTCP()); !isTimeout(err) {
			t.Error(err)
		}
		begin := time.Now()
		ask(t, c, overTCP())
		if time.Since(begin) != 0 {
			t.Errorf("waited %v", time.Since(begin))
		}
	})
}

// TestConnectionBound asks more servers than there may be connections: the ones idle
// for longest go.
func TestConnectionBound(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector now and then fails a check of its own (tsan_rtl.cpp) with so many goroutines that end at once")
	}
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		f.tcp = f.serve(reply(wire.FlagAA))
		c := f.client(false)
		defer c.Close()
		for i := range 1100 {
			if _, err := c.Exchange(t.Context(), address(i), overTCP()); err != nil {
				t.Fatal(i, err)
			}
		}
		synctest.Wait()
		if _, conns, _ := f.left(); conns != 1024 {
			t.Errorf("%d connections", conns)
		}
		for i := range 2 {
			for _, n := range []int{1099, 0} {
				if _, err := c.Exchange(t.Context(), address(n), overTCP()); err != nil {
					t.Fatal(err)
				}
			}
			if _, _, dialled := f.left(); dialled != 1101 {
				t.Errorf("round %d: %d dialled, want the oldest and no other to have gone", i, dialled)
			}
		}

		// With all in use there is none.
		f.tcp = func(c net.Conn) { _, _ = io.Copy(io.Discard, c); c.Close() }
		time.Sleep(time.Minute)
		synctest.Wait()
		var wg sync.WaitGroup
		var mu sync.Mutex
		busy := 0
		for i := range 1030 {
			wg.Go(func() {
				if _, err := c.Exchange(t.Context(), address(i), overTCP()); !isTimeout(err) {
					mu.Lock()
					busy++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if busy != 6 {
			t.Errorf("%d of 1,030 were told that there are too many", busy)
		}
		synctest.Wait()
		if _, conns, _ := f.left(); conns != 0 {
			t.Errorf("%d connections are left", conns)
		}
	})
}

// TestCloseEnds closes the client while questions wait.
func TestCloseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{rtt: time.Millisecond}
		f.tcp = f.serve(func([]byte) [][]byte { return nil })
		c := f.client(false)
		time.AfterFunc(time.Second, c.Close)
		begin := time.Now()
		_, err := c.Exchange(t.Context(), address(1), overTCP())
		if !errors.Is(err, net.ErrClosed) || time.Since(begin) != time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		if _, err := c.Exchange(t.Context(), address(1), overTCP()); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		synctest.Wait()
		if _, conns, _ := f.left(); conns != 0 {
			t.Errorf("%d connections are left", conns)
		}
	})
}
