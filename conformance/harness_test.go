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
	envTagged  = "PORT53_PKCS11_BIN"    // the same, built with the tag pkcs11
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
	for _, dir := range []string{built, builtTagged, coredns.dir, dnscontrol.dir, dnsproxy.dir, h2spec.dir, pebble.dir} {
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
	c := newComparison()
	began := time.Now()
	if gone := c.ask(t, subject, others, questions); gone != "" {
		t.Errorf("%s has ceased to answer", gone)
	}
	t.Logf("%d questions to %d servers in %s", len(questions), len(others)+1, time.Since(began).Round(time.Millisecond))
	c.report(t)
}

// A comparison is what came of questions.
type comparison struct {
	mu       sync.Mutex
	sum      tally
	wrong    []outcome
	split    []outcome
	rules    map[string]int
	splits   map[string]int
	sizes    *sizes
	failures []error
	whole    bool     // what was asked in vain because a server has ceased to answer does not count
	pending  []func() // judges one case each, where whole
}

func newComparison() *comparison {
	return &comparison{rules: map[string]int{}, splits: map[string]int{}, sizes: newSizes()}
}

// ask asks every server every question. A server that has ceased to answer ends it, and is
// returned; what was asked by then counts, unless the comparison is to be whole.
func (c *comparison) ask(t *testing.T, subject *peers.Server, others []*peers.Server, questions []asked) (gone string) {
	t.Helper()
	var (
		work  = make(chan asked)
		quiet = silences{row: map[string]int{}}
		wg    sync.WaitGroup
	)
	for range workers {
		wg.Go(func() {
			w := newWorker(t, c, &quiet, subject, others)
			defer w.close()
			for q := range work {
				if !quiet.over() {
					w.do(q)
				}
			}
		})
	}
	for _, q := range questions {
		work <- q
	}
	close(work)
	wg.Wait()
	if quiet.gone == "" {
		for _, judge := range c.pending {
			judge()
		}
	}
	c.pending = nil
	return quiet.gone
}

// A worker asks all servers one question after the other.
type worker struct {
	t       *testing.T
	c       *comparison
	quiet   *silences
	subject *peers.Server
	others  []*peers.Server
	us      *probe.Client
	them    []*probe.Client
}

func newWorker(t *testing.T, c *comparison, quiet *silences, subject *peers.Server, others []*peers.Server) *worker {
	w := &worker{t: t, c: c, quiet: quiet, subject: subject, others: others, us: &probe.Client{Server: subject.Addr}}
	for _, s := range others {
		w.them = append(w.them, &probe.Client{Server: s.Addr})
	}
	return w
}

func (w *worker) close() {
	w.us.Close()
	for _, c := range w.them {
		c.Close()
	}
}

func (w *worker) ask(s *peers.Server, c *probe.Client, q *probe.Question) (judge.Reply, error) {
	m, err := c.Ask(q)
	if errors.Is(err, probe.ErrSilent) {
		w.quiet.to(w.t, s.Kind, q)
		return judge.Reply{Server: s.Kind}, nil
	}
	w.quiet.heard(s.Kind)
	return judge.Reply{Server: s.Kind, Message: m}, err
}

func (w *worker) try(q asked) (*judge.Case, bool) {
	c := &judge.Case{Q: &q.Question, Zone: q.zone, Cuts: q.cuts}
	var err error
	for i, s := range w.others {
		if slices.Contains(q.without, s.Kind) {
			continue
		}
		r, err := w.ask(s, w.them[i], &q.Question)
		if err != nil {
			w.t.Logf("%s: dig %s: %v", s.Kind, &q.Question, err)
			continue // a peer that sends what nobody can read is no measure
		}
		c.Peers = append(c.Peers, r)
	}
	if c.Got, err = w.ask(w.subject, w.us, &q.Question); err != nil {
		w.c.mu.Lock()
		defer w.c.mu.Unlock()
		w.c.failures = append(w.c.failures, fmt.Errorf("%s: dig %s: %w", w.subject.Kind, &q.Question, err))
		return nil, false
	}
	return c, true
}

// do asks a question and, where a reply is truncated, again over TCP.
func (w *worker) do(q asked) {
	c, ok := w.try(q)
	if !ok {
		return
	}
	if c.Truncated() && !q.TCP {
		q.TCP = true
		again, ok := w.try(q)
		if !ok {
			return
		}
		c.Whole = again.Got.Message
		w.c.judge(again, len(w.others))
	}
	w.c.judge(c, len(w.others))
}

func (c *comparison) judge(one *judge.Case, peers int) {
	v := judge.Judge(one)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.whole {
		c.pending = append(c.pending, func() { c.add(one, v, peers) })
		return
	}
	c.add(one, v, peers)
}

func (c *comparison) add(one *judge.Case, v judge.Verdict, peers int) {
	for _, id := range v.Rules {
		c.rules[id]++
	}
	c.sum.count(one, v, peers)
	if v.Split {
		c.splits[one.Q.Note]++
		c.split = append(c.split, outcome{one, v})
	}
	if len(v.Wrong) > 0 {
		c.wrong = append(c.wrong, outcome{one, v})
	} else {
		c.sizes.add(one)
	}
}

// report fails on what is wrong, and says what there was.
func (c *comparison) report(t *testing.T) {
	t.Helper()
	for i, err := range c.failures {
		if i < shown {
			t.Error(err)
		}
	}
	t.Logf("decided by a rule: %v", c.rules)
	t.Logf("peers differ, by kind of question: %v", c.splits)
	if !c.whole { // of small zones whose names overlap everywhere there is no promise of size
		c.sizes.report(t)
	}
	if len(c.wrong) > 0 {
		t.Errorf("%d of %d answers are wrong", len(c.wrong), c.sum.Questions)
	}
	writeReport(t, c.wrong, c.split)
	shownOf := map[string]int{}
	for _, o := range c.wrong {
		kind, _, _ := strings.Cut(o.v.Wrong[0], " ")
		kind = o.c.Q.Note + ": " + kind
		if shownOf[kind]++; shownOf[kind] == 1 && len(shownOf) <= shown {
			t.Log("\n" + judge.Report(o.c, o.v))
		}
	}
	if len(c.wrong) > 0 {
		t.Logf("wrong, by kind: %v", shownOf)
	}
}

// silences tells of servers that do not answer. One that has ceased to would take all the
// time that there is.
type silences struct {
	mu   sync.Mutex
	row  map[string]int // questions that a server was silent to, one after the other
	told int
	gone string
}

const manySilences = workers

func (s *silences) to(t *testing.T, server string, q *probe.Question) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told++; s.told == 1 {
		t.Logf("%s is silent: dig %s", server, q)
	}
	if s.row[server]++; s.row[server] == manySilences {
		s.gone = server
	}
}

func (s *silences) heard(server string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.row[server] = 0
}

func (s *silences) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone != ""
}

// A tally counts what was compared.
type tally struct {
	Questions int
	Unanimous int // all peers say the same
	Differ    int // of these, where the subject says something else
	Split     int // the peers differ
	Wrong     int // by the judge, in either case
}

func (s *tally) count(c *judge.Case, v judge.Verdict, peers int) {
	s.Questions++
	if len(v.Wrong) > 0 {
		s.Wrong++
	}
	if len(c.Peers) < peers || c.Truncated() { // which is counted over TCP
		return
	}
	said := judge.Substance(c.Peers[0].Message)
	if slices.ContainsFunc(c.Peers, func(p judge.Reply) bool { return judge.Substance(p.Message) != said }) {
		s.Split++
		return
	}
	s.Unanimous++
	if judge.Substance(c.Got.Message) != said {
		s.Differ++
	}
}

func (s *tally) add(o tally) {
	s.Questions, s.Unanimous, s.Differ = s.Questions+o.Questions, s.Unanimous+o.Unanimous, s.Differ+o.Differ
	s.Split, s.Wrong = s.Split+o.Split, s.Wrong+o.Wrong
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
