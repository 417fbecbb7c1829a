package signer_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"port53/internal/dnssec"
	"port53/internal/signer"
	"port53/internal/wire"
	"port53/internal/zone"
)

// parentHas has a stage see that a parent has these DS records.
func parentHas(t *testing.T, s *signer.Stage, have *zone.Zone, at time.Time, ds ...[]byte) {
	t.Helper()
	sight := here(have, at)
	sight.Parent[0].DS = ds
	if _, err := s.Observe(sight); err != nil {
		t.Fatal(err)
	}
}

// TestSeatbelt has versions come that validators would refuse by the DS records that the parent
// was seen to have: they are refused, unless what is served is bogus too.
func TestSeatbelt(t *testing.T) {
	s, plain := newStage(t, false, signer.NSEC), load(t, "example.", everyKind)
	v := at(t, s, nil, plain, now)
	later := now.Add(days)
	parentHas(t, s, v.Zone, later, dsOfZone(v.Zone)...)

	other := newKey(t, "example.", dnssec.ED25519, true)
	records, _ := sign(t, plain, []*signer.Key{other}, signer.Policy{}, signer.SignOptions{Now: later})
	elsewhere := build(t, plain.Apex(), records)
	if _, err := s.Sign(context.Background(), 1, v.Zone, elsewhere, later); err == nil || !strings.Contains(err.Error(), "would be bogus and is not served") {
		t.Errorf("a version signed by a stranger: %v", err)
	}
	// The parent cannot be reached: what it said last counts.
	sight := here(v.Zone, later.Add(days))
	sight.Parent[0] = signer.ParentServer{Server: "parent", Error: "timeout"}
	if _, err := s.Observe(sight); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sign(context.Background(), 1, v.Zone, elsewhere, later.Add(days)); err == nil || !strings.Contains(err.Error(), "would be bogus") {
		t.Errorf("with the parent out of reach: %v", err)
	}
	// A stranger's DS record at the parent: the zone is bogus, and goes on.
	strange, _ := other.DS(dnssec.DigestSHA256)
	parentHas(t, s, v.Zone, later.Add(2*days), strange)
	next := at(t, s, v.Zone, load(t, "example.", everyKind+"more A 192.0.2.77\n"), later.Add(2*days))
	if len(next.Alerts) == 0 || !strings.Contains(next.Alerts[0], "the zone is bogus by the DS records that parent has") {
		t.Errorf("alerts %q", next.Alerts)
	}
	if _, err := s.Sign(context.Background(), 1, next.Zone, elsewhere, later.Add(2*days)); err == nil || strings.Contains(err.Error(), "would be bogus") {
		t.Errorf("the version that makes it good: %v", err)
	}
}

// dsOfZone returns DS records of a zone's keys with the SEP flag.
func dsOfZone(z *zone.Zone) (list [][]byte) {
	var u zone.Unpacked
	z.UnpackType(&u, z.Root(), wire.TypeDNSKEY)
	for _, d := range u.Data {
		if d[1]&dnssec.FlagSEP != 0 {
			ds, _ := dnssec.AppendDS(nil, z.Apex(), d, dnssec.DigestSHA256)
			list = append(list, ds)
		}
	}
	return list
}

// TestDeafServerHoldsRoll has one server of the zone, and one of the parent, not be reached: the
// roll waits for as long, and says for whom.
func TestDeafServerHoldsRoll(t *testing.T) {
	s, plain := newStage(t, false, signer.NSEC), load(t, "example.", everyKind)
	v := at(t, s, nil, plain, now)
	look := func(at time.Time, zone, parent bool) {
		t.Helper()
		sight := here(v.Zone, at)
		sight.Parent[0].DS = dsOfZone(v.Zone)[:1]
		if !zone {
			sight.Zone = append(sight.Zone, signer.ZoneServer{Server: "deaf", Error: "timeout"})
		}
		if !parent {
			sight.Parent = append(sight.Parent, signer.ParentServer{Server: "above", Error: "timeout"})
		}
		if _, err := s.Observe(sight); err != nil {
			t.Fatal(err)
		}
	}
	waits := func(at time.Time) string {
		t.Helper()
		life, err := s.Lifecycle(at)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(life.Waits(&s.Policy.Lifecycle), "\n")
	}
	for day := range 10 {
		look(now.Add(time.Duration(day)*days), false, false)
	}
	if w := waits(now.Add(10 * days)); !strings.Contains(w, "deaf cannot be queried: timeout") || !strings.Contains(w, "not on all parent servers yet") {
		t.Errorf("waits for %q", w)
	}
	look(now.Add(11*days), true, true)
	look(now.Add(13*days), true, true)
	if w := waits(now.Add(13 * days)); w != "" {
		t.Errorf("waits for %q", w)
	}
}

// TestStatesFile has the file of the states be damaged, of another version, or hold nothing: it is
// told, and nothing is signed by a guess. The file tells people what there is.
func TestStatesFile(t *testing.T) {
	s, plain := newStage(t, false, signer.NSEC), load(t, "example.", everyKind)
	v := at(t, s, nil, plain, now)
	file := filepath.Join(s.Dir, "states.json")
	text, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(text), `"state": "rumoured"`) {
		t.Fatalf("%v\n%s", err, text)
	}
	for what, c := range map[string]struct{ text, want string }{
		"cut off":         {string(text[:len(text)/2]), "damaged, or written by a newer version"},
		"a newer version": {strings.Replace(string(text), "key states 1", "key states 2", 1), "of another version"},
		"a word":          {strings.Replace(string(text), `"rumoured"`, `"rumored"`, 1), "expected hidden, rumoured"},
		"a key more":      {strings.Replace(string(text), `"keys": [`, `"keys": [null,`, 1), "a key in it is null"},
		"a field":         {strings.Replace(string(text), `"split"`, `"splitt"`, 1), "unknown field"},
	} {
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Sign(context.Background(), 1, v.Zone, plain, now.Add(days)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", what, err, c.want)
		}
	}
}

// TestClockJumps has a roll under way and the clock be set back, and a time in the future not count
// as one that has passed.
func TestClockJumps(t *testing.T) {
	s, plain := newStage(t, false, signer.NSEC), load(t, "example.", everyKind)
	v := at(t, s, nil, plain, now)
	ahead := now.Add(365 * days)
	if _, err := s.Observe(here(v.Zone, ahead)); err != nil {
		t.Fatal(err)
	}
	v = at(t, s, v.Zone, plain, now.Add(time.Minute))
	life, err := s.Lifecycle(now)
	if err != nil {
		t.Fatal(err)
	}
	if k := life.Keys[0]; k.DNSKEY.State != signer.Rumoured || k.DNSKEY.SeenEverywhere.After(now.Add(time.Minute)) || len(v.Keys) != 1 {
		t.Errorf("state %+v", k.DNSKEY)
	}
}

// TestRollsRefused asks for rolls that cannot be.
func TestRollsRefused(t *testing.T) {
	s, plain := newStage(t, false, signer.NSEC), load(t, "example.", everyKind)
	at(t, s, nil, plain, now)
	for want, r := range map[string]signer.Roll{
		"a rollover of this kind of key is under way": {},
		"no ZSK":              {ZSK: true},
		"no key 1 that stays": {Tag: 1},
		"cannot sign":         {Algorithm: 5, Force: true},
	} {
		if err := s.Roll(r, now); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v; want %q", r, err, want)
		}
	}
	if err := s.State(1, true, now); err == nil {
		t.Error("a DS record of no key was taken")
	}
	files, err := filepath.Glob(filepath.Join(s.Dir, "K*"))
	if err != nil || len(files) != 2 {
		t.Errorf("files %v, %v", files, err)
	}
}

// TestStatedByHand rolls a KSK with a parent that nobody can ask.
func TestStatedByHand(t *testing.T) {
	s, plain := newStage(t, true, signer.NSEC), load(t, "example.", everyKind)
	v := at(t, s, nil, plain, now)
	when := now
	step := func(d time.Duration) {
		t.Helper()
		when = when.Add(d)
		sight := here(v.Zone, when)
		sight.Parent = []signer.ParentServer{{Server: "above", Error: "timeout"}}
		if _, err := s.Observe(sight); err != nil {
			t.Fatal(err)
		}
		v = at(t, s, v.Zone, plain, when)
	}
	wait := func() {
		for range 4 {
			step(30 * time.Hour)
		}
	}
	tags := func() (list []uint16) {
		for _, k := range v.Lifecycle.Keys {
			if k.SEP && k.DNSKEY.State == signer.Omnipresent {
				list = append(list, k.Tag)
			}
		}
		return list
	}
	wait()
	old := tags()[0]
	say := func(tag uint16, seen bool) {
		t.Helper()
		if err := s.State(tag, seen, when); err != nil {
			t.Fatal(err)
		}
		wait()
	}
	say(old, true)
	if err := s.Roll(signer.Roll{KSK: true}, when); err != nil {
		t.Fatal(err)
	}
	wait()
	both := tags()
	if len(both) != 2 {
		t.Fatalf("keys %v", both)
	}
	next := both[1-slices.Index(both, old)]
	if cds := first(v.Zone, wire.TypeCDS); len(cds) == 0 || uint16(cds[0])<<8|uint16(cds[1]) != next {
		t.Errorf("CDS %x, key %d", cds, next)
	}
	say(next, true)
	if len(tags()) != 2 {
		t.Errorf("keys %v before the old one is gone from the parent", tags())
	}
	say(old, false)
	if got := tags(); len(got) != 1 || got[0] != next {
		t.Errorf("keys %v, want %d", got, next)
	}
}

func first(z *zone.Zone, t wire.Type) []byte {
	var u zone.Unpacked
	if !z.UnpackType(&u, z.Root(), t) || len(u.Data) == 0 {
		return nil
	}
	return u.Data[0]
}
