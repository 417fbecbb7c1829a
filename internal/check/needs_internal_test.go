package check

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"port53/internal/finding"
	"port53/internal/scan"
	"port53/internal/wire"
)

// TestFits has each need once met and once not.
func TestFits(t *testing.T) {
	far, near := netip.MustParseAddrPort("192.0.2.53:53"), netip.MustParseAddrPort("127.0.0.1:53")
	server := func(a netip.AddrPort) finding.Target { return finding.Target{Server: finding.Server{Addr: a}} }
	named, zoned := server(far), server(far)
	named.Server.Name = []byte("\x02ns\x00")
	zoned.Zone = []byte("\x04zone\x00")
	zone := finding.Target{Zone: zoned.Zone, Servers: []finding.Server{{Addr: far}}}
	of := func(n Needs) Check { return Check{Needs: n} }
	for _, c := range []struct {
		what string
		c    Check
		t    finding.Target
		o    Options
		v    view
		want bool
	}{
		{"a server", Check{}, server(far), Options{}, view{}, true},
		{"a server of no address", Check{}, zone, Options{}, view{}, false},
		{"an active check", Check{Check: finding.Check{Mode: finding.Active}}, server(far), Options{Mode: finding.Active}, view{}, true},
		{"an active check that nobody asked for", Check{Check: finding.Check{Mode: finding.Active}}, server(far), Options{}, view{}, false},
		{"a probe zone", of(Needs{Probe: true}), server(far), Options{Probe: new(Probe)}, view{}, true},
		{"no probe zone", of(Needs{Probe: true}), server(far), Options{}, view{}, false},
		{"a way off", of(Needs{Away: true}), server(far), Options{}, view{}, true},
		{"no way off", of(Needs{Away: true}), server(near), Options{}, view{}, false},
		{"a laboratory's way off", of(Needs{Away: true}), server(near), Options{Lab: Lab{Closed: near}}, view{}, true},
		{"a server of zones", of(Needs{Authority: true}), server(far), Options{}, view{}, true},
		{"a resolver", of(Needs{Authority: true}), server(far), Options{}, view{recursion: true}, false},
		{"a resolver with a zone", of(Needs{Authority: true}), zoned, Options{}, view{recursion: true}, true},
		{"recursion", of(Needs{Recursion: true}), server(far), Options{}, view{recursion: true}, true},
		{"no recursion", of(Needs{Recursion: true}), server(far), Options{}, view{}, false},
		{"encryption", of(Needs{Port: PortTLS}), server(far), Options{}, view{encrypted: true}, true},
		{"no encryption", of(Needs{Port: PortTLS}), server(far), Options{}, view{}, false},
		{"a name", of(Needs{Families: true}), named, Options{}, view{}, true},
		{"no name", of(Needs{Families: true}), server(far), Options{}, view{}, false},
		{"a remote server", of(Needs{Remote: true}), server(far), Options{}, view{}, true},
		{"a server on loopback", of(Needs{Remote: true}), server(near), Options{Lab: Lab{Closed: near}}, view{}, false},
		{"a zone", Check{Scope: ScopeZone}, zone, Options{}, view{}, true},
		{"a zone's server alone", Check{Scope: ScopeZone}, zoned, Options{}, view{}, false},
		{"a configuration", Check{Scope: ScopeConfig}, finding.Target{Config: "a.yaml"}, Options{}, view{}, true},
		{"no configuration", Check{Scope: ScopeConfig}, server(far), Options{}, view{}, false},
	} {
		if got := c.c.fits(&c.t, &c.o, &c.v); got != c.want {
			t.Errorf("%s: fits %t", c.what, got)
		}
	}
}

func TestCost(t *testing.T) {
	for _, c := range []struct {
		cost Cost
		o    Options
		want time.Duration
	}{
		{CostQuestions, Options{Search: Search{Subdomains: true}}, checkTime},
		{CostWaits, Options{Search: Search{Subdomains: true}}, waitTime},
		{CostSearch, Options{}, checkTime},
		{CostSearch, Options{Search: Search{Subdomains: true}}, searchTime},
	} {
		if got := c.cost.limit(&c.o); got != c.want {
			t.Errorf("cost %d, %t: %v, want %v", c.cost, c.o.Subdomains, got, c.want)
		}
	}
}

// TestOnce has facts of one server of differing types, and of one type of differing names: each
// is found once, whoever asks for it.
func TestOnce(t *testing.T) {
	type one struct{ n int }
	type two struct{ s string }
	var mu sync.Mutex
	found := 0
	count := func() { mu.Lock(); found++; mu.Unlock() }
	at := netip.MustParseAddrPort("192.0.2.1:53")
	facts := new(Facts)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			r := &Run{Facts: facts}
			a := Once(r, Fact[one]{Server: at}, func() one { count(); return one{1} })
			b := Once(r, Fact[two]{Server: at}, func() two { count(); return two{"two"} })
			c := Once(r, Fact[one]{Server: at, Name: "x"}, func() one { count(); return one{3} })
			if a.n != 1 || b.s != "two" || c.n != 3 {
				t.Errorf("%v %v %v", a, b, c)
			}
		})
	}
	wg.Wait()
	if found != 3 {
		t.Errorf("found %d times, want 3", found)
	}
	// A run of its own knows nothing of theirs; targets with one gate share what servers are.
	if got := Once(new(Run), Fact[one]{Server: at}, func() one { return one{9} }); got.n != 9 {
		t.Error(got)
	}
	o := &Options{Limiter: NewLimiter()}
	looked := 0
	for range 2 {
		r := &Run{Options: o, Facts: new(Facts)}
		if got := onceOfServer(r, Fact[one]{Server: at}, func() one { looked++; return one{looked} }); got.n != 1 {
			t.Errorf("the second target looks at the server again: %v", got)
		}
	}
}

// TestOrder has polite checks and others: what an active one does is after all polite ones, and
// by itself. What a check found beside is reported if it is open, and once.
func TestOrder(t *testing.T) {
	var mu sync.Mutex
	var order []string
	running := 0
	noted := func(id string, m finding.Mode) *Check {
		c := &Check{Check: finding.Check{ID: id, Mode: m}, Needs: Needs{Port: PortAny}, Scope: ScopeConfig}
		c.Run = func(context.Context, *Run) []finding.Finding {
			mu.Lock()
			defer mu.Unlock()
			if running++; m != finding.Polite && running != 1 {
				t.Errorf("%s runs beside another", id)
			}
			order = append(order, id)
			running--
			return nil
		}
		return c
	}
	beside := noted("C", finding.Polite)
	beside.ExtraPorts = func(context.Context, *Run) []scan.Port {
		return []scan.Port{{Number: 8053, Proto: "tcp", State: scan.Open}, {Number: 8054, Proto: "tcp", State: scan.Closed}}
	}
	done := 0
	rep := Examine(t.Context(), finding.Target{Text: "a", Config: "a"}, &Options{Mode: finding.Intrusive},
		[]*Check{noted("A", finding.Active), noted("B", finding.Polite), beside, noted("D", finding.Intrusive)}, func(n, all int) {
			if done++; n != done || all != 4 {
				t.Errorf("%d of %d", n, all)
			}
		})
	if len(order) != 4 || !slices.Contains(order[:2], "B") || order[2] != "A" || order[3] != "D" {
		t.Errorf("%v", order)
	}
	if len(rep.Ports) != 1 || rep.Ports[0].Number != 8053 || rep.Results[0].Check.ID != "A" || rep.Results[0].Findings[0].State != finding.Skipped {
		t.Errorf("%+v %+v", rep.Ports, rep.Results)
	}
	if got := appendOpen(rep.Ports, rep.Ports); len(got) != 1 {
		t.Errorf("%v is there twice", got)
	}
	// A finding without a command gets one that runs the check alone.
	if c := rep.Results[1].Findings[0].Evidence.Command; !strings.HasSuffix(c, " --only B") {
		t.Error(c)
	}
}

// TestDerivedEndsInTime has the polite checks of a zone's server end together, and no others.
func TestDerivedEndsInTime(t *testing.T) {
	polite, active := &Check{}, &Check{Check: finding.Check{Mode: finding.Active}}
	for name, c := range map[string]struct {
		derived bool
		check   *Check
		ago     time.Duration
		least   time.Duration
		most    time.Duration
	}{
		"found, at once":     {true, polite, 0, derivedTime - time.Second, derivedTime},
		"found, late":        {true, polite, derivedTime - time.Second, leastTime, time.Second},
		"found, too late":    {true, polite, time.Hour, leastTime, leastTime},
		"found, and active":  {true, active, time.Hour, checkTime, checkTime},
		"asked for, and not": {false, polite, time.Hour, checkTime, checkTime},
	} {
		x := &examination{view: view{answers: true}, target: &finding.Target{Derived: c.derived}, o: &Options{}, rep: &finding.Report{Started: time.Now().Add(-c.ago)}}
		if got := x.limit(c.check); got < c.least || got > c.most {
			t.Errorf("%s: %v, want %v to %v", name, got, c.least, c.most)
		}
	}
}

// TestLimits remembers who answers a small question with TC: its silence may be a limit's as well.
func TestLimits(t *testing.T) {
	at := finding.Server{Addr: netip.MustParseAddrPort("192.0.2.1:53")}
	r := &Run{Options: &Options{}, Facts: new(Facts)}
	h := r.habits(at.Addr)
	cut := &Reply{}
	cut.Flags = wire.FlagTC
	h.learn(manner{}, &Query{Type: wire.TypeDNSKEY}, cut, nil)
	if r.RateLimits(at) {
		t.Error("a large answer that is truncated counts")
	}
	h.learn(manner{}, &Query{Type: wire.TypeSOA}, &Reply{}, nil)
	if r.RateLimits(at) {
		t.Error("an answer counts")
	}
	h.learn(manner{}, &Query{Type: wire.TypeSOA}, cut, nil)
	if !r.RateLimits(at) {
		t.Error("a SOA that is cut off does not count")
	}
}
