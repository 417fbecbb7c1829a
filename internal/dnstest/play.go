package dnstest

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
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
					synctest.Test(t, func(t *testing.T) {
						pl := &player{t: t, play: p, script: script, update: update, newSubject: newSubject}
						pl.run()
					})
				}
				if len(script.plays) == 1 {
					run(t)
				} else {
					t.Run(p.name, run)
				}
			}
			if update {
				if err := script.rewrite(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// A player performs one scenario.
type player struct {
	t          testing.TB
	play       *play
	script     *script
	update     bool
	newSubject func(testing.TB, *Setup) Subject

	world    *lab.World
	setup    *Setup
	subject  Subject
	later    map[string][]lab.Section // by tag
	families [2]bool

	start  time.Time
	mark   int // packets of the log before the last question
	asked  int // questions so far, for their IDs
	labels map[string]*pending
	failed bool
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

func (p *player) run() {
	p.start = time.Now()
	p.world = lab.NewWorld(lab.Options{Seed: 53, Log: wholeLog})
	p.setup = &Setup{Net: p.world.Net}
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
			for i, l := range s.Body {
				if f := strings.Fields(l); len(f) > 0 && l[0] != '#' {
					p.setup.values = append(p.setup.values, setting{at: s.At(i), key: f[0], words: f[1:]})
				}
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
	if p.failed {
		p.showLog()
	}
}

// begin makes the subject.
func (p *player) begin() {
	p.setup.common()
	p.subject = p.newSubject(p.t, p.setup)
	if err := p.setup.faults(); err != nil {
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
	default:
		return fmt.Errorf("step %q is not known", words[0])
	}
	return nil
}

// A question is one of a client.
type question struct {
	name  string
	typ   wire.Type
	flags uint16
	edns  bool
	do    bool
	tcp   bool
	size  uint16
	from  netip.Addr
	label string
	every time.Duration
}

func parseAsk(words []string) (*question, error) {
	if len(words) < 2 {
		return nil, fmt.Errorf("want NAME TYPE")
	}
	q := &question{name: words[0], flags: wire.FlagRD, edns: true, size: 1232, from: netip.MustParseAddr("127.0.0.1")}
	if _, err := wire.ParseName(q.name); err != nil {
		return nil, fmt.Errorf("name %q: %w", q.name, err)
	}
	var ok bool
	if q.typ, ok = wire.ParseType(words[1]); !ok {
		return nil, fmt.Errorf("type %q is not known", words[1])
	}
	for _, w := range words[2:] {
		key, value, _ := strings.Cut(w, "=")
		var err error
		switch key {
		case "+do":
			q.do = true
		case "+cd":
			q.flags |= wire.FlagCD
		case "+ad":
			q.flags |= wire.FlagAD
		case "+tcp":
			q.tcp = true
		case "+nord":
			q.flags &^= wire.FlagRD
		case "+noedns":
			q.edns = false
		case "+size":
			var n uint64
			n, err = strconv.ParseUint(value, 10, 16)
			q.size = uint16(n)
		case "from":
			q.from, err = netip.ParseAddr(value)
		case "as":
			q.label = value
		case "every":
			q.every, err = time.ParseDuration(value)
		default:
			err = fmt.Errorf("it is not known")
		}
		if err != nil {
			return nil, fmt.Errorf("%q: %w", w, err)
		}
	}
	return q, nil
}

// send asks the subject, and returns where the outcome will come.
func (p *player) send(q *question, name string) (chan *outcome, error) {
	n, err := wire.ParseName(name)
	if err != nil {
		return nil, err
	}
	p.asked++
	msg := wire.AppendQuery(nil, uint16(p.asked), q.flags, n, q.typ)
	if q.edns {
		msg = wire.AppendOPT(msg, q.size, q.do, nil)
		binary.BigEndian.PutUint16(msg[10:], 1)
	}
	from := netip.AddrPortFrom(q.from, uint16(1024+p.asked%60000))
	done := make(chan *outcome, 1)
	subject := p.subject
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		start := time.Now()
		reply := subject.Ask(ctx, bytes.Clone(msg), from, q.tcp)
		o, err := describe(msg, reply, time.Since(start))
		if err != nil {
			o = &outcome{header: err.Error()}
		}
		done <- o
	}()
	return done, nil
}

func (p *player) setMark() { p.mark = len(p.world.Net.Packets()) }

func (p *player) wait(s *step, q *question, w *pending) error {
	if q.label == "" {
		return p.finish(s, w)
	}
	if len(s.below) > 0 {
		return fmt.Errorf("what is expected stands below \"finish %s\"", q.label)
	}
	if p.labels[q.label] != nil {
		return fmt.Errorf("%q waits already", q.label)
	}
	p.labels[q.label] = w
	synctest.Wait() // so that the question is on its way
	return nil
}

func (p *player) ask(s *step) error {
	q, err := parseAsk(s.words[1:])
	if err != nil {
		return err
	}
	p.setMark()
	done, err := p.send(q, q.name)
	if err != nil {
		return err
	}
	return p.wait(s, q, &pending{answers: []chan *outcome{done}})
}

func (p *player) flood(s *step) error {
	if len(s.words) < 4 {
		return fmt.Errorf("want a number, NAME and TYPE")
	}
	count, err := strconv.Atoi(s.words[1])
	if err != nil {
		return err
	}
	q, err := parseAsk(s.words[2:])
	if err != nil {
		return err
	}
	p.setMark()
	w := &pending{flood: true}
	for i := range count {
		done, err := p.send(q, strings.ReplaceAll(q.name, "{n}", strconv.Itoa(i)))
		if err != nil {
			return err
		}
		w.answers = append(w.answers, done)
		if q.every > 0 {
			time.Sleep(q.every)
		}
	}
	return p.wait(s, q, w)
}

// finish waits for answers and compares them with what the step expects.
func (p *player) finish(s *step, w *pending) error {
	if w.flood {
		return p.finishFlood(s, w)
	}
	o := <-w.answers[0]
	synctest.Wait() // until what goes on behind the answer is sent
	if len(s.below) == 0 && !p.update {
		return fmt.Errorf("nothing is expected of it; it was %q", o.header)
	}
	e := parseExpectation(s.below)
	wrong := e.check(o)
	if p.update && len(wrong) > 0 {
		p.edit(s, e.rewrite(o))
		wrong = e.checkExtra(o)
	}
	for _, x := range wrong {
		p.errorf(s.at, "%s: %s", strings.Join(s.words, " "), x)
	}
	return nil
}

func (p *player) finishFlood(s *step, w *pending) error {
	counts := map[string]int{}
	for _, c := range w.answers {
		o := <-c
		rcode, _, _ := strings.Cut(o.header, " ")
		counts[rcode]++
	}
	synctest.Wait()
	wrong := false
	for _, l := range s.below {
		f := strings.Fields(l)
		if len(f) != 3 {
			return fmt.Errorf("%q: want such as NOERROR >= 95", l)
		}
		n, err := strconv.Atoi(f[2])
		if err != nil {
			return fmt.Errorf("%q: %w", l, err)
		}
		if !compare(int64(counts[f[0]]), f[1], int64(n)) {
			wrong = true
			if !p.update {
				p.errorf(s.at, "%s: %d %s, want %s", strings.Join(s.words, " "), counts[f[0]], f[0], l)
			}
		}
	}
	if p.update && (wrong || len(s.below) == 0) {
		var lines []string
		for rcode, n := range counts {
			lines = append(lines, fmt.Sprintf("  %s == %d", rcode, n))
		}
		slices.Sort(lines)
		p.edit(s, lines)
	}
	return nil
}

// edit replaces the lines below a step.
func (p *player) edit(s *step, lines []string) {
	if s.file == p.script.file {
		p.script.edits = append(p.script.edits, edit{s.line + 1, s.until, lines})
	}
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
	return p.setup.faults()
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

// selection reads "[to ADDRESS] [tcp] [all]" out of words and returns what is left, and
// the questions that were sent so.
func (p *player) selection(words []string) (rest []string, sent []lab.Packet, to bool, err error) {
	var server netip.AddrPort
	from, tcp := p.mark, false
	for i := 0; i < len(words); i++ {
		switch {
		case words[i] == "to" && i+1 < len(words):
			i++
			if server, err = addrPort(words[i]); err != nil {
				return nil, nil, false, err
			}
		case words[i] == "all":
			from = 0
		case words[i] == "tcp":
			tcp = true
		default:
			rest = append(rest, words[i])
		}
	}
	for _, packet := range p.world.Net.Packets()[from:] {
		if !packet.Reply && packet.Message != nil && (!server.IsValid() || packet.To == server) && (!tcp || packet.TCP) {
			sent = append(sent, packet)
		}
	}
	return rest, sent, server.IsValid(), nil
}

func (p *player) sent(s *step) error {
	rest, packets, to, err := p.selection(s.words[1:])
	if err != nil || len(rest) > 0 {
		return fmt.Errorf("want [to ADDRESS] [tcp] [all]: %w", err)
	}
	var got []string
	for i := range packets {
		got = append(got, sentLine(&packets[i], !to))
	}
	if sameSent(got, s.below) {
		return nil
	}
	if p.update {
		var lines []string
		for _, g := range got {
			lines = append(lines, "  "+g)
		}
		p.edit(s, lines)
		return nil
	}
	p.errorf(s.at, "%s:\n%swant:\n%s", strings.Join(s.words, " "), indent(got), indent(s.below))
	return nil
}

func (p *player) askedFor(s *step) error {
	rest, packets, _, err := p.selection(s.words[1:])
	if err != nil {
		return err
	}
	op, want := ">=", 1
	if s.words[0] == "unsent" {
		op, want = "==", 0
	} else if n := len(rest); n >= 3 {
		if want, err = strconv.Atoi(rest[n-1]); err != nil {
			return err
		}
		op, rest = rest[n-2], rest[:n-2]
	}
	if len(rest) < 1 || len(rest) > 2 {
		return fmt.Errorf("want NAME [TYPE] [to ADDRESS] [all]")
	}
	name, err := wire.ParseName(rest[0])
	if err != nil {
		return err
	}
	var typ wire.Type
	if len(rest) == 2 {
		var ok bool
		if typ, ok = wire.ParseType(rest[1]); !ok {
			return fmt.Errorf("type %q is not known", rest[1])
		}
	}
	got := 0
	for i := range packets {
		if n, t := packets[i].Question(); wire.EqualFold(n, name) && (len(rest) < 2 || t == typ) {
			got++
		}
	}
	if !compare(int64(got), op, int64(want)) {
		p.errorf(s.at, "%s: it was sent %d times, want %s %d", strings.Join(s.words, " "), got, op, want)
	}
	return nil
}

func (p *player) packets(s *step) error {
	rest, packets, _, err := p.selection(s.words[1:])
	if err != nil {
		return err
	}
	if len(rest) != 2 {
		return fmt.Errorf("want [to ADDRESS] [tcp] [all] <= NUMBER")
	}
	want, err := strconv.Atoi(rest[1])
	if err != nil {
		return err
	}
	if !compare(int64(len(packets)), rest[0], int64(want)) {
		p.errorf(s.at, "%s: %d were sent", strings.Join(s.words, " "), len(packets))
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
