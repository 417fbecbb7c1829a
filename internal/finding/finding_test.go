package finding_test

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"port53/internal/finding"
	"port53/internal/fingerprint"
	"port53/internal/scan"
)

func result(id string, s finding.Severity, list ...finding.Finding) finding.Result {
	return finding.Result{Check: &finding.Check{ID: id, Title: "the title of " + id, Severity: s}, Findings: list}
}

func is(states ...finding.State) []finding.Finding {
	var list []finding.Finding
	for _, s := range states {
		list = append(list, finding.Finding{State: s})
	}
	return list
}

func TestWords(t *testing.T) {
	var got []string
	for s := finding.Pass; s <= finding.Skipped; s++ {
		got = append(got, s.String())
	}
	for s := finding.SevInfo; s <= finding.SevCritical; s++ {
		got = append(got, s.String())
		if back, ok := finding.ParseSeverity(s.String()); !ok || back != s {
			t.Errorf("%s is read as %s", s, back)
		}
	}
	for m := finding.Polite; m <= finding.Intrusive; m++ {
		got = append(got, m.String())
	}
	want := []string{"pass", "warn", "fail", "unknown", "info", "skipped", "info", "low", "medium", "high", "critical", "polite", "active", "intrusive"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if _, ok := finding.ParseSeverity("severe"); ok {
		t.Error("a word that is none is read")
	}
}

func TestAdvice(t *testing.T) {
	c := finding.Check{Advice: map[fingerprint.Product]string{"": "in general", "bind": "for BIND"}}
	if a, b, d := c.AdviceFor("bind"), c.AdviceFor("nsd"), c.AdviceFor(""); a != "for BIND" || b != "in general" || d != "in general" {
		t.Errorf("%q, %q, %q", a, b, d)
	}
}

func TestLink(t *testing.T) {
	for ref, want := range map[string]string{
		"RFC 1035":              "https://www.rfc-editor.org/rfc/rfc1035",
		"RFC 1035, section 4.1": "https://www.rfc-editor.org/rfc/rfc1035#section-4.1",
		"CVE-2023-50387":        "https://www.cve.org/CVERecord?id=CVE-2023-50387",
		"CWE-200":               "",
		"":                      "",
	} {
		if got := finding.Link(ref); got != want {
			t.Errorf("%q: %q", ref, got)
		}
	}
}

// TestTitle has a check with two titles, one with a single title, and findings with one
// of their own.
func TestTitle(t *testing.T) {
	for _, x := range []struct {
		fault, own string
		state      finding.State
		want       string
	}{
		{"", "", finding.Fail, "good"},
		{"bad", "", finding.Fail, "bad"},
		{"bad", "", finding.Warn, "bad"},
		{"bad", "", finding.Pass, "good"},
		{"bad", "", finding.Unknown, "not measured: good"},
		{"bad", "", finding.Info, "bad"},
		{"bad", "own", finding.Fail, "own"},
		{"bad", "own", finding.Pass, "own"},
	} {
		r := finding.Result{Check: &finding.Check{Title: "good", Fault: x.fault}}
		if got := r.Title(&finding.Finding{State: x.state, Title: x.own}); got != x.want {
			t.Errorf("%+v: %s", x, got)
		}
	}
	r := result("T", finding.SevLow)
	if a, b := r.Severity(&finding.Finding{}), r.Severity(&finding.Finding{Severity: finding.SevHigh}); a != finding.SevLow || b != finding.SevHigh {
		t.Errorf("severities %s and %s", a, b)
	}
}

func TestPlace(t *testing.T) {
	for _, x := range []struct {
		f    finding.Finding
		want string
	}{{finding.Finding{Line: 3}, ""}, {finding.Finding{File: "a.yaml"}, "a.yaml"}, {finding.Finding{File: "a.yaml", Line: 3}, "a.yaml:3"}} {
		if got := x.f.Place(); got != x.want {
			t.Errorf("%+v: %s", x.f, got)
		}
	}
	zone := finding.Target{Zone: []byte("\x04test\x00")}
	if got := zone.ZoneText() + (&finding.Target{}).ZoneText(); got != "test." {
		t.Errorf("got %q", got)
	}
}

func TestUnmeasured(t *testing.T) {
	ev := finding.Evidence{N: 7}
	for err, want := range map[error]finding.Finding{
		errors.New("no answer"):                            {State: finding.Unknown, Detail: "could not be measured: no answer"},
		fmt.Errorf("no zone: %w", finding.ErrInapplicable): {State: finding.Skipped, Detail: "no zone: does not apply"},
	} {
		got := finding.Unmeasured(ev, err)
		if len(got) != 1 || got[0].State != want.State || got[0].Detail != want.Detail || got[0].Evidence.N != 7 {
			t.Errorf("%v: %+v", err, got)
		}
	}
	if got := finding.Verdict(finding.Warn, ev, "%d of %d", 1, 2); len(got) != 1 || got[0].State != finding.Warn || got[0].Detail != "1 of 2" || got[0].Evidence.N != 7 {
		t.Errorf("%+v", got)
	}
}

func TestWorst(t *testing.T) {
	for _, x := range []struct {
		list []finding.Finding
		want finding.State
	}{
		{nil, finding.Skipped},
		{is(finding.Skipped), finding.Skipped},
		{is(finding.Pass, finding.Skipped), finding.Pass},
		{is(finding.Pass, finding.Info), finding.Info},
		{is(finding.Info, finding.Unknown), finding.Unknown},
		{is(finding.Unknown, finding.Warn), finding.Warn},
		{is(finding.Warn, finding.Fail, finding.Pass), finding.Fail},
	} {
		r := finding.Result{Findings: x.list}
		if got := r.Worst(); got != x.want {
			t.Errorf("%+v: %s, want %s", x.list, got, x.want)
		}
	}
}

func TestReached(t *testing.T) {
	open, closed := scan.Port{State: scan.Open}, scan.Port{State: scan.Closed}
	of := func(states ...finding.State) []finding.Result {
		var list []finding.Result
		for _, s := range states {
			list = append(list, result("T", finding.SevHigh, is(s)...))
		}
		return list
	}
	for _, x := range []struct {
		name string
		r    finding.Report
		want bool
	}{
		{"a problem", finding.Report{Problem: "none", Results: of(finding.Pass)}, false},
		{"nothing wanted", finding.Report{}, true},
		{"nothing wanted of an open port", finding.Report{Ports: []scan.Port{closed, open}}, true},
		{"nothing wanted of a closed one", finding.Report{Ports: []scan.Port{closed, closed}}, false},
		{"half", finding.Report{Results: of(finding.Unknown, finding.Fail)}, true},
		{"less than half", finding.Report{Results: of(finding.Unknown, finding.Unknown, finding.Pass)}, false},
		{"each state that is measured", finding.Report{Results: of(finding.Pass, finding.Warn, finding.Fail, finding.Info, finding.Unknown, finding.Unknown, finding.Unknown, finding.Unknown)}, true},
		{"skipped alone", finding.Report{Results: of(finding.Skipped)}, true},
		{"skipped alone at a closed port", finding.Report{Results: of(finding.Skipped), Ports: []scan.Port{closed}}, false},
	} {
		if got := x.r.Measured(); got != x.want {
			t.Errorf("%s: %t", x.name, got)
		}
	}
	r := finding.Report{Results: of(finding.Pass, finding.Pass, finding.Fail)}
	if got := r.Count(); !maps.Equal(got, map[finding.State]int{finding.Pass: 2, finding.Fail: 1}) {
		t.Errorf("%v", got)
	}
}

func TestAbove(t *testing.T) {
	all := []finding.Severity{finding.SevLow, finding.SevMedium, finding.SevHigh, finding.SevCritical}
	for _, x := range []struct {
		f    finding.Finding
		want []finding.Severity // at which it counts
	}{
		{finding.Finding{State: finding.Fail, Severity: finding.SevHigh}, all[:3]},
		{finding.Finding{State: finding.Fail, Severity: finding.SevLow}, all[:1]},
		// A warning alone counts only where medium or low is asked for.
		{finding.Finding{State: finding.Warn, Severity: finding.SevCritical}, all[:2]},
		{finding.Finding{State: finding.Warn, Severity: finding.SevLow}, all[:1]},
		{finding.Finding{State: finding.Unknown, Severity: finding.SevCritical}, nil},
		{finding.Finding{State: finding.Pass, Severity: finding.SevCritical}, nil},
		{finding.Finding{State: finding.Info, Severity: finding.SevCritical}, nil},
	} {
		r := finding.Report{Results: []finding.Result{result("A", finding.SevCritical, is(finding.Pass)...), result("B", finding.SevInfo, x.f)}}
		for _, least := range all {
			if got := r.Above(least); got != slices.Contains(x.want, least) {
				t.Errorf("%s %s, at or above %s: %t", x.f.State, x.f.Severity, least, got)
			}
		}
	}
}

func TestFingerprint(t *testing.T) {
	r := finding.Report{Target: finding.Target{Text: "192.0.2.1", Server: finding.Server{Addr: netip.MustParseAddrPort("192.0.2.1:53")}}}
	other := finding.Report{Target: finding.Target{Text: "192.0.2.2"}}
	a, b := &finding.Check{ID: "A"}, &finding.Check{ID: "B"}
	one := r.Fingerprint(a, &finding.Finding{Key: "k", Detail: "today"})
	if len(one) != 32 || one != r.Fingerprint(a, &finding.Finding{Key: "k", Detail: "tomorrow", State: finding.Fail}) {
		t.Errorf("%s is not the same in each run", one)
	}
	for _, x := range []string{r.Fingerprint(b, &finding.Finding{Key: "k"}), r.Fingerprint(a, &finding.Finding{Key: "l"}), other.Fingerprint(a, &finding.Finding{Key: "k"})} {
		if x == one {
			t.Errorf("%s is another's as well", x)
		}
	}
}

// TestBaseline has findings that are known, new and gone, at this target and at another.
func TestBaseline(t *testing.T) {
	report := func() *finding.Report {
		return &finding.Report{Target: finding.Target{Text: "a\x1b"}, Results: []finding.Result{
			result("KNOWN", finding.SevHigh, finding.Finding{State: finding.Fail, Key: "k"}),
			result("NEW", finding.SevHigh, finding.Finding{State: finding.Fail, Key: "another"}),
			result("MENDED", finding.SevHigh, is(finding.Pass)...),
			result("BLIND", finding.SevHigh, is(finding.Pass, finding.Unknown)...),
			result("WARNS", finding.SevLow, finding.Finding{State: finding.Warn, Key: "w"}),
		}}
	}
	r := report()
	print := func(i int, key string) string {
		return r.Fingerprint(r.Results[i].Check, &finding.Finding{Key: key})
	}
	b := new(finding.Baseline)
	for i, key := range map[int]string{0: "k", 1: "gone", 2: "", 3: "", 4: "w"} {
		b.Add("a?", finding.Gone{ID: r.Results[i].Check.ID, Fingerprint: print(i, key)})
	}
	b.Add("a?", finding.Gone{ID: "NOT-MADE", Fingerprint: "1"})
	b.Add("elsewhere", finding.Gone{ID: "MENDED", Fingerprint: "2"})
	if got := r.Gone(); got != nil || r.Known(r.Results[0].Check, &r.Results[0].Findings[0]) {
		t.Errorf("without a baseline: %+v", got)
	}
	r.Baseline = b
	var gone []string
	for _, g := range r.Gone() {
		gone = append(gone, g.ID)
	}
	slices.Sort(gone)
	if !slices.Equal(gone, []string{"MENDED", "NEW"}) {
		t.Errorf("gone: %q", gone)
	}
	for i, want := range []bool{true, false, true, true, true} {
		x := &r.Results[i]
		if got := r.Known(x.Check, &x.Findings[0]); got != want {
			t.Errorf("%s is known: %t", x.Check.ID, got)
		}
	}
	if !r.Above(finding.SevHigh) {
		t.Error("what is new does not count")
	}
	r.Results = slices.Delete(r.Results, 1, 2)
	if r.Above(finding.SevLow) {
		t.Error("what is known counts")
	}
	r.Baseline = new(finding.Baseline)
	if got := r.Gone(); len(got) != 0 || !r.Above(finding.SevHigh) {
		t.Errorf("of a run that found nothing: %+v", got)
	}
}

// TestScore has what each finding takes off a hundred.
func TestScore(t *testing.T) {
	for _, x := range []struct {
		list []finding.Result
		want int
		ok   bool
	}{
		{nil, 0, false},
		{[]finding.Result{result("A", finding.SevHigh, is(finding.Skipped)...)}, 0, false},
		{[]finding.Result{result("A", finding.SevHigh, is(finding.Unknown)...)}, 0, false},
		{[]finding.Result{result("A", finding.SevHigh, is(finding.Pass)...)}, 100, true},
		{[]finding.Result{result("A", finding.SevHigh, is(finding.Info)...)}, 100, true},
		{[]finding.Result{result("A", finding.SevLow, is(finding.Fail)...)}, 98, true},
		{[]finding.Result{result("A", finding.SevLow, is(finding.Warn)...)}, 99, true},
		{[]finding.Result{result("A", finding.SevMedium, is(finding.Fail)...), result("B", finding.SevHigh, is(finding.Warn)...)}, 79, true},
		{[]finding.Result{result("A", finding.SevHigh, is(finding.Fail, finding.Fail, finding.Warn)...)}, 75, true},
		{[]finding.Result{result("A", finding.SevLow, finding.Finding{State: finding.Fail, Severity: finding.SevCritical})}, 40, true},
		{[]finding.Result{result("A", finding.SevCritical, is(finding.Fail)...), result("B", finding.SevCritical, is(finding.Fail)...)}, 0, true},
	} {
		r := finding.Report{Results: x.list}
		if got, ok := r.Score(); got != x.want || ok != x.ok {
			t.Errorf("%+v: %d, %t; want %d, %t", x.list, got, ok, x.want, x.ok)
		}
	}
}

// TestMissed has what somebody has to be told that it was not measured.
func TestMissed(t *testing.T) {
	blind := []finding.Result{result("A", finding.SevHigh, is(finding.Unknown)...), result("B", finding.SevLow, is(finding.Pass)...), result("C", finding.SevLow, is(finding.Pass)...)}
	own := []finding.Result{result("A", finding.SevHigh, finding.Finding{State: finding.Unknown, LocalCause: true, Detail: "no IPv6"}), result("B", finding.SevLow, is(finding.Pass)...)}
	closed := []scan.Port{{State: scan.Closed}}
	for _, x := range []struct {
		name string
		r    finding.Report
		want bool
	}{
		{"nothing of a network's address", finding.Report{Target: finding.Target{FromRange: true}, Unreachable: true, Problem: "nobody", Ports: closed}, false},
		{"nothing of an address that was asked for", finding.Report{Unreachable: true, Ports: closed}, true},
		{"no way to a zone's server", finding.Report{Target: finding.Target{Derived: true}, Unreachable: true, Problem: "no way"}, false},
		{"no way to a server that was asked for", finding.Report{Unreachable: true, Problem: "no way"}, true},
		{"a zone's server that is silent", finding.Report{Target: finding.Target{Derived: true}, Unreachable: true, Ports: closed}, true},
		{"a check that matters", finding.Report{Results: blind}, true},
		{"one that matters less", finding.Report{Results: []finding.Result{result("A", finding.SevMedium, is(finding.Unknown)...), blind[1]}}, false},
		{"what this machine lacks", finding.Report{Results: own}, false},
		{"nothing that applies", finding.Report{Results: []finding.Result{result("A", finding.SevHigh, is(finding.Skipped)...)}}, false},
	} {
		if got := x.r.NotMeasured(finding.SevHigh); got != x.want {
			t.Errorf("%s: %t", x.name, got)
		}
	}
	r := finding.Report{Results: own}
	if got := r.MissingLocally(); !slices.Equal(got, []string{"no IPv6"}) || len(r.Unmeasured()) != 0 || r.Inconclusive(finding.SevLow) {
		t.Errorf("%q, %v", got, r.Unmeasured())
	}
	r = finding.Report{Results: blind}
	if got := r.Unmeasured(); len(got) != 1 || got[0].Check.ID != "A" || !r.Inconclusive(finding.SevHigh) || r.Inconclusive(finding.SevCritical) {
		t.Errorf("%v", got)
	}
	if f := finding.Unmeasured(finding.Evidence{}, fmt.Errorf("no IPv6: %w", finding.ErrLocal)); !f[0].LocalCause || f[0].State != finding.Unknown {
		t.Errorf("%+v", f)
	}
}
