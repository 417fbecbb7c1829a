//go:build linux && amd64

package app

import (
	"encoding/binary"
	"slices"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// TestCallFilter runs the filters over every number, as the kernel does: what is refused is what the
// lists say, of this architecture, of others nothing is let through.
func TestCallFilter(t *testing.T) {
	for _, starts := range []bool{false, true} {
		raw, err := callFilter(unix.AUDIT_ARCH_X86_64, starts)
		if err != nil {
			t.Fatal(err)
		}
		program, all := bpf.Disassemble(raw)
		vm, err := bpf.NewVM(program)
		if !all || err != nil {
			t.Fatal(all, err)
		}
		judge := func(arch, number, flags uint32) int {
			var data [64]byte
			binary.BigEndian.PutUint32(data[callNumber:], number) // the VM reads words as the network has them
			binary.BigEndian.PutUint32(data[callArch:], arch)
			binary.BigEndian.PutUint32(data[firstArg:], flags)
			n, err := vm.Run(data[:])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		for n := range uint32(600) {
			want := unix.SECCOMP_RET_ALLOW
			switch {
			case slices.Contains(refusedCalls, n), !starts && slices.Contains(startingCalls, n):
				want = unix.SECCOMP_RET_ERRNO | int(unix.EPERM)
			case !starts && n == unix.SYS_CLONE3:
				want = unix.SECCOMP_RET_ERRNO | int(unix.ENOSYS)
			}
			if got := judge(unix.AUDIT_ARCH_X86_64, n, 0); got != want {
				t.Errorf("starts %v: call %d: %#x, want %#x", starts, n, got, want)
			}
			if got := judge(unix.AUDIT_ARCH_I386, n, 0); got != unix.SECCOMP_RET_ERRNO|int(unix.EPERM) {
				t.Errorf("starts %v: call %d of 32 bits: %#x", starts, n, got)
			}
			if got := judge(unix.AUDIT_ARCH_X86_64, n|0x40000000, 0); got != unix.SECCOMP_RET_ERRNO|int(unix.ENOSYS) {
				t.Errorf("starts %v: call %d of x32: %#x", starts, n, got)
			}
		}
		const thread = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD | unix.CLONE_SYSVSEM
		for flags, refused := range map[uint32]bool{
			thread: false, unix.CLONE_NEWUSER: !starts, unix.CLONE_NEWNET | thread: !starts, unix.CLONE_NEWNS: !starts, unix.CLONE_VFORK: false,
		} {
			if got := judge(unix.AUDIT_ARCH_X86_64, unix.SYS_CLONE, flags); (got != unix.SECCOMP_RET_ALLOW) != refused {
				t.Errorf("starts %v: clone with %#x: %#x", starts, flags, got)
			}
		}
	}
}

// TestFilterEverywhere assembles the filter of each architecture.
func TestFilterEverywhere(t *testing.T) {
	for name, arch := range architectures {
		for _, starts := range []bool{false, true} {
			if raw, err := callFilter(arch, starts); err != nil || len(raw) < len(refusedCalls) {
				t.Errorf("%s: %d instructions, %v", name, len(raw), err)
			}
		}
	}
}
