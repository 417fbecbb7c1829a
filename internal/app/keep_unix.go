//go:build unix

package app

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// maxRights is how many descriptors go with one message.
const maxRights = 64

// keepSockets gives the service manager every socket of the server to keep (FDSTORE=1 of
// sd_notify), so that questions wait in them while one server ends and the next one starts.
// One that has them already, or wants none, drops them.
func (a *App) keepSockets() error {
	c, err := dialManager()
	if err != nil {
		return fmt.Errorf("keep sockets: %w", err)
	}
	defer c.Close()
	// Copies: the server's own descriptors are not to be held for longer than a call.
	var fds []int
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	var errs error
	err = a.server.EachSocket(func(fd uintptr) {
		dup, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			errs = errors.Join(errs, err)
			return
		}
		fds = append(fds, dup)
	})
	if err = errors.Join(err, errs); err != nil {
		return fmt.Errorf("keep sockets: %w", err)
	}
	// An ICMP error is no reason to drop a UDP socket: FDPOLL=0.
	state := []byte("FDSTORE=1\nFDNAME=" + keptName + "\nFDPOLL=0")
	for some := range slices.Chunk(fds, maxRights) {
		// net does not send rights over a datagram socket that is connected.
		rc, err := c.SyscallConn()
		if err == nil {
			sent := rc.Write(func(fd uintptr) bool {
				err = unix.Sendmsg(int(fd), state, unix.UnixRights(some...), nil, 0)
				return !errors.Is(err, unix.EAGAIN)
			})
			err = errors.Join(sent, err)
		}
		if err != nil {
			return fmt.Errorf("keep sockets: %w", err)
		}
	}
	return nil
}
