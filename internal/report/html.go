package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"strings"
	"time"

	"port53/internal/finding"
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
	Gone            []finding.Gone
}

func (h *htmlWriter) begin() error {
	var err error
	if h.t, err = template.New("page").Parse(page); err != nil {
		return err
	}
	return h.t.ExecuteTemplate(h.w, "head", wire.Printable(h.o.Version))
}

func (h *htmlWriter) Write(r *finding.Report) error {
	if h.t == nil {
		if err := h.begin(); err != nil {
			return err
		}
	}
	h.n++
	n := r.Count()
	v := htmlReport{
		htmlTarget: htmlTarget{
			N: h.n, Target: wire.Printable(r.Target.Text), Verdict: verdict(r), Worst: "pass",
			Fail: n[finding.Fail], Warn: n[finding.Warn], Unknown: n[finding.Unknown],
		},
		Started: r.Started.UTC().Format(time.RFC3339), Counts: summed(r), Software: runs(r), Ports: ports(r), Gone: r.Gone(),
	}
	list := bad(r)
	switch {
	case !r.Reached():
		v.Worst = "unknown"
	case len(list) > 0:
		v.Worst = list[0].State.String()
	}
	for _, x := range list {
		v.Bad = append(v.Bad, htmlOf(x))
	}
	for _, x := range all(r) {
		switch {
		case x.State == finding.Unknown:
			v.Unmeasured = append(v.Unmeasured, htmlOf(x))
		case x.State == finding.Pass || x.State == finding.Info:
			v.Good = append(v.Good, htmlOf(x))
		case x.bad() && x.known():
			v.Known = append(v.Known, htmlOf(x))
		}
	}
	h.seen = append(h.seen, v.htmlTarget)
	return h.t.ExecuteTemplate(h.w, "report", v)
}

// summed returns how the checks ended, the score, and what was not looked at, in one line.
func summed(r *finding.Report) string {
	parts := []string{counts(r)}
	if score, ok := r.Score(); ok {
		parts = append(parts, fmt.Sprintf("score %d of 100", score))
	}
	return strings.Join(append(parts, left(r)...), "; ")
}

func htmlOf(x reported) htmlFinding {
	out := htmlFinding{
		State: x.State.String(), Severity: x.severity().String(), ID: x.check.ID, Title: x.title(), Detail: x.detail(), Place: x.place(),
		Advice: x.advice(), Command: x.command(), Measured: x.measured(),
		Sent: spaced(shown(x.Evidence.Sent)), Received: spaced(shown(x.Evidence.Received)),
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

func (h *htmlWriter) Close() error {
	if h.t == nil {
		if err := h.begin(); err != nil {
			return err
		}
	}
	if h.interrupted() {
		if _, err := fmt.Fprintf(h.w, "<p class=\"fail\">%s</p>\n", earlyEnd); err != nil {
			return err
		}
	}
	return h.t.ExecuteTemplate(h.w, "foot", h.seen)
}
