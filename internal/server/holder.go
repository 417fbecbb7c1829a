package server

import (
	"fmt"
	"net/netip"
	"strings"
)

// A SocketHolder is a program that has a socket bound where another wants to listen.
type SocketHolder struct {
	Proto   string // tcp or udp
	Addr    netip.AddrPort
	PID     int    // 0: it may not be seen
	Program string // as the system calls it; "": it may not be seen
	Command string // its command line
	UID     int    // whose it is
}

// String names the program.
func (h SocketHolder) String() string {
	if h.PID == 0 {
		return fmt.Sprintf("a program of user ID %d has %s/%s (root can see which)", h.UID, h.Addr, h.Proto)
	}
	return fmt.Sprintf("%s, process %d, has %s/%s", h.Program, h.PID, h.Addr, h.Proto)
}

// Remedy returns what to do about it, for the programs that are met with on port 53.
func (h SocketHolder) Remedy() string {
	const own = "list this host's own addresses in listen instead of a wildcard"
	switch {
	case strings.HasPrefix(h.Program, "systemd-resolve"):
		return "set DNSStubListener=no in /etc/systemd/resolved.conf and restart systemd-resolved, or " + own
	case h.Program == "dnsmasq" && strings.Contains(h.Command, "libvirt"):
		return "it serves a virtual network of libvirt: " + own + ", or turn that network's DNS off (<dns enable='no'/>)"
	case h.Program == "dnsmasq":
		return "stop it, set port=0 in its configuration to turn its DNS off, or " + own
	case h.Program == "docker-proxy":
		return "a container publishes the port (docker ps --filter publish=" + fmt.Sprint(
			h.Addr.Port(),
		) + " shows which): stop it, or publish it elsewhere"
	case h.Program == "port53":
		return "stop it, or set other addresses in listen"
	case h.Program == "":
		return "stop it, or change listen"
	}
	return "stop " + h.Program + " (systemctl disable --now, if it is a service), or change listen"
}
