package catalogue_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"port53/internal/check"
	"port53/internal/dnssec"
	"port53/internal/finding"
	"port53/internal/wire"
)

// zoneReport makes all checks of the zone of a world, and tells how long they took.
func zoneReport(t *testing.T, s script, o check.Options) *finding.Report {
	t.Helper()
	at := serve(t, 3, s)
	o.Anchors, o.Port, o.Limiter = anchors(), at[1].Port(), check.NewLimiter()
	if o.Timeout == 0 {
		o.Timeout = 400 * time.Millisecond
	}
	o.Roots = []finding.Server{{Addr: at[0], Name: name("a.root")}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r := examine(ctx, finding.Target{Text: "example.test", Zone: zone}, &o, func(c *check.Check) bool { return c.Scope == check.ScopeZone }, func(int, int) {})
	if ctx.Err() != nil {
		t.Error("it did not end")
	}
	return r
}

// told returns the findings of a check that warn or fail, as "ID state detail".
func told(r *finding.Report) []string {
	var out []string
	for i := range r.Results {
		for _, f := range r.Results[i].Findings {
			if f.State == finding.Fail || f.State == finding.Warn {
				out = append(out, fmt.Sprintf("%s %s %s", r.Results[i].Check.ID, f.State, f.Detail))
			}
		}
	}
	return out
}

// second changes what the second server answers.
func second(s script, change func(m *wire.Message, a *answer, tcp bool)) script {
	return func(m *wire.Message, server int, tcp bool) answer {
		a := s(m, server, tcp)
		if server == 2 {
			change(m, &a, tcp)
		}
		return a
	}
}

// only changes answers to one type.
func only(t wire.Type, change func(m *wire.Message, a *answer, tcp bool)) func(*wire.Message, *answer, bool) {
	return func(m *wire.Message, a *answer, tcp bool) {
		if m.Type == t && m.Class == wire.ClassIN {
			change(m, a, tcp)
		}
	}
}

func dropped(_ *wire.Message, a *answer, _ bool) { a.silent = true }

func code(rc wire.Rcode) func(*wire.Message, *answer, bool) {
	return func(_ *wire.Message, a *answer, _ bool) { *a = answer{rc: rc} }
}

// has gives the answer other data.
func has(data ...[]byte) func(*wire.Message, *answer, bool) {
	return func(m *wire.Message, a *answer, _ bool) {
		a.rc, a.rr = 0, nil
		for _, d := range data {
			a.rr = append(a.rr, wire.Record{Owner: m.Name, Type: m.Type, TTL: 3600, Data: d})
		}
	}
}

// without takes records of a type out of answers.
func without(types ...wire.Type) func(*wire.Message, *answer, bool) {
	return func(_ *wire.Message, a *answer, _ bool) {
		a.rr = slices.DeleteFunc(a.rr, func(r wire.Record) bool { return slices.Contains(types, r.Type) })
	}
}

// full is good, with more in the zone.
func full(m *wire.Message, server int, tcp bool) answer {
	a := good(m, server, tcp)
	add := func(owner string, t wire.Type, data ...[]byte) {
		if server == 0 || m.Class != wire.ClassIN || m.Opcode != 0 || m.EDNS && m.Version > 0 || !wire.EqualFold(m.Name, name(owner)) || a.rc != 0 && a.rc != wire.NXDomain {
			return
		}
		if a.rc = 0; m.Type == t {
			a.rr = nil
			for _, d := range data {
				a.rr = append(a.rr, wire.Record{Owner: m.Name, Type: t, TTL: 3600, Data: d})
			}
		}
	}
	add("example.test", wire.TypeMX, append([]byte{0, 10}, name("ns1.example.test")...))
	add("example.test", wire.TypeA, []byte{192, 0, 2, 1})
	add("example.test", wire.TypeAAAA, netip.MustParseAddr("2001:db8::1").AsSlice())
	add("example.test", wire.TypeHTTPS, []byte{0, 1, 0, 0, 1, 0, 3, 2, 'h', '2'})
	add("www.example.test", wire.TypeA, []byte{192, 0, 2, 2}, []byte{192, 0, 2, 3})
	return a
}

// insecure has a signed root that proves the zone to be unsigned.
func insecure(s script) script {
	root := signed(s, signing{ds: func([]byte) [][]byte { return nil }})
	return func(m *wire.Message, server int, tcp bool) answer {
		if server == 0 {
			return root(m, server, tcp)
		}
		return s(m, server, tcp)
	}
}

// TestOneServer has worlds in which the second of a zone's servers errs in one way, and what
// has to tell so.
func TestOneServer(t *testing.T) {
	t.Parallel()
	sound := signed(full, signing{})
	unsigned := second(sound, func(m *wire.Message, a *answer, tcp bool) { *a = full(m, 2, tcp) })
	expired := func(types ...wire.Type) script {
		old := signed(full, signing{since: 240 * time.Hour, valid: -72 * time.Hour})
		return second(sound, func(m *wire.Message, a *answer, tcp bool) {
			b := old(m, 2, tcp)
			a.rr = slices.DeleteFunc(a.rr, func(r wire.Record) bool {
				return r.Type == wire.TypeRRSIG && slices.Contains(types, wire.Covered(r.Data))
			})
			for _, r := range b.rr {
				if r.Type == wire.TypeRRSIG && slices.Contains(types, wire.Covered(r.Data)) {
					a.rr = append(a.rr, r)
				}
			}
		})
	}
	soon := func(t wire.Type) script {
		brief := signed(full, signing{valid: 12 * time.Hour})
		return func(m *wire.Message, server int, tcp bool) answer {
			if m.Type == t {
				return brief(m, server, tcp)
			}
			return sound(m, server, tcp)
		}
	}
	edns := func(change func(m *wire.Message, a *answer, tcp bool)) script {
		return second(full, func(m *wire.Message, a *answer, tcp bool) {
			if m.EDNS {
				change(m, a, tcp)
			}
		})
	}
	other, err := dnssec.GenerateKey(zone, dnssec.ECDSAP256, 0x101)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		name string
		s    script
		want string // a finding that begins like this
		at   string // and has this
	}{
		{"the unsigned file", unsigned, "DNSSEC-CHAIN fail", "ns2"},
		{"no signatures", second(sound, without(wire.TypeRRSIG)), "DNSSEC-CHAIN fail", "ns2"},
		{"no proofs", second(sound, without(wire.TypeNSEC)), "DNSSEC-NX fail", "ns2"},
		{"no signatures over MX", second(sound, only(wire.TypeMX, without(wire.TypeRRSIG))), "DNSSEC-CHAIN fail", "MX of example.test."},
		{"no signatures over TCP", second(sound, func(m *wire.Message, a *answer, tcp bool) {
			if tcp {
				without(wire.TypeDNSKEY)(m, a, tcp)
			}
		}), "ZONE-EVERY fail", "over TCP"},
		{"another key", signed(full, signing{by: map[int]*dnssec.Signer{2: other}}), "DNSSEC-CHAIN fail", "ns2"},
		{"forged AAAA", second(sound, only(wire.TypeAAAA, has(netip.MustParseAddr("2001:db8::bad").AsSlice()))), "DNSSEC-CHAIN fail", "ns2"},
		{"other NS", second(full, only(wire.TypeNS, has(name("ns1.example.test"), name("ns9.example.test")))), "ZONE-SAME fail", "ns9"},
		{"other NS than above", second(full, only(wire.TypeNS, has(name("ns1.example.test")))), "DEL-NS-SYNC warn", "ns2"},
		{"NXDOMAIN for AAAA", second(full, only(wire.TypeAAAA, code(wire.NXDomain))), "ZONE-SAME fail", "NXDOMAIN"},
		{"NXDOMAIN for HTTPS", second(full, only(wire.TypeHTTPS, func(_ *wire.Message, a *answer, _ bool) { *a = answer{rc: wire.NXDomain, flags: wire.FlagAA} })), "ZONE-SAME fail", "NXDOMAIN"},
		{"NXDOMAIN for what is not there", second(full, only(wire.TypeCDS, func(_ *wire.Message, a *answer, _ bool) { *a = answer{rc: wire.NXDomain, flags: wire.FlagAA} })), "ZONE-SAME fail", "CDS"},
		{"no MX", second(full, only(wire.TypeMX, has())), "ZONE-SAME fail", "MX"},
		{"no www", second(full, func(m *wire.Message, a *answer, _ bool) {
			if wire.EqualFold(m.Name, name("www.example.test")) {
				*a = answer{rc: wire.NXDomain, flags: wire.FlagAA}
			}
		}), "ZONE-SAME fail", "www"},
		{"other text", second(full, only(wire.TypeTXT, has(txt("v=spf1 +all")))), "ZONE-SAME fail", "TXT"},
		{"other CAA", second(full, only(wire.TypeCAA, has(append([]byte{0, 5}, "issueca.example"...)))), "ZONE-SAME fail", "CAA"},
		{"another address", second(full, only(wire.TypeA, has([]byte{198, 51, 100, 1}))), "ZONE-SAME warn", "198.51.100.1"},
		{"a wildcard at one", second(full, func(m *wire.Message, a *answer, tcp bool) {
			if a.rc == wire.NXDomain && m.Type == wire.TypeA {
				has([]byte{192, 0, 2, 9})(m, a, tcp)
			}
		}), "ZONE-SAME fail", "192.0.2.9"},
		{"a CDS at one", second(full, only(wire.TypeCDS, has([]byte{0, 1, 13, 2, 1, 2, 3}))), "ZONE-SAME fail", "CDS"},
		{"no NS over UDP", second(full, only(wire.TypeNS, func(_ *wire.Message, a *answer, tcp bool) { a.silent = !tcp })), "ZONE-EVERY fail", "NS of example.test."},
		{"no NS", second(full, only(wire.TypeNS, dropped)), "ZONE-EVERY fail", "NS of example.test."},
		{"no AAAA", second(full, only(wire.TypeAAAA, dropped)), "ZONE-EVERY fail", "AAAA of example.test."},
		{"no unknown types", second(full, only(65280, dropped)), "ZONE-EVERY fail", "TYPE65280"},
		{"NOTIMP to unknown types", second(full, only(65280, code(wire.NotImp))), "ZONE-EVERY fail", "NOTIMP"},
		{"SERVFAIL to HTTPS", second(full, only(wire.TypeHTTPS, code(wire.ServFail))), "ZONE-EVERY fail", "SERVFAIL"},
		{"REFUSED to DNSKEY", second(full, only(wire.TypeDNSKEY, code(wire.Refused))), "ZONE-EVERY fail", "REFUSED"},
		{"no authority for MX", second(full, only(wire.TypeMX, func(_ *wire.Message, a *answer, _ bool) { a.flags = 0 })), "ZONE-EVERY fail", "without authority"},
		{"nothing over TCP", second(full, func(_ *wire.Message, a *answer, tcp bool) { a.silent = tcp }), "ZONE-EVERY fail", "over TCP"},
		{"nothing over UDP", second(full, func(_ *wire.Message, a *answer, tcp bool) { a.silent = !tcp }), "ZONE-EVERY fail", "over UDP without EDNS"},
		{"NXDOMAIN over TCP", second(full, func(m *wire.Message, a *answer, tcp bool) {
			if tcp && m.Type == wire.TypeMX {
				*a = answer{rc: wire.NXDomain, flags: wire.FlagAA}
			}
		}), "ZONE-EVERY fail", "NXDOMAIN over TCP"},
		{"truncated, and nothing over TCP", second(full, func(m *wire.Message, a *answer, tcp bool) {
			if a.silent = tcp; m.Type == wire.TypeTXT {
				*a = answer{flags: wire.FlagAA | wire.FlagTC, silent: tcp}
			}
		}), "ZONE-EVERY fail", "truncates"},
		{"drops EDNS", edns(dropped), "ZONE-EVERY fail", "over UDP with EDNS"},
		{"drops DO", edns(func(m *wire.Message, a *answer, _ bool) { a.silent = m.DO }), "ZONE-EVERY fail", "over UDP with DO"},
		{"FORMERR to EDNS", edns(func(_ *wire.Message, a *answer, _ bool) { *a = answer{rc: wire.FormErr, noOPT: true} }), "ZONE-EVERY fail", "FORMERR"},
		{"NOTIMP to EDNS", edns(func(_ *wire.Message, a *answer, _ bool) { *a = answer{rc: wire.NotImp, noOPT: true} }), "ZONE-EVERY fail", "NOTIMP"},
		{"drops EDNS over UDP alone", edns(func(_ *wire.Message, a *answer, tcp bool) { a.silent = !tcp }), "ZONE-EVERY fail", "over UDP with EDNS"},
		{"other data with DO", edns(func(m *wire.Message, a *answer, tcp bool) { only(wire.TypeTXT, has(txt("other")))(m, a, tcp) }), "ZONE-EVERY fail", "TXT"},
		{"DNSKEY's signature is old", expired(wire.TypeDNSKEY), "DNSSEC-EXP fail", "DNSKEY expired"},
		{"NSEC's signature is old", expired(wire.TypeNSEC), "DNSSEC-EXP fail", "NSEC expired"},
		{"MX' signature is old", expired(wire.TypeMX), "DNSSEC-EXP fail", "MX expired"},
		{"AAAA's signature is old", expired(wire.TypeAAAA), "DNSSEC-EXP fail", "AAAA expired"},
		{"HTTPS' signature is old", expired(wire.TypeHTTPS), "DNSSEC-CHAIN fail", "HTTPS"},
		{"DNSKEY's signature ends soon", soon(wire.TypeDNSKEY), "DNSSEC-EXP warn", "DNSKEY expires in 1"},
		{"TXT's signature ends soon", soon(wire.TypeTXT), "DNSSEC-EXP warn", "TXT expires in 1"},
		{"a denial's signature ends soon", soon(65280), "DNSSEC-EXP warn", "NSEC expires in 1"},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			r := zoneReport(t, x.s, check.Options{})
			got := told(r)
			if !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, x.want) && strings.Contains(s, x.at) }) {
				t.Errorf("no %s with %q:\n%s", x.want, x.at, strings.Join(got, "\n"))
			}
			if r.Took > 15*time.Second {
				t.Errorf("it took %v", r.Took)
			}
		})
	}
}

// TestSoundServers has set-ups that are unusual and right.
func TestSoundServers(t *testing.T) {
	t.Parallel()
	sound, plain := signed(full, signing{}), insecure(full)
	other, err := dnssec.GenerateKey(zone, dnssec.ECDSAP256, 0x101)
	if err != nil {
		t.Fatal(err)
	}
	ds := func(k *dnssec.Signer) []byte {
		d, _ := dnssec.AppendDS(nil, zone, k.Key.Data, dnssec.DigestSHA256)
		return d
	}
	both := func([]byte) [][]byte { return [][]byte{ds(keys()[1]), ds(other)} }
	// Both signers publish both keys (RFC 8901, section 2.1.2).
	one, two := signed(full, signing{keys: [][]byte{other.Key.Data}, ds: both}), signed(full, signing{by: map[int]*dnssec.Signer{2: other}, keys: [][]byte{keys()[1].Key.Data}, ds: both})
	multi := func(m *wire.Message, server int, tcp bool) answer {
		if server == 2 {
			return two(m, server, tcp)
		}
		return one(m, server, tcp)
	}
	addresses := func(change func(m *wire.Message, server int, a *answer)) script {
		return func(m *wire.Message, server int, tcp bool) answer {
			a := plain(m, server, tcp)
			if server > 0 && m.Type == wire.TypeA && !bytes.HasPrefix(m.Name, []byte("\x03ns")) && len(a.rr) > 0 && a.rr[0].Section == wire.Answer {
				change(m, server, &a)
			}
			return a
		}
	}
	var turn, slips atomic.Int32
	lost := oneOfThree()
	for _, x := range []struct {
		name string
		s    script
		o    check.Options
	}{
		{"plain", plain, check.Options{}},
		{"signed", sound, check.Options{}},
		{"two signers", multi, check.Options{}},
		{"two ways to deny", second(sound, func(m *wire.Message, a *answer, _ bool) {
			if b := signed(gives(wire.TypeNSEC3PARAM, []byte{1, 0, 0, 0, 0}), signing{})(m, 2, false); m.Type == wire.TypeNSEC3PARAM {
				*a = b
			}
		}), check.Options{}},
		{"a key to come", signed(full, signing{keys: [][]byte{other.Key.Data}}), check.Options{}},
		{"two DS", signed(full, signing{keys: [][]byte{other.Key.Data}, ds: both}), check.Options{}},
		{"shuffled", addresses(func(_ *wire.Message, _ int, a *answer) {
			if turn.Add(1)%2 == 0 {
				slices.Reverse(a.rr)
			}
		}), check.Options{}},
		{"rotating", addresses(func(_ *wire.Message, _ int, a *answer) { a.rr[0].Data = []byte{192, 0, 2, byte(turn.Add(1))} }), check.Options{}},
		{"rotating through few", addresses(func(_ *wire.Message, _ int, a *answer) { a.rr = a.rr[turn.Add(1)%int32(len(a.rr)):][:1] }), check.Options{}},
		{"chosen for each, for a minute", addresses(func(_ *wire.Message, server int, a *answer) {
			a.rr = a.rr[:1]
			a.rr[0].Data, a.rr[0].TTL = []byte{192, 0, 2, byte(server)}, 60
		}), check.Options{}},
		{"chosen by the network", addresses(func(m *wire.Message, server int, a *answer) {
			a.rr[0].Data = []byte{192, 0, 2, byte(server)}
			if s, ok := m.Option(8); ok {
				a.opt = wire.AppendOption(nil, 8, append(bytes.Clone(s[:3]), append([]byte{24}, s[4:]...)...))
			}
		}), check.Options{}},
		{"upper case", second(plain, func(_ *wire.Message, a *answer, _ bool) {
			for i := range a.rr {
				if a.rr[i].Type == wire.TypeNS {
					a.rr[i].Data = bytes.ToUpper(a.rr[i].Data)
				}
			}
		}), check.Options{}},
		{"slips to TCP", func(m *wire.Message, server int, tcp bool) answer {
			a := plain(m, server, tcp)
			if server > 0 && !tcp && slips.Add(1)%2 == 0 {
				return answer{flags: wire.FlagAA | wire.FlagTC}
			}
			return a
		}, check.Options{}},
		{"all to TCP", func(m *wire.Message, server int, tcp bool) answer {
			a := plain(m, server, tcp)
			if server > 0 && !tcp {
				return answer{flags: wire.FlagAA | wire.FlagTC}
			}
			return a
		}, check.Options{}},
		{"loses one of three", func(m *wire.Message, server int, tcp bool) answer {
			a := plain(m, server, tcp)
			a.silent = !tcp && server > 0 && lost(m, server)
			return a
		}, check.Options{}},
		{"no way over IPv6", func(m *wire.Message, server int, tcp bool) answer {
			a := plain(m, server, tcp)
			six := rr(wire.Additional, "ns2.example.test", wire.TypeAAAA, 3600, netip.MustParseAddr("2001:db8::53").AsSlice())
			if server == 0 && wire.Subdomain(m.Name, zone) && m.Type != wire.TypeDS {
				a.rr = append(a.rr, six)
			}
			if server > 0 && m.Type == wire.TypeAAAA && wire.EqualFold(m.Name, six.Owner) {
				six.Section = wire.Answer
				a.rr = []wire.Record{six}
			}
			return a
		}, check.Options{Lab: check.Lab{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if strings.HasPrefix(address, "[") {
				return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ENETUNREACH}
			}
			var d net.Dialer
			return d.DialContext(ctx, network, address)
		}}}},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			r := zoneReport(t, x.s, x.o)
			for _, s := range told(r) {
				if strings.Contains(s, " fail ") || strings.HasPrefix(s, "ZONE-SAME") || strings.HasPrefix(s, "ZONE-EVERY") {
					t.Error(s)
				}
			}
			unknown := 0
			for i := range r.Results {
				for _, f := range r.Results[i].Findings {
					if f.State == finding.Unknown {
						unknown++
						if !f.LocalCause {
							t.Errorf("%s: %s", r.Results[i].Check.ID, f.Detail)
						}
					}
				}
			}
			if want := strings.Contains(x.name, "no way"); want != (unknown == 1) || unknown > 1 {
				t.Errorf("%d findings are unknown for what this machine lacks", unknown)
			}
		})
	}
}

// oneOfThree loses every third time that a question is asked of a server, beginning with any of the first three:
// none is lost twice in a row, however many others are asked meanwhile.
func oneOfThree() (lost func(m *wire.Message, server int) bool) {
	var mu sync.Mutex
	asked := map[string]int{}
	return func(m *wire.Message, server int) bool {
		key := fmt.Sprint(server, m.Type, string(wire.Lower(nil, m.Name)))
		mu.Lock()
		defer mu.Unlock()
		if _, ok := asked[key]; !ok {
			asked[key] = len(asked) % 3
		}
		asked[key]++
		return asked[key]%3 == 0
	}
}

// TestWordOfOneServer has the first server lose questions, and the second serve the unsigned file: the zone as a whole is judged by what
// one server says, the first, in each run, and its signatures by the keys that it has itself.
func TestWordOfOneServer(t *testing.T) {
	t.Parallel()
	sound := signed(full, signing{})
	unsigned := second(sound, func(m *wire.Message, a *answer, tcp bool) { *a = full(m, 2, tcp) })
	for id, asked := range map[string]wire.Type{"DNSSEC-ALGSIG": wire.TypeSOA, "DNSSEC-DSMISS": wire.TypeDNSKEY} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			var lost atomic.Int32
			at := serve(t, 3, func(m *wire.Message, server int, tcp bool) answer {
				a := unsigned(m, server, tcp)
				a.silent = server == 1 && m.Type == asked && m.EDNS && lost.Add(1) <= 7
				return a
			})
			for _, f := range runWithin(t, patience, find(t, id), at[:1], at[1]) {
				if f.State != finding.Pass {
					t.Errorf("%v: %s", f.State, f.Detail)
				}
			}
		})
	}
}
