package authority_test

import (
	"fmt"
	"strings"
	"testing"

	"port53/internal/authority"
	"port53/internal/dnstest"
	"port53/internal/wire"
	"port53/internal/zone"
)

// answered returns a zone and questions that between them take each way an answer is
// written: in one piece, record by record, with names that stand in the question, and
// beyond the reach of pointers.
func answered(t testing.TB) (z *zone.Zone, questions []string) {
	var b strings.Builder
	b.WriteString(`$TTL 60
@ SOA ns admin 1 7200 3600 1209600 300
@ NS ns
ns A 192.0.2.1
www A 192.0.2.2
@ MX 10 mail
@ MX 20 mail2
mail A 192.0.2.3
mail2 AAAA 2001:db8::3
alias CNAME mx.alias2
mx.alias2 MX 10 mail
mx.alias2 MX 20 mail.mx.alias2
mail.mx.alias2 A 192.0.2.4
moved DNAME www
sub NS ns1.sub
sub NS ns2.sub
sub NS ns.other.sub
ns1.sub A 192.0.2.5
ns2.sub A 192.0.2.6
ns.other.sub AAAA 2001:db8::4
*.wild A 192.0.2.7
`)
	for i := range 13 {
		fmt.Fprintf(&b, "tld NS %c.servers\n%c.servers A 192.0.2.%d\n%c.servers AAAA 2001:db8::%d\n", 'a'+i, 'a'+i, i, 'a'+i, i)
	}
	b.WriteString("servers NS a.servers\n")
	for i := range 250 {
		fmt.Fprintf(&b, "many NS %s%d.many\n%s%d.many A 192.0.2.%d\n", strings.Repeat("n", 50), i, strings.Repeat("n", 50), i, i)
	}
	return dnstest.Zone(t, "example.", b.String()), []string{
		"www.example. A", "example. MX", "nothing.example. A", "x.wild.example. A", "alias.example. MX", "x.moved.example. A",
		"www.tld.example. A", "www.sub.example. A", "ns1.sub.example. A", "x.ns.other.sub.example. A", "x.many.example. A +tcp",
		strings.Repeat("n", 50) + "7.many.example. A +tcp",
	}
}

// An answer is written without allocating, whichever way it takes, once the scratch
// space has grown.
func TestAnswerAllocatesNothing(t *testing.T) {
	z, questions := answered(t)
	var b wire.Builder
	var r authority.Responder
	buf := make([]byte, wire.MaxMessage)
	for _, line := range questions {
		question := dnstest.ParseQuestion(t, line)
		var q wire.Query
		if bad := q.Parse(question.Message()); bad != 0 {
			t.Fatal(bad)
		}
		if n := testing.AllocsPerRun(50, func() {
			b.Start(buf, limitOf(question), 0, &q)
			r.Answer(z, &q, &b)
		}); n != 0 {
			t.Errorf("%s: %v allocations", line, n)
		}
	}
}

func BenchmarkAnswer(b *testing.B) {
	z, questions := answered(b)
	var builder wire.Builder
	var r authority.Responder
	buf := make([]byte, wire.MaxMessage)
	for _, line := range questions {
		question := dnstest.ParseQuestion(b, line)
		var q wire.Query
		if bad := q.Parse(question.Message()); bad != 0 {
			b.Fatal(bad)
		}
		b.Run(strings.ReplaceAll(line[max(0, len(line)-30):], " ", "_"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				builder.Start(buf, limitOf(question), 0, &q)
				r.Answer(z, &q, &builder)
			}
		})
	}
}

// Beyond the reach of compression pointers, at 16 KiB, names are spelled out: those of a
// second glue record, of records behind a chain of aliases with large signatures, and of
// what a DNAME there makes.
func TestBeyondPointers(t *testing.T) {
	var b strings.Builder
	b.WriteString("$TTL 60\n@ SOA ns.example.net. admin 1 7200 3600 1209600 300\n@ NS ns.example.net.\n@ NSEC @ SOA\n")
	for i := range 200 {
		server := fmt.Sprintf("s%d.%s.%s.sub", i, strings.Repeat("a", 40+i%20), strings.Repeat("b", 40))
		fmt.Fprintf(&b, "sub NS %s\n%s A 192.0.2.1\n%s A 192.0.2.2\n%s AAAA 2001:db8::1\n%s AAAA 2001:db8::2\n", server, server, server, server, server)
	}
	signature := strings.Repeat("A", 2000)
	for i := range 14 {
		fmt.Fprintf(&b, "c%d CNAME c%d\nc%d RRSIG CNAME 13 2 60 20300101000000 20200101000000 1 example. %s\n", i, i+1, i, signature)
	}
	b.WriteString("c14 CNAME x.y.moved\nmoved DNAME to.there\nx.y.to.there A 192.0.2.3\nx.y.to.there A 192.0.2.4\n")
	z := dnstest.Zone(t, "example.", b.String())
	for line, want := range map[string][3]int{
		"www.sub.example. A +tcp": {0, 200, 800}, // each server and all its addresses
		"c0.example. A +do +tcp":  {33, 0, 0},    // 15 aliases, 14 signatures, DNAME and CNAME, two addresses
	} {
		q := dnstest.ParseQuestion(t, line)
		reply := ask(t, z, q.Message(), limitOf(q))
		var m wire.Message
		if bad := m.Parse(reply); bad != 0 {
			t.Errorf("%s: %v", line, bad)
			continue
		}
		var got [3]int
		for i := range m.Records {
			got[m.Records[i].Section]++
			if !wire.Subdomain(m.Records[i].Owner, z.Apex()) {
				t.Errorf("%s: owner %s", line, wire.AppendName(nil, m.Records[i].Owner))
			}
		}
		if got != want || len(reply) < wire.MaxPointer {
			t.Errorf("%s: %d octets with %d records, want %d", line, len(reply), got, want)
		}
	}
}
