package signer_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"port53/internal/dnssec"
	"port53/internal/signer"
	"port53/internal/wire"
	"port53/internal/zone"
)

// manyNames returns a zone of so many names with an address each.
func manyNames(t testing.TB, names int) *zone.Zone {
	t.Helper()
	b := zone.NewBuilder(name(t, "example."), 7)
	b.Expect(names)
	r := zone.Record{Owner: name(t, "example."), Type: wire.TypeSOA, TTL: 3600}
	r.Data = append(append(append(r.Data, name(t, "ns.example.")...), name(t, "admin.example.")...), 0, 0, 0, 1, 0, 0, 28, 32, 0, 0, 14, 16, 0, 18, 117, 0, 0, 0, 1, 44)
	b.Add(&r)
	r.Type, r.Data = wire.TypeNS, name(t, "ns.example.")
	b.Add(&r)
	r.Owner, r.Type, r.Data = name(t, "ns.example."), wire.TypeA, []byte{192, 0, 2, 1}
	b.Add(&r)
	for i := range names - 2 {
		r.Owner = name(t, fmt.Sprintf("n%07d.example.", i))
		r.Data = binary.BigEndian.AppendUint32(nil, 0x0A000000+uint32(i))
		b.Add(&r)
	}
	z, problems := b.Build()
	if z == nil {
		t.Fatal(problems)
	}
	return z
}

// tenChanges returns a difference of ten changed addresses, the round says which.
func tenChanges(t testing.TB, z *zone.Zone, round int) *zone.Delta {
	t.Helper()
	ttl, soa := z.SOA()
	d := &zone.Delta{From: z.Serial(), To: z.Serial() + 1}
	d.Removed = zone.AppendRecord(nil, z.Apex(), wire.TypeSOA, ttl, soa)
	d.Added = zone.AppendRecord(nil, z.Apex(), wire.TypeSOA, ttl, zone.WithSerial(soa, d.To))
	for i := range 10 {
		owner := name(t, fmt.Sprintf("n%07d.example.", (i*(z.Names()/10)+round)%(z.Names()-10)))
		z.EachAt(owner, func(owner []byte, typ wire.Type, ttl uint32, data []byte) bool {
			d.Removed = zone.AppendRecord(d.Removed, owner, typ, ttl, data)
			return true
		})
		d.Added = zone.AppendRecord(d.Added, owner, wire.TypeA, 3600, []byte{192, 0, byte(round >> 8), byte(round)})
	}
	return d
}

// BenchmarkTenChanges has ten records of a large zone change, and the new version be signed; how many
// names it has, PORT53_BENCH_NAMES says.
func BenchmarkTenChanges(b *testing.B) {
	names := 20000
	if n, err := strconv.Atoi(os.Getenv("PORT53_BENCH_NAMES")); err == nil {
		names = n
	}
	plain := manyNames(b, names)
	s := &signer.Stage{
		Zone: name(b, "example."), Dir: b.TempDir() + "/keys",
		Policy: signer.StagePolicy{Algorithm: dnssec.ECDSAP256, Valid: 14 * days, Refresh: 5 * days, Before: time.Hour},
	}
	v, err := s.Sign(b.Context(), 7, nil, plain, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	round, records := 0, 0
	for b.Loop() {
		round++
		d := tenChanges(b, plain, round)
		next, problems := plain.Apply(d)
		if next == nil {
			b.Fatal(problems)
		}
		have := v.Zone
		if v, err = s.SignChanges(b.Context(), 7, have, next, []*zone.Delta{d}, time.Now()); err != nil {
			b.Fatal(err)
		}
		for _, d := range v.Deltas {
			removed, added := d.Counts()
			records = removed + added
		}
		plain = next
	}
	b.ReportMetric(float64(records), "records")
}
