package check

import (
	_ "embed"
	"fmt"
	"html/template"
	"strings"
	"time"

	"port53/internal/scan"
	"port53/internal/wire"
)

//go:embed report.html
var page string

// An htmlWriter writes one page without scripts: nothing is loaded from anywhere.
type htmlWriter struct {
	base
	t    *template.Template
	seen []htmlTarget
}

// An htmlTarget is one line of the table of all targets.
type htmlTarget struct {
	N                      int
	Target, Verdict, Worst string
	Fail, Warn, Unknown    int
}

type htmlFinding struct {
	State, Severity, ID, Title, Detail, Place, Advice, Command, Measured, Sent, Received string
	Known                                                                                bool
	Refs                                                                                 []htmlRef
}

type htmlRef struct{ Text, URL string }

type htmlReport struct {
	htmlTarget
	Started, Counts string
	Software        string
	Ports           []scan.Port
	Bad, Known      []htmlFinding
	Unmeasured      []htmlFinding
	Good            []htmlFinding
	Gone            []Gone
}

func (h *htmlWriter) begin() error {
	var err error
	if h.t, err = template.New("page").Parse(page); err != nil {
		return err
	}
	return h.t.ExecuteTemplate(h.w, "head", wire.Printable(h.o.Version))
}

func (h *htmlWriter) Write(r *Report) error {
	if h.t == nil {
		if err := h.begin(); err != nil {
			return err
		}
	}
	h.n++
	n := r.Count()
	v := htmlReport{
		htmlTarget: htmlTarget{N: h.n, Target: wire.Printable(r.Target.Text), Verdict: r.verdict(), Worst: "pass", Fail: n[Fail], Warn: n[Warn], Unknown: n[Unknown]},
		Started:    r.Started.UTC().Format(time.RFC3339), Counts: r.counts(), Software: r.runs(), Ports: r.ports(), Gone: r.Gone(),
	}
	bad := r.bad()
	switch {
	case !r.Reached():
		v.Worst = "unknown"
	case len(bad) > 0:
		v.Worst = bad[0].finding.State.String()
	}
	for _, x := range bad {
		v.Bad = append(v.Bad, htmlOf(r, x))
	}
	for _, x := range r.all() {
		switch s := x.finding.State; {
		case s == Unknown:
			v.Unmeasured = append(v.Unmeasured, htmlOf(r, x))
		case s == Pass || s == Info:
			v.Good = append(v.Good, htmlOf(r, x))
		case (s == Fail || s == Warn) && r.Known(x.result.Check, x.finding):
			v.Known = append(v.Known, htmlOf(r, x))
		}
	}
	h.seen = append(h.seen, v.htmlTarget)
	return h.t.ExecuteTemplate(h.w, "report", v)
}

func htmlOf(r *Report, x reported) htmlFinding {
	c, f := x.result.Check, x.finding
	out := htmlFinding{
		State: f.State.String(), Severity: x.result.SeverityOf(f).String(), ID: c.ID, Title: wire.Printable(x.result.title(f)), Detail: wire.Printable(f.Detail), Place: wire.Printable(f.place()),
		Advice: r.advice(c), Command: wire.Printable(f.Evidence.Command), Measured: f.Evidence.measured(), Sent: spaced(shown(f.Evidence.Sent)), Received: spaced(shown(f.Evidence.Received)),
	}
	for _, ref := range c.Refs {
		out.Refs = append(out.Refs, htmlRef{ref, link(ref)})
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

func (h *htmlWriter) Close() error {
	if h.t == nil {
		if err := h.begin(); err != nil {
			return err
		}
	}
	return h.t.ExecuteTemplate(h.w, "foot", h.seen)
}
