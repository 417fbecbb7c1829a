package app

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// architectures are what the kernel calls those that programs are built for (linux/audit.h). On others
// system calls are not filtered.
var architectures = map[string]uint32{
	"386":      unix.AUDIT_ARCH_I386,
	"amd64":    unix.AUDIT_ARCH_X86_64,
	"arm":      unix.AUDIT_ARCH_ARM,
	"arm64":    unix.AUDIT_ARCH_AARCH64,
	"loong64":  unix.AUDIT_ARCH_LOONGARCH64,
	"mips":     unix.AUDIT_ARCH_MIPS,
	"mipsle":   unix.AUDIT_ARCH_MIPSEL,
	"mips64":   unix.AUDIT_ARCH_MIPS64,
	"mips64le": unix.AUDIT_ARCH_MIPSEL64,
	"ppc64":    unix.AUDIT_ARCH_PPC64,
	"ppc64le":  unix.AUDIT_ARCH_PPC64LE,
	"riscv64":  unix.AUDIT_ARCH_RISCV64,
	"s390x":    unix.AUDIT_ARCH_S390X,
}

// refusedCalls are system calls that a server has no business with, whatever it does: looking into
// other processes, mounts, modules, keys and clocks of the machine, other roots, and ways into the
// kernel that are rich in faults.
var refusedCalls = []uint32{
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PIDFD_GETFD, unix.SYS_KCMP,
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
	unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE,
	unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR, unix.SYS_SWAPON, unix.SYS_SWAPOFF,
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_REBOOT,
	unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL,
	unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME,
	unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_SYSLOG, unix.SYS_VHANGUP, unix.SYS_PERSONALITY,
	unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_MKNODAT,
}

// startingCalls start programs and make namespaces, which firewall.manage needs and nothing else.
var startingCalls = []uint32{unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_UNSHARE, unix.SYS_SETNS}

// namespaces are the flags of clone(2) that make some.
const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER |
	unix.CLONE_NEWPID | unix.CLONE_NEWNET

// Offsets in struct seccomp_data (seccomp(2)).
const (
	callNumber = 0
	callArch   = 4
	firstArg   = 16
)

// callFilter returns the filter that refuses system calls with EPERM, and lets all others be. It refuses
// every call of another architecture than arch, such as those of 32 bits on amd64, which have other
// numbers. starts is whether programs may be started.
func callFilter(arch uint32, starts bool) ([]bpf.RawInstruction, error) {
	refuse := func(err unix.Errno) bpf.Instruction {
		return bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(err)}
	}
	p := []bpf.Instruction{
		bpf.LoadAbsolute{Off: callArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: arch, SkipTrue: 1},
		refuse(unix.EPERM),
		bpf.LoadAbsolute{Off: callNumber, Size: 4},
	}
	if arch == unix.AUDIT_ARCH_X86_64 {
		const x32 = 0x40000000 // the numbers of a third architecture, which has the same name
		p = append(p, bpf.JumpIf{Cond: bpf.JumpLessThan, Val: x32, SkipTrue: 1}, refuse(unix.ENOSYS))
	}
	calls := refusedCalls
	if !starts {
		calls = append(calls[:len(calls):len(calls)], startingCalls...)
		// The flags of clone3 are in memory, which no filter sees: who has no clone3 goes on with clone.
		p = append(p, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.SYS_CLONE3, SkipTrue: 1}, refuse(unix.ENOSYS))
	}
	for _, n := range calls {
		p = append(p, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: n, SkipTrue: 1}, refuse(unix.EPERM))
	}
	if !starts {
		p = append(p,
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.SYS_CLONE, SkipTrue: 3},
			bpf.LoadAbsolute{Off: flagsOffset(arch), Size: 4},
			bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: namespaces, SkipTrue: 1},
			refuse(unix.EPERM),
		)
	}
	return bpf.Assemble(append(p, bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}))
}

// flagsOffset returns where the low 32 bits of clone's flags are: its first argument, but on s390x,
// where they are the second (clone(2)), in the order of the machine.
func flagsOffset(arch uint32) uint32 {
	switch arch {
	case unix.AUDIT_ARCH_S390X:
		return firstArg + 8 + 4
	case unix.AUDIT_ARCH_MIPS, unix.AUDIT_ARCH_MIPS64, unix.AUDIT_ARCH_PPC64:
		return firstArg + 4
	}
	return firstArg
}

// errNoFilter is that the kernel, or what we know of its architecture, has no filters of system calls.
var errNoFilter = errors.New("system calls are not filtered: not on this kernel and architecture")

// confineCalls has every thread be refused, for good, the system calls that a server has no business
// with (seccomp(2)).
func confineCalls(starts bool) error {
	arch, ok := architectures[runtime.GOARCH]
	if !ok {
		return errNoFilter
	}
	filter, err := callFilter(arch, starts)
	if err != nil {
		return err
	}
	list := make([]unix.SockFilter, len(filter))
	for i, in := range filter {
		list[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	program := unix.SockFprog{Len: uint16(len(list)), Filter: &list[0]}
	// Without CAP_SYS_ADMIN, a filter needs no_new_privs. Whoever stays root starts programs of the system
	// alone, and needs no others' rights for them.
	if _, _, errno := psx.Syscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("set no_new_privs: %w", errno)
	}
	thread, _, errno := unix.Syscall(
		unix.SYS_SECCOMP,
		unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&program)),
	)
	runtime.KeepAlive(list)
	switch {
	case errno == unix.ENOSYS, errno == unix.EINVAL:
		return errNoFilter
	case errno != 0:
		return fmt.Errorf("filter system calls: %w", errno)
	case thread != 0: // which is no errno, and nothing is filtered
		return fmt.Errorf("filter system calls: thread %d has a filter of its own", thread)
	}
	return nil
}
