package cli

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"port53/internal/catalogue"
	"port53/internal/finding"
	"port53/internal/report"
)

// A checkOutput is how reports of check are written.
type checkOutput struct {
	forms          map[report.Format]*bool
	nmap, color    string
	file, baseline string
	all            bool
	asked          report.Format
	earlier        *finding.Baseline
}

func (c *checkOutput) flags(f *pflag.FlagSet) {
	c.forms = map[report.Format]*bool{}
	for _, x := range []struct {
		form       report.Format
		name, help string
	}{
		{report.JSON, "json", "print JSON (schema " + report.Schema + ", see port53 check schema): one object with all reports"},
		{report.NDJSON, "ndjson", "print JSON, one report per line, and a final line about the run"},
		{report.SARIF, "sarif", "print SARIF 2.1.0, for code scanning"},
		{report.JUnit, "junit", "print JUnit XML, for continuous integration"},
		{report.HTML, "html", "print a self-contained HTML page"},
		{report.Plain, "plain", "print one line per port and finding, with tab-separated fields"},
	} {
		c.forms[x.form] = f.Bool(x.name, false, x.help)
	}
	f.StringVar(&c.nmap, "nmap", "", "print in nmap's format: normal or grepable")
	f.Lookup("nmap").NoOptDefVal = "normal"
	f.StringVarP(&c.file, "output", "o", "", "write to this file, which is created or replaced only when the output is complete")
	f.StringVar(&c.baseline, "baseline", "", "a JSON report of known findings, which do not affect the exit code")
	f.BoolVar(&c.all, "all", false, "also list the checks that passed and, in the text report, those that are unknown")
	f.StringVar(&c.color, "color", "auto", "use color: auto, always or never")
}

// people reports whether people read the report as it comes.
func (c *checkOutput) people() bool {
	for _, set := range c.forms {
		if *set {
			return false
		}
	}
	return c.nmap == "" && c.file == ""
}

// check finds out what is asked for, and reads the baseline.
func (c *checkOutput) check() error {
	n := 0
	for form, set := range c.forms {
		if *set {
			c.asked, n = form, n+1
		}
	}
	switch c.nmap {
	case "":
	case "normal":
		c.asked, n = report.Nmap, n+1
	case "grepable":
		c.asked, n = report.Grepable, n+1
	default:
		return failure(exitUsage, "", "--nmap=%s: expected normal or grepable", c.nmap)
	}
	if n > 1 {
		return failure(
			exitUsage,
			"write one with --json and make the others from it, or ask twice",
			"a report has one form, and several are asked for",
		)
	}
	if c.color != "auto" && c.color != "always" && c.color != "never" {
		return failure(exitUsage, "", "--color %s: expected auto, always or never", c.color)
	}
	if c.baseline == "" {
		return nil
	}
	f, err := os.Open(c.baseline)
	if err != nil {
		return failure(exitUsage, "", "--baseline %s: %v", c.baseline, pathCause(err))
	}
	defer f.Close()
	if c.earlier, err = report.ReadBaseline(f); err != nil {
		return failure(exitUsage, "", "--baseline %s: %v", c.baseline, err)
	}
	return nil
}

// open returns the writer of reports, and what ends it. subject is what was asked for, in words. A file takes its name only when
// it is whole.
func (c *checkOutput) open(
	s *streams,
	subject string,
	least finding.Severity,
	interrupted func() bool,
) (w report.Writer, end func() error, err error) {
	out := s.out
	var f *os.File
	if c.file != "" {
		if f, err = os.CreateTemp(filepath.Dir(c.file), ".port53-check-*"); err != nil {
			return nil, nil, failure(exitUsage, "", "--output %s: %v", c.file, pathCause(err))
		}
		out = f
	}
	b := bufio.NewWriter(out)
	var rules []*finding.Check
	for _, c := range catalogue.All() {
		rules = append(rules, &c.Check)
	}
	w = report.New(
		c.asked,
		b,
		report.Options{
			All:         c.all,
			FailOn:      least,
			Interrupted: interrupted,
			Version:     buildVersion().Version,
			Subject:     subject,
			Colour:      f == nil && c.colour(out),
			Rules:       rules,
		},
	)
	return &flusher{w, b}, func() error {
		err := errors.Join(w.Close(), b.Flush())
		if f == nil {
			return err
		}
		err = errors.Join(err, f.Chmod(reportMode), f.Close())
		if err == nil {
			err = os.Rename(f.Name(), c.file)
		}
		if err != nil {
			_ = os.Remove(f.Name()) // the error that counts is told
			return failure(exitUsage, "", "--output %s: %v", c.file, pathCause(err))
		}
		return nil
	}, nil
}

// reportMode lets others read no report: it tells where a server can be attacked.
const reportMode = 0o600

// A flusher shows each report as soon as it is there.
type flusher struct {
	report.Writer
	b *bufio.Writer
}

func (f *flusher) Write(r *finding.Report) error { return errors.Join(f.Writer.Write(r), f.b.Flush()) }

// colour reports whether to paint: only at a terminal, and not if NO_COLOR is set.
func (c *checkOutput) colour(w io.Writer) bool {
	return c.color == "always" || c.color == "auto" && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(w)
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
