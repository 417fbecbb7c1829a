package catalogue

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/fingerprint"
)

const goodProse = `# What one check is about.
remedy limit
	advice: Limit it.
	advice bind: limit yes;

check A-ONE
	title: it is limited
	fault: it is not limited
	sent: Asks a question that takes
		two lines.
	judged: No limit: fail.
	remedy: limit
	ref: RFC 1034
	ref: RFC 1912, section 2.2

check A-TWO
	title: two
	fault: not two
	sent: Asks.
	judged: Always.
	advice any port53: the same: for both
	ref: CWE-200
`

func TestProse(t *testing.T) {
	got, err := readProse("a.txt", goodProse)
	if err != nil {
		t.Fatal(err)
	}
	one, two := got["A-ONE"], got["A-TWO"]
	if len(got) != 2 || one.sent != "Asks a question that takes two lines." || one.fault != "it is not limited" || one.advice["bind"] != "limit yes;" || len(one.refs) != 2 {
		t.Errorf("%+v", one)
	}
	if two.advice[""] != "the same: for both" || two.advice["port53"] != two.advice[""] || len(two.advice) != 2 {
		t.Errorf("%+v", two)
	}
}

// TestProseStrict has prose with one mistake each: it is told with its line.
func TestProseStrict(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{"check A-TWO", "check A-ONE", `a.txt:16: check "A-ONE" has no name, or one that is taken`},
		{"check A-TWO", "check", `a.txt:16: check "" has no name`},
		{"check A-TWO", "about A-TWO", `a.txt:16: "about A-TWO", expected check ID or remedy NAME`},
		{"\ttitle: two\n", "", "a.txt:16: A-TWO has no title"},
		{"\tfault: not two\n", "", "a.txt:16: A-TWO has no fault"},
		{"\tsent: Asks.\n", "", "a.txt:16: A-TWO has no sent"},
		{"\tjudged: Always.\n", "", "a.txt:16: A-TWO has no judged"},
		{"any port53", "port53", "a.txt:16: A-TWO has no general advice"},
		{"\tref: CWE-200\n", "", "a.txt:16: A-TWO has no ref"},
		{"title: two", "titel: two", `a.txt:17: no field is called "titel"`},
		{"title: two", "title:", `a.txt:17: "title:", expected key: value`},
		{"title: two", "title: two ", "a.txt:17:"},
		{"title: two", "title: two\n\ttitle: three", "a.txt:18: title is there twice"},
		{"any port53", "any bind any", `a.txt:21: advice for "" is there twice`},
		{"CWE-200", "CWE-200\n\tref: CWE-200", "a.txt:23: the reference CWE-200 is there twice"},
		{"remedy: limit", "remedy: limits", `a.txt:6: A-ONE: there is no remedy "limits"`},
		{"\tremedy: limit\n", "\tremedy: limit\n\tadvice: more\n", `or advice beside it`},
		{"\tremedy: limit\n", "\tadvice: more\n", "a.txt:2: no check uses the remedy limit"},
		{"\tadvice: Limit it.", "\ttitle: Limit it.", "a.txt:3: a remedy has advice alone, not title"},
		{"remedy limit\n", "", "a.txt:2: a field outside of any block"},
	} {
		if !strings.Contains(goodProse, c.old) {
			t.Fatalf("%q is not in the good prose", c.old)
		}
		_, err := readProse("a.txt", strings.Replace(goodProse, c.old, c.new, 1))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q for %q: %v, want %s", c.new, c.old, err, c.want)
		}
	}
}

// TestDescribed has a check without prose, prose without a check, and a check that is there
// twice.
func TestDescribed(t *testing.T) {
	of := func(ids ...string) []*check.Check {
		var list []*check.Check
		for _, id := range ids {
			list = append(list, &check.Check{Check: finding.Check{ID: id}})
		}
		return list
	}
	for _, c := range []struct {
		list []*check.Check
		want string
	}{
		{of("A-ONE", "A-TWO"), ""},
		{of("A-ONE", "A-TWO", "A-THREE"), "a.txt: A-THREE has no prose"},
		{of("A-ONE"), "a.txt:16: there is no check A-TWO"},
		{of("A-ONE", "A-TWO", "A-ONE"), "a.txt: A-ONE has no prose, or is there twice"},
	} {
		prose, err := readProse("a.txt", goodProse)
		if err == nil {
			err = describe(c.list, "a.txt", prose)
		}
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}

// TestProseFiles reads every file that is built in: each has prose of checks that All has, and
// all checks have prose of one.
func TestProseFiles(t *testing.T) {
	var ids []string
	err := fs.WalkDir(proseFiles, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(proseFiles, path)
		if err != nil {
			return err
		}
		prose, err := readProse(path, string(content))
		for id, p := range prose {
			ids = append(ids, id)
			for product := range p.advice {
				if !slices.Contains(products(), product) {
					err = errors.Join(err, errors.New(path+": "+id+": no product is called "+string(product)))
				}
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	var all []string
	for _, c := range All() {
		all = append(all, c.ID)
	}
	slices.Sort(ids)
	slices.Sort(all)
	if !slices.Equal(ids, all) {
		t.Errorf("prose of %q\nchecks %q", ids, all)
	}
}

// products are the names that advice may be kept under: those that a server can be found to
// be, and some that are told apart by hand.
func products() []check.Product {
	return []fingerprint.Product{"", "bind", "nsd", "knot", "unbound", "pdns", "pdns-recursor", "knot-resolver", "dnsmasq", "coredns", "port53", "msdns", "dnsdist"}
}
