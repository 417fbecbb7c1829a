package upstream_test

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"port53/internal/upstream"
)

// echoVariable makes the test binary a responder that turns queries into replies, so
// that a benchmark can tell its own work from the other side's.
const echoVariable = "PORT53_UPSTREAM_ECHO"

func TestMain(m *testing.M) {
	if os.Getenv(echoVariable) != "" {
		if err := respond(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func respond() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	local, err := unix.Getsockname(fd)
	if err != nil {
		return err
	}
	fmt.Println(local.(*unix.SockaddrInet4).Port)
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1)) // until the benchmark is over
		os.Exit(0)
	}()
	// The runtime does not hear of these calls, which wait: it would make a thread of
	// its own take part in each.
	b := make([]byte, 2048)
	for {
		var from unix.RawSockaddrInet4
		size := uint32(unix.SizeofSockaddrInet4)
		n, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), 0, uintptr(unsafe.Pointer(&from)), uintptr(unsafe.Pointer(&size)))
		if errno != 0 {
			return errno
		}
		b[2] |= 0x80
		if _, _, errno = syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), n, 0, uintptr(unsafe.Pointer(&from)), uintptr(size)); errno != 0 {
			return errno
		}
	}
}

func responder(b *testing.B) netip.AddrPort {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), echoVariable+"=1", "GOMAXPROCS=2")
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	var port uint16
	if _, err := fmt.Sscan(line, &port); err != nil {
		b.Fatal(err)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
}

// BenchmarkExchange asks a responder in another process, with so many questions in
// flight. cpu-µs/op is what this process took of all processors, the kernel's part
// beside it.
func BenchmarkExchange(b *testing.B) {
	for _, inFlight := range []int{1, 16, 256} {
		b.Run(fmt.Sprint(inFlight), func(b *testing.B) {
			addr := responder(b)
			c := upstream.New(upstream.Options{Cookies: true})
			defer c.Close()
			if _, err := c.Exchange(b.Context(), addr, question()); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			user, system := cpu(b)
			b.ResetTimer()
			var left, lost atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			for range inFlight {
				wg.Go(func() {
					q := question()
					for left.Add(-1) >= 0 {
						if _, err := c.Exchange(b.Context(), addr, q); err != nil {
							lost.Add(1)
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			userEnd, systemEnd := cpu(b)
			b.ReportMetric(float64(userEnd+systemEnd-user-system)/1e3/float64(b.N), "cpu-µs/op")
			b.ReportMetric(float64(systemEnd-system)/1e3/float64(b.N), "kernel-µs/op")
			if n := lost.Load(); n > int64(b.N/100+1) {
				b.Errorf("%d of %d lost", n, b.N)
			}
		})
	}
}

// cpu returns what this process has taken of the processors.
func cpu(b *testing.B) (user, system time.Duration) {
	b.Helper()
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano()), time.Duration(r.Stime.Nano())
}
