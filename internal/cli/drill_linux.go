package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// inNamespace runs a command in a network namespace of its own, which ends with this process. Who is not root has a
// user namespace as well, in which nobody but that user is.
func inNamespace(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	if uid := os.Geteuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	runtime.LockOSThread() // the signal comes when the thread ends that started the command
	defer runtime.UnlockOSThread()
	return cmd.Run()
}

// holdDrill says by a lock that a directory is in use, until the function that it returns is called or the process has ended.
func holdDrill(dir string) func() {
	f, err := os.Open(dir)
	if err != nil {
		return func() {}
	}
	_ = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) // the process is looked at as well
	return func() { f.Close() }
}

// sweepDrills removes what drills of this user have left in a directory that were killed: their processes ended with them.
func sweepDrills(temporary string) {
	all, _ := filepath.Glob(filepath.Join(temporary, drillPrefix+"*"))
	for _, dir := range all {
		number, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), drillPrefix), "-")
		pid, err := strconv.Atoi(number)
		info, statErr := os.Lstat(dir)
		if err != nil || statErr != nil || pid <= 0 || !info.IsDir() || unix.Kill(pid, 0) != unix.ESRCH {
			continue
		}
		if s, ok := info.Sys().(*syscall.Stat_t); !ok || int(s.Uid) != os.Geteuid() {
			continue
		}
		f, err := os.Open(dir)
		if err != nil {
			continue
		}
		// A process of another PID namespace is not seen, but its lock is.
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = os.RemoveAll(dir) // else the next one tries
		}
		f.Close()
	}
}

// raiseLoopback brings up the one interface of a new network namespace.
func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, lo); err != nil {
		return err
	}
	lo.SetUint16(lo.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}
