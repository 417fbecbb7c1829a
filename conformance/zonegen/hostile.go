package zonegen

import (
	"fmt"
	"strings"

	"port53/conformance/peers"
)

// Hostile returns all the hostile zones: each content once in every mode, the
// special zones, and the parent with its children.
func Hostile() []*Zone {
	var zones []*Zone
	for _, m := range Modes {
		for _, content := range []struct {
			label string
			fill  func(*Zone)
		}{
			{"wild", wildcards},
			{"alias", aliases},
			{"deleg", delegations},
			{"odd", oddNames},
			{"empty", emptyNonTerminals},
			{"types", everyType},
			{"big", bigSets},
		} {
			z := New(fmt.Sprintf("%s.%s.test.", content.label, m), m)
			content.fill(z)
			zones = append(zones, z)
		}
	}
	for _, m := range []Mode{Plain, NSEC, NSEC3} {
		z := New(fmt.Sprintf("%c.y.", 'a'+int(m)), m)
		manyLabels(z)
		zones = append(zones, z)
		d := &Zone{Origin: fmt.Sprintf("dname-apex.%s.test.", m), Mode: m}
		apexDNAME(d)
		zones = append(zones, d)
		zones = append(zones, family(m)...)
	}
	huge := New("huge.plain.test.", Plain)
	huge.Refused = []string{peers.BIND}
	hugeSet(huge)
	return append(zones, huge)
}

// wildcards has wildcards at every depth, below wildcards, and of every kind
// (RFC 4592).
func wildcards(z *Zone) {
	z.Add("*", "TXT", `"depth 0"`)
	z.Add("*", "MX", "10 ns1.@")
	for _, name := range []string{"w1", "w2.w1", "w3.w2.w1", "w4.w3.w2.w1"} {
		z.Add("*."+name, "TXT", `"`+name+`"`)
		z.Add("*."+name, "A", "192.0.2.53")
	}
	z.Add("host.w1", "A", "192.0.2.10")
	z.Add("leaf.ent.w2.w1", "A", "192.0.2.11")
	// A wildcard label inside, a wildcard below a wildcard, a name below one.
	z.Add("sub.*", "A", "192.0.2.12")
	z.Add("*.sub.*", "TXT", `"below a wildcard"`)
	z.Add("*.*.ww", "TXT", `"twice"`)
	z.Add("*.ww", "A", "192.0.2.13")
	z.Add("x.*.ent-star", "A", "192.0.2.14") // the wildcard is an empty non-terminal
	z.Add("*.one", "AAAA", "2001:db8::5")
	z.Add("*.cname", "CNAME", "target.@")
	z.Add("*.cname-missing", "CNAME", "missing.w1.w1.@")
	z.Add("*.cname-nodata", "CNAME", "ns2.@")
	z.Add("*.cname-wild", "CNAME", "foo.one.@")
	z.Add("*.cname-self", "CNAME", "x.cname-self.@")
	z.Add("*.cname-out", "CNAME", "www.outside.example.")
	z.Add("*.cname-cut", "CNAME", "www.cut.@")
	z.Add("exists.cname", "TXT", `"not by the wildcard"`)
	z.Add("target", "A", "192.0.2.15")
	z.Add("cut", "NS", "ns.cut.@")
	z.Add("ns.cut", "A", "192.0.2.16")
	z.Add("*.srv", "SRV", "1 2 53 ns1.@")
	z.Add("*.mx", "MX", "10 foo.one.@")
	z.Add("*.https", "HTTPS", "1 . alpn=h2")
	z.Add("*.both", "A", "192.0.2.17")
	z.Add("*.both", "AAAA", "2001:db8::17")
	z.Add("cut.both", "NS", "ns.elsewhere.example.")
	z.Extra = []string{
		z.Abs("*.*"), z.Abs("a.b.c"), z.Abs("ent.w2.w1"), z.Abs("q.ent.w2.w1"), z.Abs("*.ent-star"), z.Abs("q.ent-star"),
		z.Abs("x.q.ent-star"), z.Abs("a.q.ww"), z.Abs("a.*.ww"), z.Abs("host.exists.cname"), z.Abs("a.b.cut.both"), z.Abs("sub.q"), z.Abs("q.sub.q"),
	}
}

// aliases has CNAME and DNAME chains of every length, loops, and ways out of
// the zone (RFC 6672).
func aliases(z *Zone) {
	z.Add("c0", "A", "192.0.2.20")
	z.Add("c0", "TXT", `"the end"`)
	const chain = 15
	for i := 1; i <= chain; i++ {
		z.Add(fmt.Sprintf("c%d", i), "CNAME", fmt.Sprintf("c%d.@", i-1))
	}
	z.Add("self", "CNAME", "self.@")
	z.Add("l1", "CNAME", "l2.@")
	z.Add("l2", "CNAME", "l1.@")
	z.Add("m0", "CNAME", "m1.@")
	z.Add("m1", "CNAME", "m2.@")
	z.Add("m2", "CNAME", "m3.@")
	z.Add("m3", "CNAME", "m1.@")
	z.Add("out", "CNAME", "www.outside.example.")
	z.Add("to-apex", "CNAME", "@")
	z.Add("to-missing", "CNAME", "missing.@")
	z.Add("to-nodata", "CNAME", "c0-only-mx.@")
	z.Add("c0-only-mx", "MX", "10 c0.@")
	z.Add("to-ent", "CNAME", "ent.@")
	z.Add("leaf.ent", "A", "192.0.2.21")
	z.Add("to-wild", "CNAME", "any.wild.@")
	z.Add("to-below-wild", "CNAME", "any.thing.wild.@")
	z.Add("*.wild", "A", "192.0.2.22")
	z.Add("to-cut", "CNAME", "cut.@")
	z.Add("to-below-cut", "CNAME", "www.cut.@")
	z.Add("to-secure-cut", "CNAME", "www.secure.@")
	z.Add("to-glue", "CNAME", "ns.cut.@")
	z.Add("cut", "NS", "ns.cut.@")
	z.Add("ns.cut", "A", "192.0.2.23")
	z.Add("secure", "NS", "ns.elsewhere.example.")
	z.Add("secure", "DS", "12345 13 2 "+strings.Repeat("ab", 32))
	// Into other zones of the same server: one that exists, one name in it that
	// does not, a delegation of it, and the zone above this one.
	z.Add("to-zone", "CNAME", "target.wild."+z.Mode.String()+".test.")
	z.Add("to-zone-missing", "CNAME", "missing.deleg."+z.Mode.String()+".test.")
	z.Add("to-zone-cut", "CNAME", "www.insecure.deleg."+z.Mode.String()+".test.")
	// DNAMEs.
	z.Add("d1", "DNAME", "tree.@")
	z.Add("d1", "A", "192.0.2.24") // data beside a DNAME is in order
	z.Add("leaf.tree", "A", "192.0.2.25")
	z.Add("a.b.tree", "TXT", `"deep"`)
	z.Add("alias.tree", "CNAME", "leaf.tree.@")
	z.Add("back.tree", "CNAME", "leaf.d1.@")
	z.Add("*.w.tree", "TXT", `"wild below a DNAME's target"`)
	z.Add("d2", "DNAME", "d1.@")
	z.Add("d3", "DNAME", "d2.@")
	z.Add("loop1", "DNAME", "loop2.@")
	z.Add("loop2", "DNAME", "loop1.@")
	z.Add("grow", "DNAME", "x.grow.@")
	z.Add("shrink.x", "DNAME", "x.@")
	z.Add("d-out", "DNAME", "outside.example.")
	z.Add("d-root", "DNAME", ".")
	z.Add("d-zone", "DNAME", "wild."+z.Mode.String()+".test.")
	z.Add("d-cut", "DNAME", "cut.@")
	z.Add("d-missing", "DNAME", "not.there.@")
	z.Add("to-d1", "CNAME", "leaf.d1.@")
	z.Add("to-d2", "CNAME", "a.b.d2.@")
	z.Add("to-loop", "CNAME", "x.loop1.@")
	l := strings.Repeat("l", 60)
	z.Add("d-long", "DNAME", l+"."+l+"."+l+".@")
	for _, d := range []string{"d1", "d2", "d3", "loop1", "grow", "d-out", "d-root", "d-zone", "d-cut", "d-missing", "d-long"} {
		for _, below := range []string{"leaf", "a.b", "alias", "back", "nothing", "any.w"} {
			z.Extra = append(z.Extra, z.Abs(below+"."+d))
		}
	}
	z.Extra = append(z.Extra, z.Abs(strings.Repeat("o", 63)+"."+strings.Repeat("p", 20)+".d-long"), z.Abs("target.d-zone"), z.Abs("any.wild"), z.Abs("any.thing.wild"))
}

// delegations has every kind of cut: secure and not, with glue of every kind
// (RFC 9471), below empty non-terminals and wildcards, and what it occludes.
func delegations(z *Zone) {
	ds := func(owner string) {
		z.Add(owner, "DS", "4711 13 2 "+strings.Repeat("0123456789abcdef", 4))
	}
	z.Add("insecure", "NS", "ns1.insecure.@")
	z.Add("insecure", "NS", "ns2.insecure.@")
	z.Add("ns1.insecure", "A", "192.0.2.30")
	z.Add("ns1.insecure", "AAAA", "2001:db8::30")
	z.Add("ns2.insecure", "A", "192.0.2.31")
	z.Add("secure", "NS", "ns1.secure.@")
	z.Add("secure", "NS", "ns.outside.example.")
	z.Add("ns1.secure", "AAAA", "2001:db8::32")
	ds("secure")
	z.Add("secure", "DS", "4712 8 2 "+strings.Repeat("fe", 32))
	z.Add("sibling", "NS", "ns1.insecure.@")
	z.Add("sibling", "NS", "ns1.secure.@")
	z.Add("cycle1", "NS", "ns.cycle2.@")
	z.Add("cycle2", "NS", "ns.cycle1.@")
	z.Add("ns.cycle1", "A", "192.0.2.33")
	z.Add("ns.cycle2", "A", "192.0.2.34")
	z.Add("apex-ns", "NS", "ns1.@")
	z.Add("outside", "NS", "ns.outside.example.")
	ds("outside")
	z.Add("deep-glue", "NS", "ns.a.b.c.deep-glue.@")
	z.Add("ns.a.b.c.deep-glue", "A", "192.0.2.35")
	z.Add("under-glue", "NS", "ns.under-glue.@")
	z.Add("ns.under-glue", "A", "192.0.2.36")
	z.Add("x.ns.under-glue", "A", "192.0.2.37") // glue below glue
	z.Add("cut.ns.under-glue", "NS", "x.ns.under-glue.@")
	z.Add("own-name", "NS", "own-name.@") // the cut's own name is its server
	z.Add("own-name", "A", "192.0.2.38")
	z.Add("nested", "NS", "ns.nested.@")
	z.Add("ns.nested", "A", "192.0.2.39")
	z.Add("inner.nested", "NS", "ns.inner.nested.@")
	z.Add("ns.inner.nested", "A", "192.0.2.40")
	z.Add("txt.nested", "TXT", `"occluded"`)
	z.Add("alias.nested", "CNAME", "ns1.@")
	z.Add("*.nested", "A", "192.0.2.41")
	z.Add("a.b.c.ent", "NS", "ns.outside.example.")
	z.Add("d.b.c.ent", "NS", "ns.outside.example.")
	ds("d.b.c.ent")
	z.Add("*.wild", "TXT", `"above a cut"`)
	z.Add("cut.wild", "NS", "ns.cut.wild.@")
	z.Add("ns.cut.wild", "A", "192.0.2.42")
	for i := range 13 { // glue of 13 servers fits neither 512 nor 1232 octets with DS and signatures
		z.Add("thirteen", "NS", fmt.Sprintf("%c.long-name-of-a-server.thirteen.@", 'a'+i))
		z.Add(fmt.Sprintf("%c.long-name-of-a-server.thirteen", 'a'+i), "A", fmt.Sprintf("192.0.2.%d", 50+i))
		z.Add(fmt.Sprintf("%c.long-name-of-a-server.thirteen", 'a'+i), "AAAA", fmt.Sprintf("2001:db8::%x", 50+i))
	}
	for i := range 30 {
		z.Add("thirty", "NS", fmt.Sprintf("ns%d.server-far-away-%d.example.", i, i))
	}
	for i := range 40 { // insecure cuts between secure ones, for spans of opt-out
		name := fmt.Sprintf("z%02d", i)
		z.Add(name, "NS", "ns.outside.example.")
		if i%7 == 0 {
			ds(name)
		}
	}
	z.Add("mx-below-cut", "MX", "10 ns1.insecure.@")
	z.Add("mx-below-cut", "MX", "20 ns1.@")
	z.Add("srv-below-cut", "SRV", "0 0 53 nothing.insecure.@")
	z.Add("ns-alias", "NS", "alias-target.@") // the server is an alias: no glue
	z.Add("alias-target", "CNAME", "ns1.@")
	z.Extra = []string{
		z.Abs("www.insecure"), z.Abs("a.b.secure"), z.Abs("www.sibling"), z.Abs("x.y.nested"), z.Abs("www.inner.nested"), z.Abs("ent"), z.Abs("c.ent"),
		z.Abs("b.c.ent"), z.Abs("x.b.c.ent"), z.Abs("www.a.b.c.ent"), z.Abs("q.wild"), z.Abs("q.cut.wild"), z.Abs("z05x"), z.Abs("zz"), z.Abs("www.thirteen"),
		z.Abs("www.thirty"), z.Abs("z14.z14"), z.Abs("b.c.deep-glue"), z.Abs("www.ns-alias"), z.Abs("www.apex-ns"),
	}
}

// oddNames has labels that only careful code carries through.
func oddNames(z *Zone) {
	long := strings.Repeat("L", 63)
	names := []string{
		`\000`, `a\000b`, `\000.\000`, `a\.b`, `a\.b.c`, `a\032b`, `\032`, `\*`, `\*.esc`, `x.*.mid`, `**`, `a*`, `*a`, `\255\254\128`, `\@`, `\(x\)`, `\;semi`,
		`\"quoted\"`, `back\\slash`, `\009tab`, `\010`, `\127`, "MiXeD.CaSe", "UPPER", "lower", `\192\012`, "_tcp", "-", "--", "0", "1.2.3.4", `\$dollar`, `x\'y`,
		long, "a." + long, long + "." + long, "under_score", "xn--bcher-kva", `\195\188mlaut`, `a\000`, `a\001`, `a\255`, `[`, `\{`, `~`, "`",
	}
	for i, n := range names {
		z.Add(n, "TXT", fmt.Sprintf(`"odd %d"`, i))
		if i%3 == 0 {
			z.Add(n, "A", fmt.Sprintf("192.0.2.%d", i))
		}
	}
	// BIND's signer adds a wildcard label to every name that it hashes, so with
	// NSEC3 two octets are left free.
	most := 255
	if z.Mode >= NSEC3 {
		most = 253
	}
	for _, total := range []int{most - 1, most} {
		z.Add(longName(total-len(z.Origin)-1), "TXT", `"long name"`)
	}
	z.Add("to-odd", "CNAME", z.Abs(`a\.b`))
	z.Add("to-case", "CNAME", z.Abs("mIxEd.cAsE"))
	z.Add("mx-case", "MX", "10 "+z.Abs("mixed.case"))
	z.Add(`*.od\.d`, "A", "192.0.2.99")
	z.Add(`d\000`, "DNAME", z.Abs("UPPER"))
	z.Extra = []string{z.Abs("a.b"), z.Abs("esc"), z.Abs("mixed.case"), z.Abs("upper"), z.Abs("LOWER"), z.Abs("mid"), z.Abs("q.mid"), z.Abs("x.q.mid"), z.Abs(`q.od\.d`), z.Abs("q.od.d"), z.Abs(`x.d\000`)}
}

// longName returns a relative name that takes n octets on the wire before its
// origin.
func longName(n int) string {
	var labels []string
	for n > 0 {
		l := min(n-1, 63)
		if n-1-l == 1 { // one octet that no label could fill would be left
			l--
		}
		labels = append(labels, strings.Repeat("n", l))
		n -= l + 1
	}
	return strings.Join(labels, ".")
}
