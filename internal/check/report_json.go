package check

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"port53/internal/scan"
	"port53/internal/wire"
)

// Schema is the name of the form that JSON returns.
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
	Product    Product `json:"product"`
	Version    string  `json:"version,omitempty"`
	CPE        string  `json:"cpe,omitempty"`
	Method     string  `json:"method"`
	Confidence int     `json:"confidence"`
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
	Gone      []Gone         `json:"gone,omitempty"`
	Summary   map[string]int `json:"summary"`
}

// JSON returns the report as a value for a JSON encoder, of the form Schema.
func (r *Report) JSON() any {
	checks := []jsonCheck{}
	for _, x := range r.all() {
		c, f := x.result.Check, x.finding
		checks = append(checks, jsonCheck{
			ID: c.ID, State: f.State.String(), Severity: x.result.SeverityOf(f).String(), Title: wire.Printable(x.result.title(f)), Detail: wire.Printable(f.Detail),
			File: wire.Printable(f.File), Line: f.Line,
			Evidence: jsonEvidence{
				Sent: shown(f.Evidence.Sent), Received: shown(f.Evidence.Received),
				RTT: float64(f.Evidence.RTT) / float64(time.Millisecond), N: f.Evidence.N, Command: wire.Printable(f.Evidence.Command),
			},
			Advice: r.advice(c), Refs: c.Refs, Fingerprint: r.Fingerprint(c, f), Known: r.Known(c, f),
		})
	}
	n := r.Count()
	out := jsonReport{
		Schema: Schema, Target: wire.Printable(r.Target.Text), Problem: wire.Printable(r.Problem), Started: r.Started, Took: r.Took.Milliseconds(), Ports: r.ports(), Checks: checks, Gone: r.Gone(),
		Summary: map[string]int{"pass": n[Pass], "warn": n[Warn], "fail": n[Fail], "unknown": n[Unknown], "info": n[Info], "skipped": n[Skipped]},
	}
	if s := r.Software; s.Product != "" {
		out.Software = &jsonSoftware{Product(wire.Printable(string(s.Product))), wire.Printable(s.Version), wire.Printable(s.CPE), wire.Printable(s.Method), s.Confidence}
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
	if r.Target.Zone != nil {
		out.Zone = wire.NameText(r.Target.Zone)
	}
	return out
}

func shown(packet []byte) string { return hex.EncodeToString(packet[:min(len(packet), maxShown)]) }

// A Gone is a finding of the baseline that is no more.
type Gone struct {
	ID          string `json:"id"`
	Severity    string `json:"severity"`
	Title       string `json:"title"`
	Fingerprint string `json:"fingerprint"`
}

// A Baseline is what an earlier run found, of all its targets. It is not changed.
type Baseline struct {
	targets map[string][]Gone
	prints  map[string]bool
}

// maxBaseline is the octets of an earlier report that are read: 100,000 targets of a
// page each.
const maxBaseline = 1 << 30

// ReadBaseline reads an earlier report in JSON, of one target or of many.
func ReadBaseline(in io.Reader) (*Baseline, error) {
	b := &Baseline{targets: map[string][]Gone{}, prints: map[string]bool{}}
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
			if c.State == Fail.String() || c.State == Warn.String() {
				b.targets[r.Target] = append(b.targets[r.Target], Gone{c.ID, c.Severity, c.Title, c.Fingerprint})
				b.prints[c.Fingerprint] = true
			}
		}
	}
}

// Known tells whether the baseline has a finding.
func (r *Report) Known(c *Check, f *Finding) bool {
	return r.Baseline != nil && r.Baseline.prints[r.Fingerprint(c, f)]
}

// Gone returns the findings of the baseline whose check has been made again, could
// measure, and does not find them any more.
func (r *Report) Gone() []Gone {
	if r.Baseline == nil {
		return nil
	}
	made, there := map[string]bool{}, map[string]bool{}
	for i := range r.Results {
		x := &r.Results[i]
		measured := true
		for j := range x.Findings {
			f := &x.Findings[j]
			measured = measured && f.State != Unknown
			if f.State == Fail || f.State == Warn {
				there[r.Fingerprint(x.Check, f)] = true
			}
		}
		made[x.Check.ID] = measured
	}
	var gone []Gone
	for _, g := range r.Baseline.targets[wire.Printable(r.Target.Text)] {
		if made[g.ID] && !there[g.Fingerprint] {
			gone = append(gone, g)
		}
	}
	return gone
}
