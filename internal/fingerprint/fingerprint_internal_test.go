package fingerprint

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/wire"
)

// A server answers as it is told: it is an Asker in the process. Nothing that it is asked
// at the same time may disturb it, and no two messages may have the same ID by design.
type server struct {
	texts   map[string]string // of class CH
	nsid    string
	lose    int  // the first so many datagrams of each question
	silent  bool // over UDP
	rtt     time.Duration
	replies func(msg []byte) []byte // in place of these

	mu      sync.Mutex
	asked   map[string]int // datagrams, by what is behind their ID
	tcp     int
	waits   []time.Duration
	times   []time.Time
	running int
	most    int // that ran at the same time
}

var errSilent = errors.New("nothing came")

func (s *server) Ask(ctx context.Context, msg []byte, tcp bool, wait time.Duration) (Reply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked == nil {
		s.asked = map[string]int{}
	}
	s.waits, s.times = append(s.waits, wait), append(s.times, time.Now())
	if ctx.Err() != nil {
		return Reply{}, ctx.Err()
	}
	s.running++
	s.most = max(s.most, s.running)
	s.mu.Unlock()
	time.Sleep(s.rtt)
	s.mu.Lock()
	s.running--
	if tcp {
		s.tcp++
	} else if s.asked[string(msg[2:])]++; s.silent || s.asked[string(msg[2:])] <= s.lose {
		return Reply{}, errSilent
	}
	raw := s.answer(msg)
	if raw == nil {
		return Reply{}, errSilent
	}
	return Reply{raw, s.rtt}, nil
}

func (s *server) answer(msg []byte) []byte {
	if s.replies != nil {
		return s.replies(msg)
	}
	var m wire.Message
	if m.Parse(msg) != 0 || !m.HasQuestion {
		return refused(msg)
	}
	name := strings.TrimSuffix(wire.NameText(m.Name), ".")
	if text, ok := s.texts[name]; ok && m.Class == wire.ClassCH && m.Type == wire.TypeTXT {
		b := slices.Clone(msg)
		b[2], b[7] = 0x84, 1
		b = append(b, 0xc0, wire.HeaderLen, 0, 16, 0, 3, 0, 0, 0, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(len(text)+1))
		return append(append(b, byte(len(text))), text...)
	}
	if _, ok := m.Option(wire.OptionNSID); ok && s.nsid != "" {
		b := wire.AppendQuery(nil, m.ID, wire.FlagQR, m.Name, m.Type)
		b = wire.AppendOPT(b, 1232, false, wire.AppendOption(nil, wire.OptionNSID, []byte(s.nsid)))
		b[11] = 1
		return b
	}
	return refused(msg)
}

// refused is the header of a message with REFUSED; a response has no reply.
func refused(msg []byte) []byte {
	if msg[2]&0x80 != 0 {
		return nil
	}
	b := slices.Clone(msg[:min(len(msg), wire.HeaderLen)])
	b[2], b[3] = b[2]&^0x02|0x80, b[3]&0xf0|5
	clear(b[4:])
	return b
}

func identified(t *testing.T, s *server) (id *Identity) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { id = Identify(t.Context(), s, wire.Root, 2*time.Second) })
	return id
}

func TestIdentify(t *testing.T) {
	for _, x := range []struct {
		name string
		s    *server
		want Software
		err  error
	}{
		{"told", &server{texts: map[string]string{"version.bind": "9.18.49-1~deb12u3-Debian"}}, Software{"bind", "9.18.49-1~deb12u3-Debian", "cpe:/a:isc:bind:9.18.49", "9.18.49-1~deb12u3-Debian", MethodText, 9}, nil},
		{"told at another name", &server{texts: map[string]string{"version.pdns": "PowerDNS Recursor 4.8.8"}}, Software{"pdns-recursor", "4.8.8", "cpe:/a:powerdns:recursor:4.8.8", "PowerDNS Recursor 4.8.8", MethodText, 9}, nil},
		{"told at the second repetition", &server{lose: 1, texts: map[string]string{"version.bind": "NSD 4.6.1"}}, Software{"nsd", "4.6.1", "cpe:/a:nlnetlabs:nsd:4.6.1", "NSD 4.6.1", MethodText, 9}, nil},
		{"told over TCP alone", &server{silent: true, texts: map[string]string{"version.server": "unbound 1.17.1"}}, Software{"unbound", "1.17.1", "cpe:/a:nlnetlabs:unbound:1.17.1", "unbound 1.17.1", MethodText, 9}, nil},
		{"told by NSID", &server{nsid: "gdnsd"}, Software{"gdnsd", "", "cpe:/a:gdnsd:gdnsd", "gdnsd", MethodNSID, 9}, nil},
		{"a text before NSID", &server{nsid: "gdnsd", texts: map[string]string{"version.bind": "dnsmasq-2.90"}}, Software{"dnsmasq", "2.90", "cpe:/a:thekelleys:dnsmasq:2.90", "dnsmasq-2.90", MethodText, 9}, nil},
		{"a text of nobody", &server{texts: map[string]string{"version.bind": "go\x1b away"}}, Software{Banner: "go? away"}, nil},
		{"hidden", &server{}, Software{}, nil},
		{"nobody", &server{replies: func([]byte) []byte { return nil }}, Software{}, errSilent},
	} {
		t.Run(x.name, func(t *testing.T) {
			id := identified(t, x.s)
			if id.Software != x.want || !errors.Is(id.Err, x.err) {
				t.Errorf("%+v, %v, want %+v, %v", id.Software, id.Err, x.want, x.err)
			}
			if x.err == nil && len(id.Replies) == 0 {
				t.Error("no reply is kept")
			}
		})
	}
}

// TestIdentifyPolitely has a server that told its version at once: it is not asked for it
// again, no question is sent more often than it may be, and the wait is that of its
// distance.
func TestIdentifyPolitely(t *testing.T) {
	s := &server{nsid: "x", rtt: time.Millisecond, texts: map[string]string{"version.bind": "9.18.0", "hostname.bind": "db3"}}
	id := identified(t, s)
	if id.Texts["hostname.bind"] != "db3" || string(id.NSID) != "x" || !id.NSIDAnswered || len(s.asked) != 8 || s.tcp != 0 {
		t.Errorf("%+v; %d questions, %d over TCP", id, len(s.asked), s.tcp)
	}
	for i, w := range s.waits {
		if want := chaosLeast; i == 0 && w != 2*time.Second || i > 0 && w != want {
			t.Errorf("question %d waits %v", i, w)
		}
	}
	s = &server{lose: 9}
	identified(t, s)
	for q, n := range s.asked {
		if n > askTries {
			t.Errorf("%x is sent %d times", q, n)
		}
	}
	if s.tcp == 0 {
		t.Error("who is silent over UDP is not asked over TCP")
	}
	if id := identified(t, &server{}); !id.NSIDAnswered || id.NSID != nil {
		t.Errorf("without an identifier: %+v", id)
	}
	// A server that is far is waited for as long as its distance asks for.
	s = &server{rtt: 300 * time.Millisecond}
	identified(t, s)
	if s.waits[1] != 1200*time.Millisecond {
		t.Errorf("at 300 ms: waits %v", s.waits)
	}
	// Texts are asked for one after the other, but for the first two (and NSID beside them).
	for i, at := range s.times[4:] {
		if gap := at.Sub(s.times[3+i]); gap < chaosPause {
			t.Errorf("question %d comes %v after the one before", 4+i, gap)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s = &server{}
	synctest.Test(t, func(*testing.T) { Identify(ctx, s, wire.Root, time.Second) })
	if len(s.waits) != 2 { // an ordinary question and one over TCP
		t.Errorf("after the end: %d questions", len(s.waits))
	}
}

// TestIdentifyPartly has a server that answers some of the questions alone: what is silent
// is none, and no fault.
func TestIdentifyPartly(t *testing.T) {
	only := func(name string) *server {
		s := &server{}
		s.replies = func(msg []byte) []byte {
			var m wire.Message
			_ = m.Parse(msg)
			if _, nsid := m.Option(wire.OptionNSID); nsid || m.Class == wire.ClassCH && wire.NameText(m.Name) != name {
				return nil
			}
			return refused(msg)
		}
		return s
	}
	id := identified(t, only("hostname.bind."))
	if id.Err != nil || id.NSIDAnswered || len(id.Replies) != 1 || id.Replies["hostname.bind"].Raw == nil {
		t.Errorf("%+v", id)
	}
}

// TestText has texts of several strings, and some that end before they say they do, which no message can have.
func TestText(t *testing.T) {
	reply := func(data string) []byte {
		b := query(wireName("version.bind"), wire.TypeTXT, wire.ClassCH)
		b[2], b[7] = 0x84, 1
		b = append(b, 0xc0, wire.HeaderLen, 0, 16, 0, 3, 0, 0, 0, 0)
		return append(binary.BigEndian.AppendUint16(b, uint16(len(data))), data...)
	}
	for data, want := range map[string]string{"\x02ab\x01c": "abc", "\x00": "", "\x02ab\x05c": "", "\x09ab": ""} {
		if got := textOf(reply(data)); got != want {
			t.Errorf("%q: %q, want %q", data, got, want)
		}
	}
}

// TestBanners has each product as it calls itself, and what must not be taken for one.
func TestBanners(t *testing.T) {
	for text, want := range map[string][3]string{
		"PowerDNS Recursor 4.8.8":             {"pdns-recursor", "4.8.8", "cpe:/a:powerdns:recursor:4.8.8"},
		"PowerDNS Authoritative Server 4.7.3": {"pdns", "4.7.3", "cpe:/a:powerdns:authoritative:4.7.3"},
		"Served by POWERDNS 3.1 $Id$":         {"pdns", "3.1", "cpe:/a:powerdns:authoritative:3.1"},
		"Served by PowerDNS - https://x":      {"pdns", "", "cpe:/a:powerdns:authoritative"},
		"dnsdist 1.7.3":                       {"dnsdist", "1.7.3", "cpe:/a:powerdns:dnsdist:1.7.3"},
		"NSD 4.6.1":                           {"nsd", "4.6.1", "cpe:/a:nlnetlabs:nsd:4.6.1"},
		"unbound 1.17.1":                      {"unbound", "1.17.1", "cpe:/a:nlnetlabs:unbound:1.17.1"},
		"Knot Resolver 5.6.0":                 {"knot-resolver", "5.6.0", "cpe:/a:nic:knot_resolver:5.6.0"},
		"Knot DNS 3.2.6":                      {"knot", "3.2.6", "cpe:/a:nic:knot_dns:3.2.6"},
		"dnsmasq-2.90":                        {"dnsmasq", "2.90", "cpe:/a:thekelleys:dnsmasq:2.90"},
		"CoreDNS-1.11.3":                      {"coredns", "1.11.3", "cpe:/a:coredns.io:coredns:1.11.3"},
		"Technitium DNS Server 11.0":          {"technitium", "11.0", "cpe:/a:technitium:dns_server:11.0"},
		"Microsoft DNS 10.0.17763":            {"msdns", "10.0.17763", "cpe:/a:microsoft:dns:10.0.17763"},
		"gdnsd 3.8.0":                         {"gdnsd", "3.8.0", "cpe:/a:gdnsd:gdnsd:3.8.0"},
		"port53 1.0":                          {"port53", "1.0", ""},
		"BIND 9.20.1":                         {"bind", "9.20.1", "cpe:/a:isc:bind:9.20.1"},
		"9.9.9-P3-RedHat-9.9.9-1.el7":         {"bind", "9.9.9-P3-RedHat-9.9.9-1.el7", "cpe:/a:isc:bind:9.9.9-p3"},
		"9.18.0rc1":                           {"bind", "9.18.0rc1", "cpe:/a:isc:bind:9.18.0rc1"},
		"unbound 1.17.1\x1b[2J":               {"unbound", "1.17.1?[2J", "cpe:/a:nlnetlabs:unbound:1.17.1"},
		"not NSD 4.6.1":                       {},
		"10.1.2":                              {},
		"9.18":                                {},
		"":                                    {},
	} {
		s := ReadBanner(text)
		if got := [3]string{string(s.Product), s.Version, s.CPE}; got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
		if s.Product != "" && s.Banner != wire.Printable(text) {
			t.Errorf("%q: banner %q", text, s.Banner)
		}
	}
	if got := (Software{}).String(); got != "unknown" {
		t.Errorf("nothing known: %s", got)
	}
	if got := (Software{Product: "bind", Version: "9.20"}).String(); got != "bind 9.20" {
		t.Errorf("got %s", got)
	}
}

func TestPackaged(t *testing.T) {
	for _, x := range []struct {
		s    Software
		want bool
	}{
		{Software{Product: "unbound"}, true},
		{Software{Product: "bind", Banner: "9.18.0"}, false},
		{Software{Product: "bind", Banner: "9.18.0-Ubuntu"}, true},
		{Software{Product: "bind", Banner: "9.16.23-RH (Extended) 9.16.23-14.el9"}, true},
		{Software{Product: "bind", Banner: "9.18.0~beta"}, true},
	} {
		if got := x.s.Packaged(); got != x.want {
			t.Errorf("%+v: %t", x.s, got)
		}
	}
}

func behaved(t *testing.T, s *server) (m Marks) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { m = Behaviour(t.Context(), s, wire.Root, 2*time.Second) })
	return m
}

// TestBehaviour has a server that refuses all with a header alone, as Unbound does, one
// that loses every first question, one that answers nothing but an ordinary question, and
// none.
func TestBehaviour(t *testing.T) {
	s := &server{replies: refused, rtt: time.Millisecond}
	m := behaved(t, s)
	if got := m.Match(); len(m) != Questions() || got.Product != "unbound" || got.Confidence() != 9 || got.Setting != "default" || got.Version == "" {
		t.Errorf("%s: %+v, %d of 10", m, got, got.Confidence())
	}
	if again := behaved(t, &server{replies: refused, lose: 1, rtt: time.Millisecond}); !slices.Equal(again, m) {
		t.Errorf("with losses: %s", again)
	}
	twice := 0 // a response is silent, and asked again
	for i, w := range s.waits {
		switch {
		case w == 2*behaveLeast:
			twice++
		case i == 0 && w != 2*time.Second || i > 0 && w != behaveLeast:
			t.Errorf("question %d waits %v", i, w)
		}
	}
	if twice != 1 {
		t.Errorf("%d questions are asked again", twice)
	}
	// A slow server has no more than sixteen to answer, and a far one is waited for.
	s = &server{replies: refused, rtt: 10 * time.Second}
	if behaved(t, s); s.most != behaveAtOnce || s.most > 16 {
		t.Errorf("%d questions at the same time", s.most)
	}
	s = &server{replies: refused, rtt: 100 * time.Millisecond}
	if behaved(t, s); s.waits[1] != 400*time.Millisecond {
		t.Errorf("at 100 ms: waits %v", s.waits[:3])
	}
	n := 0
	s = &server{replies: func(msg []byte) []byte {
		if n++; n == 1 {
			return refused(msg)
		}
		return nil
	}}
	if m = behaved(t, s); len(m) != Questions() || !m.Silent() {
		t.Errorf("a silent server: %s", m)
	}
	for q, n := range s.asked {
		if n > behaveTries+1 { // the ordinary question is one of the odd ones
			t.Errorf("%x is sent %d times", q, n)
		}
	}
	s = &server{silent: true}
	if m = behaved(t, s); m != nil || !m.Silent() || len(s.waits) != askTries {
		t.Errorf("nobody: %s after %d questions", m, len(s.waits))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	synctest.Test(t, func(t *testing.T) { m = Behaviour(ctx, &server{}, wire.Root, time.Second) })
	if m != nil {
		t.Errorf("after the end: %s", m)
	}
}

func TestSilent(t *testing.T) {
	for n, want := range map[int]bool{0: true, 9: true, 10: false, 48: false} {
		m := slices.Concat(slices.Repeat(Marks{"5//0000"}, n), slices.Repeat(Marks{"-"}, 48-n))
		if m.Silent() != want {
			t.Errorf("%d answers: silent %t", n, !want)
		}
	}
}

// TestMarks has what a mark says of a reply (RFC 1035, section 4.1.1; RFC 6891, section
// 6.1.3).
func TestMarks(t *testing.T) {
	head := func(flags uint16, counts ...uint16) []byte {
		b := binary.BigEndian.AppendUint16([]byte{1, 2}, flags)
		for _, n := range append(counts, 0, 0, 0, 0)[:4] {
			b = binary.BigEndian.AppendUint16(b, n)
		}
		return b
	}
	question := []byte{0, 0, 6, 0, 1}
	opt := func(size uint16, high byte) []byte {
		b := wire.AppendOPT(nil, size, false, nil)
		b[5] = high
		return b
	}
	for _, x := range []struct {
		raw  []byte
		want string
	}{
		{head(0x8005), "5//0000"},
		{head(0x87ff), "15/atrvzdc/0000"},
		{append(head(0x8400, 1), question...), "0/a/1000"},
		{append(head(0x8180, 10, 2, 13, 65535), question...), "0/rv/9299"},
		{slices.Concat(head(0x8000, 1, 0, 0, 1), question, opt(1232, 0)), "0//1001/1232"},
		{slices.Concat(head(0x8000, 1, 0, 0, 1), question, opt(512, 1)), "16//1001/512"},
	} {
		if got := markOf(x.raw); got != x.want {
			t.Errorf("%x: %s, want %s", x.raw, got, x.want)
		}
	}
}

func TestJudge(t *testing.T) {
	unbound := behaved(t, &server{replies: refused})
	told := func(p Product) Software { return Software{Product: p, Version: "1", Method: MethodText, Confidence: 9} }
	stranger := Marks(slices.Repeat([]string{"0//1000"}, Questions()))
	for _, x := range []struct {
		name  string
		id    Identity
		marks Marks
		want  Software
	}{
		{"agreed", Identity{Software: told("unbound")}, unbound, Software{Product: "unbound", Version: "1", Method: MethodText, Confidence: 10}},
		{"contradicted", Identity{Software: told("nsd")}, unbound, Software{Product: "nsd", Version: "1", Method: MethodText, Confidence: 5}},
		{"by behaviour alone", Identity{}, unbound, Software{Product: "unbound", CPE: "cpe:/a:nlnetlabs:unbound", Method: MethodBehaviour, Confidence: 9}},
		{"silent", Identity{Software: told("nsd")}, nil, told("nsd")},
		{"nobody", Identity{Err: errSilent}, unbound, Software{}},
		{"unknown behaviour", Identity{}, stranger, Software{}},
		{"unknown behaviour of what is told", Identity{Software: told("nsd")}, stranger, told("nsd")},
	} {
		if got := Judge(&x.id, x.marks); got != x.want {
			t.Errorf("%s: %+v, want %+v", x.name, got, x.want)
		}
	}
}

func TestConfidence(t *testing.T) {
	for _, x := range []struct {
		share, next float64
		want        int
	}{{1, 0.85, 9}, {0.99, 0.85, 8}, {0.94, 0.85, 4}, {0.93, 0.85, 4}, {0.92, 0.85, 3}, {0.5, 0, 0}, {1, 1, 1}, {1, 0.96, 5}, {1, 0.95, 9}} {
		if got := (Match{Share: x.share, Next: x.next}).Confidence(); got != x.want {
			t.Errorf("%v, the next %v: %d, want %d", x.share, x.next, got, x.want)
		}
	}
}

func TestAlike(t *testing.T) {
	for _, x := range []struct {
		a, b     string
		same, of int
	}{
		{"5/a/1000", "5/a/1000", 13, 13},
		{"5/av/1000", "5/a/1000", 13, 13}, // RA is a setting
		{"5/a/1000", "3/a/1000", 7, 13},
		{"5/a/1000", "5//1000", 10, 13},
		{"5/a/1000", "5/a/0000", 11, 13},
		{"5/a/1001/1232", "5/a/1001/512", 11, 13},
		{"5/a/1001/1232", "5/a/1001", 11, 13},
		{"-", "5/a/1000", 0, 10},
		{"5/a/1000", "-", 0, 10},
		{"-", "-", 6, 6},
	} {
		if same, of := alike(x.a, x.b); same != x.same || of != x.of {
			t.Errorf("%s and %s: %d of %d, want %d of %d", x.a, x.b, same, of, x.same, x.of)
		}
	}
}

// TestTable has each row of the table name its product, and name it still when three
// answers are lost.
func TestTable(t *testing.T) {
	rows, n := samples(), Questions()
	if len(rows) < 15 || n < 40 {
		t.Errorf("%d rows of %d questions", len(rows), n)
	}
	products := map[Product]bool{}
	for i, r := range rows {
		products[r.product] = true
		if len(r.marks) != n {
			t.Errorf("row %d, %s: %d marks", i, r.product, len(r.marks))
			continue
		}
		if m := r.marks.Match(); m.Product != r.product || m.Confidence() < 8 || m.Version != r.version || m.Next >= m.Share {
			t.Errorf("row %d, %s: %+v", i, r.product, m)
		}
		next := 0.0
		for _, other := range rows {
			same, of := 0, 0
			for k := range other.marks {
				s, o := alike(r.marks[k], other.marks[k])
				same, of = same+s, of+o
			}
			if other.product != r.product {
				next = max(next, float64(same)/float64(of))
			}
		}
		if m := r.marks.Match(); m.Next != next {
			t.Errorf("row %d, %s: the next product has %v, want %v", i, r.product, m.Next, next)
		}
		lost := slices.Clone(r.marks)
		lost[3], lost[20], lost[36] = "-", "-", "-"
		if m := lost.Match(); m.Product != r.product || m.Confidence() < Enough {
			t.Errorf("row %d, %s, three lost: %+v, %d of 10", i, r.product, m, m.Confidence())
		}
	}
	for _, p := range []Product{"bind", "nsd", "knot", "unbound", "pdns", "pdns-recursor", "knot-resolver", "dnsmasq", "coredns", "port53"} {
		if !products[p] {
			t.Errorf("%s is not in the table", p)
		}
	}
	if m := Marks(slices.Repeat([]string{"0//1000"}, n)).Match(); m.Confidence() >= Enough {
		t.Errorf("a server that nobody knows is named %s, %d of 10", m.Product, m.Confidence())
	}
	if m := (Marks{"5//0000"}).Match(); m != (Match{}) {
		t.Errorf("of one mark: %+v", m)
	}
	if got := (Marks{"a", "b"}).String(); got != "a b" {
		t.Errorf("got %s", got)
	}
}

// TestOddities has every question be a message of its own, short enough for any path.
func TestOddities(t *testing.T) {
	seen := map[string]bool{}
	for _, o := range oddities() {
		m := o.message()
		if len(m) < wire.HeaderLen || len(m) > 512 || seen[o.about] || seen[string(m[2:])] {
			t.Errorf("%s: %x", o.about, m)
		}
		seen[o.about], seen[string(m[2:])] = true, true
	}
	// The table is what servers answered to these questions: another one needs another table.
	sum := sha256.New()
	for _, o := range oddities() {
		sum.Write(o.rest)
	}
	if got := hex.EncodeToString(sum.Sum(nil)[:8]); got != "065371093d33dcb8" {
		t.Errorf("the questions are others (%s) than those that behave.txt has the answers to", got)
	}
}

func TestFlaws(t *testing.T) {
	list, date := Vulnerabilities()
	if _, err := time.Parse(time.DateOnly, date); err != nil || len(list) < 60 {
		t.Errorf("%d flaws, of %q", len(list), date)
	}
	seen := map[string]bool{}
	for _, f := range list {
		key := string(f.Product) + f.CVE
		if seen[key] || f.About == "" || !slices.Contains(severities(), f.Severity) || !strings.HasPrefix(f.CVE, "CVE-") {
			t.Errorf("%+v is incomplete or there twice", f)
		}
		for _, r := range f.ranges {
			if len(r[1]) == 0 || slices.Compare(r[0], r[1]) >= 0 {
				t.Errorf("%+v: a range that nothing is in", f)
			}
		}
		seen[key] = true
	}
	for _, x := range []struct {
		product Product
		version string
		cve     string
		want    bool
	}{
		{"bind", "9.18.23", "CVE-2023-50387", true},
		{"bind", "9.18.24", "CVE-2023-50387", false},
		{"bind", "9.16.48", "CVE-2023-50387", false},
		{"bind", "9.16.47-Debian", "CVE-2023-50387", true},
		{"bind", "9.9.9-P2", "CVE-2016-2776", true},
		{"bind", "9.9.9-P3", "CVE-2016-2776", false},
		{"bind", "9.9.9", "CVE-2016-2776", true},
		{"bind", "9.20.15", "CVE-2025-40778", false},
		{"unbound", "1.19.0", "CVE-2023-50387", true},
		{"unbound", "1.19.1", "CVE-2023-50387", false},
		{"unbound", "1.9.3", "CVE-2023-50387", true},
		{"dnsmasq", "2.89", "CVE-2023-50387", true},
		{"dnsmasq", "2.90", "CVE-2023-50387", false},
		{"dnsmasq", "2.9", "CVE-2017-14491", true},
		{"nsd", "9.18.23", "CVE-2023-50387", false},
		{"bind", "", "CVE-2023-50387", false},
		{"bind", "x", "CVE-2023-50387", false},
	} {
		found := VulnerabilitiesOf(x.product, x.version)
		if got := slices.ContainsFunc(found, func(f Vulnerability) bool { return f.CVE == x.cve }); got != x.want {
			t.Errorf("%s %s: %s %t", x.product, x.version, x.cve, got)
		}
		if !slices.IsSortedFunc(found, func(a, b Vulnerability) int {
			return slices.Index(severities(), b.Severity) - slices.Index(severities(), a.Severity)
		}) {
			t.Errorf("%s %s: not the most severe first", x.product, x.version)
		}
	}
	// Of one severity, the newest comes first.
	if found := VulnerabilitiesOf("bind", "9.16.1"); len(found) < 2 || found[0].CVE < found[1].CVE {
		t.Errorf("%+v", found)
	}
}

// FuzzIdentity takes identification through replies that anybody may send.
func FuzzIdentity(f *testing.F) {
	for _, text := range []string{"9.18.49-1~deb12u3-Debian", "unbound 1.17.1\x1b[2J", "PowerDNS Recursor 4.8.8", "dnsmasq-2.90", ""} {
		s := &server{texts: map[string]string{"version.bind": text}}
		f.Add(s.answer(query(wireName("version.bind"), wire.TypeTXT, wire.ClassCH)))
	}
	for _, o := range oddities() {
		f.Add(o.message())
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) < wire.HeaderLen {
			return // never taken for a reply
		}
		mark, s := markOf(raw), ReadBanner(textOf(raw))
		if len(mark) > 40 || strings.Count(mark, "/") < 2 || strings.ContainsAny(mark, " \t\n") {
			t.Errorf("mark %q", mark)
		}
		for _, text := range []string{s.Banner, s.Version, s.CPE, s.String()} {
			if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				t.Errorf("%q is not escaped", text)
			}
		}
		VulnerabilitiesOf(s.Product, s.Version)
	})
}
