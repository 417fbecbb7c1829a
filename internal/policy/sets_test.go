package policy_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"port53/internal/policy"
)

// randomPrefix draws a network near a few addresses, so that networks nest and meet.
func randomPrefix(r *rand.Rand) netip.Prefix {
	if r.IntN(2) == 0 {
		p, _ := netip.AddrFrom4([4]byte{10, byte(r.IntN(3)), byte(r.IntN(4)), byte(r.IntN(256))}).Prefix(r.IntN(33))
		return p
	}
	a := [16]byte{0x20, 1, 0xD, 0xB8, 15: byte(r.IntN(256))}
	a[4], a[8] = byte(r.IntN(2)), byte(r.IntN(3))
	if r.IntN(8) == 0 {
		a = [16]byte{10: 0xFF, 11: 0xFF, 12: 10, 13: byte(r.IntN(3))}
	}
	p, _ := netip.AddrFrom16(a).Prefix(r.IntN(129))
	return p
}

// TestSets compares sets with an ACL for each, at and beside every place where one may change.
func TestSets(t *testing.T) {
	r := rand.New(rand.NewPCG(53, 20))
	for round := range 300 {
		lists := make([]policy.ACLOptions, 1+r.IntN(policy.MaxSets))
		var probes []netip.Addr
		for i := range lists {
			seen := map[netip.Prefix]bool{}
			for range r.IntN(6) {
				p := randomPrefix(r)
				if seen[p] {
					continue
				}
				seen[p] = true
				if r.IntN(4) == 0 {
					lists[i].Deny = append(lists[i].Deny, p)
				} else {
					lists[i].Allow = append(lists[i].Allow, p)
				}
				first := p.Addr()
				last := first.As16()
				for bit := p.Bits() + 128 - first.BitLen(); bit < 128; bit++ {
					last[bit/8] |= 0x80 >> (bit % 8)
				}
				end := netip.AddrFrom16(last)
				probes = append(probes, first, first.Prev(), end, end.Next(), end.Unmap(), end.Unmap().Next(), randomPrefix(r).Addr())
			}
		}
		probes = append(probes, netip.Addr{}, netip.IPv4Unspecified(), netip.IPv6Unspecified(), netip.MustParseAddr("255.255.255.255"),
			netip.MustParseAddr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"))
		sets, err := policy.NewSets(lists)
		var want [policy.MaxSets]*policy.ACL
		broken := false
		for i, o := range lists {
			var aclErr error
			want[i], aclErr = policy.NewACL(o)
			broken = broken || aclErr != nil
		}
		if (err != nil) != broken {
			t.Fatalf("round %d: %v, and an ACL of one of them says otherwise", round, err)
		}
		if broken {
			continue
		}
		for _, a := range probes {
			in := sets.Of(a)
			for i := range lists {
				if in>>i&1 != 0 != want[i].Allows(a) {
					t.Fatalf("round %d: %v: set %d of %+v: in it: %v", round, a, i, lists[i], in>>i&1 != 0)
				}
			}
			if in>>len(lists) != 0 {
				t.Fatalf("round %d: %v is in sets that there are not: %b", round, a, in)
			}
		}
	}
}

// TestSetsBound takes as many sets as there are bits, and not one more.
func TestSetsBound(t *testing.T) {
	if _, err := policy.NewSets(make([]policy.ACLOptions, policy.MaxSets)); err != nil {
		t.Error(err)
	}
	if _, err := policy.NewSets(make([]policy.ACLOptions, policy.MaxSets+1)); err == nil {
		t.Error("65 sets are taken")
	}
}

func TestSetsAlloc(t *testing.T) {
	sets, err := policy.NewSets([]policy.ACLOptions{{Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}}})
	if err != nil {
		t.Fatal(err)
	}
	a, b := netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("2001:db8::1")
	if n := testing.AllocsPerRun(100, func() {
		if sets.Of(a) != 1 || sets.Of(b) != 1 {
			t.Fatal("not in the set")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
