package rpz_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"port53/internal/rpz"
	"port53/internal/wire"
)

const longApex = "malware.policy.rpz.corp.example"

// label is one of 50 octets.
func label(letter string) string { return strings.Repeat(letter, 50) }

// A name may be so long that below the policy zone's it would be none: rules about it are wildcards, and these count.
func TestLongNames(t *testing.T) {
	a, b, c, d := strings.Repeat("e", 28)+"."+label("a"), label("b"), label("c"), label("d")
	for _, x := range []struct{ rules, asked, want string }{
		{"*.ext.zz CNAME .", a + "." + b + "." + c + "." + d + ".ext.zz =", "nxdomain qname"},
		{"*.ext.zz CNAME .", a + "." + b + "." + c + "." + d + ".ext.zz", "nxdomain qname"},
		{"*.ext.zz CNAME .", strings.Repeat("a.", 110) + "ext.zz =", "nxdomain qname"},
		{"* CNAME .", a + "." + b + "." + c + "." + d + ".ext.zz =", "nxdomain qname"},
		{"*.ext.zz CNAME .", "www.own = >" + a + "." + b + "." + c + "." + d + ".ext.zz 192.0.2.1", "nxdomain qname +1"},
		{"*.ext.zz CNAME .", a + "." + b + "." + c + "." + d + ".other.zz =", "pass"},

		// The closest encloser has to have the wildcard.
		{"*.ext.zz CNAME .\n" + d + ".ext.zz CNAME *.", a + "." + b + "." + c + "." + d + ".ext.zz =", "pass"},
		{"*.ext.zz CNAME .\n*." + d + ".ext.zz CNAME *.", a + "." + b + "." + c + "." + d + ".ext.zz =", "nodata qname"},
		{"x." + d + ".ext.zz CNAME *.\n*.ext.zz CNAME .", a + "." + b + "." + c + "." + d + ".ext.zz =", "pass"},

		// A rule of the name that is left when labels are left out is not about the whole name; a wildcard below it is.
		{a[29:] + "." + b + "." + c + "." + d + ".ext.zz CNAME .", a + "." + b + "." + c + "." + d + ".ext.zz =", "pass"},
		{"*." + b + "." + c + "." + d + ".ext.zz CNAME .", a + "." + b + "." + c + "." + d + ".ext.zz =", "nxdomain qname"},
		{a[29:] + "." + b + "." + c + "." + d + ".ext.zz CNAME .", a[29:] + "." + b + "." + c + "." + d + ".ext.zz =", "nxdomain qname"},
		{"*." + b + "." + c + "." + d + ".ext.zz CNAME .", b + "." + c + "." + d + ".ext.zz =", "pass"},
	} {
		p := policy(t, longApex+"\n"+x.rules+"\n")
		if got := strings.Replace(summary(new(rpz.Searcher).Judge(p, question(t, x.asked, wire.TypeA))), longApex+". ", "", 1); got != x.want {
			t.Errorf("%s\n%s: %s, want %s", x.rules, x.asked, got, x.want)
		}
	}
}

// However many records an answer has, the rule about the last of them counts.
func TestManyRecords(t *testing.T) {
	p := policy(t, "a\n32.70.1.51.198.rpz-ip CNAME .\n48.zz.1.db8.2001.rpz-ip CNAME *.\nbad.example CNAME rpz-drop.\n")
	many := func(n int, format string) (text string) {
		for i := range n {
			text += " " + fmt.Sprintf(format, i/250, i%250+1)
		}
		return text
	}
	links := many(40, ">l%d-%d.example")
	for text, want := range map[string]string{
		many(64, "192.0.%d.%d") + " 198.51.1.70":             "nxdomain a. ip",
		many(79, "192.0.%d.%d") + " 198.51.1.70":             "nxdomain a. ip",
		many(3000, "192.0.%d.%d") + " 198.51.1.70":           "nxdomain a. ip",
		many(79, "2001:db8:2::%x:%x") + " 2001:db8:1::7":     "nodata a. ip",
		"198.51.1.70" + many(79, "192.0.%d.%d"):              "nxdomain a. ip",
		links + many(80, "192.0.%d.%d") + " 198.51.1.70":     "nxdomain a. ip +40",
		links + " >bad.example 192.0.2.1":                    "drop a. qname +41",
		many(79, "192.0.%d.%d") + " rrsig rrsig 198.51.1.70": "nxdomain a. ip",
		"192.0.2.1 >x.example 198.51.1.70":                   "nxdomain a. ip +2", // in an order that nobody has to keep
		many(80, "192.0.%d.%d"):                              "pass",
	} {
		if got := summary(new(rpz.Searcher).Judge(p, question(t, "www.example ="+text, wire.TypeA))); got != want {
			t.Errorf("%.60s … %s: %s, want %s", text, text[max(0, len(text)-30):], got, want)
		}
	}
	q := question(t, "www.example ="+many(80, "2001:db8:2::%x:%x")+" 64:ff9b::c633:146", wire.TypeAAAA)
	q.DNS64 = lastFour{}
	if got := summary(new(rpz.Searcher).Judge(p, q)); got != "nxdomain a. ip" {
		t.Errorf("an address that was made of the one that is blocked: %s", got)
	}
}

// lastFour takes the last octets of each address for one of IPv4.
type lastFour struct{}

func (lastFour) Embedded(six netip.Addr) (netip.Addr, bool) {
	b := six.As16()
	return netip.AddrFrom4([4]byte(b[12:])), true
}

// An address may be so long in words that below the policy zone's name it would be none; its shorter prefixes are not.
func TestLongAddresses(t *testing.T) {
	apex := strings.Join([]string{label("a"), label("b"), label("c"), strings.Repeat("d", 46), "example"}, ".")
	for text, want := range map[string]string{
		"2001:db8:1:aaaa:bbbb:cccc:dddd:eeee": "nxdomain ip",
		"2001:db8:1:aaaa::1":                  "nxdomain ip",
		"2001:db8:2:aaaa:bbbb:cccc:dddd:eeee": "pass",
	} {
		p := policy(t, apex+"\n48.zz.1.db8.2001.rpz-ip CNAME .\n120.zz.3.db8.2001.rpz-ip CNAME *.\n48.zz.1.db8.2001.rpz-nsip CNAME .\n")
		for _, outline := range []*rpz.Summary{nil, p.Zones[0].Summary} {
			p.Zones[0].Summary = outline
			if got := strings.Replace(summary(new(rpz.Searcher).Judge(p, question(t, "www.example = "+text, wire.TypeAAAA))), apex+". ", "", 1); got != want {
				t.Errorf("%s: %s, want %s", text, got, want)
			}
			q := question(t, "www.example = 192.0.2.1", wire.TypeA)
			q.Servers = &servers{names: []string{"ns.example"}, addrs: []string{text}}
			if got := strings.Replace(summary(new(rpz.Searcher).Judge(p, q)), apex+". ", "", 1); got != strings.Replace(want, " ip", " nsip", 1) {
				t.Errorf("a server at %s: %s, want %s", text, got, want)
			}
		}
	}
}

// However many servers a zone has, and however long their names are, the rule about the last of them counts.
func TestManyServers(t *testing.T) {
	rules := "\nns.evil.test.rpz-nsdname CNAME .\n*.bad.test.rpz-nsdname CNAME *.\n32.70.1.51.198.rpz-nsip CNAME rpz-drop.\n"
	long := func(n int) (names []string) {
		for i := range n {
			names = append(names, fmt.Sprintf("%s.%s.%s.%s%d.test", label("a"), label("b"), label("c"), strings.Repeat("d", 46), i))
		}
		return names
	}
	short := func(n int) (names, addrs []string) {
		for i := range n {
			names, addrs = append(names, fmt.Sprintf("ns%d.good.test", i)), append(addrs, fmt.Sprintf("192.0.%d.%d", i/250, i%250))
		}
		return names, addrs
	}
	names, addrs := short(3000)
	longest := label("a") + "." + label("b") + "." + label("c") + "." + label("d") + ".bad.test"
	for i, c := range []struct {
		servers
		want string
	}{
		{servers{append(long(12), "ns.evil.test"), nil}, "nxdomain nsdname"},
		{servers{append(names[:32:32], "ns.evil.test"), nil}, "nxdomain nsdname"},
		{servers{append(names[:3000:3000], "ns.evil.test"), addrs}, "nxdomain nsdname"},
		{servers{append(long(12), "ns.bad.test"), nil}, "nodata nsdname"},
		{servers{append(long(12), longest), nil}, "nodata nsdname"},
		{servers{[]string{longest}, nil}, "nodata nsdname"},
		{servers{names[:64], append(addrs[:64:64], "198.51.1.70")}, "drop nsip"},
		{servers{names, append(addrs[:3000:3000], "198.51.1.70")}, "drop nsip"},
		{servers{long(12), append(addrs[:64:64], "::ffff:198.51.1.70")}, "drop nsip"},
		{servers{[]string{"ns.bad.test", "ns.evil.test"}, nil}, "nodata nsdname"}, // the first server that has a rule
		{servers{[]string{"ns.evil.test", "ns.bad.test"}, nil}, "nxdomain nsdname"},
		{servers{names, addrs}, "pass"},
	} {
		p := policy(t, longApex+rules, "other"+rules)
		q := question(t, "www.example = 10.0.0.1", wire.TypeA)
		q.Servers = &c.servers
		if got := strings.Replace(summary(new(rpz.Searcher).Judge(p, q)), longApex+". ", "", 1); got != c.want {
			t.Errorf("case %d: %s, want %s", i, got, c.want)
		}
	}
}

// What leads a name to itself lets it pass: else the name would be an alias for itself.
func TestToItself(t *testing.T) {
	for text, want := range map[string]string{
		"safe.other =":                             "passthru a. qname",
		"SAFE.other =":                             "passthru a. qname",
		"x.other =":                                "cname a. qname safe.other.",
		"www.example = >safe.other 192.0.2.1":      "passthru a. qname +1",
		"www.example = >x.other 192.0.2.1":         "cname a. qname safe.other. +1",
		"x.other = >safe.other 192.0.2.1":          "cname a. qname safe.other.",
		"www.example = >y.z >safe.other 192.0.2.1": "passthru a. qname +2",
	} {
		given, override := policy(t, "a\n*.other CNAME safe.other.\n"), policy(t, "a\n*.other CNAME .\n")
		override.Zones[0].Override, override.Zones[0].Target = rpz.Alias, name(t, "safe.other")
		for _, p := range []*rpz.Policy{given, override} {
			if got := summary(new(rpz.Searcher).Judge(p, question(t, text, wire.TypeA))); got != want {
				t.Errorf("%s, override %v: %s, want %s", text, p.Zones[0].Override, got, want)
			}
		}
	}
}
