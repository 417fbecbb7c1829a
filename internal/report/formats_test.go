package report_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"port53/internal/finding"
	"port53/internal/fingerprint"
	"port53/internal/report"
	"port53/internal/scan"
)

// hostile is what a server may put into every string that a report takes from it.
const hostile = "=cmd|' /C calc'!A0\x1b[2J\x1b]0;owned\x07<script>alert(1)</script>\"'&]]>\x00\x0b\ufffe\u202e\u2028\r\n\ttab\x9b31m\xff\xfe-->{{.}}"

func hostileReport() *finding.Report {
	c := &finding.Check{ID: "T-HOSTILE", Title: "a title", Severity: finding.SevHigh, Group: "g", Advice: map[fingerprint.Product]string{"": "mend it"}, Refs: []string{"RFC 5936, section 4.2", "CVE-2023-50387"}}
	d := &finding.Check{ID: "T-GOOD", Title: "a good one", Severity: finding.SevLow, Group: "g", Advice: map[fingerprint.Product]string{"": "nothing"}}
	ev := finding.Evidence{Sent: []byte{1, 2}, Received: []byte(hostile), RTT: time.Millisecond, N: 1, Command: "dig " + hostile}
	return &finding.Report{
		Target:  finding.Target{Text: hostile, Server: finding.Server{Addr: netip.MustParseAddrPort("192.0.2.1:53"), Name: append(append([]byte{byte(13)}, "<b>\x1b[31m\t\n'\"&"...), 0)}, Zone: append([]byte{5, '<', 0x1b, '"', '\n', '&'}, 0)},
		Started: time.Unix(1700000000, 0), Took: time.Second,
		Software: fingerprint.Software{Product: hostile, Version: hostile, CPE: hostile, Method: hostile},
		Ports:    []scan.Port{{Proto: "udp", Number: 53, State: "open", Reason: "udp-response"}, {Proto: "tcp", Number: 853, State: "filtered", Reason: hostile}},
		Results: []finding.Result{
			{Check: c, Findings: []finding.Finding{
				{State: finding.Fail, Key: "a", Title: hostile, Detail: hostile, File: "a file/" + hostile, Line: 7, Evidence: ev},
				{State: finding.Warn, Key: "b", Detail: hostile, Evidence: ev},
				{State: finding.Unknown, Key: "c", Detail: hostile, Evidence: ev},
			}},
			{Check: d, Findings: []finding.Finding{{State: finding.Pass, Title: hostile, Detail: hostile, Evidence: ev}, {State: finding.Info, Detail: hostile}, {State: finding.Skipped}}},
		},
	}
}

func written(t *testing.T, f report.Format, o report.Options, reports ...*finding.Report) []byte {
	t.Helper()
	var b bytes.Buffer
	w := report.New(f, &b, o)
	for _, r := range reports {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestHostileText has what a hostile server says in every format: nothing of it may
// control a terminal, a parser, a browser or a spreadsheet.
func TestHostileText(t *testing.T) {
	control := regexp.MustCompile("[\x00-\x08\x0b-\x1f\x7f]|\u0080|\u009b|\u202e|\u2028")
	for name, f := range map[string]report.Format{
		"text": report.Text, "JSON": report.JSON, "NDJSON": report.NDJSON, "SARIF": report.SARIF, "JUnit": report.JUnit,
		"HTML": report.HTML, "plain": report.Plain, "nmap": report.Nmap, "grepable": report.Grepable,
	} {
		t.Run(name, func(t *testing.T) {
			b := written(t, f, report.Options{All: true, Version: hostile}, hostileReport(), hostileReport())
			if at := control.FindIndex(b); at != nil {
				t.Errorf("control characters at %q", b[max(0, at[0]-20):min(len(b), at[1]+20)])
			}
			if bytes.Contains(b, []byte{0xff}) {
				t.Error("octets that are no UTF-8")
			}
			switch f {
			case report.JSON, report.NDJSON, report.SARIF:
				dec := json.NewDecoder(bytes.NewReader(b))
				n := 0
				for {
					var v any
					if err := dec.Decode(&v); errors.Is(err, io.EOF) {
						break
					} else if err != nil {
						t.Fatal(err)
					}
					n++
				}
				if want := map[report.Format]int{report.JSON: 1, report.NDJSON: 3, report.SARIF: 1}[f]; n != want {
					t.Errorf("%d documents", n)
				}
			case report.JUnit:
				dec := xml.NewDecoder(bytes.NewReader(b))
				for {
					if _, err := dec.Token(); errors.Is(err, io.EOF) {
						break
					} else if err != nil {
						t.Fatal(err)
					}
				}
			case report.HTML:
				for _, bad := range []string{"<script", "<b>", "http-equiv=\"refresh", " src=", "onload", "javascript:"} {
					if bytes.Contains(bytes.ToLower(b), []byte(bad)) {
						t.Errorf("%s in the page", bad)
					}
				}
				if !bytes.Contains(b, []byte("&lt;script&gt;")) {
					t.Error("what the server says is not shown")
				}
				for _, x := range []string{"prefers-color-scheme: dark", "@media print", "width=device-width", "Content-Security-Policy", "default-src 'none'"} {
					if !bytes.Contains(b, []byte(x)) {
						t.Errorf("no %s", x)
					}
				}
			case report.Plain:
				for line := range strings.Lines(string(b)) {
					fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
					want := map[string]int{"port": 5, "software": 4, "verdict": 3, "score": 3, "finding": 9}[fields[0]]
					if len(fields) != want {
						t.Errorf("%d fields, want %d: %q", len(fields), want, line)
					}
					for _, x := range fields {
						if x != "" && strings.ContainsRune("=+-@|%", rune(x[0])) {
							t.Errorf("a formula: %q", x)
						}
					}
				}
			case report.Grepable:
				if n := strings.Count(string(b), "\nHost: 192.0.2.1 ("); n != 2 {
					t.Errorf("%d hosts:\n%s", n, b)
				}
			}
			if again := written(t, f, report.Options{All: true, Version: hostile}, hostileReport(), hostileReport()); !bytes.Equal(b, again) {
				t.Error("the same reports give another document")
			}
		})
	}
}

func TestColour(t *testing.T) {
	if b := written(t, report.Text, report.Options{}, madeReport()); bytes.Contains(b, []byte("\x1b")) {
		t.Error("colours without being asked for")
	}
	b := written(t, report.Text, report.Options{Colour: true}, madeReport())
	plain := regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAll(b, nil)
	if bytes.Equal(plain, b) || !bytes.Equal(plain, written(t, report.Text, report.Options{}, madeReport())) {
		t.Errorf("the words are others with colours:\n%s", plain)
	}
}

func TestOneJSON(t *testing.T) {
	one := written(t, report.JSON, report.Options{}, madeReport())
	if !bytes.HasPrefix(one, []byte("{\n  \"schema\"")) {
		t.Errorf("one target: %.40s", one)
	}
	two := written(t, report.JSON, report.Options{}, madeReport(), madeReport())
	lines := written(t, report.NDJSON, report.Options{}, madeReport(), madeReport())
	if bytes.Count(lines, []byte("\n")) != 3 {
		t.Errorf("two targets: %s", lines)
	}
	for n, text := range [][]byte{written(t, report.JSON, report.Options{}), one, two} {
		var doc struct {
			Schema  string
			Reports []struct{ Target string }
			Run     struct{ Targets int }
		}
		if err := json.Unmarshal(text, &doc); err != nil || doc.Schema != report.Schema || len(doc.Reports) != n || doc.Run.Targets != n {
			t.Errorf("%d targets: %v, %s", n, err, text)
		}
	}
}

// TestInterrupted has a run that ended early: each form in which somebody could take the report for a
// whole one says so, and a program that compares does.
func TestInterrupted(t *testing.T) {
	for f, want := range map[report.Format]string{
		report.Text: "INTERRUPTED", report.JSON: `"interrupted": true`, report.NDJSON: `"interrupted":true`, report.Plain: "interrupted\t", report.HTML: "INTERRUPTED",
		report.SARIF: `"executionSuccessful":false`, report.JUnit: "INTERRUPTED", report.Nmap: "INTERRUPTED", report.Grepable: "INTERRUPTED",
	} {
		if b := written(t, f, report.Options{Interrupted: func() bool { return true }}, madeReport()); !bytes.Contains(b, []byte(want)) {
			t.Errorf("format %d has no %q:\n%s", f, want, b[max(0, len(b)-300):])
		}
		if b := written(t, f, report.Options{Interrupted: func() bool { return false }}, madeReport()); bytes.Contains(b, []byte(want)) {
			t.Errorf("format %d has %q, and ended as it should", f, want)
		}
	}
	early, err := report.ReadPreviousRun(bytes.NewReader(written(t, report.JSON, report.Options{Interrupted: func() bool { return true }}, madeReport())))
	if err != nil {
		t.Fatal(err)
	}
	if c := report.Compare(early, early); !c.Interrupted {
		t.Error("the comparison does not say so")
	}
}

func TestSARIF(t *testing.T) {
	r := madeReport()
	rules := []*finding.Check{{ID: "T-NONE"}, r.Results[1].Check, {ID: "T-LOW", Severity: finding.SevLow, Refs: []string{"a book", "RFC 1035, section 4"}}}
	r.Results[1].Findings[0].File, r.Results[1].Findings[0].Line = "conf/port53.yaml", 3
	var doc struct {
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct {
					Rules []struct {
						ID, HelpURI string
						Properties  map[string]any
					}
				}
			}
			Results []struct {
				RuleID, Kind, Level string
				RuleIndex           *int
				PartialFingerprints map[string]string
				Locations           []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine int }
					}
					LogicalLocations []struct{ FullyQualifiedName string }
				}
			}
		}
	}
	if err := json.Unmarshal(written(t, report.SARIF, report.Options{Rules: rules}, r), &doc); err != nil {
		t.Fatal(err)
	}
	run := doc.Runs[0]
	if doc.Version != "2.1.0" || len(run.Tool.Driver.Rules) != len(rules) || run.Tool.Driver.Rules[1].Properties["security-severity"] != "7.5" ||
		run.Tool.Driver.Rules[2].HelpURI != "https://www.rfc-editor.org/rfc/rfc1035#section-4" {
		t.Errorf("%+v", run.Tool.Driver.Rules[0])
	}
	var got []string
	for _, x := range run.Results {
		got = append(got, x.RuleID+" "+x.Kind+" "+x.Level)
		if len(x.PartialFingerprints["port53/v1"]) != 32 || len(x.Locations) != 1 || x.Locations[0].LogicalLocations[0].FullyQualifiedName == "" {
			t.Errorf("%+v", x)
		}
	}
	if want := "T-ONE fail warning, T-TWO fail error, T-THREE open none"; strings.Join(got, ", ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
	at := run.Results[1]
	if p := at.Locations[0].PhysicalLocation; p.ArtifactLocation.URI != "conf/port53.yaml" || p.Region.StartLine != 3 || at.RuleIndex == nil || run.Tool.Driver.Rules[*at.RuleIndex].ID != "T-TWO" || run.Results[0].RuleIndex != nil {
		t.Errorf("%+v", at)
	}
	// Without a report the document is whole too.
	if err := json.Unmarshal(written(t, report.SARIF, report.Options{}), &doc); err != nil {
		t.Error(err)
	}
}

func TestJUnit(t *testing.T) {
	type suites struct {
		Suite []struct {
			Name                             string `xml:"name,attr"`
			Tests, Failures, Errors, Skipped int
			F                                int `xml:"failures,attr"`
			S                                int `xml:"skipped,attr"`
			E                                int `xml:"errors,attr"`
			Case                             []struct {
				Name    string     `xml:"name,attr"`
				Failure []struct{} `xml:"failure"`
				Skipped []struct{} `xml:"skipped"`
				Out     string     `xml:"system-out"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	for least, want := range map[finding.Severity]int{finding.SevCritical: 0, finding.SevHigh: 1, finding.SevLow: 2} {
		var got suites
		if err := xml.Unmarshal(written(t, report.JUnit, report.Options{FailOn: least}, madeReport()), &got); err != nil {
			t.Fatal(err)
		}
		s := got.Suite[0]
		if s.F != want || s.S != 1 || s.E != 0 || len(s.Case) != 3 {
			t.Errorf("at or above %s: %+v", least, s)
		}
		if least == finding.SevHigh && (!strings.Contains(s.Case[0].Out, "warn low") || len(s.Case[1].Failure) != 1 || len(s.Case[2].Skipped) != 1) {
			t.Errorf("%+v", s.Case)
		}
	}
	// What could not be reached is no success.
	var got suites
	if err := xml.Unmarshal(written(t, report.JUnit, report.Options{}, &finding.Report{Problem: "nobody"}), &got); err != nil || got.Suite[0].E != 1 {
		t.Errorf("%v %+v", err, got)
	}
}

func TestPlainAndNmap(t *testing.T) {
	plain := string(written(t, report.Plain, report.Options{}, madeReport()))
	for _, want := range []string{
		"port\t192.0.2.1\t53/udp\topen\tudp-response\n", "verdict\t192.0.2.1\thigh: it is bad; 1 of 3 checks could not be measured: T-THREE (medium)\n",
		"finding\t192.0.2.1\tfail\thigh\tT-TWO\t", "\tit is bad\t\tdig x\n", "finding\t192.0.2.1\tunknown\tmedium\tT-THREE\t",
	} {
		if !strings.Contains(plain, want) {
			t.Errorf("no %q in\n%s", want, plain)
		}
	}
	r := madeReport()
	r.Target.Server.Addr = netip.MustParseAddrPort("192.0.2.1:53")
	r.Software = fingerprint.Software{Product: "bind", Version: "9.18.49"}
	nmap := string(written(t, report.Nmap, report.Options{}, r))
	for _, want := range []string{"Nmap scan report for 192.0.2.1\n", "PORT   STATE SERVICE REASON       VERSION\n53/udp open  domain  udp-response bind 9.18.49\n", "| T-TWO: \n|   FAIL high: it is bad\n|_  dig x\n"} {
		if !strings.Contains(nmap, want) {
			t.Errorf("no %q in\n%s", want, nmap)
		}
	}
	if g := string(written(t, report.Grepable, report.Options{}, r)); !strings.Contains(g, "\nHost: 192.0.2.1 ()\tPorts: 53/open/udp//domain//bind 9.18.49/\n") {
		t.Errorf("%s", g)
	}
}

// TestBaseline has one finding that is known, one that is new and one that is gone.
func TestBaseline(t *testing.T) {
	old := madeReport()
	old.Results[1].Findings[0].Key = "another"
	earlier, err := report.ReadBaseline(bytes.NewReader(written(t, report.JSON, report.Options{}, old)))
	if err != nil {
		t.Fatal(err)
	}
	r := madeReport()
	r.Baseline = earlier
	if r.Known(r.Results[1].Check, &r.Results[1].Findings[0]) || !r.Known(r.Results[0].Check, &r.Results[0].Findings[0]) {
		t.Error("the wrong one is known")
	}
	if !r.Above(finding.SevHigh) {
		t.Error("what is new does not count")
	}
	if g := r.Gone(); len(g) != 1 || g[0].ID != "T-TWO" || g[0].Title != "it is bad" {
		t.Errorf("gone: %+v", g)
	}
	text := string(written(t, report.Text, report.Options{}, r))
	if !strings.Contains(text, "1 finding that the baseline has\n  gone since the baseline: high T-TWO: it is bad\n") || strings.Contains(text, "WARN low T-ONE") {
		t.Errorf("%s", text)
	}
	r = madeReport()
	same, err := report.ReadBaseline(bytes.NewReader(written(t, report.NDJSON, report.Options{}, madeReport(), hostileReport())))
	if err != nil {
		t.Fatal(err)
	}
	r.Baseline = same
	if r.Above(finding.SevLow) || len(r.Gone()) != 0 || !strings.Contains(string(written(t, report.Text, report.Options{}, r)), "verdict: incomplete: 1 of 3 checks could not be measured: T-THREE (medium)") {
		t.Error("what is known counts")
	}
	if b := written(t, report.SARIF, report.Options{}, r); !bytes.Contains(b, []byte(`"baselineState":"unchanged"`)) || bytes.Contains(b, []byte(`"new"`)) {
		t.Errorf("%s", b[len(b)-2000:])
	}
	// What cannot be measured any more is not gone.
	r.Results[1].Findings = []finding.Finding{{State: finding.Unknown}}
	if g := r.Gone(); len(g) != 0 {
		t.Errorf("gone: %+v", g)
	}
	for _, bad := range []string{"", "{}", "[]", `{"schema":"port53.check/2"}`, `{"schema":"port53.check/1"`} {
		if _, err := report.ReadBaseline(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is taken for a report", bad)
		}
	}
}
