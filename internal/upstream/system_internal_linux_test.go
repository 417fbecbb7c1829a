package upstream

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestPorts draws from what the kernel is said to hand out: no port is likelier than 1 in 46,341, or than the
// others where there are fewer, and none of the kernel's is bound to. As many as that allows are left to the kernel.
func TestPorts(t *testing.T) {
	for _, c := range []struct {
		local, reserved string
		low, high, left uint32 // left to the kernel; 0: nothing
	}{
		{"32768\t60999\n", "\n", 32768, 60999, 28232},
		{"1024 65535", "", 1024, 65535, 64512},
		{"1024 65535", "1024-31023", 1024, 65535, 34512},
		{"2000 65535", "10000-39999", 2000, 65535, 33536},
		{"32768 60999", "1-40000,60990-65535,50000", 32768, 60999, 20988},
		{"32768 60999", "80,443", 32768, 60999, 28232},
		{"40000 40100", "", 0, 0, 0},
		{"32768 60999", "32768-60000", 0, 0, 0},
		{"1 65535", "", 0, 0, 0},
		{"60999 32768", "", 0, 0, 0},
		{"32768 60999", "junk", 0, 0, 0},
		{"32768 60999", "32768-60999,32768-60999", 0, 0, 0},
		{"32768", "", 0, 0, 0},
		{"", "", 0, 0, 0},
		{"32768 99999", "", 0, 0, 0},
	} {
		p := parsePorts([]byte(c.local), []byte(c.reserved))
		if p.low != c.low || p.high != c.high || p.kernel != c.left {
			t.Errorf("%q %q: %+v", c.local, c.reserved, p)
		}
		var e Entropy
		const draws = 40000
		kernel, lowest, highest := 0, 65535, 0
		for range draws {
			port := int(p.draw(&e))
			if port == 0 {
				kernel++
				continue
			}
			lowest, highest = min(lowest, port), max(highest, port)
			if port < firstPort || p.low > 0 && port >= int(p.low) && port <= int(p.high) {
				t.Fatalf("%q: port %d", c.local, port)
			}
		}
		own := float64(portCount)
		if p.low > 0 {
			own -= float64(p.high - p.low + 1)
		}
		share, all := float64(kernel)/draws, min(46341, own+float64(c.left))
		if share*all > 1.05*float64(c.left) || (1-share)*all > 1.05*own { // 0.05 is five times the standard deviation at least
			t.Errorf("%q: %.2f are left to the %d ports of the kernel: a port is likelier than 1 in %.0f", c.local, share, c.left, all)
		}
		if share < 0.95*min(1, float64(c.left)/all) {
			t.Errorf("%q: %.2f are left to the kernel", c.local, share)
		}
		last := 65535
		if p.high == 65535 {
			last = int(p.low) - 1
		}
		if kernel < draws && (lowest > firstPort+100 || highest < last-100) {
			t.Errorf("%q: ports from %d to %d", c.local, lowest, highest)
		}
		for range 1000 {
			if port := p.drawOwn(&e); port < firstPort {
				t.Fatalf("%q: %d is to be bound to", c.local, port)
			}
		}
	}
	for release, want := range map[string]bool{
		"6.1.0-13-amd64": true, "6.18.44": true, "7.0": true, "10.2.1": true, "6.0.19": false, "5.15.0": false, "4.4": false, "": false, "six.one": false, "6": false, "6.": false,
	} {
		if drawsWell(release) != want {
			t.Errorf("release %q: %v", release, !want)
		}
	}
}

// kernelDraws skips where the kernel is left no ports.
func kernelDraws(t *testing.T) {
	t.Helper()
	if kernelPorts().low == 0 {
		t.Skip("this kernel draws no ports for us")
	}
}

// again returns a socket whose port the kernel drew.
func again(t *testing.T, s *system, to netip.AddrPort) *socket {
	t.Helper()
	for range 1000 {
		c, err := s.Socket(to)
		if err != nil {
			t.Fatal(err)
		}
		if c := c.(*socket); c.again {
			return c
		}
		c.Close()
	}
	t.Fatal("the kernel draws no port")
	return nil
}

func portOf(t *testing.T, c *socket) (port int, addr netip.Addr) {
	t.Helper()
	name, err := unix.Getsockname(c.fd)
	if err != nil {
		t.Fatal(err)
	}
	switch name := name.(type) {
	case *unix.SockaddrInet4:
		return name.Port, netip.AddrFrom4(name.Addr)
	case *unix.SockaddrInet6:
		return name.Port, netip.AddrFrom16(name.Addr)
	}
	t.Fatalf("%T", name)
	return 0, netip.Addr{}
}

// sinks are where datagrams can be sent to, by family.
func sinks(t *testing.T) []*net.UDPConn {
	t.Helper()
	var all []*net.UDPConn
	for _, ip := range []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback} {
		u, err := net.ListenUDP("udp", &net.UDPAddr{IP: ip})
		if err != nil {
			continue
		}
		t.Cleanup(func() { u.Close() })
		all = append(all, u)
	}
	if len(all) == 0 {
		t.Fatal("no loopback")
	}
	return all
}

func addrOf(u *net.UDPConn) netip.AddrPort {
	a := u.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// arrived waits until a socket has something to read.
func arrived(t *testing.T, c *socket) {
	t.Helper()
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}, 10000); n != 1 {
		t.Fatalf("nothing has come: %v", err)
	}
}

// TestUsedAgain has sockets that the kernel chose the port of used again: while they wait they
// have no port and no peer, then another port, and the source address that they had.
func TestUsedAgain(t *testing.T) {
	kernelDraws(t)
	for _, u := range sinks(t) {
		to := addrOf(u)
		for _, source := range []string{"", "127.0.0.2"} {
			t.Run(fmt.Sprint(to.Addr(), source), func(t *testing.T) {
				var sources []netip.Addr
				if source != "" {
					sources = append(sources, netip.MustParseAddr(source))
				}
				s := System(sources...).(*system)
				defer s.Close()
				c := again(t, s, to)
				fd, same, last := c.fd, 0, 0
				_, from := portOf(t, c)
				for range 200 {
					port, at := portOf(t, c)
					if c.fd != fd || at != from || port < firstPort {
						t.Fatalf("descriptor %d of %d, port %d, address %v of %v", c.fd, fd, port, at, from)
					}
					if port == last {
						same++
					}
					last = port
					if err := c.Close(); err != nil {
						t.Fatal(err)
					}
					if port, _ := portOf(t, c); port != 0 {
						t.Fatalf("a socket that waits has port %d", port)
					}
					if _, err := unix.Getpeername(c.fd); !errors.Is(err, unix.ENOTCONN) {
						t.Fatalf("a socket that waits has a peer: %v", err)
					}
					c = again(t, s, to)
				}
				if same > 2 {
					t.Errorf("%d times of 200 a port was drawn twice in a row", same)
				}
				c.Close()
				if s.idle != 1 {
					t.Errorf("%d sockets wait", s.idle)
				}
			})
		}
	}
}

// TestNothingLeftOver leaves things in sockets that are used again: replies that came late,
// and what the network said. The next question sees nothing of it.
func TestNothingLeftOver(t *testing.T) {
	kernelDraws(t)
	for _, u := range sinks(t) {
		to := addrOf(u)
		for _, late := range []int{0, 1, 3, maxDrained - 1, maxDrained, 3 * maxDrained} {
			t.Run(fmt.Sprint(to.Addr(), late), func(t *testing.T) {
				s := System().(*system)
				defer s.Close()
				c := again(t, s, to)
				if err := c.Send([]byte("question")); err != nil {
					t.Fatal(err)
				}
				b := make([]byte, 100)
				_, from, err := u.ReadFromUDPAddrPort(b)
				if err != nil {
					t.Fatal(err)
				}
				for range late {
					if _, err := u.WriteToUDPAddrPort([]byte("late"), from); err != nil {
						t.Fatal(err)
					}
				}
				if late > 0 {
					arrived(t, c)
				}
				fd := c.fd
				c.Close()
				if kept := c.fd == fd; kept != (late < maxDrained) {
					t.Fatalf("with %d datagrams in it the socket is kept: %v", late, kept)
				}
				next := again(t, s, to)
				defer next.Close()
				if n, err := next.Recv(t.Context(), b, time.Now().Add(20*time.Millisecond)); !isDeadline(err) {
					t.Errorf("the next question gets %q, %v", b[:n], err)
				}
			})
		}
		t.Run(fmt.Sprint(to.Addr(), " refused"), func(t *testing.T) {
			s := System().(*system)
			defer s.Close()
			gone, err := net.ListenUDP("udp", &net.UDPAddr{IP: to.Addr().AsSlice()})
			if err != nil {
				t.Fatal(err)
			}
			closed := addrOf(gone)
			gone.Close()
			c := again(t, s, closed)
			if err := c.Send([]byte("question")); err != nil {
				t.Fatal(err)
			}
			if _, err := unix.Poll([]unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}, 10000); err != nil {
				t.Fatal(err)
			}
			fd := c.fd
			if c.Close(); c.fd != fd {
				t.Fatal("the socket is not kept")
			}
			next := again(t, s, to)
			defer next.Close()
			if _, err := next.Recv(t.Context(), make([]byte, 100), time.Now().Add(20*time.Millisecond)); !isDeadline(err) {
				t.Errorf("the next question is told of the last one: %v", err)
			}
		})
	}
}

func isDeadline(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// TestIdleSockets bounds the sockets that wait, and has them closed when nobody needs them,
// and when there are too few descriptors for a question.
func TestIdleSockets(t *testing.T) {
	kernelDraws(t)
	u := sinks(t)[0]
	to := addrOf(u)
	s := System().(*system)
	defer s.Close()
	fill := func(n int) {
		t.Helper()
		var held []*socket
		for range n {
			held = append(held, again(t, s, to))
		}
		for _, c := range held {
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill(maxIdle + 20)
	if s.idle != maxIdle || len(s.pools[0].sockets) != maxIdle {
		t.Errorf("%d sockets wait", s.idle)
	}
	if n := s.boundIdle(1000); n != maxIdle {
		t.Errorf("%d sockets may wait", n)
	}
	b := Bounded(s, 80).(*bounded)
	if b.free.Load() != 70 || s.most != 10 {
		t.Errorf("of 80 sockets %d are for questions, and %d may wait", b.free.Load(), s.most)
	}
	if held := again(t, s, to); held.Close() != nil || s.idle != maxIdle-1 {
		t.Errorf("beyond the bound %d sockets wait", s.idle)
	}
	s.most = maxIdle
	s.trim() // which only begins to count
	fill(5)
	if s.trim(); s.idle != 5 {
		t.Errorf("%d sockets wait, of which 5 were needed", s.idle)
	}
	if s.trim(); s.idle != 0 || s.trims != nil {
		t.Errorf("%d sockets wait that nobody needs", s.idle)
	}

	fill(3)
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
			t.Fatal(err)
		}
	}()
	few := before
	few.Cur = 3 // no descriptor beyond those that are open
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	c := &socket{system: s, fd: -1, source: netip.IPv6Unspecified(), ready: make(chan struct{}, 1)}
	if err := c.open(); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("without descriptors a socket is opened: %v", err)
	}
	if s.idle != 0 {
		t.Errorf("%d sockets wait while there are no descriptors", s.idle)
	}
}

// TestScarceDescriptors asks where only so many descriptors are left as wait in sockets.
func TestScarceDescriptors(t *testing.T) {
	kernelDraws(t)
	u := sinks(t)[0]
	to := addrOf(u)
	s := System().(*system)
	defer s.Close()
	a, b := again(t, s, to), again(t, s, to)
	a.Close()
	b.Close()
	highest := max(a.fd, b.fd)
	// What is free below is taken.
	var taken []int
	defer func() {
		for _, fd := range taken {
			unix.Close(fd)
		}
	}()
	for {
		fd, err := unix.Dup(highest)
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, fd)
		if fd > highest {
			break
		}
	}
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	few := before
	few.Cur = uint64(highest + 1)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
			t.Fatal(err)
		}
	}()
	for range 50 { // some of which bind to a port themselves, and need another descriptor
		c, err := s.Socket(to)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
}
