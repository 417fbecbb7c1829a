package probe_test

import (
	"bytes"
	"strings"
	"testing"

	"port53/conformance/probe"
)

func TestName(t *testing.T) {
	for _, c := range []struct{ text, wire string }{
		{".", "\x00"},
		{"a.", "\x01a\x00"},
		{`a\.b.c.`, "\x03a.b\x01c\x00"},
		{`\000\255.`, "\x02\x00\xff\x00"},
		{strings.Repeat("l.", 127), strings.Repeat("\x01l", 127) + "\x00"},
	} {
		got, err := probe.Name(c.text)
		if err != nil || string(got) != c.wire {
			t.Errorf("Name(%q) = %q, %v, want %q", c.text, got, err, c.wire)
			continue
		}
		if again, err := probe.Name(probe.Text(got)); err != nil || !bytes.Equal(again, got) {
			t.Errorf("Name(Text(%q)) = %q, %v", got, again, err)
		}
	}
	for _, bad := range []string{"", "a", "a..", ".a.", strings.Repeat("l", 64) + ".", strings.Repeat("l.", 128)} {
		if got, err := probe.Name(bad); err == nil {
			t.Errorf("Name(%q) = %q, want an error", bad, got)
		}
	}
}

// TestParse reads a reply with compressed names and refuses each of its
// prefixes.
func TestParse(t *testing.T) {
	q := probe.Question{Name: probe.MustName("www.Example."), Type: probe.TypeMX, ID: 7, EDNS: true, Size: 1232, DO: true}
	b := q.Pack()
	b[2] |= 0x84
	b[7] = 1
	opt := append([]byte(nil), b[len(b)-11:]...)
	b = append(b[:len(b)-11], 0xc0, 12, 0, 15, 0, 1, 0, 0, 0, 60, 0, 9, 0, 10, 4, 'M', 'a', 'i', 'l', 0xc0, 16)
	b = append(b, opt...)
	m, err := probe.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := m.Answer[0].String(), "www.example. 60 IN MX 10 mail.example."; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if m.Flags() != "qr aa" || !m.OPT || !m.DO || m.UDPSize != 1232 || m.Size != len(b) {
		t.Errorf("got %s", m)
	}
	for i := range b {
		if _, err := probe.Parse(b[:i]); err == nil {
			t.Errorf("a prefix of %d octets was read", i)
		}
	}
	if _, err := probe.Parse(append(b, 0)); err == nil {
		t.Error("an octet too many was read")
	}
}
