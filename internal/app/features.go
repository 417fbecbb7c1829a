package app

import (
	"runtime"

	"port53/internal/quic"
)

// A Feature is something that port53 uses of a system that has it.
type Feature struct {
	Name    string `json:"name"`
	Have    bool   `json:"have"`
	Use     string `json:"use"`     // what it is good for
	Without string `json:"without"` // what becomes of that on a system that lacks it
}

// Features tells what port53 uses of the system that it runs on.
func Features() []Feature {
	linux, unix := runtime.GOOS == "linux", runtime.GOOS != "windows" && runtime.GOOS != "plan9"
	confined, how := confinement()
	return []Feature{
		{
			"batches",
			linux,
			"several datagrams with one system call (recvmmsg, sendmmsg)",
			"one system call a datagram: about half as many answers",
		},
		{"reuseport", linux, "a socket for each processor (SO_REUSEPORT)", "one socket for an address"},
		{
			"late addresses",
			linux,
			"addresses are bound before the machine has them (IP_FREEBIND)",
			"an address that is not there yet is left out until a reload",
		},
		{"networks", linux, "networks of interfaces are followed as they change (netlink)", "they are read at the start and at a reload"},
		{"landlock", confined, how, "files are not confined: use the system's own means"},
		{
			"seccomp",
			linux,
			"system calls that a server has no use for are refused (seccomp)",
			"system calls are not filtered: use the system's own means",
		},
		{"capabilities", linux, "all rights are given up once the sockets are bound", "the rights of the user that it runs as stay"},
		{"user", unix, "root is given up for another user", "user is refused in the configuration"},
		{"signals", unix, "SIGHUP reloads", "port53 reload does"},
		{"systemd", linux, "sockets, readiness and the watchdog of systemd", "the system's own service manager starts and stops it"},
		{"firewall", linux, "port53 firewall loads rules (nftables, iptables, ufw)", "port53 firewall prints rules, and loads none"},
		{
			"quic",
			quic.Built,
			"DNS over QUIC and HTTP/3 are spoken (encrypted.doq, encrypted.doh.http3, quic://)",
			"they are refused: this is the program that make lean makes",
		},
		{
			"clock",
			linux,
			"the kernel says whether the clock is set (adjtimex)",
			"the time of the build and the last time kept tell that it is not",
		},
	}
}
