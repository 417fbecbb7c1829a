package wire

import (
	"net/netip"
	"slices"
	"strconv"
)

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
