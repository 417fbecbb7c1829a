package upstream

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ports that questions leave from: all but those of the system's services. The range
// that the kernel takes them from by itself has half as many.
const (
	firstPort = 1024
	portCount = 65536 - firstPort
	bindTries = 10 // random ports tried; with a thousand in use two in a row are taken once in 4,000
)

// harvest is the most events taken by one system call.
const harvest = 128

// A system is the sockets of this machine. All wait through one epoll descriptor,
// which itself waits in the runtime's poller: a question costs six system calls, and
// no goroutine.
type system struct {
	random  Entropy
	sources []netip.Addr // addresses that questions leave from; empty: what routes say

	once  sync.Once
	err   error
	epoll int
	file  *os.File

	mu    sync.Mutex
	free  []*socket // by slot, for reuse
	slots []*socket
}

// System returns the network of this machine. sources are the addresses that questions
// leave from; without any of a server's family, routes decide.
func System(sources ...netip.Addr) Network { return &system{sources: sources} }

// start makes the epoll descriptor and the goroutine that reads it.
func (s *system) start() {
	s.epoll, s.err = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if s.err != nil {
		return
	}
	if s.err = unix.SetNonblock(s.epoll, true); s.err != nil {
		return
	}
	s.file = os.NewFile(uintptr(s.epoll), "epoll")
	conn, err := s.file.SyscallConn()
	if err != nil {
		s.err = err
		return
	}
	go func() {
		var events [harvest]unix.EpollEvent
		_ = conn.Read(func(fd uintptr) bool { // it waits for as long as the process lives
			for {
				n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, fd, uintptr(unsafe.Pointer(&events)), harvest, 0, 0, 0)
				if errno == unix.EINTR {
					continue
				}
				if errno != 0 || n == 0 {
					return false
				}
				s.wake(events[:n])
			}
		})
	}()
}

// wake tells the sockets that something has come. An event names a slot and how often
// the slot had been used: what was closed meanwhile is somebody else's now.
func (s *system) wake(events []unix.EpollEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range events {
		c := s.slots[events[i].Fd]
		if c.use == uint32(events[i].Pad) {
			select {
			case c.ready <- struct{}{}:
			default:
			}
		}
	}
}

// A socket is one UDP socket. Its memory is used again.
type socket struct {
	system *system
	slot   int32
	use    uint32
	fd     int
	ready  chan struct{}
	timer  *time.Timer
}

// raw calls the system without telling the scheduler: none of the calls here can
// block, and telling it costs as much as some of them.
func raw(trap, a, b, c uintptr) (uintptr, error) {
	for {
		r, _, errno := syscall.RawSyscall(trap, a, b, c)
		switch errno {
		case 0:
			return r, nil
		case unix.EINTR:
			continue
		}
		return 0, errno
	}
}

// Socket implements [Network].
func (s *system) Socket(to netip.AddrPort) (Socket, error) {
	s.once.Do(s.start)
	if s.err != nil {
		return nil, s.err
	}
	family := uintptr(unix.AF_INET6)
	if to.Addr().Is4() {
		family = unix.AF_INET
	}
	r, err := raw(unix.SYS_SOCKET, family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	fd := int(r)
	if err := s.prepare(fd, to); err != nil {
		unix.Close(fd)
		return nil, err
	}
	c := s.take(fd)
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET&0xFFFFFFFF, Fd: c.slot, Pad: int32(c.use)}
	if _, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(s.epoll), unix.EPOLL_CTL_ADD, uintptr(fd), uintptr(unsafe.Pointer(&ev)), 0, 0); errno != 0 {
		c.Close()
		return nil, errno
	}
	return c, nil
}

// prepare binds a socket to a random port and connects it.
func (s *system) prepare(fd int, to netip.AddrPort) error {
	// A datagram is never cut into fragments on the way, which could be replaced by
	// forged ones, and what routers say about sizes is not believed (RFC 9715).
	level, option, omit := uintptr(unix.IPPROTO_IPV6), uintptr(unix.IPV6_MTU_DISCOVER), int32(unix.IPV6_PMTUDISC_OMIT)
	if to.Addr().Is4() {
		level, option, omit = unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_OMIT
	}
	_, _, _ = syscall.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), level, option, uintptr(unsafe.Pointer(&omit)), 4, 0)
	source := s.source(to.Addr())
	for tries := 0; ; tries++ {
		port := uint16(firstPort + s.random.Below(portCount))
		err := withAddr(unix.SYS_BIND, fd, netip.AddrPortFrom(source, port), 0)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EADDRINUSE) || tries == bindTries {
			return err
		}
	}
	scope := uint32(0)
	if zone := to.Addr().Zone(); zone != "" {
		if iface, err := net.InterfaceByName(zone); err == nil {
			scope = uint32(iface.Index)
		}
	}
	return withAddr(unix.SYS_CONNECT, fd, to, scope)
}

// withAddr calls bind or connect.
func withAddr(trap uintptr, fd int, to netip.AddrPort, scope uint32) error {
	port := to.Port()<<8 | to.Port()>>8 // in network order, as it lies in memory
	if nativeBig {
		port = to.Port()
	}
	if to.Addr().Is4() {
		sa := unix.RawSockaddrInet4{Family: unix.AF_INET, Port: port, Addr: to.Addr().As4()}
		_, err := raw(trap, uintptr(fd), uintptr(unsafe.Pointer(&sa)), unix.SizeofSockaddrInet4)
		return err
	}
	sa := unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: port, Addr: to.Addr().As16(), Scope_id: scope}
	_, err := raw(trap, uintptr(fd), uintptr(unsafe.Pointer(&sa)), unix.SizeofSockaddrInet6)
	return err
}

// nativeBig tells whether this machine stores numbers in network order.
//
//nolint:gochecknoglobals // read-only
var nativeBig = binary.NativeEndian.Uint16([]byte{0, 1}) == 1

// source returns the address that questions to a server leave from.
func (s *system) source(to netip.Addr) netip.Addr {
	n := 0
	for _, a := range s.sources {
		if a.Is4() == to.Is4() {
			n++
		}
	}
	if n > 0 {
		n = int(s.random.Below(uint32(n)))
		for _, a := range s.sources {
			if a.Is4() == to.Is4() {
				if n == 0 {
					return a
				}
				n--
			}
		}
	}
	if to.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// take returns a socket for fd.
func (s *system) take(fd int) *socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		c := s.free[n-1]
		s.free = s.free[:n-1]
		c.fd = fd
		return c
	}
	c := &socket{system: s, slot: int32(len(s.slots)), fd: fd, ready: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}
	c.timer.Stop()
	s.slots = append(s.slots, c)
	return c
}

// Send implements [Socket].
func (c *socket) Send(b []byte) error {
	for {
		_, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(c.fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}

// Recv implements [Socket].
func (c *socket) Recv(b []byte, deadline time.Time) (int, error) {
	armed := false
	for {
		select {
		case <-c.ready:
		default:
			if !armed {
				c.timer.Reset(time.Until(deadline))
				armed = true
				defer c.timer.Stop()
			}
			select {
			case <-c.ready:
			case <-c.timer.C:
				return 0, os.ErrDeadlineExceeded
			}
		}
		for {
			n, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(c.fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_TRUNC, 0, 0)
			switch errno {
			case 0:
				// There may be more: edges are told once only.
				select {
				case c.ready <- struct{}{}:
				default:
				}
				return int(n), nil
			case unix.EINTR:
				continue
			case unix.EAGAIN:
			default:
				return 0, errno
			}
			break
		}
	}
}

// Close implements [Socket].
func (c *socket) Close() error {
	_, err := raw(unix.SYS_CLOSE, uintptr(c.fd), 0, 0)
	s := c.system
	s.mu.Lock()
	defer s.mu.Unlock()
	c.fd = -1
	c.use++
	select {
	case <-c.ready:
	default:
	}
	s.free = append(s.free, c)
	return err
}

// DialTCP implements [Network].
func (s *system) DialTCP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	var d net.Dialer
	if source := s.source(to.Addr()); !source.IsUnspecified() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	return d.DialContext(ctx, "tcp", to.String())
}
