package securepath

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// handlePath returns a path that leads through the open directory.
func (d *Dir) handlePath(name string) (string, error) {
	dir := "/proc/self/fd/" + strconv.Itoa(d.fd())
	if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("%s: %w, and without /proc no name leads to it for sure", d.shared, ErrShared)
	}
	return dir + "/" + name, nil
}

// withSocket has f change the entry called name, of which st is told, through a handle:
// what is put in its place meanwhile is not touched.
func (d *Dir) withSocket(name string, st *unix.Stat_t, f func(chmod func(uint32) error, chown func(uid, gid int) error) error) error {
	fd, err := unix.Openat(d.fd(), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Fstat(fd, st); err != nil {
		return err
	}
	return f(func(mode uint32) error {
		if d.shared == "" {
			return unix.Fchmodat(d.fd(), name, mode, 0) // nobody can put something in its place
		}
		// fchmod does not take such a handle, and fchmodat2 is of Linux 6.6.
		return unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), mode)
	}, func(uid, gid int) error {
		return unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH)
	})
}
