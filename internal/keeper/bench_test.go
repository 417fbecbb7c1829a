package keeper_test

import (
	"os"
	"testing"

	"port53/internal/dnstest"
	"port53/internal/keeper"
)

// BenchmarkLoad reads and compiles the zone file that PORT53_BENCH_ZONE names, with
// PORT53_BENCH_ORIGIN as its origin.
func BenchmarkLoad(b *testing.B) {
	file, origin := os.Getenv("PORT53_BENCH_ZONE"), os.Getenv("PORT53_BENCH_ORIGIN")
	if file == "" {
		b.Skip("PORT53_BENCH_ZONE names no zone file")
	}
	b.ReportAllocs()
	records := 0
	for b.Loop() {
		l := keeper.Load(keeper.Source{Apex: dnstest.Name(b, origin), File: file}, dnstest.Seed)
		if l.Zone == nil {
			b.Fatal(l.Problems)
		}
		records += l.Zone.Records()
		b.ReportMetric(float64(l.Zone.Size())/float64(l.Zone.Names()), "B/name")
	}
	b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "records/s")
}
