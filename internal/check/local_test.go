package check_test

import (
	"net/netip"
	"testing"

	"port53/internal/check"
	"port53/internal/finding"
)

// TestAsks has addresses that somebody on the network named. Those of this machine, of a link and of a group are asked only where
// the walk begins in the same place.
func TestAsks(t *testing.T) {
	root := func(a string) []finding.Server {
		return []finding.Server{{Addr: netip.AddrPortFrom(netip.MustParseAddr(a), 53)}}
	}
	for _, x := range []struct {
		roots []finding.Server
		addr  string
		asks  bool
	}{
		{root("198.41.0.4"), "127.0.0.1", false},
		{root("198.41.0.4"), "127.8.8.8", false},
		{root("198.41.0.4"), "::1", false},
		{root("198.41.0.4"), "::ffff:127.0.0.1", false},
		{root("198.41.0.4"), "0.0.0.0", false},
		{root("198.41.0.4"), "0.1.2.3", false},
		{root("198.41.0.4"), "::", false},
		{root("198.41.0.4"), "169.254.169.254", false},
		{root("198.41.0.4"), "fe80::1", false},
		{root("198.41.0.4"), "224.0.0.251", false},
		{root("198.41.0.4"), "ff02::fb", false},
		{root("198.41.0.4"), "255.255.255.255", false},
		{root("198.41.0.4"), "8.8.8.8", true},
		{root("198.41.0.4"), "2001:4860:4860::8888", true},
		{root("10.0.0.1"), "127.0.0.1", false}, // a laboratory on private addresses is not on loopback
		{root("10.0.0.1"), "10.0.0.2", true},
		{root("127.0.0.1"), "127.0.0.2", true}, // a laboratory on loopback
		{root("127.0.0.1"), "224.0.0.1", false},
	} {
		o := &check.Options{Roots: x.roots}
		a := netip.MustParseAddr(x.addr)
		if got := o.Asks(a); got != x.asks {
			t.Errorf("%s, root %s: %t", x.addr, x.roots[0].Addr.Addr(), got)
		}
		// Who names it himself has it asked.
		r := &check.Run{Options: o, Server: finding.Server{Addr: netip.AddrPortFrom(a, 53)}}
		if !r.Asks(r.Server.Addr) {
			t.Errorf("%s is a target and is not asked", x.addr)
		}
	}
	o := &check.Options{Roots: root("198.41.0.4"), Resolvers: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.53:53")}}
	r := &check.Run{Options: o}
	if !r.Asks(o.Resolvers[0]) {
		t.Error("the system's resolver is not asked")
	}
}
