package check

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"port53/internal/scan"
	"port53/internal/wire"
)

// A Format is a form that reports are written in.
type Format uint8

// The formats.
const (
	FormatText     Format = iota // for people
	FormatJSON                   // one object; of several targets, as NDJSON
	FormatNDJSON                 // one object a line
	FormatSARIF                  // SARIF 2.1.0, for code scanning
	FormatJUnit                  // JUnit's XML, for continuous integration
	FormatHTML                   // one page
	FormatPlain                  // fields parted by tabs, a line for each finding
	FormatNmap                   // as nmap prints
	FormatGrepable               // as nmap -oG prints
)

// WriteOptions tell how reports are written.
type WriteOptions struct {
	All     bool     // what passed and what is unknown too
	Colour  bool     // for a terminal
	FailOn  Severity // what counts as a failure where a format knows only that
	Version string   // of this program
}

// A Writer writes reports one after the other, so that those of many targets need no
// memory. Close ends the document.
type Writer interface {
	Write(r *Report) error
	Close() error
}

// NewWriter returns a Writer of a format.
func NewWriter(f Format, w io.Writer, o WriteOptions) Writer {
	b := base{w: w, o: o}
	switch f {
	case FormatJSON:
		return &jsonWriter{base: b}
	case FormatNDJSON:
		return &jsonWriter{base: b, lines: true}
	case FormatSARIF:
		return &sarifWriter{base: b}
	case FormatJUnit:
		return &junitWriter{base: b}
	case FormatHTML:
		return &htmlWriter{base: b}
	case FormatPlain:
		return &plainWriter{base: b}
	case FormatNmap, FormatGrepable:
		return &nmapWriter{base: b, grepable: f == FormatGrepable}
	}
	return &textWriter{base: b}
}

type base struct {
	w io.Writer
	o WriteOptions
	n int // reports written
}

// wanted tells whether a finding is to be written: what is bad, what could not be
// measured, and the rest if all is asked for.
func (b *base) wanted(s State) bool { return b.o.All || s == Fail || s == Warn || s == Unknown }

type textWriter struct{ base }

func (t *textWriter) Write(r *Report) error {
	if t.n++; t.n > 1 {
		if _, err := io.WriteString(t.w, "\n"); err != nil {
			return err
		}
	}
	return r.WriteText(t.w, t.o)
}

func (t *textWriter) Close() error { return nil }

// A jsonWriter keeps the first report until it knows whether there are more.
type jsonWriter struct {
	base
	first any
	lines bool
}

func (j *jsonWriter) Write(r *Report) error {
	j.n++
	v := r.JSON()
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

func (p *plainWriter) Write(r *Report) error {
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
	for _, x := range r.ports() {
		line("port", target, fmt.Sprintf("%d/%s", x.Number, x.Proto), x.State, x.Reason)
	}
	if s := r.runs(); s != "" {
		line("software", target, s, r.Software.CPE)
	}
	line("verdict", target, r.verdict())
	for _, x := range r.all() {
		c, f := x.result.Check, x.finding
		if !p.wanted(f.State) {
			continue
		}
		kind := "finding"
		if r.Known(c, f) {
			kind = "known"
		}
		line(kind, target, f.State.String(), x.result.SeverityOf(f).String(), c.ID, r.Fingerprint(c, f), x.result.title(f), f.Detail, f.Evidence.Command)
	}
	for _, g := range r.Gone() {
		line("gone", target, "pass", g.Severity, g.ID, g.Fingerprint, g.Title)
	}
	_, err := p.w.Write(b.Bytes())
	return err
}

func (p *plainWriter) Close() error { return nil }

// An nmapWriter writes as nmap does: a table of ports with the findings below as of its
// scripts, or a line for each host.
type nmapWriter struct {
	base
	grepable bool
}

// nmapHost returns the name and address as nmap writes them. Names from the network have
// no blanks, which would part fields.
func nmapHost(r *Report) (name, addr string) {
	if r.Target.Server.Name != nil {
		name = strings.TrimSuffix(wire.NameText(r.Target.Server.Name), ".")
	}
	if r.Target.Server.Addr.IsValid() {
		return wire.Printable(name), r.Target.Server.Addr.Addr().String()
	}
	return wire.Printable(name), wire.Printable(r.Target.Text)
}

// service returns the name that nmap has for a port (its nmap-services).
func service(r *Report, p scan.Port) string {
	switch p.Number {
	case 53, r.Target.Server.Addr.Port():
		return "domain"
	case 443:
		return "https"
	case 853:
		return "domain-s"
	}
	return "unknown"
}

// version returns what nmap has in its last column, for the port of the server.
func (r *Report) version(p scan.Port) string {
	if p.Number != r.Target.Server.Addr.Port() || p.State != "open" {
		return ""
	}
	return r.runs()
}

func (n *nmapWriter) Write(r *Report) error {
	var b bytes.Buffer
	name, addr := nmapHost(r)
	if n.n++; n.n == 1 {
		fmt.Fprintf(&b, "# port53 %s check, in the form of nmap\n", wire.Printable(n.o.Version))
	}
	if n.grepable {
		var ports []string
		for _, p := range r.ports() {
			ports = append(ports, fmt.Sprintf("%d/%s/%s//%s//%s/", p.Number, p.State, p.Proto, service(r, p), strings.ReplaceAll(r.version(p), "/", "|")))
		}
		fmt.Fprintf(&b, "Host: %s (%s)\tPorts: %s\n", addr, name, strings.Join(ports, ", "))
		_, err := n.w.Write(b.Bytes())
		return err
	}
	host := addr
	if name != "" {
		host = fmt.Sprintf("%s (%s)", name, addr)
	}
	fmt.Fprintf(&b, "Nmap scan report for %s\n", host)
	if len(r.Ports) > 0 {
		rows := [][5]string{{"PORT", "STATE", "SERVICE", "REASON", "VERSION"}}
		var width [4]int
		for _, p := range r.ports() {
			rows = append(rows, [5]string{fmt.Sprintf("%d/%s", p.Number, p.Proto), p.State, service(r, p), p.Reason, r.version(p)})
		}
		for _, row := range rows {
			for i := range width {
				width[i] = max(width[i], len(row[i]))
			}
		}
		for _, row := range rows {
			fmt.Fprintln(&b, strings.TrimRight(fmt.Sprintf("%-*s %-*s %-*s %-*s %s", width[0], row[0], width[1], row[1], width[2], row[2], width[3], row[3], row[4]), " "))
		}
	}
	if list := r.bad(); len(list) > 0 {
		b.WriteString("\nHost script results:\n")
		for _, x := range list {
			fmt.Fprintf(&b, "| %s: \n|   %s %s: %s\n", x.result.Check.ID, strings.ToUpper(x.finding.State.String()), x.result.SeverityOf(x.finding), wire.Printable(x.result.title(x.finding)))
			if x.finding.Detail != "" {
				fmt.Fprintf(&b, "|   %s\n", wire.Printable(x.finding.Detail))
			}
			fmt.Fprintf(&b, "|_  %s\n", wire.Printable(x.finding.Evidence.Command))
		}
	}
	fmt.Fprintf(&b, "\n# %s: %s\n\n", r.verdict(), r.counts())
	_, err := n.w.Write(b.Bytes())
	return err
}

func (n *nmapWriter) Close() error {
	_, err := fmt.Fprintf(n.w, "# port53 done: %s scanned\n", counted(n.n, "target"))
	return err
}

// A junitWriter writes a suite for each target and a case for each check. What counts
// for the exit code fails; what could not be measured is skipped, with the reason.
type junitWriter struct{ base }

type junitText struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",chardata"`
}

type junitCase struct {
	XMLName xml.Name    `xml:"testcase"`
	Class   string      `xml:"classname,attr"`
	Name    string      `xml:"name,attr"`
	Failure []junitText `xml:"failure"`
	Skipped *junitText  `xml:"skipped"`
	Out     string      `xml:"system-out,omitempty"`
}

type junitSuite struct {
	XMLName  xml.Name `xml:"testsuite"`
	Name     string   `xml:"name,attr"`
	Tests    int      `xml:"tests,attr"`
	Failures int      `xml:"failures,attr"`
	Errors   int      `xml:"errors,attr"`
	Skipped  int      `xml:"skipped,attr"`
	Time     string   `xml:"time,attr"`
	Started  string   `xml:"timestamp,attr"`
	Cases    []junitCase
}

func (j *junitWriter) Write(r *Report) error {
	if j.n++; j.n == 1 {
		if _, err := io.WriteString(j.w, xml.Header+"<testsuites name=\"port53 check\">\n"); err != nil {
			return err
		}
	}
	s := junitSuite{Name: wire.Printable(r.Target.Text), Time: fmt.Sprintf("%.3f", r.Took.Seconds()), Started: r.Started.UTC().Format(time.RFC3339)}
	for i := range r.Results {
		x := &r.Results[i]
		c := junitCase{Class: "port53." + wire.Printable(r.Target.Text), Name: x.Check.ID + " " + x.Check.Title}
		var out []string
		for k := range x.Findings {
			f := &x.Findings[k]
			lines := []string{wire.Printable(x.title(f)), wire.Printable(f.Detail), "remedy: " + wire.Printable(r.advice(x.Check)), "see it: " + wire.Printable(f.Evidence.Command)}
			switch {
			case f.State == Unknown || f.State == Skipped:
				c.Skipped = &junitText{Message: f.State.String() + ": " + wire.Printable(f.Detail)}
			case r.above(x, f, j.o.FailOn):
				c.Failure = append(c.Failure, junitText{Message: wire.Printable(x.title(f)) + ": " + wire.Printable(f.Detail), Type: x.SeverityOf(f).String(), Text: strings.Join(lines, "\n")})
			case f.State == Fail || f.State == Warn:
				out = append(out, f.State.String()+" "+x.SeverityOf(f).String()+": "+strings.Join(lines, "\n"))
			}
		}
		if len(c.Failure) > 0 {
			c.Skipped = nil
			s.Failures++
		}
		if c.Skipped != nil {
			s.Skipped++
		}
		c.Out = strings.Join(out, "\n")
		s.Tests++
		s.Cases = append(s.Cases, c)
	}
	if !r.Reached() {
		s.Tests, s.Errors = s.Tests+1, 1
		s.Cases = append(s.Cases, junitCase{Class: "port53." + wire.Printable(r.Target.Text), Name: "reached", Failure: []junitText{{Message: r.verdict(), Type: "unmeasured"}}})
	}
	enc := xml.NewEncoder(j.w)
	enc.Indent(" ", " ")
	if err := enc.Encode(s); err != nil {
		return err
	}
	_, err := io.WriteString(j.w, "\n")
	return err
}

func (j *junitWriter) Close() error {
	if j.n == 0 {
		if _, err := io.WriteString(j.w, xml.Header+"<testsuites name=\"port53 check\">\n"); err != nil {
			return err
		}
	}
	_, err := io.WriteString(j.w, "</testsuites>\n")
	return err
}
