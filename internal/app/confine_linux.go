package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"unsafe"

	"github.com/landlock-lsm/go-landlock/landlock"
	landlocksys "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"

	"port53/internal/config"
)

// authorities are where systems keep the certificates by which servers of lists are known.
var authorities = []string{"/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates"}

// lastCapability is more than any kernel has.
const lastCapability = 63

// dropBounds has no program that is started from here on have any capability, whatever its
// file says. Without the right to that, it is as it was: a container has few to begin with.
func dropBounds() {
	for c := range uintptr(lastCapability + 1) {
		if _, _, errno := psx.Syscall3(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0); errno != 0 {
			return // there is none of that number, or no right
		}
	}
}

// keepNothing gives up what rights are left: all capabilities, and with it the way to get
// some by starting a program. The sockets are bound, and nothing needs them any more.
func keepNothing() error {
	if _, _, errno := psx.Syscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("set no_new_privs: %w", errno)
	}
	_, _, _ = psx.Syscall6(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0, 0) // Linux 4.3
	head, none := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, new([2]unix.CapUserData)
	var pinner runtime.Pinner // every thread reads them, and none may move meanwhile
	pinner.Pin(head)
	pinner.Pin(none)
	defer pinner.Unpin()
	if _, _, errno := psx.Syscall3(unix.SYS_CAPSET, uintptr(unsafe.Pointer(head)), uintptr(unsafe.Pointer(none)), 0); errno != 0 {
		var have [2]unix.CapUserData
		if err := unix.Capget(head, &have[0]); err != nil || !onlyBinds(&have) {
			return fmt.Errorf("give up capabilities: %w", errno)
		}
	}
	return nil
}

// onlyBinds reports whether no other capability is left than to bind ports below 1024: a unit of systemd that gives this
// one may forbid all calls that change privileges.
func onlyBinds(have *[2]unix.CapUserData) bool {
	const binds = 1 << unix.CAP_NET_BIND_SERVICE
	first := have[0]
	return (first.Effective|first.Permitted|first.Inheritable)&^binds == 0 && have[1] == unix.CapUserData{}
}

// confine gives up for good what a server of c has no need of: capabilities, unless it stays
// root, the files that are in none of its places, and system calls, as far as the kernel can.
func (a *App) confine(c *config.Config) error {
	if os.Geteuid() != 0 {
		if err := keepNothing(); err != nil {
			a.log.Warn("unneeded privileges could not be dropped", "error", err.Error()) // somebody forbids even that
		}
	}
	if c.Sandbox == "off" {
		a.sandbox = Sandbox{Files: "off", Calls: "off"}
		return nil
	}
	a.sandbox = Sandbox{Files: "not on this kernel", Calls: "not on this kernel"}
	if err := a.confineFiles(c); err != nil {
		return err
	}
	if c.Sandbox == "files" {
		a.sandbox.Calls = "off"
		return nil
	}
	switch err := confineCalls(c.Firewall.Manage); {
	case errors.Is(err, errNoFilter):
		a.log.Info(err.Error())
		return nil
	case err != nil:
		return fmt.Errorf("sandbox: %w; to do without, set sandbox: files", err)
	}
	a.sandbox.Calls = "strict"
	if c.Firewall.Manage {
		a.sandbox.Calls = "programs may be started (firewall.manage)"
	}
	a.log.Info("system calls are filtered", "profile", a.sandbox.Calls)
	return nil
}

// confineFiles gives up for good the files that are in none of the places of a server of c, if
// the kernel has Landlock.
func (a *App) confineFiles(c *config.Config) error {
	abi, err := landlocksys.LandlockGetABIVersion()
	if err != nil || abi < 1 {
		a.log.Info("files are not confined: this kernel has no Landlock")
		return nil
	}
	p := placesOf(c)
	if _, err := os.Stat(c.StateDir); errors.Is(err, fs.ErrNotExist) {
		p.write = append(p.write, filepath.Dir(c.StateDir)) // a reload may make it
	}
	p.read, p.write = slices.DeleteFunc(p.read, noDirectory), slices.DeleteFunc(p.write, noDirectory)
	// Beside its own places a server reads of the system: itself and its sockets, the time
	// zone, and what names of hosts and users come from.
	read := []string{"/etc/localtime", "/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/passwd", "/etc/group"}
	write := []string{"/dev/null"}
	if c.Firewall.Manage {
		read = append(read, "/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/services", "/etc/protocols")
		write = append(write, "/run/xtables.lock")
		if err := os.MkdirAll(c.Firewall.StateDir, 0o700); err != nil { // what is not there cannot be allowed
			a.log.Warn("the firewall's state directory cannot be created", "error", err.Error())
		}
	}
	tokenFiles, tokenDirs := p.token[:0:0], p.token[:0:0]
	for _, path := range p.token {
		if noDirectory(path) {
			tokenFiles = append(tokenFiles, path)
		} else {
			tokenDirs = append(tokenDirs, path)
		}
	}
	if len(p.token) > 0 {
		read = append(read, "/etc/ld.so.cache", "/dev/urandom", "/dev/random") // a module that is loaded again
	}
	err = landlock.V7.BestEffort().RestrictPaths(
		landlock.RWDirs(tokenDirs...).WithRefer().WithIoctlDev().IgnoreIfMissing(),
		landlock.RWFiles(tokenFiles...).WithIoctlDev().IgnoreIfMissing(),
		landlock.RODirs(p.read...).IgnoreIfMissing(),
		landlock.RWDirs(p.write...).WithRefer().IgnoreIfMissing(),
		landlock.RODirs("/proc", "/sys/devices/system/cpu", "/usr/share/zoneinfo").IgnoreIfMissing(),
		landlock.RODirs(authorities...).IgnoreIfMissing(),
		landlock.ROFiles(read...).IgnoreIfMissing(),
		landlock.RWFiles(write...).IgnoreIfMissing(),
	)
	if err != nil {
		return fmt.Errorf("sandbox: %w; to do without, set sandbox: off", err)
	}
	a.confined = true
	a.sandbox.Files = fmt.Sprintf("Landlock %d", abi)
	a.log.Info("files are confined", "landlock_abi", abi, "read", p.read, "write", slices.Concat(p.write, p.token))
	return nil
}

// noDirectory reports whether something else than a directory is at path: there can be nothing
// in it, and whoever opens a file there says so.
func noDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}
