package zone_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"port53/internal/dnstest"
	"port53/internal/wire"
	"port53/internal/zone"
)

// contents returns the records of a zone in canonical order, with their TTLs.
func contents(z *zone.Zone) []string {
	var list []string
	z.Each(func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		list = append(list, fmt.Sprintf("%s %d %s %s", wire.AppendName(nil, owner), ttl, t, wire.AppendRdataText(nil, t, data)))
		return true
	})
	slices.Sort(list)
	return list
}

// TestDiffThenApply changes a zone at random, again and again: the difference between
// two versions, applied to the older, gives the newer.
func TestDiffThenApply(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	text := func(serial int, has map[int]bool) string {
		var b strings.Builder
		fmt.Fprintf(&b, "@ 60 SOA ns admin %d 1 2 3 4\n@ 60 NS ns\nns 60 A 192.0.2.1\n", serial)
		for i := range 60 {
			if !has[i] {
				continue
			}
			switch i % 6 {
			case 0:
				fmt.Fprintf(&b, "h%d %d A 192.0.2.%d\n", i/2, 60+rnd.IntN(2), i)
			case 1:
				fmt.Fprintf(&b, "H%d 60 TXT \"t%d\" \"%d\"\n", i/2, i, rnd.IntN(2))
			case 2:
				fmt.Fprintf(&b, "a%d 60 CNAME h%d\n", i, i)
			case 3:
				fmt.Fprintf(&b, "d%d 60 NS ns.d%d\nns.d%d 60 A 192.0.2.9\n", i, i, i)
			case 4:
				fmt.Fprintf(&b, "*.e.w%d 60 MX 10 h%d\n", i, i)
			case 5:
				fmt.Fprintf(&b, "h%d 60 AAAA 2001:db8::%d\n", i/2, i)
			}
		}
		return b.String()
	}
	has := map[int]bool{}
	old := dnstest.Zone(t, "example.test.", text(1, has))
	start, deltas := old, []*zone.Delta(nil)
	for serial := 2; serial < 200; serial++ {
		for range 1 + rnd.IntN(8) {
			i := rnd.IntN(60)
			has[i] = !has[i]
		}
		now := dnstest.Zone(t, "example.test.", text(serial, has))
		d := zone.Diff(old, now)
		if d == nil || d.From != old.Serial() || d.To != now.Serial() {
			t.Fatalf("serial %d: %+v", serial, d)
		}
		got, problems := old.Apply(d)
		if got == nil || !slices.Equal(contents(got), contents(now)) {
			t.Fatalf("serial %d: %v\n%v\n%v", serial, problems, contents(old), contents(now))
		}
		deltas, old = append(deltas, d), now
	}
	got, problems := start.Apply(deltas...)
	if got == nil || !slices.Equal(contents(got), contents(old)) {
		t.Errorf("all at once: %v", problems)
	}
	if d := zone.Diff(old, got); d != nil {
		t.Errorf("equal versions differ: %+v", d)
	}
	if z, _ := start.Apply(deltas[1:]...); z != nil {
		t.Error("differences that do not begin here were applied")
	}
}

func TestApplyRefuses(t *testing.T) {
	z := dnstest.Zone(t, "test.", "@ 60 SOA ns admin 1 1 2 3 4\n@ 60 NS ns\nns 60 A 192.0.2.1\n")
	ttl, soa := z.SOA()
	owner := dnstest.Name(t, "x.test.")
	head := func() *zone.Delta {
		return &zone.Delta{
			From: 1, To: 2, Removed: zone.AppendRecord(nil, z.Apex(), wire.TypeSOA, ttl, soa),
			Added: zone.AppendRecord(nil, z.Apex(), wire.TypeSOA, ttl, zone.WithSerial(soa, 2)),
		}
	}
	good := head()
	if got, problems := z.Apply(good); got == nil || got.Serial() != 2 || z.Serial() != 1 {
		t.Fatal(problems)
	}
	for what, change := range map[string]func(d *zone.Delta){
		"another version": func(d *zone.Delta) { d.From = 7 },
		"a record that is not here": func(d *zone.Delta) {
			d.Removed = zone.AppendRecord(d.Removed, owner, wire.TypeA, 60, []byte{1, 2, 3, 4})
		},
		"another serial": func(d *zone.Delta) { d.To = 9 },
		"a torn record":  func(d *zone.Delta) { d.Added = d.Added[:len(d.Added)-1] },
		"bad data":       func(d *zone.Delta) { d.Added = zone.AppendRecord(d.Added, owner, wire.TypeA, 60, []byte{1, 2, 3}) },
		"no SOA":         func(d *zone.Delta) { d.Added = nil },
		"a CNAME beside data": func(d *zone.Delta) {
			d.Added = zone.AppendRecord(zone.AppendRecord(d.Added, owner, wire.TypeA, 60, []byte{1, 2, 3, 4}), owner, wire.TypeCNAME, 60, owner)
		},
	} {
		d := head()
		change(d)
		if got, problems := z.Apply(d); got != nil || len(problems) == 0 {
			t.Errorf("%s: applied; %v", what, problems)
		}
	}
}

// TestApplyTogether has a record added that is there already, and then removed: what
// comes of two differences at once is what comes of one after the other.
func TestApplyTogether(t *testing.T) {
	text := "@ 60 SOA ns admin %d 1 2 3 4\n@ 60 NS ns\nns 60 A 192.0.2.1\nx 60 A 1.2.3.4\n"
	z := dnstest.Zone(t, "test.", fmt.Sprintf(text, 1))
	owner := dnstest.Name(t, "x.test.")
	ttl, soa := z.SOA()
	step := func(from uint32) *zone.Delta {
		return &zone.Delta{
			From: from, To: from + 1, Removed: zone.AppendRecord(nil, z.Apex(), wire.TypeSOA, ttl, zone.WithSerial(soa, from)),
			Added: zone.AppendRecord(nil, z.Apex(), wire.TypeSOA, ttl, zone.WithSerial(soa, from+1)),
		}
	}
	add, remove := step(1), step(2)
	add.Added = zone.AppendRecord(add.Added, owner, wire.TypeA, 60, []byte{1, 2, 3, 4})
	remove.Removed = zone.AppendRecord(remove.Removed, owner, wire.TypeA, 60, []byte{1, 2, 3, 4})
	one, _ := z.Apply(add)
	one, _ = one.Apply(remove)
	both, problems := z.Apply(add, remove)
	if both == nil || !slices.Equal(contents(one), contents(both)) || slices.ContainsFunc(contents(both), func(s string) bool { return strings.HasPrefix(s, "x.") }) {
		t.Errorf("%v\n%v\n%v", problems, contents(one), contents(both))
	}
}

// A digest that was taken out of a zone is missed where the zone's denial has it.
func TestDigestTakenOut(t *testing.T) {
	for bitmap, good := range map[string]bool{"NS SOA NSEC": true, "NS SOA NSEC ZONEMD": false} {
		z := dnstest.Zone(t, "test.", "@ 60 SOA ns admin 1 1 2 3 4\n@ 60 NS ns\n@ 60 NSEC ns "+bitmap+"\nns 60 A 192.0.2.1\nns 60 NSEC @ A NSEC\n")
		if err := z.CheckDigest(time.Unix(1_600_000_000, 0)); (err == nil) != good {
			t.Errorf("%s: %v", bitmap, err)
		}
	}
}

func TestSOAComesFirst(t *testing.T) {
	z := dnstest.Zone(t, "test.", "@ 60 NS ns\n@ 60 A 192.0.2.2\n@ 60 SOA ns admin 1 1 2 3 4\nns 60 A 192.0.2.1\n")
	var types []wire.Type
	z.Each(func(_ []byte, typ wire.Type, _ uint32, _ []byte) bool {
		types = append(types, typ)
		return true
	})
	if len(types) != 4 || types[0] != wire.TypeSOA || slices.Contains(types[1:], wire.TypeSOA) {
		t.Error(types)
	}
	count := 0
	z.Each(func([]byte, wire.Type, uint32, []byte) bool { count++; return false })
	if count != 1 {
		t.Errorf("called %d times after it returned false", count)
	}
}

func TestNewer(t *testing.T) {
	for _, s := range []struct {
		a, b uint32
		want bool
	}{{2, 1, true}, {1, 2, false}, {1, 1, false}, {0, 1<<32 - 1, true}, {1 << 31, 0, false}, {0, 1 << 31, false}, {1<<31 - 1, 0, true}} {
		if got := zone.Newer(s.a, s.b); got != s.want {
			t.Errorf("Newer(%d, %d) = %v", s.a, s.b, got)
		}
	}
}

// The zone and its digest are those of RFC 8976, appendix A.2.
const digested = `@ 86400 SOA ns1 admin 2018031900 1800 900 604800 86400
@ 86400 NS ns1
@ 86400 NS ns2
@ 86400 ZONEMD 2018031900 1 1 a3b69bad980a3504e1cffcb0fd6397f93848071c93151f552ae2f6b1711d4bd2d8b39808226d7b9db71e34b72077f8fe
ns1 3600 A 203.0.113.63
NS2 3600 AAAA 2001:db8::63
occluded.sub 7200 TXT "I'm occluded but must be digested"
sub 7200 NS ns1
duplicate 300 TXT "I must be digested just once"
duplicate 300 TXT "I must be digested just once"
UPPERCASE 3600 TXT "canonicalize uppercase owner names"
* 777 PTR dont-forget-about-wildcards
mail 3600 MX 20 MAIL1
mail 3600 MX 10 Mail2.Example.
sortme 3600 AAAA 2001:db8::5:61
sortme 3600 AAAA 2001:db8::3:62
sortme 3600 AAAA 2001:db8::4:63
sortme 3600 AAAA 2001:db8::1:65
sortme 3600 AAAA 2001:db8::2:64
non-apex 900 ZONEMD 2018031900 1 1 616c6c6f776564206275742069676e6f7265642e20616c6c6f776564206275742069676e6f7265642e20616c6c6f7765
`

func TestDigest(t *testing.T) {
	now := time.Unix(1_600_000_000, 0)
	for _, s := range []struct {
		what, old, new string
		good           bool
	}{
		{"as it is", "", "", true},
		{"an address changed", "203.0.113.63", "203.0.113.64", false},
		{"a TTL changed", "* 777", "* 778", false},
		{"a record left out", "sortme 3600 AAAA 2001:db8::5:61\n", "", false},
		{"hidden data changed", "I'm occluded but", "I'm occluded and", false},
		{"no digest", "@ 86400 ZONEMD", "x 86400 ZONEMD", true},
		{"another serial", "@ 86400 ZONEMD 2018031900", "@ 86400 ZONEMD 2018031901", false},
		{"an unknown scheme", "@ 86400 ZONEMD 2018031900 1 1", "@ 86400 ZONEMD 2018031900 7 1", true},
		{"an unknown hash", "@ 86400 ZONEMD 2018031900 1 1", "@ 86400 ZONEMD 2018031900 1 7", true},
		{"spelled otherwise", "mail 3600 MX 10 Mail2.Example.", "MAIL 3600 MX 10 mail2.example.", true},
	} {
		z := dnstest.Zone(t, "example.", strings.Replace(digested, s.old, s.new, 1))
		err := z.CheckDigest(now)
		if (err == nil) != s.good || err != nil && !errors.Is(err, zone.ErrDigest) {
			t.Errorf("%s: %v", s.what, err)
		}
	}
}

func FuzzEachRecord(f *testing.F) {
	f.Add(zone.AppendRecord(nil, []byte("\x01a\x00"), wire.TypeA, 1, []byte{1, 2, 3, 4}))
	f.Fuzz(func(t *testing.T, list []byte) {
		var again []byte
		err := zone.EachRecord(list, func(owner []byte, typ wire.Type, ttl uint32, data []byte) bool {
			again = zone.AppendRecord(again, owner, typ, ttl, data)
			return true
		})
		if err == nil && !bytes.Equal(again, list) {
			t.Errorf("%x became %x", list, again)
		}
	})
}
