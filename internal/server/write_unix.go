//go:build unix

package server

import (
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
)

// A writerNow writes without waiting. It belongs to a connection, so that writing
// allocates nothing.
type writerNow struct {
	raw  syscall.RawConn
	try  func(fd uintptr) bool
	b    []byte
	done int
}

func (w *writerNow) bind(conn net.Conn) {
	if c, ok := conn.(syscall.Conn); ok {
		w.raw, _ = c.SyscallConn()
	}
	w.try = w.tryOnce
}

// write writes as much of b as the system takes at once, and returns how much.
// Why it did not take the rest, the next write tells.
func (w *writerNow) write(b []byte) int {
	if w.raw == nil || len(b) == 0 {
		return 0
	}
	w.b, w.done = b, 0
	_ = w.raw.Write(w.try)
	w.b = nil
	return w.done
}

func (w *writerNow) tryOnce(fd uintptr) bool {
	if n, err := syscall.Write(int(fd), w.b); err == nil {
		w.done = n
	}
	return true
}

// A datagramNow sends datagrams without waiting, from any goroutine, and allocates
// nothing.
type datagramNow struct {
	raw syscall.RawConn
	is6 bool // the socket is one of IPv6, be it for IPv4-mapped addresses

	mu               sync.Mutex
	to4              syscall.SockaddrInet4
	to6              syscall.SockaddrInet6
	to               syscall.Sockaddr // one of these
	message, control []byte
	err              error
	try              func(fd uintptr) bool
}

func (d *datagramNow) bind(conn *net.UDPConn) {
	d.raw, _ = conn.SyscallConn() // it is an error only for a nil conn
	_ = d.raw.Control(func(fd uintptr) {
		name, err := syscall.Getsockname(int(fd))
		_, is4 := name.(*syscall.SockaddrInet4)
		d.is6 = err == nil && !is4
	})
	d.to = &d.to4
	if d.is6 {
		d.to = &d.to6
	}
	d.try = d.tryOnce
}

// send sends one datagram. The error is EAGAIN if the system has no room for it now.
func (d *datagramNow) send(message, control []byte, to netip.AddrPort) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if addr := to.Addr(); d.is6 {
		d.to6.Port, d.to6.Addr, d.to6.ZoneId = int(to.Port()), addr.As16(), scope(addr.Zone())
	} else {
		d.to4.Port, d.to4.Addr = int(to.Port()), addr.As4()
	}
	d.message, d.control = message, control
	if err := d.raw.Write(d.try); err != nil {
		d.err = err
	}
	d.message, d.control = nil, nil
	return d.err
}

func (d *datagramNow) tryOnce(fd uintptr) bool {
	_, d.err = syscall.SendmsgN(int(fd), d.message, d.control, d.to, 0)
	return true
}

// scope returns the number of a zone: an interface's number, or its name.
func scope(zone string) uint32 {
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil || zone == "" {
		return uint32(n)
	}
	if i, err := net.InterfaceByName(zone); err == nil {
		return uint32(i.Index)
	}
	return 0
}
