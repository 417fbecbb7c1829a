package query

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// ResolvConf is where Unix systems say which servers to ask (resolv.conf(5)).
const ResolvConf = "/etc/resolv.conf"

// Bounds of resolv.conf. The C library takes three servers; more do no harm.
const (
	maxSystemServers = 8
	maxResolvConf    = 64 << 10 // octets; the C library's own are a few hundred
)

// SystemServers returns the addresses of the name servers that the file lists, or
// those of this machine, as the C library does, if it does not exist or lists none.
func SystemServers(file string) ([]netip.Addr, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return readServers(strings.NewReader(""))
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readServers(f)
}

func readServers(r io.Reader) ([]netip.Addr, error) {
	var addrs []netip.Addr
	lines := bufio.NewScanner(io.LimitReader(r, maxResolvConf))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" || len(addrs) == maxSystemServers {
			continue
		}
		// What is no address is passed over, as the C library does.
		if a, err := netip.ParseAddr(fields[1]); err == nil {
			addrs = append(addrs, a)
		}
	}
	if len(addrs) == 0 {
		addrs = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	return addrs, lines.Err()
}

// ReverseName returns the name below in-addr.arpa or ip6.arpa that stands for an
// address (RFC 1035, section 3.5; RFC 3596, section 2.5). An IPv4 address within IPv6
// is taken as IPv4; a zone is left out.
func ReverseName(addr netip.Addr) []byte {
	const digits = "0123456789abcdef"
	var name []byte
	addr = addr.Unmap()
	b := addr.AsSlice()
	slices.Reverse(b)
	for _, c := range b {
		if addr.Is4() {
			text := strconv.Itoa(int(c))
			name = append(append(name, byte(len(text))), text...)
			continue
		}
		name = append(name, 1, digits[c&15], 1, digits[c>>4])
	}
	if addr.Is4() {
		return append(name, "\x07in-addr\x04arpa\x00"...)
	}
	return append(name, "\x03ip6\x04arpa\x00"...)
}
