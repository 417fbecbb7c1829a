package report_test

import (
	"bytes"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"port53/internal/finding"
	"port53/internal/fingerprint"
	"port53/internal/report"
	"port53/internal/scan"
)

var update = flag.Bool("update", false, "rewrite the golden reports")

// goldenReports are those of a server with findings of every state, of a zone, of a
// configuration, and of a target that is none.
func goldenReports() []*finding.Report {
	name := []byte("\x03ns1\x07example\x00")
	zone := []byte("\x07example\x00")
	at := netip.MustParseAddrPort("192.0.2.1:53")
	ev := finding.Evidence{Sent: []byte{1, 2, 3}, Received: bytes.Repeat([]byte{0xab}, 600), RTT: 1234567 * time.Nanosecond, N: 2, Command: "dig @192.0.2.1 -t SOA -q 'example.'"}
	check := func(id string, s finding.Severity) *finding.Check {
		return &finding.Check{
			ID: id, Title: "the title of " + id, Group: "Group", Severity: s, Sent: "Asks.", Criteria: "No answer: fail.",
			Advice: map[fingerprint.Product]string{"": "Mend it.", "bind": "mend yes;"}, Refs: []string{"RFC 1035, section 4.1", "CVE-2023-50387", "a book"},
		}
	}
	started := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	known := &finding.Baseline{}
	server := &finding.Report{
		Target: finding.Target{Text: "192.0.2.1", Server: finding.Server{Addr: at, Name: name}, Zone: zone}, Started: started, Took: 1530 * time.Millisecond,
		Ports: []scan.Port{
			{Proto: "udp", Number: 53, State: "open", Reason: "udp-response", From: "192.0.2.2:53"},
			{Proto: "tcp", Number: 53, State: "closed", Reason: "reset"},
			{Proto: "tcp", Number: 853, State: "filtered", Reason: "no-response"},
			{Proto: "tcp", Number: 443, State: "open", Reason: "syn-ack"},
			{Proto: "tcp", Number: 8080, State: "open", Reason: "syn-ack"},
		},
		Software: fingerprint.Software{Product: "bind", Version: "9.18/49", CPE: "cpe:/a:isc:bind:9.18", Method: "txt", Confidence: 10},
		Results: []finding.Result{
			{Check: check("G-FAIL", finding.SevCritical), Findings: []finding.Finding{{State: finding.Fail, Key: "a", Detail: "it fails", Evidence: ev}, {State: finding.Warn, Severity: finding.SevLow, Key: "b", Title: "a title of its own"}}},
			{Check: check("G-WARN", finding.SevMedium), Findings: []finding.Finding{{State: finding.Warn, Detail: "it warns", Evidence: finding.Evidence{N: 1, Received: []byte{1}}}}},
			{Check: check("G-PASS", finding.SevHigh), Findings: []finding.Finding{{State: finding.Pass, Detail: "it passes", Evidence: ev}}},
			{Check: check("G-UNKNOWN", finding.SevHigh), Findings: []finding.Finding{{State: finding.Unknown, Detail: "it is unknown"}}},
			{Check: check("G-INFO", finding.SevInfo), Findings: []finding.Finding{{State: finding.Info, Detail: "it is so"}}},
			{Check: check("G-SKIPPED", finding.SevHigh), Findings: []finding.Finding{{State: finding.Skipped, Title: "does not apply"}}},
			{Check: check("G-KNOWN", finding.SevHigh), Findings: []finding.Finding{{State: finding.Fail, Detail: "it is known"}}},
		},
		From: netip.MustParseAddr("192.0.2.77"), Baseline: known,
	}
	known.Add("192.0.2.1", finding.Gone{ID: "G-KNOWN", Severity: "high", Title: "the title of G-KNOWN", Fingerprint: server.Fingerprint(server.Results[6].Check, &server.Results[6].Findings[0])})
	known.Add("192.0.2.1", finding.Gone{ID: "G-PASS", Severity: "high", Title: "it was bad", Fingerprint: "00112233445566778899aabbccddeeff"})
	return []*finding.Report{
		server,
		{
			Target: finding.Target{Text: "example", Zone: zone, Servers: []finding.Server{{Addr: at, Name: name}, {Addr: netip.MustParseAddrPort("[2001:db8::1]:53"), Name: name}}}, Started: started, Took: time.Second,
			Results: []finding.Result{{Check: check("G-PASS", finding.SevHigh), Findings: []finding.Finding{{State: finding.Pass}}}},
		},
		{
			Target: finding.Target{Text: "conf/port 53.yaml", Config: "conf/port 53.yaml"}, Started: started, Took: time.Millisecond,
			Results: []finding.Result{{Check: check("G-CONF", finding.SevLow), Findings: []finding.Finding{{State: finding.Warn, Key: "listen", Detail: "listen: it is wide", File: "conf/port 53.yaml", Line: 7}, {State: finding.Warn, Key: "role", File: "conf/port 53.yaml"}}}},
		},
		{Target: finding.Target{Text: "nowhere.example", Problem: "nowhere.example does not exist"}, Problem: "nowhere.example does not exist", Started: started},
	}
}

// TestGolden compares the documents of every format with those of testdata.
func TestGolden(t *testing.T) {
	for name, x := range map[string]struct {
		f report.Format
		o report.Options
	}{
		"text": {report.Text, report.Options{}}, "text-all": {report.Text, report.Options{All: true}}, "text-colour": {report.Text, report.Options{Colour: true}},
		"ndjson": {report.NDJSON, report.Options{}}, "json": {report.JSON, report.Options{}},
		"sarif": {report.SARIF, report.Options{}}, "sarif-all": {report.SARIF, report.Options{All: true}},
		"junit": {report.JUnit, report.Options{FailOn: finding.SevHigh}}, "junit-low": {report.JUnit, report.Options{FailOn: finding.SevLow}},
		"html": {report.HTML, report.Options{}}, "plain": {report.Plain, report.Options{}}, "plain-all": {report.Plain, report.Options{All: true}},
		"nmap": {report.Nmap, report.Options{}}, "grepable": {report.Grepable, report.Options{}},
	} {
		x.o.Version = "1.0"
		list := goldenReports()
		for _, r := range list[0].Results {
			x.o.Rules = append(x.o.Rules, r.Check)
		}
		if name == "json" {
			list = list[:1]
		}
		got := written(t, x.f, x.o, list...)
		// Whether this runs as root is in JSON.
		got = bytes.ReplaceAll(got, []byte(`"root":false`), []byte(`"root":true`))
		got = bytes.ReplaceAll(got, []byte(`"root": false`), []byte(`"root": true`))
		file := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs:\n%s", name, firstDifference(string(got), string(want)))
		}
	}
}

// firstDifference returns the first line in which two texts differ.
func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return "got  " + g[i] + "\nwant " + w[i]
		}
	}
	return "one is longer"
}
