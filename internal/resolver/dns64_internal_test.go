package resolver

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"port53/internal/wire"
)

// TestEmbed makes the addresses that RFC 6052 shows (section 2.4, tables 2 and 3), and takes them apart.
func TestEmbed(t *testing.T) {
	for _, c := range []struct{ prefix, four, six string }{
		{"2001:db8::/32", "192.0.2.33", "2001:db8:c000:221::"},
		{"2001:db8:100::/40", "192.0.2.33", "2001:db8:1c0:2:21::"},
		{"2001:db8:122::/48", "192.0.2.33", "2001:db8:122:c000:2:2100::"},
		{"2001:db8:122:300::/56", "192.0.2.33", "2001:db8:122:3c0:0:221::"},
		{"2001:db8:122:344::/64", "192.0.2.33", "2001:db8:122:344:c0:2:2100::"},
		{"2001:db8:122:344::/96", "192.0.2.33", "2001:db8:122:344::c000:221"},
		{"64:ff9b::/96", "192.0.2.33", "64:ff9b::192.0.2.33"},
	} {
		p, four := netip.MustParsePrefix(c.prefix), netip.MustParseAddr(c.four)
		six := netip.AddrFrom16(embed(p, four.As4()))
		if six != netip.MustParseAddr(c.six) {
			t.Errorf("%s in %s: %s, want %s", four, p, six, c.six)
		}
		for range 1000 {
			var a [4]byte
			for i := range a {
				a[i] = byte(rand.IntN(256))
			}
			six := netip.AddrFrom16(embed(p, a))
			d := &DNS64{Prefixes: []netip.Prefix{p}}
			back, ok := d.madeOf(wire.ReverseName(six))
			if b := six.As16(); !ok || back != netip.AddrFrom4(a) || b[reservedOctet] != 0 && p.Bits() <= 64 || !p.Contains(six) {
				t.Fatalf("%v in %s: %s, and back %s", a, p, six, back)
			}
		}
	}
}

// TestMadeOf finds no address behind names that stand for none of a prefix.
func TestMadeOf(t *testing.T) {
	d := &DNS64{Prefixes: []netip.Prefix{netip.MustParsePrefix("64:ff9b::/96")}}
	good := wire.ReverseName(netip.MustParseAddr("64:ff9b::c633:6450"))
	if _, ok := d.madeOf(good); !ok {
		t.Fatal("the name of an address is none")
	}
	for i := range good {
		bad := append([]byte{}, good...)
		bad[i] = 'g'
		if a, ok := d.madeOf(bad); ok {
			t.Errorf("%q: %s", bad, a)
		}
	}
	for _, name := range [][]byte{wire.Root, good[2:], append([]byte{1, '0'}, good...), wire.ReverseName(netip.MustParseAddr("64:ff9c::1")), wire.ReverseName(netip.MustParseAddr("198.51.100.80"))} {
		if a, ok := d.madeOf(name); ok {
			t.Errorf("%q: %s", name, a)
		}
	}
}
