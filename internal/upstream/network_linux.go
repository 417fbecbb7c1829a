package upstream

import (
	"context"
	"encoding/binary"
	"hash/maphash"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"port53/internal/exchange"
)

// harvest is the most events taken by one system call.
const harvest = 128

// A system is the sockets of this machine. All wait through one epoll descriptor,
// which itself waits in the runtime's poller: a question costs eight system calls, its
// share of one that waits for many, and no goroutine.
type system struct {
	random  Entropy
	sources sources
	seed    maphash.Seed

	mu    sync.Mutex
	file  *os.File // the epoll descriptor; nil until the first question and after Close
	epoll int
	free  []*socket // for reuse

	closed atomic.Bool
	slots  atomic.Pointer[[]*socket] // all there are, by slot; written under mu
}

// System returns the network of this machine. sources are the addresses that questions
// leave from; without any of a server's family, routes decide. It also is an io.Closer.
func System(addrs ...netip.Addr) Network {
	s := &system{sources: addrs, seed: maphash.MakeSeed()}
	s.slots.Store(&[]*socket{})
	return s
}

// start makes the epoll descriptor and the goroutine that reads it. It is called under
// s.mu.
func (s *system) start() error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if err = unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return os.NewSyscallError("fcntl", err)
	}
	file := os.NewFile(uintptr(fd), "epoll")
	conn, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return err
	}
	s.epoll, s.file = fd, file
	go func() {
		var events [harvest]unix.EpollEvent
		// Read calls the function whenever the runtime's poller saw something, until
		// Close.
		_ = conn.Read(func(fd uintptr) bool {
			for {
				n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, fd, uintptr(unsafe.Pointer(&events)), harvest, 0, 0, 0)
				if errno == unix.EINTR {
					continue
				}
				if errno != 0 {
					return false
				}
				s.wake(events[:n])
				if n < harvest {
					return false // what comes from now on makes the poller look again
				}
			}
		})
	}()
	return nil
}

// wake tells sockets that something has come. A slot may be another question's by now,
// which then looks in vain.
func (s *system) wake(events []unix.EpollEvent) {
	slots := *s.slots.Load()
	for i := range events {
		// A question that began while its network was being closed may have registered
		// with this one, if this one was given the same descriptor.
		if slot := int(events[i].Fd); slot < len(slots) {
			slots[slot].wake()
		}
	}
}

// Close implements io.Closer: it ends what waits, and the goroutine that reads events.
func (s *system) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed.Store(true)
	for _, c := range *s.slots.Load() {
		c.wake()
	}
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}

// A socket is one UDP socket. Its memory is used again.
type socket struct {
	system *system
	slot   int32
	fd     int
	to     unix.RawSockaddrInet6 // or an Inet4; what it is connected to
	toLen  uint32
	ready  chan struct{}
	timer  *time.Timer
}

func (c *socket) wake() {
	select {
	case c.ready <- struct{}{}:
	default:
	}
}

// Socket implements [Network].
func (s *system) Socket(to netip.AddrPort) (exchange.Socket, error) {
	c, err := s.take()
	if err != nil {
		return nil, err
	}
	family := uintptr(unix.AF_INET6)
	if to.Addr().Is4() {
		family = unix.AF_INET
	}
	fd, _, errno := syscall.RawSyscall(unix.SYS_SOCKET, family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if errno != 0 {
		s.give(c)
		return nil, os.NewSyscallError("socket", errno)
	}
	c.fd = int(fd)
	if err := c.prepare(to); err != nil {
		_ = unix.Close(c.fd)
		s.give(c)
		if s.closed.Load() {
			err = net.ErrClosed
		}
		return nil, err
	}
	return c, nil
}

// prepare binds a socket to a random port, connects it and has it watched.
func (c *socket) prepare(to netip.AddrPort) error {
	fd, four := uintptr(c.fd), to.Addr().Is4()
	// A datagram is never cut into fragments on the way, which could be replaced by
	// forged ones; and what routers are said to say of sizes is not believed, so that
	// it does not tell strangers which port is open (CVE-2021-20322).
	level, option, value := uintptr(unix.IPPROTO_IPV6), uintptr(unix.IPV6_MTU_DISCOVER), int32(unix.IPV6_PMTUDISC_OMIT)
	if four {
		level, option, value = unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_OMIT
	}
	_, _, _ = syscall.RawSyscall6(unix.SYS_SETSOCKOPT, fd, level, option, uintptr(unsafe.Pointer(&value)), 4, 0)

	var from unix.RawSockaddrInet6
	source := c.system.source(to.Addr())
	for tries := 0; ; tries++ {
		port := firstPort + uint16(c.system.random.Below(portCount))
		n := sockaddr(&from, netip.AddrPortFrom(source, port))
		_, _, errno := syscall.RawSyscall(unix.SYS_BIND, fd, uintptr(unsafe.Pointer(&from)), uintptr(n))
		if errno == 0 {
			break
		}
		// EACCES: an administrator keeps more ports for services than is usual.
		if errno != unix.EADDRINUSE && errno != unix.EACCES || tries == bindTries {
			return os.NewSyscallError("bind", errno)
		}
	}
	c.toLen = sockaddr(&c.to, to)
	if _, _, errno := syscall.RawSyscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&c.to)), uintptr(c.toLen)); errno != 0 {
		return os.NewSyscallError("connect", errno)
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET&0xFFFFFFFF, Fd: c.slot}
	if _, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(c.system.epoll), unix.EPOLL_CTL_ADD, fd, uintptr(unsafe.Pointer(&ev)), 0, 0); errno != 0 {
		return os.NewSyscallError("epoll_ctl", errno)
	}
	return nil
}

// sockaddr writes an address as the kernel has it and returns its length.
func sockaddr(to *unix.RawSockaddrInet6, a netip.AddrPort) uint32 {
	if a.Addr().Is4() {
		*to = unix.RawSockaddrInet6{}
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(to))
		sa.Family = unix.AF_INET
		binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&sa.Port))[:], a.Port())
		sa.Addr = a.Addr().As4()
		return unix.SizeofSockaddrInet4
	}
	*to = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: a.Addr().As16()}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&to.Port))[:], a.Port())
	if zone := a.Addr().Zone(); zone != "" {
		if iface, err := net.InterfaceByName(zone); err == nil {
			to.Scope_id = uint32(iface.Index)
		}
	}
	return unix.SizeofSockaddrInet6
}

// source returns the address that questions to a server leave from.
func (s *system) source(to netip.Addr) netip.Addr {
	hash := uint64(0)
	if len(s.sources) > 1 {
		hash = maphash.Comparable(s.seed, to)
	}
	return s.sources.pick(to, hash)
}

// take returns memory for a socket.
func (s *system) take() (*socket, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return nil, net.ErrClosed
	}
	if s.file == nil {
		if err := s.start(); err != nil {
			return nil, err
		}
	}
	if n := len(s.free); n > 0 {
		c := s.free[n-1]
		s.free = s.free[:n-1]
		select {
		case <-c.ready:
		default:
		}
		return c, nil
	}
	slots := *s.slots.Load()
	c := &socket{system: s, slot: int32(len(slots)), ready: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}
	c.timer.Stop()
	slots = append(slots, c)
	s.slots.Store(&slots)
	return c, nil
}

// give takes memory back.
func (s *system) give(c *socket) {
	s.mu.Lock()
	s.free = append(s.free, c)
	s.mu.Unlock()
}

// Send implements [exchange.Socket].
func (c *socket) Send(b []byte) error {
	for {
		_, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(c.fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return os.NewSyscallError("sendto", errno)
		}
	}
}

// Recv implements [exchange.Socket].
func (c *socket) Recv(ctx context.Context, b []byte, deadline time.Time) (int, error) {
	for {
		if err := c.wait(ctx, deadline); err != nil {
			return 0, err
		}
		switch n, errno := c.read(b); errno {
		case 0:
			c.wake() // there may be more: edges are told once only
			return n, nil
		case unix.EAGAIN:
		default:
			return 0, os.NewSyscallError("recvfrom", errno)
		}
	}
}

// wait returns when there may be something to read.
func (c *socket) wait(ctx context.Context, deadline time.Time) error {
	select {
	case <-c.ready:
	default:
		c.timer.Reset(time.Until(deadline))
		select {
		case <-c.ready:
			c.timer.Stop()
		case <-c.timer.C:
			return os.ErrDeadlineExceeded
		case <-ctx.Done():
			c.timer.Stop()
			return ctx.Err()
		}
	}
	if c.system.closed.Load() {
		return net.ErrClosed
	}
	return nil
}

// read takes a datagram that the server sent. One that came between bind and connect
// may be anybody's.
func (c *socket) read(b []byte) (int, syscall.Errno) {
	for {
		var from unix.RawSockaddrInet6
		size := uint32(unix.SizeofSockaddrInet6)
		n, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(c.fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
			0, uintptr(unsafe.Pointer(&from)), uintptr(unsafe.Pointer(&size)))
		switch {
		case errno == unix.EINTR:
		case errno != 0:
			return 0, errno
		case from.Family == unix.AF_INET6 && c.to.Family == unix.AF_INET6 && from.Port == c.to.Port && from.Addr == c.to.Addr:
			return int(n), 0
		case from.Family == unix.AF_INET && c.to.Family == unix.AF_INET:
			// Family, port and address.
			if *(*[8]byte)(unsafe.Pointer(&from)) == *(*[8]byte)(unsafe.Pointer(&c.to)) {
				return int(n), 0
			}
		}
	}
}

// Close implements [exchange.Socket].
func (c *socket) Close() error {
	_, _, errno := syscall.RawSyscall(unix.SYS_CLOSE, uintptr(c.fd), 0, 0)
	c.fd = -1
	c.system.give(c)
	if errno != 0 {
		return os.NewSyscallError("close", errno)
	}
	return nil
}

// DialTCP implements [Network].
func (s *system) DialTCP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return dial(ctx, to, s.source(to.Addr()))
}
