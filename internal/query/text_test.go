package query_test

import (
	"encoding/binary"
	"encoding/json"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"

	"port53/internal/chain"
	"port53/internal/exchange"
	"port53/internal/query"
	"port53/internal/wire"
	"port53/internal/zone"
)

func question(t *testing.T, s string, typ wire.Type) *exchange.Question {
	t.Helper()
	return &exchange.Question{Name: name(t, s), Type: typ, Class: wire.ClassIN, Flags: wire.FlagRD}
}

// answer returns the reply to a query: flags, and records in the order of their sections.
func answer(query []byte, flags uint16, records ...wire.Record) []byte {
	var q wire.Message
	_ = q.Parse(query)
	m := wire.AppendQuery(nil, q.ID, wire.FlagQR|flags|q.Flags&0x7900, q.Name, q.Type)
	for _, r := range records {
		m = zone.AppendRecord(m, r.Owner, r.Type, r.TTL, r.Data)
		m[7+2*int(r.Section)]++
	}
	return m
}

// options returns an OPT record with these EDNS options.
func options(list ...exchange.Option) []byte {
	var data []byte
	for _, o := range list {
		data = binary.BigEndian.AppendUint16(data, o.Code)
		data = binary.BigEndian.AppendUint16(data, uint16(len(o.Data)))
		data = append(data, o.Data...)
	}
	return wire.AppendOPT(nil, 1232, false, data)
}

// reply parses octets as the reply to a question.
func reply(q *exchange.Question, raw []byte) *exchange.Reply {
	r := &exchange.Reply{
		Question: q, Sent: q.Append(nil, 1, []byte("clientck")), Raw: raw, Server: netip.MustParseAddrPort("192.0.2.53:53"),
		RTT: 1500 * time.Microsecond, At: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC),
	}
	r.Fault = r.Message.Parse(raw)
	return r
}

func record(t *testing.T, section wire.Section, owner string, typ wire.Type, data string) wire.Record {
	t.Helper()
	return wire.Record{Owner: name(t, owner), Type: typ, Class: wire.ClassIN, TTL: 3600, Section: section, Data: []byte(data)}
}

// TestMeaning says what replies of every kind mean.
func TestMeaning(t *testing.T) {
	wireName := func(s string) string { return string(name(t, s)) }
	soa := func(owner string) wire.Record {
		return record(t, wire.Authority, owner, wire.TypeSOA, "\x00\x00"+strings.Repeat("\x00\x00\x00\x01", 4)+"\x00\x00\x01\x2c")
	}
	ns := func(owner, server string) wire.Record {
		return record(t, wire.Authority, owner, wire.TypeNS, wireName(server))
	}
	a := func(owner string) wire.Record {
		return record(t, wire.Answer, owner, wire.TypeA, "\xc0\x00\x02\x01")
	}
	cname := func(owner, target string) wire.Record {
		return record(t, wire.Answer, owner, wire.TypeCNAME, wireName(target))
	}
	const aa, ra, ad, tc = wire.FlagAA, wire.FlagRA, wire.FlagAD, wire.FlagTC
	tests := []struct {
		what    string
		flags   uint16
		records []wire.Record
		outcome chain.Outcome
		want    []string // a part of each sentence
	}{
		{"an authoritative answer", aa, []wire.Record{a("www.example.")}, chain.Answered, []string{"www.example. has 1 A record", "authoritative: "}},
		{"two records, validated", ra | ad, []wire.Record{a("www.example."), a("www.example.")}, chain.Answered, []string{"has 2 A records", "not authoritative: a resolver's answer", "validated by the server"}},
		{"a resolver's answer", ra, []wire.Record{a("www.example.")}, chain.Answered, []string{"has 1 A record", "not authoritative", "not validated: "}},
		{"neither", 0, []wire.Record{a("www.example.")}, chain.Answered, []string{"has 1 A record", "an answer to doubt", "not validated"}},
		{"an alias", aa, []wire.Record{cname("WWW.example.", "a.example."), cname("a.example.", "b.example."), a("b.example.")}, chain.Answered, []string{"is an alias of a.example., that of b.example.", "b.example. has 1 A record", "authoritative"}},
		{"an alias alone", aa, []wire.Record{cname("www.example.", "a.test.")}, chain.Alias, []string{"is an alias of a.test.", "does not tell what a.test. has", "authoritative"}},
		{"aliases in a circle", aa, []wire.Record{cname("www.example.", "www.example.")}, chain.Alias, []string{"alias", "does not tell", "authoritative"}},
		{"a DNAME without its alias", ra, []wire.Record{record(t, wire.Answer, "example.", wire.TypeDNAME, wireName("b.")), a("www.b.")}, chain.Answered, []string{"alias of www.b.", "www.b. has 1 A record", "not authoritative", "not validated"}},
		{"no such type", aa, []wire.Record{soa("example.")}, chain.NoData, []string{"exists, but has no A record, says the SOA record of example.; this may be remembered for 5m", "authoritative"}},
		{"no such name", aa | 3, []wire.Record{soa("example.")}, chain.NXDomain, []string{"does not exist, and no name below it, says the SOA record of example.", "authoritative"}},
		{"no such name at the end of an alias", ra | 3, []wire.Record{cname("www.example.", "nope.test."), soa("test.")}, chain.NXDomain, []string{"alias of nope.test.", "nope.test. does not exist", "not authoritative", "not validated"}},
		{"somebody else's SOA", ra, []wire.Record{soa("test.")}, chain.Empty, []string{"says nothing"}},
		{"a referral", 0, []wire.Record{ns("example.", "ns1.example."), ns("example.", "ns2.example."), ns("test.", "ns.test.")}, chain.Referred, []string{"the servers of example. know more: ns1.example. ns2.example.", "it does no recursion"}},
		{"a referral to the root", 0, []wire.Record{ns(".", "a.root.")}, chain.Referred, []string{"lame: ", "it does no recursion"}},
		{"nothing", 0, nil, chain.Empty, []string{"says nothing"}},
		{"SERVFAIL", ra | 2, nil, chain.Failed, []string{"SERVFAIL: the server tried and failed"}},
		{"REFUSED", 5, nil, chain.Failed, []string{"REFUSED: the server will not answer you"}},
		{"an unknown code", 11, nil, chain.Failed, []string{": the server reports an error"}},
		{"truncated", aa | tc, []wire.Record{a("www.example.")}, chain.Answered, []string{"has 1 A record", "authoritative", "truncated: this is not the whole answer"}},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			q := question(t, "www.example.", wire.TypeA)
			r := reply(q, answer(q.Append(nil, 1, nil), tt.flags, tt.records...))
			if r.Fault != 0 {
				t.Fatal(r.Fault)
			}
			if got := chain.Classify(r).Outcome; got != tt.outcome {
				t.Errorf("outcome %s, want %s", got, tt.outcome)
			}
			said := query.Meaning(r)
			ok := len(said) == len(tt.want)
			for i := range said {
				ok = ok && i < len(tt.want) && strings.Contains(said[i], tt.want[i])
			}
			if !ok {
				t.Errorf("got:\n%s\nwant:\n%s", strings.Join(said, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

// TestMalformed shows what can be read of a reply that is cut off.
func TestMalformed(t *testing.T) {
	q := question(t, "www.example.", wire.TypeA)
	raw := answer(q.Append(nil, 1, nil), 0, record(t, wire.Answer, "www.example.", wire.TypeA, "\xc0\x00\x02\x01"), record(t, wire.Answer, "www.example.", wire.TypeA, "\xc0\x00\x02\x02"))
	r := reply(q, raw[:len(raw)-3])
	f := chain.Classify(r)
	if r.Fault != wire.ShortRecord || f.Outcome != chain.Malformed || f.Outcome.Usable() {
		t.Errorf("fault %v, outcome %v", r.Fault, f.Outcome)
	}
	style := query.DefaultStyle()
	if text := string(style.AppendReply(nil, r)); !strings.Contains(text, "192.0.2.1") || !strings.Contains(text, "WARNING: the reply is malformed") {
		t.Errorf("printed as\n%s", text)
	}
}

// TestErrors prints Extended DNS Errors in words and other options as dig does, and
// lets none of it control the terminal.
func TestErrors(t *testing.T) {
	q := question(t, "www.example.", wire.TypeA)
	q.EDNS, q.Cookie, q.UDPSize = true, true, 1232
	raw := answer(q.Append(nil, 1, []byte("clientck")), wire.FlagRA|2)
	raw[11]++
	raw = append(raw, options(
		exchange.Option{Code: wire.OptionEDE, Data: []byte("\x00\x07b\xc3\xa4d\x1b[31m\n;; ANSWER\xff\u202e")},
		exchange.Option{Code: wire.OptionNSID, Data: []byte("ns1\x07")},
		exchange.Option{Code: wire.OptionCookie, Data: []byte("wrongckkserverck")},
		exchange.Option{Code: wire.OptionExpire, Data: []byte{0, 0, 14, 16}},
		exchange.Option{Code: 65001, Data: []byte{1, 2}},
	)...)
	r := reply(q, raw)
	style := query.DefaultStyle()
	text := string(query.AppendMeaning(style.AppendReply(nil, r), r))
	for _, want := range []string{
		"; EDE: 7 (Signature Expired): (bäd\\027[31m\\010;; ANSWER\\255\\226\\128\\174)\n",
		"; NSID: 6e733107 (\"ns1\\007\")\n",
		" (BAD)\n",
		"; EXPIRE: 3600 (1h)\n",
		"; OPT=65001: 0102\n",
		"; the server adds: 7 (Signature Expired): (bäd",
		": the zone was not signed again in time, or the server's clock is wrong\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if report := query.ReportReply(r); len(report.Reply.Errors) != 1 || report.Reply.Errors[0].Code != 7 || !strings.HasPrefix(report.Reply.Errors[0].Text, "bäd\\027") {
		t.Errorf("reported as %+v", report.Reply.Errors)
	}
}

// FuzzReply feeds any octets as a reply: nothing fails, and nothing but printable
// characters comes out, in text and in JSON.
func FuzzReply(f *testing.F) {
	owner, err := wire.ParseName(`www.\027\010example.`)
	if err != nil {
		f.Fatal(err)
	}
	q := &exchange.Question{Name: owner, Type: wire.TypeTXT, Class: wire.ClassIN, EDNS: true, DO: true, Cookie: true, UDPSize: 1232}
	asked := q.Append(nil, 1, []byte("clientck"))
	hostile := wire.Record{Owner: owner, Type: wire.TypeTXT, Class: wire.ClassIN, TTL: 1 << 31, Data: []byte("\x06\x1b[31m\x0a")}
	good := answer(asked, wire.FlagAA, hostile, wire.Record{Owner: owner, Type: wire.TypeA, TTL: 60, Data: []byte{192, 0, 2, 1}})
	f.Add(good)
	good[11]++
	f.Add(append(good, options(exchange.Option{Code: wire.OptionEDE, Data: []byte("\x00\x07\x1b\xc2\x9b")}, exchange.Option{Code: 18, Data: owner})...))
	f.Add(answer(asked, 3))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := reply(q, raw)
		for _, style := range []query.Style{query.DefaultStyle(), {Short: true, Identify: true}, {Comments: true, Sections: [3]bool{true, true, true}, Multiline: true, Units: true, Query: true, Stats: true}, {Sections: [3]bool{true, true, true}, NoCrypto: true, Notes: true, NoTTL: true, NoClass: true}, {Sections: [3]bool{true, true, true}, Generic: true}} {
			text := query.AppendMeaning(style.AppendReply(nil, r), r)
			for _, c := range string(text) {
				if c != '\n' && c != '\t' && (!unicode.IsPrint(c) || c == unicode.ReplacementChar) {
					t.Fatalf("%q in %q", c, text)
				}
			}
		}
		report, err := json.Marshal(query.ReportReply(r))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range string(report) {
			if !unicode.IsPrint(c) {
				t.Fatalf("%q in %s", c, report)
			}
		}
	})
}

// TestFailureReport tells silence from an address that nothing is at.
func TestFailureReport(t *testing.T) {
	silence := exchange.Attempt{Err: os.ErrDeadlineExceeded}
	refused := exchange.Attempt{Err: syscall.ECONNREFUSED}
	for outcome, attempts := range map[string][]exchange.Attempt{"timeout": {refused, silence, refused}, "unreachable": {refused, refused}} {
		r := query.FailureReport(question(t, "www.example.", wire.TypeA), &exchange.NoReplyError{Attempts: attempts})
		if r.Outcome != outcome || r.Usable || len(r.Attempts) != len(attempts) {
			t.Errorf("%s: %+v", outcome, r)
		}
	}
}

// TestReverseName makes names of addresses.
func TestReverseName(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.10":         "10.2.0.192.in-addr.arpa.",
		"::ffff:192.0.2.10":  "10.2.0.192.in-addr.arpa.",
		"2001:db8::567:89ab": "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.",
	} {
		if got := query.NameText(wire.ReverseName(netip.MustParseAddr(addr))); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}
