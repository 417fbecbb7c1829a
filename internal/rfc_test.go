package internal_test

import (
	"cmp"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

//go:generate go test -run ^TestRFC$ -count=1 . -update

var update = flag.Bool("update", false, "write the generated documents again")

const rfcDocument = "../docs/RFC.md"

// TestRFC reads the citations in the product's sources and fails if docs/RFC.md, which says where
// each section is implemented, is not what they make.
func TestRFC(t *testing.T) {
	places := citations(t)
	if len(places) < 50 {
		t.Fatalf("%d RFCs found: is the test run from internal?", len(places))
	}
	want := rfcTable(places)
	if *update {
		if err := os.WriteFile(rfcDocument, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(rfcDocument)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != want {
		t.Errorf("%s is stale: run go generate ./internal", rfcDocument)
	}
}

// A section is one of an RFC; 0 is the whole.
type section struct{ rfc, name string }

var (
	// citation matches the one form in which sources cite: "RFC 4035, section 3.1.3", and what goes on from there.
	citation = regexp.MustCompile(`RFC (\d{3,5})(?:,\s+(section|sections|appendix)\s+((?:[A-Z]|\d+)(?:\.\d+)*(?:(?:,| and| to)\s+\d+(?:\.\d+)*)*))?`)
	number   = regexp.MustCompile(`(?:\b[A-Z]|\d+)(?:\.\d+)*`)
)

// citations returns the files, below internal and cmd, that cite each section.
func citations(t *testing.T) map[section][]string {
	t.Helper()
	places := map[section][]string{}
	for _, root := range []string{".", "../cmd"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			name := strings.TrimPrefix(filepath.ToSlash(path), "../")
			for _, s := range cited(string(text)) {
				places[s] = append(places[s], name)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for s, files := range places {
		places[s] = slices.Compact(files)
	}
	return places
}

// cited returns the sections that a source cites, also where a comment breaks the line.
func cited(text string) (out []section) {
	text = regexp.MustCompile(`\n\s*//\s*`).ReplaceAllString(text, " ")
	for _, m := range citation.FindAllStringSubmatch(text, -1) {
		if m[3] == "" {
			out = append(out, section{m[1], ""})
			continue
		}
		for _, name := range number.FindAllString(m[3], -1) {
			if m[2] == "appendix" {
				name = "appendix " + name
			}
			out = append(out, section{m[1], name})
		}
	}
	return out
}

// rfcTable returns the document: an RFC after the other, its sections in order.
func rfcTable(places map[section][]string) string {
	sections := slices.SortedFunc(maps.Keys(places), func(a, b section) int {
		x, _ := strconv.Atoi(a.rfc)
		y, _ := strconv.Atoi(b.rfc)
		return cmp.Or(cmp.Compare(x, y), slices.Compare(ordinals(a.name), ordinals(b.name)), cmp.Compare(a.name, b.name))
	})
	var b strings.Builder
	b.WriteString("# RFCs and where they are implemented\n\n" +
		"Made by `go generate ./internal` from the citations in the sources. A row without a section cites the RFC as a whole.\n")
	rfc := ""
	for _, s := range sections {
		if s.rfc != rfc {
			rfc = s.rfc
			fmt.Fprintf(&b, "\n## RFC %s\n\n| section | in |\n|---|---|\n", rfc)
		}
		fmt.Fprintf(&b, "| %s | `%s` |\n", s.name, strings.Join(places[s], "`, `"))
	}
	return b.String()
}

// ordinals returns the numbers of a section's name; appendices come last.
func ordinals(name string) (out []int) {
	name, appendix := strings.CutPrefix(name, "appendix ")
	if appendix {
		out = append(out, 1000)
	}
	for part := range strings.SplitSeq(name, ".") {
		n, _ := strconv.Atoi(part)
		out = append(out, n)
	}
	return out
}

// TestCited reads citations in the forms that the sources have.
func TestCited(t *testing.T) {
	for text, want := range map[string][]section{
		"RFC 4035, section 3.1.3, says":            {{"4035", "3.1.3"}},
		"(RFC 6840)":                               {{"6840", ""}},
		"// RFC 2181,\n\t// section 5.4.1":         {{"2181", "5.4.1"}},
		"RFC 2136, sections 3.4.2 and 3.7":         {{"2136", "3.4.2"}, {"2136", "3.7"}},
		"RFC 5155, appendix B, and RFC 9276":       {{"5155", "appendix B"}, {"9276", ""}},
		"as RFC 1035, section 3.3.14. Another":     {{"1035", "3.3.14"}},
		"RFC 4592, sections 2.2, 2.2.2 to 4.1 too": {{"4592", "2.2"}, {"4592", "2.2.2"}, {"4592", "4.1"}},
	} {
		if got := cited(text); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
