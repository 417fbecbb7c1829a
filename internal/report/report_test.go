package report_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"port53/internal/finding"
	"port53/internal/fingerprint"
	"port53/internal/report"
	"port53/internal/scan"
)

// A made report, with what a hostile server may put into one.
func madeReport() *finding.Report {
	one := &finding.Check{ID: "T-ONE", Title: "the title of one", Severity: finding.SevLow, Advice: map[fingerprint.Product]string{"": "mend it"}}
	two := &finding.Check{ID: "T-TWO", Title: "the title of two", Severity: finding.SevHigh}
	three := &finding.Check{ID: "T-THREE", Title: "the title of three", Severity: finding.SevMedium}
	return &finding.Report{
		Target: finding.Target{Text: "192.0.2.1"}, Took: 1500 * time.Millisecond,
		Ports: []scan.Port{{Proto: "udp", Number: 53, State: "open", Reason: "udp-response"}},
		Results: []finding.Result{
			{Check: one, Findings: []finding.Finding{{State: finding.Warn, Key: "a", Detail: "\x1b]0;owned\x07line\nanother \u202e"}}},
			{Check: two, Findings: []finding.Finding{{State: finding.Fail, Title: "it is bad", Evidence: finding.Evidence{Command: "dig x"}}, {State: finding.Pass}}},
			{Check: three, Findings: []finding.Finding{{State: finding.Unknown}}},
		},
	}
}

func TestReportText(t *testing.T) {
	got := string(written(t, report.Text, report.Options{All: true}, madeReport()))
	want := `192.0.2.1
  53/udp open (udp-response)
  verdict: high: it is bad; 1 of 3 checks could not be measured: T-THREE (medium)
  score: 74 of 100
  1 failed, 1 warning, 0 passed, 1 unknown, in 1.5s

FAIL high T-TWO: it is bad
  see it: dig x

WARN low T-ONE: the title of one
  ?]0;owned?line?another ?
  remedy: mend it

pass T-TWO: the title of two
unknown T-THREE: not measured: the title of three
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestReportJSON(t *testing.T) {
	text := written(t, report.NDJSON, report.Options{}, madeReport())
	var got struct {
		Schema  string
		Checks  []struct{ ID, State, Severity, Title, Detail, Fingerprint string }
		Summary map[string]int
	}
	text, _, _ = bytes.Cut(text, []byte("\n"))
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if got.Schema != report.Schema || len(got.Checks) != 4 || got.Summary["fail"] != 1 || got.Summary["unknown"] != 1 {
		t.Errorf("%s", text)
	}
	first := got.Checks[0]
	if first.State != "warn" || strings.ContainsAny(first.Detail, "\x1b\x07\n") {
		t.Errorf("%+v", first)
	}
	if got.Checks[1].Fingerprint == first.Fingerprint || len(first.Fingerprint) != 32 {
		t.Errorf("fingerprints %q and %q", first.Fingerprint, got.Checks[1].Fingerprint)
	}
}
