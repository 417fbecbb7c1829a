package app

import (
	"runtime"

	"port53/internal/pkcs11"
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
			"several datagrams per system call (recvmmsg, sendmmsg)",
			"one system call per datagram: about half the throughput",
		},
		{"reuseport", linux, "one socket per processor (SO_REUSEPORT)", "one socket per address"},
		{
			"late addresses",
			linux,
			"binds addresses before the host has them (IP_FREEBIND)",
			"skips missing addresses until a reload",
		},
		{"networks", linux, "tracks interface addresses as they change (netlink)", "reads them at start and at a reload"},
		{"landlock", confined, how, "no file sandbox: use the system's own"},
		{
			"seccomp",
			linux,
			"blocks unneeded system calls (seccomp)",
			"no system call filter: use the system's own",
		},
		{"capabilities", linux, "drops all privileges once the sockets are bound", "keeps the privileges of the user it runs as"},
		{"user", unix, "changes from root to another user", "the key user is refused"},
		{"signals", unix, "SIGHUP reloads", "port53 reload does"},
		{"systemd", linux, "sockets, readiness and the watchdog of systemd", "started and stopped by the system's own service manager"},
		{"firewall", linux, "port53 firewall applies rules (nftables, iptables, ufw)", "port53 firewall only prints rules"},
		{
			"quic",
			quic.Built,
			"DNS over QUIC and HTTP/3 (encrypted.doq, encrypted.doh.http3, quic://)",
			"not in this build (make lean)",
		},
		{
			"pkcs11",
			pkcs11.Built,
			"DNSSEC keys in hardware (key_stores)",
			"not in this build (make pkcs11)",
		},
		{
			"clock",
			linux,
			"asks the kernel whether the clock is synchronized (adjtimex)",
			"compares it with the build time and the last stored time",
		},
	}
}
