package catalogue

import (
	"net/netip"
	"strings"

	"golang.org/x/net/publicsuffix"

	"port53/internal/wire"
)

// A block is an entry of IANA's registries of special-purpose addresses.
type block struct {
	prefix string
	kind   blockKind
	what   string
}

// A blockKind is who can reach the addresses of a block.
type blockKind uint8

// The kinds. What is none of them is anybody's, and reached by anybody.
const (
	blockNone    blockKind = iota
	blockSelf              // the machine that asks: loopback, and 0.0.0.0
	blockPrivate           // a network of one's own
	blockLink              // a single link
	blockText              // nobody: for documentation and measurements
	blockGroup             // multicast and broadcast
	blockNobody            // nobody: reserved, discarded, or a protocol's
)

// specialBlocks are IANA's registries of special-purpose IPv4 and IPv6 addresses (RFC 6890, as of
// 2026), the narrower before the wider. Blocks that are reached as any other is are in it as blockNone.
func specialBlocks() []block {
	return []block{
		{"0.0.0.0/8", blockSelf, "\"this network\" (RFC 791, section 3.2)"},
		{"10.0.0.0/8", blockPrivate, "private (RFC 1918)"},
		{"100.64.0.0/10", blockPrivate, "shared by carriers (RFC 6598)"},
		{"127.0.0.0/8", blockSelf, "loopback (RFC 1122, section 3.2.1.3)"},
		{"169.254.0.0/16", blockLink, "link-local (RFC 3927)"},
		{"172.16.0.0/12", blockPrivate, "private (RFC 1918)"},
		{"192.0.0.9/32", blockNone, ""},
		{"192.0.0.10/32", blockNone, ""},
		{"192.0.0.0/24", blockNobody, "for protocols (RFC 6890, section 2.1)"},
		{"192.0.2.0/24", blockText, "for documentation (RFC 5737)"},
		{"192.88.99.0/24", blockNobody, "deprecated (RFC 7526)"},
		{"192.168.0.0/16", blockPrivate, "private (RFC 1918)"},
		{"198.18.0.0/15", blockText, "for benchmarks (RFC 2544)"},
		{"198.51.100.0/24", blockText, "for documentation (RFC 5737)"},
		{"203.0.113.0/24", blockText, "for documentation (RFC 5737)"},
		{"224.0.0.0/4", blockGroup, "multicast (RFC 5771)"},
		{"255.255.255.255/32", blockGroup, "broadcast (RFC 8190)"},
		{"240.0.0.0/4", blockNobody, "reserved (RFC 1112, section 4)"},

		{"::/128", blockSelf, "unspecified (RFC 4291)"},
		{"::1/128", blockSelf, "loopback (RFC 4291)"},
		{"64:ff9b::/96", blockNone, ""},
		{"64:ff9b:1::/48", blockPrivate, "for translation in a network of one's own (RFC 8215)"},
		{"100::/64", blockNobody, "discarded (RFC 6666)"},
		{"100:0:0:1::/64", blockNobody, "a dummy prefix (RFC 9780)"},
		{"2001:1::1/128", blockNone, ""},
		{"2001:1::2/128", blockNone, ""},
		{"2001:1::3/128", blockNone, ""},
		{"2001:2::/48", blockText, "for benchmarks (RFC 5180)"},
		{"2001:3::/32", blockNone, ""},
		{"2001:4:112::/48", blockNone, ""},
		{"2001:20::/28", blockNone, ""},
		{"2001:30::/28", blockNone, ""},
		{"2001:db8::/32", blockText, "for documentation (RFC 3849)"},
		{"2001::/23", blockNobody, "for protocols (RFC 2928)"},
		{"2002::/16", blockNobody, "6to4, which is not to be used (RFC 7526)"},
		{"3fff::/20", blockText, "for documentation (RFC 9637)"},
		{"5f00::/16", blockNobody, "for segment routing (RFC 9602)"},
		{"fc00::/7", blockPrivate, "unique local (RFC 4193)"},
		{"fe80::/10", blockLink, "link-local (RFC 4291)"},
		{"fec0::/10", blockNobody, "site-local, deprecated (RFC 3879)"},
		{"ff00::/8", blockGroup, "multicast (RFC 4291)"},
	}
}

// specialAddress tells what an address is by IANA's registries. One of IPv4 within IPv6 is judged as
// IPv4: as the data of an AAAA record it reaches nobody (RFC 4291, section 2.5.5.2).
func specialAddress(a netip.Addr) (blockKind, string) {
	if a.Is4In6() {
		kind, what := specialAddress(a.Unmap())
		if kind == blockNone {
			kind, what = blockNobody, "an IPv4 address as IPv6 has it within a machine"
		}
		return kind, what + " (IPv4-mapped, RFC 4291, section 2.5.5.2)"
	}
	a = a.WithZone("")
	for _, b := range specialBlocks() {
		if p := netip.MustParsePrefix(b.prefix); p.Contains(a) {
			return b.kind, b.what
		}
	}
	return blockNone, ""
}

// A specialName is an entry of IANA's registry of special-use domain names, or one that ICANN keeps
// from being delegated.
type specialName struct {
	name string
	what string
	sold bool // it may exist where it is looked up: then it is judged by what it is answered with
}

// specialNames are those registries as of 2026 (RFC 6761, section 6, and later).
func specialNames() []specialName {
	return []specialName{
		{"localhost", "the machine that asks (RFC 6761, section 6.3)", false},
		{"invalid", "a name that never exists (RFC 6761, section 6.4)", false},
		{"local", "multicast DNS (RFC 6762)", false},
		{"onion", "Tor (RFC 7686)", false},
		{"alt", "names outside of the DNS (RFC 9476)", false},
		{"internal", "names of private networks (ICANN, 2024)", false},
		{"home.arpa", "homes (RFC 8375)", false},
		{"resolver.arpa", "the resolver that is asked (RFC 9462)", false},
		{"service.arpa", "services of a single network (RFC 9665)", false},
		{"ipv4only.arpa", "the discovery of NAT64 (RFC 8880)", false},
		{"eap.arpa", "EAP (RFC 9965)", false},
		{"eap-noob.arpa", "EAP (RFC 9140)", false},
		{"6tisch.arpa", "6TiSCH (RFC 9031)", false},
		{"test", "tests (RFC 6761, section 6.2)", true},
		{"example", "documentation (RFC 6761, section 6.5)", true},
		{"example.com", "documentation (RFC 6761, section 6.5)", true},
		{"example.net", "documentation (RFC 6761, section 6.5)", true},
		{"example.org", "documentation (RFC 6761, section 6.5)", true},
	}
}

// specialUse tells what a name is reserved for, or "". Seen from a zone below the same reserved name, it is
// a name as any other. sold is that such names exist in networks of one's own and in part on the Internet.
func specialUse(name, zone []byte) (what string, sold bool) {
	for _, s := range specialNames() {
		if n := mustName(s.name); wire.Subdomain(name, n) && (zone == nil || !wire.Subdomain(zone, n)) {
			return s.what, s.sold
		}
	}
	return "", false
}

// addressLike reports whether a name is an IPv4 address by mistake: the labels of one, or an
// all-numeric top label, which no domain has (RFC 3696, section 2).
func addressLike(name []byte) bool {
	labels := strings.Split(strings.TrimSuffix(wire.NameText(name), "."), ".")
	last := labels[len(labels)-1]
	return last != "" && strings.Trim(last, "0123456789") == ""
}

// registrable returns the domain that somebody would register to have a name, and the public suffix
// that it is below, by the rules of registries alone: what providers give out below their own domains
// is for [claimable]. Nil: the name is a suffix itself, or the root.
func registrable(name []byte) (domain, suffix []byte) {
	text := strings.ToLower(strings.TrimSuffix(wire.NameText(name), "."))
	if text == "" {
		return nil, nil
	}
	end, icann := publicsuffix.PublicSuffix(text)
	for !icann {
		_, up, more := strings.Cut(end, ".")
		if !more {
			break // a top-level domain that the list does not have, by its rule for all
		}
		end, icann = publicsuffix.PublicSuffix(up)
	}
	n := strings.Count(end, ".") + 1
	if wire.LabelCount(name) <= n {
		return nil, lastLabels(name, n)
	}
	return lastLabels(name, n+1), lastLabels(name, n)
}

// customers returns the domain below which a provider gives out names to its customers, by the private part
// of the public suffix list, or nil.
func customers(name []byte) []byte {
	text := strings.ToLower(strings.TrimSuffix(wire.NameText(name), "."))
	end, icann := publicsuffix.PublicSuffix(text)
	if n := strings.Count(end, ".") + 1; !icann && n > 1 && wire.LabelCount(name) > n {
		return lastLabels(name, n)
	}
	return nil
}

// lastLabels returns the last n labels of a name.
func lastLabels(name []byte, n int) []byte {
	for wire.LabelCount(name) > n {
		name = wire.Parent(name)
	}
	return name
}
