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

var testNames = regexp.MustCompile("`([a-z0-9/]+)\\.((?:Test|Fuzz)[A-Za-z0-9]+)`")

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
