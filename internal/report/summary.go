package report

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"port53/internal/finding"
	"port53/internal/wire"
)

// The bounds of a summary, which has to fit on one page.
const (
	mostFaults  = 6    // what to mend first
	mostWhere   = 3    // targets named beside one of them
	mostMissing = 5    // checks named that could not be made
	keptFaults  = 1000 // faults that are told apart; a server may give each finding a title of its own
)

// A summary is what a reader wants first: how bad it is, what to mend first, and what was looked
// at. It takes the reports of a run one after the other, and keeps a line of each.
type summary struct {
	rows     []row
	findings [finding.SevCritical + 1]int
	states   [finding.Skipped + 1]int // checks
	score    int                      // the least of all targets'
	scored   bool
	faults   []*fault
	missing  []*missing
	left     []*finding.Check
	lacking  []string
	known    int
	blind    int // targets that nobody can call sound, for what was not measured

	unreached int // targets of which next to nothing could be measured, though they were asked for
	started   time.Time
	ended     time.Time
}

// A row is what the summary keeps of one target.
type row struct {
	n        int // of the report, from 1
	target   string
	addr     netip.Addr // zero: none
	software string
	verdict  string // without what could not be measured
	problem  string // of a target where nobody answers
	findings [finding.SevCritical + 1]int
	score    int
	scored   bool
	reached  bool
	dead     bool          // nobody answers, and there is no more to be said of it
	mute     bool          // nobody answers
	look     finding.State // that it is shown in
}

// A fault is what is wrong in the same way at one target or at many. Its texts are those of the
// worst of its findings.
type fault struct {
	id, title string
	severity  finding.Severity
	state     finding.State
	advice    string
	n         int      // the report that has it
	targets   []string // the first of them
	at        int      // how many targets
	count     int      // how many findings
}

// A missing is a check that could not be made.
type missing struct {
	check *finding.Check
	at    int // how many targets
}

// add takes the next report.
func (s *summary) add(r *finding.Report) {
	n := len(s.rows) + 1
	if n == 1 || r.Started.Before(s.started) {
		s.started = r.Started
	}
	if end := r.Started.Add(r.Took); end.After(s.ended) {
		s.ended = end
	}
	x := row{
		n:        n,
		target:   wire.Printable(r.Target.Text),
		software: runs(r),
		reached:  r.Measured(),
		mute:     r.Unreachable && r.Service == "",
		verdict:  verdictAlone(r),
		look:     looks(r),
	}
	if a := r.Target.Server.Addr; a.IsValid() {
		x.addr = a.Addr()
	}
	if r.Unreachable && r.Service == "" && r.Problem != "" {
		x.dead, x.problem = true, wire.Printable(r.Problem)
	}
	x.score, x.scored = r.Score()
	if x.scored && (!s.scored || x.score < s.score) {
		s.score, s.scored = x.score, true
	}
	for _, f := range bad(r) {
		x.findings[f.severity()]++
		s.findings[f.severity()]++
		s.fault(n, f)
	}
	for state, count := range r.Count() {
		s.states[state] += count
	}
	switch {
	case x.reached:
		for _, u := range r.Unmeasured() {
			s.miss(u.Check)
		}
	case !r.Unreachable || r.Service == "" && !x.dead:
		s.unreached++
	}
	for _, c := range r.NotRun {
		if !slices.Contains(s.left, c) {
			s.left = append(s.left, c)
		}
	}
	for _, text := range r.MissingLocally() {
		if text = wire.Printable(text); !slices.Contains(s.lacking, text) && len(s.lacking) < mostMissing {
			s.lacking = append(s.lacking, text)
		}
	}
	s.known += known(r)
	if !x.dead && r.NotMeasured(finding.SevMedium) {
		s.blind++
	}
	s.rows = append(s.rows, x)
}

// fault adds a finding to those of its kind.
func (s *summary) fault(n int, x reported) {
	title := x.title()
	at := slices.IndexFunc(s.faults, func(f *fault) bool { return f.id == x.check.ID && f.title == title })
	if at < 0 {
		if len(s.faults) >= keptFaults {
			return
		}
		at = len(s.faults)
		s.faults = append(s.faults, &fault{id: x.check.ID, title: title})
	}
	f := s.faults[at]
	if f.count == 0 || x.severity() > f.severity || x.severity() == f.severity && x.State > f.state {
		f.severity, f.state, f.advice, f.n = x.severity(), x.State, x.advice(), n
	}
	f.count++
	if where := wire.Printable(x.report.Target.Text); f.at == 0 || f.targets[len(f.targets)-1] != where {
		if f.at++; f.at > mostWhere {
			f.targets[len(f.targets)-1] = where // the last that was seen, which is not named
		} else {
			f.targets = append(f.targets, where)
		}
	}
}

// miss counts a check that could not be made.
func (s *summary) miss(c *finding.Check) {
	for _, m := range s.missing {
		if m.check == c {
			m.at++
			return
		}
	}
	s.missing = append(s.missing, &missing{c, 1})
}

// first returns what to mend first, and how many kinds of faults there are beside.
func (s *summary) first() (list []*fault, more int) {
	list = slices.Clone(s.faults)
	slices.SortStableFunc(list, func(a, b *fault) int {
		return cmp.Or(cmp.Compare(b.severity, a.severity), cmp.Compare(b.state, a.state), cmp.Compare(b.at, a.at))
	})
	return list[:min(len(list), mostFaults)], max(0, len(list)-mostFaults)
}

// where names the targets of a fault.
func (f *fault) where() string {
	text := strings.Join(f.targets, ", ")
	if f.at > mostWhere {
		text = fmt.Sprintf("%s and %d more", strings.Join(f.targets[:mostWhere-1], ", "), f.at-mostWhere+1)
	}
	if f.count > f.at {
		text += fmt.Sprintf(" (%s)", counted(f.count, "finding"))
	}
	return text
}

// alive returns the targets that are worth a line of their own, the worst first.
func (s *summary) alive() []row {
	list := slices.DeleteFunc(slices.Clone(s.rows), func(x row) bool { return x.dead })
	slices.SortStableFunc(list, func(a, b row) int {
		for sev := finding.SevCritical; sev > finding.SevInfo; sev-- {
			if order := cmp.Compare(b.findings[sev], a.findings[sev]); order != 0 {
				return order
			}
		}
		return cmp.Compare(rankOf(&a), rankOf(&b))
	})
	return list
}

// rankOf orders targets without findings: what could not be looked at comes before what is sound.
func rankOf(x *row) int {
	if x.reached {
		return 1
	}
	return 0
}

// counted tells how many targets there were.
func (s *summary) counted() string {
	silent := 0
	for _, x := range s.rows {
		if x.dead || x.mute {
			silent++
		}
	}
	text := counted(len(s.rows), "target")
	if silent > 0 {
		text += fmt.Sprintf("; nobody answers at %d", silent)
	}
	return text
}

// silent returns a line for each way in which nobody answers, with all targets it is so at.
func (s *summary) silent() []string {
	var problems []string
	at := map[string][]row{}
	for _, x := range s.rows {
		if x.dead {
			if at[x.problem] == nil {
				problems = append(problems, x.problem)
			}
			at[x.problem] = append(at[x.problem], x)
		}
	}
	var out []string
	for _, p := range problems {
		if list := at[p]; len(list) == 1 {
			out = append(out, list[0].target+": "+p)
		} else {
			out = append(out, fmt.Sprintf("%d targets: %s: %s", len(list), p, strings.Join(spans(list), ", ")))
		}
	}
	return out
}

// spans names targets, those that are addresses behind each other by the first and the last.
func spans(list []row) []string {
	var out []string
	for i := 0; i < len(list); {
		j := i + 1
		for j < len(list) && list[i].target == list[i].addr.String() && list[j].target == list[j].addr.String() &&
			list[j].addr == list[j-1].addr.Next() {
			j++
		}
		switch {
		case j-i > 2:
			out = append(out, list[i].target+"-"+list[j-1].target)
		default:
			for _, x := range list[i:j] {
				out = append(out, x.target)
			}
		}
		i = j
	}
	return out
}

// bySeverity tells how many there are of each severity, the worst first; "" is none.
func bySeverity(n *[finding.SevCritical + 1]int) string {
	var parts []string
	for sev := finding.SevCritical; ; sev-- {
		if n[sev] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[sev], sev))
		}
		if sev == finding.SevInfo {
			break
		}
	}
	return strings.Join(parts, ", ")
}

// verdict returns the run in one sentence.
func (s *summary) verdict() string {
	live, found, worst := 0, 0, finding.SevInfo
	for _, x := range s.rows {
		if !x.dead {
			live++
		}
	}
	for sev, n := range s.findings {
		if found += n; n > 0 {
			worst = finding.Severity(sev)
		}
	}
	switch {
	case len(s.rows) == 0:
		return "there was no target"
	case found > 0 && found == s.findings[worst]:
		return fmt.Sprintf(
			"%s, %sof %s severity",
			counted(found, "finding"),
			map[bool]string{false: "all "}[found == 1],
			worst,
		)
	case found > 0:
		return fmt.Sprintf("%s, %d of them of %s severity", counted(found, "finding"), s.findings[worst], worst)
	case live == 0:
		return "nobody answers"
	case s.blind == live:
		return notMeasured
	case s.blind > 0:
		return fmt.Sprintf("incomplete: %d of %s could not be measured", s.blind, counted(live, "target"))
	case s.known > 0:
		return "nothing new was found"
	}
	return "nothing wrong was found"
}

// notes tells what the verdict does not rest on: what could not be measured, and what was not
// looked at.
func (s *summary) notes() []string {
	var out []string
	if s.known > 0 {
		out = append(out, counted(s.known, "finding")+" that the baseline has")
	}
	if s.unreached > 0 && len(s.rows) > 1 {
		out = append(out, fmt.Sprintf("%d of %s could not be measured as a whole", s.unreached, counted(len(s.rows), "target")))
	}
	if len(s.missing) > 0 {
		list := slices.Clone(s.missing)
		slices.SortStableFunc(list, func(a, b *missing) int {
			return cmp.Or(cmp.Compare(b.check.Severity, a.check.Severity), cmp.Compare(b.at, a.at))
		})
		var names []string
		for _, m := range list[:min(len(list), mostMissing)] {
			text := m.check.Severity.String()
			if len(s.rows) > 1 {
				text += ", " + counted(m.at, "target")
			}
			names = append(names, fmt.Sprintf("%s (%s)", m.check.ID, text))
		}
		if more := len(list) - mostMissing; more > 0 {
			names = append(names, fmt.Sprintf("and %d more", more))
		}
		out = append(out, "could not be measured: "+strings.Join(names, ", "))
	}
	out = append(out, s.lacking...)
	return append(out, leftOut(s.left)...)
}

// looks returns the state that a report as a whole is shown in.
func looks(r *finding.Report) finding.State {
	list := bad(r)
	switch {
	case len(list) > 0:
		return list[0].State
	case !r.Measured() || r.Inconclusive(finding.SevMedium):
		return finding.Unknown
	}
	return finding.Pass
}
