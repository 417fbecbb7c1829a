package wire_test

import (
	"bytes"
	"strings"
	"testing"

	"port53/internal/wire"
)

func TestParseName(t *testing.T) {
	label63, label64 := strings.Repeat("a", 63), strings.Repeat("a", 64)
	long := strings.Repeat(label63+".", 3) + strings.Repeat("b", 61)
	for _, c := range []struct{ text, name, printed, fault string }{
		{text: ".", name: "\x00", printed: "."},
		{text: "example", name: "\x07example\x00", printed: "example."},
		{text: "Www.Example.", name: "\x03Www\x07Example\x00", printed: "Www.Example."},
		{text: `a\.b.c`, name: "\x03a.b\x01c\x00", printed: `a\.b.c.`},
		{text: `\000\255\032\065`, name: "\x04\x00\xff A\x00", printed: `\000\255\032A.`},
		{text: `\"\;\(\)\@\$\\`, name: "\x07\";()@$\\\x00", printed: `\"\;\(\)\@\$\\.`},
		{text: `\a\ b`, name: "\x03a b\x00", printed: `a\032b.`},
		{text: "*._tcp", name: "\x01*\x04_tcp\x00", printed: "*._tcp."},
		{text: "ü", name: "\x02\xc3\xbc\x00", printed: `\195\188.`},
		{text: label63, name: "\x3f" + label63 + "\x00", printed: label63 + "."},
		{text: long, printed: long + "."},
		{text: long + ".", printed: long + "."},
		{text: "", fault: "name is empty"},
		{text: "..", fault: "empty label"},
		{text: ".a", fault: "empty label"},
		{text: "a..b", fault: "empty label"},
		{text: label64, fault: "label has 64 octets, the limit is 63"},
		{text: label64 + ".a", fault: "label has 64 octets, the limit is 63"},
		{text: long + "b", fault: "name has 256 octets, the limit is 255"},
		{text: long + "b.", fault: "name has 256 octets, the limit is 255"},
		{text: `a\`, fault: `\ at the end`},
		{text: `a\1`, fault: "three digits"},
		{text: `a\12x`, fault: "three digits"},
		{text: `a\256`, fault: `\256 is larger than 255`},
	} {
		name, err := wire.ParseName(c.text)
		if c.fault != "" {
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%q: %v, want %q", c.text, err, c.fault)
			}
			continue
		}
		if err != nil || c.name != "" && string(name) != c.name {
			t.Errorf("%q: %q, %v, want %q", c.text, name, err, c.name)
			continue
		}
		if n, err := wire.CheckName(name); err != nil || n != len(name) {
			t.Errorf("%q: %q is no name: %v", c.text, name, err)
		}
		if got := string(wire.AppendName([]byte("x"), name)); got != "x"+c.printed {
			t.Errorf("%q: printed as %q, want %q", c.text, got[1:], c.printed)
		}
	}
}

func TestAppendNameOfNothing(t *testing.T) {
	for _, name := range []string{"", "\x05ab", "\x00"} {
		wire.AppendName(nil, []byte(name)) // garbage is not to crash a log line
	}
}

func FuzzName(f *testing.F) {
	for _, s := range []string{".", "a.b", `\000.\"`, "a..", `a\1`, "ü.", strings.Repeat("a.", 130)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := wire.ParseName(s)
		if err != nil {
			return
		}
		if n, err := wire.CheckName(name); err != nil || n != len(name) {
			t.Fatalf("%q: %q is no name: %v", s, name, err)
		}
		text := wire.AppendName(nil, name)
		if again, err := wire.ParseName(string(text)); err != nil || !bytes.Equal(again, name) {
			t.Fatalf("%q: %q, then %q: %v", s, text, again, err)
		}
	})
}
