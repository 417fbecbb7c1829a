package engine_test

import (
	"net/netip"
	"strings"
	"testing"

	"port53/internal/dnstest"
	"port53/internal/engine"
	"port53/internal/resolver"
	"port53/internal/server"
	"port53/internal/wire"
	"port53/internal/zone"
)

// TestDesignatedOfView has clients be told of services at the address that they asked, and of none
// at which they would be in another view.
func TestDesignatedOfView(t *testing.T) {
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	data := append([]byte{0, 1}, dnstest.Name(t, "dns.example.")...)
	service := func(at netip.Addr, port uint16) engine.Designated {
		return engine.Designated{At: netip.AddrPortFrom(at, port), Data: append(data[:len(data):len(data)], 0, 3, 0, 2, byte(port>>8), byte(port))}
	}
	recursion := func() *engine.Recursion {
		return &engine.Recursion{
			Config:  resolver.Compile(resolver.Settings{}),
			Builtin: zone.NewView(dnstest.Seed).With(zone.Change{Apex: dnstest.Name(t, "resolver.arpa."), Zone: dnstest.Zone(t, "resolver.arpa.", "@ 60 SOA localhost. nobody.invalid. 1 2 3 4 5\n@ 60 NS localhost.\n* 60 TYPE65400 \\# 0\n")}),
		}
	}
	views, err := engine.NewViews(
		[]engine.View{{Name: "tls", Recursion: recursion()}}, []engine.Match{{Listen: []netip.AddrPort{netip.AddrPortFrom(a, 853)}}},
	)
	if err != nil {
		t.Fatal(err)
	}
	g := engine.Generation{View: engine.View{Recursion: recursion()}, Discovery: &engine.Discovery{Designated: map[netip.Addr][]engine.Designated{
		a: {service(a, 853), service(a, 443)},
		b: {service(b, 853)},
	}}}
	ask := func(g engine.Generation, local netip.AddrPort, flags string) string {
		t.Helper()
		w := engine.New(engine.Options{PropagatePanics: true}, g).NewWorker()
		peer := &server.Peer{Remote: netip.MustParseAddrPort("198.51.100.9:4000"), Local: local.Addr(), LocalPort: local.Port()}
		reply := make([]byte, wire.MaxMessage)
		n := w.Handle(dnstest.ParseQuestion(t, "_dns.resolver.arpa. SVCB"+flags).Message(), peer, 0, reply)
		text, err := dnstest.Format(reply[:max(n, 0)])
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	split := g
	split.Views = views
	for _, tt := range []struct {
		name  string
		g     engine.Generation
		at    string
		flags string
		want  []string
	}{
		{"its own", g, "192.0.2.1:53", " +rd", []string{"port=853", "port=443"}},
		{"another address", g, "192.0.2.2:53", " +rd", []string{"port=853"}},
		{"an address without any", g, "192.0.2.3:53", " +rd", nil},
		{"one leads to another view", split, "192.0.2.1:53", " +rd", []string{"port=443"}},
		{"in that view", split, "192.0.2.1:853", " +rd", []string{"port=853"}},
		{"no recursion wanted", g, "192.0.2.1:53", "", nil},
	} {
		got := ask(tt.g, netip.MustParseAddrPort(tt.at), tt.flags)
		if strings.Count(got, " SVCB ") != len(tt.want) {
			t.Errorf("%s: %s", tt.name, got)
		}
		for _, w := range tt.want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: no %s in %s", tt.name, w, got)
			}
		}
	}
	unknown := engine.Generation{View: g.View}
	if got := ask(unknown, netip.MustParseAddrPort("192.0.2.1:53"), " +rd"); strings.Contains(got, "port=") || !strings.Contains(got, "NOERROR") {
		t.Errorf("with nothing to tell: %s", got)
	}
}
