package report

import (
	"bufio"
	"bytes"
	_ "embed" // schema.json
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"port53/internal/finding"
	"port53/internal/scan"
	"port53/internal/wire"
)

// Schema is the name of the form of reports in JSON, which schema.json describes. It is another
// with each change that a reader has to know of. Fields may be added without that.
const Schema = "port53.check/2"

// before are the earlier forms that can still be read as a baseline.
func readable(schema string) bool { return schema == Schema || schema == "port53.check/1" }

//go:embed schema.json
var schemaFile []byte

// JSONSchema returns the JSON Schema of reports. It is the caller's.
func JSONSchema() []byte { return bytes.Clone(schemaFile) }

type jsonEvidence struct {
	Sent     string  `json:"sent_hex,omitempty"`
	Received string  `json:"received_hex,omitempty"`
	RTT      float64 `json:"rtt_ms,omitempty"`
	N        int     `json:"n,omitempty"`
	Command  string  `json:"command,omitempty"`
}

type jsonCheck struct {
	ID          string       `json:"id"`
	State       string       `json:"state"`
	Severity    string       `json:"severity"`
	Title       string       `json:"title"`
	Detail      string       `json:"detail,omitempty"`
	File        string       `json:"file,omitempty"`
	Line        int          `json:"line,omitempty"`
	Evidence    jsonEvidence `json:"evidence"`
	Advice      string       `json:"advice,omitempty"`
	Refs        []string     `json:"refs,omitempty"`
	Fingerprint string       `json:"fingerprint"`
	Known       bool         `json:"known,omitempty"` // the baseline has it
}

// A jsonSoftware is what the server is.
type jsonSoftware struct {
	Product    string `json:"product"`
	Version    string `json:"version,omitempty"`
	CPE        string `json:"cpe,omitempty"`
	Method     string `json:"method"`
	Confidence int    `json:"confidence"`
}

// A jsonVantage is where the check looks from.
type jsonVantage struct {
	Source string `json:"src,omitempty"`
	Root   bool   `json:"root"`
}

// A jsonLeft is a check that was not made, for it disturbs more than is allowed.
type jsonLeft struct {
	ID       string `json:"id"`
	Severity string `json:"severity"`
	Mode     string `json:"mode"`
}

// A jsonRun is what is said of a run as a whole, at its end.
type jsonRun struct {
	Targets     int            `json:"targets"`
	Dead        int            `json:"dead"`
	Unmeasured  int            `json:"unmeasured"`
	Interrupted bool           `json:"interrupted"`
	Complete    bool           `json:"complete"` // nothing that matters is unmeasured
	Score       *int           `json:"score,omitempty"`
	Findings    map[string]int `json:"findings"`
}

// In one piece: it is the form of a report, as schema.json has it.
type jsonReport struct {
	Schema    string         `json:"schema"`
	Target    string         `json:"target"`
	Addresses []string       `json:"addresses,omitempty"`
	Zone      string         `json:"zone,omitempty"`
	Problem   string         `json:"problem,omitempty"`
	Vantage   jsonVantage    `json:"vantage"`
	Started   time.Time      `json:"started"`
	Took      int64          `json:"duration_ms"`
	Ports     []scan.Port    `json:"ports"`
	Software  *jsonSoftware  `json:"software,omitempty"`
	Checks    []jsonCheck    `json:"checks"`
	Gone      []finding.Gone `json:"gone,omitempty"`
	Summary   map[string]int `json:"summary"`
	Verdict   string         `json:"verdict"`
	Score     *int           `json:"score,omitempty"`
	Dead      bool           `json:"dead,omitempty"`
	Service   string         `json:"service,omitempty"`
	Missing   []string       `json:"unmeasured"`
	Lacking   []string       `json:"lacking,omitempty"`
	Left      []jsonLeft     `json:"left,omitempty"`
}

// jsonOf returns the report as a value for a JSON encoder, of the form Schema.
func jsonOf(r *finding.Report) any {
	checks := []jsonCheck{}
	for _, x := range all(r) {
		checks = append(checks, jsonCheck{
			ID: x.check.ID, State: x.State.String(), Severity: x.severity().String(), Title: x.title(), Detail: x.detail(),
			File: wire.Printable(x.File), Line: x.Line,
			Evidence: jsonEvidence{
				Sent: shown(x.Evidence.Sent), Received: shown(x.Evidence.Received),
				RTT: float64(x.Evidence.RTT) / float64(time.Millisecond), N: x.Evidence.N, Command: x.command(),
			},
			Advice: x.advice(), Refs: x.check.Refs, Fingerprint: x.fingerprint(), Known: x.known(),
		})
	}
	out := jsonReport{
		Schema: Schema, Target: wire.Printable(r.Target.Text), Zone: r.Target.ZoneText(), Problem: wire.Printable(r.Problem),
		Started: r.Started, Took: r.Took.Milliseconds(), Ports: ports(r), Checks: checks, Gone: r.Gone(), Summary: map[string]int{},
	}
	out.Verdict, out.Dead, out.Service = verdict(r), r.Unreachable, wire.Printable(r.Service)
	out.Missing = []string{}
	for _, x := range r.Unmeasured() {
		out.Missing = append(out.Missing, x.Check.ID)
	}
	for _, text := range r.MissingLocally() {
		out.Lacking = append(out.Lacking, wire.Printable(text))
	}
	for _, c := range r.NotRun {
		out.Left = append(out.Left, jsonLeft{c.ID, c.Severity.String(), c.Mode.String()})
	}
	if score, ok := r.Score(); ok {
		out.Score = &score
	}
	n := r.Count()
	for s := finding.Pass; s <= finding.Skipped; s++ {
		out.Summary[s.String()] = n[s]
	}
	if s := r.Software; s.Product != "" {
		out.Software = &jsonSoftware{
			Product: wire.Printable(string(s.Product)), Version: wire.Printable(s.Version), CPE: wire.Printable(s.CPE),
			Method: wire.Printable(s.Method), Confidence: s.Confidence,
		}
	}
	out.Vantage.Root = os.Geteuid() == 0
	if r.From.IsValid() {
		out.Vantage.Source = r.From.String()
	}
	if r.Target.Server.Addr.IsValid() {
		out.Addresses = append(out.Addresses, r.Target.Server.Addr.Addr().String())
	}
	for _, s := range r.Target.Servers {
		out.Addresses = append(out.Addresses, s.Addr.Addr().String())
	}
	return out
}

func shown(packet []byte) string {
	return hex.EncodeToString(packet[:min(len(packet), finding.MaxShown)])
}

// maxBaseline is the octets of an earlier report that are read: 100,000 targets of a
// page each.
const maxBaseline = 1 << 30

// ReadBaseline reads an earlier report in JSON, of one target or of many.
func ReadBaseline(in io.Reader) (*finding.Baseline, error) {
	b := new(finding.Baseline)
	err := readReports(in, func(r *jsonReport) {
		for _, c := range r.Checks {
			if c.bad() {
				b.Add(r.Target, finding.Gone{ID: c.ID, Severity: c.Severity, Title: c.Title, Fingerprint: c.Fingerprint})
			}
		}
	}, nil)
	if err != nil {
		return nil, err
	}
	return b, nil
}

func (c *jsonCheck) bad() bool {
	return c.State == finding.Fail.String() || c.State == finding.Warn.String()
}

// readReports reads what a run wrote in JSON, in whatever of its forms. run, which may be nil, has
// what is said of the run as a whole.
func readReports(in io.Reader, each func(*jsonReport), run func(*jsonRun)) error {
	dec := json.NewDecoder(bufio.NewReader(io.LimitReader(in, maxBaseline)))
	for n := 1; ; n++ {
		var v struct {
			jsonReport
			Reports []jsonReport `json:"reports"`
			Run     *jsonRun     `json:"run"`
		}
		err := dec.Decode(&v)
		switch {
		case errors.Is(err, io.EOF) && n > 1:
			return nil
		case err != nil:
			return fmt.Errorf("report %d cannot be read: %w; write one with --json", n, err)
		case !readable(v.Schema), v.Reports == nil && v.Run == nil && v.Target == "":
			return fmt.Errorf("report %d is no %s; write one with --json", n, Schema)
		}
		for i := range v.Reports {
			each(&v.Reports[i])
		}
		if v.Run != nil && run != nil {
			run(v.Run)
		}
		if v.Reports == nil && v.Run == nil {
			each(&v.jsonReport)
		}
	}
}
