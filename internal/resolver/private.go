package resolver

import (
	"net/netip"

	"port53/internal/wire"
)

// filterPrivate takes the addresses of private networks out of an answer of the
// public tree, and tells whether there were any: a name of a stranger must not lead a
// browser to machines behind the firewall (DNS rebinding). An answer of which
// nothing is left becomes one without data.
func (t *task) filterPrivate(l *link) bool {
	if l.set == nil || l.set.Type != wire.TypeA && l.set.Type != wire.TypeAAAA {
		return false
	}
	for _, zone := range t.s.Private {
		if wire.Subdomain(l.set.Owner, zone) {
			return false
		}
	}
	for _, d := range l.set.Data {
		if a, ok := netip.AddrFromSlice(d); ok && private(a.Unmap()) {
			// The set is not what was signed without one of its records: all of it goes.
			l.kind, l.set, l.proof = foundNoData, nil, nil
			return true
		}
	}
	return false
}

// private tells whether an address is of this machine or of networks that nobody
// routes (RFC 1918, RFC 4193, RFC 6598, RFC 3927).
func private(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified() ||
		a.Is4() && (a.As4()[0] == 0 || netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10).Contains(a))
}
