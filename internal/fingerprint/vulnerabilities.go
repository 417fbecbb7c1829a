package fingerprint

import (
	_ "embed"
	"slices"
	"strconv"
	"strings"
)

//go:embed cve.txt
var flawTable string

// A Vulnerability is a published fault of versions of a product.
type Vulnerability struct {
	Product  Product
	CVE      string
	Severity string // low, medium, high or critical
	About    string

	ranges [][2][]int // from, and the first that has it no more
}

// severities are the words of the table, the least one first.
func severities() []string { return []string{"low", "medium", "high", "critical"} }

// Vulnerabilities returns the flaws that are known, and the day that the list is of.
func Vulnerabilities() (list []Vulnerability, date string) {
	for line := range strings.Lines(flawTable) {
		f := strings.SplitN(strings.TrimSpace(line), " ", 5)
		switch {
		case f[0] == "date" && len(f) == 2:
			date = f[1]
		case len(f) == 5 && f[0] != "#":
			flaw := Vulnerability{Product: Product(f[0]), CVE: f[1], Severity: f[3], About: f[4]}
			for r := range strings.SplitSeq(f[2], ",") {
				from, fixed, _ := strings.Cut(r, "..")
				flaw.ranges = append(flaw.ranges, [2][]int{numbers(from), numbers(fixed)})
			}
			list = append(list, flaw)
		}
	}
	return list, date
}

// VulnerabilitiesOf returns those of a version: the most severe first, and of those the newest.
func VulnerabilitiesOf(p Product, version string) []Vulnerability {
	v := numbers(version) // of none, there is no flaw
	all, _ := Vulnerabilities()
	list := slices.DeleteFunc(all, func(f Vulnerability) bool {
		return f.Product != p || !slices.ContainsFunc(f.ranges, func(r [2][]int) bool {
			return slices.Compare(v, r[0]) >= 0 && slices.Compare(v, r[1]) < 0
		})
	})
	slices.Reverse(list) // the newest stand last
	words := severities()
	slices.SortStableFunc(list, func(a, b Vulnerability) int { return slices.Index(words, b.Severity) - slices.Index(words, a.Severity) })
	return list
}

// numbers returns the numbers of a version, BIND's patch level for the last one:
// 9.9.9-P3 is 9 9 9 3. What packagers add is none.
func numbers(version string) []int {
	m := versionNumbers.FindStringSubmatch(version)
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
