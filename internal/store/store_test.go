package store_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"port53/internal/dnstest"
	"port53/internal/store"
	"port53/internal/wire"
	"port53/internal/zone"
)

func version(t *testing.T, serial int) *zone.Zone {
	return dnstest.Zone(t, "example.test.", fmt.Sprintf("@ 60 SOA ns admin %d 1 2 3 4\n@ 60 NS ns\nns 60 A 192.0.2.1\nx%d 60 TXT \"%d\"\n", serial, serial%3, serial))
}

func open(t *testing.T, dir string) *store.Zone {
	t.Helper()
	z := store.Open(dir).Zone(dnstest.Name(t, "example.test."))
	return z
}

func contents(z *zone.Zone) []string {
	var list []string
	z.Each(func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		list = append(list, fmt.Sprintf("%s %d %s %s", wire.AppendName(nil, owner), ttl, t, wire.AppendRdataText(nil, t, data)))
		return true
	})
	slices.Sort(list)
	return list
}

// same fails unless what is on disk is the version want, with so many differences.
func same(t *testing.T, dir string, want *zone.Zone, history int) {
	t.Helper()
	v, deltas, err := open(t, dir).Load(dnstest.Seed)
	if err != nil || v == nil {
		t.Fatalf("%v %v", v, err)
	}
	if !slices.Equal(contents(v), contents(want)) {
		t.Errorf("serial %d, want %d", v.Serial(), want.Serial())
	}
	if len(deltas) != history {
		t.Errorf("%d differences, want %d", len(deltas), history)
	}
}

func TestStore(t *testing.T) {
	dir := t.TempDir()
	if v, _, err := open(t, dir).Load(dnstest.Seed); v != nil || err != nil {
		t.Fatal(v, err)
	}
	z := open(t, dir)
	old := version(t, 1)
	if err := z.Save(old, false); err != nil {
		t.Fatal(err)
	}
	same(t, dir, old, 0)
	for serial := 2; serial < 10; serial++ {
		now := version(t, serial)
		if err := z.Append(zone.Diff(old, now)); err != nil {
			t.Fatal(err)
		}
		same(t, dir, now, serial-1)
		old = now
	}
	if err := z.Save(old, true); err != nil {
		t.Fatal(err)
	}
	same(t, dir, old, 8)
	now := version(t, 20)
	if err := z.Append(zone.Diff(old, now)); err != nil {
		t.Fatal(err)
	}
	same(t, dir, now, 9)
	if err := z.Save(version(t, 30), false); err != nil {
		t.Fatal(err)
	}
	same(t, dir, version(t, 30), 0)
	if err := z.Remove(); err != nil {
		t.Fatal(err)
	}
	if v, _, err := open(t, dir).Load(dnstest.Seed); v != nil || err != nil {
		t.Error(v, err)
	}
}

// TestCrash cuts the files at every octet that a crash may have left them at: there
// always is the last version that was acknowledged, or the one that was being written.
func TestCrash(t *testing.T) {
	dir := t.TempDir()
	z := open(t, dir)
	first, second, third := version(t, 1), version(t, 2), version(t, 3)
	if err := z.Save(first, false); err != nil {
		t.Fatal(err)
	}
	if err := z.Append(zone.Diff(first, second)); err != nil {
		t.Fatal(err)
	}
	journal := filepath.Join(dir, "example.test", "journal")
	before, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	if err := z.Append(zone.Diff(second, third)); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	for n := len(before); n <= len(after); n++ {
		for _, spoilt := range []bool{false, true} {
			torn := slices.Clone(after[:n])
			if spoilt && n > len(before) {
				torn[n-1] ^= 0xFF
			}
			if err := os.WriteFile(journal, torn, 0o600); err != nil {
				t.Fatal(err)
			}
			want, history := second, 1
			if n == len(after) && !spoilt {
				want, history = third, 2
			}
			same(t, dir, want, history)
			// What comes next stands where the torn entry was.
			again := open(t, dir)
			if _, _, err := again.Load(dnstest.Seed); err != nil {
				t.Fatal(err)
			}
			next := version(t, 9)
			if err := again.Append(zone.Diff(want, next)); err != nil {
				t.Fatal(err)
			}
			same(t, dir, next, history+1)
		}
	}
	// A version that was not finished is beside the one that counts.
	whole := filepath.Join(dir, "example.test", "zone")
	content, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(whole+".new", content[:len(content)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(journal, before, 0o600); err != nil {
		t.Fatal(err)
	}
	same(t, dir, second, 1)
	// One that was damaged is not served.
	for i := range content {
		bad := slices.Clone(content)
		bad[i] ^= 1
		if err := os.WriteFile(whole, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if v, _, err := open(t, dir).Load(dnstest.Seed); err == nil || v != nil {
			t.Fatalf("octet %d changed: no error", i)
		}
	}
}

// TestForeignJournal has a crash between the moment a version that did not come about by
// differences took the place of another, and the end of the other's journal: whatever the
// serials are, nothing of that journal is applied, or given to others as history.
func TestForeignJournal(t *testing.T) {
	for _, serial := range []int{1, 2, 3, 9} {
		dir := t.TempDir()
		z := open(t, dir)
		first, second, third := version(t, 1), version(t, 2), version(t, 3)
		if err := errors.Join(z.Save(first, false), z.Append(zone.Diff(first, second), zone.Diff(second, third))); err != nil {
			t.Fatal(err)
		}
		journal := filepath.Join(dir, "example.test", "journal")
		content, err := os.ReadFile(journal)
		if err != nil {
			t.Fatal(err)
		}
		other := dnstest.Zone(t, "example.test.", fmt.Sprintf("@ 60 SOA ns admin %d 1 2 3 4\n@ 60 NS ns\nns 60 A 192.0.2.99\n", serial))
		if err := errors.Join(z.Save(other, false), os.WriteFile(journal, content, 0o600)); err != nil {
			t.Fatal(err)
		}
		same(t, dir, other, 0)
		// It goes on from there.
		again := open(t, dir)
		if _, _, err := again.Load(dnstest.Seed); err != nil {
			t.Fatal(err)
		}
		next := version(t, 20)
		if err := again.Append(zone.Diff(other, next)); err != nil {
			t.Fatal(err)
		}
		same(t, dir, next, 1)
	}
}

// TestJournalIsBounded changes a zone until its journal has been shortened many times.
func TestJournalIsBounded(t *testing.T) {
	dir := t.TempDir()
	z := open(t, dir)
	text := func(serial int) *zone.Zone {
		s := fmt.Sprintf("@ 60 SOA ns admin %d 1 2 3 4\n@ 60 NS ns\nns 60 A 192.0.2.1\n", serial)
		for i := range 200 {
			s += fmt.Sprintf("x%d 60 TXT \"%0200d\"\n", i, serial)
		}
		return dnstest.Zone(t, "example.test.", s)
	}
	old := text(1)
	if err := z.Save(old, false); err != nil {
		t.Fatal(err)
	}
	for serial := 2; serial < 60; serial++ {
		now := text(serial)
		if err := z.Append(zone.Diff(old, now)); err != nil {
			t.Fatal(err)
		}
		if z.Full() {
			if err := z.Save(now, true); err != nil {
				t.Fatal(err)
			}
		}
		old = now
	}
	info, err := os.Stat(filepath.Join(dir, "example.test", "journal"))
	if err != nil || info.Size() > 1<<20+1<<18 {
		t.Errorf("%v octets: %v", info.Size(), err)
	}
	v, history, err := open(t, dir).Load(dnstest.Seed)
	if err != nil || v.Serial() != 59 || len(history) < 3 || len(history) > 30 || history[len(history)-1].To != 59 {
		t.Errorf("serial %d, %d differences, %v", v.Serial(), len(history), err)
	}
}

func TestChecked(t *testing.T) {
	dir := t.TempDir()
	z := open(t, dir)
	if at, expire := z.Checked(); !at.IsZero() || expire != 0 {
		t.Error(at, expire)
	}
	want := time.Unix(1_790_000_000, 0)
	if err := z.SetChecked(want, time.Hour); err != nil {
		t.Fatal(err)
	}
	if at, expire := open(t, dir).Checked(); !at.Equal(want) || expire != time.Hour {
		t.Error(at, expire)
	}
}

// A crash may leave the time of the last check unwritten, or torn where a file system
// writes what was not synced in pieces: the version is as fresh as its file then.
func TestCheckedAfterACrash(t *testing.T) {
	dir := t.TempDir()
	z := open(t, dir)
	if err := z.Save(version(t, 1), false); err != nil {
		t.Fatal(err)
	}
	when := time.Unix(1_790_000_000, 0)
	if err := os.Chtimes(filepath.Join(dir, "example.test", "zone"), when, when); err != nil {
		t.Fatal(err)
	}
	for _, torn := range []string{"", "17900", "1790000000 ", "x y"} {
		if err := os.WriteFile(filepath.Join(dir, "example.test", "checked"), []byte(torn), 0o600); err != nil {
			t.Fatal(err)
		}
		if at, expire := open(t, dir).Checked(); !at.Equal(when) || expire != 0 {
			t.Errorf("%q: %v %v", torn, at, expire)
		}
	}
}

func TestNamesOfFolders(t *testing.T) {
	dir := t.TempDir()
	d := store.Open(dir)
	long := "a"
	for range 15 {
		long += `.\001\002\003\004\005\006\007`
	}
	for _, s := range []string{".", "com.", `a\.b.`, "a.b.", `..`[:1], `\046\046.`, `a\047b.`, long, "x" + long, `_sip.%2e.`} {
		name, err := wire.ParseName(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Zone(name).SetChecked(time.Now(), 0); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 9 {
		t.Errorf("%d folders: %v %v", len(entries), entries, err)
	}
}
