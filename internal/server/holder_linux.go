package server

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// SocketHolders returns who has a socket bound that keeps another from being bound to a, and what
// may be seen of them: of programs of other users only root sees more than that they are.
func SocketHolders(a netip.AddrPort) []SocketHolder {
	var found []SocketHolder
	at := map[string][]int{} // places in found by the socket's inode
	for _, proto := range []string{"tcp", "udp"} {
		for _, table := range []string{proto, proto + "6"} {
			text, err := os.ReadFile("/proc/thread-self/net/" + table)
			if err != nil {
				continue
			}
			for line := range strings.Lines(string(text)) {
				h, inode, ok := holder(proto, line)
				if ok && keepsOut(h.Addr, a) {
					at[inode] = append(at[inode], len(found))
					found = append(found, h)
				}
			}
		}
	}
	if len(found) > 0 {
		nameHolders(found, at)
	}
	return found
}

// listening is the state of a TCP socket that listens, in /proc/net/tcp.
const listening = "0A"

// holder reads a line of /proc/net/tcp and its like (proc_net_tcp(5)).
func holder(proto, line string) (h SocketHolder, inode string, ok bool) {
	f := strings.Fields(line)
	if len(f) < 10 || proto == "tcp" && f[3] != listening {
		return h, "", false
	}
	host, port, _ := strings.Cut(f[1], ":")
	b, err := hex.DecodeString(host)
	number, err2 := strconv.ParseUint(port, 16, 16)
	if err != nil || err2 != nil || len(b) != 4 && len(b) != 16 {
		return h, "", false
	}
	for i := 0; i < len(b); i += 4 { // words in the order of this machine
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	addr, _ := netip.AddrFromSlice(b)
	h = SocketHolder{Proto: proto, Addr: netip.AddrPortFrom(addr, uint16(number))}
	h.UID, _ = strconv.Atoi(f[7])
	return h, f[9], true
}

// keepsOut reports whether a socket at have keeps another from being bound to want.
func keepsOut(have, want netip.AddrPort) bool {
	x, y := have.Addr().Unmap(), want.Addr().Unmap().WithZone("")
	if have.Port() != want.Port() || want.Port() == 0 {
		return false
	}
	return x == y || x.Is4() == y.Is4() && (x.IsUnspecified() || y.IsUnspecified()) ||
		x == netip.IPv6Unspecified() && y.Is4() // which may be for IPv4 as well
}

// nameHolders finds out whose the sockets are.
func nameHolders(found []SocketHolder, at map[string][]int) {
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		link, err := os.Readlink(fd)
		inode, ok := strings.CutPrefix(link, "socket:[")
		if err != nil || !ok {
			continue
		}
		for _, i := range at[strings.TrimSuffix(inode, "]")] {
			dir := filepath.Dir(filepath.Dir(fd))
			h := &found[i]
			h.PID, _ = strconv.Atoi(filepath.Base(dir))
			if exe, err := os.Readlink(dir + "/exe"); err == nil {
				h.Program = filepath.Base(strings.TrimSuffix(exe, " (deleted)"))
			} else if comm, err := os.ReadFile(dir + "/comm"); err == nil {
				h.Program = strings.TrimSpace(string(comm))
			}
			if line, err := os.ReadFile(dir + "/cmdline"); err == nil {
				h.Command = strings.ReplaceAll(string(line), "\x00", " ")
			}
		}
	}
}
