package check_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/scan"
)

// asked is a check of a server that counts how often it runs.
func asked(id string, port check.Port, runs *int) *check.Check {
	return &check.Check{
		Check: finding.Check{ID: id}, Needs: check.Needs{Port: port},
		Run: func(context.Context, *check.Run) []finding.Finding {
			*runs++
			return finding.Verdict(finding.Pass, finding.Evidence{}, "it ran")
		},
	}
}

// TestClosedPort has an address where nobody is: what asks port 53 is unknown at once, and is
// not asked; what looks at ports itself runs, and what needs encryption does not apply.
func TestClosedPort(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().(*net.TCPAddr).AddrPort()
	l.Close()
	var dns, any, tls int
	o := &check.Options{Timeout: time.Hour, PortDoT: at.Port(), PortDoH: at.Port()}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	rep := check.Examine(ctx, finding.Target{Text: "closed", Server: finding.Server{Addr: at}}, o,
		[]*check.Check{asked("D", check.PortDNS, &dns), asked("A", check.PortAny, &any), asked("T", check.PortTLS, &tls)}, func(int, int) {})
	if ctx.Err() != nil || dns != 0 || any != 1 || tls != 0 || len(rep.Results) != 2 {
		t.Fatalf("%v: ran %d, %d, %d; %d results", ctx.Err(), dns, any, tls, len(rep.Results))
	}
	if f := rep.Results[0].Findings[0]; f.State != finding.Unknown || f.Evidence.Command == "" {
		t.Errorf("%+v", f)
	}
	if rep.Ports[1].State != scan.Closed {
		t.Errorf("%+v", rep.Ports)
	}
}

// TestCutOff has a check whose context ends before it does: what it found by then is no result.
func TestCutOff(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := &check.Check{Scope: check.ScopeConfig, Run: func(ctx context.Context, _ *check.Run) []finding.Finding {
		cancel()
		<-ctx.Done()
		return finding.Verdict(finding.Pass, finding.Evidence{Command: "x"}, "all is well")
	}}
	rep := check.Examine(ctx, finding.Target{Config: "a"}, &check.Options{}, []*check.Check{c}, func(int, int) {})
	if f := rep.Results[0].Findings[0]; f.State != finding.Unknown || f.Evidence.Command != "x" {
		t.Errorf("%+v", f)
	}
}

// TestManyFindings has more findings of one check than a report keeps, each larger than it keeps.
func TestManyFindings(t *testing.T) {
	c := &check.Check{Scope: check.ScopeConfig, Run: func(context.Context, *check.Run) []finding.Finding {
		list := make([]finding.Finding, 501)
		for i := range list {
			list[i] = finding.Finding{Key: strings.Repeat("k", 2000), Detail: strings.Repeat("d", 100<<10), Evidence: finding.Evidence{Received: make([]byte, 60000)}}
		}
		return list
	}}
	rep := check.Examine(t.Context(), finding.Target{Config: "a"}, &check.Options{}, []*check.Check{c}, func(int, int) {})
	list := rep.Results[0].Findings
	if f := list[0]; len(list) != 500 || len(f.Key) != 1024 || len(f.Detail) > 65<<10 || len(f.Evidence.Received) != finding.MaxShown {
		t.Errorf("%d findings, key %d, detail %d, received %d", len(list), len(f.Key), len(f.Detail), len(f.Evidence.Received))
	}
}
