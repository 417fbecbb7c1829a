// Command testrun runs the tests of several modules and counts them.
//
//	testrun [-beside DIRECTORY]... [-apart REGEXP] [-dir DIRECTORY]... [-pkg PATTERN]... [-race PATTERN]...
//	        [-tags LIST] [-- flags of go test]
//
// Those of a -beside directory, which wait more than they work, run while the others do, and those of
// them that -apart names in a process of their own, which has nothing in common with the first. Those
// of a -race pattern, in the first -dir, run a second time after the others: under the race
// detector, without the long ones, and in an order of their own, with the build tags that -tags gives.
//
// It prints what go test prints for packages, the output of tests that failed or did not end,
// the reason of each that was skipped, and at the end which took longest and one line with the
// sums. It exits 0 if nothing failed, else 1.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
)

// An event is one line of go test -json.
type event struct {
	Action, Package, Test, Output, ImportPath string

	Elapsed float64 // seconds
}

// A tally counts tests, those within tests too, and packages that do not build.
type tally struct {
	mu                      sync.Mutex
	passed, failed, skipped int
	output                  map[string]*strings.Builder // of tests under way
	ended                   []event                     // whole tests
	out                     io.Writer
}

func main() {
	var dirs, beside, pkgs, raced []string
	var apart, tags string
	list := func(to *[]string) func(string) error {
		return func(s string) error {
			*to = append(*to, s)
			return nil
		}
	}
	flag.Func("dir", "a `directory` with a module; may be given several times", list(&dirs))
	flag.Func("beside", "a `directory` whose tests run while those of the others do", list(&beside))
	flag.StringVar(&apart, "apart", "", "a `regexp` of tests in the -beside directories that run in a process of their own")
	flag.Func("pkg", "a `pattern` of packages in each of them; may be given several times (default ./...)", list(&pkgs))
	flag.Func("race", "a `pattern` of packages that run again under the race detector; may be given several times", list(&raced))
	flag.StringVar(&tags, "tags", "", "build `tags` of those that run under the race detector")
	flag.Parse()
	if len(pkgs) == 0 {
		pkgs = []string{"./..."}
	}
	t := &tally{output: map[string]*strings.Builder{}, out: os.Stdout}
	run := func(dir, part string, flags, pkgs []string) {
		if err := t.run(dir, part, flags, pkgs); err != nil {
			t.mu.Lock()
			defer t.mu.Unlock()
			fmt.Fprintf(t.out, "%s: %v\n", dir, err)
			t.failed++
		}
	}
	var others sync.WaitGroup
	for _, dir := range beside {
		if apart == "" {
			others.Go(func() { run(dir, "", flag.Args(), pkgs) })
			continue
		}
		others.Go(func() { run(dir, " (apart)", append(slices.Clip(flag.Args()), "-run", apart), pkgs) })
		others.Go(func() { run(dir, "", append(slices.Clip(flag.Args()), "-skip", apart), pkgs) })
	}
	for _, dir := range dirs {
		run(dir, "", flag.Args(), pkgs)
	}
	if len(raced) > 0 && len(dirs) > 0 {
		run(dirs[0], "", append(slices.Clip(flag.Args()), "-race", "-tags", tags, "-short", "-shuffle=on"), raced)
	}
	others.Wait()
	t.slowest()
	fmt.Printf("%d passed, %d failed, %d skipped\n", t.passed, t.failed, t.skipped)
	if t.failed > 0 {
		os.Exit(1)
	}
}

// run runs the tests of packages of the module in dir. part is put behind the names of packages: what has not ended in one
// part may still run in another.
func (t *tally) run(dir, part string, flags, pkgs []string) error {
	cmd := exec.Command("go", slices.Concat([]string{"test", "-json"}, flags, pkgs)...)
	cmd.Dir = dir
	cmd.Stderr = os.Stdout
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	told := false // of a failure
	lines := bufio.NewReader(pipe)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			t.mu.Lock()
			before := t.failed
			if json.Unmarshal(line, &e) == nil {
				e.Package += part
				t.add(e)
			} else {
				t.out.Write(line)
			}
			told = told || t.failed > before
			t.mu.Unlock()
		}
		if err != nil {
			break
		}
	}
	if err := cmd.Wait(); err != nil && !told {
		return err // it failed in a way that no event told of
	}
	return nil
}

// add counts one event and prints what is worth reading.
func (t *tally) add(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		fmt.Fprint(t.out, e.Output)
	case "output":
		if e.Test == "" {
			if strings.TrimSpace(e.Output) != "PASS" {
				fmt.Fprint(t.out, e.Output)
			}
			return
		}
		if t.output[key] == nil {
			t.output[key] = &strings.Builder{}
		}
		t.output[key].WriteString(e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			if e.Action == "fail" {
				t.abandoned(e.Package)
			}
			if e.Action == "fail" && !t.reported(e.Package) {
				t.failed++ // it did not build, or ended without a test that failed
			}
			return
		}
		t.end(e, key)
	}
}

// slowest prints the tests that took longest, if they took a while: what runs beside them counts too.
func (t *tally) slowest() {
	slices.SortFunc(t.ended, func(a, b event) int { return cmp.Compare(b.Elapsed, a.Elapsed) })
	for _, e := range t.ended[:min(len(t.ended), 20)] {
		if e.Elapsed >= 10 {
			fmt.Fprintf(t.out, "%6.1f s  %s %s\n", e.Elapsed, e.Package, e.Test)
		}
	}
}

// end counts a test that has ended.
func (t *tally) end(e event, key string) {
	if !strings.Contains(e.Test, "/") {
		t.ended = append(t.ended, e)
	}
	text := ""
	if b := t.output[key]; b != nil {
		text = b.String()
		delete(t.output, key)
	}
	switch e.Action {
	case "pass":
		t.passed++
	case "fail":
		t.failed++
		t.output[e.Package+" failed"] = &strings.Builder{}
		fmt.Fprintf(t.out, "%s: %s\n", e.Package, strings.TrimSpace(text))
	case "skip":
		t.skipped++
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
				fmt.Fprintf(t.out, "skip %s %s: %s\n", e.Package, e.Test, line)
			}
		}
	}
}

// abandoned prints what tests printed that had not ended when their package did, as when its
// time was up.
func (t *tally) abandoned(pkg string) {
	for key, b := range t.output {
		if test, ok := strings.CutPrefix(key, pkg+" "); ok && test != "failed" {
			fmt.Fprintf(t.out, "%s: %s did not end: %s\n", pkg, test, strings.TrimSpace(b.String()))
			delete(t.output, key)
		}
	}
}

// reported says that a test of the package was counted as failed.
func (t *tally) reported(pkg string) bool { return t.output[pkg+" failed"] != nil }
