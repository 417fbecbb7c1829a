package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// within reports whether m is at one of the places of a list such as "a.go,b.go:7,c.go:20-40",
// or whether the list is empty.
func within(list string, m *mutant) bool {
	if list == "" {
		return true
	}
	for place := range strings.SplitSeq(list, ",") {
		file, lines, some := strings.Cut(place, ":")
		if filepath.Base(file) != filepath.Base(m.file) {
			continue
		}
		first, last, span := strings.Cut(lines, "-")
		from, _ := strconv.Atoi(first)
		to, _ := strconv.Atoi(last)
		if !some || m.line == from || span && from <= m.line && m.line <= to {
			return true
		}
	}
	return false
}

// blocks are the parts of files that a coverage profile knows, by the base of the file's name.
type blocks map[string][]block

type block struct {
	from, to [2]int // line and column, the last exclusive
	reached  bool
}

// coverage runs the tests once more to see which blocks they reach.
func (j *judge) coverage() (blocks, error) {
	profile := filepath.Join(j.tmp, "cover")
	said, err := exec.Command("go", append([]string{"test", "-vet=off", "-count=1", "-timeout=" + j.limit.String(), "-coverprofile=" + profile, j.pkg}, j.args...)...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("coverage of %s: %w\n%s", j.pkg, err, said)
	}
	f, err := os.Open(profile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all := blocks{}
	for sc := bufio.NewScanner(f); sc.Scan(); {
		// port53/internal/tsig/tsig.go:64.2,66.3 1 0
		name, rest, ok := strings.Cut(sc.Text(), ".go:")
		if !ok {
			continue
		}
		var b block
		var statements, count int
		if _, err := fmt.Sscanf(rest, "%d.%d,%d.%d %d %d", &b.from[0], &b.from[1], &b.to[0], &b.to[1], &statements, &count); err != nil {
			return nil, fmt.Errorf("coverage of %s: %q: %w", j.pkg, sc.Text(), err)
		}
		b.reached = count > 0
		base := filepath.Base(name) + ".go"
		all[base] = append(all[base], b)
	}
	return all, nil
}

// reaches reports whether a test may come to the place of m. The profile says nothing of
// declarations and of the conditions of cases: these count as reached.
func (all blocks) reaches(m *mutant) bool {
	at := [2]int{m.line, m.col}
	less := func(a, b [2]int) bool { return a[0] < b[0] || a[0] == b[0] && a[1] < b[1] }
	for _, b := range all[filepath.Base(m.file)] {
		if !less(at, b.from) && less(at, b.to) {
			return b.reached
		}
	}
	return true
}
