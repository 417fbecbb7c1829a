package dnstest

import (
	"bytes"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/lab"
	"port53/internal/wire"
)

const (
	// patience is how long a question of a scenario waits for its answer, in the
	// scenario's own time: longer than any resolver works on one.
	patience = time.Minute

	// wholeLog keeps every packet of an attack.
	wholeLog = 1 << 20

	// shownLog is how many packets a failure shows at its beginning and end.
	shownLog = 60
)

// Play runs the scenarios of all files that pattern matches, each as a test of its
// own in simulated time. SCENARIOS.md has their format. newSubject makes the resolver
// that they are about. With update, what the files expect is rewritten with what
// happened, for a person to review.
func Play(t *testing.T, pattern string, update bool, newSubject func(testing.TB, *Setup) Subject) {
	t.Helper()
	playAll(t, pattern, mode{update: update, newSubject: newSubject})
}

// Verdicts runs the same scenarios for something else than a resolver that says of
// answers whether they are secure. Of each answer the response code and AD are compared,
// and nothing else: not how it was found, nor how fast. Questions with CD, floods and
// steps about the cache and the packets sent are left out, and settings that the subject
// does not know do not matter. except holds the names of scenarios that cannot be
// played so, each with the reason; one that is not there is an error.
func Verdicts(t *testing.T, pattern string, except map[string]string, newSubject func(testing.TB, *Setup) Subject) {
	t.Helper()
	seen := map[string]bool{}
	playAll(t, pattern, mode{newSubject: newSubject, verdicts: true, except: except, excepted: seen})
	for name := range except {
		if !seen[name] && !t.Failed() {
			t.Errorf("no scenario %s is left out", name)
		}
	}
}

func playAll(t *testing.T, pattern string, how mode) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenario matches %s: %v", pattern, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			script, err := readScript(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range script.plays {
				run := func(t *testing.T) {
					if how.leftOut(t, p.name) {
						return
					}
					synctest.Test(t, func(t *testing.T) {
						pl := &player{mode: how, t: t, play: p, script: script}
						pl.run()
					})
				}
				if len(script.plays) == 1 {
					run(t)
				} else {
					t.Run(p.name, run)
				}
			}
			if how.update {
				if err := script.rewrite(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// A mode is how scenarios are performed.
type mode struct {
	update     bool
	newSubject func(testing.TB, *Setup) Subject

	verdicts bool              // only they are compared
	except   map[string]string // scenarios that are left out, and why
	excepted map[string]bool   // those that were there
}

// A player performs one scenario.
//
// In one piece: it is what the steps of one scenario share.
type player struct {
	mode
	t      testing.TB
	play   *play
	script *script

	world    *lab.World
	setup    *Setup
	subject  Subject
	later    map[string][]lab.Section // by tag
	families [2]bool

	start   time.Time
	mark    int // packets of the log before the last question
	asked   int // questions so far, for their IDs
	labels  map[string]*pending
	waiting sync.WaitGroup // questions without their answers
	failed  bool
	log     logBook
}

// A pending is questions that wait for their answers.
type pending struct {
	flood   bool
	answers []chan *outcome
}

func (p *player) errorf(at, format string, args ...any) {
	p.t.Helper()
	p.failed = true
	p.t.Errorf("%s: "+format, append([]any{at}, args...)...)
}

// leftOut reports whether a scenario is not to be played.
func (m *mode) leftOut(t *testing.T, name string) bool {
	why, ok := m.except[name]
	if ok {
		m.excepted[name] = true
		t.Log("left out:", why)
	}
	return ok
}

func (p *player) run() {
	p.start = time.Now()
	p.world = lab.NewWorld(lab.Options{Seed: 53, Log: wholeLog})
	p.setup = &Setup{Net: p.world.Net, Log: slog.New(&p.log)}
	p.labels, p.later = map[string]*pending{}, map[string][]lab.Section{}
	p.families = [2]bool{true, true}
	var now []lab.Section
	var do []step
	for i := range p.play.sections {
		s := &p.play.sections[i]
		switch {
		case s.Tag != "":
			p.later[s.Tag] = append(p.later[s.Tag], *s)
		case s.Kind == "zone" || s.Kind == "host":
			now = append(now, *s)
		case s.Kind == "settings":
			for i := range s.Body {
				p.setup.read(s.At(i), s.Body[i:i+1])
			}
		case s.Kind == "hints":
			p.setup.Hints = strings.Join(s.Body, "\n") + "\n"
		case s.Kind == "anchors":
			p.setup.Anchors = strings.Join(s.Body, "\n") + "\n"
		case s.Kind == "do":
			list, err := steps(s)
			if err != nil {
				p.t.Fatal(err)
			}
			do = append(do, list...)
		default:
			p.t.Fatal(s.Errorf(-1, "section %q is not known", s.Kind))
		}
	}
	if len(do) == 0 {
		p.t.Fatalf("%s: %q does nothing", p.play.at, p.play.name)
	}
	if err := p.world.Put(now...); err != nil {
		p.t.Fatal(err)
	}
	if p.setup.Hints == "" {
		p.setup.Hints = p.world.Hints()
	}
	if p.setup.Anchors == "" {
		p.setup.Anchors = p.world.Anchors()
	}
	p.begin()
	defer func() { p.subject.Close() }()
	for i := range do {
		if err := p.step(&do[i]); err != nil {
			p.errorf(do[i].at, "%s: %v", strings.Join(do[i].words, " "), err)
			break
		}
	}
	for label := range p.labels {
		p.errorf(p.play.at, "nobody waits for %q", label)
	}
	p.waiting.Wait() // for those that nobody waited for, which end when patience does
	if p.failed {
		p.showLog()
	}
}

// begin makes the subject.
func (p *player) begin() {
	p.setup.common()
	p.subject = p.newSubject(p.t, p.setup)
	if err := p.setup.faults(!p.verdicts); err != nil {
		p.subject.Close()
		p.t.Fatal(err)
	}
}

// step does one step. The error is about the step itself; what turned out otherwise
// than expected is reported, and the scenario goes on.
func (p *player) step(s *step) error {
	words := s.words
	if len(s.below) > 0 && !slices.Contains([]string{"ask", "finish", "sent"}, words[0]) && (words[0] != "flood") {
		return fmt.Errorf("nothing is expected of it")
	}
	if p.verdicts && slices.Contains([]string{"flood", "flush", "sent", "asked", "unsent", "packets", "logged"}, words[0]) {
		return nil
	}
	switch words[0] {
	case "ask":
		return p.ask(s)
	case "flood":
		return p.flood(s)
	case "finish":
		if len(words) != 2 || p.labels[words[1]] == nil {
			return fmt.Errorf("want the label of a question that waits")
		}
		w := p.labels[words[1]]
		delete(p.labels, words[1])
		return p.finish(s, w)
	case "wait":
		if len(words) != 2 {
			return fmt.Errorf("want a duration")
		}
		d, err := time.ParseDuration(words[1])
		if err != nil {
			return err
		}
		time.Sleep(d)
		synctest.Wait()
	case "load":
		if len(words) != 2 || p.later[words[1]] == nil {
			return fmt.Errorf("no section is tagged so")
		}
		return p.world.Put(p.later[words[1]]...)
	case "host":
		if len(words) < 3 {
			return fmt.Errorf("want an address and words")
		}
		return p.world.Configure(words[1], words[2:]...)
	case "calm":
		p.world.Calm()
	case "family":
		f := slices.Index([]string{"ipv4", "ipv6"}, words[min(1, len(words)-1)])
		if len(words) != 3 || f < 0 || words[2] != "on" && words[2] != "off" {
			return fmt.Errorf("want ipv4 or ipv6, and on or off")
		}
		p.families[f] = words[2] == "on"
		p.world.Net.SetRoutes(p.families[0], p.families[1])
	case "set":
		return p.set(s)
	case "flush":
		return p.flush(words[1:])
	case "restart":
		return p.restart(words[1:])
	case "sent":
		return p.sent(s)
	case "asked", "unsent":
		return p.askedFor(s)
	case "packets":
		return p.packets(s)
	case "logged":
		return p.logged(s)
	default:
		return fmt.Errorf("step %q is not known", words[0])
	}
	return nil
}

func (p *player) set(s *step) error {
	r, ok := p.subject.(Reloader)
	if !ok {
		return fmt.Errorf("the subject cannot be reloaded")
	}
	if len(s.words) < 3 {
		return fmt.Errorf("want a key and a value")
	}
	key := s.words[1]
	p.setup.values = slices.DeleteFunc(p.setup.values, func(v setting) bool { return v.key == key })
	p.setup.values = append(p.setup.values, setting{at: s.at, key: key, words: s.words[2:]})
	p.setup.common()
	if err := r.Apply(p.setup); err != nil {
		return err
	}
	return p.setup.faults(!p.verdicts)
}

func (p *player) flush(words []string) error {
	f, ok := p.subject.(Flusher)
	if !ok {
		return fmt.Errorf("the subject cannot be flushed")
	}
	switch {
	case len(words) == 1 && words[0] == "all":
		f.Flush(wire.Root, true)
		return nil
	case len(words) == 2 && words[0] == "tree", len(words) == 1:
		name, err := wire.ParseName(words[len(words)-1])
		if err != nil {
			return err
		}
		f.Flush(name, len(words) == 2)
		return nil
	}
	return fmt.Errorf("want NAME, tree NAME or all")
}

func (p *player) restart(words []string) error {
	keep := len(words) == 1 && words[0] == "keep"
	if len(words) > 0 && !keep {
		return fmt.Errorf("want nothing or keep")
	}
	var dump bytes.Buffer
	if keep {
		d, ok := p.subject.(Dumper)
		if !ok {
			return fmt.Errorf("the subject cannot be dumped")
		}
		if err := d.Dump(&dump); err != nil {
			return err
		}
	}
	p.subject.Close()
	p.begin()
	if keep {
		return p.subject.(Dumper).Load(&dump)
	}
	return nil
}

// showLog prints what went over the network.
func (p *player) showLog() {
	log := p.world.Net.Packets()
	var b strings.Builder
	for i := range log {
		if len(log) > 2*shownLog && i == shownLog {
			fmt.Fprintf(&b, "... %d packets ...\n", len(log)-2*shownLog)
		}
		if i < shownLog || i >= len(log)-shownLog {
			b.WriteString(logLine(&log[i], p.start) + "\n")
		}
	}
	p.t.Logf("%s: packets:\n%s", p.play.at, b.String())
}
