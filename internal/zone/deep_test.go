package zone

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"port53/internal/wire"
)

// deepZone is a zone of names of many labels, of which none has any in common with another
// but the zone's own, or all have.
func deepZone(names, labels int, shared bool, capitals bool) *Zone {
	b := NewBuilder([]byte("\x04deep\x04test\x00"), wire.Seed(1))
	add := func(owner string, t wire.Type, data string) {
		b.Add(&Record{Owner: []byte(owner + "\x04deep\x04test\x00"), Type: t, TTL: 60, Data: []byte(data)})
	}
	add("", wire.TypeSOA, "\x00\x00"+strings.Repeat("\x00\x00\x00\x09", 5))
	add("", wire.TypeNS, "\x02ns\x00")
	letter := "a"
	if capitals {
		letter = "A"
	}
	for n := range names {
		own := fmt.Sprintf("n%d", n)
		own = string(rune(len(own))) + own
		path := strings.Repeat("\x01"+letter, labels-1)
		if shared {
			add(own+path, wire.TypeA, "\x7f\x00\x00\x01")
		} else {
			add(path+own, wire.TypeA, "\x7f\x00\x00\x01")
		}
	}
	z, problems := b.Build()
	if z == nil {
		panic(fmt.Sprint(problems))
	}
	return z
}

// TestDeepNames has names of many labels: each name above one of them exists, has its own
// name, and no records (RFC 4592, section 2.2.2), and takes a few bytes of memory.
func TestDeepNames(t *testing.T) {
	for _, c := range []struct {
		shared, capitals bool
		octets           int // of one name and what is above it, at most
	}{{false, false, 100*32 + 400}, {true, false, 400}, {false, true, 100*512 + 800}} {
		const names = 200
		z := deepZone(names, 100, c.shared, c.capitals)
		if got := z.Size() / names; got > c.octets {
			t.Errorf("%+v: %d octets a name", c, got)
		}
		want := 1 + names*100
		if c.shared {
			want = 1 + names + 99
		}
		if z.Names() != want {
			t.Errorf("%+v: %d names, want %d", c, z.Names(), want)
		}
		for _, n := range []int{0, 7, names - 1} {
			own := fmt.Sprintf("n%d", n)
			labels := append(slices.Repeat([]string{"a"}, 99), own)
			if c.shared {
				labels = append([]string{own}, slices.Repeat([]string{"a"}, 99)...)
			}
			for k := range labels {
				var rel []byte
				for _, l := range labels[k:] {
					rel = append(append(rel, byte(len(l))), l...)
				}
				var name wire.SplitName
				name.Set(append(slices.Clone(rel), z.apex...))
				node := z.Lookup(&name)
				if node == 0 || string(z.RelName(node)) != string(rel) || z.Labels(node) != len(labels)-k || z.Empty(node) == (k == 0) {
					t.Fatalf("%+v: %s: node %d", c, name.Name(), node)
				}
				spelled := string(rel)
				if c.capitals {
					spelled = strings.ReplaceAll(spelled, "\x01a", "\x01A")
				}
				if got := z.AppendName(nil, node); string(got) != spelled+string(z.apex) {
					t.Errorf("%+v: %q, want %q", c, got, spelled)
				}
			}
			var none wire.SplitName
			none.Set(append([]byte("\x01b\x01a"), z.apex...))
			if z.Lookup(&none) != 0 {
				t.Errorf("%+v: a name that is not there", c)
			}
		}
	}
}
