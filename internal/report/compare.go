package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"port53/internal/finding"
)

// A PreviousRun is what an earlier run found, as it was written in JSON.
type PreviousRun struct {
	targets     []*jsonReport
	interrupted bool
}

// ReadPreviousRun reads what a run wrote in JSON.
func ReadPreviousRun(in io.Reader) (*PreviousRun, error) {
	p := new(PreviousRun)
	err := readReports(in, func(r *jsonReport) {
		one := *r
		p.targets = append(p.targets, &one)
	}, func(run *jsonRun) { p.interrupted = p.interrupted || run.Interrupted })
	if err != nil {
		return nil, err
	}
	return p, nil
}

// find returns the report of a target, or nil.
func (p *PreviousRun) find(target string) *jsonReport {
	for _, r := range p.targets {
		if r.Target == target {
			return r
		}
	}
	return nil
}

// A Change is one finding that only one of two runs has.
type Change struct {
	Target      string `json:"target"`
	ID          string `json:"id"`
	State       string `json:"state"`
	Severity    string `json:"severity"`
	Title       string `json:"title"`
	Detail      string `json:"detail,omitempty"`
	Fingerprint string `json:"fingerprint"`
}

// A ScoreChange is a target whose score is another.
type ScoreChange struct {
	Target string `json:"target"`
	Before int    `json:"before"`
	After  int    `json:"after"`
}

// A Comparison is what differs between two runs. What one of them could not measure, or did not
// look at, is neither new nor gone.
type Comparison struct {
	Schema      string        `json:"schema"`
	New         []Change      `json:"new"`
	Gone        []Change      `json:"gone"`
	Scores      []ScoreChange `json:"scores"`
	OnlyBefore  []string      `json:"only_before"` // targets
	OnlyAfter   []string      `json:"only_after"`
	Unmeasured  []string      `json:"unmeasured"` // "TARGET ID", measured before and not after
	Interrupted bool          `json:"interrupted"`
}

// Compare tells what differs between an older run and a newer one.
func Compare(older, newer *PreviousRun) *Comparison {
	c := &Comparison{
		Schema:      "port53.compare/1",
		New:         []Change{},
		Gone:        []Change{},
		Scores:      []ScoreChange{},
		OnlyBefore:  []string{},
		OnlyAfter:   []string{},
		Unmeasured:  []string{},
		Interrupted: older.interrupted || newer.interrupted,
	}
	for _, after := range newer.targets {
		before := older.find(after.Target)
		if before == nil {
			c.OnlyAfter = append(c.OnlyAfter, after.Target)
			continue
		}
		c.New = append(c.New, only(after, before, false)...)
		c.Gone = append(c.Gone, only(before, after, true)...)
		if before.Score != nil && after.Score != nil && *before.Score != *after.Score {
			c.Scores = append(c.Scores, ScoreChange{after.Target, *before.Score, *after.Score})
		}
		for _, x := range after.Checks {
			if x.State == finding.Unknown.String() && made(before, x.ID) {
				if line := after.Target + " " + x.ID; !slices.Contains(c.Unmeasured, line) {
					c.Unmeasured = append(c.Unmeasured, line)
				}
			}
		}
	}
	for _, before := range older.targets {
		if newer.find(before.Target) == nil {
			c.OnlyBefore = append(c.OnlyBefore, before.Target)
		}
	}
	return c
}

// only returns what is bad in a and not in b. If measured, b has to have measured it.
func only(a, b *jsonReport, measured bool) []Change {
	var out []Change
	for _, x := range a.Checks {
		same := func(y jsonCheck) bool { return y.Fingerprint == x.Fingerprint && y.bad() }
		if !x.bad() || slices.ContainsFunc(b.Checks, same) || measured && !made(b, x.ID) {
			continue
		}
		out = append(out, Change{a.Target, x.ID, x.State, x.Severity, x.Title, x.Detail, x.Fingerprint})
	}
	return out
}

// made reports whether a check was made at a target, and could measure.
func made(r *jsonReport, id string) bool {
	there := false
	for _, x := range r.Checks {
		if x.ID == id {
			if x.State == finding.Unknown.String() {
				return false
			}
			there = true
		}
	}
	return there
}

// Worse reports whether something is new that matters as much as least: as [finding.Report.Counts]
// has it.
func (c *Comparison) Worse(least finding.Severity) bool {
	return slices.ContainsFunc(c.New, func(x Change) bool {
		sev, ok := finding.ParseSeverity(x.Severity)
		return ok && sev >= least && (x.State == finding.Fail.String() || least <= finding.SevMedium)
	})
}

// WriteJSON writes the comparison as one object.
func (c *Comparison) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(c)
}

// WriteText writes the comparison for people.
func (c *Comparison) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, x := range []struct {
		word string
		list []Change
	}{{"NEW", c.New}, {"GONE", c.Gone}} {
		for _, y := range x.list {
			fmt.Fprintf(&b, "%-4s %s %s %s %s: %s\n", x.word, y.Target, y.State, y.Severity, y.ID, y.Title)
			if y.Detail != "" {
				fmt.Fprintf(&b, "     %s\n", y.Detail)
			}
		}
	}
	for _, x := range c.Scores {
		fmt.Fprintf(&b, "score of %s: %d, was %d\n", x.Target, x.After, x.Before)
	}
	for _, x := range []struct {
		word string
		list []string
	}{{"only in the older report", c.OnlyBefore}, {"only in the newer report", c.OnlyAfter}, {"not measured any more", c.Unmeasured}} {
		for _, y := range x.list {
			fmt.Fprintf(&b, "%s: %s\n", x.word, y)
		}
	}
	if c.Interrupted {
		fmt.Fprintf(&b, "one of the reports was interrupted: what is not in it is neither new nor gone\n")
	}
	if b.Len() == 0 {
		b.WriteString("nothing changed\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
