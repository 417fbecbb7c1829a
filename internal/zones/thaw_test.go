package zones_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"port53/internal/dnstest"
	"port53/internal/store/storetest"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zones"
)

// TestThawTakesTheEdit edits the file of a zone while it is frozen, in each way in which
// people do: what they wrote is served when the freeze ends, or they hear why not.
func TestThawTakesTheEdit(t *testing.T) {
	const edited = "edited.test.\t60\tIN\tA\t192.0.2.99\n"
	serial := func(n int) func(string) string {
		return func(text string) string {
			return strings.Replace(text, " 3 7200", fmt.Sprintf(" %d 7200", n), 1) + edited
		}
	}
	for what, c := range map[string]struct {
		edit   func(text string) string
		serial int
		raised bool
		added  []string // but for the SOA
		err    string
	}{
		"nothing":                {func(text string) string { return text }, 3, false, nil, ""},
		"a comment":              {func(text string) string { return "; hello\n" + text }, 3, false, nil, ""},
		"the same serial":        {func(text string) string { return text + edited }, 4, true, []string{"edited.test. 60 IN A 192.0.2.99"}, ""},
		"a newer serial":         {serial(2026112900), 2026112900, false, []string{"edited.test. 60 IN A 192.0.2.99"}, ""},
		"an older serial":        {serial(1), 4, true, []string{"edited.test. 60 IN A 192.0.2.99"}, ""},
		"a serial far away":      {serial(3 + 1<<31), 3, false, nil, "neither newer nor older than 3"},
		"an older serial, alone": {func(text string) string { return strings.Replace(text, " 3 7200", " 1 7200", 1) }, 3, false, nil, ""},
		"a timer":                {func(text string) string { return strings.Replace(text, " 3 7200", " 3 7300", 1) }, 4, true, nil, ""},
		"a record taken out":     {func(text string) string { return strings.Replace(text, "u1.test.\t60\tIN\tA\t192.0.2.7\n", "", 1) }, 4, true, nil, ""},
		"a mistake":              {func(text string) string { return text + "edited.test. 60 IN A 192.0.2.999\n" }, 3, false, nil, "stays frozen: "},
		"no SOA":                 {func(text string) string { return edited }, 3, false, nil, "stays frozen: "},
		"no file":                {nil, 3, false, nil, "stays frozen: "},
	} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restart %v", what, restart), func(t *testing.T) {
				s, source, again := newUpdated(t)
				apex := source.Apex
				s.update(1, wire.NoError)
				s.update(2, wire.NoError)
				if err := s.manager.Freeze(apex); err != nil {
					t.Fatal(err)
				}
				text, err := os.ReadFile(source.File)
				if err != nil {
					t.Fatal(err)
				}
				if c.edit != nil {
					write(t, filepath.Dir(source.File), "test.zone", c.edit(string(text)))
				} else if err := os.Remove(source.File); err != nil {
					t.Fatal(err)
				}
				if restart {
					again()
				}
				served := s.view.Load().Get(apex).Zone()
				got, err := s.manager.Thaw(t.Context(), apex)
				now := s.view.Load().Get(apex).Zone()
				if c.err != "" {
					if err == nil || !strings.Contains(err.Error(), c.err) || now != served || !s.manager.Status()[0].Frozen {
						t.Errorf("%v, serial %d, frozen %v", err, now.Serial(), s.manager.Status()[0].Frozen)
					}
					return
				}
				if err != nil || got.Zone != "test." || got.Raised != c.raised && !restart {
					t.Fatalf("%v %+v", err, got)
				}
				if int(now.Serial()) != c.serial || s.manager.Status()[0].Frozen {
					t.Errorf("serial %d, want %d; %+v", now.Serial(), c.serial, got)
				}
				if d := zone.Diff(now, zones.Load(source, dnstest.Seed).Zone); d != nil && !d.OnlySerial() {
					t.Errorf("what is served is not what the file has: %+v", d)
				}
				if !restart && len(got.Changes) > 0 {
					added := slices.DeleteFunc(got.Changes[0].Added, func(line string) bool { return strings.Contains(line, " SOA ") })
					if !slices.Equal(added, c.added) {
						t.Errorf("added %q, want %q", added, c.added)
					}
				}
				// Updates go on from there, over a restart and a reload too.
				s.update(3, wire.NoError)
				for _, next := range []func(){again, func() { s.load(source) }} {
					next()
					if got := s.serial("test."); got != c.serial+1 {
						t.Errorf("serial %d after one more update, want %d: %s", got, c.serial+1, s.problems())
					}
				}
			})
		}
	}
}

// TestNoEditIsLost edits the file of a zone that updates change, and has the file written
// then: an edit that nobody has read is not written over.
func TestNoEditIsLost(t *testing.T) {
	for what, c := range map[string]struct {
		serial int
		load   bool
		lost   bool // the edit would be
	}{
		"an edit that was not read":            {9, false, true},
		"an edit that was read":                {9, true, false},
		"an edit with the file's serial":       {1, true, true},
		"one with the file's serial, not read": {1, false, true},
		"an edit with the served serial":       {2, true, true},
		"an edit with an older serial":         {0, true, true},
	} {
		for _, command := range []string{"sync", "freeze"} {
			s, source, _ := newUpdated(t)
			s.update(1, wire.NoError)
			text := fmt.Sprintf(head, c.serial) + "edited A 192.0.2.99\n"
			write(t, filepath.Dir(source.File), "test.zone", text)
			if c.load {
				s.load(source)
			}
			err := s.manager.Sync(source.Apex)
			if command == "freeze" {
				err = s.manager.Freeze(source.Apex)
			}
			after, readErr := os.ReadFile(source.File)
			if readErr != nil {
				t.Fatal(readErr)
			}
			kept := strings.Contains(string(after), "edited")
			if (err != nil) != c.lost || !kept || s.manager.Status()[0].Frozen != (command == "freeze" && err == nil) {
				t.Errorf("%s, %s: %v; the edit is there: %v, frozen: %v", what, command, err, kept, s.manager.Status()[0].Frozen)
			}
			if c.lost && err != nil && !strings.Contains(err.Error(), "its file was edited") {
				t.Errorf("%s, %s: %v", what, command, err)
			}
		}
	}
}

// TestFreezeWritesTheFileFirst freezes a zone that updates have changed, where one of the two
// writes fails or the server is gone after any of them: a zone that is found to be frozen has
// all updates in its file, which thawing takes.
func TestFreezeWritesTheFileFirst(t *testing.T) {
	for _, what := range []string{"done", "no room for the mark", "no room for the file"} {
		t.Run(what, func(t *testing.T) {
			kept := storetest.NewMemory()
			s := newServer(t, zones.Options{Store: kept})
			dir := t.TempDir()
			file := source(t, "test.", write(t, dir, "test.zone", fmt.Sprintf(head, 1)))
			file.Updates = anything(t, "test.")
			s.load(file)
			s.update(7, wire.NoError)
			served := s.serial("test.")
			kept.Watch(func(call string) error {
				if call != "setmeta" {
					return nil
				}
				if z := zones.Load(file, dnstest.Seed).Zone; z == nil || int(z.Serial()) != served {
					t.Errorf("it is written down as frozen while its file does not have serial %d, which is served", served)
				}
				if what == "no room for the mark" {
					return errFull
				}
				return nil
			})
			if what == "no room for the file" {
				if err := os.Remove(file.File); err != nil {
					t.Fatal(err)
				}
				if err := os.MkdirAll(filepath.Join(file.File, "in the way"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			err := s.manager.Freeze(file.Apex)
			if frozen := s.manager.Status()[0].Frozen; (err == nil) != (what == "done") || frozen != (err == nil) {
				t.Fatalf("%v, frozen %v", err, frozen)
			}
			kept.Watch(nil)
			if _, err := s.manager.Thaw(t.Context(), file.Apex); err != nil {
				t.Fatal(err)
			}
			if got := s.serial("test."); got != served {
				t.Errorf("after thawing serial %d is served, and %d was", got, served)
			}
			s.update(8, wire.NoError)
		})
	}
}
