package conformance_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"port53/conformance/judge"
	"port53/conformance/peers"
	"port53/conformance/probe"
	"port53/conformance/zonegen"
)

// The settings, from the environment.
const (
	envSubject = "CONFORMANCE_SUBJECT"  // the server that is judged: port53 unless set
	envBinary  = "PORT53_BIN"           // port53's program: built from this repository unless set
	envRequire = "PORT53_REQUIRE_PEERS" // 1: a missing peer is a failure, no skip
	envRoot    = "PORT53_ROOT_ZONE"     // a published root zone, with its signatures, one record a line
	envSeed    = "CONFORMANCE_SEED"     // of all random questions: 53 unless set
	envScale   = "CONFORMANCE_SCALE"    // how many times the usual number of questions: 1 unless set
)

// startTimeout is how long a server may take until it answers for all zones.
const startTimeout = 60 * time.Second

// subjectKind returns which server is judged.
func subjectKind() string {
	if kind := os.Getenv(envSubject); kind != "" {
		return kind
	}
	return peers.Port53
}

// seed returns the seed of all random questions and prints it.
func seed(t *testing.T) uint64 {
	t.Helper()
	n := uint64(53)
	if s := os.Getenv(envSeed); s != "" {
		var err error
		if n, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("%s: %v", envSeed, err)
		}
	}
	t.Logf("seed %d (%s)", n, envSeed)
	return n
}

// scale returns n times the factor of CONFORMANCE_SCALE.
func scale(t *testing.T, n int) int {
	t.Helper()
	f := 1.0
	if s := os.Getenv(envScale); s != "" {
		var err error
		if f, err = strconv.ParseFloat(s, 64); err != nil {
			t.Fatalf("%s: %v", envScale, err)
		}
	}
	return int(float64(n) * f)
}

// missing skips the test because of something that is not on this machine, or
// fails it where all must be there.
func missing(t *testing.T, why error) {
	t.Helper()
	if os.Getenv(envRequire) == "1" {
		t.Fatalf("required: %v", why)
	}
	t.Skipf("missing: %v", why)
}

// build builds port53 once for all tests.
var build = sync.OnceValues(func() (string, error) {
	if bin := os.Getenv(envBinary); bin != "" {
		return filepath.Abs(bin)
	}
	dir, err := os.MkdirTemp("", "port53-conformance")
	if err != nil {
		return "", err
	}
	built = dir
	bin := filepath.Join(dir, "port53")
	cmd := exec.Command("go", "build", "-trimpath", "-o", bin, "./cmd/port53")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building port53: %w\n%s", err, out)
	}
	return bin, nil
})

var built string // the folder that build made

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard)
	code := m.Run()
	for _, dir := range []string{built, builtCoreDNS} {
		if dir != "" {
			os.RemoveAll(dir)
		}
	}
	os.Exit(code)
}

// start starts a server with the zones and stops it when the test ends.
func start(t *testing.T, kind string, o peers.Options) *peers.Server {
	t.Helper()
	if kind == peers.Port53 {
		bin, err := build()
		if err != nil {
			t.Fatal(err)
		}
		o.Binary = bin
	} else if _, err := peers.Find(kind); err != nil {
		missing(t, err)
	}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	s, err := peers.Start(ctx, kind, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Stop()
		if t.Failed() && kind == subjectKind() {
			t.Logf("%s printed:\n%s", kind, s.Tail())
		}
	})
	return s
}

// startSubject starts the server that is judged.
func startSubject(t *testing.T, o peers.Options) *peers.Server {
	t.Helper()
	return start(t, subjectKind(), o)
}

// startPeers starts each of the three peers, but for the subject, with those of
// the zones that it loads. Each that is missing is a skip with its name.
func startPeers(t *testing.T, zones []*zonegen.Zone) []*peers.Server {
	t.Helper()
	var servers []*peers.Server
	for _, kind := range []string{peers.NSD, peers.Knot, peers.BIND} {
		if kind == subjectKind() {
			continue
		}
		if _, err := peers.Find(kind); err != nil {
			t.Run("without_"+kind, func(t *testing.T) { missing(t, err) })
			continue
		}
		servers = append(servers, start(t, kind, peers.Options{Zones: served(zones, kind)}))
	}
	if len(servers) == 0 {
		missing(t, errors.New("no peer is installed: there is nothing to compare with"))
	}
	return servers
}

func served(zones []*zonegen.Zone, kind string) []peers.Zone {
	var out []peers.Zone
	for _, z := range zones {
		if !slices.Contains(z.Refused, kind) {
			out = append(out, peers.Zone{Name: z.Origin, File: z.File})
		}
	}
	return out
}

// A question with the peers that are not to be asked.
type asked struct {
	probe.Question
	zone    string   // the origin of the zone that is asked, in wire form and lower case
	cuts    []string // its delegations, in the same form
	without []string
}

// workers is how many questions are under way at once: more than processors, so
// that a busy machine does not make each wait for its turn.
const workers = 16

// shown is how many wrong cases are printed whole; the rest are counted.
const shown = 15

// differential asks every server every question and fails on each case that
// the judge finds wrong.
func differential(t *testing.T, subject *peers.Server, others []*peers.Server, questions []asked) {
	t.Helper()
	var (
		mu       sync.Mutex
		wrong    []outcome
		split    []outcome
		rules    = map[string]int{}
		splits   = map[string]int{}
		sizes    = newSizes()
		work     = make(chan asked)
		failures = make(chan error, 2*len(questions))
		wg       sync.WaitGroup
	)
	for range workers {
		wg.Go(func() {
			ask := func(s *peers.Server, c *probe.Client, q *probe.Question) (judge.Reply, error) {
				m, err := c.Ask(q)
				if errors.Is(err, probe.ErrSilent) {
					return judge.Reply{Server: s.Kind}, nil
				}
				return judge.Reply{Server: s.Kind, Message: m}, err
			}
			us := &probe.Client{Server: subject.Addr}
			defer us.Close()
			them := make([]*probe.Client, len(others))
			for i, s := range others {
				them[i] = &probe.Client{Server: s.Addr}
				defer them[i].Close()
			}
			try := func(q asked) (*judge.Case, bool) {
				c := &judge.Case{Q: &q.Question, Zone: q.zone, Cuts: q.cuts}
				var err error
				for i, s := range others {
					if slices.Contains(q.without, s.Kind) {
						continue
					}
					r, err := ask(s, them[i], &q.Question)
					if err != nil {
						t.Logf("%s: dig %s: %v", s.Kind, &q.Question, err)
						continue // a peer that sends what nobody can read is no measure
					}
					c.Peers = append(c.Peers, r)
				}
				if c.Got, err = ask(subject, us, &q.Question); err != nil {
					failures <- fmt.Errorf("%s: dig %s: %w", subject.Kind, &q.Question, err)
					return nil, false
				}
				return c, true
			}
			judged := func(c *judge.Case) {
				v := judge.Judge(c)
				mu.Lock()
				defer mu.Unlock()
				for _, id := range v.Rules {
					rules[id]++
				}
				if v.Split {
					splits[c.Q.Note]++
					split = append(split, outcome{c, v})
				}
				if len(v.Wrong) > 0 {
					wrong = append(wrong, outcome{c, v})
				} else {
					sizes.add(c)
				}
			}
			for q := range work {
				c, ok := try(q)
				if !ok {
					continue
				}
				if c.Truncated() && !q.TCP {
					q.TCP = true
					again, ok := try(q)
					if !ok {
						continue
					}
					c.Whole = again.Got.Message
					judged(again)
				}
				judged(c)
			}
		})
	}
	began := time.Now()
	for _, q := range questions {
		work <- q
	}
	close(work)
	wg.Wait()
	close(failures)
	failed := 0
	for err := range failures {
		if failed++; failed <= shown {
			t.Error(err)
		}
	}
	t.Logf("%d questions to %d servers in %s", len(questions), len(others)+1, time.Since(began).Round(time.Millisecond))
	t.Logf("decided by a rule: %v", rules)
	t.Logf("peers differ, by kind of question: %v", splits)
	sizes.report(t)
	if len(wrong) > 0 {
		t.Errorf("%d of %d answers are wrong", len(wrong), len(questions))
	}
	writeReport(t, wrong, split)
	shownOf := map[string]int{}
	for _, o := range wrong {
		kind, _, _ := strings.Cut(o.v.Wrong[0], " ")
		kind = o.c.Q.Note + ": " + kind
		if shownOf[kind]++; shownOf[kind] == 1 && len(shownOf) <= shown {
			t.Log("\n" + judge.Report(o.c, o.v))
		}
	}
	if len(wrong) > 0 {
		t.Logf("wrong, by kind: %v", shownOf)
	}
}

// writeReport appends every wrong case, and every case in which the peers
// differ, to the files that the environment names.
func writeReport(t *testing.T, wrong, split []outcome) {
	t.Helper()
	for variable, cases := range map[string][]outcome{"CONFORMANCE_REPORT": wrong, "CONFORMANCE_SPLITS": split} {
		file := os.Getenv(variable)
		if file == "" || len(cases) == 0 {
			continue
		}
		f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range cases {
			fmt.Fprintf(f, "%s\n%s\n", t.Name(), judge.Report(o.c, o.v))
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

type outcome struct {
	c *judge.Case
	v judge.Verdict
}
