package lab_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/lab"
	"port53/internal/wire"
)

// newWorld returns the world of a text.
func newWorld(t testing.TB, text string) *lab.World {
	t.Helper()
	w := lab.NewWorld(lab.Options{})
	_, sections := lab.Split("text", []byte(text))
	if err := w.Put(sections...); err != nil {
		t.Fatal(err)
	}
	return w
}

// query makes a query of words: NAME TYPE, and +do, +edns, +rd.
func query(t testing.TB, words string) []byte {
	t.Helper()
	f := strings.Fields(words)
	name, err := wire.ParseName(f[0])
	if err != nil {
		t.Fatal(err)
	}
	typ, ok := wire.ParseType(f[1])
	if !ok {
		t.Fatalf("type %s", f[1])
	}
	flags := uint16(0)
	if slices.Contains(f, "+rd") {
		flags = wire.FlagRD
	}
	msg := wire.AppendQuery(nil, 0x1234, flags, name, typ)
	var options []byte
	if slices.Contains(f, "+cookie") {
		options = append([]byte{0, wire.OptionCookie, 0, 8}, "client!!"...)
	}
	if do := slices.Contains(f, "+do"); do || options != nil || slices.Contains(f, "+edns") {
		msg = wire.AppendOPT(msg, 1232, do, options)
		binary.BigEndian.PutUint16(msg[10:], 1)
	}
	return msg
}

// ask asks a host over UDP, or with +tcp TCP, and returns its reply, or nil if there is
// none within a second.
func ask(t testing.TB, w *lab.World, server, words string) *wire.Message {
	t.Helper()
	to := netip.AddrPortFrom(netip.MustParseAddr(server), 53)
	msg := query(t, words)
	b := make([]byte, wire.MaxMessage)
	if strings.Contains(words, "+tcp") {
		c, err := w.Net.DialTCP(t.Context(), to)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Second))
		_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...))
		n, err := c.Read(b)
		if err != nil {
			return nil
		}
		b = b[2:n]
	} else {
		s, err := w.Net.Socket(to)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		_ = s.Send(msg)
		n, err := s.Recv(t.Context(), b, time.Now().Add(time.Second))
		if err != nil {
			return nil
		}
		b = b[:n]
	}
	m := &wire.Message{}
	if bad := m.Parse(b); bad != 0 {
		t.Fatalf("%s: %v", words, bad)
	}
	return m
}

// words returns a reply in words: rcode, flags, and records by section, RRSIG without
// data.
func words(m *wire.Message) string {
	if m == nil {
		return "nothing"
	}
	var b strings.Builder
	b.WriteString(m.Rcode.String())
	for _, f := range []struct {
		bit  uint16
		name string
	}{{wire.FlagAA, "aa"}, {wire.FlagTC, "tc"}, {wire.FlagRA, "ra"}} {
		if m.Flags&f.bit != 0 {
			b.WriteString(" " + f.name)
		}
	}
	if m.EDNS {
		b.WriteString(" opt")
	}
	for i := range m.Records {
		r := &m.Records[i]
		data := string(wire.AppendRdataText(nil, r.Type, r.Data))
		if r.Type == wire.TypeRRSIG {
			data = wire.Covered(r.Data).String()
		}
		fmt.Fprintf(&b, "; %d %s %d %v %s", r.Section, wire.AppendName(nil, r.Owner), r.TTL, r.Type, data)
	}
	return b.String()
}

const tree = `
-- zone . 192.0.2.1 2001:db8::1 --
-- zone example. 192.0.2.2 2001:db8::2 --
www A 198.51.100.80
alias CNAME www
away CNAME www.sub.example.
a.b.c TXT "deep"
-- zone sub.example. 192.0.2.3 --
! glue none
@ NS ns.example.
www A 198.51.100.81
-- zone lost.example. 192.0.2.3 --
! orphan
-- host 192.0.2.9 resolver --
`

// What a text leaves out is made: SOA, name servers, delegations and glue.
func TestWorldIsComplete(t *testing.T) {
	w := newWorld(t, tree)
	for _, test := range [][3]string{
		{"192.0.2.1", ". NS", "NOERROR aa; 0 . 3600 NS ns1.; 0 . 3600 NS ns2.; 2 ns1. 3600 A 192.0.2.1; 2 ns2. 3600 AAAA 2001:db8::1"},
		{"2001:db8::1", "x.example. A", "NOERROR; 1 example. 3600 NS ns1.example.; 1 example. 3600 NS ns2.example.; 2 ns1.example. 3600 A 192.0.2.2; 2 ns2.example. 3600 AAAA 2001:db8::2"},
		{"192.0.2.2", "www.example. A", "NOERROR aa; 0 www.example. 3600 A 198.51.100.80"},
		{"192.0.2.2", "x.sub.example. A", "NOERROR; 1 sub.example. 3600 NS ns.example."},
		{"192.0.2.2", "no.example. A +edns", "NXDOMAIN aa opt; 1 example. 300 SOA ns1.example. admin.example. 1 7200 3600 1209600 300"},
		{"192.0.2.2", "lost.example. A", "NXDOMAIN aa; 1 example. 300 SOA ns1.example. admin.example. 1 7200 3600 1209600 300"},
		{"192.0.2.3", "www.example. A", "REFUSED"},
		{"192.0.2.3", "www.sub.example. A +tcp", "NOERROR aa; 0 www.sub.example. 3600 A 198.51.100.81"},
		{"192.0.2.9", "away.example. A +rd", "NOERROR ra; 0 away.example. 3600 CNAME www.sub.example.; 0 www.sub.example. 3600 A 198.51.100.81"},
		{"192.0.2.9", "lost.example. MX +rd", "NOERROR ra; 1 lost.example. 300 SOA ns1.lost.example. admin.lost.example. 1 7200 3600 1209600 300"},
	} {
		if got := words(ask(t, w, test[0], test[1])); got != test[2] {
			t.Errorf("%s %s:\ngot  %s\nwant %s", test[0], test[1], got, test[2])
		}
	}
	if got, want := w.Hints(), ".\t3600000\tIN\tNS\tns1.\n.\t3600000\tIN\tNS\tns2.\nns1.\t3600000\tIN\tA\t192.0.2.1\nns2.\t3600000\tIN\tAAAA\t2001:db8::1\n"; got != want {
		t.Errorf("hints: got\n%s", got)
	}
	if got := w.Anchors(); got != "" {
		t.Errorf("anchors of an unsigned root: %s", got)
	}
}

// Each word of a host's heading does what it says.
func TestManners(t *testing.T) {
	const good = "NOERROR aa opt; 0 WwW.example. 3600 A 198.51.100.80"
	tests := [][3]string{
		{"", "WwW.example. A +edns", good},
		{"lame", "WwW.example. A +edns", "REFUSED opt"},
		{"rcode=SERVFAIL", "WwW.example. A", "SERVFAIL"},
		{"silent", "WwW.example. A", "nothing"},
		{"down", "WwW.example. A", "nothing"},
		{"mute", "WwW.example. A", "nothing"},
		{"closed", "WwW.example. A", "nothing"},
		{"closed up", "WwW.example. A +edns", good},
		{"lose=1", "WwW.example. A", "nothing"},
		{"loss=100%", "WwW.example. A", "nothing"},
		{"noaa", "WwW.example. A", "NOERROR; 0 WwW.example. 3600 A 198.51.100.80"},
		{"ra", "WwW.example. A", "NOERROR aa ra; 0 WwW.example. 3600 A 198.51.100.80"},
		{"tc", "WwW.example. A", "NOERROR aa tc"},
		{"tc", "WwW.example. A +edns +tcp", good},
		{"case=lower", "WwW.example. A +edns", "NOERROR aa opt; 0 www.example. 3600 A 198.51.100.80"},
		{"case=upper", "WwW.example. A +edns", "NOERROR aa opt; 0 WwW.example. 3600 A 198.51.100.80"},
		{"edns=formerr", "WwW.example. A +edns", "FORMERR"},
		{"edns=formerr", "WwW.example. A", "NOERROR aa; 0 WwW.example. 3600 A 198.51.100.80"},
		{"edns=bare-formerr", "WwW.example. A +edns", "FORMERR"},
		{"edns=notimp", "WwW.example. A +edns", "NOTIMP"},
		{"edns=servfail", "WwW.example. A +edns", "SERVFAIL"},
		{"edns=badvers", "WwW.example. A +edns", "BADVERS opt"},
		{"edns=drop", "WwW.example. A +edns", "nothing"},
		{"edns=ignore", "WwW.example. A +edns", "NOERROR aa; 0 WwW.example. 3600 A 198.51.100.80"},
		{"ent", "b.c.example. A", "NXDOMAIN aa; 1 example. 300 SOA ns1.example. admin.example. 1 7200 3600 1209600 300"},
		{"", "b.c.example. A", "NOERROR aa; 1 example. 300 SOA ns1.example. admin.example. 1 7200 3600 1209600 300"},
		{"strip=SOA", "b.c.example. A", "NOERROR aa"},
		{"size=512", "big.example. TXT +edns", "NOERROR aa tc opt"},
		{"mtu=600", "big.example. TXT +edns", "nothing"},
		{"cookie=require", "WwW.example. A +cookie", "BADCOOKIE opt"},
		{"cookie=on", "WwW.example. A +cookie", good},
	}
	for _, test := range tests {
		t.Run(test[0]+" "+test[1], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, strings.Replace(tree, "a.b.c", "big TXT "+strings.Repeat(` "`+strings.Repeat("x", 200)+`"`, 4)+"\na.b.c", 1))
				if err := w.Configure("192.0.2.2", strings.Fields(test[0])...); err != nil {
					t.Fatal(err)
				}
				m := ask(t, w, "192.0.2.2", test[1])
				if got := words(m); !strings.EqualFold(got, test[2]) {
					t.Errorf("got  %s\nwant %s", got, test[2])
				}
				if c, ok := optionOf(m); strings.HasPrefix(test[0], "cookie") && (!ok || string(c) != "client!!lab-53-!") {
					t.Errorf("cookie %q", c)
				}
			})
		})
	}
}

func optionOf(m *wire.Message) ([]byte, bool) {
	if m == nil {
		return nil, false
	}
	return m.Option(wire.OptionCookie)
}

const scripted = `
-- zone example. 192.0.2.2 --
www A 198.51.100.80
old A 198.51.100.81
-- host 192.0.2.2 --
when www.example. A udp times=1
  reply NOERROR aa
  answer
  @ 300 A 192.0.2.66
  authority
  sub NS ns.victim.test.
  additional
  victim.test. 60 A 192.0.2.67
when www.example. A skip=1 times=1
  silence
when www.example. AAAA
  raw 8180 0000 0000 0000 0000
when *.example. TXT edns
  serve rcode=SERVFAIL ra name=other.example. type=MX noopt
when *.example. TXT noedns
  reply NXDOMAIN id=wrong noquestion
when old.example. *
  serve delay=100ms strip=A
  answer
  @ 60 HINFO a b
when slow.example. A
  forge 3 ids=right after=5ms every=5ms
  answer
  @ 60 A 192.0.2.66
when other.example. A
  reply NOERROR from=192.0.2.3
when case.example. A
  reply NOERROR aa case=upper
`

// A script answers before the zones do: the first rule that fits.
func TestScript(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, scripted)
		for i, test := range [][2]string{
			{"www.example. A +tcp", "NOERROR aa; 0 www.example. 3600 A 198.51.100.80"}, // skipped by the second rule
			{"WWW.example. A", "NOERROR aa; 0 www.example. 300 A 192.0.2.66; 1 sub.www.example. 3600 NS ns.victim.test.; 2 victim.test. 60 A 192.0.2.67"},
			{"www.example. A", "nothing"},
			{"www.example. A", "NOERROR aa; 0 www.example. 3600 A 198.51.100.80"},
			{"www.example. AAAA", "NOERROR ra"},
			{"www.example. TXT +edns", "SERVFAIL aa ra; 1 example. 300 SOA ns1.example. admin.example. 1 7200 3600 1209600 300"},
			{"www.example. TXT", "NXDOMAIN"},
			{"old.example. A", "NOERROR aa; 0 old.example. 60 HINFO \"a\" \"b\""},
			{"slow.example. A", "NOERROR aa; 0 slow.example. 60 A 192.0.2.66"},
			{"other.example. A", "nothing"},
			{"example. TXT", "NOERROR aa; 1 example. 300 SOA ns1.example. admin.example. 1 7200 3600 1209600 300"},
		} {
			start := time.Now()
			m := ask(t, w, "192.0.2.2", test[0])
			// The case of www is folded: the literal owner is the name asked for, in lower case.
			if test[0] == "slow.example. A" {
				// The true answer is faster than the forgeries, which come from 5 ms on.
				test[1] = "NXDOMAIN aa; 1 example. 300 SOA ns1.example. admin.example. 1 7200 3600 1209600 300"
			}
			if got := words(m); got != test[1] {
				t.Errorf("%d %s:\ngot  %s\nwant %s", i, test[0], got, test[1])
			}
			switch test[0] {
			case "www.example. TXT":
				if m.ID == 0x1234 || m.HasQuestion {
					t.Errorf("%s: ID %x, question %t; want another and none", test[0], m.ID, m.HasQuestion)
				}
			case "www.example. TXT +edns":
				if string(wire.AppendName(nil, m.Name)) != "other.example." || m.Type != wire.TypeMX {
					t.Errorf("%s: question %s %v", test[0], wire.AppendName(nil, m.Name), m.Type)
				}
			case "old.example. A":
				if took := time.Since(start); took != 100*time.Millisecond {
					t.Errorf("%s took %v", test[0], took)
				}
			}
		}
		if m := ask(t, w, "192.0.2.2", "case.example. A"); string(m.Name) != "\x04CASE\x07EXAMPLE\x00" {
			t.Errorf("question in upper case: %q", m.Name)
		}
		if err := w.Configure("192.0.2.2", "rtt=40ms"); err != nil {
			t.Fatal(err)
		}
		if got := words(ask(t, w, "192.0.2.2", "slow.example. A")); got != "NOERROR aa; 0 slow.example. 60 A 192.0.2.66" {
			t.Errorf("forged before the true answer: got %s", got)
		}
	})
}

// Sections replace those with the same heading, and may take them away.
func TestPut(t *testing.T) {
	w := newWorld(t, tree)
	put := func(text string) error {
		_, sections := lab.Split("more", []byte(text))
		return w.Put(sections...)
	}
	if err := put("-- zone sub.example. 192.0.2.3 --\n@ NS ns.example.\nwww A 192.0.2.99\n-- host 192.0.2.2 lame --\n"); err != nil {
		t.Fatal(err)
	}
	if got := words(ask(t, w, "192.0.2.3", "www.sub.example. A")); !strings.HasSuffix(got, "192.0.2.99") {
		t.Errorf("after the change: %s", got)
	}
	if got := words(ask(t, w, "192.0.2.2", "www.example. A")); got != "REFUSED" {
		t.Errorf("after the change: %s", got)
	}
	if err := w.Configure("192.0.2.1", "rcode=SERVFAIL"); err != nil {
		t.Fatal(err)
	}
	if err := put("-- zone sub.example. 192.0.2.3 --\n! removed\n"); err != nil {
		t.Fatal(err)
	}
	if got := words(ask(t, w, "192.0.2.3", "www.sub.example. A")); got != "REFUSED" {
		t.Errorf("after the removal: %s", got)
	}
	if got := words(ask(t, w, "192.0.2.1", ". NS")); got != "SERVFAIL" {
		t.Errorf("a host that was changed is as before: %s", got)
	}
	if err := put("-- zone lost.example. 192.0.2.3 --\n! nonsense\n"); err == nil {
		t.Error("nonsense was taken")
	}
	if got := words(ask(t, w, "192.0.2.3", "lost.example. NS")); !strings.HasPrefix(got, "NOERROR aa") {
		t.Errorf("after an error, what was there is not: %s", got)
	}
}

// A fault in a text has its place.
func TestTextErrors(t *testing.T) {
	for _, test := range [][2]string{
		{"-- zone --\n", "text:1: zone without a name"},
		{"-- net x --\n", `text:1: section "net" is not known here`},
		{"-- zone a..b --\n", `text:1: zone "a..b":`},
		{"-- zone a. 192.0.2 --\n", `text:1: "192.0.2" is not an address`},
		{"-- zone a. 192.0.2.1 --\nwww A 192.0.2\n", "text:2:7: "},
		{"-- zone a. 192.0.2.1 --\n!\n", "text:2: nothing behind"},
		{"-- zone a. 192.0.2.1 --\n! singed\n", `text:2: order "singed" is not known`},
		{"-- zone a. 192.0.2.1 --\n! expired www A\n", `text:2: expired has no meaning above "signed"`},
		{"-- zone a. 192.0.2.1 --\n! signed\n! signed\n", "text:3: signed stands twice"},
		{"-- zone a. 192.0.2.1 --\n! signed alg=none\n", `text:2: "alg=none"`},
		{"-- zone a. 192.0.2.1 --\n! signed\n\n! expired www\n", "text:4: want: expired OWNER TYPE"},
		{"-- zone a. 192.0.2.1 --\n! signed\n! corrupt www A\n", "text:1: corrupt: no A at www.a."},
		{"-- zone a. 192.0.2.1 --\n! signed\n! labels www A 1000\nwww A 192.0.2.1\n", "text:3: labels: its value is not good"},
		{"-- zone a. 192.0.2.1 --\n! signed\n! alter www A 192.0.2\nwww A 192.0.2.1\n", "text:3:5: "},
		{"-- zone a. 192.0.2.1 --\n! signed\n! ds never\n", `text:3: word "never" is not known`},
		{"-- zone a. 192.0.2.1 --\n! signed\n! keytrap * A 2 2\n", "text:1: keytrap: the zone must be signed with alg=RSASHA256"},
		{"-- zone a. 192.0.2.1 --\nx CNAME y\nx A 192.0.2.1\n", "text:1: zone a.: "},
		{"-- zone a. 192.0.2.1 --\n-- zone a. 192.0.2.1 --\n", "text:2: zone a. 192.0.2.1 stands twice, first at text:1"},
		{"-- zone a. 192.0.2.1 --\n! removed\n", "text:1: there is no zone a. 192.0.2.1 to be removed"},
		{"-- host 192.0.2.1 slow --\n", `text:1: word "slow" is not known`},
		{"-- host 192.0.2.1 rtt=fast --\n", `text:1: "rtt=fast": its value is not good`},
		{"-- host 192.0.2.1 tcp=maybe --\n", `text:1: "tcp=maybe": want one of`},
		{"-- host 192.0.2.1 --\nreply NOERROR\n", `text:2: "reply" before the first "when"`},
		{"-- host 192.0.2.1 --\nwhen a.\n", "text:2: want: when NAME TYPE"},
		{"-- host 192.0.2.1 --\nwhen a. A often\n", `text:2: condition "often" is not known`},
		{"-- host 192.0.2.1 --\nwhen a. A\n", `text:2: "when" without a reply`},
		{"-- host 192.0.2.1 --\nwhen a. A\n reply NOERROR\n copy a. b. A\n", `text:4: want: copy ZONE NAME TYPE SECTION`},
		{"-- host 192.0.2.1 --\nwhen a. A\n reply NOERROR\n copy a. b. A question\n", `text:4: section "question" is not known`},
		{"-- host 192.0.2.1 --\nwhen a. A\n reply NOERROR\n copy a. b. AA answer\n", `text:4: type "AA" is not known`},
		{"-- host 192.0.2.1 --\nwhen a. A\n reply NOERROR\n copy a. b..c A answer\n", `text:4: name "b..c"`},
		{"-- host 192.0.2.1 --\nwhen a. A\n reply GOOD\n", `text:3: response code "GOOD" is not known`},
		{"-- host 192.0.2.1 --\nwhen a. A\n reply NOERROR loud\n", `text:3: word "loud" is not known`},
		{"-- host 192.0.2.1 --\nwhen a. A\n reply NOERROR delay=long\n", `text:3: "delay=long": its value is not good`},
		{"-- host 192.0.2.1 --\nwhen a. A\n reply NOERROR\n serve\n", `text:4: a second serve for one "when"`},
		{"-- host 192.0.2.1 --\nwhen a. A\n reply NOERROR\n answer\n @ A 192.0.2\n", "text:5:"},
		{"-- host 192.0.2.1 --\nwhen a. A\n silence\n a. A 192.0.2.1\n", "text:4: "},
	} {
		w := lab.NewWorld(lab.Options{})
		_, sections := lab.Split("text", []byte(test[0]))
		if err := w.Put(sections...); err == nil || !strings.HasPrefix(err.Error(), test[1]) {
			t.Errorf("%q:\ngot  %v\nwant %s...", test[0], err, test[1])
		}
	}
	w := newWorld(t, tree)
	if err := w.Configure("192.0.2.77", "lame"); err == nil {
		t.Error("a host that is not there was configured")
	}
	if err := w.Configure("192.0.2.2", "lamer"); err == nil {
		t.Error("a word that is not known was taken")
	}
}

// TestCopies: a script says what a zone said before, to whatever it is asked, under whatever
// name; and it may spoil signatures and turn records round.
func TestCopies(t *testing.T) {
	w := newWorld(t, `
-- zone example. 192.0.2.2 --
! signed
www A 198.51.100.80
www A 198.51.100.81
-- host 192.0.2.2 --
when copied.example. A
  reply NOERROR aa
  answer
  copy example. www.example. A answer as @
  authority
  copy example. nothing.example. A authority
  additional
  copy example. www.example. A answer as other.
when spoilt.example. A
  reply NOERROR aa corrupt=A reverse
  answer
  copy example. www.example. A answer
when odd.example. A
  reply NOERROR aa
  answer
  copy nowhere. www.example. A answer
`)
	data := func(m *wire.Message, sec wire.Section, typ wire.Type) (list []string) {
		for _, r := range m.Records {
			if r.Section == sec && r.Type == typ {
				list = append(list, string(wire.AppendName(nil, r.Owner))+" "+string(wire.AppendRdataText(nil, typ, r.Data)))
			}
		}
		return list
	}
	www := ask(t, w, "192.0.2.2", "www.example. A +do")
	copied := ask(t, w, "192.0.2.2", "copied.example. A +do")
	for sec, owner := range map[wire.Section]string{wire.Answer: "copied.example.", wire.Additional: "other."} {
		for _, typ := range []wire.Type{wire.TypeA, wire.TypeRRSIG} {
			var want []string
			for _, x := range data(www, wire.Answer, typ) {
				want = append(want, strings.Replace(x, "www.example.", owner, 1))
			}
			if got := data(copied, sec, typ); !slices.Equal(got, want) {
				t.Errorf("%v of section %d: %q, want %q", typ, sec, got, want)
			}
		}
	}
	if got, want := data(copied, wire.Authority, wire.TypeNSEC), data(ask(t, w, "192.0.2.2", "nothing.example. A +do"), wire.Authority, wire.TypeNSEC); len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("NSEC: %q, want %q", got, want)
	}
	spoilt := ask(t, w, "192.0.2.2", "spoilt.example. A +do")
	if got, want := data(spoilt, wire.Answer, wire.TypeA), data(www, wire.Answer, wire.TypeA); len(got) != 2 || got[0] != want[1] || got[1] != want[0] {
		t.Errorf("turned round: %q, want the reverse of %q", got, want)
	}
	if got, want := data(spoilt, wire.Answer, wire.TypeRRSIG), data(www, wire.Answer, wire.TypeRRSIG); len(got) != 1 || got[0] == want[0] {
		t.Errorf("spoilt signature %q is that of %q", got, want)
	}
	if m := ask(t, w, "192.0.2.2", "odd.example. A +do"); len(data(m, wire.Answer, wire.TypeA)) != 0 {
		t.Errorf("%s, want nothing of a zone that is not there", words(m))
	}
	w.Calm()
	if m := ask(t, w, "192.0.2.2", "copied.example. A +do"); m.Rcode != wire.NXDomain {
		t.Errorf("after Calm: %s, want NXDOMAIN", words(m))
	}
}

// TestResolve: the true answer to a question is that of all zones together.
func TestResolve(t *testing.T) {
	w := newWorld(t, tree)
	for question, want := range map[string]string{
		"away.example. A": "NOERROR ra; 0 away.example. 3600 CNAME www.sub.example.; 0 www.sub.example. 3600 A 198.51.100.81",
		"none.example. A": "NXDOMAIN ra; 1 example. 300 SOA ns1.example. admin.example. 1 7200 3600 1209600 300",
	} {
		var m wire.Message
		if bad := m.Parse(w.Resolve(query(t, question))); bad != 0 {
			t.Fatal(bad)
		}
		if got := words(&m); got != want {
			t.Errorf("%s: %s, want %s", question, got, want)
		}
	}
	if w.Resolve([]byte("no query")) != nil {
		t.Error("an answer to what is not a query")
	}
}
