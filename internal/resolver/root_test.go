package resolver_test

import (
	"bytes"
	"encoding/base64"
	"net/netip"
	"strings"
	"testing"
	"time"

	"port53/internal/cache"
	"port53/internal/dnstest"
	"port53/internal/resolver"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zonefile"
)

// rootWorld serves a root zone at one address. It returns its top-level domains and whether
// each has DS records.
func rootWorld(t *testing.T, root *dnstest.Root) (*world, map[string]bool) {
	b := zone.NewBuilder(wire.Root, 53)
	tlds := map[string]bool{}
	_, err := zonefile.Read(bytes.NewReader(root.Text), zonefile.Options{Origin: wire.Root}, func(r *zonefile.Record) error {
		b.Add(&zone.Record{Owner: r.Owner, SameOwner: r.SameOwner, Type: r.Type, TTL: r.TTL, Data: r.Data})
		if owner := string(wire.Lower(nil, r.Owner)); wire.LabelCount(r.Owner) == 1 {
			switch r.Type {
			case wire.TypeNS:
				tlds[owner] = tlds[owner] || false
			case wire.TypeDS:
				tlds[owner] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	z, problems := b.Build()
	if z == nil {
		t.Fatal(problems)
	}
	return &world{t: t, zones: map[netip.Addr][]*zone.Zone{netip.MustParseAddr("198.41.0.4"): {z}}}, tlds
}

// TestRoot validates a root zone from its anchor, for the published one the anchor that is
// built in, at a time when its signatures are valid: the DS set of each top-level domain or the
// proof that it has none, and the proofs of names that do not exist (RFC 4035, section 5).
func TestRoot(t *testing.T) { dnstest.Roots(t, validateRoot) }

func validateRoot(t *testing.T, root *dnstest.Root) {
	w, tlds := rootWorld(t, root)
	at, anchors := root.At, resolver.Anchors()
	if !root.Published {
		anchors = []resolver.Anchor{{Zone: wire.Root, DS: [][]byte{root.Anchor}}}
	}
	resolve := func(change func(*resolver.Settings)) *resolver.Resolver {
		return w.resolver(func(s *resolver.Settings) {
			s.Hints[0].Addrs[0] = netip.MustParseAddr("198.41.0.4")
			s.Anchors, s.Validate, s.Now = anchors, true, func() time.Time { return at }
			if change != nil {
				change(s)
			}
		})
	}
	r := resolve(nil)
	signed := 0
	check := func(name []byte, typ wire.Type, rcode wire.Rcode, answers bool) {
		t.Helper()
		a, text, _ := r.Explain(name, typ, true, false)
		if a.Rcode != rcode || a.Security != cache.Secure || a.Flags&wire.FlagAD == 0 || (a.Counts[wire.Answer] > 0) != answers {
			t.Errorf("%s %v: %v, %v, %d answers, EDE %d %s", wire.AppendName(nil, name), typ, a.Rcode, a.Security, a.Counts[wire.Answer], a.EDE, text)
		}
	}
	for tld, has := range tlds {
		check([]byte(tld), wire.TypeDS, wire.NoError, has)
		if has {
			signed++
		}
		label := tld[1:len(tld)-1] + "--zq"
		check([]byte(string(rune(len(label)))+label+"\x00"), wire.TypeA, wire.NXDomain, false)
	}
	check(wire.Root, wire.TypeDNSKEY, wire.NoError, true)
	check(wire.Root, wire.TypeSOA, wire.NoError, true)
	check(wire.Root, wire.TypeTXT, wire.NoError, false)
	if len(tlds) < 400 || signed == 0 || signed == len(tlds) {
		t.Errorf("%d top-level domains, %d of them signed: that is not a root zone", len(tlds), signed)
	}
	t.Logf("%d top-level domains, %d of them signed; %d questions to the root", len(tlds), signed, len(w.asked))

	other := bytes.Clone(anchors[0].DS[0])
	other[len(other)-1]++
	for what, change := range map[string]func(*resolver.Settings){
		"too late":      func(s *resolver.Settings) { s.Now = func() time.Time { return at.AddDate(0, 1, 0) } },
		"another key":   func(s *resolver.Settings) { s.Anchors = []resolver.Anchor{{Zone: wire.Root, DS: [][]byte{other}}} },
		"too early":     func(s *resolver.Settings) { s.Now = func() time.Time { return at.AddDate(-1, 0, 0) } },
		"not validated": func(s *resolver.Settings) { s.Validate = false },
	} {
		a, _, _ := resolve(change).Explain([]byte("\x03net\x00"), wire.TypeDS, true, false)
		if bogus := a.Rcode == wire.ServFail && a.Security == cache.Bogus; bogus != (what != "not validated") || a.Flags&wire.FlagAD != 0 {
			t.Errorf("%s: %v, %v", what, a.Rcode, a.Security)
		}
	}
}

// TestUnusableAnchors has files of trust anchors by which nothing could be validated: a server
// does not start with them, for it would hold everything for insecure (RFC 4035, section 5.2).
func TestUnusableAnchors(t *testing.T) {
	const good = "example. DS 4711 13 2 0123456789012345678901234567890123456789012345678901234567890123\n"
	big := "org. DNSKEY 257 3 8 " + base64.StdEncoding.EncodeToString(append([]byte{4, 0x80, 0, 0, 1}, bytes.Repeat([]byte{0xFF}, 128)...)) + "\n"
	for text, want := range map[string]string{
		good:                     "",
		"":                       "no DS or DNSKEY record",
		"; nothing\n":            "no DS or DNSKEY record",
		"example. A 192.0.2.1\n": "file:1:1: A record; expected DS or DNSKEY records",
		"example. DS 4711 5 2 0123456789012345678901234567890123456789012345678901234567890123\n":        "no trust anchor of example. has a supported algorithm and digest",
		"example. DS 4711 13 3 0123456789012345678901234567890123456789012345678901234567890123\n":       "no trust anchor of example. has a supported algorithm and digest",
		good + "org. DS 4711 200 2 0123456789012345678901234567890123456789012345678901234567890123\n":   "no trust anchor of org. has a supported algorithm and digest",
		good + "example. DS 4711 5 2 0123456789012345678901234567890123456789012345678901234567890123\n": "",
		good + big: "no trust anchor of org. has a supported algorithm and digest",
	} {
		_, err := resolver.ReadAnchors(strings.NewReader(text), "file")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
