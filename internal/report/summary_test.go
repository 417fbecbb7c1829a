package report_test

import (
	"bytes"
	"fmt"
	"math"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"port53/internal/finding"
	"port53/internal/fingerprint"
	"port53/internal/report"
	"port53/internal/scan"
)

// network returns the reports of a /24 in which three servers are: a sound one, one with a small
// fault, and one that is open, in this order, behind addresses where nobody is.
func network() []*finding.Report {
	check := func(id, fault string, s finding.Severity) *finding.Check {
		return &finding.Check{ID: id, Title: "all is well with " + id, Fault: fault, Group: "Authoritative", Severity: s, Advice: map[fingerprint.Product]string{"": "mend " + id}}
	}
	rec, ver := check("T-REC", "recursion is offered to strangers", finding.SevCritical), check("T-VER", "the server tells its version", finding.SevLow)
	var out []*finding.Report
	for i := range 256 {
		a := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
		r := &finding.Report{
			Target:  finding.Target{Text: a.String(), Server: finding.Server{Addr: netip.AddrPortFrom(a, 53)}, FromRange: true},
			Started: time.Date(2026, 11, 29, 12, 0, i%60, 0, time.UTC), Took: time.Second,
		}
		state := func(s finding.State) []finding.Finding { return []finding.Finding{{State: s, Detail: "it is so"}} }
		switch i {
		case 100:
			r.Results = []finding.Result{{Check: rec, Findings: state(finding.Pass)}, {Check: ver, Findings: state(finding.Pass)}}
		case 150:
			r.Results = []finding.Result{{Check: rec, Findings: state(finding.Pass)}, {Check: ver, Findings: state(finding.Warn)}}
		case 200:
			r.Results = []finding.Result{{Check: rec, Findings: state(finding.Fail)}, {Check: ver, Findings: state(finding.Warn)}}
		case 201:
			r.Unreachable, r.Service, r.Problem = true, "HTTP", "HTTP answers on port 53, and no name server"
			r.Ports = []scan.Port{{Proto: "tcp", Number: 53, State: scan.Open, Reason: "syn-ack"}}
		default:
			r.Unreachable, r.Problem = true, "nobody answers on port 53"
		}
		out = append(out, r)
	}
	return out
}

// TestWhatMattersFirst has the report of a network open with what is to be mended, then a line for
// each server, the worst first, and all addresses where nobody is in one line.
func TestWhatMattersFirst(t *testing.T) {
	for name, x := range map[string]struct {
		f    report.Format
		want []string
	}{
		"HTML": {report.HTML, []string{
			"<h1>192.0.2.0/24</h1>", "3 findings, 1 of them of critical severity", "aria-label=\"Findings by severity: 1 critical, 2 low\"", "What to fix first",
			">recursion is offered to strangers</a>", "T-REC, at 192.0.2.200<", "mend T-REC", "T-VER, at 192.0.2.150, 192.0.2.200<", "All targets",
			"href=\"#t201\">192.0.2.200</a>", "href=\"#t151\">192.0.2.150</a>", "href=\"#t202\">192.0.2.201</a>", "href=\"#t101\">192.0.2.100</a>",
			"252 targets: nobody answers on port 53: 192.0.2.0-192.0.2.99, 192.0.2.101-192.0.2.149, 192.0.2.151-192.0.2.199, 192.0.2.202-192.0.2.255",
			"<h2 id=\"t201\">", "<h2 id=\"t151\">", "<h2 id=\"t202\">", "<h2 id=\"t101\">",
		}},
		"text": {report.Text, []string{
			"256 targets; nobody answers at 252\n", "verdict: 3 findings, 1 of them of critical severity\n", "score: 39 of 100", "Mend first\n", "critical T-REC: recursion is offered to strangers\n    at 192.0.2.200\n",
			"low      T-VER: the server tells its version\n    at 192.0.2.150, 192.0.2.200\n", "39  192.0.2.200: 1 critical, 1 low\n", "99  192.0.2.150: 1 low\n",
			"-  192.0.2.201: HTTP answers on port 53, and no name server\n", "100  192.0.2.100: nothing wrong was found\n",
			"252 targets: nobody answers on port 53: 192.0.2.0-192.0.2.99, 192.0.2.101-192.0.2.149, 192.0.2.151-192.0.2.199, 192.0.2.202-192.0.2.255\n",
			"\n192.0.2.200\n", "\n192.0.2.150\n", "\n192.0.2.100\n",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			rest := string(written(t, x.f, report.Options{Subject: "192.0.2.0/24"}, network()...))
			for _, dead := range []string{"192.0.2.1:", ">192.0.2.1<", "192.0.2.50"} {
				if strings.Contains(rest, dead) {
					t.Errorf("%s, where nobody is, is there by itself", dead)
				}
			}
			for _, w := range x.want {
				_, after, there := strings.Cut(rest, w)
				if !there {
					t.Fatalf("no %q where it should be, in\n%.3000s", w, rest)
				}
				rest = after
			}
		})
	}
}

// TestOneTarget has no summary beside that of the one report in a text.
func TestOneTarget(t *testing.T) {
	text := string(written(t, report.Text, report.Options{}, network()[200]))
	if !strings.HasPrefix(text, "192.0.2.200\n  verdict: critical: recursion is offered to strangers\n") {
		t.Errorf("it begins\n%s", text)
	}
}

// TestLinksLead wants each link within the page to lead to one place.
func TestLinksLead(t *testing.T) {
	page := written(t, report.HTML, report.Options{}, append(goldenReports(), network()...)...)
	ids := map[string]int{}
	for _, m := range regexp.MustCompile(` id="([^"]*)"`).FindAllSubmatch(page, -1) {
		ids[string(m[1])]++
	}
	links := regexp.MustCompile(` href="#([^"]*)"`).FindAllSubmatch(page, -1)
	for _, m := range links {
		if ids[string(m[1])] != 1 {
			t.Errorf("#%s is there %d times", m[1], ids[string(m[1])])
		}
	}
	for id, n := range ids {
		if n != 1 {
			t.Errorf("%d places are called %s", n, id)
		}
	}
	if len(links) < 10 {
		t.Errorf("%d links", len(links))
	}
}

// TestSpooled has more reports than are kept in memory: the page has all of them, and no file stays.
func TestSpooled(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	var list []*finding.Report
	for i := range 40 {
		r := network()[200]
		r.Target.Text = fmt.Sprintf("server %d", i)
		r.Results[0].Findings[0].Detail = strings.Repeat("x", 1<<18)
		list = append(list, r)
	}
	for _, f := range []report.Format{report.HTML, report.Text} {
		page := written(t, f, report.Options{}, list...)
		for i := range 40 {
			if !bytes.Contains(page, fmt.Appendf(nil, "server %d", i)) {
				t.Errorf("format %d: server %d is not there", f, i)
			}
		}
		if n := bytes.Count(page, []byte(strings.Repeat("x", 1<<18))); n != 40 {
			t.Errorf("format %d: %d details", f, n)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v, %v stay", err, left)
	}
}

// TestContrast wants each colour of text to stand out from its ground as WCAG 2.2 has it for level
// AA (success criterion 1.4.3): 4.5 to 1, by day, by night and on paper.
func TestContrast(t *testing.T) {
	page := string(written(t, report.HTML, report.Options{}))
	pairs := [][2]string{}
	for _, text := range []string{"ink", "dim", "critical", "high", "medium", "low", "info", "pass", "unknown"} {
		pairs = append(pairs, [2]string{text, "paper"}, [2]string{text, "ground"})
	}
	for _, ground := range []string{"critical", "high", "medium", "low", "info"} {
		pairs = append(pairs, [2]string{"on", ground})
	}
	palettes := regexp.MustCompile(`(?s):root \{(.*?)\}`).FindAllStringSubmatch(page, -1)
	if len(palettes) != 3 {
		t.Fatalf("%d palettes", len(palettes))
	}
	for i, p := range palettes {
		colours := map[string]float64{}
		for _, m := range regexp.MustCompile(`--([a-z]+): (#[0-9a-f]{3,6});`).FindAllStringSubmatch(p[1], -1) {
			colours[m[1]] = luminance(t, m[2])
		}
		for _, pair := range pairs {
			a, ok := colours[pair[0]]
			b, fine := colours[pair[1]]
			if !ok || !fine {
				t.Fatalf("palette %d has no %v", i, pair)
			}
			if ratio := (math.Max(a, b) + .05) / (math.Min(a, b) + .05); ratio < 4.5 {
				t.Errorf("palette %d: %s on %s is %.2f to 1", i, pair[0], pair[1], ratio)
			}
		}
	}
}

// luminance returns the relative luminance of a colour in sRGB.
func luminance(t *testing.T, colour string) float64 {
	t.Helper()
	digits := colour[1:]
	if len(digits) == 3 {
		digits = string([]byte{digits[0], digits[0], digits[1], digits[1], digits[2], digits[2]})
	}
	n, err := strconv.ParseUint(digits, 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for shift, weight := range map[int]float64{16: .2126, 8: .7152, 0: .0722} {
		v := float64(n>>shift&0xff) / 255
		if v <= .04045 {
			v /= 12.92
		} else {
			v = math.Pow((v+.055)/1.055, 2.4)
		}
		sum += weight * v
	}
	return sum
}
