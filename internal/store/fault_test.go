package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"port53/internal/dnstest"
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
		return slices.Contains([]string{"example.test", "zone", "journal", "checked", "frozen", "=bundle"}, name) || strings.Contains(name, ".aside")
	})
	return strings.Join(names, " ")
}

// TestFaults has each operation on the disk fail, and the power fail at each.
func TestFaults(t *testing.T) {
	storetest.Run(t, func() storetest.Medium { return newDisk() })
}

// TestFaultsAreTold has each operation of each call fail: the call says so, but where what
// failed is not needed for what it promises.
func TestFaultsAreTold(t *testing.T) {
	versions := []*zone.Zone{sized(t, 1, 10), sized(t, 2, 10), sized(t, 3, 10)}
	change := func(i int) func(z kept) error {
		return func(z kept) error { return z.Append(versions[i], zone.Diff(versions[i-1], versions[i])) }
	}
	save := func(z kept) error { return z.Save(versions[0]) }
	load := func(z kept) error {
		_, err := z.Dir.Load(apex, dnstest.Seed)
		return err
	}
	meta := func(m store.Meta) func(z kept) error {
		return func(z kept) error { return z.SetMeta(apex, m) }
	}
	asLoaded := meta(store.Meta{Checked: time.Unix(1, 0), Frozen: true})
	leftovers := "remove zone.new, remove zone.old, remove journal.new, remove journal.old, remove checked.new, remove checked.old, "
	settling := "lstat zones, mkdir zones, syncdir state, syncdir zones, syncdir example.test, open journal, sync journal, close journal, " // what follows does it again
	looking := "open =bundle, remove =bundle.new, remove =bundle.old, "                                                                     // where most zones are not
	for what, c := range map[string]struct {
		before []func(z kept) error
		spoil  func(m *store.Memory) // before another server makes the call; nil: it is the same one
		call   func(z kept) error
		spared string // operations that may fail
	}{
		"the first version":     {nil, nil, save, looking + "link zone, remove journal"}, // not all file systems have links
		"another version":       {[]func(z kept) error{save, change(1)}, nil, save, "link zone, remove zone.old, remove journal"},
		"the first change":      {[]func(z kept) error{save}, nil, change(1), "link journal, close journal"},
		"the second change":     {[]func(z kept) error{save, change(1)}, nil, change(2), "close journal"},
		"when it was checked":   {[]func(z kept) error{save}, nil, meta(store.Meta{Checked: time.Unix(1, 0)}), ""},
		"that it is frozen":     {[]func(z kept) error{save}, nil, meta(store.Meta{Frozen: true}), ""},
		"that it is not frozen": {[]func(z kept) error{save, meta(store.Meta{Frozen: true})}, nil, meta(store.Meta{}), ""},
		"removing":              {[]func(z kept) error{save, change(1)}, nil, kept.Remove, "remove journal, remove zone, remove example.test=gone"}, // what is left is removed later
		"loading":               {[]func(z kept) error{save, change(1), asLoaded}, func(*store.Memory) {}, load, looking + "close zone, close journal, " + leftovers + settling + "open checked, close checked"},
		"loading what is torn": {[]func(z kept) error{save, change(1)}, func(m *store.Memory) {
			journal := m.Get(path("journal"))
			m.Put(path("journal"), journal[:len(journal)-1])
		}, load, looking + "close zone, close journal, " + leftovers + settling + "open checked, lstat zone, lstat journal"},
		"a version in place of what is damaged": {[]func(z kept) error{save, change(1)}, func(m *store.Memory) { m.Put(path("zone"), []byte("nonsense")) }, func(z kept) error {
			_, _, _ = z.Load() // whatever it says
			return z.Save(versions[2])
		}, "lstat example.test, " + looking + "open zone, close zone, open journal, close journal, link zone, remove journal"},
	} {
		var told []string
		for n := 1; ; n++ {
			m := store.NewMemory()
			z := on(m)
			for _, before := range c.before {
				if err := before(z); err != nil {
					t.Fatal(err)
				}
			}
			if c.spoil != nil {
				c.spoil(m)
				z = on(m)
			}
			done, failed := 0, ""
			m.Fail = func(op, path string) error {
				if done++; done == n {
					failed = op + " " + filepath.Base(path)
					return errDisk
				}
				return nil
			}
			err := c.call(z)
			if open := m.StillOpen(); open != 0 {
				t.Errorf("%s, with a fault at %s: %d files are still open", what, failed, open)
			}
			if failed == "" {
				break
			}
			if err == nil {
				told = append(told, failed)
			} else if !errors.Is(err, errDisk) {
				t.Errorf("%s, with a fault at %s: %v", what, failed, err)
			}
		}
		if got := strings.Join(told, ", "); got != c.spared {
			t.Errorf("%s: no error for a fault at %q, want %q", what, got, c.spared)
		}
	}
}

// TestSweptRemoval has a server killed as it removes a zone, before that lasts, another begin
// to take away what is left, and the power fail: the zone is there, whole, or it is not.
func TestSweptRemoval(t *testing.T) {
	m, _, versions := journaled(t, 3, 10)
	z, killed := on(m), false
	m.Fail = func(op, _ string) error {
		if killed = killed || op == "syncdir"; killed {
			return errDisk
		}
		return nil
	}
	if err := z.Remove(); err == nil {
		t.Fatal("it was removed")
	}
	m.Fail = nil
	after := m.Copy()
	if v, _, _, err := load(t, after); err != nil || v != nil && v.Serial() != 3 {
		t.Errorf("%v %v", v, err)
	}
	for seed := range uint64(50) {
		found := after.Crash(rand.New(rand.NewPCG(seed, 2)))
		if v, _, _, err := load(t, found); err != nil || v != nil && !slices.Equal(contents(v), contents(versions[2])) {
			t.Fatalf("draw %d: %v %v, with %q", seed, v, err, slices.Collect(maps.Keys(state(found))))
		}
	}
}

// TestUnsureDisk has a disk that cannot sync what is there: it is told of, and the next change
// is written whole.
func TestUnsureDisk(t *testing.T) {
	m, _, versions := journaled(t, 2, 10)
	m.Fail = func(op, _ string) error {
		if op == "syncdir" {
			return errDisk
		}
		return nil
	}
	var log bytes.Buffer
	z := kept{store.OpenOn(m, dir, slog.New(slog.NewTextHandler(&log, nil)))}
	if v, _, err := z.Load(); err != nil || v.Serial() != 2 || !strings.Contains(log.String(), "is not synced to disk") {
		t.Errorf("%v, told: %s", err, log.String())
	}
	m.Fail = nil
	next := sized(t, 3, 10)
	if err := z.Append(next, zone.Diff(versions[1], next)); err != nil {
		t.Fatal(err)
	}
	sameOn(t, m.Crash(nil), next, 0)
}

// TestLeftovers has what is left of a removed zone be told of, by whoever cannot remove it.
func TestLeftovers(t *testing.T) {
	m := store.NewMemory()
	var log bytes.Buffer
	logged := func() kept { return kept{store.OpenOn(m, dir, slog.New(slog.NewTextHandler(&log, nil)))} }
	z := logged()
	if err := z.Save(version(t, 1)); err != nil {
		t.Fatal(err)
	}
	m.Fail = func(op, path string) error {
		if op == "remove" && filepath.Base(path) == "zone" {
			return errDisk
		}
		return nil
	}
	for _, want := range []string{"leftover data of a removed zone cannot be deleted", "leftover data of removed zones cannot be deleted"} {
		log.Reset()
		_ = z.Remove()
		if text := log.String(); !strings.Contains(text, want) || !strings.Contains(text, errDisk.Error()) {
			t.Errorf("it was told: %s, want %s", text, want)
		}
		z = logged()
	}
}

// TestTornEndThatStays has the torn end of a journal not be cut off, or not for good: then
// nothing is loaded that the next changes would be written behind.
func TestTornEndThatStays(t *testing.T) {
	for _, failing := range []string{"truncate journal", "sync journal"} {
		m, journals, _ := journaled(t, 3, 10)
		m.Put(path("journal"), journals[2][:len(journals[2])-1])
		failed := false
		m.Fail = func(op, path string) error {
			if !failed && op+" "+filepath.Base(path) == failing {
				failed = true
				return errDisk
			}
			return nil
		}
		if v, _, _, err := load(t, m); v != nil || !errors.Is(err, errDisk) {
			t.Errorf("%s: %v %v", failing, v, err)
		}
	}
}

// TestEachSyncIsNeeded leaves out one kind of sync after another: each is missed.
func TestEachSyncIsNeeded(t *testing.T) {
	for what, deaf := range map[string]func(op, path string) bool{
		"of a whole version":           func(op, path string) bool { return op == "sync" && filepath.Base(path) == "zone.new" },
		"of a journal that is written": func(op, path string) bool { return op == "sync" && filepath.Base(path) == "journal" },
		"of a journal that is made":    func(op, path string) bool { return op == "sync" && filepath.Base(path) == "journal.new" },
		"of a bundle that is written":  func(op, path string) bool { return op == "sync" && filepath.Base(path) == "=bundle" },
		"of a bundle that is made":     func(op, path string) bool { return op == "sync" && filepath.Base(path) == "=bundle.new" },
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

// TestChangeAfterAFailedVersion has a version fail as its directory is synced, and a change
// of the one before succeed: whatever a crash makes of the names then, the change counts. If
// the directory can still not be synced, the change fails, and the next is written whole.
func TestChangeAfterAFailedVersion(t *testing.T) {
	for fails := 1; fails <= 2; fails++ {
		m, _, versions := journaled(t, 2, 10)
		z, failed, written := on(m), 0, 0
		if _, _, err := z.Load(); err != nil {
			t.Fatal(err)
		}
		m.Fail = func(op, path string) error {
			if op == "create" && filepath.Base(path) == "zone.new" {
				written++
			}
			if op == "syncdir" && failed < fails {
				failed++
				return errDisk
			}
			return nil
		}
		if err := z.Save(sized(t, 9, 10)); !errors.Is(err, errDisk) {
			t.Fatal(err)
		}
		next := sized(t, 3, 10)
		change := func() error { return z.Append(next, zone.Diff(versions[1], next)) }
		history := 2
		if fails == 2 {
			if err := change(); !errors.Is(err, errDisk) {
				t.Error(err)
			}
			history = 0
		}
		written = 0
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if written != fails-1 {
			t.Errorf("%d faults: written whole %d times", fails, written)
		}
		for seed := range uint64(30) {
			sameOn(t, m.Crash(rand.New(rand.NewPCG(seed, 1))), next, history)
		}
	}
}

// TestVersionThatCannotBeUndone has a version fail as its directory is synced, and the one
// before not be put back: a change of that one is not written behind the other.
func TestVersionThatCannotBeUndone(t *testing.T) {
	m, _, versions := journaled(t, 2, 10)
	z := on(m)
	if _, _, err := z.Load(); err != nil {
		t.Fatal(err)
	}
	fails := []string{"syncdir example.test", "rename zone.old"}
	m.Fail = func(op, path string) error {
		if len(fails) > 0 && op+" "+filepath.Base(path) == fails[0] {
			fails = fails[1:]
			return errDisk
		}
		return nil
	}
	if err := z.Save(sized(t, 9, 10)); !errors.Is(err, errDisk) || len(fails) > 0 {
		t.Fatal(err, fails)
	}
	next := sized(t, 3, 10)
	if err := z.Append(next, zone.Diff(versions[1], next)); err != nil {
		t.Fatal(err)
	}
	sameOn(t, m.Copy(), next, 0)
	sameOn(t, m.Crash(nil), next, 0)
}

// TestVersionBeforeIsInTheWay has what was kept of the version before last not go away, and
// the next version fail: the last one is there, and nothing of the others.
func TestVersionBeforeIsInTheWay(t *testing.T) {
	m := store.NewMemory()
	z, fails := on(m), ""
	m.Fail = func(op, path string) error {
		if op+" "+filepath.Base(path) == fails {
			fails = ""
			return errDisk
		}
		return nil
	}
	for serial := 1; serial <= 3; serial++ {
		fails = []string{"", "remove zone.old", "syncdir example.test"}[serial-1]
		if err := z.Save(sized(t, serial, 10)); (err == nil) != (serial < 3) {
			t.Fatal(err)
		}
	}
	sameOn(t, m.Copy(), sized(t, 2, 10), 0)
	if err := z.Save(sized(t, 4, 10)); err != nil {
		t.Fatal(err)
	}
	sameOn(t, m.Crash(nil), sized(t, 4, 10), 0)
	if litter := (&disk{Memory: m}).Litter(); litter != "" {
		t.Errorf("%s is left behind", litter)
	}
}

// TestGrownZone has a zone grow while it runs, and then change a little, many times: its
// journal may be as large as it is by now, before it is written whole.
func TestGrownZone(t *testing.T) {
	m := store.NewMemory()
	m.Bound(2000, 1<<20)
	z, written := on(m), 0
	m.Fail = func(op, path string) error {
		if op == "create" && filepath.Base(path) == "zone.new" {
			written++
		}
		return nil
	}
	grown := func(serial, hosts int) *zone.Zone {
		text := fmt.Sprintf("@ 60 SOA ns admin %d 1 2 3 4\n@ 60 NS ns\nns 60 A 192.0.2.1\n", serial)
		for i := range hosts {
			text += fmt.Sprintf("host%d 60 A 192.0.2.7\n", i)
		}
		return dnstest.Zone(t, "example.test.", text)
	}
	before := grown(1, 0)
	if err := z.Save(before); err != nil {
		t.Fatal(err)
	}
	for serial := 2; serial < 30; serial++ {
		v := grown(serial, 500+serial)
		if err := z.Append(v, zone.Diff(before, v)); err != nil {
			t.Fatal(err)
		}
		before = v
	}
	if written != 2 {
		t.Errorf("it was written whole %d times, want 2: at first, and as it grew", written)
	}
	sameOn(t, m.Crash(nil), before, 27)
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
	if err := z.Save(large); err == nil || !strings.Contains(err.Error(), "too large to store") {
		t.Error(err)
	}
	sameOn(t, m, small, 0)
}

// TestDamageWhileItRuns damages the journal under a server: when it is shortened, and all
// that it led to has been written, it is started over, and told of.
func TestDamageWhileItRuns(t *testing.T) {
	for _, at := range []int{3, 6} { // the serial of the change that is damaged, and with it all after it
		damageWhileItRuns(t, at)
	}
}

func damageWhileItRuns(t *testing.T, at int) {
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
		if before = v; serial == at {
			content := m.Get(path("journal"))
			content[len(content)-5] ^= 1
			m.Put(path("journal"), content)
		}
		if serial > 100 {
			t.Fatal("it is never shortened")
		}
	}
	if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "damaged from byte") {
		t.Errorf("it was told: %s", log.String())
	}
	sameOn(t, m.Copy(), before, 0)
	after := sized(t, 500, 10)
	if err := z.Append(after, zone.Diff(before, after)); err != nil {
		t.Fatal(err)
	}
	sameOn(t, m.Crash(nil), after, 1)
}
