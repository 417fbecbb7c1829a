//go:build linux && !mips && !mipsle && !mips64 && !mips64le

package hangup

import (
	"syscall"
	"unsafe"
)

// An action is a struct sigaction as the kernel has it: its handler first, and then what
// differs from machine to machine.
type action struct {
	handler uintptr
	rest    [56]byte
}

// ignore is the handler SIG_IGN.
const ignore = 1

// setSize is the bytes of a set of signals.
const setSize = 8

// hold has SIGHUP be ignored, and returns what it did before; nil if nothing has changed.
func hold() *action {
	old := new(action)
	if !sigaction(nil, old) || old.handler == ignore || !sigaction(&action{handler: ignore}, nil) {
		return nil
	}
	return old
}

// restore has SIGHUP do what it did. It may be nil.
func (a *action) restore() {
	if a != nil {
		sigaction(a, nil)
	}
}

// sigaction is that of signal(7), for SIGHUP. The package os/signal has no way to it before
// it is ready itself, which is late.
func sigaction(next, old *action) bool {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGHUP),
		uintptr(unsafe.Pointer(next)), uintptr(unsafe.Pointer(old)), setSize, 0, 0)
	return errno == 0
}
