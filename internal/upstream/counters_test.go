//go:build unix

package upstream_test

import (
	"context"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"port53/internal/upstream"
	"port53/internal/wire"
)

// TestFailureKinds has questions fail in each way over real sockets, and counts them by it.
// What the caller ends is no failure.
func TestFailureKinds(t *testing.T) {
	silent := listen(t, func([]byte) [][]byte { return nil }, nil)
	gone := listen(t, reply(0), nil)
	gone.close()
	// It accepts connections, and ends them at once.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	strange := listen(t, reply(0), func(q []byte) [][]byte {
		r := echo(q, 0)
		r[len(r)-1]++ // another class
		return [][]byte{r}
	})
	c := client(t)
	full := upstream.New(upstream.Options{Network: upstream.Bounded(upstream.System(), 0)})
	defer full.Close()
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	type test struct {
		what string
		c    *upstream.Client
		ctx  context.Context
		to   netip.AddrPort
		tcp  bool
		want upstream.Failure
	}
	tests := []test{
		{"silence", c, t.Context(), silent.addr, false, upstream.FailedTimeout},
		{"a closed port", c, t.Context(), gone.addr, false, upstream.FailedClosed},
		{"a closed port over TCP", c, t.Context(), gone.addr, true, upstream.FailedClosed},
		{"a connection that ends", c, t.Context(), l.Addr().(*net.TCPAddr).AddrPort(), true, upstream.FailedConnection},
		{"the wrong reply", c, t.Context(), strange.addr, true, upstream.FailedReply},
		{"no sockets", full, t.Context(), silent.addr, false, upstream.FailedSocket},
		{"no connections", full, t.Context(), silent.addr, true, upstream.FailedSocket},
		{"what is canceled", c, canceled, silent.addr, false, upstream.FailureCount},
	}
	if runtime.GOOS == "linux" {
		from := upstream.New(upstream.Options{Network: upstream.System(netip.MustParseAddr("192.0.2.1"))}) // no address of this machine
		defer from.Close()
		tests = append(tests, test{"no way", from, t.Context(), silent.addr, false, upstream.FailedUnreachable})
	}
	for _, tt := range tests {
		counts := func() (n [upstream.FailureCount]uint64) {
			for i := range n {
				n[i] = tt.c.Counters().Failures[i].Load()
			}
			return n
		}
		want := counts()
		if tt.want < upstream.FailureCount {
			want[tt.want]++
		}
		q := question()
		q.TCP, q.Timeout = tt.tcp, 50*time.Millisecond
		if _, err := tt.c.Exchange(tt.ctx, tt.to, q); err == nil {
			t.Errorf("%s: no error", tt.what)
		} else if got := counts(); got != want {
			t.Errorf("%s: counts %v, want %v (%v)", tt.what, got, want, err)
		}
	}
	for f := range upstream.FailureCount {
		if f.String() == "unknown" {
			t.Errorf("failure %d has no name", f)
		}
	}
	if upstream.FailureCount.String() != "unknown" {
		t.Error("what is no failure has a name")
	}
}

// TestReplyCounts counts replies by response code, and by how long they took.
func TestReplyCounts(t *testing.T) {
	c := client(t)
	for i, r := range []struct {
		flags uint16
		delay time.Duration
	}{
		{wire.FlagAA, 0}, {uint16(wire.ServFail), 0}, {uint16(wire.NXDomain), 30 * time.Millisecond},
	} {
		p := listen(t, func(q []byte) [][]byte {
			time.Sleep(r.delay)
			return reply(r.flags)(q)
		}, nil)
		q := question()
		q.Timeout = 10 * time.Second
		if _, err := c.Exchange(t.Context(), p.addr, q); err != nil {
			t.Fatal(err)
		}
		n := c.Counters()
		if got := n.Replies[r.flags&15].Load(); got != 1 {
			t.Errorf("%d replies of code %d", got, r.flags&15)
		}
		all, slow := uint64(0), uint64(0)
		for j := range n.RTT {
			k := n.RTT[j].Load()
			if all += k; j >= 5 { // more than 20 ms
				slow += k
			}
		}
		if all != uint64(i+1) || i == 2 && slow == 0 || time.Duration(n.RTTSum.Load()) < r.delay {
			t.Errorf("after %d replies %d are counted, %d of them slow, and %v", i+1, all, slow, time.Duration(n.RTTSum.Load()))
		}
	}
}
