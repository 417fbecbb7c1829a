package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"port53/internal/finding"
	"port53/internal/wire"
)

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

func (j *junitWriter) Write(r *finding.Report) error {
	if j.n++; j.n == 1 {
		if _, err := io.WriteString(j.w, xml.Header+"<testsuites name=\"port53 check\">\n"); err != nil {
			return err
		}
	}
	target := wire.Printable(r.Target.Text)
	s := junitSuite{Name: target, Time: fmt.Sprintf("%.3f", r.Took.Seconds()), Started: r.Started.UTC().Format(time.RFC3339)}
	for i := range r.Results {
		c := junitCase{Class: "port53." + target, Name: r.Results[i].Check.ID}
		var out []string
		for k := range r.Results[i].Findings {
			x := reported{r, &r.Results[i], r.Results[i].Check, &r.Results[i].Findings[k]}
			lines := strings.Join([]string{x.title(), x.detail(), "remedy: " + x.advice(), "see it: " + x.command()}, "\n")
			switch {
			case x.State == finding.Unknown || x.State == finding.Skipped:
				c.Skipped = &junitText{Message: x.State.String() + ": " + x.detail()}
			case r.Counts(x.result, x.Finding, j.o.FailOn):
				c.Failure = append(c.Failure, junitText{Message: x.title() + ": " + x.detail(), Type: x.severity().String(), Text: lines})
			case x.State == finding.Fail || x.State == finding.Warn:
				out = append(out, x.State.String()+" "+x.severity().String()+": "+lines)
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
	if r.NotMeasured(finding.SevHigh) {
		s.Tests, s.Errors = s.Tests+1, 1
		why := []junitText{{Message: verdict(r), Type: "unmeasured"}}
		s.Cases = append(s.Cases, junitCase{Class: "port53." + target, Name: "reached", Failure: why})
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
	early := ""
	if j.interrupted() {
		early = " <testsuite name=\"run\" tests=\"1\" failures=\"0\" errors=\"1\" skipped=\"0\" time=\"0\"><testcase " +
			"classname=\"port53.run\" name=\"complete\">" +
			"<error message=\"" + earlyEnd + "\" type=\"interrupted\"></error></testcase></testsuite>\n"
	}
	_, err := io.WriteString(j.w, early+"</testsuites>\n")
	return err
}
