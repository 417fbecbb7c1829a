package conformance_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// TestHTTP2Specification has h2spec test the server of DNS over HTTPS: streams, frames, windows, headers and
// their compression, right and wrong.
func TestHTTP2Specification(t *testing.T) {
	program, err := h2spec.built()
	if err != nil {
		t.Fatal(err)
	}
	lab := newEncryptedLab(t)
	q := new(dns.Msg).SetQuestion("ns.zone.example.", dns.TypeA)
	q.Id = 0
	msg, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	out := lab.shell("%s -t -k -o 10 -h 127.0.0.1 -p 443 -P '/dns-query?dns=%s'", program, base64.RawURLEncoding.EncodeToString(msg))
	if !strings.Contains(out, "145 tests, 145 passed") {
		if _, failures, ok := strings.Cut(out, "Failures:"); ok {
			out = failures
		}
		t.Error(out)
	}
}
