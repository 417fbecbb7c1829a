//go:build unix

package app

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// maxRights is how many descriptors go with one message.
const maxRights = 64

// letGoTime is how long the service manager has to let go of sockets.
const letGoTime = 5 * time.Second

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
		if err := sendRights(c, state, some); err != nil {
			return fmt.Errorf("keep sockets: %w", err)
		}
	}
	return nil
}

// sendRights sends a message with descriptors: net does not over a datagram socket that is
// connected.
func sendRights(c *net.UnixConn, state []byte, fds []int) error {
	rc, err := c.SyscallConn()
	if err != nil {
		return err
	}
	sent := rc.Write(func(fd uintptr) bool {
		err = unix.Sendmsg(int(fd), state, unix.UnixRights(fds...), nil, 0)
		return !errors.Is(err, unix.EAGAIN)
	})
	return errors.Join(sent, err)
}

// releaseSockets has the service manager let go of all sockets, and waits until it has: those of
// addresses that are not served any more would be bound, and unread, for ever.
func releaseSockets() error {
	c, err := dialManager()
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write([]byte("FDSTOREREMOVE=1\nFDNAME=" + keptName)); err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	// It closes its copy of the pipe when it has dealt with all that came before.
	err = errors.Join(sendRights(c, []byte("BARRIER=1"), []int{int(w.Fd())}), w.Close(), r.SetReadDeadline(time.Now().Add(letGoTime)))
	if err == nil {
		if _, err = r.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
			err = nil
		}
	}
	return err
}
