package report

import (
	"bufio"
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

// Schema is the name of the form of reports in JSON.
const Schema = "port53.check/1"

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
	dec := json.NewDecoder(bufio.NewReader(io.LimitReader(in, maxBaseline)))
	for n := 1; ; n++ {
		var r jsonReport
		err := dec.Decode(&r)
		switch {
		case errors.Is(err, io.EOF) && n > 1:
			return b, nil
		case err != nil:
			return nil, fmt.Errorf("report %d cannot be read: %w; write one with --json", n, err)
		case r.Schema != Schema:
			return nil, fmt.Errorf("report %d is no %s; write one with --json", n, Schema)
		}
		for _, c := range r.Checks {
			if c.State == finding.Fail.String() || c.State == finding.Warn.String() {
				b.Add(r.Target, finding.Gone{ID: c.ID, Severity: c.Severity, Title: c.Title, Fingerprint: c.Fingerprint})
			}
		}
	}
}
