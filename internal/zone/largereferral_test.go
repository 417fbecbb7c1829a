package zone_test

import (
	"fmt"
	"strings"
	"testing"

	"port53/internal/authority"
	"port53/internal/dnstest"
	"port53/internal/wire"
)

// TestLargeReferral has a delegation to more name servers than have their glue beside
// them. Such a set has no room for glue, and what lies behind it was taken for it.
func TestLargeReferral(t *testing.T) {
	for i, suffix := range []string{"victim.com.", "ictim.com.", "ctim.com.", "tim.com.", "sub.attacker.com.", "attacker.com."} {
		servers := 1500 + i
		var b strings.Builder
		b.WriteString("@ 3600 SOA a. b. 1 2 3 4 5\n@ 3600 NS ns1\n")
		for i := range servers {
			fmt.Fprintf(&b, "sub 3600 NS ns%d.%s\n", i, suffix)
			if strings.HasSuffix(suffix, "attacker.com.") && i%10 == 0 {
				fmt.Fprintf(&b, "ns%d.%s 3600 A 192.0.2.7\n", i, suffix)
			}
		}
		// What lies behind the set in memory is not zero.
		b.WriteString("ns1 3600 A 192.0.2.66\nzz 3600 TXT \"something behind\"\n")
		z := dnstest.Zone(t, "attacker.com.", b.String())
		for i, size := range []int{512, 1232, 4096, 65535, 512, 1232, 4096, 65535} {
			var q wire.Query
			question := "www.sub.attacker.com. A"
			if i > 3 {
				question = "sub.attacker.com. A"
			}
			msg := dnstest.ParseQuestion(t, question).Message()
			if bad := q.Parse(msg); bad != 0 {
				t.Fatal(bad)
			}
			var builder wire.Builder
			builder.Start(make([]byte, size), size, 0, &q)
			var r authority.Responder
			result := r.Answer(z, &q, &builder)
			var m wire.Message
			if bad := m.Parse(builder.Finish(nil, 0)); bad != 0 {
				t.Errorf("%s in %d octets: %v", suffix, size, bad)
			}
			if result.Kind != authority.Referral || result.Truncated != (len(m.Records) == 0) {
				t.Errorf("%s in %d octets: %+v, %d records", suffix, size, result, len(m.Records))
			}
		}
	}
}
