package catalogue_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"port53/internal/catalogue"
	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/wire"
)

// patience is how long servers have for a reply where what is asked for has to come, however busy the machine is.
const patience = 3 * time.Second

// TestDropped has servers that drop one kind of question, and what that is taken for. What is
// dropped with everything else stays unknown.
func TestDropped(t *testing.T) {
	t.Parallel()
	when := func(match func(m *wire.Message, tcp bool) bool) script {
		return func(m *wire.Message, server int, tcp bool) answer {
			a := good(m, server, tcp)
			a.silent = server > 0 && match(m, tcp)
			return a
		}
	}
	edns := when(func(m *wire.Message, _ bool) bool { return m.EDNS })
	options := when(func(m *wire.Message, _ bool) bool { return m.EDNS && len(m.Options) > 0 })
	typ := func(t wire.Type) script { return when(func(m *wire.Message, _ bool) bool { return m.Type == t }) }
	all := when(func(*wire.Message, bool) bool { return true })
	for _, x := range []struct {
		id   string
		s    script
		want finding.State
		sev  finding.Severity
	}{
		{"SRV-EDNS-EDNS", edns, finding.Fail, finding.SevHigh},
		{"SRV-EDNS-DO", edns, finding.Fail, finding.SevHigh},
		{"SRV-EDNS-EDNS1", when(func(m *wire.Message, _ bool) bool { return m.EDNS && m.Version > 0 }), finding.Warn, 0},
		{"SRV-EDNS-OPT", options, finding.Warn, 0},
		{"SRV-EDNS-PADDING", options, finding.Warn, 0},
		{"SRV-EDNS-TCP", when(func(m *wire.Message, tcp bool) bool { return tcp && m.EDNS }), finding.Fail, finding.SevHigh},
		{"SRV-EDNS-DNS", when(func(m *wire.Message, tcp bool) bool { return !m.EDNS && !tcp }), finding.Fail, finding.SevHigh},
		{"SRV-COOKIE", options, finding.Warn, 0},
		{"SRV-CASE", when(func(m *wire.Message, _ bool) bool { return !slices.Equal(m.Name, wire.Lower(nil, m.Name)) }), finding.Fail, finding.SevMedium},
		{"SRV-ANY", typ(wire.TypeANY), finding.Pass, 0},
		{"SRV-REC", when(func(m *wire.Message, _ bool) bool { return !wire.Subdomain(m.Name, zone) }), finding.Pass, 0},
		{"SRV-UPREF", when(func(m *wire.Message, _ bool) bool { return !wire.Subdomain(m.Name, zone) }), finding.Pass, 0},
		{"SRV-AXFRUDP", typ(wire.TypeAXFR), finding.Pass, 0},
		{"SRV-NOTIFY", when(func(m *wire.Message, _ bool) bool { return m.Opcode == wire.OpcodeNotify }), finding.Pass, 0},
		{"SRV-UPDATE", when(func(m *wire.Message, _ bool) bool { return m.Opcode == wire.OpcodeUpdate }), finding.Pass, 0},
		{"SRV-EDNS-EDNS", all, finding.Unknown, 0},
		{"SRV-CASE", all, finding.Unknown, 0},
		{"SRV-REC", all, finding.Unknown, 0},
		{"SRV-UPDATE", all, finding.Unknown, 0},
		{"SRV-COOKIE", all, finding.Unknown, 0},
	} {
		t.Run(x.id, func(t *testing.T) {
			t.Parallel()
			at := serve(t, 3, x.s)
			found := runOne(t, find(t, x.id), at[:1], at[1])
			if x.want != finding.Unknown && slices.Contains(states(found), finding.Unknown) {
				found = runWithin(t, patience, find(t, x.id), at[:1], at[1]) // the machine is busy
			}
			for _, f := range found {
				if f.State != x.want || f.Severity != x.sev {
					t.Errorf("%s %s %s, want %s %s", f.State, f.Severity, f.Detail, x.want, x.sev)
				}
			}
		})
	}
}

// TestLimited has servers at their rate limit: an empty reply with TC is not what they have to say.
func TestLimited(t *testing.T) {
	t.Parallel()
	limited := func(m *wire.Message, server int, tcp bool) answer {
		if server > 0 && !tcp {
			return answer{flags: wire.FlagTC}
		}
		return good(m, server, tcp)
	}
	for _, id := range []string{"SRV-AA", "DEL-LAME", "ZONE-SERIAL", "DEL-NS-SYNC", "ZONE-SOA", "ZONE-CAA"} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			at := serve(t, 3, limited)
			for _, f := range runOne(t, find(t, id), at[:1], at[1]) {
				if f.State != finding.Pass {
					t.Errorf("%s: %s", f.State, f.Detail)
				}
			}
		})
	}
}

// TestAtLimit has a server at its rate limit that slips every second answer, as BIND does: in turn
// it drops a question and answers with an empty TC. A control question that is answered so says
// nothing of the one that is dropped beside it.
func TestAtLimit(t *testing.T) {
	t.Parallel()
	for _, id := range []string{
		"SRV-EDNS-DNS", "SRV-EDNS-EDNS", "SRV-EDNS-DO", "SRV-EDNS-OPT", "SRV-EDNS-OPTLIST", "SRV-EDNS-PADDING", "SRV-COOKIE", "SRV-CASE", "SRV-8906", "SRV-ANY",
		"HOST-TTL", "DNSSEC-SIZE", "ZONE-EVERY", "ZONE-SAME", "DEL-LAME", "DEL-NS-SYNC", "DNSSEC-CHAIN", "DNSSEC-EXP", "DNSSEC-NX",
	} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			var n atomic.Int32
			sound := signed(full, signing{})
			at := serve(t, 3, func(m *wire.Message, server int, tcp bool) answer {
				a := sound(m, server, tcp)
				if server == 0 || tcp || n.Add(1) < 4 {
					return a
				}
				return answer{flags: wire.FlagTC, silent: n.Load()%2 == 0, opt: a.opt}
			})
			for _, f := range runOne(t, find(t, id), at[:1], at[1]) {
				if f.State == finding.Fail || f.State == finding.Warn {
					t.Errorf("%s: %s", f.State, f.Detail)
				}
			}
		})
	}
}

// TestCutControl has servers that answer every control question over UDP with an empty TC, and drop
// what is looked at: that is what a rate limit does, and says nothing.
func TestCutControl(t *testing.T) {
	t.Parallel()
	for id, dropped := range map[string]func(m *wire.Message) bool{
		"SRV-CASE":      func(m *wire.Message) bool { return m.Type != wire.TypeSOA },
		"SRV-EDNS-DNS":  func(m *wire.Message) bool { return !m.EDNS },
		"SRV-EDNS-EDNS": func(m *wire.Message) bool { return m.EDNS },
	} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			at := serve(t, 3, func(m *wire.Message, server int, tcp bool) answer {
				if tcp || server == 0 {
					return good(m, server, tcp)
				}
				return answer{flags: wire.FlagTC, silent: dropped(m)}
			})
			c := find(t, id)
			o := &check.Options{Timeout: 300 * time.Millisecond, Limiter: check.NewLimiter()}
			r := &check.Run{Check: c, Server: finding.Server{Addr: at[1]}, Zone: zone, Options: o, Facts: new(check.Facts)}
			for _, f := range c.Run(t.Context(), r) {
				if f.State != finding.Unknown {
					t.Errorf("%s: %s", f.State, f.Detail)
				}
			}
		})
	}
}

// TestWithinTime has zones with a second server that is dead, or drops much, asked with the
// times that real ones are: all targets of the zone are done in time.
func TestWithinTime(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes ten seconds")
	}
	t.Parallel()
	for what, drop := range map[string]func(m *wire.Message) bool{
		"dead":          func(*wire.Message) bool { return true },
		"drops EDNS":    func(m *wire.Message) bool { return m.EDNS },
		"drops options": func(m *wire.Message) bool { return m.EDNS && len(m.Options) > 0 },
		"SOA alone":     func(m *wire.Message) bool { return m.Type != wire.TypeSOA },
		"sound":         nil,
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			root := insecure(full)
			at := serve(t, 3, func(m *wire.Message, server int, tcp bool) answer {
				a := root(m, server, tcp)
				a.silent = server == 2 && drop != nil && drop(m)
				return a
			})
			o := &check.Options{Anchors: anchors(), Port: at[1].Port(), PortDoT: 1, PortDoH: 1, Limiter: check.NewLimiter(), Roots: []finding.Server{{Addr: at[0], Name: name("a.root")}}}
			servers := []finding.Server{{Addr: at[1], Name: name("ns1.example.test")}, {Addr: at[2], Name: name("ns2.example.test")}}
			targets := []finding.Target{{Text: "zone", Zone: zone, Servers: servers}, {Text: "first", Zone: zone, Server: servers[0]}, {Text: "second", Zone: zone, Server: servers[1]}}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var wg sync.WaitGroup
			for _, target := range targets {
				wg.Go(func() {
					r := check.Examine(ctx, target, o, catalogue.All(), func(int, int) {})
					limit := 30 * time.Second // 15 on a machine that has nothing else to do
					if drop == nil {
						limit = 10 * time.Second // 2.5
					}
					t.Logf("%s took %v: %v", target.Text, r.Took, r.Count())
					if r.Took > limit {
						t.Errorf("%s took %v", target.Text, r.Took)
					}
				})
			}
			wg.Wait()
		})
	}
}

// TestLostAtLimit has a server that is at its rate limit, sends questions of its zone to TCP, and leaves out what it refuses: as
// long as it is, nothing is said of that. When it has rested, what it answers is judged, and what it drops even then is dropped.
func TestLostAtLimit(t *testing.T) {
	t.Parallel()
	odd := func(m *wire.Message) bool {
		return m.Type == wire.TypeAXFR || m.Opcode == wire.OpcodeNotify || m.Opcode == wire.OpcodeUpdate
	}
	for _, x := range []struct {
		id     string
		rested func(m *wire.Message, server int) answer // what is answered after the rest; nil: nothing
		want   finding.State
	}{
		{"SRV-AXFRUDP", nil, finding.Pass},
		{"SRV-NOTIFY", nil, finding.Pass},
		{"SRV-UPDATE", nil, finding.Pass},
		{"SRV-AXFRUDP", func(*wire.Message, int) answer { return answer{rc: wire.FormErr} }, finding.Pass},
		{"SRV-UPDATE", func(*wire.Message, int) answer { return answer{rc: wire.Refused} }, finding.Pass},
		{"SRV-AXFRUDP", func(m *wire.Message, server int) answer {
			soa := *m
			soa.Type = wire.TypeSOA
			return good(&soa, server, false)
		}, finding.Warn},
		{"SRV-NOTIFY", func(*wire.Message, int) answer { return answer{flags: wire.FlagAA} }, finding.Warn},
		{"SRV-UPDATE", func(*wire.Message, int) answer { return answer{} }, finding.Fail},
	} {
		t.Run(x.id+" "+x.want.String(), func(t *testing.T) {
			t.Parallel()
			var rested atomic.Bool
			at := serve(t, 3, func(m *wire.Message, server int, tcp bool) answer {
				switch {
				case server == 0:
				case odd(m) && (x.rested == nil || !rested.Load()):
					return answer{silent: true}
				case odd(m):
					return x.rested(m, server)
				case !tcp && !rested.Load():
					return answer{flags: wire.FlagTC}
				}
				return good(m, server, tcp)
			})
			c := find(t, x.id)
			o := &check.Options{Timeout: 600 * time.Millisecond, Mode: finding.Active, Limiter: check.NewLimiter(), Lab: check.Lab{Cooldown: time.Millisecond}}
			run := &check.Run{Check: c, Server: finding.Server{Addr: at[1]}, Zone: zone, Options: o, Facts: new(check.Facts)}
			if _, err := run.Ask(t.Context(), check.Query{Name: zone, Type: wire.TypeSOA}); err != nil {
				t.Fatal(err)
			}
			for _, f := range c.Run(t.Context(), run) {
				if f.State != finding.Unknown {
					t.Errorf("at its limit: %s: %s", f.State, f.Detail)
				}
			}
			// The first check of the examination ends as the limit does.
			first := *c
			first.Run = func(ctx context.Context, r *check.Run) []finding.Finding {
				out := c.Run(ctx, r)
				rested.Store(true)
				return out
			}
			rep := check.Examine(t.Context(), finding.Target{Text: "one", Zone: zone, Server: run.Server}, o, []*check.Check{&first}, func(int, int) {})
			if f := rep.Results[0].Findings; len(f) != 1 || f[0].State != x.want {
				t.Errorf("rested: %+v, want %s", f, x.want)
			}
		})
	}
}

// TestErrorsLimited has a server with a limit of errors alone, as response rate limits have one: it leaves them out without a
// sign, and answers all else. As long as it does, what is answered with an error is not taken for dropped.
func TestErrorsLimited(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"SRV-EDNS-EDNS1", "SRV-EDNS-1OPT", "SRV-8906", "SRV-COOKIE", "SRV-REC", "SRV-UPREF", "RES-OPEN", "SRV-NOTIFY"} {
		for _, primed := range []bool{true, false} { // whether the server was heard to refuse something before
			t.Run(fmt.Sprintf("%s %v", id, primed), func(t *testing.T) {
				t.Parallel()
				var rested atomic.Bool
				var n atomic.Int32
				at := serve(t, 3, func(m *wire.Message, server int, tcp bool) answer {
					a := good(m, server, tcp)
					if server > 0 && !tcp && a.rc != wire.NoError && a.rc != wire.NXDomain && !rested.Load() && (n.Add(1) > 1 || !primed) {
						if primed || n.Load() < 4 {
							return answer{silent: true}
						}
					}
					return a
				})
				c := find(t, id)
				o := &check.Options{Timeout: 600 * time.Millisecond, Mode: finding.Active, Limiter: check.NewLimiter(), Lab: check.Lab{Cooldown: time.Millisecond}}
				run := &check.Run{Check: c, Server: finding.Server{Addr: at[1]}, Zone: zone, Options: o, Facts: new(check.Facts)}
				if _, err := run.Ask(t.Context(), check.Query{Name: zone, Type: wire.TypeSOA}); err != nil {
					t.Fatal(err)
				}
				if primed {
					if m, err := run.Ask(t.Context(), check.Query{Name: wire.Root, Type: wire.TypeSOA}); err != nil || m.Rcode != wire.Refused {
						t.Fatal(m, err)
					}
				}
				for _, f := range c.Run(t.Context(), run) {
					if f.State == finding.Warn || f.State == finding.Fail {
						t.Errorf("at its limit: %s: %s", f.State, f.Detail)
					}
				}
				first := *c
				first.Run = func(ctx context.Context, r *check.Run) []finding.Finding {
					out := c.Run(ctx, r)
					rested.Store(true)
					return out
				}
				rep := check.Examine(t.Context(), finding.Target{Text: "one", Zone: zone, Server: run.Server}, o, []*check.Check{&first}, func(int, int) {})
				if f := rep.Results[0].Findings; len(f) != 1 || f[0].State != finding.Pass {
					t.Errorf("rested: %+v, want it to pass", f)
				}
			})
		}
	}
}

// TestClosedConnections has servers that close connections: a transfer is refused by one that closes them for a transfer alone.
func TestClosedConnections(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"SRV-AXFR", "SRV-IXFR"} {
		for _, all := range []bool{false, true} {
			at := serve(t, 3, func(m *wire.Message, server int, tcp bool) answer {
				if tcp && server > 0 && (all || m.Type == wire.TypeAXFR || m.Type == wire.TypeIXFR) {
					return answer{silent: true}
				}
				return good(m, server, tcp)
			})
			want := finding.Pass
			if all {
				want = finding.Unknown
			}
			for _, f := range runOne(t, find(t, id), at[:1], at[1]) {
				if f.State != want {
					t.Errorf("%s: %s: %s, want %s", id, f.State, f.Detail, want)
				}
			}
		}
	}
}
