package query

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
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

// maxSearch is how many domains are searched: as many as the C library of old takes.
const maxSearch = 6

// SystemSearch returns the domains that the file has bare names searched in, and from how many
// dots on a name is tried as it stands first (resolv.conf(5)).
func SystemSearch(file string) (domains []string, ndots int, err error) {
	ndots = 1
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ndots, nil
	}
	if err != nil {
		return nil, ndots, err
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, maxResolvConf))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "search", "domain": // the last one counts
			domains = fields[1:min(len(fields), maxSearch+1)]
		case "options":
			for _, o := range fields[1:] {
				if n, ok := strings.CutPrefix(o, "ndots:"); ok {
					if v, err := strconv.ParseUint(n, 10, 8); err == nil {
						ndots = int(min(v, 15))
					}
				}
			}
		}
	}
	return domains, ndots, lines.Err()
}
