package engine_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"port53/internal/dnstest"
	"port53/internal/engine"
	"port53/internal/policy"
	"port53/internal/server"
	"port53/internal/telemetry"
	"port53/internal/wire"
	"port53/internal/zone"
)

const exampleZone = `
$TTL 3600
@ SOA ns hostmaster 1 7200 3600 1209600 300
@ NS ns
ns A 192.0.2.1
www A 192.0.2.80
sub NS ns.sub
ns.sub A 192.0.2.53
other CNAME www.example.org.
moved DNAME example.org.
ds.sub2 TXT "x"
text TXT "a text of some length, so that a reply with it is longer than 512 octets" "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
`

// TestCompactAnswersOK has the flag CO come back from a zone with compact denial alone (RFC 9824, section
// 5.1), and a question that cannot be signed for be truncated over UDP and fail over TCP.
func TestCompactAnswersOK(t *testing.T) {
	plain := dnstest.Zone(t, "example.", exampleZone)
	online := dnstest.Zone(t, "compact.", otherZone)
	signer := &onlineSigner{}
	online.SetOnline(signer)
	w := engine.New(engine.Options{PropagatePanics: true}, engine.Generation{View: engine.View{Zones: zone.NewView(dnstest.Seed).With(
		zone.Change{Apex: dnstest.Name(t, "example."), Zone: plain}, zone.Change{Apex: dnstest.Name(t, "compact."), Zone: online})}}).NewWorker()
	ask := func(line string, co byte) []byte {
		q := dnstest.ParseQuestion(t, line)
		msg := q.Message()
		msg[len(msg)-4] |= co
		peer := &server.Peer{Remote: netip.MustParseAddrPort("192.0.2.7:5353"), Transport: server.UDP}
		if q.TCP {
			peer.Transport = server.TCP
		}
		reply := make([]byte, 4096)
		return reply[:w.Handle(msg, peer, 0, reply)]
	}
	flags := func(reply []byte) byte { return reply[len(reply)-4] }
	for _, c := range []struct {
		line  string
		co    byte
		rcode wire.Rcode
		flags byte
	}{
		{"no.compact. A +do", 0x40, wire.NXDomain, 0xC0},
		{"no.compact. A +do", 0, wire.NoError, 0x80},
		{"no.compact. A +edns", 0x40, wire.NXDomain, 0x40},
		{"no.example. A +do", 0x40, wire.NXDomain, 0x80},
	} {
		reply := ask(c.line, c.co)
		if got := wire.Rcode(reply[3] & 15); got != c.rcode || flags(reply) != c.flags {
			t.Errorf("%s, CO %x: %v, flags %x; want %v, %x", c.line, c.co, got, flags(reply), c.rcode, c.flags)
		}
	}
	signer.busy = true
	if reply := ask("no.compact. A +do", 0); reply[2]&2 == 0 || reply[3]&15 != 0 {
		t.Errorf("busy, UDP: %x", reply)
	}
	if signer.verified {
		t.Error("a client over UDP counts as one whose address is not forged")
	}
	if reply := ask("no.compact. A +do +tcp", 0); reply[2]&2 != 0 || wire.Rcode(reply[3]&15) != wire.ServFail || !signer.verified {
		t.Errorf("busy, TCP: %x", reply)
	}
}

// An onlineSigner makes no signatures, or says that it cannot now.
type onlineSigner struct{ busy, verified bool }

func (s *onlineSigner) SignNSEC(dst, _ []byte, _ uint32, _ []byte, verified bool) ([]byte, bool) {
	s.verified = verified
	return dst, !s.busy
}

func (s *onlineSigner) SignExpansion(dst, _ []byte, _ *zone.Zone, _ zone.Node, _ wire.Type, verified bool) ([]byte, bool) {
	return s.SignNSEC(dst, nil, 0, nil, verified)
}

const otherZone = `
$TTL 3600
@ SOA ns hostmaster 1 7200 3600 1209600 300
@ NS ns
ns A 192.0.2.2
www A 192.0.2.81
`

// newWorker returns a worker of an engine that serves example., child.example. and
// example.org., and holds broken. without a version that could be served.
func newWorker(t testing.TB, g engine.Generation) server.Worker {
	t.Helper()
	return newWorkerOf(t, engine.Options{PropagatePanics: true}, g)
}

func newWorkerOf(t testing.TB, o engine.Options, g engine.Generation) server.Worker {
	t.Helper()
	g.Zones = zone.NewView(dnstest.Seed).With(
		zone.Change{Apex: dnstest.Name(t, "example."), Zone: dnstest.Zone(t, "example.", exampleZone)},
		zone.Change{Apex: dnstest.Name(t, "child.example."), Zone: dnstest.Zone(t, "child.example.", otherZone)},
		zone.Change{Apex: dnstest.Name(t, "example.org."), Zone: dnstest.Zone(t, "example.org.", otherZone)},
		zone.Change{Apex: dnstest.Name(t, "broken.")},
	)
	return engine.New(o, g).NewWorker()
}

var (
	udpPeer = server.Peer{Remote: netip.MustParseAddrPort("198.51.100.7:4000"), Transport: server.UDP}
	tcpPeer = server.Peer{Remote: netip.MustParseAddrPort("198.51.100.7:4000"), Transport: server.TCP, Idle: 100}
)

func handle(w server.Worker, msg []byte, peer server.Peer) []byte {
	reply := make([]byte, 65535)
	n := w.Handle(msg, &peer, 1, reply)
	if n < 0 {
		return nil
	}
	return reply[:n]
}

func query(t testing.TB, line string) []byte {
	return dnstest.ParseQuestion(t, line).Message()
}

// patch returns msg with the octets at offset replaced.
func patch(msg []byte, at int, octets ...byte) []byte {
	msg = bytes.Clone(msg)
	copy(msg[at:], octets)
	return msg
}

func TestOddQueries(t *testing.T) {
	plain := query(t, "www.example. A")
	notify := query(t, "example. SOA")
	edns := query(t, "www.example. A +edns")
	opt := len(edns) - 11
	class := len(plain) - 2
	tests := []struct {
		name string
		msg  []byte
		tcp  bool
		want string // first line of the reply in words, or "silence", or "close"
	}{
		{"plain", plain, false, "NOERROR aa"},
		{"shorter than a header", plain[:11], false, "silence"},
		{"empty", nil, false, "silence"},
		{"response", patch(plain, 2, 0x80), false, "silence"},
		{"response over TCP", patch(plain, 2, 0x80), true, "close"},
		{"no question", patch(plain, 5, 0), false, "FORMERR"},
		{"two questions", patch(plain, 5, 2), false, "FORMERR"},
		{"question cut off", plain[:len(plain)-1], false, "FORMERR"},
		{"pointer in the question", patch(plain, 12, 0xC0, 12), false, "FORMERR"},
		{"rcode bits are ignored", patch(plain, 3, 0x0F), false, "NOERROR aa"},
		{"TC and AA in a query are ignored", patch(plain, 2, 0x06), false, "NOERROR aa"},
		{"CD and AD are cleared", patch(plain, 3, 0x30), false, "NOERROR aa"},
		{"opcode IQUERY", patch(plain, 2, 1<<3), false, "NOTIMP"},
		{"opcode STATUS", patch(plain, 2, 2<<3), false, "NOTIMP"},
		{"opcode NOTIFY", patch(plain, 2, 4<<3), false, "NOTAUTH"},
		{"opcode UPDATE", patch(plain, 2, 5<<3), false, "NOTAUTH"},
		{"NOTIFY of class CH", patch(patch(notify, 2, 4<<3), len(notify)-2, 0, 3), false, "NOTAUTH"},
		{"UPDATE of class CH", patch(patch(notify, 2, 5<<3), len(notify)-2, 0, 3), false, "NOTAUTH"},
		{"UPDATE of class ANY", patch(patch(notify, 2, 5<<3), len(notify)-2, 0, 255), false, "NOTAUTH"},
		{"UPDATE of a zone that nobody may change", patch(notify, 2, 5<<3), false, "REFUSED"},
		{"NOTIFY of a zone that has no primaries", patch(notify, 2, 4<<3), false, "REFUSED"},
		{"opcode DSO without a question", patch(patch(plain, 2, 6<<3), 5, 0)[:12], false, "NOTIMP"},
		{"opcode 15", patch(plain, 2, 15<<3), false, "NOTIMP"},
		{"class CH", patch(plain, class, 0, 3), false, "REFUSED"},
		{"class HS", patch(plain, class, 0, 4), false, "REFUSED"},
		{"class ANY", patch(plain, class, 0, 255), false, "REFUSED"},
		{"class 0", patch(plain, class, 0, 0), false, "REFUSED"},
		{"EDNS version 1", patch(edns, opt+6, 1), false, "NOERROR"}, // BADVERS: its low bits are 0
		{"EDNS size 1 means 512", patch(edns, opt+3, 0, 1), false, "NOERROR aa"},
		{"EDNS unknown flags", patch(edns, opt+7, 0x7F, 0xFF), false, "NOERROR aa"},
		{"AXFR over UDP", query(t, "example. AXFR"), false, "NOTIMP"},
		{"AXFR over TCP", query(t, "example. AXFR"), true, "REFUSED"},
		{"IXFR", query(t, "example. IXFR"), false, "REFUSED"},
		{"IXFR of what is no zone's apex", query(t, "www.example. IXFR"), false, "NOTAUTH"},
		{"AXFR of another's zone", query(t, "example.com. AXFR"), true, "NOTAUTH"},
		{"NXNAME", query(t, "www.example. NXNAME"), false, "FORMERR"},
		{"MAILA", query(t, "www.example. MAILA"), false, "NOERROR aa"},
		{"type 249", query(t, "www.example. TKEY"), false, "NOERROR aa"},
		{"type OPT", query(t, "www.example. OPT"), false, "NOERROR aa"},
		{"not our zone", query(t, "www.example.com. A"), false, "REFUSED"},
		{"the root", query(t, ". NS"), false, "REFUSED"},
		{"a zone that could not be loaded", query(t, "www.broken. A"), false, "SERVFAIL"},
	}
	w := newWorker(t, engine.Generation{})
	for _, test := range tests {
		peer := udpPeer
		if test.tcp {
			peer = tcpPeer
		}
		var reply [65535]byte
		n := w.Handle(test.msg, &peer, 1, reply[:])
		got := "silence"
		if n < 0 {
			got = "close"
		} else if n > 0 {
			text, err := dnstest.Format(reply[:n])
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
				continue
			}
			got, _, _ = strings.Cut(text, "\n")
			if id := binary.BigEndian.Uint16(reply[:]); id != 53 {
				t.Errorf("%s: ID %d, want 53", test.name, id)
			}
		}
		if got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}

func TestErrorKeepsQuestion(t *testing.T) {
	w := newWorker(t, engine.Generation{})
	q := query(t, "WwW.example.com. A")
	reply := handle(w, q, udpPeer)
	if !bytes.Equal(reply[12:], q[12:]) {
		t.Errorf("question %x, want %x", reply[12:], q[12:])
	}
}

// options returns the options of the OPT record that ends msg, by code, and the
// extended rcode.
func options(t *testing.T, msg []byte) (rcode wire.Rcode, opts map[int][]byte) {
	t.Helper()
	at := bytes.LastIndex(msg, []byte{0, 0, 41})
	if at < 0 {
		return wire.Rcode(msg[3] & 15), nil
	}
	opts = map[int][]byte{}
	rcode = wire.Rcode(msg[at+5])<<4 | wire.Rcode(msg[3]&15)
	rest := msg[at+11:]
	if n := int(binary.BigEndian.Uint16(msg[at+9:])); n != len(rest) {
		t.Fatalf("OPT says %d octets, has %d", n, len(rest))
	}
	for len(rest) > 0 {
		n := int(binary.BigEndian.Uint16(rest[2:]))
		opts[int(binary.BigEndian.Uint16(rest))] = rest[4 : 4+n]
		rest = rest[4+n:]
	}
	return rcode, opts
}

// withOptions returns an EDNS query with the options appended.
func withOptions(t *testing.T, line string, octets ...byte) []byte {
	msg := query(t, line+" +edns")
	binary.BigEndian.PutUint16(msg[len(msg)-2:], uint16(len(octets)))
	return append(msg, octets...)
}

func TestOptions(t *testing.T) {
	w := newWorker(t, engine.Generation{Identity: engine.Identity{NSID: []byte("ns1")}, Limits: engine.Limits{Padding: 128}})
	ask := withOptions(t, "www.example. A", 0, 3, 0, 0, 0, 11, 0, 0, 0xFD, 0xE9, 0, 1, 7)
	_, opts := options(t, handle(w, ask, udpPeer))
	if string(opts[wire.OptionNSID]) != "ns1" || opts[wire.OptionKeepalive] != nil || opts[0xFDE9] != nil {
		t.Errorf("over UDP: %v", opts)
	}
	_, opts = options(t, handle(w, ask, tcpPeer))
	if !bytes.Equal(opts[wire.OptionKeepalive], []byte{0, 100}) {
		t.Errorf("keepalive over TCP: %v", opts)
	}
	padded := withOptions(t, "www.example. A", 0, 12, 0, 0)
	if n := len(handle(w, padded, tcpPeer)); n%128 != 0 {
		t.Errorf("padded reply has %d octets", n)
	}
	for _, over := range []server.Transport{server.DoT, server.DoH, server.DoQ} {
		peer := tcpPeer
		peer.Transport = over
		sealed := newWorker(t, engine.Generation{Limits: engine.Limits{EncryptedPadding: 468}})
		if n := len(handle(sealed, padded, peer)); n != 468 {
			t.Errorf("padded reply over %v has %d octets", over, n)
		}
		if n := len(handle(w, padded, peer)); n >= 128 {
			t.Errorf("reply over %v, without padding, has %d octets", over, n)
		}
		if n := len(handle(sealed, query(t, "www.example. A +edns"), peer)); n >= 128 {
			t.Errorf("reply over %v that is not to be padded has %d octets", over, n)
		}
		_, opts = options(t, handle(sealed, ask, peer))
		if got := opts[wire.OptionKeepalive] != nil; got != (over == server.DoT) {
			t.Errorf("keepalive over %v: %v", over, got)
		}
	}
	hidden := newWorker(t, engine.Generation{})
	if _, opts = options(t, handle(hidden, ask, udpPeer)); len(opts) != 0 {
		t.Errorf("options by default: %v", opts)
	}
	for _, test := range []struct {
		line string
		ede  byte
	}{{"www.example.com. A", 20}, {"www.broken. A", 24}, {"www.example. NXNAME", 30}} {
		if _, opts = options(t, handle(hidden, query(t, test.line+" +edns"), udpPeer)); !bytes.Equal(opts[wire.OptionEDE], []byte{0, test.ede}) {
			t.Errorf("%s: extended error %v, want %d", test.line, opts[wire.OptionEDE], test.ede)
		}
	}
	rcode, _ := options(t, handle(hidden, patch(query(t, "www.example. A +edns"), len(query(t, "www.example. A"))+6, 1), udpPeer))
	if rcode != wire.BadVers {
		t.Errorf("EDNS version 1: %v, want BADVERS", rcode)
	}
}

func TestChaos(t *testing.T) {
	msg := query(t, "version.bind. TXT")
	msg = patch(msg, len(msg)-2, 0, 3)
	w := newWorker(t, engine.Generation{Identity: engine.Identity{Version: "port53"}})
	if reply := handle(w, msg, udpPeer); reply[3]&15 != 0 || reply[2]&4 != 0 || !bytes.HasSuffix(reply, []byte("\x00\x07\x06port53")) {
		t.Errorf("got %x", reply)
	}
	if reply := handle(newWorker(t, engine.Generation{}), msg, udpPeer); reply[3]&15 != byte(wire.Refused) {
		t.Errorf("hidden: got %x", reply)
	}
}

func TestACL(t *testing.T) {
	acl, err := policy.NewACL(policy.ACLOptions{Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorker(t, engine.Generation{View: engine.View{Access: &policy.Access{Query: acl}}})
	_, opts := options(t, handle(w, query(t, "www.example. A +edns"), udpPeer))
	if !bytes.Equal(opts[wire.OptionEDE], []byte{0, 18}) {
		t.Errorf("stranger: %v", opts)
	}
	friend := udpPeer
	friend.Remote = netip.MustParseAddrPort("10.1.2.3:999")
	if reply := handle(w, query(t, "www.example. A"), friend); reply[3]&15 != 0 {
		t.Errorf("friend: %x", reply)
	}
}

func TestReflectorPortsGetNothing(t *testing.T) {
	w := newWorker(t, engine.Generation{})
	peer := udpPeer
	for _, port := range []uint16{0, 7, 19} {
		peer.Remote = netip.AddrPortFrom(peer.Remote.Addr(), port)
		if reply := handle(w, query(t, "www.example. A"), peer); len(reply) != 0 {
			t.Errorf("port %d: got %x", port, reply)
		}
	}
	peer.Remote = netip.AddrPortFrom(peer.Remote.Addr(), 53)
	if reply := handle(w, query(t, "www.example. A"), peer); len(reply) == 0 {
		t.Error("port 53, as old resolvers use it: no answer")
	}
}

func TestCookies(t *testing.T) {
	cookies, err := policy.NewCookies(policy.CookieOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorker(t, engine.Generation{Limits: engine.Limits{Cookies: cookies}})
	client := []byte("8octets!")
	_, opts := options(t, handle(w, withOptions(t, "www.example. A", append([]byte{0, 10, 0, 8}, client...)...), udpPeer))
	got := opts[wire.OptionCookie]
	if len(got) != 24 || !bytes.Equal(got[:8], client) {
		t.Fatalf("cookie %x", got)
	}
	// Without a question (RFC 7873, section 5.4).
	empty := append([]byte{0, 53, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 12, 0, 10, 0, 8}, client...)
	reply := handle(w, empty, udpPeer)
	if rcode, opts := options(t, reply); rcode != wire.NoError || len(opts[wire.OptionCookie]) != 24 {
		t.Errorf("without a question: %v, %v", rcode, opts)
	}
	for _, n := range []byte{1, 7, 9, 15, 41} {
		odd := withOptions(t, "www.example. A", append([]byte{0, 10, 0, n}, make([]byte, n)...)...)
		if rcode, _ := options(t, handle(w, odd, udpPeer)); rcode != wire.FormErr {
			t.Errorf("cookie of %d octets: %v, want FORMERR", n, rcode)
		}
		if rcode, _ := options(t, handle(newWorker(t, engine.Generation{}), odd, udpPeer)); rcode != wire.NoError {
			t.Errorf("cookie of %d octets where cookies are off: %v, want NOERROR", n, rcode)
		}
	}
}

func TestUnknownKey(t *testing.T) {
	tsig := []byte("\x03key\x00\x00\xfa\x00\xff\x00\x00\x00\x00\x00\x2a\x0bhmac-sha256\x00" +
		"\x00\x00\x00\x00\x00\x01\x01\x2c\x00\x0d0123456789abc\x12\x34\x00\x00\x00\x00")
	msg := append(patch(query(t, "www.example. A"), 11, 1), tsig...)
	reply := handle(newWorker(t, engine.Generation{}), msg, udpPeer)
	if wire.Rcode(reply[3]&15) != wire.NotAuth || reply[11] != 1 {
		t.Fatalf("got %x, want NOTAUTH with one additional record", reply)
	}
	end := []byte{0, 0, 0, 53, 0, 17, 0, 0} // no MAC, the query's ID, BADKEY, no other data
	if !bytes.HasSuffix(reply, end) || !bytes.Contains(reply, tsig[:13]) {
		t.Errorf("TSIG of the reply: %x", reply[len(query(t, "www.example. A")):])
	}
}

// limiting returns limits under which a client network has two responses of a kind, and one
// more each second.
func limiting(t *testing.T) engine.Limits {
	t.Helper()
	cookies, err := policy.NewCookies(policy.CookieOptions{})
	if err != nil {
		t.Fatal(err)
	}
	rates, err := policy.NewRateLimiter(policy.RateOptions{PerSecond: 1, Burst: 2})
	if err != nil {
		t.Fatal(err)
	}
	return engine.Limits{Cookies: cookies, Rates: rates}
}

// TestResponseRates has a client ask more often than it may: beyond its limit, every other
// answer is cut to its question, with TC set, and the others are not sent, nor any error.
func TestResponseRates(t *testing.T) {
	malformed := query(t, "www.example. A")
	malformed[5] = 2
	for _, c := range []struct {
		what     string
		msg      []byte
		class    policy.Class
		slips    bool
		answered wire.Rcode
	}{
		{"an answer", query(t, "www.example. A"), policy.Positive, true, wire.NoError},
		{"no data", query(t, "www.example. AAAA"), policy.NoData, true, wire.NoError},
		{"no such name", query(t, "nothing.example. A"), policy.NXDomain, true, wire.NXDomain},
		{"a referral", query(t, "x.sub.example. A"), policy.Referral, true, wire.NoError},
		{"a failure", query(t, "www.broken. A"), policy.Error, false, wire.ServFail},
		{"a refusal", query(t, "www.example.com. A"), policy.Error, false, wire.Refused},
		{"what is not done over UDP", query(t, "example. AXFR"), policy.Error, false, wire.NotImp},
		{"a malformed query", malformed, policy.Error, false, wire.FormErr},
	} {
		counts := telemetry.New()
		w := newWorkerOf(t, engine.Options{PropagatePanics: true, Telemetry: counts}, engine.Generation{Limits: limiting(t)})
		for i := range 2 {
			if got := handle(w, c.msg, udpPeer); len(got) == 0 || wire.Rcode(got[3]&15) != c.answered || got[2]&2 != 0 {
				t.Errorf("%s, %d within the limit: %x", c.what, i+1, got)
			}
		}
		for i := range 4 {
			var want []byte
			if c.slips && i%2 == 0 {
				want = patch(c.msg, 2, 0x82, 0) // QR, TC
			}
			if got := handle(w, c.msg, udpPeer); !bytes.Equal(got, want) {
				t.Errorf("%s, %d beyond the limit: %x, want %x", c.what, i+1, got, want)
			}
		}
		slips := 0
		if c.slips {
			slips = 2
		}
		for _, want := range []string{
			fmt.Sprintf("port53_rate_limited_total{class=%q} 4\n", c.class),
			fmt.Sprintf("port53_slipped_total %d\n", slips),
			fmt.Sprintf("port53_dropped_total{reason=\"rate_limit\",transport=\"udp\"} %d\n", 4-slips),
		} {
			if !strings.Contains(string(counts.Append(nil)), want) {
				t.Errorf("%s: there is no %s", c.what, want)
			}
		}
	}
}

// TestAddressesThatAreNotForged has clients that ask over TCP, or show a cookie of ours:
// however often they do, they get all, errors too. One that shows its own cookie alone
// is given ours when it is at its limit (RFC 7873, section 5.2.3).
func TestAddressesThatAreNotForged(t *testing.T) {
	w := newWorker(t, engine.Generation{Limits: limiting(t)})
	client := append([]byte{0, 10, 0, 8}, "8octets!"...)
	for _, line := range []string{"www.example. A", "www.example.com. A"} {
		asked := withOptions(t, line, client...)
		whole, opts := options(t, handle(w, asked, udpPeer))
		shown := withOptions(t, line, append([]byte{0, 10, 0, 24}, opts[wire.OptionCookie]...)...)
		forged := bytes.Clone(shown)
		forged[len(forged)-1]++
		handle(w, asked, udpPeer)
		for range 3 {
			if got, _ := options(t, handle(w, asked, tcpPeer)); got != whole {
				t.Errorf("%s over TCP: %v, want %v", line, got, whole)
			}
			if got, _ := options(t, handle(w, shown, udpPeer)); got != whole {
				t.Errorf("%s with a cookie of ours: %v, want %v", line, got, whole)
			}
		}
		if whole != wire.NoError {
			continue
		}
		for range 2 { // one is dropped, and one is not
			for _, msg := range [][]byte{asked, forged} {
				if got := handle(w, msg, udpPeer); len(got) != 0 {
					if rcode, opts := options(t, got); rcode != wire.BadCookie || len(opts[wire.OptionCookie]) != 24 || binary.BigEndian.Uint16(got[6:]) != 0 {
						t.Errorf("%s at the limit: %x", line, got)
					}
				}
			}
		}
	}
}

// An alias into another zone of this server ends the answer.
func TestAliasToOtherZone(t *testing.T) {
	w := newWorker(t, engine.Generation{})
	for question, want := range map[string]string{
		"other.example. A":     "NOERROR aa\nANSWER\nother.example. 3600 CNAME www.example.org.\n",
		"www.moved.example. A": "NOERROR aa\nANSWER\nmoved.example. 3600 DNAME example.org.\nwww.moved.example. 3600 CNAME www.example.org.\n",
	} {
		if got, err := dnstest.Format(handle(w, query(t, question), udpPeer)); err != nil || got != want {
			t.Errorf("%s: got %s %v, want %s", question, got, err, want)
		}
	}
}

// DS is the parent's to answer, also where it knows of no delegation.
func TestParentAnswersDS(t *testing.T) {
	w := newWorker(t, engine.Generation{})
	got, err := dnstest.Format(handle(w, query(t, "child.example. DS"), udpPeer))
	if err != nil || !strings.HasPrefix(got, "NXDOMAIN aa\nAUTHORITY\nexample. ") {
		t.Errorf("got %s %v", got, err)
	}
	got, err = dnstest.Format(handle(w, query(t, "example. DS"), udpPeer))
	if err != nil || !strings.HasPrefix(got, "NOERROR aa\nAUTHORITY\nexample. ") {
		t.Errorf("without the parent: got %s %v", got, err)
	}
}

// The straight path allocates nothing, whatever the answer.
func TestHandleAllocatesNothing(t *testing.T) {
	cookies, err := policy.NewCookies(policy.CookieOptions{})
	if err != nil {
		t.Fatal(err)
	}
	rates, err := policy.NewRateLimiter(policy.RateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorker(t, engine.Generation{Limits: engine.Limits{Cookies: cookies, Rates: rates}})
	reply := make([]byte, 4096)
	for _, line := range []string{"www.example. A", "www.example. A +do", "x.sub.example. A", "nothing.example. A", "www.moved.example. A", "www.example.com. A", "www.broken. A"} {
		msg := query(t, line)
		now := int64(0)
		if n := testing.AllocsPerRun(50, func() {
			now += 1e9
			w.Handle(msg, &udpPeer, now, reply)
		}); n != 0 {
			t.Errorf("%s: %v allocations", line, n)
		}
	}
}

// A panic costs the query that made it, and is told once, with the packet.
func TestPanicIsContained(t *testing.T) {
	var log bytes.Buffer
	e := engine.New(engine.Options{Log: slog.New(slog.NewTextHandler(&log, nil))}, engine.Generation{
		View: engine.View{Recursion: &engine.Recursion{}}, // without a cache: a fault of the caller, and a panic for each question
	})
	w := e.NewWorker()
	for range 2 {
		reply := handle(w, query(t, "www.example. A +rd"), udpPeer)
		if got, err := dnstest.Format(reply); err != nil || got != "SERVFAIL\n" || reply[1] != 53 {
			t.Errorf("got %q %v", got, err)
		}
	}
	if n := strings.Count(log.String(), "panic"); n != 1 || !strings.Contains(log.String(), "packet=0035") {
		t.Errorf("log: %s", log.String())
	}
}

func BenchmarkHandle(b *testing.B) {
	w := newWorker(b, engine.Generation{})
	reply := make([]byte, 4096)
	for _, line := range []string{"www.example. A", "x.sub.example. A", "nothing.example. A", "www.example.com. A"} {
		msg := query(b, line)
		b.Run(strings.ReplaceAll(line, " ", "_"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w.Handle(msg, &udpPeer, 1, reply)
			}
		})
	}
}

// Whatever comes, the engine does not panic, never answers a response, keeps to the
// limit, and sends what can be read.
func FuzzHandle(f *testing.F) {
	for _, line := range []string{"www.example. A", "x.sub.example. DS +do", "nothing.example. ANY +size=4096", "www.moved.example. A"} {
		f.Add(query(f, line))
	}
	w := newWorker(f, engine.Generation{Limits: engine.Limits{UDPSize: 1232}})
	f.Fuzz(func(t *testing.T, msg []byte) {
		reply := make([]byte, 4096)
		n := w.Handle(msg, &udpPeer, 1, reply)
		switch {
		case n < 0 || n > 1232:
			t.Fatalf("reply of %d octets", n)
		case n > 0 && (len(msg) < 12 || msg[2]&0x80 != 0):
			t.Fatalf("answered %x", msg)
		case n > 0:
			if _, err := dnstest.Format(reply[:n]); err != nil {
				t.Fatalf("reply %x cannot be read: %v", reply[:n], err)
			}
		}
	})
}
