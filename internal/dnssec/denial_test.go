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
func nsecChain(t testing.TB) map[string][]byte { return nsecChainOf(t, zoneTypes) }

func nsecChainOf(t testing.TB, zone map[string][]wire.Type) map[string][]byte {
	var names [][]byte
	for n := range zone {
		names = append(names, name(t, n))
	}
	slices.SortFunc(names, func(a, b []byte) int {
		return bytes.Compare(wire.AppendSortKey(nil, a, 0), wire.AppendSortKey(nil, b, 0))
	})
	chain := map[string][]byte{}
	for i, n := range names {
		var types []wire.Type
		for text, ts := range zone {
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
	{"compact denial (RFC 9824)", "nxname.example.", wire.TypeA, true, true},
	{"of everything", "nxname.example.", wire.TypeANY, true, true},
	{"everything at a name", "a.example.", wire.TypeANY, false, false},
	{"everything at an empty non-terminal", "ent.example.", wire.TypeANY, false, true},
	{"everything at a wildcard", "n.wild.example.", wire.TypeANY, false, false},
	{"a wildcard that is an empty non-terminal", "n.odd.example.", wire.TypeA, false, true},
	{"outside of the zone", "other.", wire.TypeA, false, false},
}

// matching returns the owners of the records of a chain that match or cover a name, one
// of its ancestors' wildcards, or itself: what a server would send, and more.
func matching(t testing.TB, chain map[string][]byte, n []byte) []string {
	t.Helper()
	apex := name(t, "example.")
	names := [][]byte{n}
	for a := n; len(a) > len(apex); {
		a = wire.Parent(a)
		names = append(names, append([]byte{1, '*'}, a...))
	}
	key := func(n []byte) string { return string(wire.AppendSortKey(nil, n, 0)) }
	var owners []string
	for owner, data := range chain {
		end, _ := wire.CheckName(data)
		for _, n := range names {
			from, at, to := key([]byte(owner)), key(n), key(data[:end])
			if (from == at || from < at && (at < to || to <= from)) && !slices.Contains(owners, owner) {
				owners = append(owners, owner)
			}
		}
	}
	return owners
}

// denialOf returns a Denial with records of a chain.
func denialOf(t testing.TB, chain map[string][]byte, owners []string) *dnssec.Denial {
	d := &dnssec.Denial{Zone: name(t, "example.")}
	for _, owner := range owners {
		d.AddNSEC([]byte(owner), chain[owner])
	}
	return d
}

func TestNSEC(t *testing.T) {
	chain := nsecChain(t)
	for _, q := range questions {
		n := name(t, q.name)
		d := denialOf(t, chain, matching(t, chain, n))
		_, nx := d.NXDomain(n, work())
		_, no := d.NoData(n, q.typ, work())
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
		n := name(t, q.name)
		all := matching(t, chain, n)
		for i, left := range all {
			d := denialOf(t, chain, slices.Delete(slices.Clone(all), i, i+1))
			_, nx := d.NXDomain(n, work())
			_, no := d.NoData(n, q.typ, work())
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
	return nsec3ChainOf(t, zoneTypes, iterations, optOut)
}

func nsec3ChainOf(t testing.TB, zone map[string][]wire.Type, iterations uint16, optOut bool) map[string][]byte {
	salt := []byte{0xAB}
	apex := name(t, "example.")
	all := map[string][]wire.Type{}
	for text, types := range zone {
		if optOut && slices.Equal(types, []wire.Type{wire.TypeNS}) {
			continue
		}
		n := name(t, text)
		all[string(n)] = types
		for p := n; len(p) > len(apex); p = wire.Parent(p) {
			if _, ok := all[string(p)]; !ok {
				all[string(p)] = nil // an empty non-terminal, unless it comes yet
			}
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
	for a := n; len(a) >= len(d.Zone); a = wire.Parent(a) {
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
			if optOut && q.name == "nxname.example." {
				continue // such a zone makes its records for each question
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
	plain, chain := nsecChain(t), nsec3Chain(t, 0, false)
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
		{"n.wild.example.", 3, false},  // the name itself, signed as it is
		{"n.wild.example.", 0, false},  // above the zone
		{"n.wild.example.", -1, false}, // nothing at all
		{"x.cut.example.", 1, false},   // below a delegation
		{"x.dname.example.", 1, false}, // below a DNAME
		{"n.ent.example.", 2, true},
		{"ent.example.", 1, false}, // exists, though it has nothing
		{"n.wild.other.", 1, false},
	} {
		n := name(t, c.name)
		if _, why := denialOf(t, plain, matching(t, plain, n)).Wildcard(n, c.labels, work()); (why == 0) != c.want {
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
	d.AddNSEC(name(t, "a.sub.example."), append(name(t, "z.z.example."), bitmap(wire.TypeA)...)) // CVE-2026-13321
	if _, why := d.NXDomain(name(t, "m.sub.example."), work()); why != dnssec.NoProof {
		t.Errorf("records of another zone: %v", why)
	}
	d.AddNSEC(name(t, "x.sub.example."), append(name(t, "c.sub.example."), bitmap(wire.TypeA)...))
	if _, why := d.NXDomain(name(t, "y.sub.example."), work()); why != dnssec.NoProof {
		t.Errorf("a record that goes back, but not to the apex: %v", why)
	}
	for owner, data := range nsec3Chain(t, 0, false) {
		d.AddNSEC3([]byte(owner), data)
	}
	if _, why := d.NXDomain(name(t, "m.sub.example."), work()); why != dnssec.NoProof {
		t.Errorf("hashed records of the parent: %v", why)
	}
	e := &dnssec.Denial{Zone: name(t, "example.")}
	for owner, data := range nsec3Chain(t, 0, false) {
		for _, spoil := range []func(b []byte){
			func(b []byte) { b[0] = 2 }, func(b []byte) { b[1] = 2 }, func(b []byte) { b[6] = 21 }, func(b []byte) { b[4] = 200 },
		} {
			bad := bytes.Clone(data)
			spoil(bad)
			e.AddNSEC3([]byte(owner), bad)
		}
		e.AddNSEC3(append([]byte{1, 'x'}, owner...), data)
		e.AddNSEC3(name(t, "x.example."), data)
		e.AddNSEC3(append([]byte{33, '0'}, owner[1:]...), data)
		e.AddNSEC3(append([]byte{32, '!'}, owner[2:]...), data)
	}
	if _, why := e.NXDomain(name(t, "m.example."), work()); why != dnssec.NoProof {
		t.Errorf("records of another hash, with other flags, or cut off: %v (RFC 5155, sections 8.1 and 8.2)", why)
	}
}

// TestCutOff has records that end too soon, at every octet: they are none.
func TestCutOff(t *testing.T) {
	zone := name(t, "example.")
	plain := append(name(t, "z.example."), bitmap(wire.TypeA)...)
	for n := range len(name(t, "z.example.")) {
		d := &dnssec.Denial{Zone: zone}
		d.AddNSEC(zone, plain[:n])
		if _, why := d.NXDomain(name(t, "m.example."), work()); why != dnssec.NoProof {
			t.Errorf("NSEC of %d octets: %v", n, why)
		}
	}
	hash := dnssec.HashName(nil, zone, 0, []byte{0xAB})
	owner := append(append([]byte{32}, wire.Base32Hex.EncodeToString(hash)...), zone...)
	hashed := append([]byte{1, 0, 0, 0, 1, 0xAB, 20}, hash...)
	for n := range len(hashed) + 1 {
		d := &dnssec.Denial{Zone: zone}
		d.AddNSEC3(owner, hashed[:n:n])
		want := dnssec.NoProof
		if n == len(hashed) {
			want = 0
		}
		if _, why := d.NoData(zone, wire.TypeA, work()); why != want {
			t.Errorf("NSEC3 of %d octets: %v, want %v", n, why, want)
		}
	}
}

// TestForeignNames has questions for names outside of the zone: in NSEC3, where only
// hashes are compared, any zone can have a record that fits any name.
func TestForeignNames(t *testing.T) {
	victim := name(t, "victim.example.")
	h := dnssec.HashName(nil, victim, 0, nil)
	d := &dnssec.Denial{Zone: name(t, "evil.")}
	add := func(hash []byte, types ...wire.Type) {
		owner := append([]byte{32}, wire.Base32Hex.EncodeToString(hash)...)
		d.AddNSEC3(append(owner, d.Zone...), append(append([]byte{1, 1, 0, 0, 0, 20}, bytes.Repeat([]byte{0xFF}, 20)...), bitmap(types...)...))
	}
	add(h, wire.TypeNS)
	add(dnssec.HashName(nil, name(t, "example."), 0, nil), wire.TypeSOA, wire.TypeNS)
	add(make([]byte, 20), wire.TypeTXT)
	for what, why := range map[string]dnssec.Reason{
		"NODATA":   reason(d.NoData(victim, wire.TypeTXT, work())),
		"NXDOMAIN": reason(d.NXDomain(name(t, "x.example."), work())),
		"no DS":    reason(d.NoDS(victim, work())),
		"wildcard": reason(d.Wildcard(name(t, "x.y.example."), 2, work())),
		"the apex": reason(d.NXDomain(d.Zone, work())),
		"its DS":   reason(d.NoDS(d.Zone, work())),
	} {
		if why != dnssec.BadProof {
			t.Errorf("%s: %v, want %v", what, why, dnssec.BadProof)
		}
	}
}

func reason[T any](_ T, why dnssec.Reason) dnssec.Reason { return why }

// TestSides has records of one side of a zone cut for questions of the other
// (RFC 6840, section 4.1; CVE-2026-10723).
func TestSides(t *testing.T) {
	parent := []wire.Type{wire.TypeNS, wire.TypeRRSIG, wire.TypeNSEC}
	child := []wire.Type{wire.TypeNS, wire.TypeSOA, wire.TypeDNSKEY, wire.TypeRRSIG, wire.TypeNSEC}
	n := name(t, "cut.example.")
	h := dnssec.HashName(nil, n, 0, nil)
	for _, c := range []struct {
		what  string
		zone  string
		types []wire.Type
		typ   wire.Type
		want  dnssec.Reason
		cut   bool
	}{
		{"DS by the parent", "example.", parent, wire.TypeDS, 0, true},
		{"A by the parent", "example.", parent, wire.TypeA, dnssec.BadProof, false},
		{"DS by the child's bits in the parent", "example.", child, wire.TypeDS, dnssec.BadProof, false},
		{"DS by the child", "cut.example.", child, wire.TypeDS, dnssec.BadProof, false},
		{"DS by the child, its SOA hidden", "cut.example.", parent, wire.TypeDS, dnssec.BadProof, false},
		{"A by the child", "cut.example.", child, wire.TypeA, 0, false},
	} {
		plain, hashed := &dnssec.Denial{Zone: name(t, c.zone)}, &dnssec.Denial{Zone: name(t, c.zone)}
		plain.AddNSEC(n, append(bytes.Clone(plain.Zone), bitmap(c.types...)...))
		owner := append(append([]byte{32}, wire.Base32Hex.EncodeToString(h)...), hashed.Zone...)
		hashed.AddNSEC3(owner, append(append([]byte{1, 0, 0, 0, 0, 20}, h...), bitmap(c.types...)...))
		for kind, d := range map[string]*dnssec.Denial{"NSEC": plain, "NSEC3": hashed} {
			p, why := d.NoData(n, c.typ, work())
			if why != c.want || p.Delegation != c.cut {
				t.Errorf("%s, %s: %+v %v, want %v, delegation %v", c.what, kind, p, why, c.want, c.cut)
			}
		}
	}
	root := &dnssec.Denial{Zone: wire.Root}
	root.AddNSEC(wire.Root, append([]byte{3, 'a', 'a', 'a', 0}, bitmap(child...)...))
	if _, why := root.NoDS(wire.Root, work()); why != 0 {
		t.Errorf("the root has no parent, and no DS records: %v", why)
	}
}

// TestCompact has answers of servers that make one record for each question
// (RFC 9824), some of which only say that the name exists.
func TestCompact(t *testing.T) {
	n := name(t, "nothing.example.")
	next := append([]byte{1, 0}, n...)
	h := dnssec.HashName(nil, n, 0, nil)
	after := bytes.Clone(h)
	after[len(after)-1]++
	for _, c := range []struct {
		what   string
		types  []wire.Type
		nx, no bool
	}{
		{"no such name", []wire.Type{wire.TypeRRSIG, wire.TypeNSEC, wire.TypeNXNAME}, true, true},
		{"an empty non-terminal", []wire.Type{wire.TypeRRSIG, wire.TypeNSEC}, false, true},
		{"another type", []wire.Type{wire.TypeTXT, wire.TypeRRSIG, wire.TypeNSEC}, false, true},
		{"both at once", []wire.Type{wire.TypeTXT, wire.TypeRRSIG, wire.TypeNSEC, wire.TypeNXNAME}, false, true},
		{"the type", []wire.Type{wire.TypeA, wire.TypeRRSIG, wire.TypeNSEC}, false, false},
	} {
		plain, hashed := &dnssec.Denial{Zone: name(t, "example.")}, &dnssec.Denial{Zone: name(t, "example.")}
		plain.AddNSEC(n, append(bytes.Clone(next), bitmap(c.types...)...))
		owner := append(append([]byte{32}, wire.Base32Hex.EncodeToString(h)...), hashed.Zone...)
		hashed.AddNSEC3(owner, append(append([]byte{1, 0, 0, 0, 0, 20}, after...), bitmap(c.types...)...))
		for kind, d := range map[string]*dnssec.Denial{"NSEC": plain, "NSEC3": hashed} {
			px, nx := d.NXDomain(n, work())
			pn, no := d.NoData(n, wire.TypeA, work())
			if (nx == 0) != c.nx || (no == 0) != c.no || pn.NXName != c.nx || px.NXName != c.nx {
				t.Errorf("%s, %s: NXDOMAIN %+v %v, NODATA %+v %v", c.what, kind, px, nx, pn, no)
			}
			if _, why := d.NXDomain(append([]byte{1, 'x'}, n...), work()); why == 0 {
				t.Errorf("%s, %s: it proves something of the name below", c.what, kind)
			}
		}
		// Of NSEC3 not even with records around all else, of which the name would be the
		// closest encloser.
		for _, span := range [][2][]byte{{make([]byte, 20), h}, {after, bytes.Repeat([]byte{0xFF}, 20)}} {
			owner := append(append([]byte{32}, wire.Base32Hex.EncodeToString(span[0])...), hashed.Zone...)
			hashed.AddNSEC3(owner, append(append([]byte{1, 0, 0, 0, 0, 20}, span[1]...), bitmap(wire.TypeA)...))
		}
		if _, why := hashed.NXDomain(append([]byte{1, 'x'}, n...), work()); (why == 0) == c.nx {
			t.Errorf("%s: below it: %v", c.what, why)
		}
	}
}

// TestWildcardDelegation has a wildcard with NS records: nobody knows what that would
// mean (RFC 4592, section 4.2), and no delegation is proven by it.
func TestWildcardDelegation(t *testing.T) {
	n, star, apex := name(t, "n.example."), name(t, "*.example."), name(t, "example.")
	plain, hashed := &dnssec.Denial{Zone: apex}, &dnssec.Denial{Zone: apex}
	plain.AddNSEC(star, append(bytes.Clone(apex), bitmap(wire.TypeNS)...))
	for _, of := range [][]byte{star, apex} {
		h := dnssec.HashName(nil, of, 0, nil)
		owner := append(append([]byte{32}, wire.Base32Hex.EncodeToString(h)...), apex...)
		types := []wire.Type{wire.TypeNS}
		if len(of) == len(apex) {
			types = append(types, wire.TypeSOA)
		}
		hashed.AddNSEC3(owner, append(append([]byte{1, 0, 0, 0, 0, 20}, h...), bitmap(types...)...)) // covers all else
	}
	for kind, d := range map[string]*dnssec.Denial{"NSEC": plain, "NSEC3": hashed} {
		if p, why := d.NoDS(n, work()); why != dnssec.BadProof {
			t.Errorf("%s: %+v %v", kind, p, why)
		}
	}
}

// TestPadded has replies with more records than are looked at (CVE-2026-11605): the one
// that proves it comes first or ninth.
func TestPadded(t *testing.T) {
	n := name(t, "m.example.")
	for _, first := range []bool{true, false} {
		plain, hashed := &dnssec.Denial{Zone: name(t, "example.")}, &dnssec.Denial{Zone: name(t, "example.")}
		good := func() {
			plain.AddNSEC(n, append(bytes.Clone(plain.Zone), bitmap(wire.TypeTXT)...))
			h := dnssec.HashName(nil, n, 0, nil)
			owner := append(append([]byte{32}, wire.Base32Hex.EncodeToString(h)...), hashed.Zone...)
			hashed.AddNSEC3(owner, append(append([]byte{1, 0, 0, 0, 0, 20}, h...), bitmap(wire.TypeTXT)...))
		}
		if first {
			good()
		}
		for i := range byte(8) {
			plain.AddNSEC(append([]byte{1, 'a' + i}, plain.Zone...), append(append([]byte{2, 'a' + i, '0'}, plain.Zone...), bitmap(wire.TypeA)...))
			h := bytes.Repeat([]byte{i}, 20)
			owner := append(append([]byte{32}, wire.Base32Hex.EncodeToString(h)...), hashed.Zone...)
			hashed.AddNSEC3(owner, append(append([]byte{1, 0, 0, 0, 0, 20}, h[1:]...), i+1))
		}
		if !first {
			good()
		}
		for kind, d := range map[string]*dnssec.Denial{"NSEC": plain, "NSEC3": hashed} {
			if _, why := d.NoData(n, wire.TypeA, work()); (why == 0) != first {
				t.Errorf("%s, the record first: %v: %v", kind, first, why)
			}
		}
	}
}

// TestSeveralChains has a proof of which each part is of another chain, with parameters of its own
// (RFC 5155, section 7.3), and each part left out, or contradicted by the other chain.
func TestSeveralChains(t *testing.T) {
	apex, n := name(t, "example."), name(t, "nothing.example.")
	add := func(d *dnssec.Denial, of []byte, iterations uint16, salt string, match bool) {
		h := dnssec.HashName(nil, of, iterations, []byte(salt))
		if !match {
			h[19]-- // right before it
		}
		next := bytes.Clone(h)
		next[19] += 2
		owner := append(append([]byte{32}, wire.Base32Hex.EncodeToString(h)...), apex...)
		data := append([]byte{1, 0, byte(iterations >> 8), byte(iterations), byte(len(salt))}, salt...)
		d.AddNSEC3(owner, append(append(append(data, 20), next...), bitmap(wire.TypeNS, wire.TypeSOA)...))
	}
	for _, c := range []struct {
		iterations [3]uint16 // of the closest encloser, the name and the wildcard
		spoil      func(d *dnssec.Denial)
		want       dnssec.Reason
	}{
		{[3]uint16{8, 0, 50}, nil, 0},
		{[3]uint16{0, 8, 8}, nil, 0},
		{[3]uint16{0, 0, 51}, nil, dnssec.BadProof},  // that chain is not looked at
		{[3]uint16{501, 0, 0}, nil, dnssec.BadProof}, // nor that, though it comes first
		{[3]uint16{8, 0, 3}, func(d *dnssec.Denial) { add(d, n, 3, "b", true) }, dnssec.BadProof},
		{[3]uint16{8, 0, 3}, func(d *dnssec.Denial) { add(d, name(t, "*.example."), 9, "", true) }, dnssec.BadProof},
	} {
		d := &dnssec.Denial{Zone: apex}
		add(d, apex, c.iterations[0], "a", true)
		add(d, n, c.iterations[1], "", false)
		add(d, name(t, "*.example."), c.iterations[2], "b", false)
		if c.spoil != nil {
			c.spoil(d)
		}
		if _, why := d.NXDomain(n, work()); why != c.want {
			t.Errorf("%v: %v, want %v", c.iterations, why, c.want)
		}
	}
}

// TestMixedParameters has records whose parameters are not those that their hashes were made by.
func TestMixedParameters(t *testing.T) {
	n := name(t, "nothing.example.")
	for _, spoil := range []func(b []byte){func(b []byte) { b[3]++ }, func(b []byte) { b[5]++ }} {
		d := &dnssec.Denial{Zone: name(t, "example.")}
		chain := nsec3Chain(t, 0, false)
		first := true
		for _, kept := range []string{"example.", "nothing.example.", "*.example."} {
			for owner, data := range chain {
				if of := chainOwner(t, chain, name(t, kept)); of != owner {
					continue
				}
				data = bytes.Clone(data)
				if !first {
					spoil(data)
				}
				first = false
				d.AddNSEC3([]byte(owner), data)
			}
		}
		if _, why := d.NXDomain(n, work()); why != dnssec.BadProof {
			t.Errorf("%v, want %v", why, dnssec.BadProof)
		}
	}
}

// TestTwoVersions has a record of a name beside one, from before it was there, that
// covers it.
func TestTwoVersions(t *testing.T) {
	n, apex := name(t, "new.example."), name(t, "example.")
	plain, hashed := &dnssec.Denial{Zone: apex}, &dnssec.Denial{Zone: apex}
	for _, of := range [][]byte{apex, n} {
		plain.AddNSEC(of, append(bytes.Clone(apex), bitmap(wire.TypeA)...))
		own := dnssec.HashName(nil, of, 0, nil)
		owner := append(append([]byte{32}, wire.Base32Hex.EncodeToString(own)...), apex...)
		hashed.AddNSEC3(owner, append(append([]byte{1, 0, 0, 0, 0, 20}, own...), bitmap(wire.TypeA)...)) // covers all else
	}
	for kind, d := range map[string]*dnssec.Denial{"NSEC": plain, "NSEC3": hashed} {
		if _, why := d.NXDomain(n, work()); why != dnssec.BadProof {
			t.Errorf("%s: NXDOMAIN %v", kind, why)
		}
		if _, why := d.Wildcard(n, 1, work()); why != dnssec.BadProof {
			t.Errorf("%s: wildcard %v", kind, why)
		}
	}
}

// chainOwner returns the owner of the record that matches or covers a name.
func chainOwner(t testing.TB, chain map[string][]byte, n []byte) string {
	t.Helper()
	best, last := "", ""
	label := string(append([]byte{32}, strings.ToLower(wire.Base32Hex.EncodeToString(dnssec.HashName(nil, n, 0, []byte{0xAB})))...))
	for owner := range chain {
		if owner[:33] <= label && owner > best {
			best = owner
		}
		last = max(last, owner)
	}
	if best == "" {
		return last
	}
	return best
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
	// A long salt makes a hash dearer: 5 blocks an iteration, 250 of them, are three hashes.
	e := &dnssec.Denial{Zone: name(t, "example.")}
	salted := append([]byte{1, 0, 0, 50, 255}, bytes.Repeat([]byte{1}, 255)...)
	e.AddNSEC3(append(append([]byte{32}, bytes.Repeat([]byte{'0'}, 32)...), e.Zone...), append(append(salted, 20), make([]byte, 20)...))
	w := &dnssec.Work{Hashes: 2}
	if _, why := e.NoData(n, wire.TypeA, w); why != dnssec.WorkLimit || w.Hashes != 2 {
		t.Errorf("%v with %d hashes left, want an end before the first", why, w.Hashes)
	}
	w.Hashes = 3
	if _, why := e.NoData(n, wire.TypeA, w); why != dnssec.WorkLimit || w.Hashes != 0 {
		t.Errorf("%v with %d hashes left, want an end after the first", why, w.Hashes)
	}
	// The operator may lower and raise the bound, to 500.
	for _, most := range []int{5, 100, 1000} {
		d := denial3(t, nsec3Chain(t, 60, false), 60, n)
		if p, why := d.NXDomain(n, &dnssec.Work{Hashes: 100, Iterations: most}); why != 0 || p.Insecure != (most < 60) {
			t.Errorf("60 iterations with a bound of %d: %+v %v", most, p, why)
		}
	}
	long := name(t, strings.Repeat("a.", 100)+"example.")
	w = &dnssec.Work{Hashes: 20}
	if _, why := denial3(t, nsec3Chain(t, 0, false), 0, name(t, "x.example.")).NXDomain(long, w); why != dnssec.WorkLimit || w.Hashes != 0 {
		t.Errorf("%v with %d hashes left, want an end after 20", why, w.Hashes)
	}
}

func ExampleReason() {
	fmt.Println(dnssec.Expired.String(), dnssec.Expired.EDE())
	// Output: the signature has expired 7
}
