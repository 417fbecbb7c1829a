package wire

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

const digits = "0123456789abcdef"

// ReverseName returns the name below in-addr.arpa or ip6.arpa that stands for an
// address (RFC 1035, section 3.5; RFC 3596, section 2.5). An IPv4 address within IPv6
// is taken as IPv4; a zone is left out.
func ReverseName(addr netip.Addr) []byte {
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
	return append(name, ip6Arpa...)
}

const ip6Arpa = "\x03ip6\x04arpa\x00"

// ReversedIPv6 returns the IPv6 address that a name in lower case stands for, and whether it is
// such a name: 32 labels of a digit each below ip6.arpa.
func ReversedIPv6(name []byte) (addr netip.Addr, ok bool) {
	var b [16]byte
	if len(name) != 4*len(b)+len(ip6Arpa) || string(name[4*len(b):]) != ip6Arpa {
		return addr, false
	}
	for i := range 2 * len(b) {
		digit := strings.IndexByte(digits, name[2*i+1])
		if name[2*i] != 1 || digit < 0 {
			return addr, false
		}
		b[len(b)-1-i/2] |= byte(digit) << (4 * (i % 2))
	}
	return netip.AddrFrom16(b), true
}
