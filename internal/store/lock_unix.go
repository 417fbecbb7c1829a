//go:build unix

package store

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// asIs are the flags to open a file by which no link leads elsewhere, and no pipe is waited for.
const asIs = syscall.O_NOFOLLOW | syscall.O_NONBLOCK

// errBusy is the error of flock if somebody else has locked the file.
var errBusy error = syscall.EWOULDBLOCK

// flock locks a file, whatever signal comes meanwhile: for this process alone, or as one of
// several that only look at it.
func flock(f *os.File, alone bool) error {
	how := syscall.LOCK_SH
	if alone {
		how = syscall.LOCK_EX
	}
	for {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// oneName reports whether a file has no second name.
func oneName(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Nlink == 1
}
