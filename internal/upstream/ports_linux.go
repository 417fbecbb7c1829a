package upstream

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// ports are those that questions leave from: all but those of the system's services, none of which is
// likelier than 1 in leastPorts. As many questions as that allows leave the choice to the kernel, because a
// socket whose port it chose can give that port back and be used again for another: to make one, to bind it and
// to close it takes more than all else that a question takes of the system. The others draw from what the kernel
// does not choose from.
type ports struct {
	low, high uint32 // what the kernel chooses from; if low is 0, nothing is left to it
	kernel    uint32 // how many of these it hands out
}

const (
	// leastKernel is the least number of ports worth leaving to the kernel.
	leastKernel = 4096
	// leastPorts are as good as the ports that there are, if each of them were as likely as the others: whoever
	// guesses one is right once in as many times, which is 15.5 bits.
	leastPorts = 46341
)

// draw returns a port to bind to, or 0 if the kernel is to choose it.
func (p ports) draw(e *Entropy) uint16 {
	if p.low == 0 {
		return uint16(firstPort + e.Below(portCount))
	}
	own := portCount - (p.high - p.low + 1)
	// Where there are fewer than leastPorts in all, each is as likely as the others.
	if e.Below(max(p.kernel, min(leastPorts, own+p.kernel))) < p.kernel {
		return 0
	}
	n := firstPort + e.Below(own)
	if n >= p.low {
		n += p.high - p.low + 1
	}
	return uint16(n)
}

// drawOwn returns a port to bind to.
func (p ports) drawOwn(e *Entropy) uint16 {
	for {
		if port := p.draw(e); port != 0 {
			return port
		}
		if p.kernel > portCount/2 { // few or none are left beside the kernel's
			return ports{}.draw(e)
		}
	}
}

// kernelPorts returns which ports may be left to the kernel that runs.
func kernelPorts() ports {
	var name unix.Utsname
	if unix.Uname(&name) != nil || !drawsWell(unix.ByteSliceToString(name.Release[:])) {
		return ports{}
	}
	local, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return ports{}
	}
	reserved, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_reserved_ports")
	if err != nil {
		return ports{}
	}
	return parsePorts(local, reserved)
}

// drawsWell reports whether a release of Linux draws ports by its generator of random
// numbers for keys. Those before 6.1 had a lesser one for it (CVE-2020-16166).
func drawsWell(release string) bool {
	major, rest, _ := bytes.Cut([]byte(release), []byte("."))
	end := 0
	for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	m, err := strconv.Atoi(string(major))
	n, err2 := strconv.Atoi(string(rest[:end]))
	return err == nil && err2 == nil && (m > 6 || m == 6 && n >= 1)
}

// parsePorts reads the kernel's range and those of it that are reserved, as "8080,9148-9150".
// What cannot be read leaves nothing to the kernel.
func parsePorts(local, reserved []byte) ports {
	bounds := bytes.Fields(local)
	if len(bounds) != 2 {
		return ports{}
	}
	low, ok := parsePort(bounds[0])
	high, ok2 := parsePort(bounds[1])
	if !ok || !ok2 || low < firstPort || low > high {
		return ports{} // below firstPort: those of the system's services are not used
	}
	p := ports{low: low, high: high, kernel: high - low + 1}
	for _, r := range bytes.Split(bytes.TrimSpace(reserved), []byte(",")) {
		if len(r) == 0 {
			continue
		}
		from, to, isRange := bytes.Cut(r, []byte("-"))
		if !isRange {
			to = from
		}
		first, ok := parsePort(from)
		last, ok2 := parsePort(to)
		if !ok || !ok2 {
			return ports{}
		}
		if first, last = max(first, low), min(last, high); first <= last {
			p.kernel -= last - first + 1
		}
	}
	if p.kernel < leastKernel || p.kernel > high-low+1 {
		return ports{}
	}
	return p
}

func parsePort(b []byte) (uint32, bool) {
	n, err := strconv.ParseUint(string(b), 10, 16)
	return uint32(n), err == nil && n > 0
}
