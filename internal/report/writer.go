// Package report writes what checks found: for people, for programs, for code scanning
// and continuous integration, as a page, and as nmap prints.
//
// [New] returns a [Writer] of a format, which takes reports one after the other. What
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
	JSON                   // one object; of several targets, as NDJSON
	NDJSON                 // one object a line
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
	Rules   []*finding.Check // all that reports may have results of, for formats that list them
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

// wanted tells whether a finding is to be written: what is bad, what could not be
// measured, and the rest if all is asked for.
func (b *base) wanted(s finding.State) bool {
	return b.o.All || s == finding.Fail || s == finding.Warn || s == finding.Unknown
}

type textWriter struct{ base }

func (t *textWriter) Write(r *finding.Report) error {
	if t.n++; t.n > 1 {
		if _, err := io.WriteString(t.w, "\n"); err != nil {
			return err
		}
	}
	return writeText(t.w, r, t.o)
}

func (t *textWriter) Close() error { return nil }

// A jsonWriter keeps the first report until it knows whether there are more.
type jsonWriter struct {
	base
	first any
	lines bool
}

func (j *jsonWriter) Write(r *finding.Report) error {
	j.n++
	v := jsonOf(r)
	if j.n == 1 && !j.lines {
		j.first = v
		return nil
	}
	if j.first != nil {
		if err := j.encode(j.first, ""); err != nil {
			return err
		}
		j.first = nil
	}
	return j.encode(v, "")
}

func (j *jsonWriter) encode(v any, indent string) error {
	enc := json.NewEncoder(j.w)
	enc.SetIndent("", indent)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func (j *jsonWriter) Close() error {
	if j.first == nil {
		return nil
	}
	return j.encode(j.first, "  ")
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

func (p *plainWriter) Close() error { return nil }
