package dnstest

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing/synctest"
	"time"

	"port53/internal/wire"
)

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
	p.waiting.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		start := time.Now()
		reply := subject.Ask(ctx, bytes.Clone(msg), from, q.tcp)
		o, err := describe(msg, reply, time.Since(start))
		if err != nil {
			o = &outcome{header: err.Error()}
		}
		done <- o
	})
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
	if p.verdicts && q.flags&wire.FlagCD != 0 {
		return nil
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
	if p.verdicts {
		wrong = e.checkVerdict(o)
	}
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
