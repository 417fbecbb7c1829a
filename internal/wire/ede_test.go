package wire_test

import (
	"strings"
	"testing"

	"port53/internal/wire"
)

// Each code up to the last has the registry's name; others have their number.
func TestErrorText(t *testing.T) {
	for code := range uint16(wire.EDEInvalidType + 1) {
		if text := wire.ErrorText(code); strings.HasPrefix(text, "error ") {
			t.Errorf("%d has no name", code)
		}
	}
	for code, want := range map[uint16]string{
		wire.EDEOther: "Other Error", wire.EDEBogus: "DNSSEC Bogus", wire.EDEProhibited: "Prohibited", wire.EDEStaleNXDomain: "Stale NXDOMAIN Answer",
		wire.EDENetworkError: "Network Error", 30: "Invalid Query Type", 31: "error 31", 65535: "error 65535",
	} {
		if got := wire.ErrorText(code); got != want {
			t.Errorf("%d: got %q, want %q", code, got, want)
		}
	}
}
