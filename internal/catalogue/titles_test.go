package catalogue_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"port53/internal/catalogue"
)

// praise are words that say that all is well, in the form in which titles have them.
func praise() []string {
	return []string{
		"answered", "authoritative", "bounded", "complete", "correct", "fine", "fit", "fits", "fresh", "good", "hard", "hidden", "ignored", "limited", "local",
		"match", "matches", "minimised", "noticed", "ok", "preserved", "proper", "protect", "protects", "proven", "reasonable", "recommended", "refused",
		"refuses", "rejected", "respect", "respected", "right", "safe", "secure", "signed", "sound", "strong", "stopped", "supported", "trusted", "understood",
		"unique", "unpredictable", "valid", "validated", "well", "works",
	}
}

// TestTitles has two titles for each check: what is the case when it passes, and the fault when it
// does not. Neither can be read as the other.
func TestTitles(t *testing.T) {
	word := regexp.MustCompile(`[A-Za-z0-9-]+`)
	titles := map[string]string{}
	for _, c := range catalogue.All() {
		good, fault := word.FindAllString(strings.ToLower(c.Title), -1), word.FindAllString(strings.ToLower(c.Fault), -1)
		if len(good) == 0 || len(fault) == 0 {
			t.Errorf("%s: %q and %q: two titles are wanted", c.ID, c.Title, c.Fault)
			continue
		}
		for _, title := range []string{c.Title, c.Fault} {
			if other, there := titles[title]; there {
				t.Errorf("%q is the title of %s and of %s", title, other, c.ID)
			}
			titles[title] = c.ID
		}
		for _, w := range praise() {
			if slices.Contains(good, w) && slices.Contains(fault, w) {
				t.Errorf("%s: the fault %q praises with %q, as %q does", c.ID, c.Fault, w, c.Title)
			}
		}
		// A fault that is the title with a "not" is read as the title.
		bare := func(list []string) []string {
			return slices.DeleteFunc(slices.Clone(list), func(w string) bool {
				return slices.Contains([]string{"not", "no", "a", "an", "the", "is", "are", "without"}, w)
			})
		}
		if slices.Equal(bare(good), bare(fault)) {
			t.Errorf("%s: %q and %q differ in a not", c.ID, c.Title, c.Fault)
		}
		for _, w := range []string{"good", "right", "sound", "fresh", "proper", "fine", "safe"} {
			if slices.Contains(fault, w) {
				t.Errorf("%s: the fault %q praises", c.ID, c.Fault)
			}
		}
	}
	if n := len(catalogue.All()); n < 109 {
		t.Errorf("%d checks", n)
	}
}
