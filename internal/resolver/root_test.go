package resolver_test

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"testing"
	"time"

	"port53/internal/cache"
	"port53/internal/resolver"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zonefile"
)

// rootWorld serves the published root zone at one address, if the zone is there. It
// returns its top-level domains and whether each has DS records.
func rootWorld(t testing.TB) (*world, map[string]bool) {
	f, err := os.Open("../../../shared/data/root-2020101902.zone")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("the published root zone is not beside the project")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := zone.NewBuilder(wire.Root, 53)
	tlds := map[string]bool{}
	_, err = zonefile.Read(f, zonefile.Options{Origin: wire.Root}, func(r *zonefile.Record) error {
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

// TestRealRoot validates the published root zone from the anchor that is built in, at a
// time when its signatures were valid: the DS set of each top-level domain or the proof
// that it has none, and the proofs of names that do not exist (RFC 4035, section 5).
func TestRealRoot(t *testing.T) {
	w, tlds := rootWorld(t)
	at := time.Date(2020, 10, 20, 0, 0, 0, 0, time.UTC)
	resolve := func(change func(*resolver.Settings)) *resolver.Resolver {
		return w.resolver(func(s *resolver.Settings) {
			s.Hints[0].Addrs[0] = netip.MustParseAddr("198.41.0.4")
			s.Validate, s.Now = true, func() time.Time { return at }
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
	if len(tlds) < 1500 || signed < 1300 {
		t.Errorf("%d top-level domains, %d of them signed: that is not the root zone", len(tlds), signed)
	}
	t.Logf("%d top-level domains, %d of them signed; %d questions to the root", len(tlds), signed, len(w.asked))

	for what, change := range map[string]func(*resolver.Settings){
		"too late":      func(s *resolver.Settings) { s.Now = func() time.Time { return at.AddDate(0, 1, 0) } },
		"another key":   func(s *resolver.Settings) { s.Anchors = resolver.Anchors(); s.Anchors[0].DS = s.Anchors[0].DS[1:] },
		"too early":     func(s *resolver.Settings) { s.Now = func() time.Time { return at.AddDate(-1, 0, 0) } },
		"not validated": func(s *resolver.Settings) { s.Validate = false },
	} {
		a, _, _ := resolve(change).Explain([]byte("\x03com\x00"), wire.TypeDS, true, false)
		if bogus := a.Rcode == wire.ServFail && a.Security == cache.Bogus; bogus != (what != "not validated") || a.Flags&wire.FlagAD != 0 {
			t.Errorf("%s: %v, %v", what, a.Rcode, a.Security)
		}
	}
}
