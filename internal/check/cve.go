package check

import (
	_ "embed"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

//go:embed cve.txt
var cveTable string

// A Flaw is a published fault of versions of a product.
type Flaw struct {
	Product  Product
	CVE      string
	Severity Severity
	About    string

	ranges [][2][]int // from, and the first that has it no more
}

// Flaws returns the flaws that are known, and the day that the list is of.
func Flaws() (list []Flaw, date string) {
	for line := range strings.Lines(cveTable) {
		f := strings.SplitN(strings.TrimSpace(line), " ", 5)
		switch {
		case f[0] == "date" && len(f) == 2:
			date = f[1]
		case len(f) == 5 && f[0] != "#":
			flaw := Flaw{Product: Product(f[0]), CVE: f[1], About: f[4]}
			flaw.Severity, _ = ParseSeverity(f[3])
			for r := range strings.SplitSeq(f[2], ",") {
				from, fixed, _ := strings.Cut(r, "..")
				flaw.ranges = append(flaw.ranges, [2][]int{numbers(from), numbers(fixed)})
			}
			list = append(list, flaw)
		}
	}
	return list, date
}

// FlawsOf returns those of a version: the most severe first, and of those the newest.
func FlawsOf(p Product, version string) []Flaw {
	v := numbers(version)
	if len(v) == 0 {
		return nil
	}
	all, _ := Flaws()
	list := slices.DeleteFunc(all, func(f Flaw) bool {
		return f.Product != p || !slices.ContainsFunc(f.ranges, func(r [2][]int) bool {
			return slices.Compare(v, r[0]) >= 0 && slices.Compare(v, r[1]) < 0
		})
	})
	slices.Reverse(list) // the newest stand last
	slices.SortStableFunc(list, func(a, b Flaw) int { return int(b.Severity) - int(a.Severity) })
	return list
}

// numbers returns the numbers of a version, BIND's patch level for the last one:
// 9.9.9-P3 is 9 9 9 3. What packagers add is none.
func numbers(version string) []int {
	m := regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)*)(?:-P([0-9]+))?`).FindStringSubmatch(version)
	if m == nil {
		return nil
	}
	var list []int
	for _, part := range append(strings.Split(m[1], "."), m[2]) {
		if n, err := strconv.Atoi(part); err == nil {
			list = append(list, n)
		}
	}
	return list
}

// packaged tells whether a version may be a distribution's build, in which flaws are
// mended under the old number. BIND's tells which it is; the others' say nothing of it.
func packaged(s Software) bool {
	return s.Product != "bind" || regexp.MustCompile(`(?i)deb|ubuntu|red ?hat|\.el[0-9]|\.fc[0-9]|suse|alpine|~|\+`).MatchString(s.Banner)
}
