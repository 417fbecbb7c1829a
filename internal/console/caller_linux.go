package console

import (
	"net"

	"golang.org/x/sys/unix"
)

// callerOf asks the system who has opened a connection.
func callerOf(c net.Conn) Caller {
	nobody := Caller{-1, -1}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nobody
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return nobody
	}
	var cred *unix.Ucred
	if raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }) != nil || err != nil {
		return nobody
	}
	return Caller{int(cred.Uid), int(cred.Pid)}
}
