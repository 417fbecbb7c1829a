package report

import (
	_ "embed"
	"strconv"
)

// What is the same in each page: its style, and the symbols that stand for states.
var (
	//go:embed report.css
	style markup
	//go:embed icons.svg
	icons markup
)

func (p *page) ring(r htmlRing) {
	number, y := "–", 72
	if r.Known {
		number, y = strconv.Itoa(r.Score), 66
		p.put(`<svg class="ring {}" viewBox="0 0 120 120" role="img" aria-label="Score {} of 100">`, r.Class, r.Score)
	} else {
		p.put(`<svg class="ring {}" viewBox="0 0 120 120" role="img" aria-label="No score: too little was measured">`, r.Class)
	}
	p.put(`<circle class="track" cx="60" cy="60" r="52"/>`)
	if r.Arc > 0 {
		p.put(`<circle class="arc" cx="60" cy="60" r="52" stroke-dasharray="{} {}" transform="rotate(-90 60 60)"/>`, r.Arc, r.Gap)
	}
	p.put(`<text x="60" y="{}" class="number">{}</text>`, y, number)
	if r.Known {
		p.put(`<text x="60" y="88" class="of">of 100</text>`)
	}
	p.put(`</svg>`)
}

func (p *page) icon(state string) {
	p.put(`<svg class="icon {}" viewBox="0 0 16 16" aria-hidden="true"><use href="#i-{}"/></svg>`, state, state)
}

// head begins the page.
func (p *page) head(v *htmlSummary) {
	p.put(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>`)
	p.with(`{}: `, v.Subject)
	p.put(`port53 check</title>
<style>
`)
	p.put(style)
	p.put(`</style>
</head>
`)
	if v.Many {
		p.put("<body class=\"many\">\n")
	} else {
		p.put("<body>\n")
	}
	p.put(icons)
	p.put("<div class=\"page\">\n<div class=\"masthead\"><span><strong>port53 check</strong>")
	p.with(` {}`, v.Version)
	p.put(`</span>`)
	if v.Began != "" {
		p.put(`<span>{}, in {}</span>`, v.Began, v.Took)
	}
	p.put("</div>\n")
	p.with("<p class=\"alarm\">{}</p>\n", v.Interrupted)
	p.put("<main>\n")
}

// summary appends what stands before the reports.
func (p *page) summary(v *htmlSummary) {
	p.head(v)
	p.hero(v)
	p.first(v)
	if v.Notes != nil {
		p.put("<section class=\"card\"><h2>What was not measured</h2>\n")
		p.notes(v.Notes)
		p.put("</section>\n")
	}
	switch {
	case v.Targets > 1:
		p.targets(v)
	default:
		for _, text := range v.Silent {
			p.put("<section class=\"card\"><p>{}</p></section>\n", text)
		}
	}
}

// hero appends the score, the verdict and the bars.
func (p *page) hero(v *htmlSummary) {
	p.put("<section class=\"card hero\" aria-label=\"Summary\">\n")
	p.ring(v.Ring)
	p.put("\n<div class=\"said\"><div class=\"title\"><h1>{}</h1>", v.Subject)
	p.with(`<p class="dim">{}</p>`, v.Beside)
	p.put("</div>\n<div class=\"rest\"><p class=\"verdict {}\">", v.Class)
	p.icon(v.Class)
	p.put("<span>{}</span></p>\n<ul class=\"tally\">", v.Verdict)
	for _, x := range []struct {
		state, word string
		n           int
	}{
		{"fail", "failed", v.Failed},
		{"warn", warnings(v.Warned), v.Warned},
		{"pass", "passed", v.Passed},
		{"unknown", "unknown", v.Unknown},
	} {
		p.put(`<li>`)
		p.icon(x.state)
		p.put(` {} {}</li>`, x.n, x.word)
	}
	p.put("</ul></div></div>\n")
	p.put(
		"<div class=\"bars\"><svg class=\"chart\" viewBox=\"0 0 300 100\" role=\"img\" aria-label=\"Findings by severity: {}\">\n",
		v.Chart,
	)
	for _, b := range v.Bars {
		p.bar(b)
	}
	p.put("</svg></div>\n</section>\n")
}

func (p *page) bar(b htmlBar) {
	zero := ""
	if b.N == 0 {
		zero = "zero"
	}
	p.put(`<g class="{}"><text x="0" y="{}" dy="15" class="{}">{}</text>`, b.Severity, b.Y, zero, b.Severity)
	p.put(`<rect class="bed" x="68" y="{}" width="190" height="20" rx="3"/>`, b.Y)
	if b.N > 0 {
		p.put(`<rect class="bar" x="68" y="{}" width="{}" height="20" rx="3"/>`, b.Y, b.Width)
	}
	p.put("<text x=\"298\" y=\"{}\" dy=\"15\" text-anchor=\"end\" class=\"{}\">{}</text></g>\n", b.Y, zero, b.N)
}

// first appends what to mend first.
func (p *page) first(v *htmlSummary) {
	if v.First == nil {
		return
	}
	p.put("<section class=\"card\"><h2>What to fix first</h2>\n<ol class=\"first\">\n")
	for _, f := range v.First {
		p.put(`<li class="{}"><span class="badge of-{}">{}</span><div>`, f.Severity, f.State, f.Severity)
		p.put(`<p class="what"><a href="#t{}-{}">{}</a></p><p class="dim">{}`, f.N, f.ID, f.Title, f.ID)
		p.with(`, at {}`, f.Where)
		p.put(`</p>`)
		p.with(`<p class="mend">{}</p>`, f.Advice)
		p.put("</div></li>\n")
	}
	p.put("</ol>")
	if v.More > 0 {
		kinds := "kinds"
		if v.More == 1 {
			kinds = "kind"
		}
		p.put(`<p class="dim small">And {} more {} of faults, each with its target below.</p>`, v.More, kinds)
	}
	p.put("\n</section>\n")
}

func (p *page) notes(list []string) {
	p.put(`<ul class="notes">`)
	for _, text := range list {
		p.put("<li>{}</li>\n", text)
	}
	p.put(`</ul>`)
}

// targets appends the table of all targets.
func (p *page) targets(v *htmlSummary) {
	p.put("<section class=\"card targets-card\"><h2 id=\"all\">All targets</h2>\n")
	if v.Rows != nil {
		p.put(
			`<table class="targets"><thead><tr><th>Target</th><th>Score</th><th>Findings</th><th>The worst</th></tr></thead><tbody>` + "\n",
		)
		for i := range v.Rows {
			p.target(&v.Rows[i])
		}
		p.put("</tbody></table>\n")
	}
	for _, text := range v.Silent {
		p.put("<p class=\"silent\">{}</p>\n", text)
	}
	p.put("</section>\n")
}

func (p *page) target(r *htmlRow) {
	p.put(`<tr><td><a class="name" href="#t{}">{}</a>`, r.N, r.Target)
	p.with(`<div class="dim small">{}</div>`, r.Software)
	p.put(`</td><td class="score {}">`, r.Ring.Class)
	if r.Ring.Known {
		p.put(`{}<svg class="gauge" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">`, r.Ring.Score)
		p.put(`<rect class="bed" width="100" height="10"/><rect class="bar" width="{}" height="10"/></svg>`, r.Ring.Score)
	} else {
		p.put(`–`)
	}
	p.put(`</td><td class="found"><div class="chips">`)
	for _, c := range r.Chips {
		p.put(`<span class="badge {}">{} {}</span>`, c.Severity, c.N, c.Severity)
	}
	p.put(`</div></td><td class="worst"><div>`)
	p.icon(r.Look)
	p.put("<span>{}</span></div></td></tr>\n", r.Verdict)
}

// finding appends what is wrong, with what to do.
func (p *page) finding(f *htmlFinding) {
	if f.Anchor != "" {
		p.put(`<article class="finding {}" id="{}">`, f.Severity, f.Anchor)
	} else {
		p.put(`<article class="finding {}">`, f.Severity)
	}
	p.put("\n<header><span class=\"badge of-{}\">{}</span><h4>{}</h4>", f.State, f.Severity, f.Title)
	p.put("<span class=\"id\">{} <code>{}</code></span></header>\n", f.State, f.ID)
	p.with("<p>{}</p>\n", f.Detail)
	p.put(`<dl>`)
	p.with("<dt>At</dt><dd><code>{}</code></dd>\n", f.Place)
	p.with("<dt>Mend</dt><dd>{}</dd>\n", f.Advice)
	p.with("<dt>See it</dt><dd><pre>{}</pre></dd>\n", f.Command)
	p.put("</dl>\n<details class=\"evidence\"><summary>Evidence and references</summary>\n")
	p.with("<p>{}</p>\n", f.Measured)
	p.with("<p class=\"hex-head\">Sent:</p><pre class=\"hex\">{}</pre>\n", f.Sent)
	p.with("<p class=\"hex-head\">Received:</p><pre class=\"hex\">{}</pre>\n", f.Received)
	if f.Refs != nil {
		p.put(`<ul>`)
		for _, r := range f.Refs {
			p.put(`<li>`)
			p.link(r.Text, r.URL)
			p.put(`</li>`)
		}
		p.put("</ul>\n")
	}
	p.put("</details>\n</article>\n")
}

// report appends what there is of one target.
func (p *page) report(v *htmlReport) {
	p.put("<section class=\"card target\">\n<div class=\"target-head\">")
	p.ring(v.Ring)
	p.put(`<div><h2 id="t{}">{}</h2><p class="verdict {}">`, v.N, v.Target, v.Look)
	p.icon(v.Look)
	p.put("<span>{}</span></p></div></div>\n<dl class=\"facts\">", v.Verdict)
	p.with("<dt>Software</dt><dd>{}</dd>\n", v.Software)
	p.with("<dt>Servers</dt><dd>{}</dd>\n", v.Addresses)
	if len(v.Ports) > 0 {
		p.put(`<dt>Ports</dt><dd class="ports">`)
		for _, x := range v.Ports {
			p.put(`<span><code>{}/{}</code> {} <span class="dim">{}</span></span>`, int(x.Number), x.Proto, x.State, x.Reason)
		}
		p.put("</dd>\n")
	}
	p.put("<dt>Checks</dt><dd>{}</dd>\n<dt>Begun</dt><dd>{}</dd>\n</dl>\n", v.Counts, v.Started)
	p.chapters(v.Chapters)
	if v.Bad != nil {
		p.put("<h3>Findings</h3>\n")
		p.findings(v.Bad)
	}
	if v.Gone != nil {
		p.put("<h3>Gone since the baseline</h3><ul class=\"ended\">\n")
		for _, g := range v.Gone {
			p.put(`<li>`)
			p.icon("pass")
			p.put("<span class=\"title\">{} <code>{}</code> <span class=\"dim\">{}</span></span></li>\n", g.Title, g.ID, g.Severity)
		}
		p.put("</ul>\n")
	}
	if len(v.Notes) > 0 {
		p.put(`<h3>What was not measured</h3>`)
		p.notes(v.Notes)
		p.put("\n")
	}
	if v.Known != nil {
		p.put("<details><summary>{} known from the baseline</summary>\n", len(v.Known))
		p.findings(v.Known)
		p.put("</details>\n")
	}
	p.ended("could not be measured", v.Unmeasured)
	p.ended("passed", v.Good)
	p.put("</section>\n")
}

// chapters appends how the checks of each group ended.
func (p *page) chapters(list []htmlChapter) {
	if list == nil {
		return
	}
	p.put(`<ul class="chapters">`)
	for _, c := range list {
		p.put(`<li><p class="line">`)
		p.icon(c.Look)
		p.put(`<span>{}</span></p><svg class="stack" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">`, c.Name)
		p.put(`<rect class="pass" width="{}" height="4"/><rect class="warn" x="{}" width="{}" height="4"/>`, c.W[0], c.X[0], c.W[1])
		p.put(
			"<rect class=\"fail\" x=\"{}\" width=\"{}\" height=\"4\"/></svg><p class=\"dim small\">{}</p></li>\n",
			c.X[1],
			c.W[2],
			c.Counts,
		)
	}
	p.put("</ul>\n")
}

func (p *page) findings(list []htmlFinding) {
	for i := range list {
		p.finding(&list[i])
	}
}

// ended appends findings of which there is little to say, folded.
func (p *page) ended(how string, list []htmlFinding) {
	if list == nil {
		return
	}
	p.put("<details><summary>{} {}</summary><ul class=\"ended\">\n", len(list), how)
	for i := range list {
		f := &list[i]
		p.put(`<li>`)
		p.icon(f.State)
		p.put(`<span class="title">{} <code>{}</code>`, f.Title, f.ID)
		p.with(` <span class="dim">({})</span>`, f.Detail)
		p.put("</span></li>\n")
	}
	p.put("</ul></details>\n")
}

// foot ends the page.
func (p *page) foot() {
	p.put(`</main>
<footer>The score begins at 100. A failed check costs 60 points at critical severity, 25 at high, 8 at medium and 2 at low;` +
		` a warning costs half of that. What could not be measured costs nothing, and never passes.</footer>
</div>
</body>
</html>
`)
}
