package zone

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"port53/internal/wire"
)

const patchSeed = wire.Seed(7)

func nameOf(t testing.TB, text string) []byte {
	t.Helper()
	n, err := wire.ParseName(text + ".example.test.")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A model is records by owner, from which versions are built whole.
type model map[string]map[string][]byte // owner, then type and number, then data

func (m model) build(t testing.TB, serial uint32) *Zone {
	t.Helper()
	apex := []byte("\x07example\x04test\x00")
	b := NewBuilder(apex, patchSeed)
	soa := slices.Concat(apex, apex, []byte{byte(serial >> 24), byte(serial >> 16), byte(serial >> 8), byte(serial)}, make([]byte, 15), []byte{9})
	b.Add(&Record{Owner: apex, Type: wire.TypeSOA, TTL: 60, Data: soa})
	b.Add(&Record{Owner: apex, Type: wire.TypeNS, TTL: 60, Data: nameOf(t, "ns")})
	b.Add(&Record{Owner: apex, Type: wire.TypeMX, TTL: 60, Data: append([]byte{0, 1}, nameOf(t, "mail")...)})
	for owner, records := range m {
		for key, data := range records {
			typ := wire.TypeA
			switch key[0] {
			case 'M':
				typ = wire.TypeMX
			case 'N':
				typ = wire.TypeNS
			case 'C':
				typ = wire.TypeCNAME
			}
			b.Add(&Record{Owner: nameOf(t, owner), Type: typ, TTL: 60, Data: data})
		}
	}
	z, problems := b.Build()
	if z == nil {
		t.Fatal(problems)
	}
	return z
}

// lines returns the records of a zone, sorted.
func lines(z *Zone) []string {
	var list []string
	z.Each(func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		list = append(list, fmt.Sprintf("%s %d %s %s", wire.AppendName(nil, owner), ttl, t, wire.AppendRdataText(nil, t, data)))
		return true
	})
	slices.Sort(list)
	return list
}

// view returns what a version says of a name: where a search ends, what the node has, and
// which addresses its targets have.
func view(z *Zone, name []byte) string {
	var split wire.SplitName
	split.Set(name)
	p := z.Search(&split)
	s := fmt.Sprintf("%d %v %v %v %s", p.Depth, p.Exact, p.Cut, p.DNAME, wire.AppendName(nil, z.AppendName(nil, p.Node)))
	s += fmt.Sprint(" ", z.flags(p.Node)&^(flagMixedCase|flagWithin|flagWildcardChild), z.Wildcard(p.Node) != 0)
	for i := range z.sets(p.Node) {
		set := z.setAt(p.Node, i)
		s += fmt.Sprint(" ", set.Type, set.Records)
		var with []string
		for j := range set.Targets() {
			if n := z.Current(set.Target(j).Node); n != 0 && !z.Empty(n) {
				with = append(with, string(wire.AppendName(nil, z.AppendName(nil, n))))
			}
		}
		slices.Sort(with)
		s += fmt.Sprint(slices.Compact(with))
	}
	return s
}

// TestPatch changes a zone at random, again and again, a few names at a time: whether a
// version was patched or compiled whole, it is what a builder makes of the same records,
// and the versions before it stay what they were.
func TestPatch(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	var universe []string
	for i := range 60 {
		universe = append(universe, fmt.Sprintf("h%d", i), fmt.Sprintf("a.b%d", i), fmt.Sprintf("x.a.b%d", i), fmt.Sprintf("b%d", i), fmt.Sprintf("Mixed.d%d", i%7))
	}
	universe = append(universe, "ns", "mail", "*.wild", "q.*.wild", "wild", "cut", "ns.cut")
	m := model{"ns": {"A1": {192, 0, 2, 1}}, "mail": {"A1": {192, 0, 2, 2}}}
	for i := range 200 {
		m[fmt.Sprintf("fixed%d", i)] = map[string][]byte{"A1": {10, 0, 0, byte(i)}}
	}
	change := func() {
		owner := universe[rnd.IntN(len(universe))]
		if m[owner] == nil {
			m[owner] = map[string][]byte{}
		}
		r := m[owner]
		n := rnd.IntN(3)
		key, data := fmt.Sprintf("A%d", n), []byte{192, 0, byte(n), byte(rnd.IntN(4))}
		switch {
		case rnd.IntN(12) == 0 && owner != "ns" && owner != "cut":
			clear(r)
			key, data = "C1", nameOf(t, universe[rnd.IntN(len(universe))])
		case rnd.IntN(4) == 0:
			key, data = "M1", append([]byte{0, 1}, nameOf(t, universe[rnd.IntN(len(universe))])...)
		case owner == "cut" && rnd.IntN(3) == 0:
			key, data = "N1", nameOf(t, "ns.cut")
		case rnd.IntN(3) == 0 && owner != "ns":
			delete(m, owner)
			return
		}
		if key != "C1" {
			delete(r, "C1")
		}
		r[key] = data
	}
	const serials = 500
	old := m.build(t, 1)
	start, deltas, one := old, []*Delta(nil), 0
	patched := 0
	type former struct {
		z    *Zone
		want []string
	}
	var before []former
	for serial := uint32(2); serial < serials; serial++ {
		for range 1 + rnd.IntN(4) {
			change()
		}
		want := m.build(t, serial)
		d := Diff(old, want)
		got, problems := old.Apply(d)
		if got == nil {
			t.Fatalf("serial %d: %v", serial, problems)
		}
		if got.over != nil {
			patched++
		}
		// Several differences sent as one are what they come to, and no larger.
		if deltas = append(deltas, d); len(deltas) == 20 {
			all := Condense(deltas...)
			size := 0
			for _, d := range deltas {
				size += len(d.Removed) + len(d.Added)
			}
			if z, problems := start.Apply(all); z == nil || !slices.Equal(lines(z), lines(want)) {
				t.Fatalf("serial %d: differences as one: %v", serial, problems)
			}
			if len(all.Removed)+len(all.Added) < size {
				one++
			}
			start, deltas = got, nil
		}
		have := lines(want)
		if !slices.Equal(lines(got), have) {
			t.Fatalf("serial %d: %v\n%v", serial, lines(got), have)
		}
		if got.Names() != want.Names() || got.Records() != want.Records() || got.Serial() != serial {
			t.Fatalf("serial %d: %d names of %d, %d records of %d, serial %d", serial, got.Names(), want.Names(), got.Records(), want.Records(), got.Serial())
		}
		for _, owner := range universe {
			for _, name := range [][]byte{nameOf(t, owner), nameOf(t, "no."+owner)} {
				if a, b := view(got, name), view(want, name); a != b {
					t.Fatalf("serial %d: %s:\n%s\n%s", serial, wire.AppendName(nil, name), a, b)
				}
			}
		}
		if serial%50 == 0 {
			before = append(before, former{got, have})
		}
		old = got
	}
	if one < serials/30 {
		t.Errorf("%d of %d times one difference is smaller than twenty", one, serials/20)
	}
	if patched < serials/2 {
		t.Errorf("%d of %d versions were patched", patched, serials)
	}
	for _, f := range before {
		if !slices.Equal(lines(f.z), f.want) {
			t.Errorf("version %d has changed since", f.z.Serial())
		}
	}
	// A version that is not the last of its line is patched no more, and its followers are
	// right all the same.
	first := before[0].z
	now := m.build(t, 9000)
	if got, problems := first.Apply(Diff(first, now)); got == nil || !slices.Equal(lines(got), lines(now)) {
		t.Errorf("a branch: %v", problems)
	}
}

// BenchmarkApply adds an address to a zone of a million names, again and again.
func BenchmarkApply(b *testing.B) {
	m := model{"ns": {"A1": {192, 0, 2, 1}}, "mail": {"A1": {192, 0, 2, 2}}}
	for i := range 1_000_000 {
		m[fmt.Sprintf("host%d", i)] = map[string][]byte{"A1": {10, 0, 0, byte(i)}}
	}
	z := m.build(b, 1)
	b.ReportAllocs()
	for n := uint32(1); b.Loop(); n++ {
		ttl, soa := z.SOA()
		d := &Delta{From: z.Serial(), To: z.Serial() + 1, Removed: AppendRecord(nil, z.Apex(), wire.TypeSOA, ttl, soa)}
		d.Added = AppendRecord(nil, z.Apex(), wire.TypeSOA, ttl, WithSerial(soa, d.To))
		d.Added = AppendRecord(d.Added, nameOf(b, fmt.Sprintf("new%d", n)), wire.TypeA, 60, []byte{192, 0, 2, 9})
		next, problems := z.Apply(d)
		if next == nil {
			b.Fatal(problems)
		}
		z = next
	}
}

// A thousand records change of a policy zone of a million, half of them wildcards: the first time, and
// then again and again.
func BenchmarkApplyPolicies(b *testing.B) {
	m := model{"ns": {"A1": {192, 0, 2, 1}}, "mail": {"A1": {192, 0, 2, 2}}}
	for i := range 500_000 {
		name := fmt.Sprintf("ad%d.host%d.test", i, i%5000)
		m[name] = map[string][]byte{"C1": {0}}
		m["*."+name] = map[string][]byte{"C1": {0}}
	}
	z := m.build(b, 1)
	b.ReportMetric(float64(z.Size())/float64(z.Records()), "octets/rule")
	change := func(n int) {
		ttl, soa := z.SOA()
		d := &Delta{From: z.Serial(), To: z.Serial() + 1, Removed: AppendRecord(nil, z.Apex(), wire.TypeSOA, ttl, soa)}
		d.Added = AppendRecord(nil, z.Apex(), wire.TypeSOA, ttl, WithSerial(soa, d.To))
		for i := range 250 {
			old, name := fmt.Sprintf("ad%d.host%d.test", n*250+i, (n*250+i)%5000), fmt.Sprintf("new%d-%d.host%d.test", n, i, i)
			for _, star := range []string{"", "*."} {
				d.Removed = AppendRecord(d.Removed, nameOf(b, star+old), wire.TypeCNAME, 60, []byte{0})
				d.Added = AppendRecord(d.Added, nameOf(b, star+name), wire.TypeCNAME, 60, []byte{0})
			}
		}
		next, problems := z.Apply(d)
		if next == nil {
			b.Fatal(problems)
		}
		z = next
	}
	start := time.Now()
	z.Prepare()
	prepared := time.Since(start)
	start = time.Now()
	change(0)
	first := time.Since(start)
	b.ReportAllocs()
	b.ResetTimer()
	for n := 1; b.Loop(); n++ {
		change(n)
	}
	b.ReportMetric(float64(prepared.Milliseconds()), "ms-prepared")
	b.ReportMetric(float64(first.Microseconds())/1e3, "ms-first")
}
