package securepath

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/windows"
)

// Bounds.
const (
	maxRead   = 16 << 20 // bytes that Read takes of a file
	lockPause = 5 * time.Millisecond
	lockFile  = ".lock"
)

// A Dir is an open directory. It is closed by its user.
type Dir struct {
	root *os.Root
	path string
}

// A SocketFile is the entry of a socket that was bound, by which it is known again.
type SocketFile struct{ info fs.FileInfo }

// Open opens the directory at path.
func Open(path string) (*Dir, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return &Dir{root, path}, nil
}

// Make opens the directory at path, and makes it, and those on the way, if it is not there;
// made reports whether it did.
func Make(path string, perm fs.FileMode) (d *Dir, made bool, err error) {
	d, err = Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(path, perm); err == nil {
			made = true
			d, err = Open(path)
		}
	}
	return d, made, err
}

// Path returns the path that the directory was opened at.
func (d *Dir) Path() string { return d.path }

// Close closes the directory.
func (d *Dir) Close() error { return d.root.Close() }

// Exclusive returns nil: who may put entries into the directory is not asked here.
func (d *Dir) Exclusive() error { return nil }

// Owner returns -1, for nobody.
func (d *Dir) Owner() (uid int, err error) { return -1, nil }

// Chown does nothing.
func (d *Dir) Chown(_, _ int) error { return nil }

// Lock keeps others who lock the directory from going on, until the function that it returns
// is called. It waits for so long at most.
func (d *Dir) Lock(wait time.Duration) (unlock func(), err error) {
	f, err := d.root.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	h, at := windows.Handle(f.Fd()), new(windows.Overlapped)
	for end := time.Now().Add(wait); ; time.Sleep(lockPause) {
		err = windows.LockFileEx(h, windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, at)
		if err == nil {
			return func() { _ = errors.Join(windows.UnlockFileEx(h, 0, 1, 0, at), f.Close()) }, nil
		}
		if !errors.Is(err, windows.ERROR_LOCK_VIOLATION) || time.Now().After(end) {
			f.Close()
			return nil, &fs.PathError{Op: "lock", Path: d.path, Err: err}
		}
	}
}

// Empty reports whether nothing is in the directory.
func (d *Dir) Empty() (bool, error) {
	f, err := d.root.Open(".")
	if err != nil {
		return false, err
	}
	defer f.Close()
	names, err := f.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return len(names) == 0, err
}

// Append opens the file at path to append lines to, and makes it with perm if it is not there.
func Append(path string, perm fs.FileMode) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, perm)
}

// Read returns what a regular file of the directory holds, up to 16 MiB.
func (d *Dir) Read(name string) ([]byte, error) {
	f, err := d.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, &fs.PathError{Op: "open", Path: name, Err: errors.New("is not a regular file")})
	}
	b, err := io.ReadAll(io.LimitReader(f, maxRead+1))
	if err == nil && len(b) > maxRead {
		err = &fs.PathError{Op: "read", Path: name, Err: windows.ERROR_FILE_TOO_LARGE}
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Write puts a new file with the content in the place of the one called name, or fails and
// leaves that.
func (d *Dir) Write(name string, content []byte, perm fs.FileMode) error {
	temporary := name + ".new"
	f, err := d.root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = d.root.Rename(temporary, name)
	}
	if err != nil {
		_ = d.root.Remove(temporary) // what went wrong is told
	}
	return err
}

// Remove removes an entry that is not a directory. One that is not there is no error.
func (d *Dir) Remove(name string) error {
	if err := d.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// SocketPath returns the path at which a socket called name is bound in the directory.
func (d *Dir) SocketPath(name string) (string, error) { return filepath.Join(d.path, name), nil }

// IsSocket reports whether the entry called name is a socket. One that is not there is
// an error that wraps fs.ErrNotExist.
func (d *Dir) IsSocket(name string) (bool, error) {
	info, err := d.root.Lstat(name)
	if err != nil {
		return false, err
	}
	// A socket is a reparse point, which Go tells apart since it has a mode of its own.
	return info.Mode()&(fs.ModeSocket|fs.ModeIrregular) != 0, nil
}

// GiveSocket returns the socket called name, which this process has just bound, to be known
// again. Whose it is, and who may connect to it, is the directory's.
func (d *Dir) GiveSocket(name string, _ fs.FileMode, _, _ int) (SocketFile, error) {
	info, err := d.root.Lstat(name)
	return SocketFile{info}, err
}

// RemoveSocket removes the entry called name if it still is the one that GiveSocket
// returned.
func (d *Dir) RemoveSocket(name string, s SocketFile) error {
	info, err := d.root.Lstat(name)
	if err != nil || s.info == nil || !os.SameFile(info, s.info) {
		return nil
	}
	return d.Remove(name)
}
