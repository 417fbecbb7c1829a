//go:build unix

package app

import (
	"math"

	"golang.org/x/sys/unix"
)

// descriptorLimit returns how many descriptors this process may have. The runtime has raised
// the limit to what the process may raise it to.
func descriptorLimit() (int, bool) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, false
	}
	return int(min(uint64(l.Cur), math.MaxInt32)), true
}
