package wire_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"port53/internal/wire"
)

// RFC 4034, section 6.1: the example of canonical order.
func TestSortKeyOrder(t *testing.T) {
	names := []string{
		"\x07example\x00",
		"\x01a\x07example\x00",
		"\x08yljkjljk\x01a\x07example\x00",
		"\x01Z\x01a\x07example\x00",
		"\x04zABC\x01a\x07EXAMPLE\x00",
		"\x01z\x07example\x00",
		"\x01\x01\x01z\x07example\x00",
		"\x01*\x01z\x07example\x00",
		"\x01\xc8\x01z\x07example\x00",
	}
	keys := make([][]byte, len(names))
	for i, n := range names {
		keys[i] = wire.AppendSortKey(nil, []byte(n), 0)
	}
	if !slices.IsSortedFunc(keys, bytes.Compare) {
		t.Errorf("keys are not in the order of their names: %q", keys)
	}
	// A shorter label sorts before a longer one that begins with it, an octet 0 included.
	short := wire.AppendSortKey(nil, []byte("\x01a\x00"), 0)
	long := wire.AppendSortKey(nil, []byte("\x02a\x00\x00"), 0)
	child := wire.AppendSortKey(nil, []byte("\x01b\x01a\x00"), 0)
	if bytes.Compare(short, child) >= 0 || bytes.Compare(child, long) >= 0 {
		t.Errorf("a, b.a, a\\000 sort as %q, %q, %q", short, child, long)
	}
}

func TestHashIsByLabel(t *testing.T) {
	seed := wire.Seed(53)
	name := []byte("\x0caveryverylon\x3e" + strings.Repeat("x", 62) + "\x08eightoct\x09nineoctet\x03com\x00")
	var s wire.SplitName
	s.Set(name)
	h := seed
	for i := s.Labels - 1; i >= 0; i-- {
		h = h.Label(s.From(s.Start(i)))
		if want := seed.Hash(s.Name()[s.Start(i):]); h != want {
			t.Errorf("label %d: %x by labels, %x at once", i, h, want)
		}
	}
	seen := map[wire.Seed]string{}
	for _, n := range []string{"\x01a\x01b\x00", "\x02ab\x00", "\x01b\x01a\x00", "\x03a\x01b\x00", "\x01a\x00", "\x00", "\x02a\x00\x00", "\x08aaaaaaaa\x00", "\x09aaaaaaaaa\x00", "\x09aaaaaaaa\x00\x00"} {
		h := seed.Hash([]byte(n))
		if other, ok := seen[h]; ok {
			t.Errorf("%q and %q have one hash", n, other)
		}
		seen[h] = n
	}
}

// Names that differ in few bits of few labels have different hashes, whatever the seed:
// where the lowest bit of a label did not count, b.c was c.b.
func TestHashTellsNamesApart(t *testing.T) {
	var labels []string
	for _, c := range "abcdefghijklmnopqrstuvwxyz0123456789-_*" {
		labels = append(labels, "\x01"+string(c))
	}
	long := []string{}
	for _, n := range []int{2, 7, 8, 9, 16, 17, 63} {
		for _, c := range "bc23" {
			text := strings.Repeat("x", n-1)
			long = append(long, string(rune(n))+string(c)+text, string(rune(n))+text+string(c))
		}
	}
	var names []string
	for _, list := range [][]string{labels, long} {
		for _, a := range list {
			for _, b := range list {
				names = append(names, a+b+"\x00")
				for _, c := range list {
					names = append(names, a+b+c+"\x00")
				}
			}
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	for _, seed := range []wire.Seed{0, 53} {
		seen := make(map[wire.Seed]string, len(names))
		for _, name := range names {
			h := seed.Hash([]byte(name))
			if other, ok := seen[h]; ok {
				t.Fatalf("seed %x: %q and %q are both %x", uint64(seed), name, other, uint64(h))
			}
			seen[h] = name
		}
	}
}

func TestSplitName(t *testing.T) {
	var s wire.SplitName
	for c := range 256 {
		name := []byte{1, byte(c), 9, 'A', 'b', 'C', 'd', 'E', '[', '@', '`', 0xC1, 0}
		s.Set(name)
		if got, want := s.Name(), bytes.ToLower([]byte{byte(c)}); c < 128 && got[1] != want[0] || c >= 128 && got[1] != byte(c) {
			t.Errorf("octet %d in lower case is %d", c, got[1])
		}
		if got, want := string(s.Name()[2:]), "\x09abcde[@`\xC1\x00"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	s.Cut(1)
	if s.Labels != 1 || s.Len() != 11 || s.Name()[0] != 9 {
		t.Errorf("without its first label: %d labels, %q", s.Labels, s.Name())
	}
}

// TestHashOfSplitName has the hashes of a whole name depend on all of it, on its seed, and on nothing that
// was in the same place before.
func TestHashOfSplitName(t *testing.T) {
	var s, used wire.SplitName
	sums, hashes := map[wire.Seed]string{}, map[wire.Seed]string{}
	for length := range 40 {
		label := bytes.Repeat([]byte{'a'}, length+1)
		for i := range label {
			for _, seed := range []wire.Seed{1, 2} {
				name := append(append([]byte{byte(len(label))}, label...), 0)
				name[1+i] = 'B'
				s.Set(name)
				used.Set(append([]byte{63}, append(bytes.Repeat([]byte{0xFF}, 63), 0)...))
				used.Set(bytes.ToUpper(name))
				sum, hash := s.Sum(seed), s.Hash(seed, 0)
				if used.Sum(seed) != sum || used.Hash(seed, 0) != hash {
					t.Fatalf("%q: the hash depends on what was there before", name)
				}
				if hash != seed.Hash(s.Name()) || s.Hash(seed, 1) != seed {
					t.Fatalf("%q: not the hash of its labels", name)
				}
				key := fmt.Sprint(seed, name)
				if other := sums[sum] + hashes[hash]; other != "" {
					t.Fatalf("%s has the hash of %s", key, other)
				}
				sums[sum], hashes[hash] = key, key
			}
		}
	}
}

func TestSubdomain(t *testing.T) {
	tests := []struct {
		name, apex string
		want       bool
	}{
		{"\x03www\x07Example\x00", "\x07exampLe\x00", true},
		{"\x07example\x00", "\x07example\x00", true},
		{"\x07example\x00", "\x00", true},
		{"\x08xexample\x00", "\x07example\x00", false},
		{"\x07example\x00", "\x03www\x07example\x00", false},
		{"\x0a\x01a\x07example\x00", "\x01a\x07example\x00", false}, // the same octets, not the same labels
	}
	for _, test := range tests {
		if got := wire.Subdomain([]byte(test.name), []byte(test.apex)); got != test.want {
			t.Errorf("%q below %q: got %v", test.name, test.apex, got)
		}
	}
}

func TestParent(t *testing.T) {
	for name, want := range map[string]string{
		"\x03www\x07example\x00": "\x07example\x00", "\x07example\x00": "\x00", "\x01a\x01b": "\x01b", "\x01a": "",
		"\x3f" + strings.Repeat("x", 63) + "\x01b\x00": "\x01b\x00",
	} {
		if got := string(wire.Parent([]byte(name))); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}
