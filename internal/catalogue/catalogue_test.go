package catalogue_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"port53/internal/catalogue"
	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/wire"
)

// answer is one scripted reply.
type answer struct {
	rc     wire.Rcode
	flags  uint16
	rr     []wire.Record
	noOPT  bool
	opt    []byte
	ver    uint8
	z      uint16
	silent bool
	name   []byte // in place of the question's
}

// script answers a question that came to the server with this number.
type script func(m *wire.Message, server int, tcp bool) answer

func encode(m *wire.Message, a answer) []byte {
	name := m.Name
	if a.name != nil {
		name = a.name
	}
	if !m.HasQuestion {
		name = wire.Root
	}
	b := wire.AppendQuery(nil, m.ID, wire.FlagQR|uint16(m.Opcode)<<11|m.Flags&wire.FlagRD|a.flags|uint16(a.rc)&15, name, m.Type)
	binary.BigEndian.PutUint16(b[len(b)-2:], uint16(m.Class))
	for _, r := range a.rr {
		b = append(b, r.Owner...)
		b = binary.BigEndian.AppendUint16(b, uint16(r.Type))
		b = append(b, 0, 1)
		b = binary.BigEndian.AppendUint32(b, r.TTL)
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(r.Data))), r.Data...)
		b[7+2*int(r.Section)]++
	}
	if m.EDNS && !a.noOPT {
		at := len(b)
		b = wire.AppendOPT(b, 1232, m.DO, a.opt)
		b[at+5], b[at+6] = byte(a.rc>>4), a.ver
		b[at+8] |= byte(a.z)
		b[11]++
	}
	return b
}

type pair struct {
	tcp net.Listener
	udp net.PacketConn
}

// listen binds one port on n addresses, for TCP and UDP. A port that is free for the one
// may be somebody's for the other: then another is tried.
func listen(t *testing.T, n int) []pair {
	t.Helper()
	const tries = 50
	var last error
	for range tries {
		var list []pair
		var port uint16
		last = nil
		for i := range n {
			at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, byte(i), 1}), port)
			l, err := net.Listen("tcp4", at.String())
			if err != nil {
				last = err
				break
			}
			port = l.Addr().(*net.TCPAddr).AddrPort().Port()
			u, err := net.ListenPacket("udp4", l.Addr().String())
			if err != nil {
				l.Close()
				last = err
				break
			}
			list = append(list, pair{l, u})
		}
		if last == nil {
			return list
		}
		for _, p := range list {
			p.tcp.Close()
			p.udp.Close()
		}
	}
	t.Fatal(last)
	return nil
}

// serve starts servers on 127.0.0.1 and its neighbours in other networks, all on
// one port, and returns their addresses.
func serve(t *testing.T, n int, s script) []netip.AddrPort {
	t.Helper()
	var out []netip.AddrPort
	for i, pair := range listen(t, n) {
		l, u := pair.tcp, pair.udp
		addr := l.Addr().(*net.TCPAddr).AddrPort()
		t.Cleanup(func() { l.Close(); u.Close() })
		out = append(out, addr)
		go func() {
			buf := make([]byte, 65535)
			for {
				k, from, err := u.ReadFrom(buf)
				if err != nil {
					return
				}
				var m wire.Message
				if m.Parse(buf[:k]) != 0 || m.Flags&wire.FlagQR != 0 || !m.HasQuestion {
					continue
				}
				if a := s(&m, i, false); !a.silent {
					u.WriteTo(encode(&m, a), from)
				}
			}
		}()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					c.SetDeadline(time.Now().Add(2 * time.Second))
					for {
						var h [2]byte
						if _, err := io.ReadFull(c, h[:]); err != nil {
							return
						}
						q := make([]byte, binary.BigEndian.Uint16(h[:]))
						if _, err := io.ReadFull(c, q); err != nil {
							return
						}
						var m wire.Message
						if m.Parse(q) != 0 {
							return
						}
						a := s(&m, i, true)
						if a.silent {
							return
						}
						r := encode(&m, a)
						c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(r))), r...))
					}
				}()
			}
		}()
	}
	return out
}

func name(s string) []byte {
	n, err := wire.ParseName(s)
	if err != nil {
		panic(err)
	}
	return n
}

var zone = name("example.test")

func soa(serial uint32) []byte {
	b := append(name("ns1.example.test"), name("host.example.test")...)
	for _, v := range []uint32{serial, 14400, 3600, 604800, 3600} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

func rr(s wire.Section, owner string, t wire.Type, ttl uint32, data []byte) wire.Record {
	return wire.Record{Owner: name(owner), Type: t, Section: s, TTL: ttl, Data: data}
}

func txt(s string) []byte { return append([]byte{byte(len(s))}, s...) }

// good is a root (server 0) and a zone (servers 1 and 2) without a fault.
func good(m *wire.Message, server int, _ bool) answer {
	a := answer{flags: wire.FlagAA}
	switch {
	case m.Class != wire.ClassIN:
		return answer{rc: wire.Refused}
	case m.Opcode == 15:
		return answer{rc: wire.NotImp}
	case m.Opcode != 0:
		return answer{rc: wire.Refused}
	case m.EDNS && m.Version > 0:
		return answer{rc: wire.BadVers}
	}
	if c, ok := m.Option(wire.OptionCookie); ok {
		if len(c) != 8 && (len(c) < 16 || len(c) > 40) {
			return answer{rc: wire.FormErr}
		}
		a.opt = append(append([]byte{0, 10, 0, 16}, c[:8]...), c[:8]...)
	}
	if !wire.Subdomain(m.Name, zone) && server > 0 || m.Type == wire.TypeAXFR || m.Type == wire.TypeIXFR {
		return answer{rc: wire.Refused, opt: a.opt}
	}
	glue := []wire.Record{rr(wire.Additional, "ns1.example.test", wire.TypeA, 3600, []byte{127, 0, 1, 1}), rr(wire.Additional, "ns2.example.test", wire.TypeA, 3600, []byte{127, 0, 2, 1})}
	if server == 0 {
		if wire.Subdomain(m.Name, zone) && m.Type != wire.TypeDS {
			return answer{rr: append([]wire.Record{rr(wire.Authority, "example.test", wire.TypeNS, 3600, name("ns1.example.test")), rr(wire.Authority, "example.test", wire.TypeNS, 3600, name("ns2.example.test"))}, glue...)}
		}
		for i, a := range []string{"1.1.0.127.in-addr.arpa", "1.2.0.127.in-addr.arpa"} {
			if m.Type == wire.TypePTR && wire.EqualFold(m.Name, name(a)) {
				return answer{flags: wire.FlagAA, rr: []wire.Record{rr(0, a, wire.TypePTR, 3600, name([]string{"ns1.example.test", "ns2.example.test"}[i]))}}
			}
		}
		if !wire.Subdomain(m.Name, name("test")) {
			a.rc = wire.NXDomain
		}
		return a
	}
	low := string(wire.AppendName(nil, wire.Lower(nil, m.Name)))
	add := func(d []byte) { a.rr = append(a.rr, wire.Record{Owner: m.Name, Type: m.Type, TTL: 3600, Data: d}) }
	switch low + m.Type.String() {
	case "example.test.SOA":
		add(soa(7))
	case "example.test.NS":
		add(name("ns1.example.test"))
		add(name("ns2.example.test"))
	case "ns1.example.test.A":
		add([]byte{127, 0, 1, 1})
	case "ns2.example.test.A":
		add([]byte{127, 0, 2, 1})
	case "example.test.TXT":
		add(txt("v=spf1 -all"))
	case "_dmarc.example.test.TXT":
		add(txt("v=DMARC1; p=reject"))
	case "example.test.CAA":
		add(append([]byte{0, 5}, "issue;"...))
	}
	if len(a.rr) == 0 {
		if low != "example.test." && low != "ns1.example.test." && low != "ns2.example.test." {
			a.rc = wire.NXDomain
		}
		a.rr = []wire.Record{rr(wire.Authority, "example.test", wire.TypeSOA, 3600, soa(7))}
	}
	return a
}

// but is good with another answer to what match says.
func but(match func(m *wire.Message, server int) bool, change func(m *wire.Message, a *answer)) script {
	return func(m *wire.Message, server int, tcp bool) answer {
		a := good(m, server, tcp)
		if match(m, server) {
			change(m, &a)
		}
		return a
	}
}

func typed(t wire.Type) func(*wire.Message, int) bool {
	return func(m *wire.Message, s int) bool { return s > 0 && m.Type == t }
}

func any1(_ *wire.Message, s int) bool { return s > 0 }

// gives answers a type with data for the name that was asked.
func gives(t wire.Type, data ...[]byte) script {
	return but(typed(t), func(m *wire.Message, a *answer) {
		a.rc, a.rr = 0, nil
		for _, d := range data {
			a.rr = append(a.rr, wire.Record{Owner: m.Name, Type: t, TTL: 3600, Data: d})
		}
	})
}

// called is good with a name that has these records.
func called(owner string, records ...wire.Record) script {
	return but(func(m *wire.Message, s int) bool { return s > 0 && wire.EqualFold(m.Name, name(owner)) }, func(m *wire.Message, a *answer) {
		a.rc, a.rr = 0, nil
		for _, r := range records {
			if r.Type == m.Type || r.Type == wire.TypeCNAME {
				a.rr = append(a.rr, r)
			}
		}
	})
}

func big(_ *wire.Message, a *answer) {
	a.rc, a.rr = 0, nil
	for range 6 {
		a.rr = append(a.rr, rr(wire.Answer, "example.test", wire.TypeTXT, 1, append([]byte{250}, make([]byte, 250)...)))
	}
}

// bad holds a server for each check that it must fail at. Those with nil are
// judged against the root's delegation.
func bad() map[string]script {
	badEDNS := but(func(m *wire.Message, s int) bool { return s > 0 && m.EDNS }, func(_ *wire.Message, a *answer) { a.rc, a.noOPT = wire.FormErr, true })
	return map[string]script{
		"SRV-AA": but(any1, func(_ *wire.Message, a *answer) { *a = answer{rc: wire.Refused} }),
		"SRV-REC": but(any1, func(m *wire.Message, a *answer) {
			*a = answer{flags: wire.FlagRA, rr: []wire.Record{{Owner: m.Name, Type: wire.TypeA, Data: []byte{192, 0, 2, 1}}}}
		}),
		"SRV-UPREF": but(any1, func(_ *wire.Message, a *answer) {
			*a = answer{rr: []wire.Record{rr(wire.Authority, ".", wire.TypeNS, 1, name("a.root"))}}
		}),
		"SRV-AXFR": but(typed(wire.TypeAXFR), func(_ *wire.Message, a *answer) {
			*a = answer{rr: []wire.Record{rr(0, "example.test", wire.TypeSOA, 1, soa(7))}}
		}),
		"SRV-IXFR": but(typed(wire.TypeIXFR), func(_ *wire.Message, a *answer) {
			*a = answer{rr: []wire.Record{rr(0, "example.test", wire.TypeSOA, 1, soa(7)), rr(0, "example.test", wire.TypeSOA, 1, soa(6))}}
		}),
		"SRV-AXFRUDP": but(typed(wire.TypeAXFR), func(_ *wire.Message, a *answer) {
			*a = answer{rr: []wire.Record{rr(0, "example.test", wire.TypeSOA, 1, soa(7))}}
		}),
		"SRV-UPDATE": but(func(m *wire.Message, _ int) bool { return m.Opcode == wire.OpcodeUpdate }, func(_ *wire.Message, a *answer) { *a = answer{} }),
		"SRV-NOTIFY": but(func(m *wire.Message, _ int) bool { return m.Opcode == wire.OpcodeNotify }, func(_ *wire.Message, a *answer) { *a = answer{} }),
		"SRV-ANY":    but(typed(wire.TypeANY), big), "SRV-AMP": but(typed(wire.TypeANY), big), "SRV-FRAG": but(typed(wire.TypeDNSKEY), big),
		"SRV-TCSIZE":   but(typed(wire.TypeANY), func(m *wire.Message, a *answer) { big(m, a); a.flags = wire.FlagTC }),
		"SRV-COOKIE":   but(any1, func(_ *wire.Message, a *answer) { a.opt = nil }),
		"SRV-8906":     but(any1, func(m *wire.Message, a *answer) { a.silent = m.Opcode == 15 }),
		"SRV-CASE":     but(any1, func(m *wire.Message, a *answer) { a.name = wire.Lower(nil, m.Name) }),
		"SRV-EDNS-DNS": but(any1, func(_ *wire.Message, a *answer) { a.rc = wire.FormErr }), "SRV-EDNS-EDNS": badEDNS, "SRV-EDNS-EDNS1": badEDNS, "SRV-EDNS-EDNS512": badEDNS, "SRV-EDNS-OPT": badEDNS, "SRV-EDNS-1OPT": badEDNS, "SRV-EDNS-DO": badEDNS,
		"SRV-EDNS-FLAGS": but(any1, func(_ *wire.Message, a *answer) { a.z = 0x80 }), "SRV-EDNS-OPTLIST": badEDNS, "SRV-EDNS-DOCOOKIE": badEDNS, "SRV-EDNS-512TCP": badEDNS, "SRV-EDNS-TCP": badEDNS, "SRV-EDNS-SIGNED512": badEDNS, "SRV-EDNS-PADDING": badEDNS,
		"DEL-LAME":    but(func(_ *wire.Message, s int) bool { return s == 2 }, func(_ *wire.Message, a *answer) { *a = answer{rc: wire.Refused} }),
		"DEL-NS-SYNC": gives(wire.TypeNS, name("ns1.example.test")), "DEL-GLUE": gives(wire.TypeA, []byte{127, 0, 9, 9}), "DEL-CNAME": gives(wire.TypeCNAME, name("x.example.test")),
		"ZONE-SERIAL": but(func(m *wire.Message, s int) bool { return s == 2 && m.Type == wire.TypeSOA }, func(_ *wire.Message, a *answer) { a.rr = []wire.Record{rr(0, "example.test", wire.TypeSOA, 1, soa(5))} }),
		"ZONE-EVERY":  but(func(m *wire.Message, s int) bool { return s == 2 && m.Type == wire.TypeNS }, func(_ *wire.Message, a *answer) { *a = answer{rc: wire.ServFail} }),
		"ZONE-SAME":   but(func(m *wire.Message, s int) bool { return s == 2 && m.Type == wire.TypeCAA }, func(_ *wire.Message, a *answer) { a.rr = nil }),
		"ZONE-SOA":    gives(wire.TypeSOA, append(append(name("a.test"), name("b.test")...), make([]byte, 20)...)),
		"ZONE-TTL":    but(typed(wire.TypeNS), func(_ *wire.Message, a *answer) { a.rr[0].TTL = 1 }),
		"ZONE-WILD":   gives(wire.TypeA, []byte{10, 0, 0, 1}), "ZONE-PRIVATE": gives(wire.TypeA, []byte{10, 0, 0, 1}), "ZONE-SUBS": called("vpn.example.test", rr(0, "vpn.example.test", wire.TypeA, 60, []byte{192, 0, 2, 1})),
		"ZONE-DANGLE": called("blog.example.test", rr(0, "blog.example.test", wire.TypeCNAME, 60, name("gone.github.io"))), "ZONE-MAIL": gives(wire.TypeTXT, txt("v=spf1 +all")), "ZONE-TXT": gives(wire.TypeTXT, txt("password=1")),
		"ZONE-CAA": but(typed(wire.TypeCAA), func(_ *wire.Message, a *answer) { a.rr = nil }),
		"ZONE-PTR": but(func(m *wire.Message, _ int) bool { return m.Type == wire.TypePTR }, func(m *wire.Message, a *answer) {
			a.rr = []wire.Record{{Owner: m.Name, Type: wire.TypePTR, TTL: 1, Data: name("x.example.test")}}
		}),
	}
}

func runOne(t *testing.T, c *check.Check, roots []netip.AddrPort, at netip.AddrPort) []finding.Finding {
	t.Helper()
	return runWithin(t, 300*time.Millisecond, c, roots, at)
}

// runWithin is runOne where servers have so long for a reply.
func runWithin(t *testing.T, timeout time.Duration, c *check.Check, roots []netip.AddrPort, at netip.AddrPort) []finding.Finding {
	t.Helper()
	o := &check.Options{Anchors: anchors(), Mode: finding.Intrusive, Timeout: timeout, Port: at.Port(), Probe: check.NewProbe(name("probe.test")), PortDoT: at.Port(), PortDoH: at.Port(), Lab: check.Lab{Closed: at}}
	for _, a := range roots {
		o.Roots = append(o.Roots, finding.Server{Addr: a, Name: name("a.root")})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	return c.Run(ctx, &check.Run{Check: c, Server: finding.Server{Addr: at, Name: name("ns1.example.test")}, Zone: zone, Options: o})
}

func states(list []finding.Finding) []finding.State {
	var out []finding.State
	for _, f := range list {
		out = append(out, f.State)
	}
	return out
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().(*net.TCPAddr).AddrPort()
	l.Close()
	for _, c := range catalogue.All() {
		t.Run(c.ID, func(t *testing.T) {
			got := runOne(t, c, []netip.AddrPort{at}, at)
			if len(got) == 0 {
				t.Fatal("no finding")
			}
			for _, f := range got {
				if f.State != finding.Unknown {
					t.Errorf("%d %s, want unknown", f.State, f.Detail)
				}
				if f.Evidence.Command == "" && c.ID != "SRV-UPDATE" {
					t.Error("no command that reproduces it")
				}
			}
		})
	}
}

func TestBadAndGood(t *testing.T) {
	t.Parallel()
	list := trials()
	for id, s := range bad() {
		if _, there := list[id]; there {
			t.Errorf("%s has two bad servers", id)
		}
		list[id] = trial{s, good}
	}
	for id, x := range list {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			c := find(t, id)
			at := serve(t, 3, x.bad)
			if got := runOne(t, c, at[:1], at[1]); !slices.ContainsFunc(got, func(f finding.Finding) bool {
				return f.State == finding.Warn || f.State == finding.Fail || f.State == finding.Info && c.Severity == finding.SevInfo
			}) {
				t.Errorf("bad server: %+v", got)
			}
			at = serve(t, 3, x.good)
			for _, f := range runOne(t, c, at[:1], at[1]) {
				if f.State != finding.Pass {
					t.Errorf("good server: %v %s (%s)", f.State, f.Detail, f.Evidence.Command)
				}
			}
		})
	}
}

// TestUnsigned has a zone without DNSSEC: it is no pass for what is about signatures.
func TestUnsigned(t *testing.T) {
	root := signed(good, signing{ds: func([]byte) [][]byte { return nil }})
	at := serve(t, 3, func(m *wire.Message, server int, tcp bool) answer {
		if server == 0 {
			return root(m, server, tcp)
		}
		return good(m, server, tcp)
	})
	for _, c := range catalogue.All() {
		if c.Group != catalogue.GroupDNSSEC {
			continue
		}
		want := finding.Skipped
		if c.ID == "DNSSEC-CHAIN" {
			want = finding.Warn
		}
		for _, f := range runOne(t, c, at[:1], at[1]) {
			if f.State != want {
				t.Errorf("%s: %v %s, want %v", c.ID, f.State, f.Detail, want)
			}
		}
	}
	// Who takes the DS records away on the way does not make a zone unsigned.
	at = serve(t, 3, signed(good, signing{unproven: true, ds: func([]byte) [][]byte { return nil }}))
	if got := runOne(t, find(t, "DNSSEC-CHAIN"), at[:1], at[1]); got[0].State != finding.Fail || !strings.Contains(got[0].Detail, "denial of DS") {
		t.Errorf("a delegation that nothing proves to be unsigned: %+v", got)
	}
}

func TestCatalogue(t *testing.T) {
	ids := map[string]bool{}
	for _, c := range catalogue.All() {
		if ids[c.ID] || c.Title == "" || c.Sent == "" || c.Criteria == "" || c.Advice[""] == "" || len(c.Refs) == 0 || c.Run == nil {
			t.Errorf("%s is incomplete or there twice", c.ID)
		}
		ids[c.ID] = true
	}
	zm := catalogue.Zonemaster()
	if len(zm) != 74 {
		t.Errorf("%d cases of Zonemaster", len(zm))
	}
	for _, x := range zm {
		for _, id := range x.Checks {
			if !ids[id] {
				t.Errorf("%s leads to %s, which is not there", x.Case, id)
			}
		}
		if x.Seen > x.Zones || x.Seen < x.Zones && x.Why == "" {
			t.Errorf("%s: %d of %d zones, and nothing says why", x.Case, x.Seen, x.Zones)
		}
	}
	if n := len(catalogue.Words()); n != 5000 {
		t.Errorf("%d words", n)
	}
}

// TestCovered lists the checks that lack a bad server or a good one; TestUnreachable has
// all of them. Those of resolvers and configurations have theirs in TestResolverChecks
// and TestConfigChecks, which miss none, those of reach and identity in TestReached. A new check needs all three.
func TestCovered(t *testing.T) {
	without := []string{}
	elsewhere := []string{"ZONE-TLSA", "ZONE-HTTPS", "ZONE-REVERSE", "SRV-RRL", "SRV-RRLSLIP", "DOT-CERT", "DOQ-CERT", "DOH-GET", "DOH-POST", "DOH-TYPE", "DOH-HEADERS", "DDR-LISTEN"}
	one, more, streams := bad(), trials(), streamTrials()
	for _, c := range catalogue.All() {
		if c.Group == catalogue.GroupResolver || c.Group == catalogue.GroupConfig || c.Group == catalogue.GroupReach {
			continue
		}
		_, a := one[c.ID]
		_, b := more[c.ID]
		_, d := streams[c.ID]
		if have := a || b || d || slices.Contains(elsewhere, c.ID); have == slices.Contains(without, c.ID) {
			t.Errorf("%s: has a bad server and a good one: %t", c.ID, have)
		}
	}
}
