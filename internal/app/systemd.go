package app

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// The protocols of a service manager are small, so they are spoken here: a datagram
// with lines of KEY=VALUE to NOTIFY_SOCKET (sd_notify), and sockets passed as file
// descriptors from 3 on (sd_listen_fds).

const firstPassed = 3

// keptName is what sockets are called that the service manager keeps for the next server.
const keptName = "port53"

// notify tells the service manager, if there is one.
func notify(state string) error {
	if !managed() {
		return nil
	}
	c, err := dialManager()
	if err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	defer c.Close()
	_, err = c.Write([]byte(state))
	return err
}

// managed reports whether a service manager listens to us.
func managed() bool { return os.Getenv("NOTIFY_SOCKET") != "" }

// dialManager connects to the service manager.
func dialManager() (*net.UnixConn, error) {
	path := os.Getenv("NOTIFY_SOCKET")
	if strings.HasPrefix(path, "@") {
		path = "\x00" + path[1:] // abstract
	}
	return net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
}

// the process's own fixed point
var processStart = time.Now()

// monotonicMicroseconds is what RELOADING=1 wants beside it. The service manager
// compares it with its own clock only to order messages.
func monotonicMicroseconds() string {
	if text, err := os.ReadFile("/proc/uptime"); err == nil {
		seconds, _, _ := strings.Cut(string(text), " ")
		if v, err := strconv.ParseFloat(seconds, 64); err == nil {
			return strconv.FormatInt(int64(v*1e6), 10)
		}
	}
	return strconv.FormatInt(time.Since(processStart).Microseconds(), 10)
}

// passedSockets returns the sockets that the service manager has bound for us, and those that
// an earlier server gave it to keep.
func passedSockets() (bound, kept []*os.File, err error) {
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil, nil, nil
	}
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || n < 0 || n > 1024 {
		return nil, nil, fmt.Errorf("LISTEN_FDS is %q: expected a number of sockets", os.Getenv("LISTEN_FDS"))
	}
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	for i := range n {
		f := os.NewFile(uintptr(firstPassed+i), "passed socket "+strconv.Itoa(i))
		if i < len(names) && names[i] == keptName {
			kept = append(kept, f)
		} else {
			bound = append(bound, f)
		}
	}
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		os.Unsetenv(name) // they are not for our children
	}
	return bound, kept, nil
}
