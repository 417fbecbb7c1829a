package catalogue

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"port53/internal/chain"
	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/wire"
)

// The bounds of a survey, which keep a zone with a server that drops all, or some, of what it
// is asked below fifteen seconds.
const (
	surveyTime    = 11 * time.Second
	surveyServers = 30                     // addresses: 13 names of two families, and some that the parent does not know
	surveyNames   = 20                     // names of the zone beside its apex and its servers
	surveyTypes   = 3                      // of one of them, beside addresses
	surveyCuts    = 8                      // delegations out of the zone whose DS is asked for
	firstTry      = 500 * time.Millisecond // of the questions that tell how far a server is; each further one waits twice as long
	leastTry      = 300 * time.Millisecond // however near the server is
	confirmed     = 3                      // times that a question is dropped and the control question beside it is answered
	confirmRounds = 6                      // tries of that, where the control question is lost now and then
	confirmedLoss = 7                      // and of a server that was seen to answer on a second try, which may lose more
	confirmMost   = 12                     // questions of one server that are asked again at the same time in this way
	silentTries   = 24                     // of one server, after which each further question is tried once
	confirmPause  = 250 * time.Millisecond // between them, for a rate limit
)

// unknownType is a type that nobody has data of: servers answer that there is none (RFC 3597).
const unknownType = wire.Type(65280)

// A variant is a way in which each question is asked.
type variant uint8

const (
	overUDP variant = iota // without EDNS
	withEDNS
	withDO
	overTCP // with DO where the server knows EDNS
	variants
)

func (v variant) String() string {
	return [...]string{"over UDP without EDNS", "over UDP with EDNS", "over UDP with DO", "over TCP"}[v]
}

// query returns a question as it is asked in a variant.
func (v variant) query(q question) check.Query {
	out := check.Query{Name: []byte(q.name), Type: q.t}
	switch v {
	case withEDNS:
		out.EDNS = &check.EDNS{Size: check.EDNSSize}
	case withDO, overTCP:
		out.EDNS = &check.EDNS{Size: check.EDNSSize, DO: true}
	case overUDP, variants:
	}
	return out
}

// A question is what each server is asked. The name is in wire form and lower case.
type question struct {
	name string
	t    wire.Type
}

func (q question) String() string { return q.t.String() + " of " + wire.NameText([]byte(q.name)) }

// An echo is what came of a question in one variant.
type echo struct {
	m       *check.Reply
	err     error // why there is none; nil without m: it was not asked
	dropped bool  // again and again, while a control question was answered
}

// A sight is what one server of a zone says.
type sight struct {
	server  finding.Server
	noWay   bool // from this machine
	control [variants]echo
	bare    bool // it cannot do with EDNS over TCP
	cut     bool // not all was asked in the time there is

	tries atomic.Int32 // that were not answered
	late  atomic.Bool  // a question was answered on a second or third try

	mu   sync.Mutex
	said map[question]*[variants]echo
}

// A survey is what all servers of a zone say to the same questions.
type survey struct {
	sights    []*sight
	questions []question // in the order in which they are told of
	zone      []byte
	cuts      []question // for the DS of delegations out of the zone
}

// surveyed asks all servers of the zone, once for all checks of a target.
func surveyed(ctx context.Context, r *check.Run) (*survey, error) {
	type result struct {
		s   *survey
		err error
	}
	if r.Facts == nil {
		r.Facts = new(check.Facts)
	}
	res := check.Once(r, check.Fact[result]{Name: string(wire.Lower(nil, r.Zone))}, func() result {
		s, err := newSurvey(ctx, r)
		return result{s, err}
	})
	return res.s, res.err
}

func newSurvey(ctx context.Context, r *check.Run) (*survey, error) {
	servers, err := r.ZoneServers(ctx)
	if err != nil {
		return nil, err
	}
	if len(servers) == 0 {
		return nil, errors.New("no server has an address")
	}
	s := &survey{zone: wire.Lower(nil, r.Zone)}
	asked := func(list []finding.Server) []finding.Server { // the others are judged by their addresses
		return slices.DeleteFunc(slices.Clone(list), func(x finding.Server) bool { return !r.Asks(x.Addr) })
	}
	s.add(asked(servers))
	s.add(asked(s.unlisted(ctx, r, servers)))
	s.ask(ctx, r)
	return s, nil
}

// add adds servers that are not there yet.
func (s *survey) add(servers []finding.Server) {
	for _, x := range servers {
		if len(s.sights) < surveyServers && !slices.ContainsFunc(s.sights, func(y *sight) bool { return y.server.Addr == x.Addr }) {
			s.sights = append(s.sights, &sight{server: x, said: map[question]*[variants]echo{}})
		}
	}
}

// unlisted returns servers that the zone itself names and its parent does not: resolvers ask
// them as soon as they know of them.
func (s *survey) unlisted(ctx context.Context, r *check.Run, known []finding.Server) []finding.Server {
	m, _, err := r.FromZone(ctx, r.Zone, wire.TypeNS)
	if err != nil || len(r.Servers) > 0 && len(r.Options.Roots) == 0 {
		return nil
	}
	var out []finding.Server
	for _, ns := range names(m.Answers(r.Zone, wire.TypeNS)) {
		if slices.ContainsFunc(known, func(x finding.Server) bool { return wire.EqualFold(x.Name, ns) }) || len(out) > surveyServers {
			continue
		}
		for _, t := range []wire.Type{wire.TypeA, wire.TypeAAAA} {
			a, err := r.Lookup(ctx, ns, t)
			if wire.Subdomain(ns, r.Zone) {
				a, _, err = r.FromZone(ctx, ns, t)
			}
			if err != nil {
				continue
			}
			for _, rr := range a.In(wire.Answer, t) {
				if addr, ok := netip.AddrFromSlice(rr.Data); ok {
					out = append(out, finding.Server{Addr: netip.AddrPortFrom(addr, known[0].Addr.Port()), Name: ns})
				}
			}
		}
	}
	return out
}

// ask asks what each server is asked, all servers at the same time.
func (s *survey) ask(ctx context.Context, r *check.Run) {
	ctx, cancel := context.WithTimeout(ctx, surveyTime)
	defer cancel()
	var wg sync.WaitGroup
	for _, x := range s.sights {
		wg.Go(func() { x.begin(ctx, r, question{string(s.zone), wire.TypeSOA}) })
	}
	s.questions = s.list(ctx, r)
	wg.Wait()
	for _, x := range s.sights {
		wg.Go(func() { x.all(ctx, r, s.questions) })
	}
	wg.Wait()
	if s.delegations(); len(s.cuts) > 0 {
		for _, x := range s.sights {
			wg.Go(func() { x.all(ctx, r, s.cuts) })
		}
		wg.Wait()
	}
	for _, x := range s.sights {
		wg.Go(func() { x.confirm(ctx, r, question{string(s.zone), wire.TypeSOA}, s.questions) })
	}
	wg.Wait()
}

// list returns the questions: the sets of the apex, a type that nobody has, a name that nobody
// has or a wildcard makes, the zone's servers, and names that are found in it.
func (s *survey) list(ctx context.Context, r *check.Run) []question {
	var list []question
	add := func(name []byte, types ...wire.Type) {
		for _, t := range types {
			if q := (question{string(wire.Lower(nil, name)), t}); !slices.Contains(list, q) {
				list = append(list, q)
			}
		}
	}
	add(
		s.zone,
		wire.TypeSOA,
		wire.TypeNS,
		wire.TypeDNSKEY,
		wire.TypeA,
		wire.TypeAAAA,
		wire.TypeMX,
		wire.TypeTXT,
		wire.TypeHTTPS,
		wire.TypeCAA,
		wire.TypeCDS,
		wire.TypeCDNSKEY,
		wire.TypeNSEC3PARAM,
		unknownType,
	)
	add(check.Below(s.nobody(), s.zone), wire.TypeA, wire.TypeTXT, wire.TypeMX)
	add(check.Below("_dmarc", s.zone), wire.TypeTXT)
	for _, x := range s.sights {
		if wire.Subdomain(x.server.Name, s.zone) && x.server.Name != nil {
			add(x.server.Name, wire.TypeA, wire.TypeAAAA)
		}
	}
	add(check.Below("www", s.zone), wire.TypeA, wire.TypeAAAA)
	for i, x := range walked(ctx, r).list {
		if i == surveyNames {
			break
		}
		s.walked(&x, add)
	}
	if !r.Options.Subdomains { // else it is a search of minutes
		for i, f := range discovered(ctx, r).names {
			if i == surveyNames {
				break
			}
			add(f.name, wire.TypeA, wire.TypeAAAA)
		}
	}
	return list
}

// walked adds the questions for a name of which NSEC tells what it has.
func (s *survey) walked(x *walkedName, add func(name []byte, types ...wire.Type)) {
	n, below := 0, check.Below(s.nobody(), x.name)
	for _, t := range x.types {
		switch {
		case t == wire.TypeNS && !slices.Contains(x.types, wire.TypeSOA):
			s.cut(x.name)
			return // what else is there is another zone's
		case t == wire.TypeCNAME:
			add(x.name, wire.TypeA)
			return
		case t == wire.TypeDNAME:
			add(below, wire.TypeA)
		case t == wire.TypeNSEC || t == wire.TypeRRSIG || n == surveyTypes:
			continue
		}
		n++
		if name := x.name; len(name) > 2 && name[0] == 1 && name[1] == '*' {
			add(check.Below(s.nobody(), name[2:]), t) // as the wildcard is seen
		} else {
			add(name, t)
		}
	}
	add(x.name, wire.TypeAAAA) // that something is not there has to be proven as well
}

// cut adds the question for the DS of a delegation out of the zone.
func (s *survey) cut(name []byte) {
	q := question{string(wire.Lower(nil, name)), wire.TypeDS}
	if len(s.cuts) < surveyCuts && wire.Subdomain(name, s.zone) && !slices.Contains(s.cuts, q) {
		s.cuts = append(s.cuts, q)
	}
}

// nobody returns a label that no zone has, the same in each run.
func (s *survey) nobody() string {
	sum := sha256.Sum256(s.zone)
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:10]))
}

// delegations adds what is to be asked for the delegations that servers refer to.
func (s *survey) delegations() {
	for _, x := range s.sights {
		for _, q := range s.questions {
			if o := x.best(q); o.kind == chain.Referred {
				s.cut(o.zone)
			}
		}
	}
}

// begin asks the control question in all variants.
func (x *sight) begin(ctx context.Context, r *check.Run, q question) {
	if x.noWay = !r.HasRoute(ctx, x.server.Addr); x.noWay {
		return
	}
	var wg sync.WaitGroup
	for v := range variants {
		wg.Go(func() {
			query := v.query(q)
			if v == overTCP {
				x.control[v].m, x.control[v].err = r.AskServerTCP(ctx, x.server, query)
				return
			}
			x.control[v].m, x.control[v].err = x.insist(ctx, r, query, firstTry)
		})
	}
	wg.Wait()
	if e := &x.control[overTCP]; e.err != nil || e.m.Rcode == wire.FormErr || e.m.Rcode == wire.NotImp {
		m, err := r.AskServerTCP(ctx, x.server, bareQuery(q))
		if err == nil && e.err != nil { // was it EDNS, or one of many connections?
			e.m, e.err = r.AskServerTCP(ctx, x.server, overTCP.query(q))
		}
		if err == nil && (e.err != nil || e.m.Rcode == wire.FormErr || e.m.Rcode == wire.NotImp) {
			x.bare, e.m, e.err = true, m, nil
		}
	}
}

// bareQuery is a question without EDNS.
func bareQuery(q question) check.Query { return overUDP.query(q) }

// insist asks three times over UDP, and waits twice as long each time.
func (x *sight) insist(ctx context.Context, r *check.Run, q check.Query, wait time.Duration) (m *check.Reply, err error) {
	for try := range check.AskTries {
		m, err = r.AskOnce(ctx, x.server, q, min(wait, r.Timeout()))
		if err == nil || errors.Is(err, check.ErrNoRoute) || ctx.Err() != nil {
			if err == nil && try > 0 {
				x.late.Store(true)
			}
			return m, err
		}
		if x.tries.Add(1) > silentTries {
			break
		}
		wait *= 2
	}
	return nil, err
}

// alive reports whether the server answers the control question in a variant.
func (x *sight) alive(v variant) bool { return x.control[v].m != nil }

// silent reports whether the server answers nothing at all.
func (x *sight) silent() bool {
	for v := range variants {
		if x.alive(v) {
			return false
		}
	}
	return true
}

// heard returns the servers that say anything.
func (s *survey) heard() []*sight {
	var out []*sight
	for _, x := range s.sights {
		if !x.noWay && !x.silent() {
			out = append(out, x)
		}
	}
	return out
}

// works reports whether a variant is of use: the control question is answered in it, and not by
// a word that the server cannot read it.
func (x *sight) works(v variant) bool {
	e := &x.control[v]
	return e.m != nil && (v == overUDP || v == overTCP || e.m.Rcode != wire.FormErr && e.m.Rcode != wire.NotImp)
}

// wait is how long a first try takes at the server, by how fast its answers came.
func (x *sight) wait() time.Duration {
	rtt := time.Duration(0)
	for v := range overTCP {
		if e := &x.control[v]; e.m != nil {
			rtt = max(rtt, e.m.RTT)
		}
	}
	return max(leastTry, 4*rtt)
}

// all asks questions in all variants that work.
func (x *sight) all(ctx context.Context, r *check.Run, list []question) {
	var wg sync.WaitGroup
	for v := range overTCP {
		if !x.works(v) {
			continue
		}
		for _, q := range list {
			wg.Go(func() {
				m, err := x.insist(ctx, r, v.query(q), x.wait())
				x.keep(ctx, q, v, echo{m: m, err: err})
			})
		}
	}
	if x.works(overTCP) {
		wg.Go(func() { x.stream(ctx, r, list) })
	}
	wg.Wait()
}

// keep remembers what came of a question.
func (x *sight) keep(ctx context.Context, q question, v variant, e echo) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e.m == nil && ctx.Err() != nil {
		x.cut = true
		return
	}
	if x.said[q] == nil {
		x.said[q] = new([variants]echo)
	}
	x.said[q][v] = e
}

// stream asks questions over TCP, one after the other.
func (x *sight) stream(ctx context.Context, r *check.Run, list []question) {
	c := check.NewConversation(r, x.server)
	defer c.Close()
	for _, q := range list {
		query := overTCP.query(q)
		if x.bare {
			query = bareQuery(q)
		}
		m, err := c.Ask(ctx, query)
		x.keep(ctx, q, overTCP, echo{m: m, err: err})
	}
}

// confirm asks again what was not answered, each time behind a control question: what is lost
// for a rate limit, or on the way, is not what the server does.
func (x *sight) confirm(ctx context.Context, r *check.Run, control question, list []question) {
	if x.noWay || x.silent() {
		return
	}
	var left []*lostEcho
	for _, q := range list {
		for v := range variants {
			if x.said[q] != nil && x.said[q][v].err != nil && x.works(v) {
				left = append(left, &lostEcho{&x.said[q][v], q, v})
			}
		}
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	for v := range variants {
		// TCP knows no rate limit: what it is answered tells of UDP only where that has never been.
		if e := &x.control[v]; e.m == nil && x.beside(v) != v && (v == overTCP || x.beside(v) != overTCP || !r.AnswersUDP(x.server)) {
			wg.Go(func() { x.again(ctx, r, e, control, control, v, x.beside(v)) })
		}
	}
	// Some at the same time, and the next as long as none of them is dropped: then the server, or the way to it, loses some of everything.
	for some := range slices.Chunk(left, confirmMost) {
		for _, l := range some {
			wg.Go(func() { x.again(ctx, r, l.echo, l.q, control, l.v, l.v) })
		}
		wg.Wait()
		if ctx.Err() != nil || slices.ContainsFunc(some, func(l *lostEcho) bool { return l.echo.m == nil }) {
			return
		}
	}
}

// A lostEcho is a question that was not answered in a variant.
type lostEcho struct {
	echo *echo
	q    question
	v    variant
}

// beside returns a variant that the server answers in, for a control question, or v. Of UDP another one
// over UDP tells the most: no rate limit knows one from the other.
func (x *sight) beside(v variant) variant {
	for _, o := range []variant{overUDP, withEDNS, withDO, overTCP} {
		if o != v && x.alive(o) {
			return o
		}
	}
	return v
}

// again asks a question in a variant that was not answered, each time behind the control question
// in another or the same. It is dropped if it is never answered and the other always is, more often
// where the server, or the way to it, was seen to lose something.
func (x *sight) again(ctx context.Context, r *check.Run, e *echo, q, control question, v, beside variant) {
	silent, rounds, enough := 0, confirmRounds, confirmed
	if x.late.Load() {
		rounds, enough = confirmedLoss+confirmRounds-confirmed, confirmedLoss
	}
	for range rounds {
		if m, err := x.once(ctx, r, control, beside); m != nil && err == nil && !m.Cut() {
			if m, err = x.once(ctx, r, q, v); m != nil || errors.Is(err, check.ErrNoRoute) {
				e.m, e.err = m, err
				return
			}
			silent++
		}
		if e.dropped = silent == enough && ctx.Err() == nil; e.dropped {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(confirmPause):
		}
	}
}

func (x *sight) once(ctx context.Context, r *check.Run, q question, v variant) (*check.Reply, error) {
	if v == overTCP {
		query := v.query(q)
		if x.bare {
			query = bareQuery(q)
		}
		return r.AskServerTCP(ctx, x.server, query)
	}
	return r.AskOnce(ctx, x.server, v.query(q), min(2*x.wait(), r.Timeout()))
}

// reply returns what a resolver that asks for signatures gets from the server, or nil.
func (x *sight) reply(q question) *check.Reply {
	e := x.said[q]
	if e == nil {
		return nil
	}
	for _, v := range []variant{withDO, overTCP, withEDNS, overUDP} {
		if m := e[v].m; m != nil && m.Bad == 0 && m.Flags&wire.FlagTC == 0 {
			return m
		}
	}
	return nil
}

// withSignatures returns what the server says to whom asks for signatures, or nil.
func (x *sight) withSignatures(q question) *check.Reply {
	if e := x.said[q]; e != nil {
		if m := e[withDO].m; m != nil && m.Bad == 0 && m.Flags&wire.FlagTC == 0 {
			return m
		}
	}
	return x.overStream(q)
}

// overStream returns what the server says over TCP to whom asks for signatures, or nil.
func (x *sight) overStream(q question) *check.Reply {
	e := x.said[q]
	if e == nil || x.bare || e[overTCP].m == nil || e[overTCP].m.Bad != 0 || e[overTCP].m.Flags&wire.FlagTC != 0 {
		return nil
	}
	return e[overTCP].m
}

// replies yields what a resolver that asks for signatures may get from the server: over UDP as a
// rule, and over TCP where that is not the same.
func (x *sight) replies(q question) iter.Seq2[variant, *check.Reply] {
	return func(yield func(variant, *check.Reply) bool) {
		m, over := x.reply(q), x.overStream(q)
		if m == nil || !yield(map[bool]variant{true: overTCP, false: withDO}[m.TCP], m) {
			return
		}
		if over != nil && over != m && !alike(m, over) {
			yield(overTCP, over)
		}
	}
}

// onlyOver tells in words that what is said of a question holds over TCP alone; "" is that it does
// not, or over both.
func (x *sight) onlyOver(q question, v variant) string {
	if v == overTCP && x.reply(q) != x.overStream(q) {
		return " over TCP"
	}
	return ""
}

// alike reports whether two replies have the same records in their answers and proofs, whatever
// their order and their TTLs.
func alike(a, b *check.Reply) bool {
	return a.Rcode == b.Rcode && slices.Equal(recordsOf(a), recordsOf(b))
}

func recordsOf(m *check.Reply) []string {
	var out []string
	for _, rr := range m.Records {
		if rr.Section == wire.Answer || rr.Section == wire.Authority {
			out = append(
				out,
				string(
					wire.Lower(nil, rr.Owner),
				)+"\x00"+string(
					wire.AppendCanonical([]byte{byte(rr.Section), byte(rr.Type >> 8), byte(rr.Type)}, rr.Type, rr.Data),
				),
			)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// best reads what a resolver gets from the server.
func (x *sight) best(q question) outcome { return outcomeOf(q, x.reply(q)) }

// called names the server.
func (x *sight) called() string {
	if x.server.Name == nil {
		return x.server.Addr.Addr().String()
	}
	return wire.NameText(x.server.Name) + " (" + x.server.Addr.Addr().String() + ")"
}

// An outcome is what a reply comes to, in a form that can be compared: whatever may differ
// between two right answers is not in it.
type outcome struct {
	kind   chain.Outcome // "": there is no reply
	rcode  wire.Rcode
	zone   []byte   // of a referral
	data   []string // canonical, sorted
	ttl    uint32
	aa     bool
	proven bool // a denial has NSEC or NSEC3 records
	signed bool
}

// outcomeOf reads a reply.
func outcomeOf(q question, m *check.Reply) outcome {
	if m == nil {
		return outcome{}
	}
	f := chain.Classify(m.ToExchange(check.TraceQuestion([]byte(q.name), q.t, true)))
	o := outcome{kind: f.Outcome, rcode: m.Rcode, zone: f.Zone, aa: m.Flags&wire.FlagAA != 0, signed: f.Signed}
	if f.Outcome == chain.Referred {
		for _, ns := range f.Servers {
			o.data = append(o.data, string(wire.Lower(nil, ns)))
		}
	}
	for _, rr := range m.Records {
		switch {
		case rr.Section == wire.Authority && (rr.Type == wire.TypeNSEC || rr.Type == wire.TypeNSEC3):
			o.proven = true
		case rr.Section != wire.Answer || !wire.EqualFold(rr.Owner, []byte(q.name)):
		case rr.Type == wire.TypeCNAME && q.t != wire.TypeCNAME:
			// Where it leads, and what is there, is another name's.
			o.kind, o.data, o.ttl = chain.Alias, []string{string(wire.AppendCanonical(nil, rr.Type, rr.Data))}, rr.TTL
		case rr.Type == q.t && o.kind == chain.Answered:
			o.ttl = rr.TTL
			o.data = append(o.data, string(wire.AppendCanonical(nil, rr.Type, rr.Data)))
		}
	}
	slices.Sort(o.data)
	o.data = slices.Compact(o.data)
	return o
}

// is tells what an outcome is in words, with its data.
func (o *outcome) is(q question) string {
	switch o.kind {
	case "":
		return "no answer"
	case chain.Failed:
		return o.rcode.String()
	case chain.NXDomain:
		return "NXDOMAIN"
	case chain.NoData, chain.Empty:
		return "no such record"
	case chain.Referred:
		return "a referral to " + wire.NameText(o.zone)
	case chain.Answered, chain.Alias, chain.Malformed:
	}
	if o.kind == chain.Malformed {
		return "a malformed message"
	}
	t := q.t
	text := ""
	if o.kind == chain.Alias {
		t, text = wire.TypeCNAME, "an alias for "
	}
	const most = 4
	for i, d := range o.data {
		if i == most {
			return text + ", …"
		}
		if i > 0 {
			text += ", "
		}
		one := wire.AppendRdataText(nil, t, []byte(d))
		text += string(one[:min(len(one), 80)])
	}
	return text
}

// there reports whether the outcome is that there is something.
func (o *outcome) there() bool { return o.kind == chain.Answered || o.kind == chain.Alias }

// denied reports whether the outcome is that there is nothing.
func (o *outcome) denied() bool {
	return o.kind == chain.NXDomain || o.kind == chain.NoData || o.kind == chain.Empty
}

// same reports whether two outcomes are the same answer.
func (o *outcome) same(p *outcome) bool {
	if o.denied() && p.denied() {
		// Compact denial says of names that are not there that they have no such record (RFC 9824).
		return o.kind == p.kind || o.proven && p.proven || o.kind != chain.NXDomain && p.kind != chain.NXDomain
	}
	return o.kind == p.kind && o.rcode == p.rcode && bytes.EqualFold(o.zone, p.zone) && slices.Equal(o.data, p.data)
}

// below asks the servers of a zone for a delegation out of it, with DO alone.
func (s *survey) below(ctx context.Context, r *check.Run, list []question) {
	ctx, cancel := context.WithTimeout(ctx, surveyTime)
	defer cancel()
	var wg sync.WaitGroup
	for _, x := range s.sights {
		wg.Go(func() {
			if x.noWay = !r.HasRoute(ctx, x.server.Addr); x.noWay {
				return
			}
			for _, q := range append(list, question{string(s.zone), wire.TypeSOA}) {
				m, err := r.AskWithFallback(ctx, x.server, withDO.query(q))
				x.keep(ctx, q, withDO, echo{m: m, err: err})
			}
		})
	}
	wg.Wait()
}
