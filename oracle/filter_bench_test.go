package oracle

import (
	"bytes"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/AdguardTeam/urlfilter"
	"github.com/AdguardTeam/urlfilter/filterlist"
	"github.com/miekg/dns"

	"port53/internal/filter"
	"port53/internal/wire"
)

// BenchmarkFilterLoad reads a million rules: what is kept of each, and what was allocated for it.
func BenchmarkFilterLoad(b *testing.B) {
	var text bytes.Buffer
	for i := range 1_000_000 {
		fmt.Fprintf(&text, "||ad%d.host%d.example.com^\n", i, i)
	}
	list := text.Bytes()
	for _, c := range []struct {
		name string
		load func() any
	}{
		{"port53", func() any {
			builder := filter.NewBuilder(53, 0)
			if _, err := builder.Read(bytes.NewReader(list), filter.ReadOptions{List: 1}); err != nil {
				b.Fatal(err)
			}
			return builder.Table()
		}},
		{"urlfilter", func() any { return adGuard(b, list) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				before := live()
				start := time.Now()
				kept := c.load()
				b.ReportMetric(time.Since(start).Seconds(), "s/load")
				b.ReportMetric(float64(live()-before)/1e6, "B/rule")
				runtime.KeepAlive(kept)
			}
		})
	}
	engine := adGuard(b, list)
	builder := filter.NewBuilder(53, 0)
	if _, err := builder.Read(bytes.NewReader(list), filter.ReadOptions{List: 1}); err != nil {
		b.Fatal(err)
	}
	set := &filter.Set{Table: builder.Table(), Lists: []string{"", "one"}}
	policy, err := filter.NewPolicy(set.Table, filter.PolicyOptions{Blocks: []filter.Block{{List: 1, Action: filter.NXDomain}}})
	if err != nil {
		b.Fatal(err)
	}
	for _, kind := range []string{"ad%d.host%d.example.com", "www%d.host%d.example.com"} {
		var names [4096]string
		var split [4096]wire.SplitName
		for i := range names {
			names[i] = fmt.Sprintf(kind, i*200, i*200)
			name, err := wire.ParseName(names[i])
			if err != nil {
				b.Fatal(err)
			}
			split[i].Set(name)
		}
		b.Run("look up "+kind[:2]+"/port53", func(b *testing.B) {
			b.ReportAllocs()
			var by filter.Searcher
			q := filter.Question{Client: netip.MustParseAddr("192.0.2.1")}
			for i := 0; b.Loop(); i++ {
				if q.Name = &split[i&4095]; set.MatchesAny(&q, &by) {
					set.Judge(policy, &q, &by)
				}
			}
		})
		b.Run("look up "+kind[:2]+"/urlfilter", func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				engine.MatchRequest(&urlfilter.DNSRequest{Hostname: names[i&4095], DNSType: dns.TypeA})
			}
		})
	}
}

// live returns the octets that are in use.
func live() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func adGuard(b *testing.B, list []byte) *urlfilter.DNSEngine {
	storage, err := filterlist.NewRuleStorage([]filterlist.Interface{
		filterlist.NewBytes(&filterlist.BytesConfig{ID: 1, RulesText: list, IgnoreCosmetic: true}),
	})
	if err != nil {
		b.Fatal(err)
	}
	return urlfilter.NewDNSEngine(storage)
}
