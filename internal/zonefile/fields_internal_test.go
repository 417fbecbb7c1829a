package zonefile

import (
	"strings"
	"testing"

	"port53/internal/wire"
)

// TestFieldNames has a name for each field of the types that have several.
func TestFieldNames(t *testing.T) {
	for typ := range wire.Mnemonics {
		if want := len(typ.Fields()); want > 1 && !typ.IsMeta() && len(fieldNames(typ)) != want {
			t.Errorf("%s: %d names for %d fields", typ, len(fieldNames(typ)), want)
		}
	}
}

// TestIncomplete leaves out the end of records: the error has to name the type, and the field that is missing.
func TestIncomplete(t *testing.T) {
	for text, want := range map[string]string{
		"SOA a. b. 1 2 3 4": "SOA record is incomplete: the minimum (a number of seconds) is missing",
		"SOA a. b.":         "SOA record is incomplete: the serial (a number) is missing",
		"SOA a.":            "SOA record is incomplete: the RNAME (a name) is missing",
		"SOA":               "SOA record is incomplete: the MNAME (a name) is missing",
		"MX 10":             "MX record is incomplete: the exchange (a name) is missing",
		"SRV 0 0":           "SRV record is incomplete: the port (a number) is missing",
		"A":                 "A record is incomplete: an IPv4 address is missing",
		"AAAA":              "AAAA record is incomplete: an IPv6 address is missing",
		"TXT":               "TXT record is incomplete: a string is missing",
		"CNAME":             "CNAME record is incomplete: a name is missing",
		"TLSA 3 1 1":        "TLSA record is incomplete: the certificate association data (hexadecimal digits) is missing",
		"DS 1 13 2":         "DS record is incomplete: the digest (hexadecimal digits) is missing",
		"DNSKEY 257 3":      "DNSKEY record is incomplete: the algorithm is missing",
		"CAA 0 issue":       "CAA record is incomplete: the value (",
		"HTTPS 1":           "HTTPS record is incomplete: the target (a name) is missing",
		`TYPE65280 \#`:      "TYPE65280 record is incomplete: the length of the data is missing",
	} {
		_, err := Read(strings.NewReader("a 60 IN "+text+"\n"), Options{Origin: []byte("\x07example\x00")}, func(*Record) error { return nil })
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}
