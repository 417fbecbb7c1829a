package store_test

import (
	"bytes"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"port53/internal/store"
	"port53/internal/store/storetest"
	"port53/internal/zone"
)

// A disk is a medium of the suite.
type disk struct {
	*store.Memory
	done, fails, times int
	deaf               func(op, path string) bool // operations that do nothing, and say they have; nil: none
}

func newDisk() *disk {
	d := &disk{Memory: store.NewMemory()}
	d.Bound(3000, 1<<20)
	return d
}

var errDisk = errors.New("a fault of the disk")

func (d *disk) Open() storetest.Store {
	d.Fail = func(op, path string) error {
		d.done++
		if d.fails > 0 && d.done >= d.fails && (d.times == 0 || d.done < d.fails+d.times) {
			if d.times > 0 {
				return store.ErrForgotten
			}
			return errDisk // the server is gone, and nobody has asked the disk
		}
		if d.deaf != nil && d.deaf(op, path) {
			return store.ErrNothingDone
		}
		return nil
	}
	return store.OpenOn(d.Memory, dir, nil)
}

func (d *disk) Interrupt(n, times int) (done int) {
	done, d.done, d.fails, d.times = d.done, 0, n, times
	return done
}

func (d *disk) Crash(draw *rand.Rand) storetest.Medium {
	return &disk{Memory: d.Memory.Crash(draw), deaf: d.deaf}
}
func (d *disk) Copy() storetest.Medium { return &disk{Memory: d.Memory.Copy(), deaf: d.deaf} }

// Litter returns what is neither a file of the zone nor one that was put aside.
func (d *disk) Litter() string {
	names := append(d.Names(dir), d.Names(path(""))...)
	names = slices.DeleteFunc(names, func(name string) bool {
		return slices.Contains([]string{"example.test", "zone", "journal", "checked", "frozen"}, name) || strings.Contains(name, ".aside")
	})
	return strings.Join(names, " ")
}

// TestFaults has each operation on the disk fail, and the power fail at each.
func TestFaults(t *testing.T) {
	storetest.Run(t, func() storetest.Medium { return newDisk() })
}

// TestEachSyncIsNeeded leaves out one kind of sync after another: each is missed.
func TestEachSyncIsNeeded(t *testing.T) {
	for what, deaf := range map[string]func(op, path string) bool{
		"of a whole version":           func(op, path string) bool { return op == "sync" && filepath.Base(path) == "zone.new" },
		"of a journal that is written": func(op, path string) bool { return op == "sync" && filepath.Base(path) == "journal" },
		"of a journal that is made":    func(op, path string) bool { return op == "sync" && filepath.Base(path) == "journal.new" },
		"of a zone's directory":        func(op, path string) bool { return op == "syncdir" && filepath.Base(path) == "example.test" },
		"of the directory of zones":    func(op, path string) bool { return op == "syncdir" && path == dir },
		"of the state directory":       func(op, path string) bool { return op == "syncdir" && path == filepath.Dir(dir) },
	} {
		if err := storetest.Check(func() storetest.Medium {
			d := newDisk()
			d.deaf = deaf
			return d
		}); err == nil {
			t.Errorf("nobody misses the sync %s", what)
		} else {
			t.Logf("the sync %s: %v", what, err)
		}
	}
}

// TestFullDisk fills the disk up to every byte: what is written then fails, changes nothing
// and leaves nothing behind, and there is nothing to clean up by hand once there is room.
func TestFullDisk(t *testing.T) {
	versions := []*zone.Zone{sized(t, 1, 600), sized(t, 2, 600), sized(t, 3, 600)}
	for room := 0; ; room++ {
		m := store.NewMemory()
		z := on(m)
		if _, _, err := z.Load(); err != nil {
			t.Fatal(err)
		}
		m.Limit(room)
		calls := []func() error{
			func() error { return z.Save(versions[0]) },
			func() error { return z.Append(versions[1], zone.Diff(versions[0], versions[1])) },
			func() error { return z.Save(versions[2]) },
		}
		var err error
		done := 0
		for ; done < len(calls) && err == nil; done++ {
			err = calls[done]()
		}
		if err == nil {
			break // there was room for all
		}
		done--
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("%d bytes: %v", room, err)
		}
		if litter := (&disk{Memory: m}).Litter(); litter != "" {
			t.Fatalf("%d bytes: %s is left behind", room, litter)
		}
		if done > 0 {
			sameOn(t, m.Copy(), versions[done-1], done-1)
		}
		m.Limit(-1)
		for ; done < len(calls); done++ {
			if err := calls[done](); err != nil {
				t.Fatalf("%d bytes, and then room: %v", room, err)
			}
		}
		sameOn(t, m.Crash(nil), versions[2], 0)
	}
}

// TestCost counts what is done on the disk: a change is one write and one sync, whatever
// came before.
func TestCost(t *testing.T) {
	m := store.NewMemory()
	z, done := on(m), map[string]int{}
	m.Fail = func(op, _ string) error {
		done[op]++
		return nil
	}
	versions := []*zone.Zone{sized(t, 1, 10), sized(t, 2, 10), sized(t, 3, 10), sized(t, 4, 10)}
	if err := z.Save(versions[0]); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		clear(done)
		if err := z.Append(versions[i+1], zone.Diff(versions[i], versions[i+1])); err != nil {
			t.Fatal(err)
		}
		if want := map[string]int{"open": 1, "write": 1, "sync": 1, "close": 1}; i > 0 && !maps.Equal(done, want) {
			t.Errorf("change %d: %v", i, done)
		}
	}
	clear(done)
	if err := z.Save(sized(t, 9, 10)); err != nil {
		t.Fatal(err)
	}
	if done["sync"] != 1 || done["syncdir"] != 1 {
		t.Errorf("a whole version: %v", done)
	}
	clear(done)
	for _, checked := range []int64{1, 2} {
		if err := z.SetMeta(apex, store.Meta{Checked: time.Unix(checked, 0)}); err != nil {
			t.Fatal(err)
		}
	}
	if done["sync"]+done["syncdir"] != 0 {
		t.Errorf("the time of a check: %v", done)
	}
}

// TestJournalThatCannotBeShortened has no room for a whole version: changes are taken, and
// it is not tried with each of them.
func TestJournalThatCannotBeShortened(t *testing.T) {
	m := store.NewMemory()
	m.Bound(2000, 1<<20)
	z, before := on(m), sized(t, 1, 10)
	if err := z.Save(before); err != nil {
		t.Fatal(err)
	}
	change := func(serial int) {
		t.Helper()
		v := sized(t, serial, 10)
		if err := z.Append(v, zone.Diff(before, v)); err != nil {
			t.Fatal(err)
		}
		before = v
	}
	tried, serial := 0, 2
	m.Fail = func(op, path string) error {
		if op == "create" && filepath.Base(path) == "zone.new" {
			tried++
			return errDisk
		}
		return nil
	}
	for ; len(m.Get(path("journal"))) < 6000; serial++ {
		change(serial)
	}
	if tried < 2 || tried > 12 {
		t.Errorf("it was tried %d times with %d changes", tried, serial-2)
	}
	sameOn(t, m.Copy(), before, serial-2)
	m.Fail = nil
	for ; len(m.Get(path("journal"))) > 2000; serial++ {
		if change(serial); serial > 1000 {
			t.Fatal("it is never shortened")
		}
	}
	if v, deltas, _, err := load(t, m); err != nil || v.Serial() != before.Serial() || len(deltas) == 0 || len(deltas) > 20 {
		t.Errorf("serial %d, %d differences, %v", v.Serial(), len(deltas), err)
	}
}

// TestTooLarge has a version that is larger than one may be: what is there stays.
func TestTooLarge(t *testing.T) {
	m := store.NewMemory()
	m.Bound(2000, 800)
	z := on(m)
	small, large := sized(t, 1, 500), sized(t, 2, 600)
	if err := z.Save(small); err != nil {
		t.Fatal(err)
	}
	if err := z.Save(large); err == nil || !strings.Contains(err.Error(), "more than can be stored") {
		t.Error(err)
	}
	sameOn(t, m, small, 0)
}

// TestDamageWhileItRuns damages the journal under a server: when it is shortened, and all
// that it led to has been written, it is begun anew, and told of.
func TestDamageWhileItRuns(t *testing.T) {
	m := store.NewMemory()
	m.Bound(2000, 1<<20)
	var log bytes.Buffer
	z, before := kept{store.OpenOn(m, dir, slog.New(slog.NewTextHandler(&log, nil)))}, sized(t, 1, 10)
	if err := z.Save(before); err != nil {
		t.Fatal(err)
	}
	for serial := 2; log.Len() == 0; serial++ {
		v := sized(t, serial, 10)
		if err := z.Append(v, zone.Diff(before, v)); err != nil {
			t.Fatal(err)
		}
		if before = v; serial == 3 {
			content := m.Get(path("journal"))
			content[60] ^= 1
			m.Put(path("journal"), content)
		}
		if serial > 100 {
			t.Fatal("it is never shortened")
		}
	}
	if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "from byte 29 on") {
		t.Errorf("it was told: %s", log.String())
	}
	sameOn(t, m.Copy(), before, 0)
	after := sized(t, 500, 10)
	if err := z.Append(after, zone.Diff(before, after)); err != nil {
		t.Fatal(err)
	}
	sameOn(t, m.Crash(nil), after, 1)
}
