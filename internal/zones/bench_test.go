package zones_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"port53/internal/dnstest"
	"port53/internal/policy"
	"port53/internal/store"
	"port53/internal/wire"
	"port53/internal/zones"
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
		l := zones.Load(zones.Source{Apex: dnstest.Name(b, origin), File: file}, dnstest.Seed)
		if l.Zone == nil {
			b.Fatal(l.Problems)
		}
		records += l.Zone.Records()
		b.ReportMetric(float64(l.Zone.Size())/float64(l.Zone.Names()), "B/name")
	}
	b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkUpdate changes zones by messages of one record, durably, with so many clients
// who each wait for the reply; BenchmarkSync is what the disk does at best.
func BenchmarkUpdate(b *testing.B) {
	for _, names := range []int{10, 100_000} {
		for _, clients := range []int{1, 64} {
			b.Run(fmt.Sprintf("%d names/%d clients", names, clients), func(b *testing.B) {
				dir := b.TempDir()
				var text strings.Builder
				fmt.Fprintf(&text, head, 1)
				for i := range names {
					fmt.Fprintf(&text, "h%d A 192.0.2.1\n", i)
				}
				file := filepath.Join(dir, "test.zone")
				if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
					b.Fatal(err)
				}
				apex := dnstest.Name(b, "test.")
				all, err := policy.ParsePattern("*", apex)
				if err != nil {
					b.Fatal(err)
				}
				s := &server{}
				s.start(zones.Options{Store: store.Open(filepath.Join(dir, "state"), nil)})
				source := zones.Source{Apex: apex, File: file, Updates: []policy.Grant{{Key: updater, Names: all}}}
				if _, err := s.manager.Load(b.Context(), []zones.Source{source}, nil); err != nil {
					b.Fatal(err)
				}
				var n atomic.Int64
				var wg sync.WaitGroup
				b.ResetTimer()
				for range clients {
					wg.Go(func() {
						for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
							if rcode := s.change(addHost(int(i)), updater); rcode != wire.NoError {
								b.Error(rcode)
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
			})
		}
	}
}

func BenchmarkSync(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "file"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 300)
	for i := 0; b.Loop(); i++ {
		if _, err := f.WriteAt(buf, int64(i*len(buf))); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "syncs/s")
}
