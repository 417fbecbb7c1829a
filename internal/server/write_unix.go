//go:build unix

package server

import "syscall"

// writeNow writes as much of b as the system takes without waiting, and returns
// how much. Why it did not take the rest, the next write tells.
func writeNow(c syscall.RawConn, b []byte) (n int) {
	if c == nil || len(b) == 0 {
		return 0
	}
	_ = c.Write(func(fd uintptr) bool {
		if w, err := syscall.Write(int(fd), b); err == nil {
			n = w
		}
		return true
	})
	return n
}
