package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A Lock is a state directory that is this process's alone: two servers that wrote to one
// would both acknowledge changes, and each would destroy the other's. The kernel gives it
// up when the process ends, however it ends.
type Lock struct{ file *os.File }

// lockName is the file in the state directory that is locked. It has the process ID and
// the host name of whoever had it last.
const lockName = "lock"

// lockPatience is how long a process that was killed has to be gone.
const lockPatience = 500 * time.Millisecond

// The errors of TakeLock. Others mean that what is in the lock's place is not ours.
var (
	ErrLocked     = errors.New("another server has it") // and the text says whose it is
	ErrUnwritable = errors.New("nothing can be kept in it")
)

// TakeLock locks the state directory at path, which is not made. The error wraps
// [ErrLocked] if another process has locked it, and [ErrUnwritable] if nobody can have, as
// nothing can be written there.
func TakeLock(path string) (*Lock, error) {
	name := filepath.Join(path, lockName)
	for end := time.Now().Add(lockPatience); ; {
		l, err := tryLock(name)
		if !errors.Is(err, ErrLocked) || time.Now().After(end) {
			return l, err
		}
		time.Sleep(lockPatience / 20)
	}
}

func tryLock(name string) (*Lock, error) {
	// No link leads elsewhere, and no pipe is waited for.
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|asIs, fileMode)
	if err != nil {
		info, absent := os.Lstat(name)
		switch {
		case errors.Is(absent, fs.ErrNotExist):
			return nil, fmt.Errorf("%w: %w", ErrUnwritable, err)
		case absent == nil && !info.Mode().IsRegular():
			return nil, notAFile(name)
		}
		return nil, err
	}
	if err := claim(f, name); err != nil {
		f.Close()
		return nil, err
	}
	return &Lock{f}, nil
}

// claim locks a file that was opened by its name, and writes into it whose it is.
func claim(f *os.File, name string) error {
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = notAFile(name)
	}
	if err == nil {
		err = flock(f, true)
	}
	if errors.Is(err, errBusy) {
		err = fmt.Errorf("%w%s", ErrLocked, holder(f))
	}
	if err == nil {
		// Somebody may have removed the file before it was locked.
		var now fs.FileInfo
		if now, err = os.Lstat(name); err != nil || !os.SameFile(now, info) {
			err = ErrLocked
		}
	}
	if err != nil {
		return err
	}
	if oneName(info) { // else it may be anybody's file
		// Whose it is helps a person, and is all that is lost on a full disk.
		host, _ := os.Hostname()
		_ = f.Truncate(0)
		_, _ = f.WriteAt(fmt.Appendf(nil, "%d %s\n", os.Getpid(), host), 0)
	}
	return nil
}

func notAFile(name string) error {
	return &fs.PathError{Op: "lock", Path: name, Err: errors.New("it is not a regular file: remove it")}
}

// holder says who has locked a file.
func holder(f *os.File) string {
	text, err := io.ReadAll(io.NewSectionReader(f, 0, 512))
	pid, host, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	if _, bad := strconv.ParseUint(pid, 10, 31); err != nil || bad != nil {
		return ""
	}
	if here, err := os.Hostname(); err == nil && here != host {
		return fmt.Sprintf(": process %s on host %q", pid, host)
	}
	return ": process " + pid
}

// Close gives the directory to whoever wants it.
func (l *Lock) Close() error { return l.file.Close() }
