package finding

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"port53/internal/fingerprint"
	"port53/internal/scan"
	"port53/internal/wire"
)

// A Result is what one check found at a target.
type Result struct {
	Check    *Check
	Findings []Finding
}

// Severity returns how much a finding of the check matters.
func (r *Result) Severity(f *Finding) Severity {
	if f.Severity != 0 {
		return f.Severity
	}
	return r.Check.Severity
}

// Title returns what a finding of the check is called: the fault where there is one, what is the
// case where there is none, and neither where that could not be found out.
func (r *Result) Title(f *Finding) string {
	switch {
	case f.Title != "":
		return f.Title
	case (f.State == Fail || f.State == Warn || f.State == Info) && r.Check.Fault != "":
		return r.Check.Fault
	case f.State == Unknown:
		return "not measured: " + r.Check.Title
	}
	return r.Check.Title
}

// Worst returns the state that a check as a whole has: the first of fail, warn, unknown,
// info, pass and skipped that one of its findings has.
func (r *Result) Worst() State {
	for _, s := range []State{Fail, Warn, Unknown, Info, Pass} {
		if slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.State == s }) {
			return s
		}
	}
	return Skipped
}

// A Report is all that was found at one target, in the order of the catalogue.
type Report struct {
	Target  Target
	Started time.Time
	Took    time.Duration
	Ports   []scan.Port
	// Software is what the server is, found before the checks run.
	Software fingerprint.Software
	Results  []Result

	NotRun      []*Check // that would disturb more than is allowed, and were not made
	Service     string   // what answers at the port and is no name server; empty if there is none
	Unreachable bool     // nobody answers there

	From     netip.Addr // where questions to the server came from; zero if there is no one server
	Problem  string     // why there is nothing to look at; empty if there is
	Baseline *Baseline  // what is known already; nil: nothing
}

// Fingerprint returns what tells a finding from others, the same in each run.
func (r *Report) Fingerprint(c *Check, f *Finding) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s", c.ID, r.Target.Text, f.Key))
	return hex.EncodeToString(sum[:16])
}

// Count returns how many checks there are of each state.
func (r *Report) Count() map[State]int {
	n := map[State]int{}
	for i := range r.Results {
		n[r.Results[i].Worst()]++
	}
	return n
}

// Measured reports whether enough could be measured to say anything: there is something to
// look at, and half of the checks that apply have a result. Without a check, an open port is
// enough.
func (r *Report) Measured() bool {
	if r.Problem != "" {
		return false
	}
	n := r.Count()
	measured := n[Pass] + n[Warn] + n[Fail] + n[Info]
	if measured+n[Unknown] == 0 {
		return len(r.Ports) == 0 || slices.ContainsFunc(r.Ports, func(p scan.Port) bool { return p.State == scan.Open })
	}
	return measured > 0 && measured >= n[Unknown]
}

// Unmeasured returns the checks that could not be made, but for what this machine lacks, the
// most severe first.
func (r *Report) Unmeasured() []*Result {
	var out []*Result
	for i := range r.Results {
		x := &r.Results[i]
		if slices.ContainsFunc(x.Findings, func(f Finding) bool { return f.State == Unknown && !f.LocalCause }) {
			out = append(out, x)
		}
	}
	slices.SortStableFunc(out, func(a, b *Result) int { return int(b.Check.Severity) - int(a.Check.Severity) })
	return out
}

// Inconclusive reports whether a check that matters as much as least could not be made: then nobody
// can say that nothing is wrong.
func (r *Report) Inconclusive(least Severity) bool {
	list := r.Unmeasured()
	return len(list) > 0 && list[0].Check.Severity >= least
}

// MissingLocally returns what could not be measured because this machine lacks it, each once.
func (r *Report) MissingLocally() []string {
	var out []string
	for i := range r.Results {
		for _, f := range r.Results[i].Findings {
			if f.State == Unknown && f.LocalCause && !slices.Contains(out, f.Detail) {
				out = append(out, f.Detail)
			}
		}
	}
	return out
}

// NotMeasured reports whether somebody has to be told that the target was not measured: an address of
// a network may be nobody's, and a server that this machine has no way to is told of once, by
// the zone's report.
func (r *Report) NotMeasured(least Severity) bool {
	switch {
	case r.Unreachable && r.Target.FromRange, r.Unreachable && r.Target.Derived && len(r.Ports) == 0:
		return false
	case r.Problem != "":
		return true
	}
	return !r.Measured() || r.Inconclusive(least)
}

// penalties are what a check that fails takes off a score, by its severity; one that warns takes
// half of it.
func penalties() [SevCritical + 1]int { return [...]int{0, 2, 8, 25, 60} }

// Score returns what is left of a hundred: each check that fails takes away 60, 25, 8 or 2 for
// critical, high, medium and low, one that warns half of it, for the worst of its findings. What
// was not measured takes nothing, and is told beside it. ok is false if too little was measured.
func (r *Report) Score() (score int, ok bool) {
	if !r.Measured() || len(r.Results) == r.Count()[Skipped] {
		return 0, false
	}
	lost := 0
	for i := range r.Results {
		x := &r.Results[i]
		worst := 0
		for j := range x.Findings {
			switch f := &x.Findings[j]; f.State {
			case Fail:
				worst = max(worst, 2*penalties()[x.Severity(f)])
			case Warn:
				worst = max(worst, penalties()[x.Severity(f)])
			case Pass, Unknown, Info, Skipped:
			}
		}
		lost += worst
	}
	return max(0, 100-(lost+1)/2), true
}

// Above reports whether something was found that matters as much as least.
func (r *Report) Above(least Severity) bool {
	for i := range r.Results {
		x := &r.Results[i]
		if slices.ContainsFunc(x.Findings, func(f Finding) bool { return r.Counts(x, &f, least) }) {
			return true
		}
	}
	return false
}

// Counts reports whether one finding matters as much as least. Warnings count for less
// than failures: only if least is medium or lower. What the baseline has does not count.
func (r *Report) Counts(x *Result, f *Finding, least Severity) bool {
	return x.Severity(f) >= least && (f.State == Fail || f.State == Warn && least <= SevMedium) && !r.Known(x.Check, f)
}

// A Gone is a finding of the baseline that is no more.
type Gone struct {
	ID          string `json:"id"`
	Severity    string `json:"severity"`
	Title       string `json:"title"`
	Fingerprint string `json:"fingerprint"`
}

// A Baseline is what an earlier run found wrong, at all its targets. Its zero value is a
// run that found nothing.
type Baseline struct {
	targets map[string][]Gone
	prints  map[string]bool
}

// Add adds what was found at a target. It is not to be called once a report has the
// baseline.
func (b *Baseline) Add(target string, found Gone) {
	if b.targets == nil {
		b.targets, b.prints = map[string][]Gone{}, map[string]bool{}
	}
	b.targets[target] = append(b.targets[target], found)
	b.prints[found.Fingerprint] = true
}

// Known reports whether the baseline has a finding.
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
