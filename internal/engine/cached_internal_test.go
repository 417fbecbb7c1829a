package engine

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"

	"port53/internal/cache"
	"port53/internal/event"
	"port53/internal/policy"
	"port53/internal/resolver"
	"port53/internal/server"
	"port53/internal/why"
	"port53/internal/wire"
)

// BenchmarkCached answers from a cache of 10,000 names, asked by popularity, without and with what is looked
// up for each client and each response beside it.
func BenchmarkCached(b *testing.B) {
	const names, questions = 10_000, 1 << 16
	config := resolver.Compile(resolver.Settings{})
	store := cache.New(cache.Options{Size: 8 << 20})
	for i := range names {
		a := &cache.Answer{TTL: 3000, EDE: -1, Counts: [3]uint16{1}, TTLs: []uint16{6}}
		a.Body = append(a.Body, 0xC0, 12, 0, 1, 0, 1, 0, 0, 11, 184, 0, 4, 192, 0, 2, 1)
		store.Writer().PutAnswer(config.Key(cachedName(i), wire.TypeA, resolver.Wants{}), a, store.Now())
	}
	var msgs [questions][]byte
	room := make([]byte, 0, questions*64)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range msgs {
		at := len(room)
		rank := int(math.Pow(names, r.Float64())) - 1 // as likely as its place is low
		room = wire.AppendOPT(wire.AppendQuery(room, 7, wire.FlagRD, cachedName(rank), wire.TypeA), 1232, false, nil)
		room[at+11] = 1
		msgs[i] = room[at:]
	}
	networks := make([]netip.Prefix, 3)
	for i := range networks {
		networks[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{127, 0, byte(i), 0}), 25)
	}
	limiter, err := policy.NewRateLimiter(policy.RateOptions{PerSecond: 1_000_000, Burst: 10_000_000, Ceiling: 10_000_000, CeilingBurst: 100_000_000})
	if err != nil {
		b.Fatal(err)
	}
	allow, err := policy.NewACL(policy.ACLOptions{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		apply func(g *Generation)
	}{
		{"plain", func(*Generation) {}},
		{"why", func(g *Generation) { g.Why = Why{Record: why.Problems, Tell: true} }},
		{"limited", func(g *Generation) { g.Limits.Rates = limiter }},
		{"all", func(g *Generation) {
			g.Limits.Rates = limiter
			g.Access = &policy.Access{Query: allow}
			list, match := make([]View, len(networks)), make([]Match, len(networks))
			for i := range list {
				list[i] = g.View
				list[i].Name = fmt.Sprint(i)
				match[i].Clients = policy.ACLOptions{Allow: networks[i : i+1]}
			}
			if g.Views, err = NewViews(list, match); err != nil {
				b.Fatal(err)
			}
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			g := Generation{View: View{Recursion: &Recursion{Cache: store, Config: config}}}
			c.apply(&g)
			hub := event.New()
			if g.Why.Record != why.Off {
				defer hub.Subscribe(event.Explained, func(*event.Record) {})()
			}
			w := New(Options{PropagatePanics: true, Events: hub}, g).newWorker()
			peer := server.Peer{Remote: netip.MustParseAddrPort("127.0.0.1:4000"), Transport: server.UDP}
			reply := make([]byte, 4096)
			b.ReportAllocs()
			for i, now := 0, int64(1); b.Loop(); i, now = (i+1)%questions, now+1000 {
				if w.Handle(msgs[i], &peer, now, reply) <= 0 {
					b.Fatal("no reply")
				}
			}
		})
	}
}

func cachedName(i int) []byte { return fmt.Appendf(nil, "\x08%08d\x09something\x04test\x00", i) }
