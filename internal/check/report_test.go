package check_test

import (
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"port53/internal/check"
	"port53/internal/scan"
	"port53/internal/wire"
)

// A made report, with what a hostile server may put into one.
func madeReport() *check.Report {
	one := &check.Check{ID: "T-ONE", Title: "the title of one", Severity: check.SevLow, Advice: map[check.Product]string{"": "mend it"}}
	two := &check.Check{ID: "T-TWO", Title: "the title of two", Severity: check.SevHigh}
	three := &check.Check{ID: "T-THREE", Title: "the title of three", Severity: check.SevMedium}
	return &check.Report{
		Target: check.Target{Text: "192.0.2.1"}, Took: 1500 * time.Millisecond,
		Ports: []scan.Port{{Proto: "udp", Number: 53, State: "open", Reason: "udp-response"}},
		Results: []check.Result{
			{Check: one, Findings: []check.Finding{{State: check.Warn, Key: "a", Detail: "\x1b]0;owned\x07line\nanother \u202e"}}},
			{Check: two, Findings: []check.Finding{{State: check.Fail, Title: "it is bad", Evidence: check.Evidence{Command: "dig x"}}, {State: check.Pass}}},
			{Check: three, Findings: []check.Finding{{State: check.Unknown}}},
		},
	}
}

func TestReportText(t *testing.T) {
	var b strings.Builder
	if err := madeReport().WriteText(&b, check.WriteOptions{All: true}); err != nil {
		t.Fatal(err)
	}
	want := `192.0.2.1
  53/udp open (udp-response)
  verdict: high: it is bad
  1 failed, 1 warn, 0 passed, 1 unknown, in 1.5s

FAIL high T-TWO: it is bad
  see it: dig x

WARN low T-ONE: the title of one
  ?]0;owned?line?another ?
  remedy: mend it

pass T-TWO: the title of two
unknown T-THREE: the title of three
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestReportJSON(t *testing.T) {
	text, err := json.Marshal(madeReport().JSON())
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Schema  string
		Checks  []struct{ ID, State, Severity, Title, Detail, Fingerprint string }
		Summary map[string]int
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if got.Schema != check.Schema || len(got.Checks) != 4 || got.Summary["fail"] != 1 || got.Summary["unknown"] != 1 {
		t.Errorf("%s", text)
	}
	first := got.Checks[0]
	if first.State != "warn" || strings.ContainsAny(first.Detail, "\x1b\x07\n") {
		t.Errorf("%+v", first)
	}
	again, err := json.Marshal(madeReport().JSON())
	if err != nil || string(again) != string(text) {
		t.Error("the same report gives other JSON")
	}
	if got.Checks[1].Fingerprint == first.Fingerprint || len(first.Fingerprint) != 32 {
		t.Errorf("fingerprints %q and %q", first.Fingerprint, got.Checks[1].Fingerprint)
	}
}

func TestAbove(t *testing.T) {
	r := madeReport()
	for least, want := range map[check.Severity]bool{check.SevCritical: false, check.SevHigh: true, check.SevMedium: true, check.SevLow: true} {
		if r.Above(least) != want {
			t.Errorf("at or above %s: %v", least, !want)
		}
	}
	// A warning alone counts only where medium or low is asked for.
	r.Results = r.Results[:1]
	if r.Above(check.SevHigh) || !r.Above(check.SevLow) {
		t.Error("a warning of low severity")
	}
	r.Results = madeReport().Results[2:]
	if r.Reached() || r.Above(check.SevLow) {
		t.Error("what is unknown is taken for a result")
	}
}

// TestExamine has a server that is silent, one that is closed, and one that answers.
func TestExamine(t *testing.T) {
	silent, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	there := silent.LocalAddr().(*net.UDPAddr).AddrPort()
	o := &check.Options{Timeout: 20 * time.Millisecond}
	only := func(ids ...string) func(*check.Check) bool {
		return func(c *check.Check) bool { return slices.Contains(ids, c.ID) }
	}
	done := 0
	r := check.Examine(context.Background(), check.Target{Text: "silent", Server: check.Server{Addr: there}, Zone: wire.Root}, o,
		only("SRV-AA", "SRV-AXFR", "SRV-CASE"), func(n, all int) {
			if done++; n != done || all != 3 {
				t.Errorf("%d of %d", n, all)
			}
		})
	if len(r.Results) != 3 || done != 3 || r.Count()[check.Unknown] != 3 || r.Reached() {
		t.Errorf("%d results, %v", len(r.Results), r.Count())
	}
	if r.Ports[0].State != "open|filtered" || r.Ports[1].State != "closed" {
		t.Errorf("%+v", r.Ports)
	}
	// Checks that disturb run only when they are asked for, and those of zones only with
	// a zone.
	r = check.Examine(context.Background(), check.Target{Text: "silent", Server: check.Server{Addr: there}}, o, only("SRV-RRL", "DEL-LAME"), func(int, int) {})
	if len(r.Results) != 0 {
		t.Errorf("%d results", len(r.Results))
	}
}
