package policy_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"port53/internal/policy"
)

func prefixes(s ...string) []netip.Prefix {
	var ps []netip.Prefix
	for _, p := range s {
		ps = append(ps, netip.MustParsePrefix(p))
	}
	return ps
}

func TestACL(t *testing.T) {
	for _, test := range []struct {
		name        string
		allow, deny []netip.Prefix
		yes, no     []string
	}{
		{
			name: "nothing said",
			yes:  []string{"0.0.0.0", "255.255.255.255", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::ffff:1.2.3.4"},
		},
		{
			name:  "allow one network",
			allow: prefixes("10.0.0.0/8"),
			yes:   []string{"10.0.0.0", "10.255.255.255", "::ffff:10.1.1.1"},
			no:    []string{"9.255.255.255", "11.0.0.0", "::", "::a00:1", "fd00::1"},
		},
		{
			name: "deny one network",
			deny: prefixes("10.0.0.0/8"),
			yes:  []string{"9.255.255.255", "11.0.0.0", "::", "fd00::1"},
			no:   []string{"10.0.0.0", "10.255.255.255", "::ffff:10.1.1.1"},
		},
		{
			name:  "the longest prefix decides",
			allow: prefixes("10.0.0.0/8", "10.1.2.0/24"),
			deny:  prefixes("10.1.0.0/16", "10.1.2.3/32"),
			yes:   []string{"10.0.0.0", "10.0.255.255", "10.1.2.0", "10.1.2.2", "10.1.2.4", "10.1.2.255", "10.2.0.0"},
			no:    []string{"10.1.0.0", "10.1.1.255", "10.1.2.3", "10.1.3.0", "10.1.255.255", "11.0.0.0"},
		},
		{
			name:  "the ends of the address space",
			allow: prefixes("255.255.255.255/32", "0.0.0.0/32", "ffff::/16", "::/128"),
			yes:   []string{"0.0.0.0", "255.255.255.255", "::", "ffff::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
			no:    []string{"0.0.0.1", "255.255.255.254", "::1", "fffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
		},
		{
			name: "nobody",
			deny: prefixes("0.0.0.0/0", "::/0"),
			no:   []string{"0.0.0.0", "255.255.255.255", "::", "ffff::1", "::ffff:1.2.3.4"},
		},
		{
			name:  "IPv6 everyone is not IPv4",
			allow: prefixes("::/0"),
			yes:   []string{"::", "2001:db8::1", "fe80::1%eth0"},
			no:    []string{"1.2.3.4", "::ffff:1.2.3.4"},
		},
		{
			name:  "a prefix within the second 64 bits",
			allow: prefixes("2001:db8::/32"),
			deny:  prefixes("2001:db8::5:0/112"),
			yes:   []string{"2001:db8::4:ffff", "2001:db8::6:0", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"},
			no:    []string{"2001:db8::5:0", "2001:db8::5:ffff", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::"},
		},
		{
			name:  "a mapped prefix is one of IPv4",
			allow: []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr("::ffff:10.0.0.0"), 104)},
			yes:   []string{"10.1.1.1", "::ffff:10.1.1.1"},
			no:    []string{"11.0.0.0", "::1"},
		},
		{
			name:  "the last address of a network",
			allow: prefixes("10.0.0.0/24", "2001:db8::/64"),
			deny:  prefixes("10.0.0.255/32", "2001:db8::ffff:ffff:ffff:ffff/128"),
			yes:   []string{"10.0.0.0", "10.0.0.254", "2001:db8::", "2001:db8::ffff:ffff:ffff:fffe"},
			no:    []string{"10.0.0.255", "10.0.1.0", "2001:db8::ffff:ffff:ffff:ffff", "2001:db8:0:1::"},
		},
		{
			name:  "all of IPv4, mapped",
			allow: []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr("::ffff:0.0.0.0"), 96)},
			yes:   []string{"0.0.0.0", "255.255.255.255", "::ffff:10.1.1.1"},
			no:    []string{"::", "::1", "::fffe:ffff:ffff", "::1:0:0:0", "2001:db8::ffff:10.1.1.1"},
		},
		{
			name:  "IPv6 that ends like a mapped address",
			allow: prefixes("10.0.0.0/8"),
			yes:   []string{"::ffff:10.1.1.1"},
			no:    []string{"2001:db8::ffff:10.1.1.1", "1::ffff:10.1.1.1", "::fffe:10.1.1.1", "::10.1.1.1"},
		},
		{
			name:  "adjacent networks and a repeated one",
			allow: prefixes("10.0.0.0/25", "10.0.0.128/25", "10.0.1.0/24", "10.0.1.0/24"),
			yes:   []string{"10.0.0.0", "10.0.0.127", "10.0.0.128", "10.0.1.255"},
			no:    []string{"9.255.255.255", "10.0.2.0"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, err := policy.NewACL(policy.ACLOptions{Allow: test.allow, Deny: test.deny})
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range test.yes {
				if !a.Allows(netip.MustParseAddr(s)) {
					t.Errorf("%s is denied", s)
				}
			}
			for _, s := range test.no {
				if a.Allows(netip.MustParseAddr(s)) {
					t.Errorf("%s is allowed", s)
				}
			}
			if a.Allows(netip.Addr{}) {
				t.Error("the invalid address is allowed")
			}
		})
	}
}

func TestACLErrors(t *testing.T) {
	for _, test := range []struct {
		options policy.ACLOptions
		want    string
	}{
		{policy.ACLOptions{Allow: prefixes("10.1.2.3/8")}, "10.1.2.3/8 has host bits set: write 10.0.0.0/8"},
		{policy.ACLOptions{Allow: prefixes("10.0.0.0/8"), Deny: prefixes("10.0.0.0/8")}, "10.0.0.0/8 is both allowed and denied"},
		{policy.ACLOptions{Allow: prefixes("fd00::/8"), Deny: prefixes("fd00::/16", "fd00::/8")}, "fd00::/8 is both allowed and denied"},
		{policy.ACLOptions{Deny: []netip.Prefix{{}}}, "not valid"},
	} {
		if _, err := policy.NewACL(test.options); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: got %v, want %q", test.options, err, test.want)
		}
	}
}

// Random lists of nested prefixes decide as the definition does, prefix by prefix.
func TestACLIsLongestMatch(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	address := func(six bool) netip.Addr {
		if six { // few values, so that prefixes nest
			var b [16]byte
			binary.BigEndian.PutUint32(b[r.IntN(13):], r.Uint32N(8))
			return netip.AddrFrom16(b)
		}
		return netip.AddrFrom4([4]byte{10, byte(r.IntN(3)), byte(r.IntN(4) * 64), byte(r.IntN(256))})
	}
	for round := range 300 {
		six := round%2 == 1
		verdicts := map[netip.Prefix]bool{}
		for range r.IntN(40) {
			a := address(six)
			p, err := a.Prefix(r.IntN(a.BitLen() + 1))
			if err != nil {
				t.Fatal(err)
			}
			verdicts[p] = r.IntN(2) == 0
		}
		var o policy.ACLOptions
		for p, allow := range verdicts {
			if allow {
				o.Allow = append(o.Allow, p)
			} else {
				o.Deny = append(o.Deny, p)
			}
		}
		acl, err := policy.NewACL(o)
		if err != nil {
			t.Fatal(err)
		}
		for range 200 {
			a := address(six)
			want, longest := len(o.Allow) == 0, -1
			for p, allow := range verdicts {
				if p.Contains(a) && p.Bits() > longest {
					want, longest = allow, p.Bits()
				}
			}
			if got := acl.Allows(a); got != want {
				t.Fatalf("%v with %v: got %v, want %v", a, verdicts, got, want)
			}
		}
	}
}

// manyPrefixes returns an ACL of n prefixes and addresses within and without.
func manyPrefixes(tb testing.TB, n int, six bool) (*policy.ACL, []netip.Addr) {
	tb.Helper()
	r := rand.New(rand.NewPCG(3, 4))
	var o policy.ACLOptions
	addrs := make([]netip.Addr, 1024)
	random := func() netip.Addr {
		var b [16]byte
		binary.BigEndian.PutUint64(b[:], r.Uint64())
		if six {
			return netip.AddrFrom16(b)
		}
		return netip.AddrFrom4([4]byte(b[:4]))
	}
	for range n {
		a := random()
		p, err := a.Prefix(a.BitLen() * 3 / 4)
		if err != nil {
			tb.Fatal(err)
		}
		o.Allow = append(o.Allow, p)
	}
	for i := range addrs {
		addrs[i] = random()
		if i%2 == 0 {
			addrs[i] = o.Allow[r.IntN(n)].Addr()
		}
	}
	acl, err := policy.NewACL(o)
	if err != nil {
		tb.Fatal(err)
	}
	return acl, addrs
}

func BenchmarkACL(b *testing.B) {
	for _, test := range []struct {
		name string
		n    int
		six  bool
	}{{"IPv4/3", 3, false}, {"IPv4/5000", 5000, false}, {"IPv6/3", 3, true}, {"IPv6/5000", 5000, true}} {
		b.Run(test.name, func(b *testing.B) {
			acl, addrs := manyPrefixes(b, test.n, test.six)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				acl.Allows(addrs[i%len(addrs)])
				i++
			}
		})
	}
}

// TestAllowsAll holds AllowsAll against asking for each address.
func TestAllowsAll(t *testing.T) {
	var everyone *policy.ACL
	acl := func(allow, deny []netip.Prefix) *policy.ACL {
		a, err := policy.NewACL(policy.ACLOptions{Allow: allow, Deny: deny})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	all, six := prefixes("0.0.0.0/0", "::/0"), prefixes("fd00::/8")
	if open := acl(all, nil); !everyone.AllowsAll(open) || !everyone.AllowsAll(nil) || !open.AllowsAll(nil) ||
		acl(all[:1], nil).AllowsAll(nil) || acl(all[1:], nil).AllowsAll(nil) || acl(all, six).AllowsAll(nil) ||
		acl(all[:1], nil).AllowsAll(acl(six, nil)) || !acl(all, nil).AllowsAll(acl(six, nil)) {
		t.Error("everyone is told from some")
	}
	// Prefixes of the last octet, at random: 256 addresses are all there is.
	r := rand.New(rand.NewPCG(1, 2))
	list := func(n int) (ps []netip.Prefix) {
		for range r.IntN(n) + 1 {
			ps = append(ps, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(256))}), 25+r.IntN(8)).Masked())
		}
		return ps
	}
	yes := 0
	for range 5000 {
		x, err := policy.NewACL(policy.ACLOptions{Allow: list(12), Deny: list(2)})
		y, err2 := policy.NewACL(policy.ACLOptions{Allow: list(3)})
		if err != nil || err2 != nil {
			continue
		}
		want := true
		for i := range 256 {
			a := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
			want = want && (x.Allows(a) || !y.Allows(a))
		}
		if want {
			yes++
		}
		if got := x.AllowsAll(y); got != want {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
	if yes < 100 {
		t.Errorf("%d of the lists hold others: too few to tell", yes)
	}
}
