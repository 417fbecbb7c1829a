package check

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
)

// clean returns text that came from the network without what controls a terminal or
// ends a line.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || !unicode.IsPrint(r) && r != ' ' {
			return '?'
		}
		return r
	}, text)
}

// title returns what a finding is called: as its check, unless it has a title.
func (r *Result) title(f *Finding) string {
	if f.Title != "" {
		return f.Title
	}
	return r.Check.Title
}

// maxShown is how many octets of a packet stand in a report as they came.
const maxShown = 512

// A reported is one finding with its check.
type reported struct {
	result  *Result
	finding *Finding
}

// bad returns what failed and what warns, the most severe first.
func (r *Report) bad() []reported {
	var list []reported
	for i := range r.Results {
		for j := range r.Results[i].Findings {
			if f := &r.Results[i].Findings[j]; f.State == Fail || f.State == Warn {
				list = append(list, reported{&r.Results[i], f})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b reported) int {
		return cmp.Or(cmp.Compare(b.result.SeverityOf(b.finding), a.result.SeverityOf(a.finding)), cmp.Compare(b.finding.State, a.finding.State))
	})
	return list
}

// WriteText writes the report for people: the ports, the verdict, and what was found,
// the most severe first, each with what mends it and a command that shows it. all adds
// what passed and what could not be measured.
func (r *Report) WriteText(w io.Writer, all bool) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", clean(r.Target.Text))
	for _, p := range r.Ports {
		fmt.Fprintf(&b, "  %d/%s %s (%s)\n", p.Number, p.Proto, p.State, p.Reason)
	}
	list, n := r.bad(), r.Count()
	verdict := "nothing wrong was found"
	switch {
	case !r.Reached():
		verdict = "it could not be measured"
	case len(list) > 0:
		verdict = fmt.Sprintf("%s: %s", list[0].result.SeverityOf(list[0].finding), clean(list[0].result.title(list[0].finding)))
	}
	fmt.Fprintf(&b, "  verdict: %s\n  %d failed, %d warn, %d passed, %d unknown, in %s\n",
		verdict, n[Fail], n[Warn], n[Pass]+n[Info], n[Unknown], r.Took.Round(10*time.Millisecond))
	for _, x := range list {
		c, f := x.result.Check, x.finding
		fmt.Fprintf(&b, "\n%s %s %s: %s\n", strings.ToUpper(f.State.String()), x.result.SeverityOf(f), c.ID, clean(x.result.title(f)))
		for _, line := range []struct{ head, text string }{
			{"  ", f.Detail}, {"  remedy: ", c.AdviceFor("")}, {"  see it: ", f.Evidence.Command},
		} {
			if line.text != "" {
				fmt.Fprintf(&b, "%s%s\n", line.head, clean(line.text))
			}
		}
	}
	if all {
		b.WriteByte('\n')
		for i := range r.Results {
			x := &r.Results[i]
			for j := range x.Findings {
				if f := &x.Findings[j]; f.State != Fail && f.State != Warn {
					fmt.Fprintf(&b, "%s %s: %s\n", f.State, x.Check.ID, clean(x.title(f)))
				}
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

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
	Evidence    jsonEvidence `json:"evidence"`
	Advice      string       `json:"advice,omitempty"`
	Refs        []string     `json:"refs,omitempty"`
	Fingerprint string       `json:"fingerprint"`
}

// JSON returns the report as a value for a JSON encoder, of the form Schema.
func (r *Report) JSON() any {
	checks := []jsonCheck{}
	for i := range r.Results {
		x := &r.Results[i]
		for j := range x.Findings {
			f := &x.Findings[j]
			checks = append(checks, jsonCheck{
				ID: x.Check.ID, State: f.State.String(), Severity: x.SeverityOf(f).String(), Title: clean(x.title(f)), Detail: clean(f.Detail),
				Evidence: jsonEvidence{
					Sent: shown(f.Evidence.Sent), Received: shown(f.Evidence.Received),
					RTT: float64(f.Evidence.RTT) / float64(time.Millisecond), N: f.Evidence.N, Command: clean(f.Evidence.Command),
				},
				Advice: x.Check.AdviceFor(""), Refs: x.Check.Refs, Fingerprint: r.Fingerprint(x.Check, f),
			})
		}
	}
	n := r.Count()
	return struct {
		Schema  string         `json:"schema"`
		Target  string         `json:"target"`
		Started time.Time      `json:"started"`
		Took    int64          `json:"duration_ms"`
		Ports   []Port         `json:"ports"`
		Checks  []jsonCheck    `json:"checks"`
		Summary map[string]int `json:"summary"`
	}{
		Schema, clean(r.Target.Text), r.Started, r.Took.Milliseconds(), r.Ports, checks,
		map[string]int{"pass": n[Pass], "warn": n[Warn], "fail": n[Fail], "unknown": n[Unknown], "info": n[Info], "skipped": n[Skipped]},
	}
}

func shown(packet []byte) string { return hex.EncodeToString(packet[:min(len(packet), maxShown)]) }
