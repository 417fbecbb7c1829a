// Command mutate tells which lines of a package its own tests do not hold: it changes one
// place after another in a copy, runs the tests of that package alone, and lists the changes
// that no test noticed.
//
//	mutate [-sample N] [-seed S] [-at FILE[:LINE[-LINE]],...] [-jobs N] [-list] PACKAGE [-- flags of the test binary]
//
// The changes are above all those that take a guard out: a condition that never holds, an
// operand left out of && or ||, a call or an assignment removed, a bound moved by one
// (mutants.go has all). The sources stay as they are: go test reads the changed files through
// -overlay, and one build holds all changes that can stand in it (together.go). As root on Linux the tests run in a network namespace of their own, where there is
// loopback and nothing else, since the guard that was taken out may be the one that keeps a
// packet from leaving the machine.
//
// It prints a line for each survivor, FILE:LINE:COLUMN and what was changed, and one with the
// sums. A survivor is a finding, not a failure: it exits 1 only if it cannot judge.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Bounds for the tests of one mutant, which may loop or allocate for ever.
const (
	grace    = 20 * time.Second // beside five times what the tests took unchanged
	memoryKB = 4 << 20          // address space of the test binary
)

// A verdict is what became of a mutant.
type verdict int

const (
	unjudged verdict = iota
	invalid          // it does not compile
	killed
	late    // killed: the tests did not end
	lived   // no test noticed
	unheard // no test reaches the line, so none ran
)

// A judge builds and runs the tests of one package.
type judge struct {
	pkg, dir, tmp string
	args          []string // of the test binary
	limit         time.Duration
	apart         bool    // run in a network namespace
	all           *binary // of all mutants that can be built together
}

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	fs := flag.NewFlagSet("mutate", flag.ExitOnError)
	sample := fs.Int("sample", 0, "judge so many mutants, drawn by the `seed`; 0: all")
	seed := fs.Uint64("seed", 53, "seed of the sample")
	at := fs.String("at", "", "change only these `places`: FILE, FILE:LINE or FILE:LINE-LINE, separated by commas")
	jobs := fs.Int("jobs", runtime.NumCPU(), "mutants judged at the same time")
	list := fs.Bool("list", false, "list the mutants and judge none")
	fs.Parse(args)
	if fs.NArg() < 1 {
		return errors.New("which package?")
	}
	tmp, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	j := &judge{pkg: fs.Arg(0), tmp: tmp, args: fs.Args()[1:], limit: 10 * time.Minute, apart: apart()}
	files, err := j.sources()
	if err != nil {
		return err
	}
	var mutants []*mutant
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		found, err := find(file, src)
		if err != nil {
			return err
		}
		for _, m := range found {
			if within(*at, m) {
				mutants = append(mutants, m)
			}
		}
	}
	rand.New(rand.NewPCG(*seed, 0)).Shuffle(len(mutants), func(a, b int) { mutants[a], mutants[b] = mutants[b], mutants[a] })
	if *sample > 0 { // and some more, since not every one compiles
		mutants = mutants[:min(len(mutants), *sample+*sample/4+10)]
	}
	if *list {
		for _, m := range mutants {
			fmt.Fprintln(out, m)
		}
		return nil
	}
	if err := j.measure(out); err != nil {
		return err
	}
	cover, err := j.coverage()
	if err != nil {
		return err
	}
	if j.all, err = j.together(mutants); err != nil {
		return err
	}
	if v, said := j.play(j.all.path, "0"); v != lived {
		return fmt.Errorf("the tests of %s do not pass with all mutants at rest in one binary:\n%s", j.pkg, said)
	}
	return j.judgeAll(mutants, cover, *sample, max(*jobs, 1), out)
}

// apart reports whether tests can run in a network namespace of their own.
func apart() bool {
	return os.Geteuid() == 0 && exec.Command("unshare", "-n", "true").Run() == nil
}

// sources returns the Go files of the package that are not tests, and sets its directory.
func (j *judge) sources() ([]string, error) {
	var p struct {
		Dir          string
		GoFiles      []string
		TestGoFiles  []string
		XTestGoFiles []string
	}
	said, err := exec.Command("go", "list", "-json=Dir,GoFiles,TestGoFiles,XTestGoFiles", j.pkg).Output()
	if err == nil {
		err = json.Unmarshal(said, &p)
	}
	if err != nil {
		return nil, fmt.Errorf("%s is not one package: %w", j.pkg, err)
	}
	if len(p.TestGoFiles)+len(p.XTestGoFiles) == 0 {
		return nil, fmt.Errorf("%s has no tests", j.pkg)
	}
	j.dir = p.Dir
	for i, f := range p.GoFiles {
		p.GoFiles[i] = filepath.Join(p.Dir, f)
	}
	return p.GoFiles, nil
}

// measure runs the tests unchanged: they must pass, and the time that they take limits all
// other runs.
func (j *judge) measure(out io.Writer) error {
	begun := time.Now()
	v, said := j.judge(nil, "unchanged")
	if v != lived {
		return fmt.Errorf("the tests of %s do not pass as they are:\n%s", j.pkg, said)
	}
	took := time.Since(begun)
	j.limit = 5*took + grace
	fmt.Fprintf(out, "%s: its tests take %v to build and run\n", j.pkg, took.Round(100*time.Millisecond))
	return nil
}

// judgeAll judges mutants in their order until so many of them were valid, and reports.
func (j *judge) judgeAll(mutants []*mutant, cover blocks, sample, jobs int, out io.Writer) error {
	if sample <= 0 {
		sample = len(mutants)
	}
	var mu sync.Mutex
	var sums [unheard + 1]int
	next, valid := 0, 0 // how many were begun, and how many of these are not known to be invalid
	// take returns the next mutant. One that turns out to be invalid gives its place back.
	take := func() *mutant {
		mu.Lock()
		defer mu.Unlock()
		if next == len(mutants) || valid == sample {
			return nil
		}
		next++
		valid++
		return mutants[next-1]
	}
	var wg sync.WaitGroup
	for i := range jobs {
		wg.Go(func() {
			for m := take(); m != nil; m = take() {
				v := unheard
				switch n, in := j.all.numbers[m]; {
				case j.all.invalid[m]:
					v = invalid
				case !cover.reaches(m):
				case in:
					v, _ = j.play(j.all.path, strconv.Itoa(n))
				default:
					v, _ = j.judge(m, strconv.Itoa(i))
				}
				mu.Lock()
				sums[v]++
				switch v {
				case invalid:
					valid--
				case lived:
					fmt.Fprintf(out, "%v\n", m)
				case unheard:
					fmt.Fprintf(out, "%v (no test comes here)\n", m)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	fmt.Fprintf(out, "%s: %d mutants of %d: %d killed, %d killed by time, %d survived, %d in lines that no test reaches; %d others did not compile\n",
		j.pkg, valid, len(mutants), sums[killed], sums[late], sums[lived], sums[unheard], sums[invalid])
	return nil
}

// judge builds the tests with m, or unchanged if m is nil, and runs them. The name keeps the
// files of concurrent calls apart. It returns what the tests printed, too.
func (j *judge) judge(m *mutant, name string) (verdict, string) {
	bin := filepath.Join(j.tmp, name+".test")
	args := []string{"test", "-c", "-vet=off", "-o", bin}
	if m != nil {
		changed, overlay := filepath.Join(j.tmp, name+".go"), filepath.Join(j.tmp, name+".json")
		text, err := json.Marshal(map[string]map[string]string{"Replace": {m.file: changed}})
		if err = errors.Join(err, os.WriteFile(changed, m.apply(), 0o600), os.WriteFile(overlay, text, 0o600)); err != nil {
			return invalid, err.Error()
		}
		args = append(args, "-overlay", overlay)
	}
	if said, err := exec.Command("go", append(args, j.pkg)...).CombinedOutput(); err != nil {
		return invalid, string(said)
	}
	return j.play(bin, "0")
}

// play runs the tests of a binary as one of its mutants.
func (j *judge) play(bin, number string) (verdict, string) {
	script := fmt.Sprintf("ulimit -v %d; exec \"$0\" \"$@\"", memoryKB)
	command := []string{"sh", "-c", script, bin, "-test.failfast", "-test.timeout=" + j.limit.String()}
	if j.apart {
		command[2] = "ip link set lo up; " + script
		command = append([]string{"unshare", "-n"}, command...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), j.limit+5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], append(command[1:], j.args...)...)
	cmd.Dir = j.dir
	cmd.Env = append(os.Environ(), variable+"="+number)
	// What a test starts ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	said, err := cmd.CombinedOutput()
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	switch {
	case err == nil:
		return lived, string(said)
	case ctx.Err() != nil || bytes.Contains(said, []byte("panic: test timed out")):
		return late, string(said)
	}
	return killed, string(said)
}
