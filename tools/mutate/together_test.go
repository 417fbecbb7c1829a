package main

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// A mutant in the binary that holds many is judged as in a binary of its own: in functions with
// results and without, with labels, and where what is left does not compile.
func TestTogetherAsAlone(t *testing.T) {
	guarded(t)
	more := `package guarded

func Sum(in []int) (sum int) {
again:
	for i, n := range in {
		if n == 0 {
			in = in[i+1:]
			goto again
		}
		sum += n
	}
	return
}

func Twice(n int) int {
	double := n
	double = n * 2
	if n > 4 {
		double++
	}
	return func() int { return double - 0 }()
}
`
	tests := `package guarded

import "testing"

func TestMore(t *testing.T) {
	if Sum([]int{1, 2}) != 3 || Twice(3) != 6 {
		t.Fatal("wrong")
	}
}
`
	for name, text := range map[string]string{"more.go": more, "more_test.go": tests} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	j := &judge{pkg: ".", tmp: t.TempDir(), limit: time.Minute}
	files, err := j.sources()
	if err != nil {
		t.Fatal(err)
	}
	var mutants []*mutant
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found, err := find(file, src)
		if err != nil {
			t.Fatal(err)
		}
		mutants = append(mutants, found...)
	}
	b, err := j.together(mutants)
	if err != nil {
		t.Fatal(err)
	}
	if len(b.numbers) < 10 || len(b.numbers) == len(mutants) {
		t.Fatalf("%d of %d mutants are in one binary", len(b.numbers), len(mutants))
	}
	for _, m := range mutants {
		want, said := j.judge(m, "alone")
		got := want
		if n, ok := b.numbers[m]; ok {
			got, _ = j.play(b.path, strconv.Itoa(n))
		} else if b.invalid[m] {
			got = invalid
		}
		if got != want {
			t.Errorf("%v: %d together, %d alone\n%s", m, got, want, said)
		}
	}
}
