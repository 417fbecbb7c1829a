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
// which itself waits in the runtime's poller: a question costs no goroutine, and its
// share of one system call that waits for many.
//
// Each question has a port of its own, drawn for it when it is asked. No port is bound
// before: whoever finds one open could send replies in advance. What waits for questions
// is sockets without a port.
type system struct {
	random  Entropy
	sources sources
	seed    maphash.Seed

	mu    sync.Mutex
	file  *os.File // the epoll descriptor; nil until the first question and after Close
	epoll int
	free  []*socket // without a descriptor
	idlers
	ports  ports
	looked time.Time // when ports were read
	taken  int       // questions so far

	closed atomic.Bool
	slots  atomic.Pointer[[]*socket] // all there are, by slot; written under mu
}

// idlers are the sockets that wait for questions.
type idlers struct {
	pools []pool
	idle  int // sockets in pools
	most  int // that may be
	least int // the fewest since trim looked
	trims *time.Timer
}

// A pool is sockets with a source address and without a port. The one used last is used
// first.
type pool struct {
	source  netip.Addr
	sockets []*socket
}

const (
	// maxIdle is how many sockets wait for questions: as many as are answered at the same time
	// on a busy resolver. More are closed.
	maxIdle = 256
	// trimTime is how long a socket that is not needed stays open, and up to twice that.
	trimTime = 10 * time.Second
	// lookTime is how long the ports that the kernel chooses from are taken to be the same, and
	// lookEach for how many questions at least: reading a clock costs as well.
	lookTime, lookEach = 10 * time.Second, 64
	// maxDrained is how many datagrams are read out of a socket that is to be used again.
	// Beyond that somebody floods it, and it is closed.
	maxDrained = 8
)

// System returns the network of this machine. sources are the addresses that questions
// leave from; without any of a server's family, routes decide. It also is an io.Closer.
func System(addrs ...netip.Addr) Network {
	s := &system{sources: addrs, seed: maphash.MakeSeed(), idlers: idlers{most: maxIdle}}
	s.slots.Store(&[]*socket{})
	return s
}

// boundIdle implements [idler].
func (s *system) boundIdle(most int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.most = min(s.most, most)
	return s.most
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
	s.release()
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}

// A socket is one UDP socket. Its memory is used again, and its descriptor if the kernel
// chose its port.
type socket struct {
	system *system
	slot   int32
	fd     int                   // -1: none
	source netip.Addr            // that it is bound to, or will be
	bound  bool                  // to an address
	again  bool                  // the kernel chose its port
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
	c, port, err := s.take(s.source(to.Addr()))
	if err != nil {
		return nil, err
	}
	if c.fd < 0 {
		if err = c.open(); err != nil {
			s.give(c)
			return nil, err
		}
	}
	if err = c.prepare(to, port); err != nil {
		_ = unix.Close(c.fd)
		c.fd = -1
		s.give(c)
		if s.closed.Load() {
			err = net.ErrClosed
		}
		return nil, err
	}
	return c, nil
}

// open makes a descriptor without a port, and has it watched.
func (c *socket) open() error {
	family, level, option, value := uintptr(
		unix.AF_INET6,
	), uintptr(
		unix.IPPROTO_IPV6,
	), uintptr(
		unix.IPV6_MTU_DISCOVER,
	), int32(
		unix.IPV6_PMTUDISC_OMIT,
	)
	if c.source.Is4() {
		family, level, option, value = unix.AF_INET, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_OMIT
	}
	open := func() syscall.Errno {
		fd, _, errno := syscall.RawSyscall(unix.SYS_SOCKET, family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		c.fd = int(fd)
		return errno
	}
	errno := open()
	if scarce(errno) && c.system.relieve() {
		errno = open()
	}
	if errno != 0 {
		c.fd = -1
		return os.NewSyscallError("socket", errno)
	}
	// A datagram is never cut into fragments on the way, which could be replaced by
	// forged ones; and what routers are said to say of sizes is not believed, so that
	// it does not tell strangers which port is open (CVE-2021-20322).
	fd := uintptr(c.fd)
	_, _, _ = syscall.RawSyscall6(unix.SYS_SETSOCKOPT, fd, level, option, uintptr(unsafe.Pointer(&value)), 4, 0)
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET&0xFFFFFFFF, Fd: c.slot}
	if _, _, errno := syscall.RawSyscall6(
		unix.SYS_EPOLL_CTL,
		uintptr(c.system.epoll),
		unix.EPOLL_CTL_ADD,
		fd,
		uintptr(unsafe.Pointer(&ev)),
		0,
		0,
	); errno != 0 {
		_ = unix.Close(c.fd)
		c.fd = -1
		if c.system.closed.Load() {
			return net.ErrClosed
		}
		return os.NewSyscallError("epoll_ctl", errno)
	}
	return nil
}

// scarce reports whether an error says that there is no room for a socket more.
func scarce(errno syscall.Errno) bool {
	return errno == unix.EMFILE || errno == unix.ENFILE || errno == unix.ENOBUFS || errno == unix.ENOMEM
}

// prepare gives a socket its port and connects it. With port 0 the kernel draws one, while
// it connects.
func (c *socket) prepare(to netip.AddrPort, port uint16) error {
	c.again = port == 0
	for tries := 0; port != 0 || !c.source.IsUnspecified() && !c.bound; tries++ {
		var from unix.RawSockaddrInet6
		n := sockaddr(&from, netip.AddrPortFrom(c.source, port))
		_, _, errno := syscall.RawSyscall(unix.SYS_BIND, uintptr(c.fd), uintptr(unsafe.Pointer(&from)), uintptr(n))
		if errno == 0 {
			c.bound = true
			break
		}
		// EACCES: an administrator keeps more ports for services than is usual.
		if errno != unix.EADDRINUSE && errno != unix.EACCES || tries == bindTries || port == 0 {
			return os.NewSyscallError("bind", errno)
		}
		port = c.system.drawOwn()
	}
	c.toLen = sockaddr(&c.to, to)
	_, _, errno := syscall.RawSyscall(unix.SYS_CONNECT, uintptr(c.fd), uintptr(unsafe.Pointer(&c.to)), uintptr(c.toLen))
	if errno != 0 {
		return os.NewSyscallError("connect", errno)
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

// take returns a socket for a question from a source address, and the port to bind it to;
// 0 is that the kernel chooses. It has a descriptor if one was waiting.
func (s *system) take(source netip.Addr) (*socket, uint16, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return nil, 0, net.ErrClosed
	}
	if s.file == nil {
		if err := s.start(); err != nil {
			return nil, 0, err
		}
	}
	if s.taken%lookEach == 0 {
		if now := time.Now(); s.taken == 0 || now.Sub(s.looked) > lookTime {
			s.ports, s.looked = kernelPorts(), now
		}
	}
	s.taken++
	port := s.ports.draw(&s.random)
	if port == 0 {
		if c := s.poolOf(source).pop(); c != nil {
			s.idle--
			s.least = min(s.least, s.idle)
			c.quiet()
			return c, 0, nil
		}
	}
	if n := len(s.free); n > 0 {
		c := s.free[n-1]
		s.free = s.free[:n-1]
		c.source = source
		c.quiet()
		return c, port, nil
	}
	slots := *s.slots.Load()
	c := &socket{system: s, slot: int32(len(slots)), fd: -1, source: source, ready: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}
	c.timer.Stop()
	slots = append(slots, c)
	s.slots.Store(&slots)
	return c, port, nil
}

// quiet forgets that something has come.
func (c *socket) quiet() {
	select {
	case <-c.ready:
	default:
	}
}

// drawOwn returns a port to bind to, after one that was in use.
func (s *system) drawOwn() uint16 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ports.drawOwn(&s.random)
}

// poolOf returns the pool of a source address. s.mu is held.
func (s *system) poolOf(source netip.Addr) *pool {
	for i := range s.pools {
		if s.pools[i].source == source {
			return &s.pools[i]
		}
	}
	s.pools = append(s.pools, pool{source: source})
	return &s.pools[len(s.pools)-1]
}

func (p *pool) pop() *socket {
	n := len(p.sockets)
	if n == 0 {
		return nil
	}
	c := p.sockets[n-1]
	p.sockets = p.sockets[:n-1]
	return c
}

// give takes a socket without a descriptor back.
func (s *system) give(c *socket) {
	c.bound = false
	s.mu.Lock()
	s.free = append(s.free, c)
	s.mu.Unlock()
}

// keep takes a socket without a port back, and reports whether there is room for it.
func (s *system) keep(c *socket) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle >= s.most || s.closed.Load() {
		return false
	}
	p := s.poolOf(c.source)
	p.sockets = append(p.sockets, c)
	if s.idle++; s.trims == nil {
		s.trims = time.AfterFunc(trimTime, s.trim)
	}
	return true
}

// trim closes the sockets that no question needed since it looked last.
func (s *system) trim() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.pools {
		p := &s.pools[i]
		n := min(s.least, len(p.sockets)) // those used last are at the end
		for _, c := range p.sockets[:n] {
			s.drop(c)
		}
		p.sockets = append(p.sockets[:0], p.sockets[n:]...)
		s.least -= n
	}
	s.least = s.idle
	if s.trims = nil; s.idle > 0 {
		s.trims = time.AfterFunc(trimTime, s.trim)
	}
}

// drop closes a socket that waits for a question. s.mu is held.
func (s *system) drop(c *socket) {
	_ = unix.Close(c.fd)
	c.fd, c.bound = -1, false
	s.free = append(s.free, c)
	s.idle--
}

// release closes the sockets that wait for questions, and reports whether there were any.
// s.mu is held.
func (s *system) release() bool {
	was := s.idle
	for i := range s.pools {
		p := &s.pools[i]
		for c := p.pop(); c != nil; c = p.pop() {
			s.drop(c)
		}
	}
	if s.least = 0; s.trims != nil {
		s.trims.Stop()
		s.trims = nil
	}
	return was > 0
}

// relieve is release for those without the lock.
func (s *system) relieve() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.release()
}

// Send implements [exchange.Socket].
func (c *socket) Send(b []byte) error {
	for {
		_, _, errno := syscall.RawSyscall6(
			unix.SYS_SENDTO,
			uintptr(c.fd),
			uintptr(unsafe.Pointer(unsafe.SliceData(b))),
			uintptr(len(b)),
			unix.MSG_NOSIGNAL,
			0,
			0,
		)
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
	if c.again && c.unbind() && c.system.keep(c) {
		return nil
	}
	_, _, errno := syscall.RawSyscall(unix.SYS_CLOSE, uintptr(c.fd), 0, 0)
	c.fd = -1
	c.system.give(c)
	if errno != 0 {
		return os.NewSyscallError("close", errno)
	}
	return nil
}

// unbind takes from a socket its peer and the port that the kernel chose, so that the next
// question gets another, and whatever has come for this one. It reports whether the socket
// can be used again.
func (c *socket) unbind() bool {
	none := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	if _, _, errno := syscall.RawSyscall(unix.SYS_CONNECT, uintptr(c.fd), uintptr(unsafe.Pointer(&none)), unsafe.Sizeof(none)); errno != 0 {
		return false
	}
	var b [1]byte // the rest of a datagram is dropped
	for range maxDrained {
		_, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(c.fd), uintptr(unsafe.Pointer(&b)), 1, 0, 0, 0)
		if errno == unix.EAGAIN {
			return true
		}
		// What is no datagram is what the network said of the last one, once.
	}
	return false
}

// DialTCP implements [Network].
func (s *system) DialTCP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return dial(ctx, "tcp", to, s.source(to.Addr()))
}

// DialUDP implements [Packets].
func (s *system) DialUDP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return dial(ctx, "udp", to, s.source(to.Addr()))
}
