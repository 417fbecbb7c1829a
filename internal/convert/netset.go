package convert

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"port53/internal/config"
)

// A netset is a set of addresses: ranges in order, apart from each other, IPv4 before IPv6.
// ACLs of other servers are sets once their exceptions are worked out, and what comes out is
// written as the fewest prefixes.
type netset []span

type span struct{ first, last netip.Addr }

func allAddresses() netset {
	return setOf(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0"))
}

// privateAddresses returns the addresses that no stranger has.
func privateAddresses() netset {
	return setOf(config.PrivateNetworks()...).union(setOf(netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")))
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func setOf(prefixes ...netip.Prefix) netset {
	var s netset
	for _, p := range prefixes {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		p = p.Masked()
		s = append(s, span{p.Addr().WithZone(""), lastOf(p)})
	}
	return s.normal()
}

func rangeSet(first, last netip.Addr) netset { return netset{{first, last}} }

// normal puts the spans in order and joins those that touch.
func (s netset) normal() netset {
	s = slices.Clone(s)
	slices.SortFunc(s, func(a, b span) int { return cmp.Or(a.first.Compare(b.first), a.last.Compare(b.last)) })
	var out netset
	for _, x := range s {
		if n := len(out); n > 0 && out[n-1].last.BitLen() == x.first.BitLen() {
			top := &out[n-1]
			if next := top.last.Next(); x.first.Compare(top.last) <= 0 || next.IsValid() && next == x.first {
				if top.last.Less(x.last) {
					top.last = x.last
				}
				continue
			}
		}
		out = append(out, x)
	}
	return out
}

func (s netset) union(t netset) netset { return append(slices.Clone(s), t...).normal() }

func (s netset) minus(t netset) netset {
	var out netset
	for _, x := range s {
		rest := []span{x}
		for _, y := range t {
			var next []span
			for _, r := range rest {
				if y.first.BitLen() != r.first.BitLen() || y.last.Less(r.first) || r.last.Less(y.first) {
					next = append(next, r)
					continue
				}
				if r.first.Less(y.first) {
					next = append(next, span{r.first, y.first.Prev()})
				}
				if y.last.Less(r.last) {
					next = append(next, span{y.last.Next(), r.last})
				}
			}
			rest = next
		}
		out = append(out, rest...)
	}
	return out.normal()
}

func (s netset) and(t netset) netset { return s.minus(s.minus(t)) }

func (s netset) equal(t netset) bool { return slices.Equal(s, t) }

// within reports whether all of s is in t.
func (s netset) within(t netset) bool { return len(s.minus(t)) == 0 }

func (s netset) contains(a netip.Addr) bool {
	return slices.ContainsFunc(s, func(x span) bool {
		return x.first.BitLen() == a.BitLen() && x.first.Compare(a) <= 0 && a.Compare(x.last) <= 0
	})
}

// prefixes returns the fewest prefixes that make the set.
func (s netset) prefixes() []netip.Prefix {
	var out []netip.Prefix
	for _, x := range s {
		for at := x.first; ; {
			bits := 0
			for ; bits < at.BitLen(); bits++ {
				if p := netip.PrefixFrom(at, bits); p.Masked() == p && lastOf(p).Compare(x.last) <= 0 {
					break
				}
			}
			p := netip.PrefixFrom(at, bits)
			out = append(out, p)
			if at = lastOf(p).Next(); !at.IsValid() || x.last.Less(at) {
				break
			}
		}
	}
	return out
}

// text returns the prefixes as the configuration has them: an address alone without its length.
func (s netset) text() []string {
	var out []string
	for _, p := range s.prefixes() {
		if p.IsSingleIP() {
			out = append(out, p.Addr().String())
		} else {
			out = append(out, p.String())
		}
	}
	return out
}

// parseNet reads an address or a network, which may lack its last octets (10/8).
func parseNet(text string) (netset, bool) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return setOf(netip.PrefixFrom(a, a.BitLen())), true
	}
	host, bits, ok := strings.Cut(text, "/")
	if ok && !strings.Contains(host, ":") {
		for strings.Count(host, ".") < 3 {
			host += ".0"
		}
	}
	p, err := netip.ParsePrefix(host + "/" + bits)
	if !ok || err != nil {
		return nil, false
	}
	return setOf(p), true
}

// An aclRule is one line of an ACL in which the first match decides.
type aclRule struct {
	nets  netset
	deny  bool
	keyed bool // who has signed, in lists where that is told apart
}

// firstMatch returns the addresses that a list of rules allows.
func firstMatch(rules []aclRule) netset {
	var allowed, decided netset
	for _, r := range rules {
		if !r.deny {
			allowed = allowed.union(r.nets.minus(decided))
		}
		decided = decided.union(r.nets)
	}
	return allowed
}
