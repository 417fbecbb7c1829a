package wire_test

import (
	"testing"

	"port53/internal/wire"
)

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"BIND 9.20":            "BIND 9.20",
		"Grüße, 世界":            "Grüße, 世界",
		"\x1b[2Jred\r\n\ttab":  "?[2Jred???tab",
		"a\u202eb\u2028\u00a0": "a?b??",
		"\x9b31m\xff\x7f\x00":  "\ufffd31m\ufffd??",
		"\ufffd\ue000":         "\ufffd?",
		"":                     "",
	} {
		if got := wire.Printable(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	name := []byte("\x03a\x1b.\x04test\x00")
	if got, want := wire.NameText(name), `a\027\..test.`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
