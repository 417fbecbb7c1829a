package zonegen_test

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"port53/conformance/probe"
	"port53/conformance/zonegen"
)

// TestSameSeedSameZone holds the generators to being deterministic.
func TestSameSeedSameZone(t *testing.T) {
	if a, b := zonegen.Hostile(), zonegen.Hostile(); !reflect.DeepEqual(a, b) {
		t.Error("Hostile gives different zones")
	}
	a, b := zonegen.Root(7, 50, zonegen.NSEC), zonegen.Root(7, 50, zonegen.NSEC)
	if !reflect.DeepEqual(a, b) {
		t.Error("Root gives different zones for one seed")
	}
	if c := zonegen.Root(8, 50, zonegen.NSEC); reflect.DeepEqual(a, c) {
		t.Error("Root gives the same zone for two seeds")
	}
}

// TestLimits checks that the zones reach the limits that they are for.
func TestLimits(t *testing.T) {
	longest, labels := 0, 0
	for _, z := range zonegen.Hostile() {
		for _, text := range z.Names() {
			name, err := probe.Name(text)
			if err != nil {
				t.Errorf("%s: %v", z.Origin, err)
				continue
			}
			longest = max(longest, len(name))
			n := 0
			for rest := name; rest[0] != 0; rest = rest[1+rest[0]:] {
				n++
			}
			labels = max(labels, n)
		}
	}
	if longest != 255 || labels != 127 {
		t.Errorf("got names of up to %d octets and %d labels, want 255 and 127", longest, labels)
	}
}

// TestWrite checks that a file has what every server reads.
func TestWrite(t *testing.T) {
	z := zonegen.New("example.", zonegen.Plain)
	z.Add(`a\.b\000[`, "TXT", `"x"`)
	z.Add("hip", "TYPE55", `\# 10 0402000201020304AABB`)
	if err := z.Write(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(z.File)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"example. 3600 IN SOA ns1.example. hostmaster.example. 2026010101 7200 3600 1209600 300\n",
		`a\046b\000\091.example. 3600 IN TXT "x"` + "\n",
		`hip.example. 3600 IN TYPE55 \# 10 0402000201020304aabb` + "\n",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("got\n%s\nwant it to contain %s", text, want)
		}
	}
}
