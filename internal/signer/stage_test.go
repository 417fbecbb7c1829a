package signer_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"port53/internal/dnssec"
	"port53/internal/signer"
	"port53/internal/wire"
	"port53/internal/zone"
)

const days = 24 * time.Hour

func newStage(t *testing.T, split bool, denial signer.Denial) *signer.Stage {
	return &signer.Stage{
		Zone: name(t, "example."), Dir: filepath.Join(t.TempDir(), "keys"),
		Policy: signer.StagePolicy{Algorithm: dnssec.ED25519, Split: split, Denial: denial, Valid: 14 * days, Refresh: 5 * days, Before: time.Hour},
	}
}

// at has a version signed, and verified with the DS records of the first keys.
func at(t *testing.T, s *signer.Stage, have, plain *zone.Zone, now time.Time) *signer.Version {
	t.Helper()
	v, err := s.Sign(context.Background(), 1, have, plain, now)
	if err != nil {
		t.Fatalf("at %v: %v", now, err)
	}
	if verdict := verify(t, v.Zone, signer.VerifyOptions{Now: now}); !verdict.Good() {
		t.Fatalf("at %v: %v", now, verdict.Faults)
	}
	return v
}

// TestStageForWeeks has a zone signed whenever it has to be, for 40 days: it is good at each moment
// until the next time, no signature ever has less than the time to refresh but for one interval,
// and only few are renewed at once.
func TestStageForWeeks(t *testing.T) {
	notShort(t)
	for _, denial := range []signer.Denial{signer.NSEC, signer.NSEC3OptOut} {
		s, plain := newStage(t, denial == signer.NSEC, denial), load(t, "example.", everyKind)
		v := at(t, s, nil, plain, now)
		all, most := v.Signed.Made, 0
		if v.Zone.Serial() != plain.Serial() || len(v.Made) == 0 {
			t.Errorf("first: serial %d, keys %v", v.Zone.Serial(), v.Made)
		}
		passes := 0
		for when := v.Resign; when.Before(now.Add(40 * days)); passes++ {
			// Just before, all that is served is good.
			before := when.Add(-time.Second)
			if verdict := verify(t, v.Zone, signer.VerifyOptions{Now: before}); !verdict.Good() || verdict.Earliest.Sub(before) < 4*days+20*time.Hour {
				t.Fatalf("at %v: the first expires in %v: %v", before, verdict.Earliest.Sub(before), verdict.Faults)
			}
			next := at(t, s, v.Zone, plain, when)
			// A restart renews nothing.
			if same := at(t, s, next.Zone, plain, when.Add(time.Second)); same.Zone != next.Zone {
				t.Fatalf("at %v: signed again, %d signatures", when, same.Signed.Made)
			}
			if next.Zone == v.Zone || len(next.Deltas) != 1 || next.Zone.Serial() != v.Zone.Serial()+1 {
				t.Fatalf("at %v: serial %d after %d", when, next.Zone.Serial(), v.Zone.Serial())
			}
			_, added := next.Deltas[0].Counts()
			most = max(most, added)
			if applied, problems := v.Zone.Apply(next.Deltas...); applied == nil || applied.Fingerprint() != next.Zone.Fingerprint() {
				t.Fatalf("at %v: the difference does not lead there: %v", when, problems)
			}
			if !next.Resign.After(when) {
				t.Fatalf("at %v: again at %v", when, next.Resign)
			}
			v, when = next, next.Resign
		}
		if passes < 40/9 || most > all/3 {
			t.Errorf("%v: %d times in 40 days, at most %d of %d signatures at once", denial, passes, most, all)
		}
	}
}

// TestStageInterrupted has the server stop for a month, the clock go back, the zone change, and
// keys be lost.
func TestStageInterrupted(t *testing.T) {
	s, plain := newStage(t, false, signer.NSEC), load(t, "example.", everyKind)
	v := at(t, s, nil, plain, now)
	later := now.Add(30 * days)
	late := at(t, s, v.Zone, plain, later)
	if late.Signed.Kept != 0 || late.Signed.Made < v.Signed.Made {
		t.Errorf("after a month: %d kept, %d made", late.Signed.Kept, late.Signed.Made)
	}
	if _, err := s.Sign(context.Background(), 1, late.Zone, plain, now); !errors.Is(err, signer.ErrClock) {
		t.Errorf("with the clock a month behind: %v", err)
	}
	// A new version of the zone, with a serial that is newer, is not, and is much older.
	for _, c := range []struct{ serial, want uint32 }{{9, 9}, {9, 10}, {5, 11}} {
		changed := load(t, "example.", strings.Replace(strings.Replace(everyKind, "admin 5 ", "admin "+string(rune('0'+c.serial))+" ", 1), "192.0.2.2", "192.0.2."+string(rune('0'+c.want%10)), 1))
		late = at(t, s, late.Zone, changed, later)
		if late.Zone.Serial() != c.want || late.Signed.Made > 4 {
			t.Errorf("plain serial %d: signed %d, %d signatures made; want %d", c.serial, late.Zone.Serial(), late.Signed.Made, c.want)
		}
	}
	files, err := filepath.Glob(filepath.Join(s.Dir, "K*"))
	if err != nil || len(files) != 2 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if _, err := s.Sign(context.Background(), 1, late.Zone, plain, later); err == nil || !strings.Contains(err.Error(), "which signed the zone, are missing") {
			t.Errorf("without keys: %v", err)
		}
	}
	// Given up for good, by hand: the zone gets new ones.
	if err := os.Remove(filepath.Join(s.Dir, "keys")); err != nil {
		t.Fatal(err)
	}
	if next := at(t, s, late.Zone, plain, later); len(next.Made) != 1 {
		t.Errorf("keys made: %v", next.Made)
	}
}

// TestStageKeyTimes has a key that is published before it signs, and one that ends: the stage signs
// when their times come, and takes each step when caches allow it.
func TestStageKeyTimes(t *testing.T) {
	s, plain := newStage(t, false, signer.NSEC), load(t, "example.", everyKind)
	old := newKey(t, "example.", dnssec.ED25519, true)
	old.Times = signer.Times{Publish: now, Activate: now, Inactive: now.Add(2 * days), Delete: now.Add(3 * days)}
	next := newKey(t, "example.", dnssec.ED25519, true, old)
	next.Times = signer.Times{Publish: now.Add(days), Activate: now.Add(2 * days)}
	for _, k := range []*signer.Key{old, next} {
		if err := k.Write(s.Dir); err != nil {
			t.Fatal(err)
		}
	}
	var v *signer.Version
	var have *zone.Zone
	when := now
	for day, want := range []int{1, 2, 2, 2, 1, 1} {
		if have != nil {
			if _, err := s.Observe(here(have, when)); err != nil {
				t.Fatal(err)
			}
		}
		v = at(t, s, have, plain, when)
		if verdict := verify(t, v.Zone, signer.VerifyOptions{Now: when}); len(verdict.Keys) != want {
			t.Errorf("day %d: %d keys, want %d", day, len(verdict.Keys), want)
		}
		have, when = v.Zone, now.Add(time.Duration(day+1)*days)
		if day < 3 && v.Resign.After(when) {
			t.Errorf("day %d: again at %v, and a key's time comes at %v", day, v.Resign, when)
		}
	}
}

// here is what is seen of a version that has one server, in a parent that knows nothing of it.
func here(z *zone.Zone, at time.Time) *signer.Observation {
	var keys, soa zone.Unpacked
	z.UnpackType(&keys, z.Root(), wire.TypeDNSKEY)
	z.UnpackType(&soa, z.Root(), wire.TypeSOA)
	return &signer.Observation{
		At: at, Zone: []signer.ZoneServer{{Server: "here", Keys: keys.Data, Sigs: soa.Sigs, Serial: z.Serial()}},
		Parent: []signer.ParentServer{{Server: "parent", At: at}},
	}
}

// TestStageElsewhere leaves a zone alone that comes signed, and makes no keys.
func TestStageElsewhere(t *testing.T) {
	s := newStage(t, false, signer.NSEC)
	records, _ := sign(t, load(t, "example.", everyKind), []*signer.Key{newKey(t, "example.", dnssec.ED25519, true)}, signer.Policy{}, signer.SignOptions{})
	if _, err := s.Sign(context.Background(), 1, nil, build(t, name(t, "example."), records), now); !errors.Is(err, signer.ErrSigned) {
		t.Errorf("got error %v", err)
	}
	if _, err := os.Stat(s.Dir); err == nil {
		t.Error("keys were made")
	}
}
