package zonefile_test

import (
	"strings"
	"testing"

	"port53/internal/wire"
	"port53/internal/zonefile"
)

// TestOriginWithoutDot has $ORIGIN lines that repeat the origin, or only seem to.
func TestOriginWithoutDot(t *testing.T) {
	for text, want := range map[string]string{
		"$ORIGIN example.com\n":                     "1:9: $ORIGIN is example.com.example.com., which is the name twice: a dot is missing at its end",
		"\n$ORIGIN EXAMPLE.com ; a comment\n":       "2:9: $ORIGIN is EXAMPLE.com.example.com., which is the name twice: a dot is missing at its end",
		"$ORIGIN sub\n$ORIGIN sub.example.com\n":    "2:9: $ORIGIN is sub.example.com.sub.example.com., which is the name twice: a dot is missing at its end",
		"$ORIGIN example.com.\n":                    "",
		"$ORIGIN com\n":                             "",
		"$ORIGIN sub.example.com\n":                 "",
		"$ORIGIN .\n$ORIGIN com\n$ORIGIN example\n": "",
	} {
		var got []string
		o := zonefile.Options{Name: "z", Warn: func(e *zonefile.Error) { got = append(got, strings.TrimPrefix(e.Error(), "z:")) }}
		o.Origin, _ = wire.ParseName("example.com.")
		if _, err := zonefile.Read(strings.NewReader(text), o, func(*zonefile.Record) error { return nil }); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if strings.Join(got, "\n") != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
