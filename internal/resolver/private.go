package resolver

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"port53/internal/wire"
)

// filterPrivate takes what leads to private networks out of an answer that was found
// by iteration, and reports whether there was any: a name of a stranger must not lead a
// browser to machines behind the firewall (DNS rebinding). It is for answers that
// clients get; name servers may be where they like. What is left of a set is not signed any
// more. An answer of which nothing is left becomes one without data. led is whether a stranger's alias led to
// the name: the addresses of localhost are not for him either.
func (t *task) filterPrivate(l *link, led bool) bool {
	if l.kind != foundAnswer || l.set == nil {
		return false
	}
	if r := l.partition.Route(); r != routeIteration && !(r == routeLocal && led && wire.Subdomain(l.set.Owner, localhost)) {
		return false
	}
	for _, zone := range t.s.Private {
		if wire.Subdomain(l.set.Owner, zone) {
			return false
		}
	}
	all := l.all
	if len(all) == 0 {
		all = []*wire.RRset{l.set}
	}
	if !slices.ContainsFunc(all, leadsInside) {
		return false
	}
	var kept []*wire.RRset
	for _, s := range all {
		if s = outside(s); len(s.Data) > 0 {
			kept = append(kept, s)
		}
	}
	l.proof, l.wild = nil, false
	if len(kept) == 0 {
		l.kind, l.set, l.all = foundNoData, nil, nil
		return true
	}
	l.set = kept[0]
	if len(l.all) > 0 {
		l.all = kept
	}
	return true
}

// localhost is this machine, whoever asks (RFC 6761, section 6.3).
var localhost = []byte("\x09localhost\x00")

// leadsInside reports whether a set has a private address.
func leadsInside(s *wire.RRset) bool {
	private := inside(s.Type)
	return private != nil && slices.ContainsFunc(s.Data, private)
}

// outside returns the set without the records that have private addresses: the set itself, if
// there are none.
func outside(s *wire.RRset) *wire.RRset {
	if !leadsInside(s) {
		return s
	}
	return &wire.RRset{Owner: s.Owner, Type: s.Type, TTL: s.TTL, Data: slices.DeleteFunc(slices.Clone(s.Data), inside(s.Type))}
}

// inside returns what reports whether RDATA of a type has a private address, or nil if none has.
func inside(typ wire.Type) func(data []byte) bool {
	switch typ {
	case wire.TypeA, wire.TypeAAAA:
		return privateAddress
	case wire.TypeSVCB, wire.TypeHTTPS:
		return privateHint
	}
	return nil
}

// privateAddress reports whether RDATA of type A or AAAA is a private address.
func privateAddress(data []byte) bool {
	a, ok := netip.AddrFromSlice(data)
	return ok && private(a.Unmap())
}

// Parameters of service bindings that are addresses (RFC 9460, section 14.3.2).
const (
	keyIPv4Hint = 4
	keyIPv6Hint = 6
)

// privateHint reports whether one of the addresses that a service binding hints at is
// private (RFC 9460, section 7.3).
func privateHint(data []byte) bool {
	if len(data) < 2 {
		return false
	}
	n, err := wire.CheckName(data[2:])
	if err != nil {
		return false
	}
	for rest := data[2+n:]; len(rest) >= 4; {
		key, size := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[2:]))
		if rest = rest[4:]; size > len(rest) {
			return false
		}
		one := 0
		switch key {
		case keyIPv4Hint:
			one = 4
		case keyIPv6Hint:
			one = 16
		}
		for value := rest[:size]; one > 0 && len(value) >= one; value = value[one:] {
			if privateAddress(value[:one]) {
				return true
			}
		}
		rest = rest[size:]
	}
	return false
}

// private reports whether an address is of this machine or of networks that nobody
// routes (RFC 1918, RFC 4193, RFC 6598, RFC 3927).
func private(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified() ||
		a.Is4() && (a.As4()[0] == 0 || netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10).Contains(a))
}
