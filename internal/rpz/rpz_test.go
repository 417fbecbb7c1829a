package rpz_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"port53/internal/rpz"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zonefile"
)

// build compiles a policy zone from the text of its rules.
func build(t testing.TB, apex, text string) *zone.Zone {
	t.Helper()
	origin := name(t, apex)
	b := zone.NewBuilder(origin, 53)
	text = "@ 60 SOA ns host 1 1h 1h 1d 60\n@ 60 NS ns\nns 60 A 192.0.2.53\n" + text
	_, err := zonefile.Read(strings.NewReader(text), zonefile.Options{Name: apex, Origin: origin, DefaultTTL: 60}, func(r *zonefile.Record) error {
		b.Add(&zone.Record{Owner: r.Owner, Type: r.Type, TTL: r.TTL, Data: r.Data})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	z, problems := b.Build()
	if z == nil {
		t.Fatal(problems)
	}
	return z
}

func name(t testing.TB, text string) []byte {
	t.Helper()
	n, err := wire.ParseName(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// policy makes a policy of zones, each as its name, and its rules from the second line on.
func policy(t testing.TB, zones ...string) *rpz.Policy {
	t.Helper()
	p := &rpz.Policy{}
	for _, text := range zones {
		apex, rules, _ := strings.Cut(text, "\n")
		z := &rpz.Zone{Name: name(t, apex), Override: rpz.Given, MaxTTL: 5, Summary: new(rpz.Summary), Served: zone.NewServed(build(t, apex, rules+"\n"))}
		p.Zones = append(p.Zones, z)
	}
	return p
}

// servers are those of every zone.
type servers struct {
	names []string
	addrs []string
}

func (s *servers) Find(_ []byte, _ bool, into *rpz.Searcher) {
	for _, n := range s.names {
		b, _ := wire.ParseName(n)
		into.AddServer(b)
	}
	for _, a := range s.addrs {
		into.AddHost(netip.MustParseAddr(a))
	}
}

// A question as text: the name, and the answer's records, an alias as >name. and an address as itself;
// without "=" there is no answer yet.
func question(t testing.TB, text string, typ wire.Type) *rpz.Question {
	t.Helper()
	asked, answer, answered := strings.Cut(text, "=")
	q := &rpz.Question{Name: new(wire.SplitName), Type: typ, Client: netip.MustParseAddr("192.0.2.1"), UDP: true}
	n := name(t, strings.TrimSpace(asked))
	q.Name.Set(n)
	if !answered {
		return q
	}
	q.Reply = wire.AppendQuery(nil, 0, wire.FlagQR, n, typ)
	q.Body = len(q.Reply)
	owner := n
	for _, part := range strings.Fields(answer) {
		kind, data := wire.TypeA, []byte(nil)
		switch target, alias := strings.CutPrefix(part, ">"); {
		case alias:
			kind, data = wire.TypeCNAME, name(t, target)
		case part == "rrsig":
			kind, data = wire.TypeRRSIG, make([]byte, 24)
		default:
			a := netip.MustParseAddr(part)
			if data = a.AsSlice(); a.Is6() {
				kind = wire.TypeAAAA
			}
		}
		q.Reply = append(q.Reply, owner...)
		q.Reply = append(q.Reply, 0, byte(kind), 0, 1, 0, 0, 0, 60, 0, byte(len(data)))
		q.Reply = append(q.Reply, data...)
		if kind == wire.TypeCNAME {
			owner = data
		}
		q.Answers++
	}
	return q
}

// summary is a verdict in a few words: what is done, by which zone and trigger, behind how many links.
func summary(v rpz.Verdict) string {
	if v.Undecided {
		return "undecided"
	}
	if v.Zone == nil {
		if v.Logged != nil {
			return "logged " + wire.NameText(v.Logged.Name)
		}
		return "pass"
	}
	text := fmt.Sprint(v.Action, " ", wire.NameText(v.Zone.Name), " ", v.Trigger)
	if v.Action == rpz.Alias {
		text += " " + wire.NameText(v.Target)
	}
	if v.Links > 0 {
		text += fmt.Sprint(" +", v.Links)
	}
	return text
}

const everything = `a
; names
nx.example CNAME .
*.nx.example CNAME .
nodata.example CNAME *.
pass.example CNAME rpz-passthru.
self.example CNAME self.example.
drop.example CNAME rpz-drop.
tcp.example CNAME rpz-tcp-only.
future.example CNAME rpz-future.
local.example A 192.0.2.80
local.example TXT hello
alias.example CNAME garden.test.
*.walled.example CNAME *.garden.test.
*.wild.example CNAME .
exact.wild.example CNAME rpz-passthru.
deep.below.ent.example CNAME .
*.ent.example CNAME .
; addresses
32.9.100.51.198.rpz-ip CNAME .
24.0.100.51.198.rpz-ip CNAME *.
8.0.0.0.198.rpz-ip CNAME rpz-drop.
1.0.0.0.128.rpz-ip A 192.0.2.81
48.zz.1.db8.2001.rpz-ip CNAME .
128.1.zz.2.db8.2001.rpz-ip CNAME rpz-passthru.
128.8.7.6.5.0.3.db8.2001.rpz-ip CNAME .
32.66.2.0.192.rpz-client-ip CNAME .
64.zz.db8.2001.rpz-client-ip CNAME rpz-drop.
; servers
ns.evil.test.rpz-nsdname CNAME .
*.bad.test.rpz-nsdname CNAME *.
24.0.113.0.203.rpz-nsip CNAME rpz-drop.
`

// Each trigger and each action, by one zone.
func TestTriggersAndActions(t *testing.T) {
	p := policy(t, everything)
	for text, want := range map[string]string{
		"nx.example =":                            "nxdomain a. qname",
		"NX.Example =":                            "nxdomain a. qname",
		"x.nx.example =":                          "nxdomain a. qname",
		"a.b.c.nx.example =":                      "nxdomain a. qname",
		"notnx.example =":                         "pass",
		"nodata.example =":                        "nodata a. qname",
		"x.nodata.example =":                      "pass",
		"pass.example =":                          "passthru a. qname",
		"self.example =":                          "passthru a. qname",
		"drop.example =":                          "drop a. qname",
		"tcp.example =":                           "tcp-only a. qname",
		"future.example =":                        "pass",
		"local.example =":                         "local data a. qname",
		"alias.example =":                         "cname a. qname garden.test.",
		"www.walled.example =":                    "cname a. qname www.walled.example.garden.test.",
		"walled.example =":                        "pass",
		"wild.example =":                          "pass",
		"x.wild.example =":                        "nxdomain a. qname",
		"exact.wild.example =":                    "passthru a. qname",
		"x.exact.wild.example =":                  "pass", // the closest encloser is another
		"deep.below.ent.example =":                "nxdomain a. qname",
		"below.ent.example =":                     "pass", // an empty non-terminal
		"x.below.ent.example =":                   "pass",
		"x.ent.example =":                         "nxdomain a. qname",
		". =":                                     "pass",
		"a.rpz-ip =":                              "pass",
		"32.9.100.51.198.rpz-ip =":                "pass",
		"www.example = 198.51.100.9":              "nxdomain a. ip",
		"www.example = 198.51.100.8":              "nodata a. ip",
		"www.example = 198.51.101.8":              "drop a. ip",
		"www.example = 199.51.101.8":              "local data a. ip",
		"www.example = 10.0.0.1":                  "pass",
		"www.example = 10.0.0.1 198.51.100.9":     "nxdomain a. ip",
		"www.example = 198.51.101.8 198.51.100.9": "nxdomain a. ip",
		"www.example = 2001:db8:1::9":             "nxdomain a. ip",
		"www.example = 2001:db8:1:2:3:4:5:6":      "nxdomain a. ip",
		"www.example = 2001:db8:2::1":             "passthru a. ip",
		"www.example = 2001:db8:2::2":             "pass",
		"www.example = 2001:db8:3:0:5:6:7:8":      "nxdomain a. ip",
		"www.example = 2001:db8:3:0:5:6:7:9":      "pass",
		"www.example = >nx.example":               "nxdomain a. qname +1",
		"www.example = >x.example >nx.example":    "nxdomain a. qname +2",
		"www.example = >x.example 198.51.100.9":   "nxdomain a. ip +1",
		"pass.example = >nx.example":              "passthru a. qname", // the first name that has a rule
		"nx.example = >pass.example":              "nxdomain a. qname",
		"www.example = >alias.example 10.0.0.1":   "cname a. qname garden.test. +1",
		"nx.example":                              "undecided", // no answer yet: addresses may say more, but only of later triggers
	} {
		if text == "nx.example" {
			want = "nxdomain a. qname"
		}
		if got := summary(new(rpz.Searcher).Judge(p, question(t, text, wire.TypeA))); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	for typ, want := range map[wire.Type]string{
		wire.TypeTXT: "local data a. qname", wire.TypeAAAA: "nodata a. qname", wire.TypeANY: "local data a. qname", wire.TypeMX: "nodata a. qname",
	} {
		if got := summary(new(rpz.Searcher).Judge(p, question(t, "local.example =", typ))); got != want {
			t.Errorf("local.example %v: %s, want %s", typ, got, want)
		}
	}
	if got := summary(new(rpz.Searcher).Judge(p, question(t, "www.example = >nx.example", wire.TypeCNAME))); got != "pass" {
		t.Errorf("an alias that was asked for: %s", got)
	}
}

func TestClients(t *testing.T) {
	p := policy(t, everything)
	for client, want := range map[string]string{
		"192.0.2.66": "nxdomain a. client-ip", "192.0.2.67": "pass", "2001:db8::77": "drop a. client-ip", "2001:db8:0:1::77": "pass",
		"::ffff:192.0.2.66": "nxdomain a. client-ip",
	} {
		q := question(t, "www.example =", wire.TypeA)
		q.Client = netip.MustParseAddr(client)
		if got := summary(new(rpz.Searcher).Judge(p, q)); got != want {
			t.Errorf("%s: %s, want %s", client, got, want)
		}
		q = question(t, "www.example = >pass.example", wire.TypeA)
		q.Client = netip.MustParseAddr(client)
		if want == "pass" {
			want = "passthru a. qname +1"
		}
		if got := summary(new(rpz.Searcher).Judge(p, q)); got != want {
			t.Errorf("%s, before a name: %s, want %s", client, got, want)
		}
	}
}

func TestServers(t *testing.T) {
	p := policy(t, everything)
	for _, c := range []struct {
		servers
		want string
	}{
		{servers{[]string{"ns.evil.test"}, nil}, "nxdomain a. nsdname"},
		{servers{[]string{"ns.good.test", "a.bad.test"}, nil}, "nodata a. nsdname"},
		{servers{[]string{"bad.test"}, nil}, "pass"},
		{servers{[]string{"ns.good.test"}, []string{"203.0.113.7"}}, "drop a. nsip"},
		{servers{[]string{"ns.evil.test"}, []string{"203.0.113.7"}}, "nxdomain a. nsdname"},
		{servers{[]string{"ns.good.test"}, []string{"203.0.114.7"}}, "pass"},
	} {
		q := question(t, "www.example = 10.0.0.1", wire.TypeA)
		q.Servers = &c.servers
		if got := summary(new(rpz.Searcher).Judge(p, q)); got != c.want {
			t.Errorf("%v: %s, want %s", c.servers, got, c.want)
		}
	}
}

// The order: the chain, then the zones, then the triggers, then the longest prefix.
func TestPrecedence(t *testing.T) {
	p := policy(t, "one\n24.0.2.0.192.rpz-ip CNAME *.\nfirst.example CNAME rpz-passthru.\n",
		"two\nfirst.example CNAME .\nsecond.example CNAME .\n32.7.2.0.192.rpz-ip CNAME .\n32.1.2.0.192.rpz-client-ip CNAME rpz-drop.\n",
		"three\nthird.example A 192.0.2.3\n")
	for text, want := range map[string]string{
		"first.example = 192.0.2.7":                 "passthru one. qname", // a name goes before an address
		"second.example = 192.0.2.7":                "nodata one. ip",      // the first zone, with the shorter prefix and the later trigger
		"second.example = 10.0.0.1":                 "drop two. client-ip",
		"www.example = >third.example 10.0.0.1":     "drop two. client-ip",
		"third.example = >second.example 192.0.2.9": "drop two. client-ip",
		"www.example = >first.example 192.0.2.9":    "drop two. client-ip", // the first name of the chain
		"second.example":                            "undecided",           // the first zone may have something to say of the answer
		"first.example":                             "passthru one. qname",
	} {
		if got := summary(new(rpz.Searcher).Judge(p, question(t, text, wire.TypeA))); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestOverrides(t *testing.T) {
	for _, c := range []struct {
		override rpz.Action
		target   string
		want     string
	}{
		{rpz.Passthru, "", "passthru a. qname"},
		{rpz.NXDomain, "", "nxdomain a. qname"},
		{rpz.NoData, "", "nodata a. qname"},
		{rpz.Drop, "", "drop a. qname"},
		{rpz.TCPOnly, "", "tcp-only a. qname"},
		{rpz.Alias, "garden.test", "cname a. qname garden.test."},
		{rpz.Alias, "*.garden.test", "cname a. qname alias.example.garden.test."},
		{rpz.Alias, "alias.example", "passthru a. qname"},
		{rpz.Alias, "ALIAS.example", "passthru a. qname"},
		{rpz.Disabled, "", "logged a."},
	} {
		p := policy(t, everything, "b\nother.example CNAME .\n")
		p.Zones[0].Override = c.override
		if c.target != "" {
			p.Zones[0].Target = name(t, c.target)
		}
		if got := summary(new(rpz.Searcher).Judge(p, question(t, "alias.example =", wire.TypeA))); got != c.want {
			t.Errorf("%v %s: %s, want %s", c.override, c.target, got, c.want)
		}
	}
	p := policy(t, everything, "b\nnx.example A 192.0.2.1\n")
	p.Zones[0].Override = rpz.Disabled
	v := new(rpz.Searcher).Judge(p, question(t, "nx.example =", wire.TypeA))
	if got := summary(v); got != "local data b. qname" || v.Logged != p.Zones[0] {
		t.Errorf("a zone behind one that only counts: %s", got)
	}
}

// A client that wants signatures gets a signed answer as it is, unless the zone breaks it.
func TestSigned(t *testing.T) {
	p := policy(t, everything)
	judge := func(text string, do bool) string {
		q := question(t, text, wire.TypeA)
		q.DO = do
		return summary(new(rpz.Searcher).Judge(p, q))
	}
	for _, c := range []struct {
		text     string
		do, does bool // breaks
		want     string
	}{
		{"nx.example = 10.0.0.1 rrsig", true, false, "pass"},
		{"nx.example = 10.0.0.1 rrsig", true, true, "nxdomain a. qname"},
		{"nx.example = 10.0.0.1 rrsig", false, false, "nxdomain a. qname"},
		{"nx.example = 10.0.0.1", true, false, "nxdomain a. qname"},
		{"nx.example", true, false, "undecided"},
		{"nx.example", true, true, "nxdomain a. qname"},
	} {
		p.Zones[0].BreakDNSSEC = c.does
		if got := judge(c.text, c.do); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
	p.Zones[0].BreakDNSSEC, p.Zones[0].Wait = false, true
	if got := judge("nx.example", false); got != "undecided" {
		t.Errorf("a zone that waits: %s", got)
	}
}

// Over TCP a rule that wants TCP lets pass; a zone that is not there says nothing; own names are not
// judged, and what they lead to is.
func TestRest(t *testing.T) {
	p := policy(t, everything)
	q := question(t, "tcp.example =", wire.TypeA)
	q.UDP = false
	if got := summary(new(rpz.Searcher).Judge(p, q)); got != "passthru a. qname" {
		t.Errorf("over TCP: %s", got)
	}
	for text, want := range map[string]string{"nx.example =": "pass", "nx.example": "pass", "nx.example = >x.nx.example": "nxdomain a. qname +1"} {
		q := question(t, text, wire.TypeA)
		q.Local = true
		if got := summary(new(rpz.Searcher).Judge(p, q)); got != want {
			t.Errorf("own name, %s: %s, want %s", text, got, want)
		}
	}
	served := p.Zones[0].Served
	p.Zones[0].Served = nil
	if got := summary(new(rpz.Searcher).Judge(p, question(t, "nx.example =", wire.TypeA))); got != "pass" {
		t.Errorf("a zone that is not there: %s", got)
	}
	p.Zones[0].Served = served
	served.Store(nil)
	if got := summary(new(rpz.Searcher).Judge(p, question(t, "nx.example =", wire.TypeA))); got != "pass" {
		t.Errorf("a zone that has expired: %s", got)
	}
	long := strings.Repeat("a", 63)
	served.Store(build(t, "a", "*.c CNAME *.garden.test.\n"))
	name := strings.Join([]string{long, long, long, strings.Repeat("b", 50), "c"}, ".")
	if got := summary(new(rpz.Searcher).Judge(p, question(t, name+" =", wire.TypeA))); got != "nxdomain a. qname" {
		t.Errorf("an alias that is too long: %s", got)
	}
}

// Every prefix of an address is found if it is the only one, and the longest if all are there.
func TestPrefixes(t *testing.T) {
	for _, text := range []string{"192.0.2.129", "255.255.255.255", "1.0.0.1", "2001:db8:0:1:0:0:0:1", "::1", "fe80::", "1:2:3:4:5:6:7:8", "2001:0:0:1::5", "0:1::1:0:1"} {
		a := netip.MustParseAddr(text)
		all := ""
		for bits := 1; bits <= a.BitLen(); bits++ {
			p := netip.PrefixFrom(a, bits).Masked()
			owner := ownerOf(p)
			q := question(t, "www.example = "+text, wire.TypeA)
			one := policy(t, "a\n"+owner+".rpz-ip CNAME .\n9.0.0.128.0.rpz-ip CNAME .\n32.zz.77.6666.rpz-ip CNAME .\n")
			if got := summary(new(rpz.Searcher).Judge(one, q)); got != "nxdomain a. ip" {
				t.Errorf("%s in %v (%s): %s", text, p, owner, got)
			}
			all += owner + ".rpz-ip CNAME p" + fmt.Sprint(bits) + ".\n"
			every := policy(t, "a\n"+all)
			for _, outline := range []*rpz.Summary{nil, new(rpz.Summary)} {
				every.Zones[0].Summary = outline
				for range 2 { // the second time more is known
					if got, want := summary(new(rpz.Searcher).Judge(every, q)), fmt.Sprintf("cname a. ip p%d.", bits); got != want {
						t.Errorf("%s: %s, want %s", text, got, want)
					}
				}
			}
		}
	}
}

// ownerOf writes a prefix as rules have it, in another way than package rpz: from the text of an
// address.
func ownerOf(p netip.Prefix) string {
	a := p.Addr()
	if a.Is4() {
		b := a.As4()
		return fmt.Sprintf("%d.%d.%d.%d.%d", p.Bits(), b[3], b[2], b[1], b[0])
	}
	left, right, short := strings.Cut(a.String(), "::")
	var parts []string
	add := func(text string) {
		for _, w := range strings.Split(text, ":") {
			if w != "" {
				parts = append([]string{w}, parts...)
			}
		}
	}
	add(left)
	if short {
		parts = append([]string{"zz"}, parts...)
	}
	add(right)
	return fmt.Sprint(p.Bits()) + "." + strings.Join(parts, ".")
}

// Judging allocates nothing, once a version was seen, however many addresses and servers there are.
func TestAllocatesNothing(t *testing.T) {
	p, s := policy(t, everything, "b\nx.example CNAME .\n*.good.test.rpz-nsdname CNAME .\n"), new(rpz.Searcher)
	crowd := "www.example =" + strings.Repeat(" 10.0.0.1 2001:db8:77::1", 500)
	long := strings.Repeat("a.", 120) + "nx.example"
	for _, text := range []string{"nx.example =", "www.example = >x.y.example 198.51.100.8 2001:db8:77::1", "x.walled.example", "www.example", crowd, long} {
		q := question(t, text, wire.TypeA)
		q.Servers = &crowded{name(t, "ns.evil.example"), netip.MustParseAddr("192.0.2.7")}
		s.Judge(p, q)
		if n := testing.AllocsPerRun(100, func() { s.Judge(p, q) }); n != 0 {
			t.Errorf("%.80s: %v allocations", text, n)
		}
	}
}

// A crowded zone has one server many times.
type crowded struct {
	name []byte
	addr netip.Addr
}

func (c *crowded) Find(_ []byte, _ bool, into *rpz.Searcher) {
	for range 200 {
		into.AddServer(c.name)
		into.AddHost(c.addr)
	}
}

// A lookup among a million rules.
func BenchmarkJudge(b *testing.B) {
	var text strings.Builder
	text.WriteString("a\n32.9.100.51.198.rpz-ip CNAME .\n48.zz.1.db8.2001.rpz-ip CNAME .\n")
	for i := range 500_000 {
		fmt.Fprintf(&text, "ad%d.host%d.example CNAME .\n*.ad%d.host%d.example CNAME .\n", i, i%1000, i, i%1000)
	}
	p, s := policy(b, text.String()), new(rpz.Searcher)
	b.ReportMetric(float64(p.Zones[0].Served.Zone().Size())/1e6, "octets/rule")
	for _, text := range []string{"www.example.net = 192.0.2.1", "www.example.net", "x.ad77.host77.example", "www.example.net = 2001:db8:2::1"} {
		q := question(b, text, wire.TypeA)
		b.Run(strings.ReplaceAll(text, " ", ""), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Judge(p, q)
			}
		})
	}
}

// Versions that come of one another by differences are judged by what they have, whatever the outline
// of the one before was.
func TestDifferences(t *testing.T) {
	var text strings.Builder
	text.WriteString("a\n32.9.100.51.198.rpz-ip CNAME .\n")
	for i := range 200 {
		fmt.Fprintf(&text, "n%d.example CNAME .\n*.n%d.example CNAME .\n", i, i)
	}
	p := policy(t, text.String())
	p.Zones = append(p.Zones, policy(t, "b\n*.example CNAME *.\n").Zones...)
	served, s := p.Zones[0].Served, new(rpz.Searcher)
	apply := func(removed, added string) {
		t.Helper()
		z := served.Zone()
		ttl, soa := z.SOA()
		d := &zone.Delta{From: z.Serial(), To: z.Serial() + 1}
		d.Removed = zone.AppendRecord(nil, z.Apex(), wire.TypeSOA, ttl, soa)
		d.Added = zone.AppendRecord(nil, z.Apex(), wire.TypeSOA, ttl, zone.WithSerial(soa, d.To))
		for _, n := range strings.Fields(removed) {
			d.Removed = zone.AppendRecord(d.Removed, name(t, n+".a"), wire.TypeCNAME, 60, []byte{0})
		}
		for _, n := range strings.Fields(added) {
			d.Added = zone.AppendRecord(d.Added, name(t, n+".a"), wire.TypeCNAME, 60, []byte{0})
		}
		next, problems := z.Apply(d)
		if next == nil {
			t.Fatal(problems)
		}
		served.Store(next)
	}
	expect := func(asked, want string) {
		t.Helper()
		if got := summary(s.Judge(p, question(t, asked, wire.TypeA))); got != want {
			t.Errorf("serial %d: %s: %s, want %s", served.Zone().Serial(), asked, got, want)
		}
	}
	for range 3 { // the outline is known at some time
		expect("www.test = 198.51.100.9", "nxdomain a. ip")
		time.Sleep(10 * time.Millisecond)
	}
	expect("new.example =", "nodata b. qname")
	apply("n7.example *.n8.example", "new.example *.new.example *.n7.more 24.0.2.0.192.rpz-ip")
	expect("new.example =", "nxdomain a. qname")
	expect("x.new.example =", "nxdomain a. qname")
	expect("x.n7.more =", "nxdomain a. qname")
	expect("n7.example =", "nodata b. qname")
	expect("x.n7.example =", "nxdomain a. qname") // its wildcard is still there
	expect("x.n8.example =", "nodata b. qname")
	expect("n8.example =", "nxdomain a. qname")
	expect("www.test = 192.0.2.7", "nxdomain a. ip")
	apply("24.0.2.0.192.rpz-ip *.new.example", "32.7.2.0.192.rpz-ip *.n8.example")
	expect("www.test = 192.0.2.7", "nxdomain a. ip")
	expect("www.test = 192.0.2.8", "pass")
	expect("x.new.example =", "nodata b. qname")
	expect("x.n8.example =", "nxdomain a. qname")
	apply("32.9.100.51.198.rpz-ip 32.7.2.0.192.rpz-ip", "")
	expect("www.test = 192.0.2.7", "pass")
	expect("www.test = 198.51.100.9", "pass")
}
