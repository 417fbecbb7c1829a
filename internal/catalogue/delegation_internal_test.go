package catalogue

import (
	"net/netip"
	"testing"

	"port53/internal/check"
	"port53/internal/finding"
)

// TestNoHost has names of servers and mail hosts that no host can have.
func TestNoHost(t *testing.T) {
	for name, good := range map[string]bool{
		"ns1.example.com.": true, "a.b-c.example.": true, "1.example.": true, "xn--mnchen-3ya.example.": true, "NS.EXAMPLE.": true,
		"ns_1.example.com.": false, "-a.example.": false, "a-.example.": false, `a\032b.example.`: false, "192.0.2.25.": false, "x.5.": false, `\*.example.`: false,
	} {
		if why := noHost(inWire(t, name)); (why == "") != good {
			t.Errorf("%s: %q", name, why)
		}
	}
}

// TestSameAddress warns of two names with one address, and of nothing but that.
func TestSameAddress(t *testing.T) {
	server := func(name, addr string) finding.Server {
		return finding.Server{Name: inWire(t, name), Addr: netip.AddrPortFrom(netip.MustParseAddr(addr), 53)}
	}
	ns := [][]byte{inWire(t, "ns1.example."), inWire(t, "ns2.example."), inWire(t, "ns3.example.")}
	for name, c := range map[string]struct {
		list []finding.Server
		want finding.State
	}{
		"of its own": {[]finding.Server{server("ns1.example.", "192.0.2.1"), server("ns2.example.", "198.51.100.1"), server("ns3.example.", "203.0.113.1")}, finding.Pass},
		"one of two": {[]finding.Server{server("ns1.example.", "192.0.2.1"), server("ns2.example.", "198.51.100.1"), server("ns3.example.", "198.51.100.1")}, finding.Warn},
		"of both families": {[]finding.Server{
			server("ns1.example.", "192.0.2.1"), server("ns1.example.", "2001:db8::1"), server("ns2.example.", "198.51.100.1"), server("ns2.example.", "2001:db8:1::1"),
		}, finding.Pass},
		"over IPv6": {[]finding.Server{
			server("ns1.example.", "192.0.2.1"), server("ns1.example.", "2001:db8::1"), server("ns2.example.", "198.51.100.1"), server("ns2.example.", "2001:db8::1"),
		}, finding.Warn},
	} {
		if got := delTwo(t.Context(), nil, &check.Cut{NS: ns, Servers: c.list}); got[0].State != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
