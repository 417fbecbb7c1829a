package zone_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"port53/internal/dnstest"
	"port53/internal/policy"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zonefile"
)

const soa = "@ 3600 SOA ns.example.net. admin 1 7200 3600 1209600 300\n@ 3600 NS ns.example.net.\n"

// dump returns the zone's records as sorted lines.
func dump(z *zone.Zone) []string {
	var lines []string
	z.Each(func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		lines = append(lines, string(zonefile.AppendRecord(nil, owner, ttl, t, data)))
		return true
	})
	slices.Sort(lines)
	return lines
}

// What a zone says of itself builds an equal zone: nothing is lost by the form that
// its records lie in.
func TestEachGivesBackWhatWasBuilt(t *testing.T) {
	text := soa + `
$TTL 60
@ MX 10 Mail
@ MX 20 mail.example.net.
Mail A 192.0.2.1
a.b.c CNAME Mail
*.wild TXT "x" "" "yy"
sub NS ns1.sub
sub NS ns2.sub
sub NS ns.other.sub
ns1.sub A 192.0.2.2
ns1.sub AAAA 2001:db8::2
ns.other.sub A 192.0.2.3
e\.sc\000aped PTR \@.x
srv SRV 1 2 3 mail
svc SVCB 1 . port=53
big TXT ` + strings.Repeat(`"`+strings.Repeat("x", 200)+`" `, 100) + "\n"
	for i := range 300 {
		text += fmt.Sprintf("many A 10.0.%d.%d\nmanyns NS ns%d.pool\n", i/250, i%250, i)
	}
	z := dnstest.Zone(t, "Example.", text)
	lines := dump(z)
	again := dnstest.Zone(t, "Example.", strings.Join(lines, ""))
	if got := dump(again); !slices.Equal(got, lines) {
		t.Errorf("rebuilt zone differs: %d records, want %d", len(got), len(lines))
	}
	if z.Records() != len(lines) {
		t.Errorf("Records is %d, Each gave %d", z.Records(), len(lines))
	}
	if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "Mail.Example.\t60\tIN\tA\t192.0.2.1") }) {
		t.Error("the case of names is not kept")
	}
}

func TestProblems(t *testing.T) {
	tests := []struct {
		name, text string
		want       string // "LINE: text", or empty for a good zone
	}{
		{"good", soa, ""},
		{"no SOA", "@ 60 NS a.example.net.\n", "0: zone example. has no SOA record at its apex"},
		{"no NS", "@ 60 SOA a. b. 1 2 3 4 5\n", "0: zone example. has no NS record at its apex"},
		{"equal SOA twice", soa + "@ 3600 SOA ns.example.net. admin 1 7200 3600 1209600 300\n", ""},
		{"different SOA", soa + "@ 3600 SOA ns.example.net. admin 2 7200 3600 1209600 300\n", "3: example.: second SOA"},
		{"SOA below", soa + "a 60 SOA a. b. 1 2 3 4 5\n", "3: a.example.: SOA record below the apex"},
		{"CNAME and other data", soa + "a 60 CNAME b\na 60 A 192.0.2.1\n", "4: a.example.: CNAME and A at the same name"},
		{"CNAME and its proofs", soa + "a 60 CNAME b\na 60 NSEC b CNAME\na 60 RRSIG CNAME 13 2 60 20300101000000 20200101000000 1 example. AAAA\n", ""},
		{"two CNAMEs", soa + "a 60 CNAME b\na 60 CNAME c\n", "4: a.example.: second CNAME"},
		{"CNAME at the apex", soa + "@ 60 CNAME b\n@ 60 TXT t\n", "3: example.: CNAME at the apex, beside the zone's SOA and NS"},
		{"CNAME at the apex, below others", soa + "@ 60 TXT t\n@ 60 A 192.0.2.1\n@ 60 CNAME b\n", "5: example.: CNAME at the apex"},
		{"an owner without its dot", soa + "www.example 60 A 192.0.2.1\n", "3: warning: www.example.example. repeats the zone's name"},
		{"a target without its dot", soa + "a 60 CNAME b.example\n", "3: warning: a.example. CNAME: b.example.example. repeats the zone's name and does not exist: is the trailing dot missing?"},
		{"a server without its dot", "@ 60 SOA ns.example admin 1 7200 3600 1209600 300\n@ 60 NS ns.example.net.\n", "1: warning: example. SOA: ns.example.example. repeats the zone's name and does not exist: is the trailing dot missing?"},
		{"a mailbox without its dot", "@ 60 SOA ns.example.net. admin.example 1 7200 3600 1209600 300\n@ 60 NS ns.example.net.\n", "1: warning: example. SOA: admin.example.example. repeats the zone's name and does not exist: is the trailing dot missing?"},
		{"a target that is an IPv6 address", soa + "@ 60 MX 10 2001:db8::1\n", "3: warning: example. MX: 2001:db8::1 is an address, but a name is required"},
		{"a target that is an address", soa + "@ 60 MX 10 192.0.2.1\n", "3: warning: example. MX: 192.0.2.1 is an address, but a name is required"},
		{"a target like an address, that is there", soa + "a 60 SRV 0 0 1 10.0.0.1\n10.0.0.1 60 A 192.0.2.1\n", ""},
		{"a target like an address, elsewhere", soa + "a 60 PTR 10.0.0.1.in-addr.arpa.\nb 60 CNAME 10.0.0.1.more\nc 60 CNAME 300.0.0.1\n", ""},
		{"two DNAMEs", soa + "a 60 DNAME b\na 60 DNAME c\n", "4: a.example.: second DNAME"},
		{"NS beside DNAME", soa + "a 60 DNAME b\na 60 NS c\n", "4: a.example.: NS and DNAME at the same name"},
		{"below a DNAME", soa + "a 60 DNAME b\nx.y.a 60 A 192.0.2.1\n", "4: x.y.a.example.: A below a DNAME"},
		{"out of zone", soa + "a.example.org. 60 A 192.0.2.1\n", "3: warning: owner a.example.org. is outside the zone"},
		{"no glue", soa + "sub 60 NS ns.sub\n", "3: warning: sub.example. NS: ns.sub.example. has no glue"},
		{"glue of a sibling is not ours to want", soa + "sub 60 NS ns.other\nother 60 NS ns.example.net.\n", ""},
		{"NS is an alias", soa + "sub 60 NS alias\nalias 60 CNAME x\n", "3: warning: sub.example. NS: target alias.example. is a CNAME"},
		{"TTLs differ", soa + "a 60 A 192.0.2.1\na 61 A 192.0.2.2\n", "4: warning: a.example. A: TTL 61 differs"},
		{"RRSIG of nothing", soa + "a 60 A 192.0.2.1\na 60 RRSIG MX 13 2 60 20300101000000 20200101000000 1 example. AAAA\n", "4: warning: a.example.: RRSIG covers MX"},
		{"duplicates are one", soa + "a 60 A 192.0.2.1\na 60 A 192.0.2.1\n", ""},
	}
	for _, test := range tests {
		z, problems := dnstest.Build(t, "example.", test.text)
		var got []string
		failed := false
		for _, p := range problems {
			got = append(got, fmt.Sprintf("%d: %s", p.Pos.Line, p))
			failed = failed || !p.Warning
		}
		if (z == nil) != failed {
			t.Errorf("%s: zone is nil: %v, with problems %q", test.name, z == nil, got)
		}
		text := strings.Join(got, "\n")
		if test.want == "" && text != "" || !strings.Contains(text, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, text, test.want)
		}
	}
}

// TestReverseWithoutDot has host names in reverse zones, where a name without its last dot
// does not repeat the zone's.
func TestReverseWithoutDot(t *testing.T) {
	const apex = "@ 60 SOA ns.example.net. admin.example. 1 7200 3600 1209600 300\n@ 60 NS ns.example.net.\n"
	const want = "%s does not exist in the zone: is the trailing dot missing?"
	for _, test := range []struct{ zone, text, name string }{
		{"2.0.192.in-addr.arpa.", "1 60 PTR www.example\n", "www.example.2.0.192.in-addr.arpa."},
		{"8.b.d.0.1.0.0.2.ip6.arpa.", "1 60 PTR www\n", "www.8.b.d.0.1.0.0.2.ip6.arpa."},
		{"2.0.192.in-addr.arpa.", "1 60 PTR www.example.\n", ""},
		{"2.0.192.in-addr.arpa.", "1 60 CNAME 1.0/26\n", ""}, // RFC 2317
		{"2.0.192.in-addr.arpa.", "1 60 PTR 2\n2 60 PTR www.example.\n", ""},
		{"example.", "_http._tcp 60 PTR web._http._tcp\n", ""}, // RFC 6763
	} {
		_, problems := dnstest.Build(t, test.zone, apex+test.text)
		switch {
		case test.name == "" && len(problems) > 0:
			t.Errorf("%s%s: %v", test.text, test.zone, problems)
		case test.name != "" && (len(problems) != 1 || !problems[0].Warning || problems[0].Pos.Line != 3 || !strings.HasSuffix(problems[0].String(), fmt.Sprintf(want, test.name))):
			t.Errorf("%s%s: %v", test.text, test.zone, problems)
		}
	}
}

func TestErrorsAreBounded(t *testing.T) {
	text := soa
	for i := range 100 {
		text += fmt.Sprintf("a%d 60 CNAME b\na%d 60 A 192.0.2.1\nsub%d 60 NS ns.sub%d\n", i, i, i, i)
	}
	z, problems := dnstest.Build(t, "example.", text)
	errors := 0
	for _, p := range problems {
		if !p.Warning {
			errors++
		}
	}
	if z != nil || errors != 20 || len(problems) > 40 {
		t.Errorf("%d errors of %d problems, want 20 and at most 40", errors, len(problems))
	}
}

// Warnings alone never keep a part of the zone from being compiled.
func TestManyWarnings(t *testing.T) {
	text := soa
	for i := range 100 {
		text += fmt.Sprintf("sub%d 60 NS ns.sub%d\n", i, i)
	}
	z, problems := dnstest.Build(t, "example.", text+"last 60 A 192.0.2.1\n")
	if z == nil || len(problems) != 20 {
		t.Fatalf("%d problems, zone is nil: %v", len(problems), z == nil)
	}
	if got := len(dump(z)); got != 103 {
		t.Errorf("%d records, want 103", got)
	}
}

// A lookup by hash finds every name of a zone, and none that is not there.
func TestLookup(t *testing.T) {
	text := soa
	for i := range 5000 {
		text += fmt.Sprintf("n%d.d%d 60 A 192.0.2.1\n", i, i%7)
	}
	z := dnstest.Zone(t, "example.", text)
	if want := 5000 + 7 + 1; z.Names() != want {
		t.Errorf("%d names, want %d with the empty non-terminals", z.Names(), want)
	}
	var s wire.SplitName
	for i := range 5000 {
		s.Set(dnstest.Name(t, fmt.Sprintf("N%d.d%d.EXAMPLE.", i, i%7)))
		if z.Lookup(&s) == 0 {
			t.Errorf("n%d is not found", i)
		}
		s.Set(dnstest.Name(t, fmt.Sprintf("n%d.d%d.example.", i, (i+1)%7)))
		if z.Lookup(&s) != 0 {
			t.Errorf("n%d is found where it is not", i)
		}
	}
	for _, outside := range []string{".", "org.", "n1.d1.example.org.", "xexample."} {
		s.Set(dnstest.Name(t, outside))
		if z.Lookup(&s) != 0 {
			t.Errorf("%s is found", outside)
		}
	}
}

// The NSEC that matches or covers a name is the one that canonical order says.
func TestNSECBefore(t *testing.T) {
	names := []string{"example.", "a.example.", `\000.a.example.`, "b.a.example.", "aa.example.", "aaaaaaaaaa.example.", "aaaaaaaaab.example.", "z.example."}
	text := soa
	for i, n := range names {
		text += fmt.Sprintf("%s 60 NSEC %s A\n", n, names[(i+1)%len(names)])
	}
	text += "z 60 RRSIG NSEC 13 2 60 20300101000000 20200101000000 1 example. AAAA\n"
	z := dnstest.Zone(t, "example.", text)
	for name, want := range map[string]string{
		"example.": "example.", "A.example.": "a.example.", "0.example.": "example.", "c.a.example.": "b.a.example.",
		"x.c.a.example.": "b.a.example.", "ab.example.": "aaaaaaaaab.example.", "aaaaaaaaaaa.example.": "aaaaaaaaaa.example.",
		"zz.example.": "z.example.", `\001.a.example.`: `\000.a.example.`,
	} {
		node := z.NSECBefore(dnstest.Name(t, name))
		if got := string(wire.AppendName(nil, z.AppendName(nil, node))); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

func TestView(t *testing.T) {
	view := zone.NewView(dnstest.Seed)
	var changes []zone.Change
	for i := range 1000 {
		changes = append(changes, zone.Change{Apex: dnstest.Name(t, fmt.Sprintf("z%d.example.", i))})
	}
	view = view.With(changes...)
	view = view.With(zone.Change{Apex: dnstest.Name(t, ".")}, zone.Change{Apex: dnstest.Name(t, "Deep.z1.example.")})
	find := func(name string) string {
		var s wire.SplitName
		s.Set(dnstest.Name(t, name))
		e := view.Find(&s)
		if e == nil {
			return ""
		}
		return string(wire.AppendName(nil, e.Apex))
	}
	before := view
	for name, want := range map[string]string{
		"z7.example.": "z7.example.", "www.Z999.example.": "z999.example.", "example.": ".", "z1000.example.": ".",
		"a.b.deep.z1.example.": "deep.z1.example.", "xdeep.z1.example.": "z1.example.",
	} {
		if got := find(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	var s wire.SplitName
	s.Set(dnstest.Name(t, "deep.z1.example."))
	if e := view.FindAbove(&s); e == nil || string(e.Apex) != "\x02z1\x07example\x00" {
		t.Errorf("zone above deep.z1.example.: %v", e)
	}
	view = view.With(zone.Change{Apex: dnstest.Name(t, "."), Remove: true}, zone.Change{Apex: dnstest.Name(t, "z7.example."), Remove: true},
		zone.Change{Apex: dnstest.Name(t, "not.there."), Remove: true})
	if got := find("z7.example."); got != "" {
		t.Errorf("removed zone is found as %q", got)
	}
	if view.Len() != 1000 || before.Len() != 1002 || len(maps.Collect(all(view))) != 1000 {
		t.Errorf("%d zones now and %d before, want 1000 and 1002", view.Len(), before.Len())
	}
}

func all(v *zone.View) func(func(string, bool) bool) {
	return func(yield func(string, bool) bool) {
		for e := range v.All() {
			if !yield(string(e.Apex), true) {
				return
			}
		}
	}
}

// A view has the zones and the rights that it had, whatever comes afterwards, and the
// version that is served now.
func TestViewIsImmutable(t *testing.T) {
	apex := dnstest.Name(t, "example.")
	z1, z2 := dnstest.Zone(t, "example.", soa), dnstest.Zone(t, "example.", strings.Replace(soa, " 1 7200", " 2 7200", 1))
	served, strict := zone.NewServed(z1), &policy.Access{Forward: true}
	before := zone.NewView(dnstest.Seed).With(zone.Change{Apex: apex, Served: served})
	after := before.With(zone.Change{Apex: apex, Served: served, Access: strict}, zone.Change{Apex: dnstest.Name(t, "new.")})
	if before.Len() != 1 || before.Get(apex).Access == strict || after.Len() != 2 || after.Get(apex).Access != strict {
		t.Errorf("a view changed with its successor: %d and %d zones", before.Len(), after.Len())
	}
	if z := before.Get(apex).Zone(); z != z1 {
		t.Errorf("the version served is %v", z)
	}
	served.Store(z2)
	if before.Get(apex).Zone() != z2 || after.Get(apex).Zone() != z2 {
		t.Error("a new version is not seen by every view")
	}
	gone := after.With(zone.Change{Apex: apex, Remove: true})
	if gone.Get(apex) != nil || after.Get(apex) == nil {
		t.Error("a zone that was removed is there, or one that was not is gone")
	}
	again := gone.With(zone.Change{Apex: apex, Zone: z1})
	if again.Get(apex).Zone() != z1 || after.Get(apex).Zone() != z2 {
		t.Error("a zone that comes again has to do with the one before")
	}
}

// TestExpire wants what EXPIRE tells: the SOA's time at a primary, what is left elsewhere.
func TestExpire(t *testing.T) {
	apex := dnstest.Name(t, "example.")
	served, now := zone.NewServed(nil), time.Unix(1_700_000_000, 0)
	e := zone.NewView(dnstest.Seed).With(zone.Change{Apex: apex, Served: served}).Get(apex)
	if n, ok := e.Expire(now); ok {
		t.Errorf("a zone without a version expires in %d s", n)
	}
	served.Store(dnstest.Zone(t, "example.", soa))
	for _, c := range []struct {
		until time.Time
		want  uint32
	}{{time.Time{}, 1209600}, {now.Add(90 * time.Second), 90}, {now.Add(-time.Second), 0}, {time.Time{}, 1209600}} {
		served.Extend(c.until)
		if n, ok := e.Expire(now); !ok || n != c.want {
			t.Errorf("until %v: %d %v, want %d", c.until, n, ok, c.want)
		}
	}
}

func BenchmarkSearch(b *testing.B) {
	var text bytes.Buffer
	text.WriteString(soa)
	for i := range 100000 {
		fmt.Fprintf(&text, "n%d 60 NS ns.n%d\nns.n%d 60 A 192.0.2.1\n", i, i, i)
	}
	z := dnstest.Zone(b, "example.", text.String())
	names := make([]wire.SplitName, 4096)
	for i := range names {
		names[i].Set(dnstest.Name(b, fmt.Sprintf("www.n%d.example.", i*24)))
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		z.Search(&names[i%len(names)])
		i++
	}
}

func BenchmarkBuild(b *testing.B) {
	var text bytes.Buffer
	text.WriteString(soa)
	for i := range 20000 {
		fmt.Fprintf(&text, "n%d 60 NS ns.n%d\nns.n%d 60 A 192.0.2.1\n", i, i, i)
	}
	b.ReportAllocs()
	for b.Loop() {
		z := dnstest.Zone(b, "example.", text.String())
		b.ReportMetric(float64(z.Size())/float64(z.Names()), "B/name")
	}
}

// TestEqualButForCase has records whose data are equal but for the case of a name: they are
// one record (RFC 4343, section 3; RFC 4034, section 6.3), and the zone is served.
func TestEqualButForCase(t *testing.T) {
	for what, c := range map[string]struct {
		text  string
		owner string
		typ   wire.Type
		want  int
	}{
		"a CNAME":       {"a CNAME Target\na CNAME tARGET\n", "a.example.", wire.TypeCNAME, 1},
		"a DNAME":       {"d DNAME x.Target\nd DNAME X.target\n", "d.example.", wire.TypeDNAME, 1},
		"a SOA":         {"@ SOA NS ADMIN 1 2 3 4 5\n@ SOA ns admin 1 2 3 4 5\n", "example.", wire.TypeSOA, 1},
		"NS":            {"sub NS ns.other.\nsub NS NS.Other.\nsub NS ns2.other.\n", "sub.example.", wire.TypeNS, 2},
		"MX":            {"m MX 10 a.other.\nm MX 20 A.other.\nm MX 10 A.OTHER.\n", "m.example.", wire.TypeMX, 2},
		"many":          {"", "p.example.", wire.TypePTR, 20},
		"TXT, no names": {"t TXT a\nt TXT A\n", "t.example.", wire.TypeTXT, 2},
	} {
		text := "$TTL 60\n@ NS ns.other.\n"
		if c.typ != wire.TypeSOA {
			text += "@ SOA ns admin 1 2 3 4 5\n"
		}
		for i := range c.want * 2 {
			if c.typ == wire.TypePTR {
				text += fmt.Sprintf("p PTR %s%d.other.\n", [2]string{"h", "H"}[i%2], i/2)
			}
		}
		z := dnstest.Zone(t, "example.", text+c.text)
		var s wire.SplitName
		s.Set(dnstest.Name(t, c.owner))
		set, _ := z.RRset(z.Lookup(&s), c.typ)
		if set.Records != c.want {
			t.Errorf("%s: %d records, want %d", what, set.Records, c.want)
		}
	}
	if _, problems := dnstest.Build(t, "example.", "$TTL 60\n@ NS ns.other.\n@ SOA ns admin 1 2 3 4 5\na CNAME b\na CNAME c\n"); len(problems) == 0 {
		t.Error("two aliases of one name are taken")
	}
}

// TestStrayProofs has proofs in a zone without any signature: it is no signed zone.
func TestStrayProofs(t *testing.T) {
	text := "$TTL 60\n@ SOA ns admin 1 2 3 4 5\n@ NS ns.other.\n@ NSEC3PARAM 1 0 0 -\nwww A 192.0.2.1\n"
	const nsec, nsec3 = "www NSEC @ A\n", "0P9MHAVEQVM6T7VBL5LOP2U3T2RP3TOM NSEC3 1 0 0 - 0P9MHAVEQVM6T7VBL5LOP2U3T2RP3TOM A\n"
	for _, c := range []struct {
		text   string
		signed bool
	}{
		{nsec, false},
		{nsec3, false},
		{nsec + "www RRSIG NSEC 13 2 60 20300101000000 20200101000000 1 example. AAAA\n", true},
		{nsec3 + "@ RRSIG SOA 13 2 60 20300101000000 20200101000000 1 example. AAAA\n", true},
	} {
		if z := dnstest.Zone(t, "example.", text+c.text); z.Signed() != c.signed {
			t.Errorf("%q: signed %v", c.text, z.Signed())
		}
	}
}

// TestSignatureTTL warns of signatures whose TTL is not that of what they sign, and which
// are served with that (RFC 4034, section 3).
func TestSignatureTTL(t *testing.T) {
	for ttl, want := range map[int]int{60: 0, 61: 1, 0: 1} {
		_, problems := dnstest.Build(t, "example.", fmt.Sprintf("$TTL 60\n@ SOA ns admin 1 2 3 4 5\n@ NS ns.other.\nwww A 192.0.2.1\nwww %d RRSIG A 13 2 60 20300101000000 20200101000000 1 example. AAAA\n", ttl))
		if len(problems) != want || want == 1 && !strings.Contains(problems[0].Text, fmt.Sprintf("www.example.: TTL %d of the RRSIG over A differs from the RRset's, 60", ttl)) {
			t.Errorf("TTL %d: %v", ttl, problems)
		}
	}
}
