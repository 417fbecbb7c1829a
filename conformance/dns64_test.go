package conformance_test

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"

	"port53/conformance/netns"
	"port53/conformance/probe"
	"port53/conformance/zonegen"
)

// TestDNS64 has port53, Unbound and BIND make addresses of IPv6 with one prefix, in the internet of
// TestResolve, and asks them for those of every name, with DO and without: where the two others agree,
// port53 has to agree. AD is left out: RFC 6147 leaves it open, and they differ.
func TestDNS64(t *testing.T) {
	if os.Getuid() != 0 {
		missing(t, errors.New("root, for a network namespace"))
	}
	if _, err := zonegen.Signer(); err != nil {
		missing(t, err)
	}
	ns, err := netns.New()
	if err != nil {
		missing(t, err)
	}
	defer ns.Close()
	net := newInternet(t, ns)
	net.dns64 = "2001:db8:64::/96"
	subject := net.resolver(t, "port53", netip.MustParseAddrPort("10.53.1.1:53"))
	unbound := net.resolver(t, "unbound", netip.MustParseAddrPort("10.53.1.2:53"))
	bind := net.resolver(t, "named", netip.MustParseAddrPort("10.53.1.3:53"))
	compared, made, wrong := 0, 0, 0
	asked := map[string]bool{}
	for _, q := range net.questions {
		if q.Type == probe.TypeA {
			q.Type = probe.TypeAAAA
		}
		key := string(q.Name) + probe.TypeText(q.Type)
		if asked[key] {
			continue
		}
		asked[key] = true
		for _, do := range []bool{false, true} {
			q.EDNS, q.DO, q.Size = true, do, 4096
			said := func(c *probe.Client) string { return strings.Replace(saidTo(c, q), " AD", "", 1) }
			got, a, b := said(subject), said(unbound), said(bind)
			if a != b {
				if got != a && got != b {
					t.Logf("three opinions of %v:\nport53: %s\nunbound: %s\nnamed: %s", q, got, a, b)
				}
				continue
			}
			compared++
			if strings.Contains(got, "20010db80064") {
				made++
			}
			if got != a {
				if wrong++; wrong <= 20 {
					t.Errorf("%v:\nport53: %s\nothers: %s", q, got, a)
				}
			}
		}
	}
	t.Logf("%d questions on which the others agree, %d wrong; for %d addresses were made", compared, wrong, made)
	if made < 20 {
		t.Error("the laboratory is not what it should be")
	}
}
