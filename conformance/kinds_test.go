package conformance_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"port53/conformance/zonegen"
)

// A sibling is a zone with one fault of a kind, and what has to be found.
type sibling struct {
	name    string
	records string                                          // in place of plainRecords; "+" before it: beside them
	above   string                                          // in place of the usual delegation, relative to the zone
	origin  string                                          // in place of a zone called by the kind and the name
	other   func(string) string                             // of the records, at the second server
	change  func(f *forge, list []dns.RR) ([]dns.RR, error) // of what is signed, at the second server
	signed  bool                                            // with NSEC
	nsec3   bool                                            // or with NSEC3
	first   func(q *dns.Msg, tcp bool) *dns.Msg             // what the second server answers without looking
	says    mangler                                         // how it answers
	both    bool                                            // the first server does so as well
	want    string                                          // "ID state": what has to be found; empty: nothing that fails
	has     string                                          // that its detail has
	without func(f *finding) bool                           // what must not be found
}

// kindsOfFaults are what wrong zones have been passed for sound for, and sound ones for wrong: in each kind
// at least five that are alike.
//
// In one piece: it is a table.
func kindsOfFaults() map[string][]sibling {
	swap := func(old, with string) func(string) string {
		return func(z string) string {
			if !strings.Contains(z, old) {
				panic("no " + old + " in the zone")
			}
			return strings.Replace(z, old, with, 1)
		}
	}
	typed := func(t uint16, how mangler) mangler {
		return func(q, m *dns.Msg, tcp bool) bool {
			return len(q.Question) != 1 || q.Question[0].Qtype != t || how(q, m, tcp)
		}
	}
	drop := func(_, _ *dns.Msg, _ bool) bool { return false }
	nobody := func(_, m *dns.Msg, _ bool) bool { m.Rcode, m.Answer = dns.RcodeNameError, nil; return true }
	empty := func(_, m *dns.Msg, _ bool) bool { m.Answer = nil; return true }
	code := func(rc int) mangler {
		return func(_, m *dns.Msg, _ bool) bool { m.Rcode, m.Answer, m.Ns = rc, nil, nil; return true }
	}
	formerr := func(q *dns.Msg, _ bool) *dns.Msg {
		if q.IsEdns0() == nil {
			return nil
		}
		return new(dns.Msg).SetRcodeFormatError(q)
	}
	hasOPT := func(q *dns.Msg) bool { return q.IsEdns0() != nil }
	aged := func(name string, t uint16, from, until time.Duration) func(f *forge, list []dns.RR) ([]dns.RR, error) {
		return func(f *forge, list []dns.RR) ([]dns.RR, error) { return f.again(list, f.sigOf(name, t), from, until) }
	}
	const long, past, soon = -30 * 24 * time.Hour, -2 * 24 * time.Hour, 12 * time.Hour
	text := func(spf string) string { return less(plainRecords, "@ TXT") + "@ TXT \"" + spf + "\"\n" }
	return map[string][]sibling{
		"one": { // one server stands for all
			{name: "bare", signed: true, change: func(f *forge, _ []dns.RR) ([]dns.RR, error) { return f.plain, nil }, want: "DNSSEC-CHAIN fail"},
			{name: "norrsig", signed: true, says: leaveOut(0, dns.TypeRRSIG), want: "DNSSEC-CHAIN fail"},
			{name: "nonsec3", nsec3: true, says: leaveOut(0, dns.TypeNSEC3), want: "DNSSEC-NX fail"},
			{name: "ns", other: func(z string) string { return z + "@ NS ns3\nns3 A 5.9.9.9\n" }, want: "ZONE-SAME fail", has: "ns3"},
			{name: "nons", says: typed(dns.TypeNS, drop), want: "ZONE-EVERY fail", has: "NS of"},
			{name: "nstcp", says: typed(dns.TypeNS, func(_, _ *dns.Msg, tcp bool) bool { return tcp }), want: "ZONE-EVERY fail", has: "NS of"},
			{name: "aaaa", says: typed(dns.TypeAAAA, nobody), want: "ZONE-SAME fail", has: "NXDOMAIN"},
			{name: "https", says: typed(dns.TypeHTTPS, code(dns.RcodeServerFailure)), want: "ZONE-EVERY fail", has: "SERVFAIL"},
			{name: "mx", says: typed(dns.TypeMX, empty), want: "ZONE-SAME fail", has: "MX"},
			{name: "tcp", says: func(_, _ *dns.Msg, tcp bool) bool { return !tcp }, want: "ZONE-EVERY fail", has: "over TCP"},
			{name: "text", other: swap("v=spf1 mx -all", "v=spf1 mx ~all"), want: "ZONE-SAME fail", has: "TXT"},
			{name: "www", other: func(z string) string { return less(z, "www") }, want: "ZONE-SAME fail", has: "www"},
			{name: "caa", other: swap("ca.example.net", "other.example.net"), want: "ZONE-SAME fail", has: "CAA"},
			{name: "wild", other: func(z string) string { return z + "* A 5.9.0.9\n" }, want: "ZONE-SAME fail"},
			{name: "serial", other: swap("2026112901", "2126112901"), want: "ZONE-SERIAL fail"},
		},
		"signatures": { // one set stands for all signatures
			{name: "dnskey", signed: true, change: aged("@", dns.TypeDNSKEY, long, past), want: "DNSSEC-EXP fail", has: "DNSKEY expired"},
			{name: "keysoon", signed: true, change: aged("@", dns.TypeDNSKEY, long, soon), want: "DNSSEC-EXP warn", has: "DNSKEY expires"},
			{name: "nsec3", nsec3: true, change: aged("", dns.TypeNSEC3, long, past), want: "DNSSEC-EXP fail", has: "NSEC3 expired"},
			{name: "nsec3soon", nsec3: true, change: aged("", dns.TypeNSEC3, long, soon), want: "DNSSEC-EXP warn", has: "NSEC3 expires"},
			{name: "mx", signed: true, change: aged("@", dns.TypeMX, long, past), want: "DNSSEC-EXP fail", has: "MX expired"},
			{name: "caa", nsec3: true, change: aged("@", dns.TypeCAA, long, past), want: "DNSSEC-EXP fail", has: "CAA expired"},
			{name: "www", signed: true, change: aged("www", dns.TypeA, long, past), want: "DNSSEC-EXP fail", has: "www"},
			{name: "glue", nsec3: true, change: aged("ns1", dns.TypeA, long, past), want: "DNSSEC-EXP fail", has: "over A expired"},
			{name: "future", signed: true, change: aged("@", dns.TypeTXT, 24*time.Hour, 240*time.Hour), want: "DNSSEC-EXP fail", has: "TXT"},
		},
		"silence": { // silence is a finding where a control question is answered
			{name: "opt", both: true, says: func(q, _ *dns.Msg, _ bool) bool { return !hasOPT(q) }, want: "SRV-EDNS-EDNS fail"},
			{name: "optone", says: func(q, _ *dns.Msg, _ bool) bool { return !hasOPT(q) }, want: "ZONE-EVERY fail", has: "EDNS"},
			{name: "do", says: func(q, _ *dns.Msg, _ bool) bool { return !hasOPT(q) || !q.IsEdns0().Do() }, want: "ZONE-EVERY fail", has: "DO"},
			{name: "optudp", says: func(q, _ *dns.Msg, tcp bool) bool { return tcp || !hasOPT(q) }, want: "ZONE-EVERY fail", has: "over UDP with EDNS"},
			{name: "options", both: true, says: func(q, _ *dns.Msg, _ bool) bool { return !hasOPT(q) || len(q.IsEdns0().Option) == 0 }, want: "SRV-COOKIE warn"},
			{name: "version", both: true, says: func(q, _ *dns.Msg, _ bool) bool { return !hasOPT(q) || q.IsEdns0().Version() == 0 }, want: "SRV-EDNS-EDNS1 warn"},
			{name: "formerr", both: true, first: formerr, want: "ZONE-EVERY fail", has: "FORMERR", without: func(f *finding) bool {
				return f.State == "unknown" && slices.Contains([]string{"DEL-NS-SYNC", "DEL-GLUE", "DEL-CNAME", "ZONE-SOA", "ZONE-TTL"}, f.ID)
			}},
			{name: "plain", says: func(q, _ *dns.Msg, tcp bool) bool { return tcp || hasOPT(q) }, want: "ZONE-EVERY fail", has: "without EDNS"},
			{name: "unknown", says: typed(65280, drop), want: "ZONE-EVERY fail", has: "TYPE65280"},
			{name: "udp", says: func(_, _ *dns.Msg, tcp bool) bool { return tcp }, want: "ZONE-EVERY fail", has: "over UDP"},
		},
		"abroad": { // whatever leads out of the zone
			{name: "dev", records: "+dev NS ns1.not-registered.\n", want: "ZONE-DANGLE fail", has: "not-registered."},
			{name: "wild", records: "+* CNAME x.not-registered.\n", want: "ZONE-DANGLE fail", has: "not-registered."},
			{name: "spf", records: text("v=spf1 include:_spf.not-registered -all"), want: "ZONE-DANGLE fail", has: "not-registered."},
			{name: "redirect", records: text("v=spf1 redirect=_spf.not-registered"), want: "ZONE-DANGLE fail", has: "not-registered."},
			{name: "https", records: "+@ HTTPS 0 cdn.not-registered.\n", want: "ZONE-DANGLE fail", has: "not-registered."},
			{name: "mx", records: "+@ MX 20 mx.not-registered.\n", want: "ZONE-DANGLE fail", has: "not-registered."},
			{name: "srv", records: "+_sip._tcp SRV 1 1 5060 sip.not-registered.\n", want: "ZONE-DANGLE fail", has: "not-registered."},
			{name: "dname", records: "+docs DNAME x.not-registered.\n", want: "ZONE-DANGLE fail", has: "not-registered."},
			{name: "rua", records: less(plainRecords, "_dmarc") + "_dmarc TXT \"v=DMARC1; p=reject; rua=mailto:x@not-registered\"\n", want: "ZONE-DANGLE fail", has: "not-registered."},
			{name: "inside", records: "+@ MX 20 gone\n", want: "ZONE-DANGLE warn", has: "does not exist"},
			{name: "wildsigned", records: "+* CNAME www\n", signed: true},
			{name: "aliasapex", nsec3: true, records: "+old DNAME www\n"},
		},
		"presence": { // records are read by their RFCs
			{name: "all", records: text("v=spf1 +ALL"), want: "ZONE-MAIL fail", has: "SPF"},
			{name: "ten", records: text("v=spf1 " + strings.Repeat("a:www.hosts.zone ", 11) + "-all"), want: "ZONE-MAIL fail", has: "SPF"},
			{name: "spf10", records: text("v=spf10 -all"), want: "ZONE-MAIL fail", has: "SPF"},
			{name: "upper", records: text("V=SPF1 MX -ALL")},
			{name: "spftwo", records: "+@ TXT \"v=spf1 a -all\"\n", want: "ZONE-MAIL fail", has: "SPF"},
			{name: "dmarctwo", records: "+_dmarc TXT \"v=DMARC1; p=none\"\n", want: "ZONE-MAIL fail", has: "DMARC"},
			{name: "isue", records: less(plainRecords, "@ CAA") + "@ CAA 0 isue \"ca.example.net\"\n", want: "ZONE-CAA warn", has: "isue"},
			{name: "critical", records: "+@ CAA 128 isue \"ca.example.net\"\n", want: "ZONE-CAA fail", has: "isue"},
			{name: "tlsa", records: "+_25._tcp.mail TLSA 3 1 1 0123456789abcdef\n", want: "ZONE-TLSA fail", has: "octets"},
			{name: "mtasts", records: "+_mta-sts TXT \"v=STSv1; id=\"\nmta-sts A 5.9.0.80\n", want: "ZONE-MAIL fail", has: "MTA-STS"},
			{name: "https", records: "+@ HTTPS 0 @\n", want: "ZONE-HTTPS fail"},
		},
		"special": { // names and addresses that are not for all
			{name: "localhost", records: less(plainRecords, "@ MX") + "@ MX 10 localhost.\n", want: "ZONE-DANGLE warn", has: "localhost"},
			{name: "invalid", records: less(plainRecords, "@ MX") + "@ MX 10 mail.invalid.\n", want: "ZONE-DANGLE warn", has: "invalid"},
			{name: "documentation", records: "+www2 A 192.0.2.1\n", signed: true, want: "ZONE-PRIVATE warn", has: "192.0.2.1"},
			{name: "shared", records: "+mail2 A 100.64.0.1\n", signed: true, want: "ZONE-PRIVATE warn", has: "100.64.0.1"},
			{name: "apexshared", records: strings.Replace(plainRecords, "@ A 5.9.0.80", "@ A 100.64.0.1", 1), want: "ZONE-PRIVATE warn", has: "100.64.0.1"},
			{name: "six", records: "+www AAAA 2001:db8::1\n", want: "ZONE-PRIVATE warn", has: "2001:db8::1"},
			{name: "glue", records: strings.Replace(plainRecords, "ns2 A $2", "ns2 A 127.0.0.1", 1), above: "@ NS ns1\n@ NS ns2\nns1 A $1\nns2 A 127.0.0.1\n", want: "DEL-LAME fail", has: "127.0.0.1"},
			{name: "reverse", origin: "0.9.5.in-addr.arpa.", records: "@ SOA ns1 host 1 14400 3600 1209600 3600\n@ NS ns1.hosts.zone.\n@ NS ns2.hosts.zone.\n80 PTR www.hosts.zone.\n", above: "@ NS ns1.hosts.zone.\n@ NS ns2.hosts.zone.\n", without: func(f *finding) bool {
				return (f.State == "fail" || f.State == "warn") && (f.ID == "ZONE-MAIL" || f.ID == "ZONE-CAA")
			}},
		},
	}
}

// TestKindsOfFaults has, of each kind, several zones served by Knot, NSD, BIND, PowerDNS and port53, with one
// that errs in one way in the place of the second server where the fault is a server's: each is found.
func TestKindsOfFaults(t *testing.T) {
	l := newWholeLab(t)
	hosts := unusual{name: "hosts", records: "+"}
	l.unusual(t, 0, &hosts)
	kinds, n, by := kindsOfFaults(), 0, map[string]*sibling{}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		list := kinds[kind]
		if len(list) < 5 {
			t.Errorf("%s: %d zones", kind, len(list))
		}
		for i := range list {
			x := &list[i]
			n++
			if x.origin == "" {
				x.origin = kind + "-" + x.name + ".zone."
			}
			by[x.origin] = x
			l.sibling(t, n, x)
		}
	}
	l.serve(t)
	began := time.Now()
	found := l.check(t, l.zones)
	t.Logf("%d zones on %d servers in %v", n, l.servers, time.Since(began).Round(time.Millisecond))
	var again []string
	for _, zone := range l.zones[1:] {
		if len(by[zone].judge(found[zone])) > 0 {
			again = append(again, zone)
		}
	}
	// A zone's servers are asked for eleven seconds, which a busy machine may spend on others.
	for some := range slices.Chunk(again, 4) {
		maps.Copy(found, l.check(t, some))
	}
	for _, zone := range again {
		for _, fault := range by[zone].judge(found[zone]) {
			t.Errorf("%s: %s", zone, fault)
		}
	}
}

// judge returns what is wrong with what was found in a zone.
func (x *sibling) judge(found []finding) (faults []string) {
	var told []string
	seen := x.want == ""
	for _, f := range found {
		text := f.ID + " " + f.State + " " + f.Detail
		if f.State != "pass" && f.State != "info" && f.State != "skipped" {
			told = append(told, text)
		}
		seen = seen || f.ID+" "+f.State == x.want && strings.Contains(f.Detail, x.has)
		if x.without != nil && x.without(&f) || x.want == "" && f.State == "fail" && !strings.HasPrefix(f.ID, "SRV-") {
			faults = append(faults, text)
		}
	}
	if !seen {
		faults = append(faults, fmt.Sprintf("no %s with %q:\n%s", x.want, x.has, strings.Join(told, "\n")))
	}
	return faults
}

// sibling adds a zone, served by two servers of different kinds.
func (l *wholeLab) sibling(t *testing.T, n int, x *sibling) {
	t.Helper()
	records := x.records
	switch {
	case records == "":
		records = plainRecords
	case records[0] == '+':
		records = plainRecords + records[1:]
	}
	above := x.above
	if above == "" {
		above = "@ NS ns1\n@ NS ns2\nns1 A $1\nns2 A $2\n"
	}
	addresses := [2]string{fmt.Sprintf("5.11.%d.1", n), fmt.Sprintf("6.11.%d.1", n)}
	groups := [2]int{[]int{groupKnot, groupNSD, groupPDNS}[n%3], []int{groupBIND, groupPort53}[n/3%2]}
	if x.signed || x.nsec3 {
		groups[0] = []int{groupKnot, groupNSD}[n%2] // PowerDNS signs by itself
		groups[1] = groupBIND                       // which serves whatever is in a file
	}
	if strings.Contains(records, "@ NS ns1.hosts.zone.") {
		addresses, groups = hostsAddresses, [2]int{groupKnot, groupBIND}
	}
	read := func(text string) []dns.RR {
		list, err := zonegen.Records(x.origin, strings.NewReplacer("$1", addresses[0], "$2", addresses[1]).Replace(text))
		if err != nil {
			t.Fatalf("%s: %v", x.origin, err)
		}
		return list
	}
	list, up := read(records), read(above)
	copies := [2][]dns.RR{list, list}
	if x.other != nil {
		copies[1] = read(x.other(records))
	}
	if x.signed || x.nsec3 {
		keys, err := newKeys(x.origin, nil)
		if err != nil {
			t.Fatal(err)
		}
		f := &forge{plain: list, Signing: &zonegen.Signing{
			Origin: x.origin, Keys: keys, NSEC3: x.nsec3, From: time.Now().Add(-time.Hour), Until: time.Now().Add(20 * 24 * time.Hour),
		}}
		if copies[0], err = f.Sign(list); err != nil {
			t.Fatal(err)
		}
		if copies[1] = copies[0]; x.change != nil {
			if copies[1], err = x.change(f, copies[0]); err != nil {
				t.Fatalf("%s: %v", x.origin, err)
			}
		}
		up = append(up, keys[0].ToDS(dns.SHA256))
	}
	how := manner{x.first, x.says}
	l.add(t, x.origin, up, copies, groups, addresses, how)
	l.manners[addresses[1]]["."] = how // whatever it is asked
	if x.both {
		l.manners[addresses[0]]["."] = how
	} else {
		l.manners[addresses[0]][x.origin] = manner{}
	}
}
