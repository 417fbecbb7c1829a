package config

import (
	"fmt"
	"net/netip"
	"slices"
)

// reservedOctet is the octet of addresses of IPv6 that stand for those of IPv4 which is always 0
// (RFC 6052, section 2.2).
const reservedOctet = 8

// dns64Prefix reports whether a network has a length that addresses are made with.
func dns64Prefix(p netip.Prefix) bool {
	return p.Addr().Is6() && slices.Contains([]int{32, 40, 48, 56, 64, 96}, p.Bits())
}

// checkDNS64 reports what addresses cannot be made with, in the section at path; what is whose that is.
func (d *decoder) checkDNS64(path, what string, x *DNS64, index int32) {
	for i, p := range x.Prefix {
		at := d.item(path+".prefix", index, i)
		where := fmt.Sprintf("%sresolver.dns64.prefix[%d]: ", what, i)
		switch six := p.Addr().As16(); {
		case !dns64Prefix(p):
			d.fail(
				at,
				fmt.Sprintf("%sexpected a network of IPv6 of 32, 40, 48, 56, 64 or 96 bits, found %s", where, p),
				"most translators have 64:ff9b::/96, or a /96 of your own",
			)
		case p.Bits() == 96 && six[reservedOctet] != 0:
			d.fail(
				at,
				fmt.Sprintf("%sbits 64 to 71 of %s are not 0 (RFC 6052, section 2.2)", where, p),
				"choose a /96 whose fifth group begins with 00",
			)
		case slices.Contains(x.Prefix[:i], p):
			d.fail(at, fmt.Sprintf("%s%s is in the list twice", where, p), "remove one of them")
		case slices.ContainsFunc(x.Prefix[:i], p.Overlaps):
			d.fail(
				at,
				fmt.Sprintf("%s%s overlaps another prefix: it would not be clear with which of them an address was made", where, p),
				"write prefixes apart from each other",
			)
		}
	}
	if len(x.Prefix) > 0 {
		return
	}
	for _, key := range []string{"clients", "exclude"} {
		if at, set := d.atIndex(path+"."+key, index); set {
			d.fail(
				at,
				what+"resolver.dns64."+key+": no addresses are made without a prefix",
				"write prefix: \"64:ff9b::/96\", or that of your NAT64",
			)
			return
		}
	}
}
