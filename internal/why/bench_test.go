package why_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"port53/internal/dnstest"
	"port53/internal/dnstest/subject"
	"port53/internal/lab"
	"port53/internal/why"
	"port53/internal/wire"
)

// BenchmarkMiss asks for names that are not in the cache, each of one server, with problems remembered and
// without.
func BenchmarkMiss(b *testing.B) {
	for _, on := range []bool{false, true} {
		b.Run(fmt.Sprintf("why=%v", on), func(b *testing.B) {
			w := lab.NewWorld(lab.Options{Seed: 53, Log: 1})
			_, sections := lab.Split("bench", []byte("-- zone . 192.0.2.1 --\n-- zone com. 192.0.2.2 --\n-- zone a.com. 192.0.2.10 --\n* A 198.51.100.1\n"))
			if err := w.Put(sections...); err != nil {
				b.Fatal(err)
			}
			sub := subject.Make(b, dnstest.NewSetup(w, "why on", "cache-size 1000000"))
			defer sub.Close()
			record := why.Off
			if on {
				record = why.Problems
			}
			sub.Remember(record)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				query := wire.AppendQuery(nil, 7, wire.FlagRD, dnstest.Name(b, fmt.Sprintf("n%d.a.com.", i)), wire.TypeA)
				if r := sub.Ask(context.Background(), query, netip.MustParseAddrPort("127.0.0.1:4000"), false); r == nil || r[3]&15 != 0 {
					b.Fatalf("%x", r)
				}
			}
		})
	}
}
