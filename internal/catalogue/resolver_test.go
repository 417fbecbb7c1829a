package catalogue_test

import (
	"fmt"
	"math/rand/v2"
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

// resolves is a resolver that answers as a script says, and hands what is below
// the probe's zone to the probe in the way that ask makes of it.
func resolves(p *check.Probe, reply func(m *wire.Message) answer, ask func(m *wire.Message) []check.ReceivedQuery) script {
	return func(m *wire.Message, _ int, _ bool) answer {
		if wire.Subdomain(m.Name, p.Zone) {
			for _, s := range ask(m) {
				p.Record(s)
			}
		}
		return reply(m)
	}
}

func address(m *wire.Message, b ...byte) answer {
	return answer{flags: wire.FlagRA, rr: []wire.Record{{Owner: m.Name, Type: wire.TypeA, TTL: 300, Data: b}}}
}

// TestResolverChecks has a bad resolver and a right one for each check of the group.
//
// In one piece: what they answer and ask is its table.
func TestResolverChecks(t *testing.T) {
	t.Parallel()
	byID := map[string]*check.Check{}
	for _, c := range catalogue.All() {
		byID[c.ID] = c
	}
	mixed := func(n []byte) []byte { return []byte(strings.Replace(string(n), "a", "A", 1)) }
	random := func(m *wire.Message) []check.ReceivedQuery {
		s := check.ReceivedQuery{From: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(1024+rand.N(64000))), ID: uint16(rand.N(65536)), Name: mixed(m.Name), Type: m.Type, Size: 1232, Cookie: make([]byte, 8)}
		part := s
		part.Name = m.Name[1+int(m.Name[0]):]
		return []check.ReceivedQuery{s, part}
	}
	weak := func(m *wire.Message) []check.ReceivedQuery {
		return []check.ReceivedQuery{{From: netip.MustParseAddrPort("127.0.0.1:5300"), ID: 7, Name: slices.Clone(m.Name), Type: m.Type, Size: 8192, Subnet: []byte{0, 1, 24, 0, 198, 51, 100}}}
	}
	many := func(m *wire.Message) []check.ReceivedQuery {
		var out []check.ReceivedQuery
		for i := range 300 {
			out = append(out, check.ReceivedQuery{Name: []byte(fmt.Sprintf("\x04%04d", i) + string(name("nxt.probe.test"))), From: netip.MustParseAddrPort("127.0.0.1:1")})
			out = append(out, check.ReceivedQuery{Name: slices.Clone(m.Name)})
		}
		return out
	}
	overTCP := func(m *wire.Message) []check.ReceivedQuery {
		return []check.ReceivedQuery{{Name: slices.Clone(m.Name), TCP: true}}
	}
	nothing := func(*wire.Message) answer { return answer{rc: wire.NXDomain, flags: wire.FlagRA} }
	refuse := func(*wire.Message) answer { return answer{rc: wire.Refused} }
	anything := func(m *wire.Message) answer { return address(m, 10, 0, 0, 53) }
	public := func(m *wire.Message) answer { return address(m, 192, 0, 2, 1) }
	validates := func(m *wire.Message) answer {
		if wire.Subdomain(m.Name, name("dnssec-failed.org")) && m.Flags&wire.FlagCD == 0 {
			return answer{rc: wire.ServFail, flags: wire.FlagRA}
		}
		if len(m.Name) == 1 {
			return answer{flags: wire.FlagRA | wire.FlagAD}
		}
		return public(m)
	}
	sentinel := func(fails string) func(*wire.Message) answer {
		return func(m *wire.Message) answer {
			if strings.Contains(string(m.Name), fails) {
				return answer{rc: wire.ServFail}
			}
			return answer{rc: wire.NXDomain}
		}
	}
	authenticates := func(upTo string) func(*wire.Message) answer {
		return func(m *wire.Message) answer {
			for _, it := range []string{"\x03it0", "\x04it50", "\x05it150", "\x05it500"} {
				if strings.Contains(string(m.Name), it) && (it <= upTo || len(it) < len(upTo)) {
					return answer{rc: wire.NXDomain, flags: wire.FlagAD}
				}
			}
			return answer{rc: wire.NXDomain}
		}
	}
	leaks := func(m *wire.Message) answer {
		data := append(append(name("a.root-servers.net"), name("nstld.verisign-grs.com")...), make([]byte, 20)...)
		return answer{rc: wire.NXDomain, rr: []wire.Record{{Owner: wire.Root, Type: wire.TypeSOA, Section: wire.Authority, Data: data}}}
	}
	ttl := uint32(0)
	rising := func(m *wire.Message) answer {
		a := public(m)
		ttl += 100000
		a.rr[0].TTL = ttl
		return a
	}
	covered := map[string]bool{}
	texts := func(m *wire.Message) answer {
		return answer{flags: wire.FlagRA, rr: []wire.Record{{Owner: m.Name, Type: wire.TypeTXT, TTL: 300, Data: txt("x")}}}
	}
	for _, c := range []struct {
		id              string
		bad, good       func(*wire.Message) answer
		badAsk, goodAsk func(*wire.Message) []check.ReceivedQuery
	}{
		{"RES-OPEN", public, refuse, weak, random},
		{"RES-SNOOP", public, refuse, weak, random},
		{"RES-RAND", public, public, weak, func(m *wire.Message) []check.ReceivedQuery { return random(m)[:1] }},
		{"RES-0X20", public, public, weak, random},
		{"RES-COOKIE", public, public, weak, random},
		{"RES-BUFSIZE", public, public, weak, random},
		{"RES-QMIN", public, public, weak, random},
		{"RES-ECS", public, public, weak, random},
		{"RES-BAIL", anything, nothing, weak, random},
		{"RES-NEARMISS", public, public, weak, overTCP},
		{"RES-REBIND", anything, nothing, weak, random},
		{"RES-VALID", public, validates, weak, random},
		{"RES-TA", sentinel("is-ta"), sentinel("not-ta"), weak, random},
		{"RES-NSEC3LIM", authenticates("\x05it500"), authenticates("\x04it50"), weak, random},
		{"RES-NXNS", nothing, nothing, many, random},
		{"RES-CHAIN", nothing, nothing, many, random},
		{"RES-HIJACK", public, nothing, weak, random},
		{"RES-BLOCK", leaks, nothing, weak, random},
		{"RES-PREFETCH", rising, public, weak, random},
		{"RES-TRANSPARENT", public, nil, weak, random},
		{"RES-TUNNEL", texts, nothing, weak, random}, // what it finds is information
	} {
		covered[c.id] = true
		t.Run(c.id, func(t *testing.T) {
			for _, bad := range []bool{true, false} {
				p := check.NewProbe(name("probe.test"))
				reply, ask := c.good, c.goodAsk
				if bad || reply == nil {
					reply = c.bad
				}
				if bad {
					ask = c.badAsk
				}
				at := serve(t, 1, resolves(p, reply, ask))[0]
				o := &check.Options{Timeout: 300 * time.Millisecond, Probe: p, Lab: check.Lab{Closed: at, Stranger: true}}
				if !bad {
					o.Lab.Closed = netip.MustParseAddrPort("127.0.0.1:9")
				}
				ch := byID[c.id]
				for _, f := range ch.Run(t.Context(), &check.Run{Check: ch, Server: finding.Server{Addr: at}, Options: o}) {
					if bad != (f.State == finding.Fail || f.State == finding.Warn || f.State == finding.Info && ch.Severity == finding.SevInfo) || !bad && f.State != finding.Pass {
						t.Errorf("bad %t: state %d, %s", bad, f.State, f.Detail)
					}
				}
			}
		})
	}
	for id, c := range byID {
		if c.Group == catalogue.GroupResolver && !covered[id] {
			t.Errorf("%s has no bad and right resolver", id)
		}
	}
}
