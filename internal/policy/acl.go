package policy

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// ACLOptions are the rules of an [ACL].
type ACLOptions struct {
	Allow []netip.Prefix // who may; empty: everyone who is not denied
	Deny  []netip.Prefix // who may not
}

// An ACL tells which addresses are allowed. Of the prefixes that hold an address
// the longest decides, whichever list it is in and wherever it stands there;
// without one, an address is allowed if Allow is empty. To allow nobody, deny
// 0.0.0.0/0 and ::/0.
//
// IPv4 addresses match IPv4 prefixes only, also when they come mapped into IPv6:
// ::/0 does not hold them.
type ACL struct {
	// Where the verdict changes, going up from the lowest address, below which nobody
	// is allowed: an address is allowed if the number of flips at or below it is odd.
	flips4 []uint32
	flips6 []addr128
}

// addr128 is an IPv6 address as a number.
type addr128 struct{ hi, lo uint64 }

// A rule is one prefix of an ACL.
type rule struct {
	first, last addr128
	bits        int
	allow       bool
	prefix      netip.Prefix
}

// NewACL returns the ACL of o. It is an error if a prefix is not valid, has bits
// beyond its length, or is both allowed and denied.
func NewACL(o ACLOptions) (*ACL, error) {
	var rules4, rules6 []rule
	add := func(prefixes []netip.Prefix, allow bool) error {
		for _, p := range prefixes {
			if !p.IsValid() {
				return errors.New("access list: a prefix is not valid")
			}
			if m := p.Masked(); m != p {
				return fmt.Errorf("access list: %v has host bits set: write %v", p, m)
			}
			switch {
			case p.Addr().Is4():
				rules4 = append(rules4, newRule(p, 32-p.Bits(), allow))
			case p.Addr().Is4In6() && p.Bits() >= 96:
				p4 := netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
				rules4 = append(rules4, newRule(p4, 32-p4.Bits(), allow))
			default:
				rules6 = append(rules6, newRule(p, 128-p.Bits(), allow))
			}
		}
		return nil
	}
	if err := add(o.Allow, true); err != nil {
		return nil, err
	}
	if err := add(o.Deny, false); err != nil {
		return nil, err
	}
	others := len(o.Allow) == 0
	flips4, err := flips(rules4, others)
	if err != nil {
		return nil, err
	}
	a := new(ACL)
	for _, f := range flips4 {
		if f.lo <= 0xFFFFFFFF { // above it is the end of the last prefix
			a.flips4 = append(a.flips4, uint32(f.lo))
		}
	}
	a.flips6, err = flips(rules6, others)
	return a, err
}

// newRule returns the rule for p, whose lowest hostBits bits are free.
func newRule(p netip.Prefix, hostBits int, allow bool) rule {
	first := number(p.Addr())
	last := first
	switch {
	case hostBits >= 64:
		last.lo = ^uint64(0)
		last.hi |= 1<<(hostBits-64) - 1
	default:
		last.lo |= 1<<hostBits - 1
	}
	return rule{first: first, last: last, bits: p.Bits(), allow: allow, prefix: p}
}

// number returns a as a number; that of an IPv4 address is below 2^32.
func number(a netip.Addr) addr128 {
	if a.Is4() {
		b := a.As4()
		return addr128{0, uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := a.As16()
	return addr128{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func (a addr128) compare(b addr128) int {
	return cmp.Or(cmp.Compare(a.hi, b.hi), cmp.Compare(a.lo, b.lo))
}

// flips returns, in order, where the verdict changes. others is the verdict for
// addresses without a rule. Prefixes are nested or apart: one pass over them in
// order, with a stack of those that are open, sees every change.
func flips(rules []rule, others bool) ([]addr128, error) {
	slices.SortFunc(rules, func(a, b rule) int {
		return cmp.Or(a.first.compare(b.first), cmp.Compare(a.bits, b.bits))
	})
	var changes []addr128
	verdict := false
	set := func(at addr128, to bool) {
		if to == verdict {
			return
		}
		verdict = to
		if n := len(changes); n > 0 && changes[n-1] == at {
			changes = changes[:n-1] // changed and changed back at one place
			return
		}
		changes = append(changes, at)
	}
	set(addr128{}, others)
	var open []rule
	closeTop := func() {
		top := open[len(open)-1]
		open = open[:len(open)-1]
		next := top.last
		if next.lo++; next.lo == 0 {
			if next.hi++; next.hi == 0 {
				return // the end of all addresses
			}
		}
		outer := others
		if n := len(open); n > 0 {
			outer = open[n-1].allow
		}
		set(next, outer)
	}
	for i, r := range rules {
		if i > 0 && r.prefix == rules[i-1].prefix && r.allow != rules[i-1].allow {
			return nil, fmt.Errorf("access list: %v is both allowed and denied", r.prefix)
		}
		for len(open) > 0 && open[len(open)-1].last.compare(r.first) < 0 {
			closeTop()
		}
		open = append(open, r)
		set(r.first, r.allow)
	}
	for len(open) > 0 {
		closeTop()
	}
	return slices.Clip(changes), nil
}

// Allows reports whether addr is allowed. An invalid address is not.
func (a *ACL) Allows(addr netip.Addr) bool {
	if addr.Is4() {
		b := addr.As4()
		return a.allows4(binary.BigEndian.Uint32(b[:]))
	}
	if !addr.IsValid() {
		return false
	}
	n := number(addr)
	if n.hi == 0 && n.lo>>32 == 0xFFFF { // mapped
		return a.allows4(uint32(n.lo))
	}
	low, high := 0, len(a.flips6) // flips6[:low] are at or below n, flips6[high:] above
	for low < high {
		mid := int(uint(low+high) / 2)
		if f := &a.flips6[mid]; f.hi < n.hi || f.hi == n.hi && f.lo <= n.lo {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low&1 != 0
}

// AllowsAll reports whether whoever b allows is allowed. A nil ACL allows everyone.
func (a *ACL) AllowsAll(b *ACL) bool {
	switch {
	case a == nil:
		return true
	case b == nil:
		return len(a.flips4) == 1 && a.flips4[0] == 0 && len(a.flips6) == 1 && a.flips6[0] == addr128{}
	}
	return covers(a.flips4, b.flips4, cmp.Compare[uint32]) && covers(a.flips6, b.flips6, addr128.compare)
}

// covers reports whether all that is between the odd and the even flips of b is so in a.
func covers[T any](a, b []T, compare func(T, T) int) bool {
	// Where a verdict changes, in order: nowhere may b allow and a not.
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		order := 0
		switch {
		case i == len(a):
			order = 1
		case j == len(b):
			order = -1
		default:
			order = compare(a[i], b[j])
		}
		if order <= 0 {
			i++
		}
		if order >= 0 {
			j++
		}
		if j&1 != 0 && i&1 == 0 {
			return false
		}
	}
	return true
}

// allows4 halves without branches that could be guessed wrong: the compiler makes
// conditional moves of it.
func (a *ACL) allows4(n uint32) bool {
	f := a.flips4
	if len(f) == 0 {
		return false
	}
	low := 0
	for size := len(f); size > 1; {
		half := size / 2
		if f[low+half] <= n {
			low += half
		}
		size -= half
	}
	if f[low] <= n {
		low++
	}
	return low&1 != 0
}
