package catalogue_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"port53/internal/catalogue"
	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/wire"
)

// discoverable answers as a zone with names, by transfer or by NSEC as told.
func discoverable(transfer, nsec bool, wildcard []byte, names ...string) script {
	owners := []string{"example.test."}
	for _, n := range names {
		owners = append(owners, n+".example.test.")
	}
	return func(m *wire.Message, server int, tcp bool) answer {
		if server == 0 || !wire.Subdomain(m.Name, zone) {
			return good(m, server, tcp)
		}
		low := string(wire.AppendName(nil, wire.Lower(nil, m.Name)))
		i := slices.Index(owners, low)
		switch {
		case m.Type == wire.TypeAXFR && transfer:
			a := answer{flags: wire.FlagAA, rr: []wire.Record{rr(0, "example.test", wire.TypeSOA, 60, soa(1))}}
			for _, n := range owners[1:] {
				a.rr = append(a.rr, rr(0, n, wire.TypeA, 60, []byte{192, 0, 2, 1}))
			}
			a.rr = append(a.rr, a.rr[0])
			return a
		case m.Type == wire.TypeNSEC && nsec && i >= 0:
			data := append(name(owners[(i+1)%len(owners)]), 0, 1, 0x40)
			return answer{flags: wire.FlagAA, rr: []wire.Record{{Owner: m.Name, Type: wire.TypeNSEC, TTL: 60, Data: data}}}
		case m.Type == wire.TypeA && i > 0:
			return answer{flags: wire.FlagAA, rr: []wire.Record{{Owner: m.Name, Type: wire.TypeA, TTL: 60, Data: []byte{192, 0, 2, 9}}}}
		case m.Type == wire.TypeA && i < 0 && wildcard != nil && !strings.HasPrefix(low, "ns"):
			return answer{flags: wire.FlagAA, rr: []wire.Record{{Owner: m.Name, Type: wire.TypeA, TTL: 60, Data: wildcard}}}
		}
		return good(m, server, tcp)
	}
}

// TestDiscovery finds names in each of the ways that a stranger has.
func TestDiscovery(t *testing.T) {
	t.Parallel()
	known := catalogue.Words()
	variant := ""
	for _, p := range catalogue.Permutations("vpn") {
		if !slices.Contains(known, p) {
			variant = p
		}
	}
	for _, c := range []struct {
		name         string
		s            script
		want, absent []string
		way          string
	}{
		{"transfer", discoverable(true, false, nil, "a-secret-name", "vpn"), []string{"a-secret-name.", "vpn."}, nil, "2 by transfer"},
		{"NSEC", discoverable(false, true, nil, "another-secret", "deep.below", "vpn"), []string{"another-secret.", "deep.below.", "vpn."}, nil, "3 by NSEC"},
		{"words", discoverable(false, false, nil, "vpn", variant, "not-in-any-list"), []string{"vpn.", variant + "."}, []string{"not-in-any-list"}, "1 by permutations"},
		{"wildcard", discoverable(false, false, []byte{127, 0, 0, 77}, "vpn"), []string{"vpn."}, []string{"www.", "mail."}, "by words"},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := serve(t, 3, c.s)
			o := &check.Options{Port: at[0].Port(), Search: check.Search{Subdomains: true}, Timeout: time.Second, PortDoH: at[0].Port(), Roots: []finding.Server{{Addr: at[0], Name: name("a.root")}}}
			r := examine(t.Context(), finding.Target{Text: "example.test", Zone: zone, Servers: []finding.Server{{Addr: at[1]}, {Addr: at[2]}}}, o,
				func(c *check.Check) bool { return c.ID == "ZONE-SUBS" }, func(int, int) {})
			f := r.Results[0].Findings[0]
			for _, n := range c.want {
				if !strings.Contains(f.Detail, " "+n+"example.test.") {
					t.Errorf("%s is not found: %.300s", n, f.Detail)
				}
			}
			for _, n := range c.absent {
				if strings.Contains(f.Detail, " "+n) {
					t.Errorf("%s is found: %.300s", n, f.Detail)
				}
			}
			if f.State != finding.Info || !strings.Contains(f.Detail, c.way) {
				t.Errorf("state %v, %.300s, want %s", f.State, f.Detail, c.way)
			}
		})
	}
	// A zone that nobody answers for has no names that are known.
	dead := netip.MustParseAddrPort("127.0.0.1:9")
	r := examine(t.Context(), finding.Target{Text: "example.test", Zone: zone, Servers: []finding.Server{{Addr: dead}}}, &check.Options{Search: check.Search{Subdomains: true}, Timeout: 10 * time.Millisecond},
		func(c *check.Check) bool {
			return c.ID == "ZONE-SUBS" || c.ID == "ZONE-DANGLE" || c.ID == "ZONE-PRIVATE"
		}, func(int, int) {})
	for _, x := range r.Results {
		if x.Worst() != finding.Unknown {
			t.Errorf("%s: %v", x.Check.ID, x.Findings)
		}
	}
}
