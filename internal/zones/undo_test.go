package zones_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"port53/internal/authority"
	"port53/internal/dnstest"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zones"
)

// content returns what a version has, but for its serial: records and notes.
func content(z *zone.Zone) string {
	var lines []string
	z.Each(func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		if t == wire.TypeSOA {
			data = zone.WithSerial(data, 0)
		}
		lines = append(lines, fmt.Sprintf("%s %d %s %s", wire.NameText(owner), ttl, t, wire.AppendRdataText(nil, t, data)))
		return true
	})
	z.Notes().Each(func(key, value string) bool {
		lines = append(lines, fmt.Sprintf("note %q %q", key, value))
		return true
	})
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// randomPlan changes a few sets and notes: hosts, wildcards, delegations, aliases, the SOA record.
func randomPlan(t *testing.T, r *rand.Rand) zones.Plan {
	var c zones.Changes
	seen := map[string]bool{}
	for range 1 + r.IntN(3) {
		text := fmt.Sprintf([]string{"h%d.test.", "*.w%d.test.", "a.b.c%d.test.", "d%d.test.", "H%d.test."}[r.IntN(5)], r.IntN(30))
		name := dnstest.Name(t, text)
		if seen[strings.ToLower(text)] {
			continue
		}
		seen[strings.ToLower(text)] = true
		s := authority.Set{Owner: name, Type: wire.TypeA, TTL: uint32(60 * (1 + r.IntN(3)))}
		switch {
		case strings.HasPrefix(text, "d"):
			s.Type = wire.TypeNS
			for range r.IntN(3) {
				s.Data = append(s.Data, dnstest.Name(t, fmt.Sprintf("ns%d.example.", r.IntN(9))))
			}
		default:
			for range r.IntN(3) {
				s.Data = append(s.Data, []byte{192, 0, 2, byte(r.IntN(9))})
			}
		}
		c.Sets = append(c.Sets, s)
	}
	if r.IntN(3) == 0 {
		c.Notes = append(c.Notes, zone.Note{Key: fmt.Sprint("k", r.IntN(20)), Value: strings.Repeat("v", r.IntN(5))})
	}
	if r.IntN(5) == 0 {
		c.Sets = nil // notes alone
	}
	return func(now *authority.Updater, _ *zone.Notes) (zones.Changes, error) {
		plan := c
		if len(c.Sets) == 0 {
			plan.Serial = now.Serial()
		}
		return plan, nil
	}
}

// TestUndo takes each of a thousand random changes back, and sometimes several: the content is what it
// was, the serial is newer, and whoever follows the differences has the same.
func TestUndo(t *testing.T) {
	_, source, _ := newUpdated(t)
	s := &server{T: t}
	s.start(zones.Options{}) // without a disk, which takes most of the time
	s.load(source)
	key := dnstest.Name(t, "test.")
	look := func() *zone.Zone {
		v, ok := s.manager.Snapshot(key)
		if !ok || v.Zone == nil {
			t.Fatal("no zone")
		}
		return v.Zone
	}
	r := rand.New(rand.NewPCG(53, 9))
	follower := look()
	follow := func() {
		t.Helper()
		deltas, err := s.manager.History(key)
		if err != nil {
			t.Fatal(err)
		}
		from := len(deltas)
		for from > 0 && deltas[from-1].To != follower.Serial() {
			from--
		}
		next, problems := follower.Preview(deltas[from:]...)
		if next == nil {
			t.Fatal(problems)
		}
		if follower = next.WithNotes(look().Notes()); content(follower) != content(look()) {
			t.Fatalf("who follows has\n%s\nand not\n%s", content(follower), content(look()))
		}
	}
	changes := 1000
	if testing.Short() {
		changes = 100
	}
	for i := range changes {
		before := look()
		var serials []uint32
		for range 1 + r.IntN(3) {
			if e, err := s.manager.Edit(key, "a test", randomPlan(t, r)); err == nil && e.From != e.To {
				serials = append(serials, e.From)
			}
		}
		at := zones.VersionRef{}
		want := before
		switch edited := look(); {
		case edited == before:
			continue // nothing of it was possible
		case len(serials) > 0 && i%3 > 0:
			at.Serial = &serials[0]
			then, err := s.manager.At(key, at)
			if err != nil {
				t.Fatal(err)
			}
			want = then
			if serials[0] == before.Serial() && content(then) != content(before) && before.Notes() == then.Notes() {
				t.Fatalf("%d: at serial %d it was\n%s\nand not\n%s", i, serials[0], content(before), content(then))
			}
		default:
			deltas, err := s.manager.History(key)
			if err != nil {
				t.Fatal(err)
			}
			if want, _ = edited.Preview(deltas[len(deltas)-1].Reverse()); want == nil {
				t.Fatal("the last change cannot be taken back")
			}
		}
		serial := look().Serial()
		e, err := s.manager.Undo(key, "a test", at, nil)
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		now := look()
		if content(now) != content(want) {
			t.Fatalf("%d: undone it is\n%s\nand not\n%s", i, content(now), content(want))
		}
		if e.From != e.To && !zone.Newer(now.Serial(), serial) || now.Serial() != e.To {
			t.Fatalf("%d: serial %d after %d", i, now.Serial(), serial)
		}
		follow()
	}
}

// TestUndoRefuses: points that are not known, and zones that somebody changes.
func TestUndoRefuses(t *testing.T) {
	s, _, again := newUpdated(t)
	key := dnstest.Name(t, "test.")
	refused := func(at zones.VersionRef, base func(uint32) bool, text string) {
		t.Helper()
		if _, err := s.manager.Undo(key, "a test", at, base); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v, want %q", err, text)
		}
	}
	serial := func(n uint32) *uint32 { return &n }
	refused(zones.VersionRef{}, nil, "no change of the zone is known")
	refused(zones.VersionRef{Serial: serial(9)}, nil, "serial 9 is not in the history")
	s.update(1, wire.NoError)
	s.update(2, wire.NoError)
	refused(zones.VersionRef{Serial: serial(9)}, nil, "which begins with serial 1")
	refused(zones.VersionRef{Time: time.Unix(1, 0)}, nil, "does not go back that far")
	only := func(want uint32) func(uint32) bool { return func(n uint32) bool { return n == want } }
	refused(zones.VersionRef{}, only(1), "the zone has changed: it has serial 3")
	again() // what is known lasts
	if z, err := s.manager.At(key, zones.VersionRef{Serial: serial(2)}); err != nil || z.Serial() != 2 || strings.Contains(content(z), "u2") || !strings.Contains(content(z), "u1") {
		t.Errorf("%v", err)
	}
	if e, err := s.manager.Undo(key, "a test", zones.VersionRef{Serial: serial(1)}, only(3)); err != nil || e.To != 4 || strings.Contains(content(e.Zone), "u1") {
		t.Errorf("%+v %v", e, err)
	}
}
