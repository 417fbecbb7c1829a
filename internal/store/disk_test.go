package store_test

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"port53/internal/dnstest"
	"port53/internal/store"
	"port53/internal/zone"
)

// TestPermissions has everything that is written be its owner's alone, whatever the
// server's umask leaves open.
func TestPermissions(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	top := t.TempDir()
	z := open(filepath.Join(top, "state", "zones"))
	before, after := version(t, 1), version(t, 2)
	if err := z.Save(before); err != nil {
		t.Fatal(err)
	}
	if err := z.Append(after, zone.Diff(before, after)); err != nil {
		t.Fatal(err)
	}
	if err := z.SetMeta(apex, store.Meta{Checked: time.Unix(1, 0), Frozen: true}); err != nil {
		t.Fatal(err)
	}
	l, err := store.TakeLock(filepath.Join(top, "state"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	seen := map[string]fs.FileMode{}
	if err := filepath.WalkDir(filepath.Join(top, "state"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		seen[d.Name()] = info.Mode()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{
		"state": fs.ModeDir | 0o700, "zones": fs.ModeDir | 0o700, "example.test": fs.ModeDir | 0o700,
		"zone": 0o600, "journal": 0o600, "checked": 0o600, "frozen": 0o600, "lock": 0o600,
	} {
		if seen[name] != want {
			t.Errorf("%s: %v, want %v", name, seen[name], want)
		}
	}
	if len(seen) != 8 {
		t.Errorf("there are %v", seen)
	}
}

// TestSyncOfADirectory has one that cannot be synced: nobody is told that it was.
func TestSyncOfADirectory(t *testing.T) {
	if err := store.SyncDir(t.TempDir()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat("/proc/self"); err != nil {
		t.Skip("there is no /proc, whose directories cannot be synced")
	}
	if err := store.SyncDir("/proc/self"); err == nil {
		t.Error("a directory that cannot be synced was")
	}
}

// TestRemovedFromTheDisk has nothing of a zone be left, also of one whose removal a crash
// has interrupted.
func TestRemovedFromTheDisk(t *testing.T) {
	dir := t.TempDir()
	z := open(dir)
	if err := z.Save(version(t, 1)); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(dir, "another.test=gone")
	if err := os.Mkdir(left, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(left, "zone"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	again := open(dir)
	if _, _, err := again.Load(); err != nil {
		t.Fatal(err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("left: %v %v", names, err)
	}
	// A removal of before could not take all away.
	if err := os.Rename(filepath.Join(dir, "example.test"), filepath.Join(dir, "example.test=gone")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(again.Save(version(t, 2)), again.Remove()); err != nil {
		t.Fatal(err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Errorf("left: %v %v", names, err)
	}
}

// TestNothingToTell has a server begin where nothing was ever kept, and where all is well.
func TestNothingToTell(t *testing.T) {
	var log bytes.Buffer
	d := store.Open(filepath.Join(t.TempDir(), "zones"), slog.New(slog.NewTextHandler(&log, nil)))
	if k, err := d.Load(apex, dnstest.Seed); err != nil || k.Zone != nil || log.Len() != 0 {
		t.Errorf("%v %v, told: %s", k.Zone, err, log.String())
	}
	m, journals, _ := journaled(t, 3, 10)
	if _, _, logged, err := load(t, m); err != nil || logged != "" || !bytes.Equal(m.Get(path("journal")), journals[2]) {
		t.Errorf("%v, told: %s", err, logged)
	}
}
