package conformance_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// controlZone is a zone as DNSControl is told of it: the time to live and an address may differ, and EXTRA
// stands for more records. What has no SOA record there loses it at PowerDNS; here it cannot.
const controlZone = `var REG = NewRegistrar("none");
var SERVER = NewDnsProvider("server", {"default_ns": ["ns1.control.test.", "ns2.control.test."], "dnssec_on_create": false, "zone_kind": "Native"});
D("control.test", REG, DnsProvider(SERVER), DefaultTTL(%d),
  SOA("@", "ns1.control.test.", "hostmaster.control.test.", 10800, 3600, 604800, 3600, TTL(3600)),
  A("@", "192.0.2.1"), A("ns1", "192.0.2.1"), A("ns2", "192.0.2.2"), A("www", "%s"), A("www", "192.0.2.4"), AAAA("www", "2001:db8::1"),
  CNAME("alias", "www"), MX("@", 10, "mail"), A("mail", "192.0.2.5"), TXT("@", "v=spf1 mx -all"), TXT("long", Array(300).join("x")),
  SRV("_sip._tcp", 1, 2, 5060, "www"), TLSA("_443._tcp.www", 3, 1, 1, "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a"),
  SSHFP("host", 4, 2, "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a"),
  NAPTR("n", 100, 10, "U", "E2U+sip", "!^.*$!sip:x@control.test!", "."), HTTPS("@", 1, ".", "alpn=h2,h3"),
  NS("sub", "ns.sub.control.test."), A("ns.sub", "192.0.2.9"),
  DS("sub", 1, 13, 2, "5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A"), A("*.wild", "192.0.2.10")%s
);
`

// dnscontrol has DNSControl make a zone, change it and say that nothing is left to do: it takes what the API
// shows for what it wrote, in each type's own spelling.
func (s *apiSide) dnscontrol(t *testing.T) {
	program, err := dnscontrol.built()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	creds := fmt.Sprintf(`{"server": {"TYPE": "POWERDNS", "apiKey": %q, "apiUrl": %q, "serverName": "localhost"}, "none": {"TYPE": "NONE"}}`, apiSecret, s.url)
	if err := os.WriteFile(filepath.Join(dir, "creds.json"), []byte(creds), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(want string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "NO_COLOR=1")
		out, err := cmd.CombinedOutput()
		if !strings.Contains(string(out), want) {
			t.Fatalf("%s: %v, want %q:\n%s", strings.Join(args, " "), err, want, out)
		}
		return string(out)
	}
	for _, c := range []struct {
		ttl         int
		addr, extra string
	}{
		{300, "192.0.2.3", `, CAA("@", "issue", "ca.example")`},
		{600, "192.0.2.33", `, SVCB("_dns", 1, "ns1.control.test.", "alpn=dot")`},
	} {
		if err := os.WriteFile(filepath.Join(dir, "dnsconfig.js"), fmt.Appendf(nil, controlZone, c.ttl, c.addr, c.extra), 0o600); err != nil {
			t.Fatal(err)
		}
		if out := run("SUCCESS!", "push"); strings.Contains(out, "FAILURE") {
			t.Fatalf("push:\n%s", out)
		}
		run("Done. 0 corrections.", "preview")
		s.answers(t, "www.control.test.", dns.TypeA, c.addr, true)
		s.answers(t, "www.control.test.", dns.TypeA, "\t600\t", c.ttl == 600)
		s.answers(t, "control.test.", dns.TypeCAA, "ca.example", c.ttl == 300)
		s.answers(t, "_dns.control.test.", dns.TypeSVCB, "ns1", c.ttl == 600)
	}
	if out := run("www", "get-zones", "--format", "zone", "server", "-", "control.test"); !strings.Contains(out, "192.0.2.33") {
		t.Errorf("get-zones:\n%s", out)
	}
}
