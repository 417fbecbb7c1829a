//go:build unix

package server

import (
	"net"
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
