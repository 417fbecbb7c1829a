package securepath

import "golang.org/x/sys/unix"

// onTheWay opens a directory to go through it alone: a process that is confined (Landlock) may
// do that where it may not look.
const onTheWay = unix.O_PATH
