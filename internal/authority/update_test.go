package authority_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"port53/internal/authority"
	"port53/internal/dnstest"
	"port53/internal/wire"
	"port53/internal/zone"
)

const updatable = `$TTL 60
@ SOA ns admin 10 1 2 3 4
@ NS ns
@ NS ns2
ns A 192.0.2.1
ns2 A 192.0.2.2
host A 192.0.2.10
host A 192.0.2.11
Host TXT "x"
alias CNAME host
a.deep A 192.0.2.30
`

// A change is one record of an update message.
type change struct {
	class wire.Class
	name  string
	t     wire.Type
	ttl   uint32
	data  []byte
}

func a(last byte) []byte { return []byte{192, 0, 2, last} }

// message makes an update of prerequisites and changes.
func message(t *testing.T, prerequisites, changes []change) *wire.Message {
	m := &wire.Message{HasQuestion: true, Name: dnstest.Name(t, "example.test."), Type: wire.TypeSOA, Class: wire.ClassIN}
	for section, list := range map[wire.Section][]change{wire.Answer: prerequisites, wire.Authority: changes} {
		for _, c := range list {
			m.Records = append(m.Records, wire.Record{
				Owner: dnstest.Name(t, c.name), Type: c.t, Class: c.class, TTL: c.ttl, Data: c.data, Section: section,
			})
		}
	}
	return m
}

func all([]byte, wire.Type) bool { return true }

func next(serial uint32) uint32 { return serial + 1 }

// TestPrerequisites is RFC 2136, section 3.2, case by case.
func TestPrerequisites(t *testing.T) {
	const any, none, in = wire.ClassANY, wire.ClassNONE, wire.ClassIN
	for _, s := range []struct {
		what string
		list []change
		want wire.Rcode
	}{
		{"the name is in use", []change{{any, "host.example.test.", wire.TypeANY, 0, nil}}, wire.NoError},
		{"it is not", []change{{any, "no.example.test.", wire.TypeANY, 0, nil}}, wire.NXDomain},
		{"an empty non-terminal is not", []change{{any, "deep.example.test.", wire.TypeANY, 0, nil}}, wire.NXDomain},
		{"the name is not in use", []change{{none, "no.example.test.", wire.TypeANY, 0, nil}}, wire.NoError},
		{"it is", []change{{none, "HOST.example.test.", wire.TypeANY, 0, nil}}, wire.YXDomain},
		{"the set is there", []change{{any, "host.example.test.", wire.TypeA, 0, nil}}, wire.NoError},
		{"the set is missing", []change{{any, "host.example.test.", wire.TypeMX, 0, nil}}, wire.NXRRSet},
		{"the set is not there", []change{{none, "host.example.test.", wire.TypeMX, 0, nil}}, wire.NoError},
		{"the set exists", []change{{none, "host.example.test.", wire.TypeA, 0, nil}}, wire.YXRRSet},
		{"exactly these", []change{{in, "host.example.test.", wire.TypeA, 0, a(11)}, {in, "host.example.test.", wire.TypeA, 0, a(10)}}, wire.NoError},
		{"fewer", []change{{in, "host.example.test.", wire.TypeA, 0, a(11)}}, wire.NXRRSet},
		{"others", []change{{in, "host.example.test.", wire.TypeA, 0, a(11)}, {in, "host.example.test.", wire.TypeA, 0, a(12)}}, wire.NXRRSet},
		{"one twice", []change{{in, "host.example.test.", wire.TypeA, 0, a(11)}, {in, "host.example.test.", wire.TypeA, 0, a(11)}}, wire.NXRRSet},
		{"of nothing", []change{{in, "no.example.test.", wire.TypeA, 0, a(11)}}, wire.NXRRSet},
		{"with a TTL", []change{{any, "host.example.test.", wire.TypeANY, 1, nil}}, wire.FormErr},
		{"with data", []change{{any, "host.example.test.", wire.TypeA, 0, a(10)}}, wire.FormErr},
		{"of another class", []change{{wire.ClassCH, "host.example.test.", wire.TypeA, 0, nil}}, wire.FormErr},
		{"of another zone", []change{{any, "host.example.", wire.TypeANY, 0, nil}}, wire.NotZone},
	} {
		u := authority.NewUpdater(dnstest.Zone(t, "example.test.", updatable))
		d, rcode, why := u.Update(message(t, s.list, []change{{in, "new.example.test.", wire.TypeA, 60, a(1)}}), all, next)
		if rcode != s.want || (d != nil) != (rcode == wire.NoError) || (why == "") != (rcode == wire.NoError) {
			t.Errorf("%s: %s (%s), want %s", s.what, rcode, why, s.want)
		}
	}
}

// TestForms is what RFC 2136, section 3.4.1, refuses, and who may not.
func TestForms(t *testing.T) {
	const any, none, in = wire.ClassANY, wire.ClassNONE, wire.ClassIN
	for _, s := range []struct {
		what string
		c    change
		want wire.Rcode
	}{
		{"no type of data", change{in, "x.example.test.", wire.TypeANY, 60, a(1)}, wire.FormErr},
		{"AXFR", change{in, "x.example.test.", wire.TypeAXFR, 60, nil}, wire.FormErr},
		{"deleting a set with a TTL", change{any, "host.example.test.", wire.TypeA, 60, nil}, wire.FormErr},
		{"deleting a set with data", change{any, "host.example.test.", wire.TypeA, 0, a(1)}, wire.FormErr},
		{"deleting a record with a TTL", change{none, "host.example.test.", wire.TypeA, 60, a(10)}, wire.FormErr},
		{"deleting a record without one", change{none, "host.example.test.", wire.TypeA, 0, nil}, wire.FormErr},
		{"another class", change{wire.ClassCH, "host.example.test.", wire.TypeA, 0, a(1)}, wire.FormErr},
		{"another zone", change{in, "host.example.", wire.TypeA, 60, a(1)}, wire.NotZone},
		{"type 0", change{in, "x.example.test.", 0, 60, a(1)}, wire.FormErr},
		{"OPT", change{in, "x.example.test.", wire.TypeOPT, 60, a(1)}, wire.FormErr},
		{"a type that only asks", change{in, "x.example.test.", 200, 60, a(1)}, wire.FormErr},
		{"deleting sets of type 0", change{any, "host.example.test.", 0, 0, nil}, wire.FormErr},
		{"deleting a record of type 128", change{none, "host.example.test.", 128, 0, a(1)}, wire.FormErr},
		{"a proof", change{in, "x.example.test.", wire.TypeNSEC, 60, []byte("\x00\x00\x01\x40")}, wire.Refused},
		{"a hashed proof", change{in, "x.example.test.", wire.TypeNSEC3, 60, []byte("\x01\x00\x00\x00\x00\x01x\x00\x01\x40")}, wire.Refused},
		{"a signature", change{in, "host.example.test.", wire.TypeRRSIG, 60, append(make([]byte, 18), 0, 1)}, wire.Refused},
		{"deleting proofs", change{any, "host.example.test.", wire.TypeNSEC, 0, nil}, wire.Refused},
		{"deleting a signature", change{none, "host.example.test.", wire.TypeRRSIG, 0, append(make([]byte, 18), 0, 1)}, wire.Refused},
		{"what the key may not", change{in, "host.example.test.", wire.TypeTXT, 60, []byte("\x01x")}, wire.Refused},
		{"all of a name, of which the key may change some", change{any, "host.example.test.", wire.TypeANY, 0, nil}, wire.Refused},
	} {
		u := authority.NewUpdater(dnstest.Zone(t, "example.test.", updatable))
		good := change{in, "new.example.test.", wire.TypeA, 60, a(1)}
		d, rcode, _ := u.Update(message(t, nil, []change{good, s.c}), func(_ []byte, typ wire.Type) bool { return typ != wire.TypeTXT && typ != wire.TypeANY }, next)
		if rcode != s.want || d != nil {
			t.Errorf("%s: %s, want %s; a difference: %v", s.what, rcode, s.want, d != nil)
		}
		// Nothing of it was done: what comes next begins with the first serial.
		if d, _, _ := u.Update(message(t, nil, []change{good}), all, next); d == nil || d.From != 10 || d.To != 11 {
			t.Errorf("%s: the next update gives %+v", s.what, d)
		}
	}
}

// TestSequence has several updates of one version: each sees what came before it, and
// their differences, applied together, give the last state.
func TestSequence(t *testing.T) {
	const any, none, in = wire.ClassANY, wire.ClassNONE, wire.ClassIN
	z := dnstest.Zone(t, "example.test.", updatable)
	u := authority.NewUpdater(z)
	var deltas []*zone.Delta
	for i, s := range []struct {
		list    []change
		changed bool
	}{
		{[]change{{in, "new.example.test.", wire.TypeA, 60, a(1)}}, true},
		{[]change{{in, "NEW.example.test.", wire.TypeA, 60, a(1)}}, false},      // it is there
		{[]change{{in, "new.example.test.", wire.TypeA, 90, a(2)}}, true},       // and changes the other's TTL
		{[]change{{none, "new.example.test.", wire.TypeA, 0, a(1)}}, true},      // one goes
		{[]change{{any, "nothing.example.test.", wire.TypeANY, 0, nil}}, false}, // nothing is there
		{[]change{{any, "example.test.", wire.TypeANY, 0, nil}}, false},         // SOA and NS stay
		{[]change{{none, "example.test.", wire.TypeNS, 0, dnstest.Name(t, "ns2.example.test.")}}, true},
		{[]change{{none, "example.test.", wire.TypeNS, 0, dnstest.Name(t, "ns.example.test.")}}, false}, // the last
		{[]change{{in, "alias.example.test.", wire.TypeA, 60, a(3)}}, false},                            // beside an alias
		{[]change{{in, "host.example.test.", wire.TypeCNAME, 60, dnstest.Name(t, "new.example.test.")}}, false},
		{[]change{{in, "alias.example.test.", wire.TypeCNAME, 60, dnstest.Name(t, "new.example.test.")}}, true},
		{[]change{{any, "host.example.test.", wire.TypeANY, 0, nil}, {in, "host.example.test.", wire.TypeAAAA, 60, make([]byte, 16)}}, true},
	} {
		d, rcode, why := u.Update(message(t, nil, s.list), all, next)
		if rcode != wire.NoError || (d != nil) != s.changed {
			t.Errorf("update %d: %s (%s), a difference: %v", i, rcode, why, d != nil)
		}
		if d != nil {
			deltas = append(deltas, d)
		}
	}
	got, problems := z.Apply(deltas...)
	if got == nil {
		t.Fatal(problems)
	}
	want := dnstest.Zone(t, "example.test.", fmt.Sprintf(`$TTL 60
@ SOA ns admin %d 1 2 3 4
@ NS ns
ns A 192.0.2.1
ns2 A 192.0.2.2
new 90 A 192.0.2.2
alias CNAME new
host AAAA ::
a.deep A 192.0.2.30
`, 10+len(deltas)))
	if x, y := lines(got), lines(want); !slices.Equal(x, y) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(x, "\n"), strings.Join(y, "\n"))
	}
}

func lines(z *zone.Zone) []string {
	var list []string
	z.Each(func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		list = append(list, strings.ToLower(fmt.Sprintf("%s %d %s %s", wire.AppendName(nil, owner), ttl, t, wire.AppendRdataText(nil, t, data))))
		return true
	})
	slices.Sort(list)
	return list
}

// TestLongUpdates has messages with as many records as 64 KiB hold, of the shapes that cost
// most where each record is compared with each: the work grows as their number does.
func TestLongUpdates(t *testing.T) {
	const any, none, in = wire.ClassANY, wire.ClassNONE, wire.ClassIN
	const few, many = 300, 4800
	text := func(i int) []byte { return fmt.Appendf(nil, "\x05%05d", i) }
	list := func(n int, f func(i int) []change) (all []change) {
		for i := range n {
			all = append(all, f(i)...)
		}
		return all
	}
	add := func(i int) []change {
		return []change{{in, "x.example.test.", wire.TypeTXT, uint32(60 + i%2), text(i)}}
	}
	for what, c := range map[string]func(n int) (prerequisites, changes []change){
		"adds to one set": func(n int) (_, _ []change) { return nil, list(n, add) },
		"adds and takes away": func(n int) (_, _ []change) {
			return nil, list(n/2, func(i int) []change { return append(add(i), change{none, "x.example.test.", wire.TypeTXT, 0, text(i)}) })
		},
		"takes the set away each time": func(n int) (_, _ []change) {
			return nil, append(list(n/2, add), list(n/4, func(i int) []change {
				return append(add(i), change{any, "x.example.test.", wire.TypeTXT, 0, nil})
			})...)
		},
		"adds as many types": func(n int) (_, _ []change) {
			return nil, list(n, func(i int) []change { return []change{{in, "x.example.test.", wire.Type(1000 + i), 60, a(1)}} })
		},
		"wants one set just so": func(n int) (_, _ []change) {
			return list(n, func(i int) []change { return []change{{in, "big.example.test.", wire.TypeTXT, 0, text(i)}} }), list(1, add)
		},
		"wants as many sets just so": func(n int) (_, _ []change) {
			return list(n, func(i int) []change { return []change{{in, fmt.Sprintf("h%d.example.test.", i), wire.TypeA, 0, a(1)}} }), list(1, add)
		},
	} {
		took := func(n int) time.Duration {
			zoneText := updatable
			for i := range n {
				zoneText += fmt.Sprintf("big TXT %05d\nh%d A 192.0.2.1\n", i, i)
			}
			z := dnstest.Zone(t, "example.test.", zoneText)
			m := message(t, first(c(n)), second(c(n)))
			best := time.Hour
			for range 3 {
				u := authority.NewUpdater(z)
				start := time.Now()
				if _, rcode, why := u.Update(m, all, next); rcode != wire.NoError {
					t.Fatalf("%s: %s (%s)", what, rcode, why)
				}
				best = min(best, time.Since(start))
			}
			return best
		}
		// Sixteen times as many records would take 256 times as long each time. Other work on the machine does so now and then.
		for tries := 1; ; tries++ {
			short, long := took(few), took(many)
			if long <= 80*short+50*time.Millisecond {
				break
			}
			if tries == 10 {
				t.Errorf("%s: %d records take %v, and %d %v", what, few, short, many, long)
				break
			}
		}
	}
}

func first(x, _ []change) []change  { return x }
func second(_, y []change) []change { return y }

// TestEmptied has a key that may change addresses alone take away all that names have: those that
// have nothing else, and no others.
func TestEmptied(t *testing.T) {
	addresses := func(_ []byte, typ wire.Type) bool { return typ == wire.TypeA || typ == wire.TypeAAAA }
	for name, want := range map[string]struct {
		rcode   wire.Rcode
		removed bool
	}{
		"a.deep.example.test.":  {wire.NoError, true},
		"A.Deep.example.test.":  {wire.NoError, true},
		"host.example.test.":    {wire.Refused, false}, // it has TXT
		"alias.example.test.":   {wire.Refused, false},
		"nothing.example.test.": {wire.NoError, false},
		"deep.example.test.":    {wire.NoError, false},
		"example.test.":         {wire.NoError, false}, // SOA and NS stay, whoever asks
	} {
		u := authority.NewUpdater(dnstest.Zone(t, "example.test.", updatable))
		d, rcode, why := u.Update(message(t, nil, []change{{wire.ClassANY, name, wire.TypeANY, 0, nil}}), addresses, next)
		if rcode != want.rcode || (d != nil) != want.removed {
			t.Errorf("%s: %v %s, a difference: %v; want %v %v", name, rcode, why, d != nil, want.rcode, want.removed)
		}
	}
	// What the message itself brings counts as little as what it takes.
	u := authority.NewUpdater(dnstest.Zone(t, "example.test.", updatable))
	d, rcode, _ := u.Update(message(t, nil, []change{{wire.ClassANY, "host.example.test.", wire.TypeTXT, 0, nil}, {wire.ClassANY, "host.example.test.", wire.TypeANY, 0, nil}}), addresses, next)
	if rcode != wire.Refused || d != nil {
		t.Errorf("TXT is taken away by a key that may not: %v", rcode)
	}
}
