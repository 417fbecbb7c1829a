//go:build unix

package securepath

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds.
const (
	maxLinks = 40       // symbolic links on one path, as the kernel follows
	maxRead  = 16 << 20 // bytes that Read takes of a file
	tries    = 8        // of opening a file that others make and remove meanwhile
)

// lockPause is how long a directory that others have locked is left alone.
const lockPause = 5 * time.Millisecond

// parentMode is for the directories that Make makes on the way.
const parentMode = 0o755

// A Dir is an open directory. It is closed by its user.
type Dir struct {
	file   *os.File
	path   string
	shared string // the first directory of the walk that others than root can change; "": none
}

// Open opens the directory at path.
func Open(path string) (*Dir, error) {
	d, _, err := open(path, 0)
	return d, err
}

// Make opens the directory at path, and makes it with perm if it is not there; made reports
// whether it did. Directories that are missing on the way are made too, for everybody to
// pass through. perm counts whatever the umask is.
func Make(path string, perm fs.FileMode) (d *Dir, made bool, err error) {
	return open(path, perm)
}

// open opens a directory; with perm it makes what is missing.
func open(path string, perm fs.FileMode) (d *Dir, made bool, err error) {
	if os.Geteuid() == 0 {
		return walk(path, perm)
	}
	const flags = os.O_RDONLY | unix.O_DIRECTORY // anything else is not opened: a pipe would be waited for
	f, err := os.OpenFile(path, flags, 0)
	if errors.Is(err, fs.ErrNotExist) && perm != 0 {
		if err = os.MkdirAll(filepath.Dir(path), parentMode); err == nil {
			err = os.Mkdir(path, perm)
		}
		if err == nil {
			made = true
			f, err = os.OpenFile(path, flags, 0)
		}
		if err == nil {
			err = f.Chmod(perm)
		}
	}
	if err != nil {
		if f != nil {
			f.Close()
		}
		return nil, false, err
	}
	return &Dir{file: f, path: path}, made, nil
}

// walk opens a directory as root.
func walk(path string, perm fs.FileMode) (d *Dir, made bool, err error) {
	rest, err := filepath.Abs(path)
	if err != nil {
		return nil, false, err
	}
	for range maxLinks {
		var link string
		d, link, made, err = descend(rest, perm)
		if err != nil {
			return nil, false, err
		}
		if d != nil {
			d.path = path
			return d, made, nil
		}
		rest = link
	}
	return nil, false, &fs.PathError{Op: "open", Path: path, Err: unix.ELOOP}
}

// directory is how a directory is opened at the end of a walk, and passed is how on the way.
const (
	directory = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	passed    = onTheWay | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
)

// descend walks down an absolute path until its end, or until a link that may be followed:
// then it returns where the path leads with the link replaced.
func descend(path string, perm fs.FileMode) (d *Dir, link string, made bool, err error) {
	fd, err := unix.Open("/", passed, 0)
	if err != nil {
		return nil, "", false, &fs.PathError{Op: "open", Path: "/", Err: err}
	}
	at, shared := "/", ""
	names := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	for i := 0; ; i++ {
		var st unix.Stat_t
		if err = unix.Fstat(fd, &st); err != nil {
			break
		}
		if shared == "" && !rootsOwn(&st, i < len(names)) {
			shared = at
		}
		if i == len(names) {
			end, err := unix.Openat(fd, ".", directory, 0)
			unix.Close(fd)
			if err != nil {
				return nil, "", false, &fs.PathError{Op: "open", Path: at, Err: err}
			}
			fd = end
			return &Dir{file: os.NewFile(uintptr(fd), path), shared: shared}, "", made, nil
		}
		name := names[i]
		mode := fs.FileMode(0)
		if perm != 0 {
			if mode = parentMode; i == len(names)-1 {
				mode = perm
			}
		}
		var next int
		next, made, err = step(fd, name, mode)
		if err != nil {
			link, err = follow(fd, name, shared, err)
			if err == nil {
				if !filepath.IsAbs(link) {
					link = filepath.Join(at, link)
				}
				unix.Close(fd)
				return nil, filepath.Join(append([]string{link}, names[i+1:]...)...), false, nil
			}
			at = filepath.Join(at, name)
			break
		}
		unix.Close(fd)
		fd, at = next, filepath.Join(at, name)
	}
	unix.Close(fd)
	return nil, "", false, &fs.PathError{Op: "open", Path: at, Err: err}
}

// step opens a directory in another one; with a mode it makes it if it is not there.
func step(fd int, name string, mode fs.FileMode) (next int, made bool, err error) {
	next, err = unix.Openat(fd, name, passed, 0)
	if !errors.Is(err, unix.ENOENT) || mode == 0 {
		return next, false, err
	}
	err = unix.Mkdirat(fd, name, uint32(mode.Perm()))
	if made = err == nil; !made && !errors.Is(err, unix.EEXIST) { // EEXIST: somebody was faster
		return -1, false, err
	}
	if next, err = unix.Openat(fd, name, directory, 0); err == nil && made {
		if err = unix.Fchmod(next, uint32(mode.Perm())); err != nil { // whatever the umask took
			unix.Close(next)
		}
	}
	return next, made, err
}

// follow returns where the link called name leads, if that is what kept it from being
// opened as a directory, with why, and if root alone can have put it there.
func follow(fd int, name, shared string, why error) (string, error) {
	var st unix.Stat_t
	if unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return "", why
	}
	if shared != "" || st.Uid != 0 {
		return "", ErrLink
	}
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, name, target)
	return string(target[:max(n, 0)]), err
}

// rootsOwn reports whether root alone can change which entries a directory has. On the way
// to another one a directory in which everybody may make entries will do if nobody may
// remove those of others (the sticky bit), for the owner of the next one is looked at too.
func rootsOwn(st *unix.Stat_t, passing bool) bool {
	if st.Uid != 0 {
		return false
	}
	if passing && st.Mode&unix.S_ISVTX != 0 {
		return true
	}
	return st.Mode&unix.S_IWOTH == 0 && (st.Mode&unix.S_IWGRP == 0 || st.Gid == 0)
}

// Path returns the path that the directory was opened at.
func (d *Dir) Path() string { return d.path }

// Close closes the directory.
func (d *Dir) Close() error { return d.file.Close() }

// Exclusive returns an error that wraps ErrShared if others than root can put entries into
// the directory, or another directory in its place. A process that is not root gets none.
func (d *Dir) Exclusive() error {
	if d.shared == "" {
		return nil
	}
	return fmt.Errorf("%s: %w; choose a directory that only root can write to, including its parent directories", d.shared, ErrShared)
}

// Lock keeps others who lock the directory from going on, until the function that it returns
// is called, for those who look at an entry and then change it. It waits for so long at most.
func (d *Dir) Lock(wait time.Duration) (unlock func(), err error) {
	for end := time.Now().Add(wait); ; {
		err = unix.Flock(d.fd(), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = unix.Flock(d.fd(), unix.LOCK_UN) }, nil // closing it would do as well
		}
		again := errors.Is(err, unix.EWOULDBLOCK)
		if !again && !errors.Is(err, unix.EINTR) || again && time.Now().After(end) {
			return nil, d.failed("lock", ".", err)
		}
		if again {
			time.Sleep(lockPause)
		}
	}
}

// Owner returns the user who owns the directory.
func (d *Dir) Owner() (uid int, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(d.fd(), &st); err != nil {
		return -1, &fs.PathError{Op: "stat", Path: d.path, Err: err}
	}
	return int(st.Uid), nil
}

// Chown gives the directory, not what is in it, to another user and group.
func (d *Dir) Chown(uid, gid int) error { return d.file.Chown(uid, gid) }

// Empty reports whether nothing is in the directory.
func (d *Dir) Empty() (bool, error) {
	// By a file of its own: a directory is read from where the last reader stopped.
	fd, err := unix.Openat(d.fd(), ".", directory, 0)
	if err != nil {
		return false, d.failed("open", ".", err)
	}
	f := os.NewFile(uintptr(fd), d.path)
	defer f.Close()
	names, err := f.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return len(names) == 0, err
}

// fd returns the file descriptor, which d keeps.
func (d *Dir) fd() int { return int(d.file.Fd()) }

func (d *Dir) failed(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: filepath.Join(d.path, name), Err: err}
}

// Append opens the file at path to append lines to, and makes it with perm if it is not
// there. A link in its place is followed if root alone can have put it there. It may be a
// FIFO, and does not wait for a reader; a write waits while the FIFO is full. Where others
// than root can have put the file, root refuses one that has a second name.
func Append(path string, perm fs.FileMode) (*os.File, error) {
	for range maxLinks {
		d, err := Open(filepath.Dir(path))
		if err != nil {
			return nil, err
		}
		f, err := d.append(filepath.Base(path), perm)
		if errors.Is(err, ErrLink) {
			var target string
			if target, err = d.follow(filepath.Base(path), err); err == nil && !filepath.IsAbs(target) {
				target = filepath.Join(filepath.Dir(path), target)
			}
			path = target
			if err == nil {
				d.Close()
				continue
			}
		}
		d.Close()
		return f, err
	}
	return nil, &fs.PathError{Op: "open", Path: path, Err: unix.ELOOP}
}

// follow returns where a link of the directory leads, or why if it may not be followed.
func (d *Dir) follow(name string, why error) (string, error) {
	var st unix.Stat_t
	shared := d.shared
	if unix.Fstat(d.fd(), &st) != nil || !rootsOwn(&st, true) {
		shared = d.path
	}
	target, err := follow(d.fd(), name, shared, why)
	if err != nil {
		return "", why
	}
	return target, nil
}

// append opens a file of the directory to append to.
func (d *Dir) append(name string, perm fs.FileMode) (*os.File, error) {
	const flags = unix.O_WRONLY | unix.O_APPEND | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC | unix.O_NOCTTY
	for range tries {
		fd, err := unix.Openat(d.fd(), name, flags, 0)
		switch {
		case errors.Is(err, unix.ENOENT):
			fd, err = unix.Openat(d.fd(), name, flags|unix.O_CREAT|unix.O_EXCL, uint32(perm.Perm()))
			if errors.Is(err, unix.EEXIST) {
				continue
			}
		case errors.Is(err, unix.ENXIO): // a FIFO that nobody reads: we read it ourselves until somebody does
			fd, err = unix.Openat(d.fd(), name, flags&^unix.O_WRONLY|unix.O_RDWR, 0)
		}
		if err != nil {
			return nil, d.failed("open", name, notLink(err))
		}
		return d.checked(fd, name, func(st *unix.Stat_t) error {
			switch st.Mode & unix.S_IFMT {
			case unix.S_IFIFO, unix.S_IFCHR:
				return nil
			case unix.S_IFREG:
				if d.shared != "" && st.Nlink > 1 {
					return errors.New("has a second hard link, which users other than root may have created")
				}
				return nil
			}
			return errors.New("is neither a file nor a FIFO")
		})
	}
	return nil, d.failed("open", name, unix.EAGAIN)
}

// notLink tells by name the error of opening a link that is not followed.
func notLink(err error) error {
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EMLINK) { // FreeBSD has the second
		return ErrLink
	}
	return err
}

// checked returns an open file that check has no objection to.
func (d *Dir) checked(fd int, name string, check func(*unix.Stat_t) error) (*os.File, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	if err == nil {
		err = check(&st)
	}
	if err != nil {
		unix.Close(fd)
		return nil, d.failed("open", name, err)
	}
	return os.NewFile(uintptr(fd), filepath.Join(d.path, name)), nil
}

// Read returns what a regular file of the directory holds, up to 16 MiB. Root refuses one
// that others than root own, can write, or know by a second name.
func (d *Dir) Read(name string) ([]byte, error) {
	fd, err := unix.Openat(d.fd(), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, d.failed("open", name, notLink(err))
	}
	f, err := d.checked(fd, name, func(st *unix.Stat_t) error {
		if st.Mode&unix.S_IFMT != unix.S_IFREG {
			return errors.New("is not a regular file")
		}
		if os.Geteuid() == 0 && (!rootsOwn(st, false) || st.Nlink > 1) {
			return ErrShared
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var b bytes.Buffer
	if n, err := b.ReadFrom(io.LimitReader(f, maxRead+1)); err != nil || n > maxRead {
		if err == nil {
			err = unix.EFBIG
		}
		return nil, d.failed("read", name, err)
	}
	return b.Bytes(), nil
}

// Write puts a new file with the content in the place of the one called name, or fails and
// leaves that. It lasts when Write returns.
func (d *Dir) Write(name string, content []byte, perm fs.FileMode) error {
	temporary := name + ".new"
	if err := d.Remove(temporary); err != nil {
		return err
	}
	fd, err := unix.Openat(d.fd(), temporary, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, uint32(perm.Perm()))
	if err != nil {
		return d.failed("create", temporary, err)
	}
	f := os.NewFile(uintptr(fd), filepath.Join(d.path, temporary))
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		if err = unix.Renameat(d.fd(), temporary, d.fd(), name); err != nil {
			err = d.failed("rename", temporary, err)
		}
	}
	if err != nil {
		_ = unix.Unlinkat(d.fd(), temporary, 0) // what went wrong is told
		return err
	}
	return d.file.Sync()
}

// Remove removes an entry that is not a directory. One that is not there is no error.
func (d *Dir) Remove(name string) error {
	if err := unix.Unlinkat(d.fd(), name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return d.failed("remove", name, err)
	}
	return nil
}
