// Command testrun runs the tests of several modules and counts them.
//
//	testrun [-dir FOLDER]... [-- flags of go test]
//
// It prints what go test prints for packages, the output of tests that failed,
// the reason of each that was skipped, and at the end one line with the sums. It
// exits 0 if nothing failed, else 1.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// An event is one line of go test -json.
type event struct {
	Action, Package, Test, Output, ImportPath string
}

// A tally counts tests, those within tests too, and packages that do not build.
type tally struct {
	passed, failed, skipped int
	output                  map[string]*strings.Builder // of tests under way
	out                     io.Writer
}

func main() {
	var dirs []string
	flag.Func("dir", "a `folder` with a module; may be given several times", func(s string) error {
		dirs = append(dirs, s)
		return nil
	})
	flag.Parse()
	t := &tally{output: map[string]*strings.Builder{}, out: os.Stdout}
	for _, dir := range dirs {
		if err := t.run(dir, flag.Args()); err != nil {
			fmt.Fprintf(os.Stdout, "%s: %v\n", dir, err)
			t.failed++
		}
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", t.passed, t.failed, t.skipped)
	if t.failed > 0 {
		os.Exit(1)
	}
}

// run runs the tests of the module in dir.
func (t *tally) run(dir string, flags []string) error {
	cmd := exec.Command("go", append(append([]string{"test", "-json"}, flags...), "./...")...)
	cmd.Dir = dir
	cmd.Stderr = os.Stdout
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	before := t.failed
	lines := bufio.NewReader(pipe)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil {
				t.add(e)
			} else {
				t.out.Write(line)
			}
		}
		if err != nil {
			break
		}
	}
	if err := cmd.Wait(); err != nil && t.failed == before {
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
			if e.Action == "fail" && !t.reported(e.Package) {
				t.failed++ // it did not build, or ended without a test that failed
			}
			return
		}
		t.end(e, key)
	}
}

// end counts a test that has ended.
func (t *tally) end(e event, key string) {
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

// reported says that a test of the package was counted as failed.
func (t *tally) reported(pkg string) bool { return t.output[pkg+" failed"] != nil }
