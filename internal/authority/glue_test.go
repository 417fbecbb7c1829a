package authority_test

import (
	"fmt"
	"strings"
	"testing"

	"port53/internal/dnstest"
)

// TestListedGlue has name servers with more addresses than are kept beside a delegation: those
// in the delegated domain must all be in a referral, or TC says that they are not (RFC 9471,
// section 3.1); those of others go in as they fit (section 3.2).
func TestListedGlue(t *testing.T) {
	text := "$TTL 60\n@ SOA ns.example.net. admin 1 7200 3600 1209600 300\n@ NS ns.example.net.\nsub NS a.sub\nsub NS b.sub\nother NS a.sub\nother NS b.sub\n"
	for n := range 9 {
		text += fmt.Sprintf("a.sub AAAA 2001:db8::a:%x\nb.sub AAAA 2001:db8::b:%x\n", n+1, n+1)
	}
	z := dnstest.Zone(t, "example.", text)
	for _, c := range []struct {
		question  string
		tc        bool
		addresses int
	}{
		{"x.sub.example. A +size=512", true, 0},
		{"x.sub.example. A +size=1232", false, 18},
		{"x.sub.example. A", true, 0},
		{"x.other.example. A +size=512", false, 9},
		{"x.other.example. A +size=1232", false, 18},
	} {
		q := dnstest.ParseQuestion(t, c.question)
		got, err := dnstest.Format(ask(t, z, q.Message(), limitOf(q)))
		if err != nil || strings.HasPrefix(got, "NOERROR tc\n") != c.tc || strings.Count(got, " AAAA ") != c.addresses {
			t.Errorf("%s: got\n%s%v, want TC %v and %d addresses", c.question, got, err, c.tc, c.addresses)
		}
	}
}
