package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"port53/internal/finding"
	"port53/internal/scan"
	"port53/internal/wire"
)

// A reported is one finding with what it is a finding of. Its texts are printable.
type reported struct {
	report *finding.Report
	result *finding.Result
	check  *finding.Check
	*finding.Finding
}

func (x reported) title() string              { return wire.Printable(x.result.Title(x.Finding)) }
func (x reported) severity() finding.Severity { return x.result.Severity(x.Finding) }
func (x reported) detail() string             { return wire.Printable(x.Detail) }
func (x reported) place() string              { return wire.Printable(x.Place()) }
func (x reported) command() string            { return wire.Printable(x.Evidence.Command) }
func (x reported) fingerprint() string        { return x.report.Fingerprint(x.check, x.Finding) }
func (x reported) known() bool                { return x.report.Known(x.check, x.Finding) }

// bad reports whether the finding is that something is wrong.
func (x reported) bad() bool { return x.State == finding.Fail || x.State == finding.Warn }

// advice returns what mends what was found, at the software that the target runs.
func (x reported) advice() string {
	return wire.Printable(x.check.AdviceFor(x.report.Software.Product))
}

// measured returns what the finding rests on, in words, or "".
func (x reported) measured() string {
	e := &x.Evidence
	var parts []string
	if e.N > 0 {
		parts = append(parts, counted(e.N, "exchange"))
	}
	if e.RTT > 0 {
		parts = append(parts, "answered in "+e.RTT.Round(100*time.Microsecond).String())
	}
	if len(e.Received) > 0 {
		text := counted(len(e.Received), "octet") + " came back"
		if len(e.Received) >= finding.MaxShown {
			text = "at least " + text
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

// all returns the findings in the order of the catalogue.
func all(r *finding.Report) []reported {
	var list []reported
	for i := range r.Results {
		x := &r.Results[i]
		for j := range x.Findings {
			list = append(list, reported{r, x, x.Check, &x.Findings[j]})
		}
	}
	return list
}

// ports returns the ports as they can be printed.
func ports(r *finding.Report) []scan.Port {
	list := make([]scan.Port, len(r.Ports))
	for i, p := range r.Ports {
		p.Proto, p.State, p.Reason, p.From = wire.Printable(
			p.Proto,
		), wire.Printable(
			p.State,
		), wire.Printable(
			p.Reason,
		), wire.Printable(
			p.From,
		)
		list[i] = p
	}
	return list
}

// bad returns what failed and what warns, the most severe first. What the baseline has
// is left out.
func bad(r *finding.Report) []reported {
	list := slices.DeleteFunc(all(r), func(x reported) bool { return !x.bad() || x.known() })
	slices.SortStableFunc(list, func(a, b reported) int {
		return cmp.Or(cmp.Compare(b.severity(), a.severity()), cmp.Compare(b.State, a.State))
	})
	return list
}

// known returns how many findings are left out because the baseline has them.
func known(r *finding.Report) int {
	n := 0
	for _, x := range all(r) {
		if x.bad() && x.known() {
			n++
		}
	}
	return n
}

// verdict returns the report in one line, with what it does not rest on.
func verdict(r *finding.Report) string {
	text := verdictAlone(r)
	switch missing := unmeasured(r); {
	case r.Problem != "" || missing == "" || !r.Measured() && len(bad(r)) == 0:
	case text == "incomplete":
		return "incomplete: " + missing
	case len(bad(r)) > 0 && r.Inconclusive(finding.SevMedium), text == nothingWrong:
		return text + "; " + missing
	}
	return text
}

const (
	nothingWrong = "nothing wrong was found"
	notMeasured  = "unknown (could not be measured)"
)

// verdictAlone returns the verdict without what could not be measured.
func verdictAlone(r *finding.Report) string {
	list := bad(r)
	switch {
	case r.Unreachable && r.Problem != "":
		return wire.Printable(r.Problem)
	case r.Problem != "":
		return "unknown (could not be measured: " + wire.Printable(r.Problem) + ")"
	case len(list) > 0:
		return fmt.Sprintf("%s: %s", list[0].severity(), list[0].title())
	case !r.Measured():
		return notMeasured
	case len(r.Results) == r.Count()[finding.Skipped]:
		return "none of the selected checks applies"
	case r.Inconclusive(finding.SevMedium):
		return "incomplete"
	case known(r) > 0:
		return "nothing new was found"
	}
	return nothingWrong
}

// unmeasured names the checks that could not be made, the most severe first; "" is none.
func unmeasured(r *finding.Report) string {
	list := r.Unmeasured()
	if len(list) == 0 {
		return ""
	}
	const most = 5
	var names []string
	for i, x := range list {
		if i == most {
			names = append(names, fmt.Sprintf("and %d more", len(list)-most))
			break
		}
		names = append(names, fmt.Sprintf("%s (%s)", x.Check.ID, x.Check.Severity))
	}
	return fmt.Sprintf("%d of %s could not be measured: %s", len(list), counted(len(r.Results), "check"), strings.Join(names, ", "))
}

// left tells which checks were left out, for each flag that they need.
func left(r *finding.Report) []string { return leftOut(r.NotRun) }

// leftOut tells for each flag how many checks need it.
func leftOut(list []*finding.Check) []string {
	var out []string
	for _, mode := range []finding.Mode{finding.Active, finding.Intrusive} {
		n, worst, of := 0, finding.SevInfo, 0
		for _, c := range list {
			switch {
			case c.Mode != mode:
				continue
			case c.Severity > worst:
				worst, of = c.Severity, 0
			}
			n++
			if c.Severity == worst {
				of++
			}
		}
		if n > 0 {
			needs := map[bool]string{true: "needs", false: "need"}[n == 1]
			out = append(out, fmt.Sprintf("%s %s --%s; %s of %s severity", counted(n, "check"), needs, mode, share(of, n), worst))
		}
	}
	return out
}

// share is the subject and the verb of a sentence about some of all that were just counted.
func share(some, all int) string {
	switch {
	case all == 1:
		return "it is"
	case some == all:
		return "all of them are"
	case some == 1:
		return "1 of them is"
	}
	return fmt.Sprintf("%d of them are", some)
}

// counts returns how the checks ended, in one line.
func counts(r *finding.Report) string {
	n := r.Count()
	return fmt.Sprintf("%d failed, %s, %d passed, %d unknown, in %s", n[finding.Fail], counted(n[finding.Warn], "warning"),
		n[finding.Pass]+n[finding.Info], n[finding.Unknown], r.Took.Round(10*time.Millisecond))
}

// warnings is what n of them are called.
func warnings(n int) string { return map[bool]string{true: "warning", false: "warnings"}[n == 1] }

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Escape sequences of terminals (ECMA-48, section 8.3.117).
const (
	inBold   = "\x1b[1m"
	inRed    = "\x1b[1;31m"
	inYellow = "\x1b[33m"
	inGreen  = "\x1b[32m"
	inPlain  = "\x1b[0m"
)

// writeText writes the report for people: the ports, the verdict, and what was found,
// the most severe first, each with what mends it and a command that shows it.
func writeText(w io.Writer, r *finding.Report, o Options) error {
	var b strings.Builder
	if r.Unreachable && r.Problem != "" {
		_, err := fmt.Fprintf(w, "%s: %s\n", wire.Printable(r.Target.Text), verdict(r))
		return err
	}
	paint := (&base{o: o}).paint
	fmt.Fprintf(&b, "%s\n", paint(inBold, wire.Printable(r.Target.Text)))
	for _, p := range ports(r) {
		fmt.Fprintf(&b, "  %d/%s %s (%s)\n", p.Number, p.Proto, p.State, p.Reason)
	}
	if s := runs(r); s != "" {
		fmt.Fprintf(&b, "  software: %s (by %s, confidence %d of 10)\n", s, wire.Printable(r.Software.Method), r.Software.Confidence)
	}
	list := bad(r)
	colour := inGreen
	switch {
	case len(list) > 0 && list[0].State == finding.Fail:
		colour = inRed
	case len(list) > 0 || !r.Measured() || r.Inconclusive(finding.SevMedium):
		colour = inYellow
	}
	fmt.Fprintf(&b, "  verdict: %s\n", paint(colour, verdict(r)))
	if score, ok := r.Score(); ok {
		fmt.Fprintf(&b, "  score: %d of 100\n", score)
	}
	fmt.Fprintf(&b, "  %s\n", counts(r))
	if text := unmeasured(r); text != "" && len(list) > 0 && !r.Inconclusive(finding.SevMedium) {
		fmt.Fprintf(&b, "  %s\n", text)
	}
	for _, text := range slices.Concat(r.MissingLocally(), left(r)) {
		fmt.Fprintf(&b, "  %s\n", wire.Printable(text))
	}
	if n := known(r); n > 0 {
		fmt.Fprintf(&b, "  %s that the baseline has\n", counted(n, "finding"))
	}
	for _, g := range r.Gone() {
		fmt.Fprintf(&b, "  gone since the baseline: %s\n", wire.Printable(g.Severity+" "+g.ID+": "+g.Title))
	}
	for _, x := range list {
		colour := inYellow
		if x.State == finding.Fail {
			colour = inRed
		}
		fmt.Fprintf(&b, "\n%s %s %s: %s\n", paint(colour, strings.ToUpper(x.State.String())), x.severity(), x.check.ID, x.title())
		for _, line := range []struct{ head, text string }{
			{"  ", x.detail()},
			{"  at: ", x.place()},
			{"  evidence: ", x.measured()},
			{"  remedy: ", x.advice()},
			{"  see it: ", x.command()},
		} {
			if line.text != "" {
				fmt.Fprintf(&b, "%s%s\n", line.head, line.text)
			}
		}
	}
	if o.All {
		b.WriteByte('\n')
		for _, x := range all(r) {
			if x.bad() {
				continue
			}
			fmt.Fprintf(&b, "%s %s: %s\n", x.State, x.check.ID, x.title())
			if x.State == finding.Unknown && x.Detail != "" {
				fmt.Fprintf(&b, "  %s\n", x.detail())
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// text returns the summary for people.
func (s *summary) text(paint func(colour, text string) string) string {
	var b strings.Builder
	alive := s.alive()
	fmt.Fprintf(&b, "%s\n", paint(inBold, s.counted()))
	fmt.Fprintf(&b, "  verdict: %s\n", paint(s.colour(), s.verdict()))
	if s.scored {
		fmt.Fprintf(&b, "  score: %d of 100 (the lowest)\n", s.score)
	}
	for _, text := range s.notes() {
		fmt.Fprintf(&b, "  %s\n", text)
	}
	if list, more := s.first(); len(list) > 0 {
		b.WriteString("\nMend first\n")
		for _, f := range list {
			colour := inYellow
			if f.state == finding.Fail {
				colour = inRed
			}
			fmt.Fprintf(&b, "  %s %s: %s\n    at %s\n", paint(colour, fmt.Sprintf("%-8s", f.severity)), f.id, f.title, f.where())
		}
		if more > 0 {
			fmt.Fprintf(&b, "  and %s of another kind\n", counted(more, "fault"))
		}
	}
	b.WriteString("\nScore  Target\n")
	for _, x := range alive {
		score := "-"
		if x.scored {
			score = fmt.Sprint(x.score)
		}
		text := x.verdict
		if n := bySeverity(&x.findings); n != "" {
			text = n
		}
		fmt.Fprintf(&b, "  %3s  %s: %s\n", score, x.target, text)
	}
	for _, line := range s.silent() {
		fmt.Fprintf(&b, "    -  %s\n", line)
	}
	return b.String()
}

// colour returns the colour of the verdict.
func (s *summary) colour() string {
	colour := inGreen
	for _, x := range s.rows {
		switch {
		case x.look == finding.Fail:
			return inRed
		case x.look != finding.Pass && !x.dead:
			colour = inYellow
		}
	}
	return colour
}

// runs returns what the server is in one line, or "" if it is not known.
func runs(r *finding.Report) string {
	if r.Software.Product == "" {
		return ""
	}
	return wire.Printable(r.Software.String())
}
