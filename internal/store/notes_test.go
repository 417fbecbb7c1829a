package store_test

import (
	"fmt"
	"strings"
	"testing"

	"port53/internal/store"
	"port53/internal/zone"
)

// notes returns what is known of a version, in order of its keys.
func notes(z *zone.Zone) string {
	var list [10]string
	z.Notes().Each(func(key, value string) bool {
		list[key[0]-'0'] = key + "=" + value
		return true
	})
	return strings.Join(list[:], " ")
}

// TestNotes: what is known of a version beside its records is in the same write, and there after a
// restart and after the journal was shortened. Files of zones without notes are as they always were.
func TestNotes(t *testing.T) {
	m := store.NewMemory()
	z := on(m)
	v := version(t, 1)
	if err := z.Save(v); err != nil {
		t.Fatal(err)
	}
	step := func(d *zone.Delta) {
		t.Helper()
		now, problems := v.Apply(d)
		if now == nil {
			t.Fatal(problems)
		}
		writes := m.Get(path("zone"))
		if err := z.Append(now, d); err != nil {
			t.Fatal(err)
		}
		if string(m.Get(path("zone"))) != string(writes) {
			t.Error("the whole version was written for a difference")
		}
		v = now
		back, deltas, err := on(m).Load()
		if err != nil || notes(back) != notes(v) || back.Serial() != v.Serial() || back.Records() != v.Records() {
			t.Fatalf("%v: notes %q of serial %d, want %q of %d", err, notes(back), back.Serial(), notes(v), v.Serial())
		}
		if last := deltas[len(deltas)-1]; fmt.Sprint(last.Notes) != fmt.Sprint(d.Notes) {
			t.Errorf("the last change is %v, want %v", last.Notes, d.Notes)
		}
	}
	line := func(name, want string) {
		t.Helper()
		if got, _, _ := strings.Cut(string(m.Get(path(name))), "\n"); got != want {
			t.Errorf("%s begins with %q, want %q", name, got, want)
		}
	}
	step(zone.Diff(v, version(t, 2)))
	line("journal", "port53 journal 4")
	d := zone.Diff(v, version(t, 3))
	d.Notes = []zone.Note{{Key: "1", Value: "one"}, {Key: "2", Value: "two"}}
	step(d)
	line("journal", "port53 journal 5")
	step(zone.Diff(v, v.WithNotes(v.Notes().With(zone.Note{Key: "1", Was: "one", Value: "uno"})))) // the serial stays
	step(zone.Diff(v, version(t, 4).WithNotes(v.Notes().With(zone.Note{Key: "2", Was: "two"}, zone.Note{Key: "3", Value: "three"}))))
	if got := strings.Join(strings.Fields(notes(v)), " "); got != "1=uno 3=three" {
		t.Errorf("notes %q", got)
	}
	line("zone", "port53 zone 3")
	if err := z.Save(v); err != nil {
		t.Fatal(err)
	}
	line("zone", "port53 zone 4")
	if back, _, err := on(m).Load(); err != nil || notes(back) != notes(v) {
		t.Errorf("%v: %q", err, notes(back))
	}
	whole := m.Get(path("zone"))
	for i := range whole {
		bad := append([]byte{}, whole...)
		bad[i] ^= 4
		m.Put(path("zone"), bad)
		if _, _, err := on(m).Load(); err == nil {
			t.Fatalf("a version whose octet %d was changed is taken", i)
		}
	}
	m.Put(path("zone"), whole)
	bare := v.WithNotes(nil)
	if err := on(m).Save(bare); err != nil {
		t.Fatal(err)
	}
	line("zone", "port53 zone 3")
}
