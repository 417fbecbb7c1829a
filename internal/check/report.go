package check

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"port53/internal/scan"
	"port53/internal/wire"
)

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

// all returns the findings in the order of the catalogue.
func (r *Report) all() []reported {
	var list []reported
	for i := range r.Results {
		for j := range r.Results[i].Findings {
			list = append(list, reported{&r.Results[i], &r.Results[i].Findings[j]})
		}
	}
	return list
}

// ports returns the ports as they can be printed.
func (r *Report) ports() []scan.Port {
	list := make([]scan.Port, len(r.Ports))
	for i, p := range r.Ports {
		p.Proto, p.State, p.Reason, p.From = wire.Printable(p.Proto), wire.Printable(p.State), wire.Printable(p.Reason), wire.Printable(p.From)
		list[i] = p
	}
	return list
}

// bad returns what failed and what warns, the most severe first. What the baseline has
// is left out.
func (r *Report) bad() []reported {
	list := slices.DeleteFunc(r.all(), func(x reported) bool {
		return x.finding.State != Fail && x.finding.State != Warn || r.Known(x.result.Check, x.finding)
	})
	slices.SortStableFunc(list, func(a, b reported) int {
		return cmp.Or(cmp.Compare(b.result.SeverityOf(b.finding), a.result.SeverityOf(a.finding)), cmp.Compare(b.finding.State, a.finding.State))
	})
	return list
}

// known returns how many findings are left out because the baseline has them.
func (r *Report) known() int {
	n := 0
	for _, x := range r.all() {
		if (x.finding.State == Fail || x.finding.State == Warn) && r.Known(x.result.Check, x.finding) {
			n++
		}
	}
	return n
}

// verdict returns the report in one line.
func (r *Report) verdict() string {
	list := r.bad()
	switch {
	case r.Problem != "":
		return "it could not be measured: " + wire.Printable(r.Problem)
	case !r.Reached():
		return "it could not be measured"
	case len(list) > 0:
		return fmt.Sprintf("%s: %s", list[0].result.SeverityOf(list[0].finding), wire.Printable(list[0].result.title(list[0].finding)))
	case len(r.Results) == 0:
		return "no check that is wanted applies"
	case r.known() > 0:
		return "nothing new was found"
	}
	return "nothing wrong was found"
}

// counts returns how the checks ended, in one line.
func (r *Report) counts() string {
	n := r.Count()
	return fmt.Sprintf("%d failed, %d warn, %d passed, %d unknown, in %s", n[Fail], n[Warn], n[Pass]+n[Info], n[Unknown], r.Took.Round(10*time.Millisecond))
}

// measured returns what a finding rests on, in words, or "".
func (e *Evidence) measured() string {
	var parts []string
	if e.N > 0 {
		parts = append(parts, counted(e.N, "exchange"))
	}
	if e.RTT > 0 {
		parts = append(parts, "answered in "+e.RTT.Round(100*time.Microsecond).String())
	}
	if len(e.Received) > 0 {
		text := counted(len(e.Received), "octet") + " came back"
		if len(e.Received) >= maxShown {
			text = "at least " + text
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// place returns where in a file a finding is, or "".
func (f *Finding) place() string {
	switch {
	case f.File == "":
		return ""
	case f.Line == 0:
		return f.File
	}
	return fmt.Sprintf("%s:%d", f.File, f.Line)
}

// Escape sequences of terminals (ECMA-48, section 8.3.117).
const (
	inBold   = "\x1b[1m"
	inRed    = "\x1b[1;31m"
	inYellow = "\x1b[33m"
	inGreen  = "\x1b[32m"
	inPlain  = "\x1b[0m"
)

// WriteText writes the report for people: the ports, the verdict, and what was found,
// the most severe first, each with what mends it and a command that shows it.
func (r *Report) WriteText(w io.Writer, o WriteOptions) error {
	var b strings.Builder
	paint := func(colour, text string) string {
		if !o.Colour {
			return text
		}
		return colour + text + inPlain
	}
	fmt.Fprintf(&b, "%s\n", paint(inBold, wire.Printable(r.Target.Text)))
	for _, p := range r.ports() {
		fmt.Fprintf(&b, "  %d/%s %s (%s)\n", p.Number, p.Proto, p.State, p.Reason)
	}
	if s := r.runs(); s != "" {
		fmt.Fprintf(&b, "  software: %s (by %s, confidence %d of 10)\n", s, wire.Printable(r.Software.Method), r.Software.Confidence)
	}
	list := r.bad()
	colour := inGreen
	switch {
	case len(list) > 0 && list[0].finding.State == Fail:
		colour = inRed
	case len(list) > 0 || !r.Reached():
		colour = inYellow
	}
	fmt.Fprintf(&b, "  verdict: %s\n  %s\n", paint(colour, r.verdict()), r.counts())
	if n := r.known(); n > 0 {
		fmt.Fprintf(&b, "  %s that the baseline has\n", counted(n, "finding"))
	}
	for _, g := range r.Gone() {
		fmt.Fprintf(&b, "  gone since the baseline: %s %s: %s\n", wire.Printable(g.Severity), wire.Printable(g.ID), wire.Printable(g.Title))
	}
	for _, x := range list {
		c, f := x.result.Check, x.finding
		colour := inYellow
		if f.State == Fail {
			colour = inRed
		}
		fmt.Fprintf(&b, "\n%s %s %s: %s\n", paint(colour, strings.ToUpper(f.State.String())), x.result.SeverityOf(f), c.ID, wire.Printable(x.result.title(f)))
		for _, line := range []struct{ head, text string }{
			{"  ", f.Detail},
			{"  at: ", f.place()},
			{"  evidence: ", f.Evidence.measured()},
			{"  remedy: ", r.advice(c)},
			{"  see it: ", f.Evidence.Command},
		} {
			if line.text != "" {
				fmt.Fprintf(&b, "%s%s\n", line.head, wire.Printable(line.text))
			}
		}
	}
	if o.All {
		b.WriteByte('\n')
		for _, x := range r.all() {
			if f := x.finding; f.State != Fail && f.State != Warn {
				fmt.Fprintf(&b, "%s %s: %s\n", f.State, x.result.Check.ID, wire.Printable(x.result.title(f)))
				if f.State == Unknown && f.Detail != "" {
					fmt.Fprintf(&b, "  %s\n", wire.Printable(f.Detail))
				}
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// advice returns what mends what a check found at the report's target.
func (r *Report) advice(c *Check) string { return c.AdviceFor(r.Software.Product) }

// runs returns what the server is in one line, or "" if it is not known.
func (r *Report) runs() string {
	if r.Software.Product == "" {
		return ""
	}
	return wire.Printable(r.Software.String())
}
