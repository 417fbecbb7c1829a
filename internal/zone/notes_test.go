package zone_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"port53/internal/zone"
)

// TestNotes holds notes beside a map that is changed in the same way; versions before stay as they were.
func TestNotes(t *testing.T) {
	r := rand.New(rand.NewPCG(53, 1))
	var n *zone.Notes
	want := map[string]string{}
	for i := range 5000 {
		before, size := n, n.Len()
		var changes []zone.Note
		for range 1 + r.IntN(3) {
			key := fmt.Sprint(r.IntN(400))
			c := zone.Note{Key: key, Was: want[key], Value: fmt.Sprint(i)}
			if r.IntN(3) == 0 {
				c.Value = ""
			}
			changes = append(changes, c)
			if want[key] = c.Value; c.Value == "" {
				delete(want, key)
			}
		}
		n = n.With(changes...)
		if n.Len() != len(want) || before.Len() != size {
			t.Fatalf("%d notes, want %d", n.Len(), len(want))
		}
	}
	seen := 0
	n.Each(func(key, value string) bool {
		seen++
		if want[key] != value || n.Get(key) != value {
			t.Errorf("%s is %q, want %q", key, value, want[key])
		}
		return true
	})
	if seen != len(want) || n.Get("x") != "" {
		t.Errorf("%d of %d notes", seen, len(want))
	}
	text := zone.AppendNotes(nil, []zone.Note{{"a", "", "b"}, {"", "x", ""}})
	if list, ok := zone.ReadNotes(text); !ok || fmt.Sprint(list) != "[{a  b} { x }]" {
		t.Errorf("%v %v", list, ok)
	}
	for i := 1; i < len(text); i++ {
		if _, ok := zone.ReadNotes(text[:i]); ok && i != 14 {
			t.Errorf("%d octets are read", i)
		}
	}
}
