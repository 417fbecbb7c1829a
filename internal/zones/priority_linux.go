package zones

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// lowNice is the niceness of transfers: whoever waits for an answer goes before whoever
// waits for a zone.
const lowNice = 10

// lower lets the rest of the goroutine run behind all others that want the processor. The
// goroutine keeps its thread, which ends with it.
func lower() {
	runtime.LockOSThread()
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, lowNice) // the thread's own; it works as well without
}
