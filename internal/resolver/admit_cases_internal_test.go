package resolver

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"port53/internal/cache"
	"port53/internal/dnstest"
	"port53/internal/wire"
	"port53/internal/zonefile"
)

// records appends the records of a master file, as they are, and returns how many these are.
// With CH before the first they are of that class.
func records(t *testing.T, msg []byte, text string) ([]byte, int) {
	t.Helper()
	n, class := 0, wire.ClassIN
	text, chaos := strings.CutPrefix(text, "CH ")
	if chaos {
		class = 3
	}
	if _, err := zonefile.Read(strings.NewReader(text), zonefile.Options{Origin: wire.Root, DefaultTTL: 300}, func(r *zonefile.Record) error {
		n++
		msg = append(msg, r.Owner...)
		msg = binary.BigEndian.AppendUint16(msg, uint16(r.Type))
		msg = binary.BigEndian.AppendUint16(msg, uint16(class))
		msg = binary.BigEndian.AppendUint32(msg, r.TTL)
		msg = append(binary.BigEndian.AppendUint16(msg, uint16(len(r.Data))), r.Data...)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return msg, n
}

// told says what a finding is, in a line: what kind of thing, and of what it is made.
func told(f *finding) string {
	var b strings.Builder
	b.WriteString([...]string{"nothing", "answer", "alias", "nodata", "nxdomain", "referral", "toolong"}[f.kind])
	name := func(n []byte) string { return string(wire.AppendName(nil, n)) }
	sets := func(what string, list ...*wire.RRset) {
		for _, s := range list {
			if s != nil {
				fmt.Fprintf(&b, " %s %s %s", what, name(s.Owner), s.Type)
				if n := len(s.Data); n > 1 {
					fmt.Fprintf(&b, "*%d", n)
				}
			}
		}
	}
	sets("set", f.set)
	sets("dname", f.dname)
	sets("all", f.all...)
	if f.target != nil {
		fmt.Fprintf(&b, " to %s", name(f.target))
	}
	sets("then", f.chain...)
	if f.child != nil {
		fmt.Fprintf(&b, " child %s for %d", name(f.child.zone), f.ttl)
		for _, g := range f.child.targets {
			fmt.Fprintf(&b, " %s", name(g.name))
			for i, a := range g.addrs {
				fmt.Fprintf(&b, "%c%s", "=,"[min(i, 1)], a)
			}
			for _, a := range g.spare {
				fmt.Fprintf(&b, "~%s", a)
			}
		}
	}
	sets("ds", f.ds)
	sets("proof", f.proof...)
	if f.lame {
		b.WriteString(" lame")
	}
	if f.wrong {
		b.WriteString(" wrong")
	}
	if f.why != "" {
		b.WriteString(": " + f.why)
	}
	return b.String()
}

// TestAdmit has replies of servers of a zone, and what of each may be used: that is what
// was asked for, and nothing that the zone has no say in (RFC 2181, section 5.4.1; RFC 2308,
// section 2; RFC 4035, section 3.1.4.1).
func TestAdmit(t *testing.T) {
	const (
		soa  = "example. SOA ns.example. a.example. 1 2 3 4 5\n"
		nsec = "a.example. NSEC z.example. A\n"
	)
	many := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format+"\n", i)
		}
		return b.String()
	}
	for _, c := range []struct {
		what      string
		zone      string // whose servers answer; a + before it: they are forwarders
		name      string
		typ       wire.Type
		head      string // flags and rcode
		answer    string
		authority string
		additions string
		want      string
	}{
		{what: "an answer", name: "www.example.", typ: wire.TypeA, head: "aa", answer: "WWW.example. A 192.0.2.1\n", want: "answer set www.example. A"},
		{what: "an answer in two records, once more each", name: "www.example.", typ: wire.TypeA, head: "aa", answer: "www.example. A 192.0.2.1\nwww.example. A 192.0.2.2\nwww.example. A 192.0.2.1\n", want: "answer set www.example. A*2"},
		{what: "another class", name: "www.example.", typ: wire.TypeA, head: "aa", answer: "CH www.example. A 192.0.2.1\n", want: "nodata"},
		{what: "an answer in another section", name: "www.example.", typ: wire.TypeA, head: "aa", additions: "www.example. A 192.0.2.1\n", want: "nodata"},
		{what: "another name", name: "www.example.", typ: wire.TypeA, head: "aa", answer: "x.example. A 192.0.2.1\n", want: "nodata"},
		{what: "another type", name: "www.example.", typ: wire.TypeA, head: "aa", answer: "www.example. AAAA ::1\n", want: "nodata"},
		{what: "outside of the zone", zone: "example.", name: "www.example.", typ: wire.TypeA, head: "aa", answer: "www.example. A 192.0.2.1\nwww.test. A 192.0.2.66\n", authority: "test. NS ns.test.\n", additions: "ns.test. A 192.0.2.66\n", want: "answer set www.example. A"},
		{what: "the answer alone is outside", zone: "other.", name: "www.example.", typ: wire.TypeA, head: "aa", answer: "www.example. A 192.0.2.1\n", want: "nodata"},

		{what: "REFUSED", name: "www.example.", typ: wire.TypeA, head: "refused", answer: "www.example. A 192.0.2.1\n", want: "nothing lame: REFUSED"},
		{what: "NOTAUTH", name: "www.example.", typ: wire.TypeA, head: "notauth", want: "nothing lame: NOTAUTH"},
		{what: "SERVFAIL", name: "www.example.", typ: wire.TypeA, head: "servfail aa", answer: "www.example. A 192.0.2.1\n", want: "nothing: SERVFAIL"},
		{what: "NXDOMAIN with an answer", name: "www.example.", typ: wire.TypeA, head: "nxdomain aa", answer: "www.example. A 192.0.2.1\n", want: "answer set www.example. A"},

		{what: "an alias", zone: "example.", name: "www.example.", typ: wire.TypeA, head: "aa", answer: "www.example. CNAME Other.test.\nother.test. A 192.0.2.66\n", want: "alias set www.example. CNAME to other.test."},
		{what: "an alias in the zone", zone: "example.", name: "www.example.", typ: wire.TypeA, head: "aa", answer: "www.example. CNAME b.example.\nb.example. CNAME c.example.\nc.example. A 192.0.2.1\n", want: "alias set www.example. CNAME to b.example. then b.example. CNAME then c.example. A"},
		{what: "an alias that leads out and comes back", zone: "example.", name: "www.example.", typ: wire.TypeA, head: "aa", answer: "www.example. CNAME b.test.\nb.test. CNAME c.example.\nc.example. A 192.0.2.1\n", want: "alias set www.example. CNAME to b.test."},
		{what: "an alias is asked for", name: "www.example.", typ: wire.TypeCNAME, head: "aa", answer: "www.example. CNAME b.example.\nb.example. CNAME c.example.\n", want: "answer set www.example. CNAME"},
		{what: "a circle of aliases", name: "www.example.", typ: wire.TypeA, head: "aa", answer: "www.example. CNAME www.example.\n", want: "alias set www.example. CNAME to www.example." + strings.Repeat(" then www.example. CNAME", defaultAliases)},
		{what: "two aliases of one name", name: "www.example.", typ: wire.TypeA, head: "aa", answer: "www.example. CNAME b.example.\nwww.example. CNAME c.example.\n", want: "nothing wrong: records that cannot be"},
		{what: "a DNAME", name: "www.a.example.", typ: wire.TypeA, head: "aa", answer: "a.example. DNAME b.test.\nwww.a.example. CNAME evil.test.\n", want: "alias set www.a.example. CNAME dname a.example. DNAME to www.b.test."},
		{what: "a DNAME behind an alias", zone: "example.", name: "www.example.", typ: wire.TypeA, head: "aa", answer: "www.example. CNAME x.a.example.\na.example. DNAME b.test.\n", want: "alias set www.example. CNAME to x.a.example. then a.example. DNAME"},
		{what: "a DNAME at the name itself", name: "a.example.", typ: wire.TypeA, head: "aa", answer: "a.example. DNAME b.test.\n", authority: soa, want: "nodata proof example. SOA"},
		{what: "a DNAME beside the name", name: "ba.example.", typ: wire.TypeA, head: "aa", answer: "a.example. DNAME b.test.\n", authority: soa, want: "nodata proof example. SOA"},
		{what: "a DNAME that makes too long a name", name: strings.Repeat("x.", 90) + "a.example.", typ: wire.TypeA, head: "yxdomain aa", answer: "a.example. DNAME " + strings.Repeat("y.", 60) + "test.\n", want: "toolong set a.example. DNAME"},
		{what: "YXDOMAIN for another name", name: "www.example.", typ: wire.TypeA, head: "yxdomain aa", answer: "a.example. DNAME " + strings.Repeat("y.", 60) + "test.\n", want: "nodata"},
		{what: "YXDOMAIN with what is no DNAME", name: "www.example.", typ: wire.TypeA, head: "yxdomain aa", answer: "example. A 192.0.2.1\n", want: "nodata"},

		{what: "ANY", name: "www.example.", typ: wire.TypeANY, head: "aa", answer: "www.example. A 192.0.2.1\nwww.example. TXT x\nx.example. A 192.0.2.1\n", want: "answer set www.example. A all www.example. A all www.example. TXT"},
		{what: "ANY of an alias", name: "www.example.", typ: wire.TypeANY, head: "aa", answer: "www.example. CNAME b.example.\n", want: "answer set www.example. CNAME all www.example. CNAME"},
		{what: "ANY of nothing", name: "www.example.", typ: wire.TypeANY, head: "aa", authority: soa, want: "nodata proof example. SOA"},
		{what: "signatures", name: "www.example.", typ: wire.TypeRRSIG, head: "aa", answer: "www.example. RRSIG TXT 13 2 300 20300101000000 20200101000000 1 example. AAAA\nwww.example. RRSIG A 13 2 300 20300101000000 20200101000000 1 example. AAAA\nx.example. RRSIG A 13 2 300 20300101000000 20200101000000 1 example. AAAA\n", want: "answer set www.example. RRSIG*2"},
		{what: "signatures in another section", name: "www.example.", typ: wire.TypeRRSIG, head: "aa", authority: "www.example. RRSIG A 13 2 300 20300101000000 20200101000000 1 example. AAAA\n", want: "nodata"},
		{what: "no signatures", name: "www.example.", typ: wire.TypeRRSIG, head: "aa", answer: "www.example. A 192.0.2.1\n", authority: soa, want: "nodata proof example. SOA"},

		{what: "what stands beside an answer", name: "www.example.", typ: wire.TypeA, head: "aa", answer: "www.example. A 192.0.2.1\n", authority: nsec + "example. NS ns.evil.\n" + soa + "sub.example. DS 1 13 2 " + strings.Repeat("00", 32) + "\n0p9mhaveqvm6t7vbl5lop2u3t2rp3tom.example. NSEC3 1 0 0 - 2T7B4G4VSA5SMI47K61MV5BV1A22BOJR A\n", want: "answer set www.example. A proof a.example. NSEC proof 0p9mhaveqvm6t7vbl5lop2u3t2rp3tom.example. NSEC3"},

		{what: "no data", name: "www.example.", typ: wire.TypeA, head: "aa", authority: soa + nsec + "www.example. TXT x\n", want: "nodata proof example. SOA proof a.example. NSEC"},
		{what: "no such name", name: "www.example.", typ: wire.TypeA, head: "nxdomain aa", authority: soa, want: "nxdomain proof example. SOA"},
		{what: "no data by who does not claim authority", name: "www.example.", typ: wire.TypeA, authority: soa, want: "nodata proof example. SOA"},
		{what: "the SOA record of another zone", name: "www.example.", typ: wire.TypeA, authority: "www.test. SOA ns.test. a.test. 1 2 3 4 5\n", want: "nothing lame: lame: neither an answer nor a referral"},
		{what: "two SOA records", name: "www.a.example.", typ: wire.TypeA, authority: soa + "a.example. SOA ns.example. a.example. 1 2 3 4 5\n", want: "nodata proof example. SOA"},
		{what: "nothing by an authority", name: "www.example.", typ: wire.TypeA, head: "aa", want: "nodata"},
		{what: "nothing", name: "www.example.", typ: wire.TypeA, want: "nodata lame: lame: neither an answer nor a referral"},
		{what: "no such name, without more", name: "www.example.", typ: wire.TypeA, head: "nxdomain", want: "nxdomain lame: lame: neither an answer nor a referral"},
		{what: "no name below an alias, without more", name: "www.example.", typ: wire.TypeA, head: "yxdomain", want: "nothing lame: lame: neither an answer nor a referral"},
		{what: "a referral upwards", zone: "example.", name: "www.example.", typ: wire.TypeA, authority: ". NS a.root-servers.net.\n", want: "nothing lame: lame: a referral upwards"},
		{what: "a referral to the zone itself", zone: "example.", name: "www.example.", typ: wire.TypeA, authority: "example. NS ns.example.\n", want: "nothing lame: lame: a referral upwards"},
		{what: "a referral sidewards", zone: "example.", name: "www.example.", typ: wire.TypeA, authority: "b.example. NS ns.example.\n", want: "nothing lame: lame: a referral upwards"},
		{what: "too large an answer", name: "www.example.", typ: wire.TypeTXT, head: "aa", answer: many(maxSetRecords+1, "www.example. TXT t%d"), authority: soa, want: "nothing wrong: records that cannot be"},
		{what: "too many keys are no keys", name: "example.", typ: wire.TypeDNSKEY, head: "aa", answer: many(maxSetRecords+1, "example. DNSKEY %d 3 13 AAAA"), authority: soa, want: "nodata proof example. SOA"},

		{what: "the child denies DS", name: "a.example.", typ: wire.TypeDS, head: "aa", authority: "a.example. SOA ns.example. a.example. 1 2 3 4 5\n", want: "nothing: the child zone answered for DS"},
		{what: "the parent denies DS", name: "a.example.", typ: wire.TypeDS, head: "aa", authority: soa, want: "nodata proof example. SOA"},
		{what: "the root denies DS", zone: ".", name: ".", typ: wire.TypeDS, head: "aa", authority: ". SOA a. b. 1 2 3 4 5\n", want: "nodata proof . SOA"},

		{what: "a referral", zone: "example.", name: "www.a.example.", typ: wire.TypeA, authority: "a.example. 77 NS ns.A.example.\na.example. NS ns.test.\na.example. DS 1 13 2 " + strings.Repeat("00", 32) + "\nb.example. DS 1 13 2 " + strings.Repeat("00", 32) + "\n" + nsec, additions: "ns.a.example. A 192.0.2.1\nns.a.example. AAAA 2001:db8::1\nns.a.example. TXT x\nns.test. A 192.0.2.66\nx.a.example. A 192.0.2.67\n", want: "referral child a.example. for 77 ns.a.example.=192.0.2.1,2001:db8::1 ns.test.~192.0.2.66 ds a.example. DS proof a.example. NSEC"},
		{what: "two referrals: the lower", zone: "example.", name: "www.b.a.example.", typ: wire.TypeA, authority: "a.example. NS ns.a.example.\nb.a.example. NS ns.b.a.example.\na.example. NS ns.a.example.\n", want: "referral child b.a.example. for 300 ns.b.a.example."},
		{what: "DS by a referral to the name itself", zone: "example.", name: "a.example.", typ: wire.TypeDS, authority: "a.example. NS ns.a.example.\n", want: "nothing lame: lame: a referral upwards"},
		{what: "DS by a referral to a zone above the name", zone: "example.", name: "b.a.example.", typ: wire.TypeDS, authority: "a.example. NS ns.a.example.\n", want: "referral child a.example. for 300 ns.a.example."},
		{what: "a referral with an SOA record", zone: "example.", name: "www.a.example.", typ: wire.TypeA, authority: "a.example. NS ns.a.example.\n" + soa, want: "nodata proof example. SOA"},
		{what: "a referral of who knows that there is no such name", zone: "example.", name: "www.a.example.", typ: wire.TypeA, head: "nxdomain aa", authority: "a.example. NS ns.a.example.\n", want: "nxdomain"},
		{what: "as many addresses of a server as are kept, and one more", zone: "example.", name: "www.a.example.", typ: wire.TypeA, authority: "a.example. NS ns.a.example.\n", additions: many(maxPerName+1, "ns.a.example. A 192.0.2.%d"), want: "referral child a.example. for 300 ns.a.example.=192.0.2.0,192.0.2.1,192.0.2.2,192.0.2.3,192.0.2.4,192.0.2.5,192.0.2.6,192.0.2.7,192.0.2.8,192.0.2.9"},

		{what: "a forwarder refers", zone: "+.", name: "www.a.example.", typ: wire.TypeA, head: "ra", authority: "a.example. NS ns.a.example.\n", want: "nothing: a referral"},
		{what: "a forwarder refers upwards", zone: "+example.", name: "www.example.", typ: wire.TypeA, head: "ra", authority: "example. NS ns.example.\n", want: "nothing: a referral"},
		{what: "a forwarder refers out of its zone, and is none", zone: "+example.", name: "www.example.", typ: wire.TypeA, authority: ". NS a.root-servers.net.\n", want: "nothing: a referral"},
		{what: "a resolver refers to the root", zone: "+example.", name: "www.example.", typ: wire.TypeA, head: "ra", authority: ". NS a.root-servers.net.\n", want: "nothing: a referral"},
		{what: "an authority says where nothing is", zone: "+example.", name: "www.example.", typ: wire.TypeA, head: "aa", authority: ". NS a.root-servers.net.\n", want: "nodata"},
		{what: "a forwarder has nothing", zone: "+.", name: "www.example.", typ: wire.TypeA, head: "ra", want: "nodata"},
		{what: "a forwarder has nothing, and says why", zone: "+.", name: "www.example.", typ: wire.TypeA, head: "ra", authority: soa + "example. NS ns.example.\n", want: "nodata proof example. SOA"},
		{what: "a forwarder knows of no such name", zone: "+.", name: "www.a.example.", typ: wire.TypeA, head: "ra nxdomain", authority: "a.example. NS ns.a.example.\n", want: "nxdomain"},
	} {
		f := admitted(t, New(Options{Cache: cache.New(cache.Options{Size: 1})}, Compile(Settings{})), c.zone, c.name, c.typ, c.head, c.answer, c.authority, c.additions)
		if got := told(f); got != c.want {
			t.Errorf("%s:\n%s, want\n%s", c.what, got, c.want)
		}
	}
}

// admitted returns what a resolver admits of a reply.
func admitted(t *testing.T, r *Resolver, zone, name string, typ wire.Type, head, answer, authority, additions string) *finding {
	t.Helper()
	defer r.Close()
	flags := wire.FlagQR
	for word := range strings.FieldsSeq(head) {
		flags |= map[string]uint16{
			"aa": wire.FlagAA, "ra": wire.FlagRA, "nxdomain": uint16(wire.NXDomain), "yxdomain": uint16(wire.YXDomain),
			"refused": uint16(wire.Refused), "servfail": uint16(wire.ServFail), "notauth": uint16(wire.NotAuth),
		}[word]
	}
	msg := wire.AppendQuery(nil, 1, flags, dnstest.Name(t, name), typ)
	for i, text := range []string{answer, authority, additions} {
		var n int
		msg, n = records(t, msg, text)
		binary.BigEndian.PutUint16(msg[6+2*i:], uint16(n))
	}
	task := r.task(r.configs[0].Load())
	m := task.reading()
	if bad := m.Parse(msg); bad != 0 {
		t.Fatal(bad)
	}
	zone, forward := strings.CutPrefix(zone, "+")
	c := &cut{zone: wire.Root}
	if zone != "" {
		c.zone = dnstest.Name(t, zone)
	}
	if forward {
		c.route = &Route{Zone: c.zone, Forward: true}
	}
	return task.admit(m, c, dnstest.Name(t, name), typ)
}

// TestAdmitServers has a referral to more servers than are kept, with more addresses than
// are: those kept are in a row, from any of them on (CVE-2022-3204).
func TestAdmitServers(t *testing.T) {
	const servers, addresses = defaultNameServers + 5, 9
	var ns, glue strings.Builder
	for i := range servers {
		fmt.Fprintf(&ns, "a.example. NS ns%d.a.example.\n", i)
		for n := range addresses {
			fmt.Fprintf(&glue, "ns%d.a.example. A 192.0.%d.%d\n", i, i, n)
		}
	}
	firsts := map[string]bool{}
	for range 60 {
		r := New(Options{Cache: cache.New(cache.Options{Size: 1})}, Compile(Settings{}))
		f := admitted(t, r, "example.", "www.a.example.", wire.TypeA, "", "", ns.String(), glue.String())
		if f.kind != foundReferral || len(f.child.targets) != defaultNameServers {
			t.Fatal(told(f))
		}
		total := 0
		first := f.child.targets[0].addrs[0].As4()[2]
		for i, g := range f.child.targets {
			want := (int(first) + i) % servers
			if string(wire.AppendName(nil, g.name)) != fmt.Sprintf("ns%d.a.example.", want) {
				t.Fatalf("server %d from %d on is %s", i, first, wire.AppendName(nil, g.name))
			}
			if !slices.IsSortedFunc(g.addrs, netip.Addr.Compare) || len(g.addrs) > 0 && int(g.addrs[0].As4()[2]) != want {
				t.Fatalf("server %d has %v", want, g.addrs)
			}
			total += len(g.addrs)
		}
		// The server that passes the bound has all of its addresses, and none after it any.
		if total != (maxAddresses+addresses-1)/addresses*addresses {
			t.Fatalf("%d addresses", total)
		}
		firsts[f.child.targets[0].addrs[0].String()] = true
	}
	if len(firsts) < 5 {
		t.Errorf("it begins with %d of the servers, each time", len(firsts))
	}
	// So many exactly are all kept, in their order.
	r := New(Options{Cache: cache.New(cache.Options{Size: 1})}, Compile(Settings{Limits: Limits{NameServers: servers}}))
	f := admitted(t, r, "example.", "www.a.example.", wire.TypeA, "", "", ns.String(), "")
	if len(f.child.targets) != servers || string(wire.AppendName(nil, f.child.targets[0].name)) != "ns0.a.example." {
		t.Errorf("%s", told(f))
	}
}
