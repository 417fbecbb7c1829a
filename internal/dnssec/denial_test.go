package dnssec_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"port53/internal/dnssec"
	"port53/internal/wire"
)

func bitmap(types ...wire.Type) []byte {
	if len(types) == 0 {
		return nil
	}
	b := make([]byte, 2+1+slices.Max(types)/8)
	b[1] = byte(len(b) - 2)
	for _, t := range types {
		b[2+t/8] |= 0x80 >> (t % 8)
	}
	return b
}

// A zone whose names are their types; what is not listed does not exist. Below cut and
// dname nothing of the zone is.
var zoneTypes = map[string][]wire.Type{
	"example.":           {wire.TypeNS, wire.TypeSOA, wire.TypeMX},
	"a.example.":         {wire.TypeA},
	"alias.example.":     {wire.TypeCNAME},
	"cut.example.":       {wire.TypeNS},
	"signed.example.":    {wire.TypeNS, wire.TypeDS},
	"dname.example.":     {wire.TypeDNAME},
	"leaf.ent.example.":  {wire.TypeTXT},
	"*.wild.example.":    {wire.TypeTXT},
	"x.y.wild.example.":  {wire.TypeA},
	"zz.example.":        {wire.TypeA},
	"*.walias.example.":  {wire.TypeCNAME},
	"deep.a.b.example.":  {wire.TypeA},
	"nxname.example.":    {wire.TypeRRSIG, wire.TypeNSEC, wire.TypeNXNAME},
	"\\000.mm.example.":  {wire.TypeA},
	"mm.example.":        {wire.TypeA},
	"under.zz.example.":  {wire.TypeA},
	"*.starry.example.":  {wire.TypeA},
	"b.starry.example.":  {wire.TypeA},
	"wild.example.":      {wire.TypeA},
	"sub.*.odd.example.": {wire.TypeA},
}

// nsecChain returns every record of the zone's chain.
func nsecChain(t testing.TB) map[string][]byte {
	var names [][]byte
	for n := range zoneTypes {
		names = append(names, name(t, n))
	}
	slices.SortFunc(names, func(a, b []byte) int {
		return bytes.Compare(wire.AppendSortKey(nil, a, 0), wire.AppendSortKey(nil, b, 0))
	})
	chain := map[string][]byte{}
	for i, n := range names {
		var types []wire.Type
		for text, ts := range zoneTypes {
			if bytes.Equal(name(t, text), n) {
				types = ts
			}
		}
		chain[string(n)] = append(bytes.Clone(names[(i+1)%len(names)]), bitmap(types...)...)
	}
	return chain
}

type question struct {
	what string
	name string
	typ  wire.Type
	// What the whole chain proves.
	nx, nodata bool
}

var questions = []question{
	{"a name between others", "aa.example.", wire.TypeA, true, false},
	{"below a name", "x.a.example.", wire.TypeA, true, false},
	{"after the last name", "zzz.example.", wire.TypeA, true, false},
	{"deep in nothing", "p.q.r.example.", wire.TypeA, true, false},
	{"a name that exists", "a.example.", wire.TypeMX, false, true},
	{"its own type", "a.example.", wire.TypeA, false, false},
	{"the apex", "example.", wire.TypeA, false, true},
	{"an alias has no other data", "alias.example.", wire.TypeA, false, false},
	{"an empty non-terminal", "ent.example.", wire.TypeA, false, true},
	{"two of them", "b.example.", wire.TypeA, false, true},
	{"a wildcard without the type", "n.wild.example.", wire.TypeA, false, true},
	{"a wildcard with the type", "n.wild.example.", wire.TypeTXT, false, false},
	{"a wildcard that is an alias", "n.walias.example.", wire.TypeA, false, false},
	{"beside a closer name no wildcard counts", "y.wild.example.", wire.TypeTXT, false, true},
	{"below that one neither", "n.y.wild.example.", wire.TypeTXT, true, false},
	{"the parent's side has no say below a cut", "x.cut.example.", wire.TypeA, false, false},
	{"nor at it", "cut.example.", wire.TypeA, false, false},
	{"but of DS it has", "cut.example.", wire.TypeDS, false, true},
	{"a delegation that is signed", "signed.example.", wire.TypeDS, false, false},
	{"DS at the apex is the parent's", "example.", wire.TypeDS, false, false},
	{"below a DNAME", "x.dname.example.", wire.TypeA, false, false},
	{"compact denial (RFC 9824)", "nxname.example.", wire.TypeA, false, true},
	{"a wildcard that is an empty non-terminal", "n.odd.example.", wire.TypeA, false, true},
	{"outside of the zone", "other.", wire.TypeA, false, false},
}

func TestNSEC(t *testing.T) {
	chain := nsecChain(t)
	for _, q := range questions {
		d := &dnssec.Denial{Zone: name(t, "example.")}
		for owner, data := range chain {
			d.AddNSEC([]byte(owner), data)
		}
		_, nx := d.NXDomain(name(t, q.name), work())
		_, no := d.NoData(name(t, q.name), q.typ, work())
		if (nx == 0) != q.nx || (no == 0) != q.nodata {
			t.Errorf("%s (%s %v): NXDOMAIN %v, NODATA %v; want %v and %v", q.what, q.name, q.typ, nx, no, q.nx, q.nodata)
		}
	}
}

// TestNSECLeaks leaves each record out in turn: what was proven with fewer must still
// be right, and at least one record is needed.
func TestNSECLeaks(t *testing.T) {
	chain := nsecChain(t)
	for _, q := range questions {
		needed := 0
		for left := range chain {
			d := &dnssec.Denial{Zone: name(t, "example.")}
			for owner, data := range chain {
				if owner != left {
					d.AddNSEC([]byte(owner), data)
				}
			}
			_, nx := d.NXDomain(name(t, q.name), work())
			_, no := d.NoData(name(t, q.name), q.typ, work())
			if nx == 0 && !q.nx || no == 0 && !q.nodata {
				t.Errorf("%s: without the record of %q it is proven", q.what, left)
			}
			if nx != 0 && q.nx || no != 0 && q.nodata {
				needed++
			}
		}
		if (q.nx || q.nodata) && (needed < 1 || needed > 2) {
			t.Errorf("%s: %d records are needed, want one or two", q.what, needed)
		}
	}
}

// nsec3Chain returns the records of the zone with hashed names, with opt-out for
// unsigned delegations if that is set.
func nsec3Chain(t testing.TB, iterations uint16, optOut bool) map[string][]byte {
	salt := []byte{0xAB}
	all := map[string][]wire.Type{}
	for n, types := range zoneTypes {
		if optOut && n == "cut.example." {
			continue
		}
		all[string(name(t, n))] = types
		for p := name(t, n)[1+int(name(t, n)[0]):]; len(p) > len(name(t, "example.")); p = p[1+int(p[0]):] {
			if _, ok := all[string(p)]; !ok {
				all[string(p)] = nil
			}
		}
	}
	for n, types := range zoneTypes {
		if len(types) > 0 && !(optOut && n == "cut.example.") {
			all[string(name(t, n))] = types
		}
	}
	type link struct {
		hash  []byte
		types []wire.Type
	}
	var links []link
	for n, types := range all {
		links = append(links, link{dnssec.HashName(nil, []byte(n), iterations, salt), types})
	}
	slices.SortFunc(links, func(a, b link) int { return bytes.Compare(a.hash, b.hash) })
	flag := byte(0)
	if optOut {
		flag = 1
	}
	chain := map[string][]byte{}
	for i, l := range links {
		owner := append([]byte{32}, strings.ToLower(wire.Base32Hex.EncodeToString(l.hash))...)
		data := []byte{1, flag, byte(iterations >> 8), byte(iterations), 1, salt[0], 20}
		data = append(data, links[(i+1)%len(links)].hash...)
		chain[string(append(owner, name(t, "example.")...))] = append(data, bitmap(l.types...)...)
	}
	return chain
}

// denial3 adds the records of chain that a server would send for a name: those that
// match or cover it, its ancestors, and the wildcards there.
func denial3(t testing.TB, chain map[string][]byte, iterations uint16, n []byte) *dnssec.Denial {
	d := &dnssec.Denial{Zone: name(t, "example.")}
	added := map[string]bool{}
	add := func(of []byte) {
		h := dnssec.HashName(nil, of, iterations, []byte{0xAB})
		for owner, data := range chain {
			var own [20]byte
			_, _ = wire.Base32Hex.Decode(own[:], bytes.ToUpper([]byte(owner)[1:33]))
			next := data[7:27]
			between := bytes.Compare(own[:], h) < 0 && bytes.Compare(h, next) < 0
			if bytes.Compare(own[:], next) >= 0 {
				between = bytes.Compare(own[:], h) < 0 || bytes.Compare(h, next) < 0
			}
			if (bytes.Equal(own[:], h) || between) && !added[owner] {
				added[owner] = true
				d.AddNSEC3([]byte(owner), data)
			}
		}
	}
	for a := n; len(a) >= len(d.Zone); a = a[1+int(a[0]):] {
		add(a)
		if len(a) < len(n) {
			add(append([]byte{1, '*'}, a...))
		}
	}
	return d
}

func TestNSEC3(t *testing.T) {
	for _, optOut := range []bool{false, true} {
		chain := nsec3Chain(t, 5, optOut)
		for _, q := range questions {
			n := name(t, q.name)
			if q.name == "other." || q.name == "nxname.example." {
				continue
			}
			d := denial3(t, chain, 5, n)
			px, nx := d.NXDomain(n, work())
			pd, no := d.NoData(n, q.typ, work())
			nodata := q.nodata
			if optOut && nx == 0 {
				nodata = no == 0 // with opt-out, nothing and no data look alike
			}
			// An unsigned delegation has no record: it may be there.
			hidden := optOut && (q.name == "cut.example." || q.name == "x.cut.example.")
			if (nx == 0) != q.nx && !hidden || (no == 0) != nodata && !hidden {
				t.Errorf("%s (%s %v), opt-out %v: NXDOMAIN %v, NODATA %v; want %v and %v", q.what, q.name, q.typ, optOut, nx, no, q.nx, q.nodata)
			}
			if optOut && nx == 0 && !px.OptOut {
				t.Errorf("%s: NXDOMAIN under opt-out is not marked", q.what)
			}
			if !optOut && (px.OptOut || pd.OptOut) {
				t.Errorf("%s: opt-out where there is none", q.what)
			}
		}
		p, why := denial3(t, chain, 5, name(t, "cut.example.")).NoDS(name(t, "cut.example."), work())
		if why != 0 || p.OptOut != optOut || p.Delegation == optOut {
			t.Errorf("DS of the unsigned delegation, opt-out %v: %+v %v", optOut, p, why)
		}
	}
}

func TestWildcardProof(t *testing.T) {
	nsec := &dnssec.Denial{Zone: name(t, "example.")}
	for owner, data := range nsecChain(t) {
		nsec.AddNSEC([]byte(owner), data)
	}
	chain := nsec3Chain(t, 0, false)
	for _, c := range []struct {
		name   string
		labels int
		want   bool
	}{
		{"n.wild.example.", 2, true},
		{"p.n.wild.example.", 2, true},
		{"x.y.wild.example.", 2, false}, // exists
		{"n.y.wild.example.", 2, false}, // y.wild.example. is closer
		{"n.wild.example.", 1, false},   // wild.example. is
		{"a.starry.example.", 2, true},
	} {
		n := name(t, c.name)
		if _, why := nsec.Wildcard(n, c.labels, work()); (why == 0) != c.want {
			t.Errorf("NSEC: %s from %d labels: %v, want proof %v", c.name, c.labels, why, c.want)
		}
		if _, why := denial3(t, chain, 0, n).Wildcard(n, c.labels, work()); (why == 0) != c.want {
			t.Errorf("NSEC3: %s from %d labels: %v, want proof %v", c.name, c.labels, why, c.want)
		}
	}
}

// TestForeignRecords has records that are not the zone's to give.
func TestForeignRecords(t *testing.T) {
	d := &dnssec.Denial{Zone: name(t, "sub.example.")}
	d.AddNSEC(name(t, "a.example."), append(name(t, "z.sub.example."), bitmap(wire.TypeA)...))
	d.AddNSEC(name(t, "a.sub.example."), append(name(t, "z.example."), bitmap(wire.TypeA)...)) // CVE-2026-13321
	if _, why := d.NXDomain(name(t, "m.sub.example."), work()); why != dnssec.NoProof {
		t.Errorf("records of another zone: %v", why)
	}
	for owner, data := range nsec3Chain(t, 0, false) {
		d.AddNSEC3([]byte(owner), data)
	}
	if _, why := d.NXDomain(name(t, "m.sub.example."), work()); why != dnssec.NoProof {
		t.Errorf("hashed records of the parent: %v", why)
	}
	e := &dnssec.Denial{Zone: name(t, "example.")}
	for owner, data := range nsec3Chain(t, 0, false) {
		for _, spoil := range []func(b []byte){func(b []byte) { b[0] = 2 }, func(b []byte) { b[1] = 2 }} {
			bad := bytes.Clone(data)
			spoil(bad)
			e.AddNSEC3([]byte(owner), bad)
		}
	}
	if _, why := e.NXDomain(name(t, "m.example."), work()); why != dnssec.NoProof {
		t.Errorf("records of another hash and with other flags: %v (RFC 5155, sections 8.1 and 8.2)", why)
	}
}

// TestIterations has the bounds of RFC 9276, section 3.2, and what they cost.
func TestIterations(t *testing.T) {
	n := name(t, "nothing.example.")
	for _, c := range []struct {
		iterations uint16
		insecure   bool
		why        dnssec.Reason
	}{{50, false, 0}, {51, true, 0}, {500, true, 0}, {501, false, dnssec.TooManyIterations}, {2500, false, dnssec.TooManyIterations}} {
		w := work()
		p, why := denial3(t, nsec3Chain(t, c.iterations, false), c.iterations, n).NXDomain(n, w)
		if why != c.why || p.Insecure != c.insecure {
			t.Errorf("%d iterations: %+v %v, want insecure %v, %v", c.iterations, p, why, c.insecure, c.why)
		}
		if (c.insecure || c.why != 0) && w.Hashes != 1000 {
			t.Errorf("%d iterations: %d hashes were computed", c.iterations, 1000-w.Hashes)
		}
	}
	long := name(t, strings.Repeat("a.", 100)+"example.")
	w := &dnssec.Work{Hashes: 20}
	if _, why := denial3(t, nsec3Chain(t, 0, false), 0, name(t, "x.example.")).NXDomain(long, w); why != dnssec.WorkSpent || w.Hashes != 0 {
		t.Errorf("%v with %d hashes left, want an end after 20", why, w.Hashes)
	}
}

func FuzzDenial(f *testing.F) {
	f.Add([]byte("\x01a\x07example\x00"), []byte("\x01c\x07example\x00\x00\x01\x40"), []byte("\x01b\x07example\x00"))
	f.Fuzz(func(t *testing.T, owner, rdata, q []byte) {
		for _, b := range [][]byte{owner, q} {
			if n, err := wire.CheckName(b); err != nil || n != len(b) {
				return
			}
		}
		for _, zone := range []string{"example.", "."} {
			d := &dnssec.Denial{Zone: name(t, zone)}
			d.AddNSEC(owner, rdata)
			d.AddNSEC3(owner, rdata)
			d.NXDomain(q, work())
			d.NoData(q, wire.TypeA, work())
			d.NoDS(q, work())
			d.Wildcard(q, 1, work())
			if bytes.Equal(owner, q) {
				if _, why := d.NXDomain(q, work()); why == 0 {
					t.Fatalf("%x proves that it does not exist itself", owner)
				}
			}
		}
		_, _ = dnssec.ParseKey(rdata)
		s := &wire.RRset{Owner: owner, Type: wire.TypeA, Data: [][]byte{rdata}, Sigs: [][]byte{rdata}}
		if k, ok := dnssec.ParseKey(rdata); ok {
			dnssec.Verify(s, owner, []dnssec.Key{k}, clock, work())
		}
	})
}

func ExampleReason() {
	fmt.Println(dnssec.Expired.String(), dnssec.Expired.EDE())
	// Output: the signature has expired 7
}
