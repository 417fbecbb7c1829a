// Package report writes what checks found: for people, for programs, for code scanning
// and continuous integration, as a page, and as nmap prints.
//
// [New] returns a [Writer] of a format, which takes reports one after the other. Those for people
// begin with a summary of all, and are written when the last report is there. What
// comes from the network is printable in every format, and controls no terminal, parser,
// browser or spreadsheet. [ReadBaseline] reads what an earlier run wrote in JSON.
package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"port53/internal/finding"
	"port53/internal/wire"
)

// A Format is a form that reports are written in.
type Format uint8

// The formats.
const (
	Text     Format = iota // for people
	JSON                   // one object with all reports
	NDJSON                 // one report a line, and a last line about the run
	SARIF                  // SARIF 2.1.0, for code scanning
	JUnit                  // JUnit's XML, for continuous integration
	HTML                   // one page
	Plain                  // fields parted by tabs, a line for each finding
	Nmap                   // as nmap prints
	Grepable               // as nmap -oG prints
)

// Options tell how reports are written.
type Options struct {
	All     bool             // what passed and what is unknown too
	Colour  bool             // for a terminal
	FailOn  finding.Severity // what counts as a failure where a format knows only that
	Version string           // of this program
	Subject string           // what was asked for, as a title; empty: the first target
	// Interrupted tells, when a document ends, whether the run ended early. Nil: it did not.
	Interrupted func() bool
	Rules       []*finding.Check // all that reports may have results of, for formats that list them
}

// A Writer writes reports one after the other, so that those of many targets need no
// memory. Close ends the document.
type Writer interface {
	Write(r *finding.Report) error
	Close() error
}

// New returns a Writer of a format.
func New(f Format, w io.Writer, o Options) Writer {
	b := base{w: w, o: o}
	switch f {
	case JSON:
		return &jsonWriter{base: b}
	case NDJSON:
		return &jsonWriter{base: b, lines: true}
	case SARIF:
		return &sarifWriter{base: b}
	case JUnit:
		return &junitWriter{base: b}
	case HTML:
		return &htmlWriter{base: b}
	case Plain:
		return &plainWriter{base: b}
	case Nmap, Grepable:
		return &nmapWriter{base: b, grepable: f == Grepable}
	}
	return &textWriter{base: b}
}

type base struct {
	w io.Writer
	o Options
	n int // reports written
}

// interrupted reports whether the run ended early.
func (b *base) interrupted() bool { return b.o.Interrupted != nil && b.o.Interrupted() }

// earlyEnd is what a person reads at the end of a report that is not whole.
const earlyEnd = "INTERRUPTED: this report is not whole; targets that are not in it were not looked at"

// wanted reports whether a finding is to be written: what is bad, what could not be
// measured, and the rest if all is asked for.
func (b *base) wanted(s finding.State) bool {
	return b.o.All || s == finding.Fail || s == finding.Warn || s == finding.Unknown
}

// A textWriter keeps the reports until it knows all, since the summary stands before them. One
// report has a summary of its own.
type textWriter struct {
	base
	sum   summary
	spool spool
	parts []part // by number of report
}

func (t *textWriter) Write(r *finding.Report) error {
	t.n++
	t.sum.add(r)
	from := t.spool.size
	if err := writeText(&t.spool, r, t.o); err != nil {
		return err
	}
	t.parts = append(t.parts, part{from, t.spool.size})
	return nil
}

func (t *textWriter) Close() error {
	defer t.spool.close()
	if t.n > 1 {
		if _, err := io.WriteString(t.w, t.sum.text(t.paint)); err != nil {
			return err
		}
		for _, x := range t.sum.alive() {
			if _, err := io.WriteString(t.w, "\n"); err != nil {
				return err
			}
			if err := t.spool.copy(t.w, t.parts[x.n-1].from, t.parts[x.n-1].to); err != nil {
				return err
			}
		}
	} else if err := t.spool.copy(t.w, 0, t.spool.size); err != nil {
		return err
	}
	if !t.interrupted() {
		return nil
	}
	_, err := fmt.Fprintf(t.w, "\n%s\n", earlyEnd)
	return err
}

// paint colours a text where that is wanted.
func (b *base) paint(colour, text string) string {
	if !b.o.Colour || colour == "" {
		return text
	}
	return colour + text + inPlain
}

// A jsonWriter writes one document, or with lines one report a line.
type jsonWriter struct {
	base
	lines bool
	run   jsonRun
}

func (j *jsonWriter) Write(r *finding.Report) error {
	j.n++
	j.count(r)
	if j.lines {
		return j.encode(jsonOf(r), "", "", "\n")
	}
	begin := ",\n    "
	if j.n == 1 {
		begin = "{\n  \"schema\": \"" + Schema + "\",\n  \"reports\": [\n    "
	}
	return j.encode(jsonOf(r), begin, "    ", "")
}

// count adds a report to what is said of the run.
func (j *jsonWriter) count(r *finding.Report) {
	j.run.Targets++
	switch {
	case r.Unreachable:
		j.run.Dead++
	case r.NotMeasured(finding.SevMedium):
		j.run.Unmeasured++
	}
	if score, ok := r.Score(); ok && (j.run.Score == nil || score < *j.run.Score) {
		j.run.Score = &score
	}
	if j.run.Findings == nil {
		j.run.Findings = map[string]int{}
	}
	for _, x := range bad(r) {
		j.run.Findings[x.severity().String()]++
	}
}

// encode writes a value between two texts.
func (j *jsonWriter) encode(v any, begin, prefix, end string) error {
	var b bytes.Buffer
	b.WriteString(begin)
	enc := json.NewEncoder(&b)
	if !j.lines {
		enc.SetIndent(prefix, "  ")
	}
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the line end
	b.WriteString(end)
	_, err := j.w.Write(b.Bytes())
	return err
}

func (j *jsonWriter) Close() error {
	j.run.Interrupted = j.interrupted()
	j.run.Complete = !j.run.Interrupted && j.run.Unmeasured == 0
	if j.run.Findings == nil {
		j.run.Findings = map[string]int{}
	}
	if j.lines {
		return j.encode(struct {
			Schema string  `json:"schema"`
			Run    jsonRun `json:"run"`
		}{Schema, j.run}, "", "", "\n")
	}
	begin := "\n  ],\n  \"run\": "
	if j.n == 0 {
		begin = "{\n  \"schema\": \"" + Schema + "\",\n  \"reports\": [],\n  \"run\": "
	}
	return j.encode(j.run, begin, "  ", "\n}\n")
}

// A plainWriter writes a line for each port and finding: the kind of line, then its
// fields, parted by tabs.
type plainWriter struct{ base }

// field returns text as one field: without tabs and line ends, and such that a
// spreadsheet does not take it for a formula.
func field(text string) string {
	text = wire.Printable(text)
	if text != "" && strings.ContainsRune("=+-@|%", rune(text[0])) {
		return "'" + text
	}
	return text
}

func (p *plainWriter) Write(r *finding.Report) error {
	var b bytes.Buffer
	line := func(fields ...string) {
		for i, f := range fields {
			if i > 0 {
				b.WriteByte('\t')
			}
			b.WriteString(field(f))
		}
		b.WriteByte('\n')
	}
	target := r.Target.Text
	for _, x := range ports(r) {
		line("port", target, fmt.Sprintf("%d/%s", x.Number, x.Proto), x.State, x.Reason)
	}
	if s := runs(r); s != "" {
		line("software", target, s, r.Software.CPE)
	}
	line("verdict", target, verdict(r))
	if score, ok := r.Score(); ok {
		line("score", target, fmt.Sprint(score))
	}
	for _, text := range left(r) {
		line("left", target, text)
	}
	for _, x := range all(r) {
		if !p.wanted(x.State) {
			continue
		}
		kind := "finding"
		if x.known() {
			kind = "known"
		}
		line(kind, target, x.State.String(), x.severity().String(), x.check.ID, x.fingerprint(), x.title(), x.detail(), x.command())
	}
	for _, g := range r.Gone() {
		line("gone", target, "pass", g.Severity, g.ID, g.Fingerprint, g.Title)
	}
	_, err := p.w.Write(b.Bytes())
	return err
}

func (p *plainWriter) Close() error {
	if !p.interrupted() {
		return nil
	}
	_, err := fmt.Fprintf(p.w, "interrupted\t%s\n", earlyEnd)
	return err
}
