package config

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"port53/internal/netif"
)

// TestOwnNetworks has interfaces with addresses of each kind.
func TestOwnNetworks(t *testing.T) {
	for _, s := range []struct{ addrs, clients, left string }{
		{"", "", ""},
		{"127.0.0.1/8 ::1/128", "", ""},
		{"10.1.2.3/24 192.168.7.1/24 172.16.0.1/12", "10.1.2.0/24 192.168.7.0/24 172.16.0.0/12", ""},
		{"172.31.255.1/24 172.32.0.1/24", "172.31.255.0/24", "172.32.0.0/24"},
		{"169.254.3.4/16 fe80::1/64 fd00:1::1/64 fc00::1/8", "169.254.0.0/16 fe80::/64 fd00:1::/64 fc00::/8", ""},
		{"203.0.113.5/24 2001:db8:1::5/64", "", "203.0.113.0/24 2001:db8:1::/64"},
		{"203.0.113.5/32 203.0.113.6/32", "", "203.0.113.5/32 203.0.113.6/32"},
		{"100.64.1.1/16", "", "100.64.0.0/16"},                     // of a provider and all its customers
		{"fec0::1/64", "", "fec0::/64"},                            // deprecated
		{"192.168.1.1/8 10.0.0.1/7", "", "192.0.0.0/8 10.0.0.0/7"}, // wider than what is private
		{"10.0.0.1/24 10.0.0.2/24 203.0.113.5/24 203.0.113.6/24", "10.0.0.0/24", "203.0.113.0/24"},
	} {
		var addrs []netif.Address
		for text := range strings.FieldsSeq(s.addrs) {
			addrs = append(addrs, netif.Address{Interface: "lan0", Prefix: netip.MustParsePrefix(text)})
		}
		clients, left := ownNetworks(addrs)
		want := strings.TrimSpace("127.0.0.0/8 ::1/128 " + s.clients)
		if got := strings.Trim(fmt.Sprint(clients), "[]"); got != want {
			t.Errorf("%s: clients %s, want %s", s.addrs, got, want)
		}
		if got := strings.Trim(fmt.Sprint(left), "[]"); got != s.left {
			t.Errorf("%s: left out %s, want %s", s.addrs, got, s.left)
		}
	}
}
