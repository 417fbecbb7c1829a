package internal_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const promises = "../docs/PROMISES.md"

// TestPromises reads docs/PROMISES.md and fails on a promise that its document does not
// make, and on a test that does not exist.
func TestPromises(t *testing.T) {
	text, err := os.ReadFile(promises)
	if err != nil {
		t.Fatal(err)
	}
	comments := packageComments(t)
	document, name := "", ""
	rows := 0
	for _, line := range strings.Split(string(text), "\n") {
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			name, document = heading, comments
			if heading != "Packages" {
				body, err := os.ReadFile(filepath.Join("..", heading))
				if err != nil {
					t.Errorf("%s: %v", promises, err)
				}
				document = flat(string(body))
			}
			continue
		}
		cells := strings.Split(line, " | ")
		if len(cells) != 2 || !strings.HasPrefix(line, "| ") || cells[0] == "| promise" {
			continue
		}
		rows++
		promise := strings.TrimPrefix(cells[0], "| ")
		if !strings.Contains(document, flat(promise)) {
			t.Errorf("%s does not say %q", name, promise)
		}
		tests := testNames.FindAllStringSubmatch(cells[1], -1)
		if len(tests) == 0 {
			t.Errorf("%q has no test", promise)
		}
		for _, m := range tests {
			if !hasTest(t, m[1], m[2]) {
				t.Errorf("%q: package %s has no %s", promise, m[1], m[2])
			}
		}
	}
	if rows == 0 {
		t.Errorf("%s has no promises", promises)
	}
}

// TestMendedPage reads docs/MENDED.md and fails on a fault without a test that notices it, with
// fewer than two siblings, or with a test that does not exist.
func TestMendedPage(t *testing.T) {
	text, err := os.ReadFile("../docs/MENDED.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for _, line := range strings.Split(string(text), "\n") {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if !strings.HasPrefix(line, "| ") || cells[0] == "fault" {
			continue
		}
		if rows++; len(cells) != 3 {
			t.Errorf("%q has %d cells", line, len(cells))
			continue
		}
		found := map[string]bool{}
		for i, least := range []int{1, 2} {
			tests := testNames.FindAllStringSubmatch(cells[i+1], -1)
			if len(tests) < least {
				t.Errorf("%q: %q names %d tests, want %d", cells[0], cells[i+1], len(tests), least)
			}
			for _, m := range tests {
				if found[m[0]] {
					t.Errorf("%q: %s stands twice", cells[0], m[0])
				}
				if found[m[0]] = true; !hasTest(t, m[1], m[2]) || m[3] != "" && !hasData(m[1], m[3]) {
					t.Errorf("%q: package %s has no %s%s", cells[0], m[1], m[2], m[3])
				}
			}
		}
	}
	if rows < 85 {
		t.Errorf("%d faults found", rows)
	}
}

// testNames finds PACKAGE.Test, and PACKAGE.Test/FILE of the package's testdata.
var testNames = regexp.MustCompile("`([a-z0-9/]+)\\.((?:Test|Fuzz)[A-Za-z0-9]+)(/[a-z0-9_-]+)?`")

// hasTest reports whether a package, of a module of its own or below internal, has a test.
func hasTest(t *testing.T, pkg, name string) bool {
	t.Helper()
	dir := pkg
	switch pkg {
	case "internal":
		dir = "."
	case "conformance", "bench", "oracle":
		dir = filepath.Join("..", pkg)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "\nfunc "+name+"(") {
			return true
		}
	}
	return false
}

// hasData reports whether a package below internal has a file of scenarios or a script of a name.
func hasData(pkg, name string) bool {
	for _, dir := range []string{"testdata", "testdata/script"} {
		if _, err := os.Stat(filepath.Join(pkg, dir, name+".txtar")); err == nil {
			return true
		}
	}
	return false
}

// packageComments returns what all packages say of themselves.
func packageComments(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	files, err := filepath.Glob("*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	deeper, err := filepath.Glob("*/*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, deeper...) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, comment, ok := strings.Cut(string(text), "// Package ")
		if comment, _, _ = strings.Cut(comment, "\npackage "); ok {
			all.WriteString(strings.ReplaceAll(comment, "\n//", " ") + " ")
		}
	}
	return flat(all.String())
}

// flat returns text with each run of white space as one space, so that lines may break
// anywhere.
func flat(text string) string { return strings.Join(strings.Fields(text), " ") }

// TestDialect reads docs/DIALECT.md and fails on a decision that names no test, and on a
// test that is not there.
func TestDialect(t *testing.T) {
	text, err := os.ReadFile("../docs/DIALECT.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	numbers := map[string]bool{}
	for _, line := range strings.Split(string(text), "\n") {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if n := len(cells); n < 5 || strings.Trim(cells[0], "0123456789") != "" {
			continue
		}
		rows++
		if numbers[cells[0]] {
			t.Errorf("%s stands twice", cells[0])
		}
		numbers[cells[0]] = true
		named := quoted.FindAllStringSubmatch(cells[len(cells)-1], -1)
		if len(named) == 0 {
			t.Errorf("%s: no test is named", cells[0])
		}
		for _, m := range named {
			if !scenarioExists(t, m[1]) {
				t.Errorf("%s: there is no %s", cells[0], m[1])
			}
		}
	}
	if rows < 80 {
		t.Errorf("%d decisions found", rows)
	}
}

// TestMended reads what docs/TESTING.md says of faults that were mended, and fails on a row without
// two tests or scenarios beside that of the fault, and on one that is not there.
func TestMended(t *testing.T) {
	text, err := os.ReadFile("../docs/TESTING.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for _, line := range strings.Split(string(text), "\n") {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if len(cells) != 4 || !mended.MatchString(cells[0]) {
			continue
		}
		rows++
		fault, others := quoted.FindAllStringSubmatch(cells[2], -1), quoted.FindAllStringSubmatch(cells[3], -1)
		if len(fault) == 0 || len(others) < 2 {
			t.Errorf("%s: %d of the fault and %d of its kind", cells[0], len(fault), len(others))
		}
		for _, m := range append(fault, others...) {
			if !isScenario(t, m[1]) {
				t.Errorf("%s: there is no %s", cells[0], m[1])
			}
		}
	}
	if rows != 25 {
		t.Errorf("%d rows found", rows)
	}
}

var mended = regexp.MustCompile(`^R[0-9]+$`)

// isScenario reports whether there is a scenario of the resolver, "FILE: SCENARIO", or a test,
// "PACKAGE.Test".
func isScenario(t *testing.T, name string) bool {
	t.Helper()
	file, scenario, ok := strings.Cut(name, ": ")
	if !ok {
		pkg, test, _ := strings.Cut(name, ".")
		return hasTest(t, pkg, test)
	}
	text, err := os.ReadFile("resolver/testdata/" + file + ".txtar")
	return err == nil && strings.Contains("\n"+string(text), "\n-- scenario "+scenario+" --\n")
}

var quoted = regexp.MustCompile("`([^`]+)`")

// scenarioExists reports whether something is a test of some package, a file of scenarios,
// or a package that has tests.
func scenarioExists(t *testing.T, name string) bool {
	t.Helper()
	pattern := "*/testdata/" + name
	switch {
	case strings.HasPrefix(name, "Test"):
		pattern = "*/*_test.go"
	case !strings.HasSuffix(name, ".txtar"):
		pattern = strings.TrimPrefix(name, "internal/") + "/*_test.go"
	}
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(name, "Test") {
		return len(files) > 0
	}
	for _, file := range files {
		if hasTest(t, filepath.Dir(file), name) {
			return true
		}
	}
	return false
}
