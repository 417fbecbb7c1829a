//go:build unix && !linux

package securepath

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// handlePath has no path to return: sockets are bound by names alone here.
func (d *Dir) handlePath(string) (string, error) {
	return "", fmt.Errorf("%s: %w; choose a directory that only root can write to, including its parent directories", d.shared, ErrShared)
}

// withSocket has f change the entry called name, of which st is told. Nobody else can put
// something in its place: SocketPath gives no path otherwise.
func (d *Dir) withSocket(name string, st *unix.Stat_t, f func(chmod func(uint32) error, chown func(uid, gid int) error) error) error {
	if d.shared != "" {
		_, err := d.handlePath(name)
		return err
	}
	if err := unix.Fstatat(d.fd(), name, st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	return f(func(mode uint32) error {
		return unix.Fchmodat(d.fd(), name, mode, unix.AT_SYMLINK_NOFOLLOW)
	}, func(uid, gid int) error {
		return unix.Fchownat(d.fd(), name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
	})
}
