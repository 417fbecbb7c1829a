package app

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// TestFilterRefused: where a thread has a filter of its own the kernel filters nothing, and says which
// thread it was in the place of an error. It is an error all the same: nobody is told of a filter that is
// not there.
func TestFilterRefused(t *testing.T) {
	if os.Getenv("PORT53_TEST_CHILD") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestFilterRefused$", "-test.v")
		cmd.Env = append(os.Environ(), "PORT53_TEST_CHILD=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	own := make(chan error)
	done := make(chan struct{})
	defer close(done)
	go func() {
		runtime.LockOSThread() // and the thread ends with the goroutine
		own <- filterThread()
		<-done
	}()
	if err := <-own; err != nil {
		t.Skip("this kernel filters no system calls: ", err)
	}
	if err := confineCalls(false); err == nil || !strings.Contains(err.Error(), "has a filter of its own") {
		t.Errorf("confined beside a thread with another filter: %v", err)
	}
}

// filterThread gives the thread that it runs on a filter that lets all be.
func filterThread() error {
	raw, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}})
	if err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	list := []unix.SockFilter{{Code: raw[0].Op, K: raw[0].K}}
	program := unix.SockFprog{Len: 1, Filter: &list[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(list)
	if errno != 0 {
		return errno
	}
	return nil
}
