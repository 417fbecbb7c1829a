package authority_test

import (
	"bytes"
	"flag"
	"maps"
	"slices"
	"strings"
	"testing"

	"port53/internal/authority"
	"port53/internal/dnstest"
	"port53/internal/wire"
	"port53/internal/zone"
)

var update = flag.Bool("update", false, "rewrite the wanted part of each scenario from what we answer")

// ask returns z's reply to the query msg, of at most limit octets.
func ask(t testing.TB, z *zone.Zone, msg []byte, limit int) []byte {
	t.Helper()
	var q wire.Query
	if bad := q.Parse(msg); bad != 0 {
		t.Fatalf("query %x: %v", msg, bad)
	}
	var b wire.Builder
	var r authority.Responder
	b.Start(make([]byte, limit), limit, 0, &q)
	r.Answer(z, &q, &b)
	return b.Finish(nil, 0)
}

func limitOf(q dnstest.Question) int {
	switch {
	case q.TCP:
		return wire.MaxMessage
	case q.EDNS:
		return int(q.Size) - 11
	}
	return wire.MinUDP
}

func TestScenarios(t *testing.T) {
	zones := map[string]*zone.Zone{}
	dnstest.Scenarios(t, "testdata/*.txtar", *update, func(t *testing.T, s *dnstest.Scenario, q dnstest.Question) []byte {
		origin := slices.Sorted(maps.Keys(s.Zones))[0]
		key := t.Name() + origin
		if zones[key] == nil {
			zones[key] = dnstest.Zone(t, origin, s.Zones[origin])
		}
		return ask(t, zones[key], q.Message(), limitOf(q))
	})
}

// The root's name is one octet: a pointer to it would be longer.
func TestRootOwnerIsOneOctet(t *testing.T) {
	z := dnstest.Zone(t, ".", `$TTL 60
@ SOA a.servers.test. admin. 1 7200 3600 1209600 300
@ RRSIG SOA 13 0 60 20300101000000 20200101000000 1 . AAAA
@ NS a.servers.test.
@ NS b.servers.test.
@ NSEC test. NS SOA RRSIG NSEC
@ RRSIG NSEC 13 0 60 20300101000000 20200101000000 1 . AAAA
test. NS a.servers.test.
test. NSEC . NS RRSIG NSEC
a.servers.test. A 192.0.2.1
b.servers.test. A 192.0.2.2
`)
	for question, want := range map[string]string{
		". NS":      "NOERROR aa\nANSWER\n. 60 NS a.servers.test.\n. 60 NS b.servers.test.\nADDITIONAL\na.servers.test. 60 A 192.0.2.1\nb.servers.test. 60 A 192.0.2.2\n",
		". MX":      "NOERROR aa\nAUTHORITY\n. 60 SOA a.servers.test. admin. 1 7200 3600 1209600 300\n",
		"x. A":      "NXDOMAIN aa\nAUTHORITY\n. 60 SOA a.servers.test. admin. 1 7200 3600 1209600 300\n",
		". SOA +do": "NOERROR aa\nANSWER\n. 60 SOA a.servers.test. admin. 1 7200 3600 1209600 300\n. 60 RRSIG SOA 13 0 60 20300101000000 20200101000000 1 . AAAA\n",
		"a. A +do": "NXDOMAIN aa\nAUTHORITY\n. 60 SOA a.servers.test. admin. 1 7200 3600 1209600 300\n. 60 RRSIG SOA 13 0 60 20300101000000 20200101000000 1 . AAAA\n" +
			". 60 NSEC test. NS SOA RRSIG NSEC\n. 60 RRSIG NSEC 13 0 60 20300101000000 20200101000000 1 . AAAA\n",
	} {
		q := dnstest.ParseQuestion(t, question)
		reply := ask(t, z, q.Message(), limitOf(q))
		if got, err := dnstest.Format(reply); err != nil || got != want {
			t.Errorf("%s: got\n%s%v, want\n%s", question, got, err, want)
		}
		if at := wire.HeaderLen + len(q.Name) + 4; reply[at] != 0 {
			t.Errorf("%s: the first owner is %x, want the root's octet", question, reply[at:at+2])
		}
	}
}

// TestAliasToDelegation has the servers of a delegation share with what an alias led to whatever they can,
// as they do with a question: the more of them fit.
func TestAliasToDelegation(t *testing.T) {
	z := dnstest.Zone(t, "example.", `$TTL 60
@ SOA ns.example.net. admin 1 7200 3600 1209600 300
@ NS ns.example.net.
alias CNAME ns.A.cut
again CNAME alias
d DNAME a.cut
cut NS ns.a.cut
cut NS other.a.cut
cut NS a.cut
cut NS elsewhere.cut
ns.a.cut A 192.0.2.1
other.a.cut A 192.0.2.2
a.cut A 192.0.2.3
elsewhere.cut A 192.0.2.4
`)
	want := "cut.example. 60 NS ns.a.cut.example.\ncut.example. 60 NS other.a.cut.example.\n" +
		"cut.example. 60 NS a.cut.example.\ncut.example. 60 NS elsewhere.cut.example.\n"
	for _, name := range []string{"ns.a.cut", "x.ns.a.cut", "alias", "again", "ns.d", "y.x.ns.d"} {
		q := dnstest.ParseQuestion(t, name+".example. A")
		reply := ask(t, z, q.Message(), limitOf(q))
		got, err := dnstest.Format(reply)
		if err != nil || !strings.Contains(strings.ToLower(got), strings.ToLower(want)) || strings.Count(got, " A 192.0.2.") != 4 {
			t.Errorf("%s: got\n%s%v", name, got, err)
		}
		lengths := map[byte]int{} // of the data of NS records, by how often
		for at := bytes.Index(reply, []byte("\x00\x02\x00\x01\x00\x00\x00\x3c\x00")); at >= 0; {
			lengths[reply[at+9]]++
			next := bytes.Index(reply[at+1:], []byte("\x00\x02\x00\x01\x00\x00\x00\x3c\x00"))
			if at += 1 + next; next < 0 {
				break
			}
		}
		if lengths[2] != 2 || lengths[8] != 1 || lengths[12] != 1 {
			t.Errorf("%s: servers take these octets, this often: %v; want two of 2, and one each of 8 and 12", name, lengths)
		}
	}
}

// A DNAME that a chain comes by twice stands in the answer once.
func TestDNAMEOnce(t *testing.T) {
	z := dnstest.Zone(t, "example.", `$TTL 60
@ SOA ns.example.net. admin 1 7200 3600 1209600 300
@ NS ns.example.net.
d DNAME e
a.e CNAME b.d
b.e A 192.0.2.1
grow DNAME x.grow
`)
	q := dnstest.ParseQuestion(t, "a.d.example. A")
	want := "NOERROR aa\nANSWER\nd.example. 60 DNAME e.example.\na.d.example. 60 CNAME a.e.example.\na.e.example. 60 CNAME b.d.example.\n" +
		"b.d.example. 60 CNAME b.e.example.\nb.e.example. 60 A 192.0.2.1\n"
	if got, err := dnstest.Format(ask(t, z, q.Message(), limitOf(q))); err != nil || got != want {
		t.Errorf("got\n%s%v, want\n%s", got, err, want)
	}
	q = dnstest.ParseQuestion(t, "y.grow.example. A +tcp")
	got, err := dnstest.Format(ask(t, z, q.Message(), limitOf(q)))
	if err != nil || strings.Count(got, "DNAME") != 1 || !strings.HasPrefix(got, "NOERROR aa\n") {
		t.Errorf("a name that grows for ever: got\n%s%v", got, err)
	}
}
