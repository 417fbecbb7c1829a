package engine_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"port53/internal/dnstest"
	"port53/internal/engine"
	"port53/internal/policy"
	"port53/internal/server"
	"port53/internal/wire"
	"port53/internal/zone"
)

// fits reports whether a client is one that a match is for, as its comment says.
func fits(t *testing.T, m *engine.Match, client netip.Addr, at netip.AddrPort, key []byte) bool {
	t.Helper()
	has := func(list [][]byte) bool {
		return slices.ContainsFunc(list, func(k []byte) bool { return key != nil && wire.EqualFold(k, key) })
	}
	acl, err := policy.NewACL(m.Clients)
	if err != nil {
		t.Fatal(err)
	}
	in := acl.Allows(client)
	if len(m.Clients.Allow) == 0 && len(m.ClientKeys) > 0 {
		in = false
	}
	place := len(m.Listen) == 0 || slices.ContainsFunc(m.Listen, func(l netip.AddrPort) bool {
		return l.Addr() == at.Addr() && (l.Port() == 0 || l.Port() == at.Port())
	})
	return (in || has(m.ClientKeys)) && !has(m.ExceptKeys) && place && (len(m.Keys) == 0 || has(m.Keys))
}

// TestChoice draws views at random, and compares the view that a client gets with the first that fits it.
func TestChoice(t *testing.T) {
	r := rand.New(rand.NewPCG(53, 3))
	names := [][]byte{[]byte("\x01a\x00"), []byte("\x01b\x00"), []byte("\x01c\x00")}
	some := func() (list [][]byte) {
		for _, n := range names {
			if r.IntN(5) == 0 {
				list = append(list, n)
			}
		}
		return list
	}
	chosen := map[int]int{}
	for round := range 400 {
		views, matches := make([]engine.View, r.IntN(8)), []engine.Match{}
		for i := range views {
			views[i].Name = fmt.Sprint(i)
			m := engine.Match{ClientKeys: some(), ExceptKeys: some(), Keys: some()}
			for net := range 4 {
				p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(net), 0, 0}), 16)
				switch r.IntN(6) {
				case 0:
					m.Clients.Allow = append(m.Clients.Allow, p)
				case 1:
					m.Clients.Deny = append(m.Clients.Deny, netip.PrefixFrom(p.Addr(), 24))
				}
			}
			if r.IntN(4) == 0 {
				m.Listen = append(m.Listen, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(2))}), uint16(r.IntN(2))*53))
			}
			matches = append(matches, m)
		}
		v, err := engine.NewViews(views, matches)
		if err != nil {
			t.Fatal(err)
		}
		g := engine.Generation{View: engine.View{Name: "default"}, Views: v}
		for range 50 {
			client := netip.AddrFrom4([4]byte{10, byte(r.IntN(5)), byte(r.IntN(2)), 1})
			at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(3))}), []uint16{53, 5353}[r.IntN(2)])
			var key []byte
			if r.IntN(2) == 0 {
				key = [][]byte{[]byte("\x01A\x00"), names[1], names[2], []byte("\x01x\x00")}[r.IntN(4)]
			}
			i := slices.IndexFunc(matches, func(m engine.Match) bool { return fits(t, &m, client, at, key) })
			want := "default"
			if i >= 0 {
				want = views[i].Name
			}
			chosen[i]++
			if got := g.ViewFor(client, at, key); got.Name != want {
				t.Fatalf("round %d: %v at %v with key %q: view %s, want %s of %+v", round, client, at, key, got.Name, want, matches)
			}
		}
	}
	if len(chosen) < 6 || chosen[-1] == 0 {
		t.Errorf("views that were chosen: %v", chosen)
	}
	if _, err := engine.NewViews(make([]engine.View, engine.MaxViews+1), make([]engine.Match, engine.MaxViews+1)); err == nil {
		t.Error("more views than there can be are taken")
	}
}

// threeViews is a generation with three views by networks, beside that of all others.
func threeViews(t testing.TB) engine.Generation {
	t.Helper()
	views, matches := make([]engine.View, 3), make([]engine.Match, 3)
	for i := range views {
		views[i].Zones = zone.NewView(dnstest.Seed).With(zone.Change{Apex: dnstest.Name(t, "example."), Zone: dnstest.Zone(t, "example.", exampleZone)})
		views[i].Name, views[i].Slot = fmt.Sprint(i), uint8(i+1)
		for n := range 20 {
			matches[i].Clients.Allow = append(matches[i].Clients.Allow, netip.PrefixFrom(netip.AddrFrom4([4]byte{198, byte(50 + i), byte(100 - n), 0}), 24))
		}
	}
	v, err := engine.NewViews(views, matches)
	if err != nil {
		t.Fatal(err)
	}
	return engine.Generation{Views: v}
}

// TestViewsAllocateNothing answers clients of a view, and of none, by address and with a key.
func TestViewsAllocateNothing(t *testing.T) {
	w := newWorker(t, threeViews(t))
	msg, reply := query(t, "www.example. A"), make([]byte, 4096)
	for _, client := range []string{"198.51.100.7:4000", "198.52.100.7:4000", "203.0.113.1:4000", "[2001:db8::1]:4000"} {
		peer := server.Peer{Remote: netip.MustParseAddrPort(client), Transport: server.UDP}
		if n := testing.AllocsPerRun(100, func() {
			if w.Handle(msg, &peer, 0, reply) <= 0 {
				t.Fatal("no reply")
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", client, n)
		}
	}
}

// BenchmarkViews is the same query with views and without.
func BenchmarkViews(b *testing.B) {
	msg, reply := query(b, "www.example. A"), make([]byte, 4096)
	peer := server.Peer{Remote: netip.MustParseAddrPort("198.52.100.7:4000"), Transport: server.UDP}
	for _, c := range []struct {
		name string
		g    engine.Generation
	}{{"none", engine.Generation{}}, {"three", threeViews(b)}} {
		b.Run(c.name, func(b *testing.B) {
			w := newWorker(b, c.g)
			b.ReportAllocs()
			for b.Loop() {
				w.Handle(msg, &peer, 0, reply)
			}
		})
	}
}
