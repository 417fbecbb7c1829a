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
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/lab"
	"port53/internal/wire"
)

// Bounds of a replay, in its own time.
const (
	replayRTT   = 2 * time.Millisecond
	replayHold  = 20 * time.Second // that a server waits for the step that has its answer
	replayQuiet = 50 * time.Millisecond
)

// Replay plays one file in the replay format of Unbound's tests or of Deckard, in simulated
// time. A file about what newSubject's resolver does not have is skipped, with the reason.
// Compared are what a client relies on: response code, AD, TC and the answer section, as far
// as the file asks for them. The other flags and sections and Extended DNS Errors are logged
// where they differ.
func Replay(t *testing.T, file string, newSubject func(testing.TB, *Setup) Subject) {
	r, err := readReplay(file)
	if err != nil {
		t.Skip("it cannot be read: ", err)
	}
	why := ""
	synctest.Test(t, func(t *testing.T) {
		p := &replayer{t: t, r: r, start: time.Now(), step: -1, turn: make(chan struct{})}
		p.servers, p.used = map[netip.Addr]bool{}, map[*entry]string{}
		why = p.run(newSubject)
	})
	if why != "" { // a bubble of synctest that is skipped counts as passed
		t.Skip("not played: ", why)
	}
}

// run plays the file, unless it returns why that cannot be.
func (p *replayer) run(newSubject func(testing.TB, *Setup) Subject) (why string) {
	setup, err := p.r.setup(p.start)
	if err != nil {
		return err.Error()
	}
	if why := p.unplayable(); why != "" {
		return why
	}
	p.net = lab.NewNet(lab.Options{Seed: 53, Log: wholeLog})
	setup.Net = p.net
	p.listen(setup)
	p.subject = newSubject(p.t, setup)
	defer p.subject.Close()
	if err := setup.faults(true); err != nil {
		return err.Error()
	}
	p.play()
	p.waiting.Wait()
	time.Sleep(2 * replayHold) // until no server waits any longer
	if p.t.Failed() {
		p.showLog()
	}
	return ""
}

// A replayer plays one file.
//
// In one piece: it is where a play stands.
type replayer struct {
	t       *testing.T
	r       *replay
	net     *lab.Net
	subject Subject
	start   time.Time
	servers map[netip.Addr]bool // true: a range names it

	mu    sync.Mutex
	step  int // its number
	turn  chan struct{}
	once  []*entry          // of steps that are a server's answer, and have come
	used  map[*entry]string // by whose question, and which
	heard int               // questions that came to servers

	asked   int
	snooped bool // the last question was left out
	waiting sync.WaitGroup
	answers []*replayAnswer
}

// A replayAnswer is what became of a client's question.
type replayAnswer struct {
	query []byte
	cut   bool // over UDP; what counts was asked for over TCP
	done  chan []byte
}

// unplayable returns why the file cannot be played.
func (p *replayer) unplayable() string {
	if p.r.unplayable != "" {
		return p.r.unplayable
	}
	for i := range p.r.steps {
		s := &p.r.steps[i]
		switch s.kind {
		case "QUERY", "CHECK_ANSWER", "CHECK_OUT_QUERY", "REPLY", "MOCK", "TIMEOUT", "ERROR", "NOTHING", "TRAFFIC", "INFRA_RTT":
		case "TIME_PASSES":
			if len(s.words) != 2 || s.words[0] != "ELAPSE" {
				return "time passes by a formula"
			}
		default:
			return "step " + s.kind
		}
		if e := s.entry; e == nil && (s.kind == "QUERY" || s.kind == "CHECK_ANSWER") {
			return "step " + s.kind + " without an entry"
		} else if s.kind == "QUERY" && e.opcode != 0 {
			return "it asks with another opcode"
		}
	}
	return ""
}

// listen makes the servers of the file: those of its ranges, and if a range is of any server,
// all whose addresses are in it.
func (p *replayer) listen(setup *Setup) {
	add := func(a netip.Addr) {
		if _, there := p.servers[a]; there || !a.IsValid() {
			return
		}
		p.servers[a] = false
		p.net.SetLink(a, lab.Link{RTT: replayRTT})
		p.net.Respond(netip.AddrPortFrom(a, 53), p.respond)
	}
	anywhere := false
	entries := p.r.entries()
	for i := range p.r.ranges {
		for _, a := range p.r.ranges[i].addrs {
			add(a)
			p.servers[a] = true
		}
		anywhere = anywhere || len(p.r.ranges[i].addrs) == 0
	}
	for i := range p.r.steps {
		if k := p.r.steps[i].kind; k == "REPLY" || k == "CHECK_OUT_QUERY" || k == "MOCK" {
			anywhere = true
		}
	}
	if !anywhere && !p.r.deckard {
		return
	}
	for _, f := range strings.Fields(setup.Hints) {
		a, _ := netip.ParseAddr(f)
		add(a)
	}
	for _, r := range setup.Routes {
		for _, s := range r.Servers {
			add(s.Addr())
		}
	}
	for _, e := range entries {
		for _, records := range e.sections {
			for i := range records {
				if r := &records[i]; r.Type == wire.TypeA || r.Type == wire.TypeAAAA {
					a, _ := netip.AddrFromSlice(r.Data)
					add(a)
				}
			}
		}
	}
}

// entries are those of all servers.
func (r *replay) entries() (list []*entry) {
	for i := range r.ranges {
		list = append(list, r.ranges[i].entries...)
	}
	for i := range r.steps {
		if s := &r.steps[i]; s.entry != nil && s.kind != "QUERY" && s.kind != "CHECK_ANSWER" {
			list = append(list, s.entry)
		}
	}
	return list
}

// respond is what all servers do: they answer as the step says, or wait for one that does.
func (p *replayer) respond(r *lab.Reply) {
	var q wire.Message
	if q.Parse(r.Query) != 0 {
		return
	}
	until := time.After(replayHold)
	p.mu.Lock()
	p.heard++
	p.mu.Unlock()
	for {
		p.mu.Lock()
		e, turn := p.choose(&q, r), p.turn
		p.mu.Unlock()
		if e != nil {
			p.answer(e, &q, r)
			return
		}
		if p.r.deckard { // as its server does, at once
			flags := wire.FlagQR | q.Flags&wire.FlagRD | uint16(wire.ServFail)
			r.Message = wire.AppendQuery(nil, q.ID, flags, q.Name, q.Type)
			return
		}
		select {
		case <-turn:
		case <-until:
			return
		}
	}
}

// choose returns the entry that answers a query now. The lock is held.
func (p *replayer) choose(q *wire.Message, r *lab.Reply) *entry {
	at := r.Server.Addr()
	key := fmt.Sprint(at, " ", wire.NameText(wire.Lower(nil, q.Name)), " ", q.Type)
	for _, owner := range [...]string{"", key} { // who asks again gets the same
		for _, e := range slices.Backward(p.once) {
			if p.used[e] == owner && e.fits(q, r.TCP) {
				p.used[e] = key
				return e
			}
		}
	}
	for i := range p.r.ranges {
		g := &p.r.ranges[i]
		anyone := len(g.addrs) == 0 || p.r.deckard && !p.servers[at]
		if p.step < g.from || p.step > g.to || !anyone && !slices.Contains(g.addrs, at) {
			continue
		}
		for _, e := range g.entries {
			if e.fits(q, r.TCP) {
				return e
			}
		}
		for _, e := range g.entries {
			if p.r.minimised && e.shows(q) {
				return e
			}
		}
		if p.r.deckard {
			return nil // the first range of an address is the only one
		}
	}
	for i := range p.r.steps {
		s := &p.r.steps[i]
		if p.r.deckard && s.kind == "REPLY" && s.number >= p.step && p.used[s.entry] == "" && s.entry.fits(q, r.TCP) {
			p.used[s.entry] = key
			return s.entry
		}
	}
	return nil
}

func (p *replayer) answer(e *entry, q *wire.Message, r *lab.Reply) {
	if slices.Contains(e.adjust, "do_not_answer") {
		return
	}
	b := e.message(q, q.EDNS && (e.do || p.r.deckard))
	room := wire.MinUDP
	if q.EDNS {
		room = max(room, int(q.UDPSize))
	}
	if len(b) > room && !r.TCP && e.raw == nil { // on a wire it would be cut off
		short := *e
		short.sections = [3][]wire.Record{}
		short.flags |= wire.FlagTC
		b = short.message(q, q.EDNS)
	}
	r.Message = b
}

// advance goes to a step.
func (p *replayer) advance(number int, replies ...*entry) {
	p.mu.Lock()
	p.step = number
	p.once = append(p.once, replies...)
	close(p.turn)
	p.turn = make(chan struct{})
	p.mu.Unlock()
}

func (p *replayer) play() {
	for i := range p.r.steps {
		s := &p.r.steps[i]
		var replies []*entry
		if e := s.entry; e != nil && !p.r.deckard &&
			(s.kind == "REPLY" || s.kind == "CHECK_OUT_QUERY" && slices.Contains(e.adjust, "copy_id")) {
			replies = append(replies, e)
		}
		p.advance(s.number, replies...)
		if !p.r.deckard && s.kind == "QUERY" && i+1 < len(p.r.steps) {
			p.advance(p.r.steps[i+1].number) // what servers answer is that of the next step already
		}
		switch s.kind {
		case "QUERY":
			if p.snooped = p.snoops(s); p.snooped {
				p.t.Logf("differs: step %d asks for what is in the cache, and is left out with its answer", s.number)
				break
			}
			p.settle(p.ask(s))
		case "CHECK_ANSWER":
			if p.snooped {
				break
			}
			p.check(s)
		case "TIME_PASSES":
			seconds, err := strconv.ParseFloat(s.words[1], 64)
			if err != nil {
				p.t.Errorf("step %d: %v", s.number, err)
			}
			time.Sleep(time.Duration(seconds * float64(time.Second)))
		case "TRAFFIC", "REPLY", "TIMEOUT", "ERROR":
			time.Sleep(replayQuiet)
		}
	}
}

// settle waits until a question has its answer, or in Unbound's dialect until no server has
// been asked anything for a moment: then it is for the next step to go on.
func (p *replayer) settle(a *replayAnswer) {
	for before := -1; len(a.done) == 0; {
		p.mu.Lock()
		heard := p.heard
		p.mu.Unlock()
		if !p.r.deckard && heard == before {
			break
		}
		before = heard
		time.Sleep(replayQuiet)
	}
	synctest.Wait()
}

func (p *replayer) ask(s *replayStep) *replayAnswer {
	e := s.entry
	p.asked++
	flags := e.flags
	if p.r.snooping {
		flags |= wire.FlagRD // what is stale is in the cache, and is the same for all
	}
	query := wire.AppendQuery(nil, uint16(p.asked), flags, e.name, e.typ)
	if e.do || p.r.deckard || e.options != nil {
		query = wire.AppendOPT(query, 4096, e.do, e.options)
		query[11] = 1
	}
	from := netip.MustParseAddr("127.0.0.1")
	if i := slices.Index(s.words, "ADDRESS"); i >= 0 && i+1 < len(s.words) {
		if a, err := netip.ParseAddr(s.words[i+1]); err == nil {
			from = a
		}
	}
	a := &replayAnswer{query: query, done: make(chan []byte, 1)}
	p.answers = append(p.answers, a)
	port := uint16(1024 + p.asked)
	p.waiting.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		reply := p.subject.Ask(ctx, bytes.Clone(query), netip.AddrPortFrom(from, port), e.wants("TCP"))
		if len(reply) > 2 && reply[2]&byte(wire.FlagTC>>8) != 0 { // as any client does
			a.cut = true
			reply = p.subject.Ask(ctx, bytes.Clone(query), netip.AddrPortFrom(from, port), true)
		}
		a.done <- reply
	})
	return a
}

// snoops reports whether a step asks for what is in the cache, which is nobody's business here.
func (p *replayer) snoops(s *replayStep) bool {
	return p.r.snooping && !p.r.expired && s.kind == "QUERY" && s.entry.flags&wire.FlagRD == 0
}

// check waits for the answer to the oldest question that the step is about.
func (p *replayer) check(s *replayStep) {
	at := slices.IndexFunc(p.answers, func(a *replayAnswer) bool {
		var q wire.Message
		q.Parse(a.query)
		return wire.EqualFold(q.Name, s.entry.name) && q.Type == s.entry.typ
	})
	if at < 0 && len(p.answers) > 0 {
		at = 0
	}
	if at < 0 {
		p.t.Errorf("step %d: nobody has asked", s.number)
		return
	}
	a := p.answers[at]
	p.answers = slices.Delete(p.answers, at, at+1)
	reply := <-a.done
	synctest.Wait()
	if s.entry.raw != nil {
		return // what becomes of a broken message is its servers' affair
	}
	if a.cut && s.entry.flags&wire.FlagTC != 0 {
		return
	}
	p.compare(s, a.query, reply)
}

// compare reports where a reply differs from what the step expects.
func (p *replayer) compare(s *replayStep, query, reply []byte) {
	e := s.entry
	got, err := describe(query, reply, 0)
	if err != nil {
		p.t.Errorf("step %d: %v", s.number, err)
		return
	}
	if reply == nil {
		p.t.Errorf("step %d: no answer; want %v", s.number, e.rcode)
		return
	}
	flags := binary.BigEndian.Uint16(reply[2:])
	all := e.wants("all")
	if got, want := wire.Rcode(flags&15), e.rcode; (all || e.wants("rcode")) && got != want {
		p.t.Errorf("step %d: rcode %v, want %v (%s)", s.number, got, want, describeShort(reply, query))
	}
	if all || e.wants("flags") {
		for _, f := range []string{"AD", "TC", "AA", "RA", "CD"} {
			bit := replayFlags[f]
			switch {
			case flags&bit == e.flags&bit:
			case f == "AD" || f == "TC" && flags&bit != 0: // who has room for all need not cut anything off
				p.t.Errorf("step %d: %s is %t, want %t", s.number, f, flags&bit != 0, e.flags&bit != 0)
			default:
				p.t.Logf("differs: step %d: %s is %t, want %t", s.number, f, flags&bit != 0, e.flags&bit != 0)
			}
		}
	}
	for i, name := range sectionNames {
		if !all && !e.wants(name) {
			continue
		}
		want := replayLines(p.stale(e.sections[i]), e.wants("ttl"))
		have := got.sections[i]
		if !e.wants("ttl") {
			have = slices.Clone(have)
			for j := range have {
				have[j] = anyTTL(have[j])
			}
		}
		if sameRecords(have, want) {
			continue
		}
		report := p.t.Logf
		title := "differs: step"
		if i == 0 {
			report, title = p.t.Errorf, "step"
		}
		report("%s %d: %s:\n%swant:\n%s", title, s.number, name, indent(have), indent(want))
	}
	if missing := missingOptions(reply, e.options); len(missing) > 0 && e.wants("ednsdata") {
		p.t.Errorf("step %d: the reply lacks the option %x", s.number, missing)
	}
	for _, w := range e.match {
		if code, ok := strings.CutPrefix(w, "ede="); ok && code != "any" && !strings.Contains(got.header+",", "ede="+code+",") {
			p.t.Logf("differs: step %d: %s, want %s", s.number, got.header, w)
		}
	}
}

// staleTTL is what a record has that has expired (RFC 8767, section 4).
const staleTTL = 30

// stale gives records that have the TTL which the file has for stale ones that of port53.
func (p *replayer) stale(records []wire.Record) []wire.Record {
	if p.r.staleTTL == 0 {
		return records
	}
	records = slices.Clone(records)
	for i := range records {
		if records[i].TTL == p.r.staleTTL {
			records[i].TTL = staleTTL
		}
	}
	return records
}

// missingOptions returns the first of the EDNS options wanted that a reply does not have.
func missingOptions(reply, wanted []byte) []byte {
	var m wire.Message
	if m.Parse(reply) != 0 {
		return wanted
	}
	for len(wanted) >= 4 {
		n := min(4+int(binary.BigEndian.Uint16(wanted[2:])), len(wanted))
		if !bytes.Contains(reply, wanted[:n]) {
			return wanted[:n]
		}
		wanted = wanted[n:]
	}
	return nil
}

// describeShort returns the first line of a reply in words, with Extended DNS Errors.
func describeShort(reply, query []byte) string {
	o, err := describe(query, reply, 0)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(o.header, " ", o.texts)
}

// replayLines returns records in words.
func replayLines(records []wire.Record, ttl bool) []string {
	var lines []string
	for i := range records {
		l := line(&records[i])
		if !ttl {
			l = anyTTL(l)
		}
		lines = append(lines, l)
	}
	return lines
}

// showLog logs the packets of a scenario that went wrong.
func (p *replayer) showLog() {
	packets := p.net.Packets()
	for i := range packets {
		if i >= 2*shownLog {
			p.t.Logf("and %d more", len(packets)-i)
			return
		}
		p.t.Log(logLine(&packets[i], p.start))
	}
}
