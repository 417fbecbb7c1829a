//go:build unix

package upstream_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"port53/internal/upstream"
	"port53/internal/wire"
)

// descriptors returns how many are open.
func descriptors(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("descriptors cannot be counted here: ", err)
	}
	return len(d)
}

// settled waits until a count is at most a value.
func settled(t *testing.T, what string, count func() int, most int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; runtime.Gosched() {
		n := count()
		if n <= most {
			return
		}
		if time.Now().After(end) {
			t.Errorf("%d %s, want %d", n, what, most)
			return
		}
	}
}

// TestReleased looks for what is left open after answers, timeouts, refusals,
// cancellations and truncated replies, and after Close.
func TestReleased(t *testing.T) {
	answers := listen(t, reply(wire.FlagAA), nil)
	silent := listen(t, func([]byte) [][]byte { return nil }, nil)
	cut := listen(t, reply(wire.FlagTC), reply(wire.FlagAA))
	last := listen(t, func([]byte) [][]byte { return nil }, nil)
	gone := listen(t, reply(0), nil)
	gone.close()
	open := descriptors(t)
	listening := runtime.NumGoroutine()
	c := upstream.New(upstream.Options{Cookies: true})
	if _, err := c.Exchange(t.Context(), answers.addr, question()); err != nil {
		t.Fatal(err)
	}
	before := descriptors(t)
	if before > open+3 { // the epoll descriptor, and the runtime's poller the first time
		t.Errorf("%d descriptors for a client without questions", before-open)
	}
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if _, err := c.Exchange(t.Context(), answers.addr, question()); err != nil {
				t.Error(err)
			}
			q := question()
			q.Timeout = 20 * time.Millisecond
			if _, err := c.Exchange(t.Context(), silent.addr, q); !isTimeout(err) {
				t.Error(err)
			}
			if _, err := c.Exchange(t.Context(), gone.addr, question()); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Error(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer time.AfterFunc(10*time.Millisecond, cancel).Stop()
			if _, err := c.Exchange(ctx, silent.addr, question()); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			if r, err := c.Exchange(t.Context(), cut.addr, question()); err != nil || !r.TCP {
				t.Errorf("%+v %v", r, err)
			}
		})
	}
	wg.Wait()
	dialled := int(c.Counters().Dialled.Load())
	// So many sockets wait for other questions, and connections are kept, both ends of which are ours here.
	const waiting = 256
	if after := descriptors(t); after > before+waiting+2*dialled {
		t.Errorf("%d descriptors before, %d after, and %d connections", before, after, dialled)
	}
	wait := make(chan error)
	go func() {
		q := question()
		q.Timeout = time.Hour
		_, err := c.Exchange(context.Background(), last.addr, q)
		wait <- err
	}()
	last.await(1)
	c.Close()
	if err := <-wait; !errors.Is(err, net.ErrClosed) {
		t.Errorf("a question that waits while the client is closed: %v", err)
	}
	settled(t, "descriptors after Close", func() int { return descriptors(t) }, open+1)
	settled(t, "goroutines after Close", runtime.NumGoroutine, listening)
	if _, err := c.Exchange(t.Context(), answers.addr, question()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// TestCloseWhileAsking closes clients that are busy, and makes others which get the
// descriptors that were theirs.
func TestCloseWhileAsking(t *testing.T) {
	p := listen(t, reply(wire.FlagTC), reply(wire.FlagAA))
	for range 20 {
		c := upstream.New(upstream.Options{})
		answered := make(chan struct{}, 1)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				for {
					switch _, err := c.Exchange(t.Context(), p.addr, question()); {
					case err == nil:
						select {
						case answered <- struct{}{}:
						default:
						}
					case errors.Is(err, net.ErrClosed):
						return
					default:
						t.Error(err)
						return
					}
				}
			})
		}
		<-answered
		c.Close()
		wg.Wait()
	}
}

// TestNeverUsed closes what nobody used.
func TestNeverUsed(t *testing.T) {
	upstream.New(upstream.Options{}).Close()
	n := upstream.System()
	if n, ok := n.(io.Closer); ok {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestManyAtOnce has 10,000 questions wait together: each costs a descriptor and its own
// goroutine, and nothing else.
func TestManyAtOnce(t *testing.T) {
	n := 10000
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 12000 {
		n = 500
	}
	if raceEnabled {
		n = min(n, 2000)
	}
	var mu sync.Mutex
	var held []func()
	window := make(chan struct{}, 100) // so that the receive buffer of the other side holds
	u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	all := make(chan struct{})
	go func() {
		b := make([]byte, 2048)
		for {
			k, from, err := u.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			<-window
			r := echo(b[:k], wire.FlagAA)
			mu.Lock()
			held = append(held, func() { _, _ = u.WriteToUDPAddrPort(r, from) })
			if len(held) == n {
				close(all)
			}
			mu.Unlock()
		}
	}()
	c := client(t)
	before := runtime.NumGoroutine()
	var wg sync.WaitGroup
	for range n {
		window <- struct{}{}
		wg.Go(func() {
			q := question()
			q.Timeout = 30 * time.Second
			if _, err := c.Exchange(t.Context(), u.LocalAddr().(*net.UDPAddr).AddrPort(), q); err != nil {
				t.Error(err)
			}
		})
	}
	select {
	case <-all:
	case <-time.After(2 * time.Minute):
		t.Fatal("not all questions arrived")
	}
	if got := runtime.NumGoroutine() - before; got > n+2 {
		t.Errorf("%d goroutines for %d questions", got, n)
	}
	for _, f := range held {
		f()
	}
	wg.Wait()
}

// TestSources asks from the addresses that are given, and a server always from the same,
// because its cookie is good for no other (RFC 9018, section 3).
func TestSources(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("127.0.0.2 is no address here")
	}
	one, two := netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.3")
	n := upstream.System(one, netip.MustParseAddr("2001:db8::1"), two)
	c := upstream.New(upstream.Options{Network: n})
	defer c.Close()
	used := map[netip.Addr]int{}
	for i := range 24 {
		host := listenOn(t, netip.AddrFrom4([4]byte{127, 0, 1, byte(i)}), reply(wire.FlagTC), reply(wire.FlagAA))
		for range 2 {
			if _, err := c.Exchange(t.Context(), host.addr, question()); err != nil {
				t.Fatal(err)
			}
		}
		from := map[netip.Addr]bool{}
		for _, p := range host.packets() {
			from[p.from.Addr()] = true
			used[p.from.Addr()]++
		}
		if len(from) != 1 {
			t.Errorf("%v was asked from %v", host.addr, from)
		}
	}
	if len(used) != 2 || used[one] == 0 || used[two] == 0 {
		t.Errorf("24 servers were asked from %v", used)
	}
}

// TestIPv6 asks over IPv6.
func TestIPv6(t *testing.T) {
	if l, err := net.ListenPacket("udp6", "[::1]:0"); err != nil {
		t.Skip("no IPv6: ", err)
	} else {
		l.Close()
	}
	host := listenOn(t, netip.IPv6Loopback(), reply(wire.FlagTC), reply(wire.FlagAA))
	c := client(t)
	r, err := c.Exchange(t.Context(), host.addr, question())
	if err != nil || !r.TCP || r.Packets != 2 {
		t.Errorf("%+v %v", r, err)
	}
}

// TestAllocations bounds those of a question, on both sides: the other one makes none.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	go func() {
		b := make([]byte, 2048)
		for {
			n, from, err := u.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			b[2] |= 0x80
			_, _ = u.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	c := client(t)
	q := question()
	to := u.LocalAddr().(*net.UDPAddr).AddrPort()
	const most = 2 // the reply is the caller's; the other is the runtime's now and then
	if n := testing.AllocsPerRun(500, func() {
		if _, err := c.Exchange(t.Context(), to, q); err != nil {
			t.Fatal(err)
		}
	}); n > most {
		t.Errorf("%.1f allocations a question, want at most %d", n, most)
	}
}
