package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The package under judgement: its test holds the first guard and the sum, nothing else.
const (
	source = `package guarded

import "errors"

const most = 8

func Take(n int) (int, error) {
	if n < 0 {
		return 0, errors.New("negative")
	}
	if n > most {
		return 0, errors.New("too large")
	}
	return n + 1, nil
}

func Unused(n int) bool { return n == 3 }
`
	test = `package guarded

import "testing"

func TestTake(t *testing.T) {
	if _, err := Take(-1); err == nil {
		t.Fatal("took a negative number")
	}
	if n, err := Take(0); n != 1 || err != nil {
		t.Fatal(n, err)
	}
}
`
)

// guarded makes a module of that package the working directory.
func guarded(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module guarded\n\ngo 1.26\n", "guarded.go": source, "guarded_test.go": test} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
}

func TestSurvivorsAreListed(t *testing.T) {
	guarded(t)
	var out strings.Builder
	if err := run([]string{"."}, &out); err != nil {
		t.Fatal(err)
	}
	got := out.String()
	for _, want := range []string{
		"guarded.go:11:5: never holds: n > most\n",
		"guarded.go:11:5: >= for > in n > most\n",
		"guarded.go:5:14: one more than 8\n",
		"guarded.go:17:34: != for == in n == 3 (no test comes here)\n",
		": 7 mutants of 7: 3 killed, 0 killed by time, 3 survived, 1 in lines that no test reaches; 0 others did not compile\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("not there: %q\n%s", want, got)
		}
	}
	for _, not := range []string{"guarded.go:8", "guarded.go:14"} {
		if strings.Contains(got, not) {
			t.Errorf("survived, though the test holds it: %s\n%s", not, got)
		}
	}
}

func TestSampleIsSeeded(t *testing.T) {
	guarded(t)
	list := func(args ...string) string {
		var out strings.Builder
		if err := run(append(args, "-list", "."), &out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	if a, b := list("-seed", "1"), list("-seed", "1"); a != b || a == list("-seed", "2") {
		t.Error("the order is not the seed's")
	}
	if got := list("-at", "guarded.go:7-8"); strings.Count(got, "\n") != 2 || strings.Contains(got, "guarded.go:11") {
		t.Errorf("-at guarded.go:7-8 lists\n%s", got)
	}
}

// Every change compiles where it is made, but for those that leave a variable or an import
// unused.
func TestChanges(t *testing.T) {
	src := `package p

func f(a, b bool, n int, m map[int]int, g func() error) (bool, error) {
	if err := g(); err != nil {
		return false, err
	}
	switch {
	case a && b:
		m[1] = 2
	}
	switch n {
	case 1:
		g()
	}
	return a || !b, nil
}
`
	found, err := find("p.go", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, m := range found {
		line := strings.Split(string(m.apply()), "\n")[m.line-1]
		got.WriteString(strings.TrimSpace(line) + "\n")
	}
	want := `if err := error(nil); err != nil {
if err := g(); false && (err != nil) {
return true, err
case false && (a && b):
case (true || (a)) && b:
case a && (true || (b)):
if false { m[1] = 2 }
case 1:
if false { g() }
return (false && (a)) || !b, nil
return a || (false && (!b)), nil
return a || b, nil
`
	if got.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", got.String(), want)
	}
}
