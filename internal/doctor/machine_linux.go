package doctor

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// staUnsync is set in the kernel's clock as long as nobody sets it (adjtimex(2)).
const staUnsync = 0x0040

// unsynchronized reports whether the kernel says that nobody sets the clock. A container's clock is
// its host's.
func (p *patient) unsynchronized() bool {
	var t unix.Timex
	_, err := unix.Adjtimex(&t)
	return err == nil && t.Status&staUnsync != 0
}

// unitOf returns the service of systemd that a process belongs to; "": none.
func unitOf(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		path := strings.TrimSpace(line)
		if name := path[strings.LastIndexByte(path, '/')+1:]; strings.HasSuffix(name, ".service") && !strings.HasPrefix(name, "user@") {
			return name
		}
	}
	return ""
}
