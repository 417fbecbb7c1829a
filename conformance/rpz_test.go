package conformance_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"port53/conformance/netns"
	"port53/conformance/probe"
	"port53/conformance/zonegen"
)

// A policyZone is a response policy zone that resolvers of an internet have.
type policyZone struct {
	name, file string
	answer     string // as port53 has it; empty: given
}

// policyConfig returns what a resolver's configuration has for the policy zones: among its options, and
// behind everything.
func (in *internet) policyConfig(program string) (options, rest string) {
	if len(in.policies) == 0 {
		return "", ""
	}
	switch program {
	case "port53":
		rest = "zones:\n"
		for _, p := range in.policies {
			rest += fmt.Sprintf("  - {name: %q, file: %q}\n", p.name, p.file)
		}
		rest += "policy:\n  rpz:\n"
		for _, p := range in.policies {
			rest += fmt.Sprintf("    - {zone: %q, break_dnssec: true, answer: %s}\n", p.name, or(p.answer, "given"))
		}
	case "unbound":
		options = " module-config: \"respip validator iterator\"\n"
		override := map[string]string{"log": "disabled"}
		for _, p := range in.policies {
			rest += fmt.Sprintf("rpz:\n name: %q\n zonefile: %q\n", p.name, p.file)
			if p.answer != "" {
				rest += " rpz-action-override: " + or(override[p.answer], p.answer) + "\n"
			}
		}
	case "named":
		options = " response-policy {"
		override := map[string]string{"log": "disabled"}
		for _, p := range in.policies {
			policy := ""
			if p.answer != "" {
				policy = " policy " + or(override[p.answer], p.answer)
			}
			options += fmt.Sprintf(" zone %q%s;", p.name, policy)
			rest += fmt.Sprintf("zone %q { type primary; file %q; allow-query { none; }; };\n", p.name, p.file)
		}
		options += " } break-dnssec yes qname-wait-recurse no;\n"
	}
	return options, rest
}

func or(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// TestRPZ has port53, Unbound and BIND judge by the same response policy zones in the internet of
// TestResolve, and asks them for all of its names: where the two others agree, port53 has to agree.
// AD is left out, and signatures are: all three are told to answer in the place of what is signed.
func TestRPZ(t *testing.T) {
	if os.Getuid() != 0 {
		missing(t, errors.New("root, for a network namespace"))
	}
	if _, err := zonegen.Signer(); err != nil {
		missing(t, err)
	}
	if _, err := exec.LookPath("prlimit"); err != nil {
		missing(t, err)
	}
	ns, err := netns.New()
	if err != nil {
		missing(t, err)
	}
	defer ns.Close()
	net := newInternet(t, ns)
	net.limited = true
	net.questions = append(net.questions, longQuestions()...)
	compared, acted := 0, 0
	for _, c := range policyScenarios {
		t.Run(c.name, func(t *testing.T) {
			net.policies = nil
			for i, rules := range c.zones {
				answer, rules, _ := strings.Cut(rules, "\n")
				p := policyZone{name: fmt.Sprintf("p%d.policy", i), file: filepath.Join(t.TempDir(), "zone"), answer: answer}
				write(t, p.file, "$TTL 60\n@ SOA ns.invalid. host.invalid. 1 3600 600 86400 60\n@ NS ns.invalid.\n"+rules)
				net.policies = append(net.policies, p)
			}
			n, m := net.comparePolicies(t, strings.HasPrefix(c.name, "servers"))
			compared, acted = compared+n, acted+m
		})
	}
	t.Logf("%d questions on which the others agree; a policy has %d of them answered", compared, acted)
	if compared < 200 || acted < 200 {
		t.Error("the laboratory is not what it should be")
	}
}

// longQuestions are for names that have no room below the name of a policy zone, and some that just have.
func longQuestions() (all []probe.Question) {
	for _, zone := range []string{"wild.nsec.one.", "nothing.unsigned.two.", "wild.nsec3.three.", "wild.nsec.plain."} {
		for _, octets := range []int{255, 250, 245, 244, 243, 220} {
			name := zone
			for left := octets - len(zone) - 1; left > 1; { // that are to be filled by labels
				n := min(left, 64)
				if left-n == 1 {
					n -= 2 // one octet alone is no label
				}
				name = strings.Repeat("l", n-1) + "." + name
				left -= n
			}
			all = append(all, probe.Question{Name: probe.MustName(name), Type: probe.TypeTXT, ID: uint16(len(all) + 1), RD: true})
		}
	}
	return all
}

// comparePolicies asks the three for everything, and returns on how many questions the others agree, and how many of
// these are answered otherwise than without policies. Where rules are about servers and there is no answer, what port53
// says is SERVFAIL: the others judge an alias before they know that it leads nowhere.
func (in *internet) comparePolicies(t *testing.T, servers bool) (compared, acted int) {
	subject := in.resolver(t, "port53", netip.MustParseAddrPort("10.53.1.1:53"))
	unbound := in.resolver(t, "unbound", netip.MustParseAddrPort("10.53.1.2:53"))
	bind := in.resolver(t, "named", netip.MustParseAddrPort("10.53.1.3:53"))
	kept := in.policies
	in.policies = nil
	plain := in.resolver(t, "port53", netip.MustParseAddrPort("10.53.1.4:53"))
	in.policies = kept
	wrong, split, failed := 0, 0, 0
	asked := map[string]bool{}
	for _, q := range in.questions {
		key := string(q.Name) + probe.TypeText(q.Type)
		if asked[key] || q.Type == probe.TypeDNSKEY || q.Type == probe.TypeDS {
			continue
		}
		asked[key] = true
		q.EDNS, q.DO, q.AD, q.Size = true, false, false, 4096
		said := func(c *probe.Client) string { return strings.Replace(saidTo(c, q), " AD", "", 1) }
		got, a, b, without := said(subject), said(unbound), said(bind), said(plain)
		if servers && strings.HasPrefix(without, "SERVFAIL") {
			if failed++; got != without {
				t.Errorf("%v: %s, though there is no answer", q, got)
			}
			continue
		}
		if a != b {
			if servers && got != b && !strings.HasPrefix(b, "SERVFAIL") {
				wrong++ // Unbound knows the delegations it meets, and no NS records beside them
				t.Errorf("%v:\nport53: %s\nnamed:  %s", q, got, b)
			}
			if split++; got != a && got != b {
				t.Logf("three opinions of %v:\nport53: %s\nunbound: %s\nnamed: %s", q, got, a, b)
			}
			continue
		}
		compared++
		if a != without {
			acted++
		}
		if got != a {
			if wrong++; wrong <= 20 {
				t.Errorf("%v:\nport53: %s\nothers: %s", q, got, a)
			}
		}
	}
	t.Logf("%d questions on which the others agree, %d on which they do not, %d without an answer; %d wrong", compared, split, failed, wrong)
	return compared, acted
}

// policyScenarios are policy zones: what is done with each whatever it says, and from the second line on its
// rules. Names are those of newInternet.
var policyScenarios = []struct {
	name  string
	zones []string
}{
	{"names", []string{`
www.nsec.one CNAME .
*.wild.nsec.one CNAME *.
alias.nsec3.one CNAME www.salted.one.
leaf.ent.nsec.one A 192.0.2.99
leaf.ent.nsec.one A 192.0.2.98
leaf.ent.nsec.one TXT "walled"
www.salted.one AAAA 2001:db8::99
*.walias.nsec.two CNAME *.wild.unsigned.one.
www.nsec3.two CNAME *.
*.salted.two CNAME .
www.salted.two CNAME rpz-passthru.
unsigned.two CNAME .
*.unsigned.two CNAME *.
*.plain CNAME .
nsec.plain CNAME rpz-passthru.
www.nsec.plain CNAME rpz-passthru.
*.nsec.plain CNAME *.
nothing.nsec.three A 192.0.2.97
deep.in.nothing.nsec3.three CNAME www.nsec.two.
far.salted.three CNAME .
www.unsigned.three CNAME .
`}},
	{"addresses", []string{`
32.81.2.0.192.rpz-ip CNAME .
128.80.zz.db8.2001.rpz-ip CNAME *.
`, `
24.0.2.0.192.rpz-ip CNAME *.
`}},
	{"an address in place of others", []string{`
24.0.2.0.192.rpz-ip A 198.51.100.1
32.zz.db8.2001.rpz-ip AAAA 2001:db8:ffff::1
`}},
	{"order", []string{`
www.nsec.one CNAME rpz-passthru.
*.nsec.two CNAME *.
www.nsec3.one A 192.0.2.77
`, `
*.nsec.one CNAME .
*.nsec.two CNAME .
www.nsec3.one CNAME .
*.nsec3.three CNAME *.
`, `
*.one CNAME *.
*.two CNAME .
*.nsec3.three CNAME .
*.plain A 192.0.2.78
`}},
	{"names without room", []string{`
*.wild.nsec.one CNAME .
*.nothing.unsigned.two CNAME *.
llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll.wild.nsec3.three CNAME rpz-passthru.
*.wild.nsec3.three CNAME .
`, `
*.three TXT "walled"
* CNAME .
`}},
	{"servers by name", []string{`
ns1.nsec.one.rpz-nsdname CNAME .
*.salted.one.rpz-nsdname CNAME *.
ns1.nsec.two.rpz-nsdname A 192.0.2.76
ns1.unsigned.plain.rpz-nsdname CNAME rpz-passthru.
`}},
	{"servers by address", []string{`
32.3.0.53.10.rpz-nsip CNAME .
`}},
	{"the client", []string{`
32.9.9.53.10.rpz-client-ip CNAME *.
www.nsec.one CNAME .
`}},
	{"a client that passes", []string{`
24.0.9.53.10.rpz-client-ip CNAME rpz-passthru.
`, `
*.one CNAME .
*.two CNAME .
`}},
	{"overrides", []string{"log\n*.nsec.one CNAME .\n*.three CNAME .\n", "nodata\nwww.nsec.one CNAME .\n*.nsec.two A 192.0.2.1\n", "nxdomain\n*.plain CNAME rpz-passthru.\n", "passthru\n*.nsec3.two CNAME .\n", "\n*.two CNAME .\n"}},
}
