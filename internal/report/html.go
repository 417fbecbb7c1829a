package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"port53/internal/finding"
	"port53/internal/scan"
	"port53/internal/wire"
)

// An htmlWriter writes one page without scripts: nothing is loaded from anywhere. The reports wait
// until all are known, since the page opens with what matters of all.
type htmlWriter struct {
	base
	sum   summary
	spool spool
	parts []part // by number of report
}

// The measures of the drawings, in units of their view boxes.
const (
	ringRadius = 52
	barLength  = 190 // of the most frequent severity
	stackWidth = 100 // of all checks of a chapter

	targetsOfPage = 4 // lines of the table that may stand beside the rest of the summary on paper
)

// An htmlRing is a score drawn as a part of a circle.
type htmlRing struct {
	Score    int
	Known    bool
	Class    string
	Arc, Gap int
}

func ring(score int, known bool) htmlRing {
	around := 2 * math.Pi * ringRadius
	arc := int(math.Round(around * float64(score) / 100))
	return htmlRing{Score: score, Known: known, Class: scoreClass(score, known), Arc: arc, Gap: int(math.Ceil(around))}
}

// scoreClass returns the colour of a score: what one check that fails leaves of a hundred has that
// of its severity.
func scoreClass(score int, known bool) string {
	switch {
	case !known:
		return "unknown"
	case score <= 40:
		return "critical"
	case score <= 75:
		return "high"
	case score < 92:
		return "medium"
	}
	return "pass"
}

// An htmlBar is how many findings there are of a severity.
type htmlBar struct {
	Severity    string
	N, Width, Y int
}

// bars returns a bar for each severity, the worst first.
func bars(n *[finding.SevCritical + 1]int) []htmlBar {
	most := slices.Max(n[finding.SevLow:])
	var out []htmlBar
	for sev := finding.SevCritical; sev >= finding.SevLow; sev-- {
		b := htmlBar{Severity: sev.String(), N: n[sev], Y: 26 * int(finding.SevCritical-sev)}
		if b.N > 0 {
			b.Width = max(4, barLength*b.N/most)
		}
		out = append(out, b)
	}
	return out
}

// An htmlChip is a number with a severity.
type htmlChip struct {
	Severity string
	N        int
}

func chips(n *[finding.SevCritical + 1]int) []htmlChip {
	var out []htmlChip
	for sev := finding.SevCritical; ; sev-- {
		if n[sev] > 0 {
			out = append(out, htmlChip{sev.String(), n[sev]})
		}
		if sev == finding.SevInfo {
			return out
		}
	}
}

// An htmlFault is one of what is to be mended first.
type htmlFault struct {
	N                                         int
	ID, Title, Severity, State, Where, Advice string
}

// An htmlRow is a line of the table of targets.
type htmlRow struct {
	N                               int
	Target, Software, Verdict, Look string
	Ring                            htmlRing
	Chips                           []htmlChip
}

// An htmlSummary is the first page. In one piece: it is what the page is written from.
type htmlSummary struct {
	Version, Subject, Beside, Verdict, Class, Began, Took string
	Targets                                               int
	Many                                                  bool // targets, more than stand on a page
	Failed, Warned, Passed, Unknown                       int
	Ring                                                  htmlRing
	Bars                                                  []htmlBar
	Chart                                                 string // the bars in words
	First                                                 []htmlFault
	More                                                  int
	Notes                                                 []string
	Rows                                                  []htmlRow
	Silent                                                []string
	Interrupted                                           string
}

type htmlFinding struct {
	Anchor, State, Severity, ID, Title, Detail, Place, Advice, Command, Measured, Sent, Received string
	Refs                                                                                         []htmlRef
}

type htmlRef struct{ Text, URL string }

// An htmlChapter is how the checks of a group of the catalogue ended.
type htmlChapter struct {
	Name, Look, Counts     string
	Pass, Warn, Fail, None int // checks
	X                      [3]int
	W                      [4]int
}

// An htmlReport is what the page has of one target. In one piece: it is what the page is written from.
type htmlReport struct {
	N                      int
	Target, Verdict, Look  string
	Ring                   htmlRing
	Started, Counts        string
	Software, Addresses    string
	Ports                  []scan.Port
	Chapters               []htmlChapter
	Bad, Known, Unmeasured []htmlFinding
	Good                   []htmlFinding
	Gone                   []finding.Gone
	Notes                  []string
}

func (h *htmlWriter) Write(r *finding.Report) error {
	h.n++
	h.sum.add(r)
	from := h.spool.size
	if x := &h.sum.rows[h.n-1]; !x.dead {
		var p page
		p.report(htmlOf(h.n, r))
		if _, err := h.spool.Write(p.b); err != nil {
			return err
		}
	}
	h.parts = append(h.parts, part{from, h.spool.size})
	return nil
}

// htmlOf returns what the page has of one target.
func htmlOf(n int, r *finding.Report) *htmlReport {
	score, known := r.Score()
	v := &htmlReport{
		N:       n,
		Target:  wire.Printable(r.Target.Text),
		Verdict: verdictAlone(r),
		Look:    looks(r).String(),
		Ring:    ring(score, known),
		Started: r.Started.UTC().
			Format("2006-01-02 15:04:05 UTC"),
		Counts:   counts(r),
		Software: runs(r),
		Ports:    ports(r),
		Chapters: chapters(r),
		Gone:     r.Gone(),
		Notes:    slices.Concat(r.MissingLocally(), left(r)),
	}
	for i, text := range v.Notes {
		v.Notes[i] = wire.Printable(text)
	}
	if text := unmeasured(r); text != "" {
		v.Notes = append([]string{text}, v.Notes...)
	}
	var addresses []string
	for _, s := range r.Target.Servers {
		addresses = append(addresses, s.Addr.Addr().String())
	}
	v.Addresses = strings.Join(addresses, ", ")
	linked := map[string]bool{} // a link leads to the first finding of a check
	for _, x := range bad(r) {
		f := htmlFindingOf(x)
		if !linked[f.ID] {
			f.Anchor = fmt.Sprintf("t%d-%s", n, f.ID)
		}
		linked[f.ID] = true
		v.Bad = append(v.Bad, f)
	}
	for _, x := range all(r) {
		switch {
		case x.State == finding.Unknown:
			v.Unmeasured = append(v.Unmeasured, htmlFindingOf(x))
		case x.State == finding.Pass || x.State == finding.Info:
			v.Good = append(v.Good, htmlFindingOf(x))
		case x.bad() && x.known():
			v.Known = append(v.Known, htmlFindingOf(x))
		}
	}
	return v
}

// chapters returns how the checks of each group ended, in the order of the catalogue.
func chapters(r *finding.Report) []htmlChapter {
	var out []htmlChapter
	for i := range r.Results {
		x := &r.Results[i]
		at := slices.IndexFunc(out, func(c htmlChapter) bool { return c.Name == string(x.Check.Group) })
		if at < 0 {
			at = len(out)
			out = append(out, htmlChapter{Name: string(x.Check.Group)})
		}
		switch c := &out[at]; x.Worst() {
		case finding.Fail:
			c.Fail++
		case finding.Warn:
			c.Warn++
		case finding.Unknown:
			c.None++
		case finding.Pass, finding.Info:
			c.Pass++
		case finding.Skipped:
		}
	}
	out = slices.DeleteFunc(out, func(c htmlChapter) bool { return c.Fail+c.Warn+c.None+c.Pass == 0 })
	for i := range out {
		c := &out[i]
		switch {
		case c.Fail > 0:
			c.Look = "fail"
		case c.Warn > 0:
			c.Look = "warn"
		case c.None > 0:
			c.Look = "unknown"
		default:
			c.Look = "pass"
		}
		var parts []string
		for j, n := range []int{c.Fail, c.Warn, c.None, c.Pass} {
			if n > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", n, [...]string{"failed", warnings(n), "unknown", "passed"}[j]))
			}
		}
		c.Counts = strings.Join(parts, ", ")
		all := c.Fail + c.Warn + c.None + c.Pass
		at, done := 0, 0
		for j, n := range []int{c.Pass, c.Warn, c.Fail, c.None} {
			done += n
			end := stackWidth * done / all
			c.W[j] = end - at
			if at = end; j < len(c.X) {
				c.X[j] = end
			}
		}
	}
	return out
}

func htmlFindingOf(x reported) htmlFinding {
	out := htmlFinding{
		State: x.State.String(), Severity: x.severity().String(), ID: x.check.ID, Title: x.title(), Detail: x.detail(), Place: x.place(),
		Advice: x.advice(), Command: x.command(), Measured: x.measured(),
		Sent: spaced(shown(x.Evidence.Sent)), Received: spaced(shown(x.Evidence.Received)),
	}
	if strings.EqualFold(out.Detail, out.Title) {
		out.Detail = "" // it says no more
	}
	for _, ref := range x.check.Refs {
		out.Refs = append(out.Refs, htmlRef{ref, finding.Link(ref)})
	}
	return out
}

// spaced parts hexadecimal digits into groups of four octets, where lines can break.
func spaced(digits string) string {
	var b strings.Builder
	for i := 0; i < len(digits); i += 8 {
		fmt.Fprintf(&b, "%s ", digits[i:min(i+8, len(digits))])
	}
	return strings.TrimSpace(b.String())
}

// htmlSummaryOf returns the first page.
func (h *htmlWriter) htmlSummaryOf() *htmlSummary {
	s := &h.sum
	alive := s.alive()
	v := &htmlSummary{
		Version: wire.Printable(h.o.Version),
		Subject: wire.Printable(h.o.Subject),
		Verdict: capital(s.verdict()),
		Class:   "pass",
		Targets: len(
			s.rows,
		),
		Many:    len(alive)+len(s.silent()) > targetsOfPage,
		Failed:  s.states[finding.Fail],
		Warned:  s.states[finding.Warn],
		Passed:  s.states[finding.Pass] + s.states[finding.Info],
		Unknown: s.states[finding.Unknown],
		Ring: ring(
			s.score,
			s.scored,
		),
		Bars:   bars(&s.findings),
		Chart:  cmp.Or(bySeverity(&s.findings), "none"),
		Notes:  s.notes(),
		Silent: s.silent(),
	}
	if len(s.rows) > 0 {
		v.Subject = cmp.Or(v.Subject, s.rows[0].target)
		v.Began, v.Took = s.started.UTC().Format("2 January 2006, 15:04 UTC"), s.ended.Sub(s.started).Round(100*time.Millisecond).String()
	}
	if len(s.rows) > 1 {
		v.Beside = s.counted()
	}
	for _, x := range s.rows {
		switch {
		case x.look == finding.Fail:
			v.Class = "fail"
		case x.look == finding.Warn && v.Class != "fail":
			v.Class = "warn"
		case x.look == finding.Unknown && !x.dead && v.Class == "pass":
			v.Class = "unknown"
		}
	}
	if len(alive) == 0 {
		v.Class = "unknown"
	}
	list, more := s.first()
	for _, f := range list {
		x := htmlFault{f.n, f.id, f.title, f.severity.String(), f.state.String(), "", f.advice}
		if len(s.rows) > 1 {
			x.Where = f.where()
		}
		v.First = append(v.First, x)
	}
	v.More = more
	for _, x := range alive {
		v.Rows = append(v.Rows, htmlRow{x.n, x.target, x.software, x.verdict, x.look.String(), ring(x.score, x.scored), chips(&x.findings)})
	}
	if h.interrupted() {
		v.Interrupted = earlyEnd
	}
	return v
}

// capital begins a text with a capital letter.
func capital(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

func (h *htmlWriter) Close() error {
	defer h.spool.close()
	v := h.htmlSummaryOf()
	var begin, end page
	begin.summary(v)
	if _, err := h.w.Write(begin.b); err != nil {
		return err
	}
	for _, x := range v.Rows {
		if p := h.parts[x.N-1]; p.to > p.from {
			if err := h.spool.copy(h.w, p.from, p.to); err != nil {
				return err
			}
		}
	}
	end.foot()
	_, err := h.w.Write(end.b)
	return err
}
