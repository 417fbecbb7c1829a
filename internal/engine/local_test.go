package engine_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"port53/internal/dnstest"
	"port53/internal/engine"
	"port53/internal/hosts"
	"port53/internal/policy"
	"port53/internal/resolver"
	"port53/internal/wire"
)

func wireName(t testing.TB, s string) []byte {
	t.Helper()
	n, err := wire.ParseName(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// machines returns the recursive service with local host names: one in the zone example, one
// that is its apex, one elsewhere, and a subtree that a route lies in.
func machines(t testing.TB) *engine.Recursion {
	t.Helper()
	s := hosts.Sources{Domain: wireName(t, "example"), Authoritative: true} // a zone came that is the domain
	for text, addr := range map[string]string{
		"www.example": "198.51.100.1", "example": "198.51.100.2", "nas.home.arpa": "198.51.100.3", "*.lab.test": "198.51.100.4", "*.sub.example": "198.51.100.5", "*.broken": "198.51.100.6",
	} {
		rest, star := strings.CutPrefix(text, "*.")
		name := wireName(t, rest)
		if star {
			name = append([]byte("\x01*"), name...)
		}
		s.Names = append(s.Names, hosts.Name{Name: name, Addrs: []netip.Addr{netip.MustParseAddr(addr)}})
	}
	route := resolver.Route{Zone: wireName(t, "deep.lab.test"), Servers: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53")}, Forward: true}
	under := resolver.Route{Zone: wireName(t, "routed.example"), Servers: route.Servers, Forward: true}
	return &engine.Recursion{
		Names: hosts.Read(&s, time.Unix(0, 0)).Table, Config: resolver.Compile(resolver.Settings{Routes: []resolver.Route{route, under}}),
	}
}

// The more specific of a zone, a route and the name of a machine wins, for clients that may use
// recursion alone: to others nothing is said of machines.
func TestMoreSpecificWins(t *testing.T) {
	nobody, err := policy.NewACL(policy.ACLOptions{Allow: []netip.Prefix{netip.MustParsePrefix("203.0.113.99/32")}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ question, inside, outside string }{
		{"www.example. A", "www.example. 60 A 198.51.100.1", "www.example. "},
		{"www.example. MX", "AUTHORITY\nwww.example. 60 SOA", "AUTHORITY\nexample. "},
		{"example. A", "AUTHORITY\nexample. 300", "AUTHORITY\nexample. 300"},
		{"nothing.example. A", "AUTHORITY\nexample. 300", "AUTHORITY\nexample. 300"},
		{"nas.home.arpa. A", "nas.home.arpa. 60 A 198.51.100.3", "REFUSED"},
		{"a.b.lab.test. A", "a.b.lab.test. 60 A 198.51.100.4", "REFUSED"},
		{"a.b.lab.test. AAAA", "AUTHORITY\nlab.test. 60 SOA", "REFUSED"},
		{"x.deep.lab.test. A", "REFUSED", "REFUSED"}, // without RD: a route's
		{"a.routed.example. A", "REFUSED", "NXDOMAIN"},
		{"routed.example. DS", "NXDOMAIN", "NXDOMAIN"}, // the zone's
		{"x.broken. A", "x.broken. 60 A 198.51.100.6", "SERVFAIL"},
		{"broken. A", "SERVFAIL", "SERVFAIL"},
		{"host.sub.example. A", "host.sub.example. 60 A 198.51.100.5", "sub.example. "},
	} {
		for i, want := range []string{c.inside, c.outside} {
			access := &policy.Access{}
			if i == 1 {
				access.Recurse = nobody
			}
			w := newWorker(t, engine.Generation{View: engine.View{Recursion: machines(t), Access: access}})
			got, err := dnstest.Format(handle(w, query(t, c.question), udpPeer))
			if err != nil || !strings.Contains(got, want) {
				t.Errorf("%s, may recurse %v: got %v\n%s\nwant %q", c.question, access.Recurse == nil, err, got, want)
			}
		}
	}
}

// Names of machines cost no allocation, whether there are any or not.
func TestMachinesAllocateNothing(t *testing.T) {
	for name, r := range map[string]*engine.Recursion{"with": machines(t), "without": {Config: resolver.Compile(resolver.Settings{})}} {
		w := newWorker(t, engine.Generation{View: engine.View{Recursion: r}})
		reply := make([]byte, 4096)
		for _, line := range []string{"www.example. A", "mail.example. MX", "nothing.example. A", "nas.home.arpa. A", "a.lab.test. AAAA"} {
			msg := query(t, line)
			if n := testing.AllocsPerRun(50, func() { w.Handle(msg, &udpPeer, 0, reply) }); n != 0 {
				t.Errorf("%s, %s: %v allocations", name, line, n)
			}
		}
	}
}
