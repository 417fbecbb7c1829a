package cli_test

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// lowPorts reports whether the machine can show what happens without the right to
// bind ports below 1024: every user may have it, or root be unable to give it up.
func lowPorts() bool {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if n, convErr := strconv.Atoi(strings.TrimSpace(string(text))); err != nil || convErr != nil || n <= 53 {
		return false
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(status), "CapEff:")
	line, _, _ := strings.Cut(rest, "\n")
	have, err := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
	return err == nil && (have>>unix.CAP_NET_BIND_SERVICE&1 == 0 || have>>unix.CAP_SETPCAP&1 == 1)
}

// unprivileged runs port53 without the right to bind ports below 1024.
func unprivileged() {
	runtime.LockOSThread() // bounds are a thread's, and the next program takes this one's
	err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_NET_BIND_SERVICE, 0, 0, 0)
	if err == nil || os.Geteuid() != 0 {
		err = syscall.Exec("/proc/self/exe", append([]string{"port53"}, os.Args[1:]...), os.Environ())
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(3)
}
