package store_test

import (
	"errors"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"port53/internal/store"
	"port53/internal/store/storetest"
	"port53/internal/zone"
)

// A disk is a medium of the suite.
type disk struct {
	*store.Memory
	done, fails int
	dead        bool
	deaf        func(op, path string) bool // operations that do nothing, and say they have; nil: none
}

func newDisk() *disk {
	d := &disk{Memory: store.NewMemory()}
	d.ShortenAt(3000)
	return d
}

var errDisk = errors.New("a fault of the disk")

func (d *disk) Open() storetest.Store {
	d.Fail = func(op, path string) error {
		d.done++
		if d.fails > 0 && (d.done == d.fails || d.dead && d.done > d.fails) {
			return errDisk
		}
		if d.deaf != nil && d.deaf(op, path) {
			return store.ErrNothingDone
		}
		return nil
	}
	return store.OpenOn(d.Memory, dir, nil)
}

func (d *disk) Interrupt(n int, dead bool) (done int) {
	done, d.done, d.fails, d.dead = d.done, 0, n, dead
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
