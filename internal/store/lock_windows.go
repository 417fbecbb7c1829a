package store

import (
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

// asIs are no flags: links to files are for administrators here, and pipes are not files.
const asIs = 0

// errBusy is the error of flock if somebody else has locked the file.
var errBusy error = windows.ERROR_LOCK_VIOLATION

// flock locks a file, for this process alone, or as one of several that only look at it. What
// is locked is an octet that no file has, so that its text can be read.
func flock(f *os.File, alone bool) error {
	how := uint32(windows.LOCKFILE_FAIL_IMMEDIATELY)
	if alone {
		how |= windows.LOCKFILE_EXCLUSIVE_LOCK
	}
	return windows.LockFileEx(windows.Handle(f.Fd()), how, 0, 1, 0, &windows.Overlapped{OffsetHigh: 1 << 30})
}

// oneName reports whether a file has no second name.
func oneName(fs.FileInfo) bool { return true }
