package cli

import (
	"bytes"
	"strings"
	"testing"

	"port53/internal/app"
	"port53/internal/filter"
)

// What filter test says of a rule: where it is, and that what passes is not blocked.
func TestTested(t *testing.T) {
	base := func(r app.FilterTestResult) app.FilterTestResult {
		r.Name, r.Type, r.Client = "x.example.", "A", "192.0.2.1"
		return r
	}
	for _, c := range []struct {
		r    app.FilterTestResult
		want string
		fail bool
	}{
		{app.FilterTestResult{Action: "pass"}, "passes: no list that counts for this client now has a rule for it", false},
		{app.FilterTestResult{Action: "pass", Later: true}, ": policy zones judge by the answer, which is not cached; query it, and test again", false},
		{app.FilterTestResult{Action: "nxdomain", List: "ads", Line: 7, Rule: "||x.example^", Cause: "name"}, "is blocked: nxdomain\n  list ads, line 7: ||x.example^", true},
		{app.FilterTestResult{Action: "nxdomain", List: "ads", Line: 7, Cause: "alias"}, "is blocked: nxdomain\n  list ads, line 7 (by the alias in the answer)", true},
		{app.FilterTestResult{Action: "address", List: "ads", Line: 7, Cause: "name"}, "is answered by a rule: address\n  list ads, line 7", true},
		{app.FilterTestResult{Action: "allow", List: "policy.allow_names"}, "passes, since a rule allows it\n  policy.allow_names of the configuration", false},
		{
			app.FilterTestResult{Action: "passthru", Zone: true, List: "rpz1.", Rule: "x.example.rpz1.", Cause: "qname"},
			"passes, since a rule allows it\n  policy zone rpz1., rule x.example.rpz1. (qname)", false,
		},
		{
			app.FilterTestResult{Action: "nxdomain", Zone: true, List: "rpz1.", Rule: "*.example.rpz1.", Cause: "qname"},
			"is blocked: nxdomain\n  policy zone rpz1., rule *.example.rpz1. (qname)", true,
		},
		{
			app.FilterTestResult{Action: "cname", Zone: true, List: "rpz1.", Rule: "*.example.rpz1.", Cause: "nsip", Target: "garden.test."},
			"is answered by a rule: cname\n  policy zone rpz1., rule *.example.rpz1. (nsip), garden.test.", true,
		},
		{
			app.FilterTestResult{Action: "local data", Zone: true, List: "rpz1.", Rule: "x.example.rpz1.", Cause: "qname"},
			"is answered by a rule: local data\n  policy zone rpz1., rule x.example.rpz1. (qname)", true,
		},
		{
			app.FilterTestResult{Action: "tcp-only", Zone: true, List: "rpz1.", Rule: "x.example.rpz1.", Cause: "qname"},
			"is answered over TCP alone: tcp-only\n  policy zone rpz1., rule x.example.rpz1. (qname)", true,
		},
		{app.FilterTestResult{Action: "log", Zone: true, List: "rpz1."}, "passes, and is told of\n  policy zone rpz1.", false},
	} {
		var out bytes.Buffer
		r := base(c.r)
		(&streams{out: &out}).printTested(&r)
		if got := strings.TrimSuffix(strings.TrimPrefix(out.String(), "x.example. A from 192.0.2.1"), "\n"); strings.TrimPrefix(got, " ") != c.want {
			t.Errorf("%+v:\n%s\nwant\n%s", c.r, got, c.want)
		}
		if filtered(r.Action) != c.fail {
			t.Errorf("%s: exit code", r.Action)
		}
	}
}

// What a list has that is no rule of it is told by its kind.
func TestListSkips(t *testing.T) {
	for _, c := range []struct {
		stats filter.Stats
		want  string
		not   string
	}{
		{filter.Stats{Rules: 1, NoZone: 7}, "7 rules skipped (clients, servers, rpz-tcp-only", "web pages"},
		{filter.Stats{Rules: 1, NoZone: 1}, "1 rule skipped (clients", "web pages"},
		{filter.Stats{Rules: 1, Skipped: 3}, "3 lines skipped (for web pages and URLs 3", "policy.rpz"},
		{filter.Stats{Rules: 1}, "1 rule", "skipped"},
	} {
		var out bytes.Buffer
		(&streams{out: &out}).printList(&app.ListStatus{Name: "one", Stats: c.stats})
		if got := out.String(); !strings.Contains(got, c.want) || strings.Contains(got, c.not) {
			t.Errorf("%+v: %s", c.stats, got)
		}
	}
}
