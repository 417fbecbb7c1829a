package catalogue_test

import (
	"context"
	"fmt"
	"net"
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

// finds returns what a finder makes of a word: the texts of its targets, or the problem.
func finds(t *testing.T, f *check.Finder, text string) []string {
	t.Helper()
	w, err := check.ParseWord(text)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, x := range f.Find(t.Context(), w) {
		s := x.Text
		if x.Problem != "" {
			s = "problem: " + x.Problem
		}
		out = append(out, strings.ReplaceAll(s, fmt.Sprintf(":%d)", f.Options.Port), ")"))
	}
	return out
}

func TestFind(t *testing.T) {
	at := serve(t, 3, good)
	f := &check.Finder{Options: &check.Options{Port: at[0].Port(), Timeout: 300 * time.Millisecond, Roots: []finding.Server{{Addr: at[0], Name: name("a.root")}}}}
	// A resolver knows the same, and answers as one.
	f2 := &check.Finder{Options: &check.Options{Port: at[0].Port(), Timeout: 300 * time.Millisecond}}
	resolver := serve(t, 1, func(m *wire.Message, _ int, _ bool) answer {
		if m.Flags&wire.FlagRD == 0 || !wire.Subdomain(m.Name, zone) {
			return answer{rc: wire.ServFail}
		}
		return good(m, 1, false)
	})
	f2.Options.Resolvers = resolver
	f3 := &check.Finder{Options: f.Options, Zone: zone, Max: 4}
	for _, c := range []struct {
		f    *check.Finder
		word string
		want string
	}{
		{f, "example.test", "example.test; example.test at ns1.example.test (127.0.1.1); example.test at ns2.example.test (127.0.2.1)"},
		{f2, "example.test", "example.test; example.test at ns1.example.test (127.0.1.1); example.test at ns2.example.test (127.0.2.1)"},
		{f, "ns1.example.test", "ns1.example.test (127.0.1.1)"},
		{f2, "ns2.example.test", "ns2.example.test (127.0.2.1)"},
		{f3, "ns1.example.test", "ns1.example.test (127.0.1.1)"},
		{f, "gone.example.test", "problem: gone.example.test. does not exist"},
		{f, "elsewhere", "problem: elsewhere. does not exist"},
		{f3, "example.test", "problem: example.test. has no address, and is no zone"},
		{f2, "elsewhere", "problem: elsewhere. NS cannot be looked up: " + resolver[0].String() + " answers SERVFAIL"},
		{f3, "192.0.2.0/24", "problem: it has 2^8 addresses, and 4 are allowed: see --max-targets"},
		{f3, "::/0", "problem: it has 2^128 addresses, and 4 are allowed: see --max-targets"},
		{&check.Finder{Options: &check.Options{}, Max: 4}, "192.0.2.9/30", "192.0.2.8; 192.0.2.9; 192.0.2.10; 192.0.2.11"},
		{&check.Finder{Options: &check.Options{}}, "255.255.255.254/31", "255.255.255.254; 255.255.255.255"},
		{&check.Finder{Options: &check.Options{}}, "example.test", "problem: no servers of the root are known"},
	} {
		if got := strings.Join(finds(t, c.f, c.word), "; "); got != c.want {
			t.Errorf("%s: got %s\nwant %s", c.word, got, c.want)
		}
	}
}

// TestClosed has many checks of an address where nobody is: it is known at once, since one that
// waited for an answer would have an hour.
func TestClosed(t *testing.T) {
	pairs := listen(t, 1)
	at := pairs[0].tcp.Addr().(*net.TCPAddr).AddrPort()
	pairs[0].tcp.Close()
	pairs[0].udp.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r := examine(ctx, finding.Target{Text: "closed", Server: finding.Server{Addr: at}, Zone: zone}, &check.Options{PortDoT: at.Port(), PortDoH: at.Port(), Timeout: time.Hour}, func(*check.Check) bool { return true }, func(int, int) {})
	if n := r.Count(); n[finding.Unknown] < 20 || n[finding.Pass]+n[finding.Warn]+n[finding.Fail] > 0 || r.Reached() {
		t.Errorf("%v", n)
	}
	if ctx.Err() != nil {
		t.Error("something waited for an answer")
	}
}

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
			o := &check.Options{Port: at[0].Port(), Subdomains: true, Timeout: time.Second, PortDoH: at[0].Port(), Roots: []finding.Server{{Addr: at[0], Name: name("a.root")}}}
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
	r := examine(t.Context(), finding.Target{Text: "example.test", Zone: zone, Servers: []finding.Server{{Addr: dead}}}, &check.Options{Subdomains: true, Timeout: 10 * time.Millisecond},
		func(c *check.Check) bool {
			return c.ID == "ZONE-SUBS" || c.ID == "ZONE-DANGLE" || c.ID == "ZONE-PRIVATE"
		}, func(int, int) {})
	for _, x := range r.Results {
		if x.Worst() != finding.Unknown {
			t.Errorf("%s: %v", x.Check.ID, x.Findings)
		}
	}
}

// TestThousandServers looks at a thousand servers on loopback, and keeps no more of them
// than it works on.
func TestThousandServers(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes some seconds")
	}
	const servers = 1000
	at := serve(t, 3, good)
	o := &check.Options{Port: at[1].Port(), PortDoT: at[1].Port(), PortDoH: at[1].Port(), Lab: check.Lab{Nobody: at[0]}, Gate: check.NewGate()}
	in := func(yield func(int) bool) {
		for i := range servers {
			if !yield(i) {
				return
			}
		}
	}
	// Two addresses stand for all, which is harder: the check keeps to its politeness at
	// each of them.
	n := 0
	for r := range check.InOrder(t.Context(), 32, in, func(ctx context.Context, i int) *finding.Report {
		target := finding.Target{Text: fmt.Sprint(i), Server: finding.Server{Addr: at[1+i%2]}, Zone: zone}
		return examine(ctx, target, o, func(c *check.Check) bool { return c.Group == catalogue.GroupServer }, func(int, int) {})
	}) {
		if r.Target.Text != fmt.Sprint(n) || !r.Reached() || r.Above(finding.SevMedium) {
			t.Fatalf("report %d is of %s: %v, %v", n, r.Target.Text, r.Count(), r.Ports)
		}
		n++
	}
	if n != servers {
		t.Errorf("%d servers", n)
	}
}
