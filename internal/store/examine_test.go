package store_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"port53/internal/dnstest"
	"port53/internal/store"
	"port53/internal/zone"
)

// fill makes a state directory with a zone that has been changed, checked and frozen, and
// has a history.
func fillState(t *testing.T) (dir string, apex []byte) {
	t.Helper()
	dir = t.TempDir()
	apex = dnstest.Name(t, "a.test.")
	at := func(serial int) *zone.Zone {
		return dnstest.Zone(t, "a.test.", fmt.Sprintf("@ 60 SOA ns admin %d 1 2 3 4\n@ 60 NS ns\nx%d 60 A 192.0.2.1\n", serial, serial))
	}
	d := store.Open(filepath.Join(dir, "zones"), nil)
	if _, err := d.Load(apex, dnstest.Seed); err != nil {
		t.Fatal(err)
	}
	if err := d.Save(apex, at(1)); err != nil {
		t.Fatal(err)
	}
	for serial := 2; serial < 5; serial++ {
		if err := d.Append(apex, at(serial), zone.Diff(at(serial-1), at(serial))); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.SetMeta(apex, store.Meta{Checked: time.Now(), Expire: time.Hour, Frozen: true}); err != nil {
		t.Fatal(err)
	}
	if err := d.SaveHistory(apex, at(4), []*zone.Delta{zone.Diff(at(3), at(4))}); err != nil {
		t.Fatal(err)
	}
	return dir, apex
}

func nobody(string, string) (store.Verdict, string, bool) { return "", "", false }

// TestFirstLines wants the first line of every state file to say what it is, and in which
// format.
func TestFirstLines(t *testing.T) {
	dir, _ := fillState(t)
	for name, want := range map[string]string{
		"zone": "port53 zone 3", "journal": "port53 journal 4", "checked": "port53 checked 1", "frozen": "port53 frozen 1", "history": "port53 history 2",
	} {
		if got, err := store.FirstLine(filepath.Join(dir, "zones", "a.test", name)); err != nil || got != want {
			t.Errorf("%s begins with %q, %v", name, got, err)
		}
	}
}

// TestExamine looks at a state directory with each of its files as it should be, torn,
// damaged, of another format, and in the place of another; whatever it is, nothing is
// changed, and what is found is what a start does.
func TestExamine(t *testing.T) {
	spoil := func(b []byte, at int) []byte { b[at] ^= 1; return b }
	for what, c := range map[string]struct {
		file    string
		change  func(b []byte) []byte // nil: the file is removed
		verdict store.Verdict
		text    string
		refused bool // by a start
	}{
		"all is well":               {"journal", func(b []byte) []byte { return b }, store.Intact, "changes from serial 1 to 4", false},
		"a torn journal":            {"journal", func(b []byte) []byte { return b[:len(b)-10] }, store.Torn, "changes from serial 1 to 3; its last ", false},
		"a damaged middle":          {"journal", func(b []byte) []byte { return spoil(b, len(b)/2) }, store.Damaged, "what follows led to serial 4 at least", true},
		"a damaged end":             {"journal", func(b []byte) []byte { return spoil(b, len(b)-3) }, store.Damaged, "changes from serial 1 to 3 can be read", true},
		"a newer journal":           {"journal", func(b []byte) []byte { return append([]byte("port53 journal 9\n"), b[17:]...) }, store.UnknownFormat, "format", true},
		"no journal":                {"journal", func([]byte) []byte { return []byte("something else, which is long enough to be one") }, store.Damaged, "do not begin", true},
		"a newer version":           {"zone", func(b []byte) []byte { return append([]byte("port53 zone 9\n"), b[14:]...) }, store.UnknownFormat, "port53 zone 9", true},
		"a damaged version":         {"zone", func(b []byte) []byte { return spoil(b, len(b)-1) }, store.Damaged, "checksum", true},
		"a version that is gone":    {"zone", nil, "", "", true},
		"a newer history":           {"history", func(b []byte) []byte { return append([]byte("port53 history 3\n"), b[17:]...) }, store.UnknownFormat, "not used", false},
		"a damaged history":         {"history", func(b []byte) []byte { return spoil(b, len(b)-1) }, store.Damaged, "not used", false},
		"when it was checked":       {"checked", func([]byte) []byte { return []byte("port53 checked 1\nyesterday\n") }, store.Damaged, "cannot be read", false},
		"checked, as it was before": {"checked", func([]byte) []byte { return []byte("1700000000 60\n") }, store.Intact, "when the zone was checked", false},
		"unfinished":                {"zone.new", func([]byte) []byte { return []byte("x") }, store.Leftover, "next start that serves the zone removes it", false},
		"put aside":                 {"journal.aside1", func([]byte) []byte { return []byte("x") }, store.Leftover, "set aside", false},
		"of nobody":                 {"notes.txt", func([]byte) []byte { return []byte("x") }, store.Unknown, "not a file of port53's", false},
	} {
		dir, apex := fillState(t)
		path := filepath.Join(dir, "zones", "a.test", c.file)
		if c.change == nil {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		} else {
			content, _ := os.ReadFile(path)
			if err := os.WriteFile(path, c.change(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		before := snapshot(t, dir)
		x, err := store.Examine(dir, nobody)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if after := snapshot(t, dir); after != before {
			t.Errorf("%s: it was changed", what)
		}
		bad := false
		for _, f := range x.Files {
			if f.Path == filepath.Join("zones", "a.test", c.file) && (f.Verdict != c.verdict || !strings.Contains(f.Text, c.text)) {
				t.Errorf("%s: %+v", what, f)
			}
			bad = bad || f.Bad() && (filepath.Base(f.Path) == "zone" || filepath.Base(f.Path) == "journal")
		}
		k, err := store.Open(filepath.Join(dir, "zones"), nil).Load(apex, dnstest.Seed)
		if (err != nil) != c.refused || bad != c.refused {
			t.Errorf("%s: a start says %v, and the examination %+v", what, err, x.Files)
		}
		for _, f := range x.Files {
			if f.Serial != nil && (k.Zone == nil || *f.Serial != k.Zone.Serial()) && !c.refused {
				t.Errorf("%s: serial %d was foretold of %v", what, *f.Serial, k.Zone)
			}
		}
	}
}

// TestExamineAround looks at what is beside the files of zones.
func TestExamineAround(t *testing.T) {
	dir, _ := fillState(t)
	for _, name := range []string{"strange", "zones/file"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"zones/b.test=gone", "zones/empty.test"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	lock, err := store.TakeLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, used := range []bool{true, false} {
		x, err := store.Examine(dir, func(name, _ string) (store.Verdict, string, bool) { return store.Intact, "known", name == "known" })
		if err != nil || x.InUse != used {
			t.Fatalf("%+v %v", x, err)
		}
		found := map[string]store.Verdict{}
		for _, f := range x.Files {
			found[f.Path] = f.Verdict
		}
		if found["strange"] != store.Unknown || found["zones/file"] != store.Unknown || found["zones/b.test=gone"] != store.Leftover || len(found) != 8 {
			t.Errorf("%v", found)
		}
		_ = lock.Close()
	}
	if _, err := store.Examine(filepath.Join(dir, "none"), nobody); err == nil {
		t.Error("a directory that is not there")
	}
	if _, err := store.Examine(filepath.Join(dir, "strange"), nobody); err == nil {
		t.Error("a file")
	}
}

// snapshot is all that is in a directory, with names, modes, times and content.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var b bytes.Buffer
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(&b, path, info.Mode(), info.ModTime().UnixNano())
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "%x\n", content)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
