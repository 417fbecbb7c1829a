//go:build unix && !linux

package securepath

import "golang.org/x/sys/unix"

// onTheWay opens a directory to go through it.
const onTheWay = unix.O_RDONLY
