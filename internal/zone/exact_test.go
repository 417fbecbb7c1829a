package zone_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"port53/internal/dnstest"
	"port53/internal/wire"
	"port53/internal/zone"
)

// TestExact: whatever the compiler leaves out of a change, or takes with another TTL, is in no difference:
// who follows by differences has what is served, and the version before can be made again. Zones that are
// patched and those that are compiled whole are alike.
func TestExact(t *testing.T) {
	sig := make([]byte, 18, 40)
	sig[1] = byte(wire.TypeA)
	sig = append(sig, dnstest.Name(t, "test.")...)
	sig = append(sig, 1)
	type rec struct {
		owner string
		t     wire.Type
		ttl   uint32
		data  []byte
	}
	a := func(n byte) []byte { return []byte{192, 0, 2, n} }
	for _, names := range []int{3, 60} {
		text := "@ 60 SOA ns admin 1 2 3 4 5\n@ 60 NS ns\nns 60 A 192.0.2.1\nwww 300 A 192.0.2.2\n" +
			"www 300 RRSIG A 13 2 300 20300101000000 20200101000000 1 test. AAAA\n"
		for i := range names {
			text += fmt.Sprintf("h%d 60 A 192.0.2.9\n", i)
		}
		for what, s := range map[string]struct {
			removed, added []rec
			exact          bool
		}{
			"an address":                      {nil, []rec{{"new.test.", wire.TypeA, 60, a(7)}}, true},
			"a signature of nothing":          {nil, []rec{{"new.test.", wire.TypeRRSIG, 60, sig}}, false},
			"and beside others":               {nil, []rec{{"new.test.", wire.TypeTXT, 60, []byte{1, 'x'}}, {"new.test.", wire.TypeRRSIG, 60, sig}}, false},
			"what a signature was of goes":    {[]rec{{"www.test.", wire.TypeA, 300, a(2)}}, nil, false},
			"a signature of another TTL":      {nil, []rec{{"h1.test.", wire.TypeRRSIG, 3600, sig}}, false},
			"a record of another TTL":         {nil, []rec{{"h1.test.", wire.TypeA, 3600, a(8)}}, false},
			"one record, spelled in two ways": {nil, []rec{{"new.test.", wire.TypeNS, 60, dnstest.Name(t, "ns.test.")}, {"new.test.", wire.TypeNS, 60, dnstest.Name(t, "NS.test.")}}, false},
			"a record outside the zone":       {nil, []rec{{"new.example.", wire.TypeA, 60, a(7)}}, false},
		} {
			z := dnstest.Zone(t, "test.", text)
			ttl, soa := z.SOA()
			d := &zone.Delta{From: 1, To: 2, By: "somebody"}
			d.Removed = zone.AppendRecord(nil, z.Apex(), wire.TypeSOA, ttl, soa)
			d.Added = zone.AppendRecord(nil, z.Apex(), wire.TypeSOA, ttl, zone.WithSerial(soa, 2))
			for _, r := range s.removed {
				d.Removed = zone.AppendRecord(d.Removed, dnstest.Name(t, r.owner), r.t, r.ttl, r.data)
			}
			for _, r := range s.added {
				d.Added = zone.AppendRecord(d.Added, dnstest.Name(t, r.owner), r.t, r.ttl, r.data)
			}
			next, problems := z.Apply(d)
			if next == nil {
				t.Errorf("%d names, %s: %v", names, what, problems)
				continue
			}
			exact := z.Exact(next, []*zone.Delta{d})
			if (exact[0] == d) != s.exact || exact[0].By != "somebody" {
				t.Errorf("%d names, %s: the difference is as it was: %v; by %q", names, what, exact[0] == d, exact[0].By)
			}
			if got := followed(contents(z), exact[0]); !slices.Equal(got, contents(next)) {
				t.Errorf("%d names, %s: who follows has\n%s\nand not\n%s", names, what, strings.Join(got, "\n"), strings.Join(contents(next), "\n"))
			}
			back, problems := next.Preview(exact[0].Reverse())
			if back == nil || !slices.Equal(contents(back), contents(z)) {
				t.Errorf("%d names, %s: the version before cannot be made again: %v", names, what, problems)
			}
		}
	}
}

// followed does what a secondary does that knows nothing but records.
func followed(have []string, d *zone.Delta) []string {
	line := func(owner []byte, t wire.Type, ttl uint32, data []byte) string {
		return fmt.Sprintf("%s %d %s %s", wire.NameText(owner), ttl, t, wire.AppendRdataText(nil, t, data))
	}
	list := slices.Clone(have)
	_ = zone.EachRecord(d.Removed, func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		text := line(owner, t, ttl, data)
		list = slices.DeleteFunc(list, func(s string) bool { return s == text })
		return true
	})
	_ = zone.EachRecord(d.Added, func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		list = append(list, line(owner, t, ttl, data))
		return true
	})
	slices.Sort(list)
	return list
}
