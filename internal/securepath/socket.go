//go:build unix

package securepath

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// SocketPath returns a path at which a socket called name can be bound in the directory,
// or connected to, wherever the directory's own path leads by now. It holds until d is
// closed. An error wraps ErrShared: the system has no such path, and the directory's own
// may lead elsewhere.
func (d *Dir) SocketPath(name string) (string, error) {
	if d.shared == "" {
		return filepath.Join(d.path, name), nil
	}
	return d.handlePath(name)
}

// IsSocket reports whether the entry called name is a socket. One that is not there is
// an error that wraps fs.ErrNotExist.
func (d *Dir) IsSocket(name string) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(d.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false, d.failed("stat", name, err)
	}
	return st.Mode&unix.S_IFMT == unix.S_IFSOCK, nil
}

// A SocketFile is the entry of a socket that was bound, by which it is known again.
type SocketFile struct{ dev, inode uint64 }

// GiveSocket sets the permissions of the socket called name, which this process has just
// bound, and gives it to uid and gid; -1 leaves either as it is. If something else has been
// put in its place, that is left as it is, and the error says so.
func (d *Dir) GiveSocket(name string, perm fs.FileMode, uid, gid int) (SocketFile, error) {
	var st unix.Stat_t
	err := d.withSocket(name, &st, func(chmod func(uint32) error, chown func(uid, gid int) error) error {
		if st.Mode&unix.S_IFMT != unix.S_IFSOCK || st.Nlink > 1 || int(st.Uid) != os.Geteuid() {
			return errors.New("is not the socket that port53 created: it was replaced")
		}
		if err := chmod(uint32(perm.Perm())); err != nil || uid < 0 && gid < 0 {
			return err
		}
		return chown(uid, gid)
	})
	if err != nil {
		return SocketFile{}, d.failed("bind", name, err)
	}
	return SocketFile{uint64(st.Dev), uint64(st.Ino)}, nil
}

// RemoveSocket removes the entry called name if it still is the one that GiveSocket
// returned.
func (d *Dir) RemoveSocket(name string, s SocketFile) error {
	var st unix.Stat_t
	if unix.Fstatat(d.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || s != (SocketFile{uint64(st.Dev), uint64(st.Ino)}) {
		return nil
	}
	return d.Remove(name)
}
