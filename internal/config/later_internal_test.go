package config

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestNotYet reads docs/NOT-YET.md, which has to name the keys that are not there, all of them and
// no others, and the table, which may not have one of them.
func TestNotYet(t *testing.T) {
	text, err := os.ReadFile("../../docs/NOT-YET.md")
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	quoted := regexp.MustCompile("`([^`]+)`")
	for line := range strings.SplitSeq(string(text), "\n") {
		if cells := strings.Split(line, " | "); len(cells) == 3 {
			for _, m := range quoted.FindAllStringSubmatch(cells[1], -1) {
				said = append(said, m[1])
			}
		}
	}
	for path := range laterKeys() {
		if !slices.Contains(said, path) {
			t.Errorf("docs/NOT-YET.md does not name %s", path)
		}
		if k := table().find(path); k != nil {
			t.Errorf("%s is not there yet, and is in the table", path)
		}
	}
	for _, path := range said {
		if _, ok := laterKeys()[path]; !ok {
			t.Errorf("docs/NOT-YET.md names %s, which no error speaks of", path)
		}
	}
}
