package engine

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"port53/internal/cache"
	"port53/internal/resolver"
	"port53/internal/rpz"
	"port53/internal/server"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zonefile"
)

// policies makes a policy zone what is judged by.
func (f *filtered) policies(rules string) *rpz.Zone {
	f.Helper()
	apex := []byte("\x03rpz\x04test\x00")
	b := zone.NewBuilder(apex, 53)
	text := "@ 60 SOA ns host 7 1h 1h 1d 60\n@ 60 NS ns\nns 60 A 192.0.2.53\n" + rules
	_, err := zonefile.Read(strings.NewReader(text), zonefile.Options{Name: "rpz", Origin: apex, DefaultTTL: 60}, func(r *zonefile.Record) error {
		b.Add(&zone.Record{Owner: r.Owner, Type: r.Type, TTL: r.TTL, Data: r.Data})
		return nil
	})
	if err != nil {
		f.Fatal(err)
	}
	version, problems := b.Build()
	if version == nil {
		f.Fatal(problems)
	}
	z := &rpz.Zone{
		Name: apex, Served: zone.NewServed(version), Override: rpz.Given, MaxTTL: 5, AddSOA: true, EDE: wire.EDEBlocked, Text: "by rpz",
		Number: 1, Summary: new(rpz.Summary),
	}
	f.gen.RPZ = &rpz.Policy{Zones: []*rpz.Zone{z}}
	f.engine.Apply(f.gen)
	return z
}

const policyRules = `nx.example CNAME .
tcp.example CNAME rpz-tcp-only.
drop.example CNAME rpz-drop.
local.example A 192.0.2.80
local.example A 192.0.2.81
32.9.100.51.198.rpz-ip CNAME *.
`

// What a policy zone says is the reply: with its SOA record in the additional section, an Extended DNS
// Error, TTLs as long as they may be, and the aliases that lead to the name it is about.
func TestPolicyReplies(t *testing.T) {
	f := newFiltered(t)
	f.policies(policyRules)
	f.keep("www.example", wire.TypeA, false, "CNAME nx.example", "A 198.51.100.1")
	f.keep("to.example", wire.TypeA, false, "CNAME local.example", "A 198.51.100.1")
	f.keep("addr.example", wire.TypeA, false, "A 198.51.100.9")
	f.keep("fine.example", wire.TypeA, false, "A 198.51.100.1")
	f.keep("tcp.example", wire.TypeA, false, "A 198.51.100.1")
	const blocked = " ede 15 by rpz"
	for name, want := range map[string]string{
		"nx.example":    "NXDOMAIN soa" + blocked,
		"local.example": "NOERROR 192.0.2.80 192.0.2.81 soa" + blocked,
		"addr.example":  "NOERROR soa" + blocked,
		"fine.example":  "NOERROR ad 198.51.100.1",
		"tcp.example":   "NOERROR ad 198.51.100.1", // over TCP
		"drop.example":  "silence 0",
	} {
		if got := f.summary(name, wire.TypeA); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string]wire.Rcode{"www.example": wire.NXDomain, "to.example": wire.NoError} {
		m, _ := f.ask(name, wire.TypeA, false)
		if m.Rcode != want || m.Records[0].Type != wire.TypeCNAME || m.Flags&wire.FlagAD != 0 {
			t.Errorf("%s: %v %+v", name, m.Rcode, m.Records)
			continue
		}
		for _, r := range m.Records[1:] {
			if r.TTL > 5 || r.Section == wire.Answer && string(r.Owner) != "\x05local\x07example\x00" {
				t.Errorf("%s: %+v", name, r)
			}
		}
		if want == wire.NoError && len(m.Records) != 4 {
			t.Errorf("%s: %d records", name, len(m.Records))
		}
	}
}

// Over UDP a rule sends the client to TCP, with nothing but TC set.
func TestPolicyTCPOnly(t *testing.T) {
	f := newFiltered(t)
	f.policies(policyRules)
	n, _ := wire.ParseName("tcp.example")
	msg := wire.AppendOPT(wire.AppendQuery(nil, 7, wire.FlagRD, n, wire.TypeA), 1232, false, nil)
	msg[11] = 1
	room := make([]byte, wire.MaxMessage)
	peer := server.Peer{Remote: netip.MustParseAddrPort("192.0.2.1:4000"), Transport: server.UDP}
	size := f.worker.Handle(msg, &peer, time.Now().UnixNano(), room)
	var m wire.Message
	if size <= 0 || m.Parse(room[:size]) != 0 {
		t.Fatal(size)
	}
	if m.Flags&wire.FlagTC == 0 || m.Rcode != wire.NoError || len(m.Records) != 0 {
		t.Errorf("%v %v", m.Flags, m.Records)
	}
}

// With policy zones, answers from the cache that no rule is about, and answers by a rule, allocate nothing.
func TestPolicyAllocatesNothing(t *testing.T) {
	f := newFiltered(t)
	f.policies(policyRules)
	f.keep("www.example", wire.TypeA, false, "CNAME x.other.example", "A 203.0.113.7")
	room := make([]byte, wire.MaxMessage)
	for _, name := range []string{"www.example", "nx.example", "local.example"} {
		n, err := wire.ParseName(name)
		if err != nil {
			t.Fatal(err)
		}
		msg := wire.AppendOPT(wire.AppendQuery(nil, 7, wire.FlagRD, n, wire.TypeA), 1232, false, nil)
		msg[11] = 1
		f.worker.Handle(msg, &client, 1, room)
		if n := testing.AllocsPerRun(200, func() { f.worker.Handle(msg, &client, 1, room) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// The same with rules about servers that the cache knows.
func TestServersAllocateNothing(t *testing.T) {
	f := newFiltered(t)
	z := f.policies(policyRules + "ns.evil.test.rpz-nsdname CNAME .\n24.0.113.0.203.rpz-nsip CNAME .\n")
	z.WaitServers = true
	f.gen.Recursion.Config = resolver.Compile(resolver.Settings{IPv4: true})
	f.engine.Apply(f.gen)
	put := func(owner string, typ wire.Type, data []byte) {
		n, _ := wire.ParseName(owner)
		c := f.gen.Recursion.Cache
		set := &wire.RRset{Owner: n, Type: typ, TTL: 300, Data: [][]byte{data}}
		if !c.Writer().PutRRset(cache.NewPartition(0, 0), set, cache.AuthAnswer, cache.Insecure, c.Now()) {
			t.Fatal(owner)
		}
	}
	for zone, server := range map[string]string{"good.example": "ns.good.test", "bad.example": "ns.evil.test", "worse.example": "NS.worse.test"} {
		n, _ := wire.ParseName(server)
		f.keep("www."+zone, wire.TypeA, false, "A 192.0.2.7")
		put("www."+zone, wire.TypeCNAME, n) // no zone
		put(zone, wire.TypeNS, n)
	}
	put("ns.good.test", wire.TypeA, []byte{192, 0, 2, 53})
	put("ns.evil.test", wire.TypeA, []byte{192, 0, 2, 54})
	put("ns.worse.test", wire.TypeA, []byte{203, 0, 113, 53})
	room := make([]byte, wire.MaxMessage)
	for name, want := range map[string]wire.Rcode{"www.good.example": wire.NoError, "www.bad.example": wire.NXDomain, "www.worse.example": wire.NXDomain} {
		n, _ := wire.ParseName(name)
		msg := wire.AppendOPT(wire.AppendQuery(nil, 7, wire.FlagRD, n, wire.TypeA), 1232, false, nil)
		msg[11] = 1
		if size := f.worker.Handle(msg, &client, 1, room); size < wire.HeaderLen || wire.Rcode(room[3]&15) != want {
			t.Errorf("%s: %d octets, %v", name, size, wire.Rcode(room[3]&15))
		}
		if n := testing.AllocsPerRun(200, func() { f.worker.Handle(msg, &client, 1, room) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// What was judged before is of no interest for a query that is not judged at all.
func TestPolicyForgets(t *testing.T) {
	f := newFiltered(t)
	f.policies("ns.evil.test.rpz-nsdname CNAME .\n")
	f.keep("www.example", wire.TypeRRSIG, false, "A 192.0.2.7")
	f.worker.ruled = rpz.Verdict{Undecided: true, Unknown: []byte("\x03old\x00")}
	if m, size := f.ask("www.example", wire.TypeRRSIG, false); m == nil || len(m.Records) == 0 {
		t.Errorf("%d octets, %+v", size, m)
	}
}

// A replied takes a reply.
type replied struct{ messages [][]byte }

func (r *replied) Reply(b []byte) error  { r.messages = append(r.messages, b); return nil }
func (r *replied) Stream(b []byte) error { return r.Reply(b) }
func (r *replied) Close()                {}

// An answer of the resolver goes out whatever is still not known of servers then: it has done what it could.
func TestPolicyAnswersAtLast(t *testing.T) {
	f := newFiltered(t)
	f.policies("ns.evil.test.rpz-nsdname CNAME .\n").WaitServers = true
	n, _ := wire.ParseName("www.zone.example")
	msg := wire.AppendQuery(nil, 7, wire.FlagRD, n, wire.TypeA)
	f.worker.begin(f.engine.now.Load(), &client, msg)
	if f.worker.query.Parse(msg) != 0 {
		t.Fatal("no query")
	}
	to := &replied{}
	p := f.worker.suspend(to, 0)
	p.recursion = f.gen.Recursion
	a := &cache.Answer{EDE: -1, TTL: 60, Body: []byte{0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1}, Counts: [3]uint16{1}}
	if w := p.Wants(a); string(w.Name) != string(n) || w.Meanwhile || w.Addresses {
		t.Errorf("it wants %+v", w)
	}
	p.Answer(a, "")
	if len(to.messages) != 1 || len(to.messages[0]) < 40 {
		t.Errorf("%x", to.messages)
	}
	f.policies("www.other.example CNAME .\n")
	p.gen, p.view = f.engine.now.Load(), &f.engine.now.Load().View
	if n := testing.AllocsPerRun(100, func() { p.Wants(a) }); n != 0 {
		t.Errorf("without rules about servers, %v allocations", n)
	}
}
