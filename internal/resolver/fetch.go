package resolver

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"port53/internal/cache"
	"port53/internal/dnssec"
	"port53/internal/upstream"
	"port53/internal/why"
	"port53/internal/wire"
)

// A question is a name in lower case and a type.
type question struct {
	name string
	typ  wire.Type
}

// A task is the work for one client question, or for one that the resolver asks
// itself. It is done by one goroutine.
type task struct {
	r        *Resolver
	s        *Config
	w        cache.Writer // revoked, if s counts no more
	b        *budget
	validate bool // false: checking disabled (RFC 4035, section 3.2.2)
	refresh  bool // what is asked for is to be new, whatever the cache has
	priming  bool
	noRoute  bool   // the forwarders did not answer, iteration may
	agent    []byte // whom the zone wants told of failures
	trace    *Trace
	waits    *flight // of another task

	wording
	path
	aged
	scratch
}

// A wording is the name of the client's question.
type wording struct {
	asked   string // in lower case
	written string // as the client wrote it; "": as asked, or it does not matter
}

// An aged is what a task has to do with data that has expired, or will soon (RFC 8767).
type aged struct {
	stale   bool // who waits has such an answer, should there be none
	expired bool // nobody is asked: what the cache has is good, however old it is
	old     bool // some of what was found has expired

	ahead int64 // seconds until what the cache has expires: no delegation counts that ends by then
}

// A path is how far a task has gone from its question, and whom it has met.
type path struct {
	depth    int
	stack    []question    // being fetched, the outermost first
	descents int           // names that servers were asked for
	partial  int           // questions for parts of names that led to no delegation
	avoid    []lameKey     // servers whose answer did not validate
	brief    time.Duration // for which servers are waited for at most, since there is an answer already; 0: it does not matter
	above    []string      // name servers whose addresses the zone above was asked for

	found   int // names that were looked up for the servers of zones (see findServers)
	unfound int // of these in vain

	beside []*wire.RRset // NSEC and NSEC3 records that came with the last alias, not verified
}

// A scratch is the memory of a task, which the next one takes over.
type scratch struct {
	own      budget
	entry    cache.Entry
	readings []*reading
	journal  *journal          // nil: there was none yet
	noting   bool              // steps are noted in it
	begun    time.Time         // when the task began
	used     int               // of readings
	out      upstream.Question // that is with a server
}

// The states of validation, as the cache keeps them.
const (
	secUnchecked = cache.Unchecked
	secInsecure  = cache.Insecure
	secSecure    = cache.Secure
	secBogus     = cache.Bogus
)

// A link is what is known of one name and type: records, an alias, that there are
// none, or why nothing is known.
//
// In one piece: it has a field for each thing that can be known.
type link struct {
	kind      int            // foundNothing: see fail
	set       *wire.RRset    // the answer or the alias
	dname     *wire.RRset    // what the alias was made from
	all       []*wire.RRset  // for type ANY
	target    []byte         // of an alias
	proof     []*wire.RRset  // SOA, NSEC, NSEC3; if it is secure, those that were verified
	denier    []byte         // the zone that signed the proof of a secure denial which was validated just now
	sec       cache.Security // of all of it together
	reason    int            // EDE of what is bogus, or of a note such as insecure by policy; edeNone
	zone      []byte         // whose servers said it, or would
	partition cache.Partition
	fail      *failure
	making
}

// A making is how a link came about.
type making struct {
	server netip.AddrPort // that said it just now
	wild   bool           // set was made from a wildcard: it is nothing without its proof
	synth  bool           // made from proofs of other names
	detour bool           // found by iteration, where the operator has forwarders for the name
}

// rename returns the DNAME set that a link comes from, or nil.
func (l *link) rename() *wire.RRset {
	if l.kind == foundTooLong {
		return l.set
	}
	return l.dname
}

// unix returns the cache's time, in seconds since 1970, when the task last looked at the clock.
func (t *task) unix() int64 { return t.b.unix }

// look looks at the clock. Whatever waits does so afterwards.
func (t *task) look() {
	t.b.at = time.Now()
	t.b.unix = t.r.cache.At(t.b.at)
}

// reading returns memory to read a reply into. It lasts as long as the task.
func (m *scratch) reading() *reading {
	if m.used == len(m.readings) {
		m.readings = append(m.readings, &reading{})
	}
	m.used++
	return m.readings[m.used-1]
}

// tasks are used again: most questions take one reply, and its memory is larger than
// all else.
var tasks = sync.Pool{New: func() any { return &task{} }}

// maxReadings is how many replies' memory a task keeps.
const maxReadings = 4

// task returns a task for one question. Whoever takes it gives it back with release.
func (r *Resolver) task(s *Config) *task {
	t, w := tasks.Get().(*task), r.cache.Writer()
	if r.configs[s.Partition].Load() != s {
		// What is learned by a configuration that a reload has replaced is not kept. If the
		// reload comes after this look, it revokes the writer.
		w = r.cache.NoWriter()
	}
	*t = task{
		r: r, s: s, w: w, path: path{stack: t.stack[:0]},
		scratch: scratch{
			own: newBudget(&s.Limits, time.Now()), entry: t.entry, journal: t.journal,
			readings: t.readings[:min(len(t.readings), maxReadings)],
		},
	}
	t.b, t.begun = &t.own, t.own.at
	t.b.unix = r.cache.At(t.own.at)
	return t
}

func (t *task) release() {
	t.forgets()
	tasks.Put(t)
}

// busy reports whether a question is being asked already by this task: to ask it again
// would be a circle (TsuNAME).
func (t *task) busy(name []byte, typ wire.Type) bool {
	for i := range t.stack {
		if t.stack[i].typ == typ && t.stack[i].name == string(name) {
			return true
		}
	}
	return false
}

// below looks a name up for the sake of another question.
func (t *task) below(name []byte, typ wire.Type) *link {
	t.depth++
	defer func() { t.depth-- }()
	if t.depth > t.s.Limits.Depth {
		fail := &failure{ede: wire.EDEOther, text: "limit of depth reached", now: true, cause: why.LimitDepth}
		t.noteFailure(nil, name, typ, fail)
		return &link{fail: fail, reason: edeNone}
	}
	return t.lookup(name, typ)
}

// lookup returns what is known of name and typ: from the cache if it is there and
// good enough, or else from servers. name is in lower case.
func (t *task) lookup(name []byte, typ wire.Type) *link {
	_, partition := t.place(name, typ)
	if t.expired {
		if l := t.cached(partition, name, typ); l != nil {
			return l
		}
		return &link{fail: &failure{ede: wire.EDEOther, text: "it is not in the cache", now: true}, reason: edeNone}
	}
	if !t.refresh || len(t.stack) > 0 {
		if l := t.cached(partition, name, typ); l != nil {
			t.trace.fromCache(l, name, typ)
			return l
		}
	}
	return t.fetch(name, typ)
}

// place returns the route of a name, and the partition of the cache that what is
// known of it lies in.
func (t *task) place(name []byte, typ wire.Type) (*Route, cache.Partition) {
	return t.s.placed(name, typ, t.noRoute)
}

// place is that of a task that has not gone past the forwarders.
func (s *Config) place(name []byte, typ wire.Type) (*Route, cache.Partition) {
	return s.placed(name, typ, false)
}

// placed is place, past the forwarders if noRoute is set.
func (s *Config) placed(name []byte, typ wire.Type, noRoute bool) (*Route, cache.Partition) {
	route, index := s.route(dnssec.ParentSide(name, typ))
	if noRoute {
		route, index = nil, routeIteration
	}
	if s.Local != nil {
		if apex := s.Local.Apex(name, typ); apex != nil && (route == nil || len(apex) >= len(route.Zone)) {
			return nil, s.part(routeLocal)
		}
	}
	return route, s.part(index)
}

// fetch asks servers, joined with whoever asks the same at this moment.
func (t *task) fetch(name []byte, typ wire.Type) *link {
	key := flightKey{question: question{t.text(name), typ}, validate: t.validate, direct: t.noRoute, view: t.s.Partition, w: t.w}
	f, mine := t.r.flights.join(t, key)
	if !mine {
		if f == nil {
			return t.iterate(name, typ) // waiting would be a circle
		}
		if l := t.await(f, name, typ); l != nil {
			return l
		}
		return t.iterate(name, typ)
	}
	l := t.iterate(name, typ)
	t.r.flights.done(key, f)
	return l
}

// text returns a name as a string. Most are the one that the client asked for.
func (t *task) text(name []byte) string {
	if string(name) == t.asked {
		return t.asked
	}
	return string(name)
}

// waitFor waits until a flight has landed, and is false if the time was up before.
func (t *task) waitFor(f *flight) bool {
	timer := time.NewTimer(t.b.left())
	defer timer.Stop()
	defer t.look()
	defer t.r.flights.stopWaiting(t)
	select {
	case <-f.done:
		return true
	case <-timer.C:
	case <-t.r.ctx.Done():
	}
	return false
}

// await waits for another task to have asked, and takes what it left in the cache.
func (t *task) await(f *flight, name []byte, typ wire.Type) *link {
	if !t.waitFor(f) {
		fail := t.spent(&failure{text: "another question waits for the same"})
		t.noteFailure(nil, name, typ, fail)
		return &link{reason: edeNone, fail: fail}
	}
	_, partition := t.place(name, typ)
	if l := t.cached(partition, name, typ); l != nil {
		return l
	}
	if ede, text, failed := t.r.recentFailure(t.s, name, typ, t.unix()); failed {
		fail := &failure{ede: ede, text: text, now: true, cause: why.FailedBefore}
		t.noteFailure(nil, name, typ, fail)
		return &link{reason: edeNone, fail: fail}
	}
	return nil
}

// iterate finds what servers have for name and typ, from the closest known cut
// down.
func (t *task) iterate(name []byte, typ wire.Type) *link {
	t.stack = append(t.stack, question{t.text(name), typ})
	defer func() { t.stack = t.stack[:len(t.stack)-1] }()
	c := t.cutAbove(name, typ)
	l, fail := t.descend(c, name, typ)
	bogus := fail == nil && l.sec == secBogus && l.reason != edePassing
	switch {
	case fail == nil && !bogus:
		return l
	case fail != nil && fail.now:
	case fail != nil && c.route != nil && c.route.First && !t.stale && !t.noRoute:
		return t.detour(name, typ)
	case c.stored != 0 && t.unix()-c.stored > minCutAge:
		// Servers move, and one forged referral must not outlast the failure that it makes
		// (RFC 4035, section 4.7): the parents may know better by now.
		t.dropCut(c)
		if bogus {
			t.dropCutsAbove(c)
		}
		if l, again := t.descend(t.cutAbove(name, typ), name, typ); again == nil {
			return l
		}
	}
	if bogus {
		return l
	}
	return &link{fail: fail, reason: edeNone, zone: c.zone, partition: c.partition}
}

// detour iterates what forwarders did not answer. A client that can have a stale answer gets
// that instead.
func (t *task) detour(name []byte, typ wire.Type) *link {
	t.noRoute = true
	defer func() { t.noRoute = false }()
	l := t.cached(t.s.part(routeIteration), name, typ)
	if l == nil {
		l = t.iterate(name, typ)
	}
	l.detour = true
	return l
}

// minCutAge is how old a delegation must be, in seconds, for the parent to be asked
// again when its servers fail, or what they say does not validate.
const minCutAge = bogusTTL

// descend follows referrals from c down to an answer.
func (t *task) descend(c *cut, name []byte, typ wire.Type) (*link, *failure) {
	show := minimiser{mode: t.s.Minimise, name: name, typ: typ}
	var doubtful *link // an answer that did not validate, while others are asked
	avoided := len(t.avoid)
	defer func() { t.avoid = t.avoid[:avoided] }()
	first := t.descents == 0
	t.descents++
	for range maxReferrals {
		if !first && t.partial >= maxPartial {
			show.all()
		}
		if t.s.except.ofZone(c.zone).Minimise {
			show.all()
		}
		asked, askedType := show.next(c)
		whole := len(asked) == len(name) && askedType == typ
		if !whole && t.knownPart(c, &show, asked) {
			continue
		}
		f, fail := t.ask(c, asked, askedType, whole)
		if fail != nil && doubtful != nil {
			return doubtful, nil
		}
		if fail == nil && whole && doubtful == nil {
			f = t.seconded(f, c, name, typ)
		}
		if fail != nil {
			if fail.child && show.mode == Off && len(c.zone) < len(wire.Parent(name)) {
				show.mode = Relaxed // they have the zone below too, and the one between is found step by step
				continue
			}
			if whole || fail.now || show.mode == Strict {
				t.noteFailure(c.zone, name, typ, fail)
				return nil, fail
			}
			show.all() // servers that stumble over a part of the name may know the whole (RFC 9156, section 2.3)
			t.partial++
			continue
		}
		switch {
		case f.kind == foundReferral:
			t.delegate(f)
			c = f.child
			continue
		case whole, f.kind == foundNXDomain && show.mode == Strict: // nothing is below a name that does not exist (RFC 8020)
			l := t.learn(f, name, typ)
			if l.sec != secBogus || l.reason == edePassing || c.local || len(t.avoid)-avoided >= maxDoubts {
				return l, nil
			}
			doubtful = l
			t.avoid = append(t.avoid, lameKey{f.server, t.hash(c.zone)}) // one server may be stale or worse, and another right
			continue
		case f.kind == foundNXDomain:
			show.all()
		case f.kind == foundAlias && f.dname != nil:
			show.all()
		}
		show.shown = len(asked)
		t.partial++
		t.keepPart(f, asked)
	}
	fail := &failure{ede: wire.EDEOther, text: "too many referrals", cause: why.ReferralChain}
	t.noteFailure(c.zone, name, typ, fail)
	return nil, fail
}

// secondTime is how long a second server is waited for where there is an answer already.
const secondTime = 500 * time.Millisecond

// seconded asks another server where one has left out the signatures that a secure zone has: it
// may have lost them, and the other not. If that one has them, or knows of a zone in between, it
// counts. Else the first answer does, which may be of a zone that nobody told of: that is looked for
// next, and costs more.
func (t *task) seconded(f *finding, c *cut, name []byte, typ wire.Type) *finding {
	at := dnssec.ParentSide(name, typ)
	anchor := t.anchorOf(at)
	switch {
	case !t.validate || !t.s.Validate || c.local || typ == wire.TypeRRSIG || f.signed():
		return f
	case f.kind == foundReferral || f.kind == foundNothing:
		return f
	case anchor == nil || t.negativeTrust(name):
		return f
	}
	zone := c.zone
	switch {
	case len(zone) > len(at):
		zone = at
	case len(zone) < len(anchor):
		zone = anchor
	}
	if t.trustOf(zone).sec != secSecure {
		return f
	}
	now := time.Now()
	for n := at; len(n) > len(zone); n = wire.Parent(n) {
		if tr := t.trusts().get(n, now); tr != nil && tr.cut {
			return f // a zone in between is known, and judged by
		}
	}
	t.avoid = append(t.avoid, lameKey{f.server, t.hash(c.zone)})
	t.brief = secondTime
	g, fail := t.ask(c, name, typ, true)
	t.brief = 0
	t.avoid = t.avoid[:len(t.avoid)-1]
	if fail == nil && (g.signed() || g.kind == foundReferral) {
		return g
	}
	return f
}

// signed reports whether what was found has any signature.
func (f *finding) signed() bool {
	has := func(s *wire.RRset) bool { return s != nil && len(s.Sigs) > 0 }
	return has(f.set) || has(f.dname) || slices.ContainsFunc(f.all, has) || slices.ContainsFunc(f.proof, has)
}

// knownPart reports whether it is known of a part of a name that there is no delegation at it,
// since it was asked for lately, and has the minimiser go on behind it.
func (t *task) knownPart(c *cut, show *minimiser, part []byte) bool {
	now, e := t.unix(), &t.entry
	switch {
	case t.refresh:
		return false
	case t.r.cache.RRset(c.partition, part, wire.TypeA, now, e) && !e.Stale:
		show.shown = len(part)
		return true
	case show.mode != Strict && t.r.cache.Denial(c.partition, part, now, e) && !e.Stale:
		show.all()
		return true
	}
	return false
}

// keepPart keeps that a part of a name has no address, or does not exist: the names beside and
// below it are often asked for as well (RFC 9156, section 4). It is validated before it is an
// answer to anybody.
func (t *task) keepPart(f *finding, part []byte) {
	if f.kind != foundNoData && f.kind != foundNXDomain {
		return
	}
	l := &link{kind: f.kind, proof: f.proof, sec: secUnchecked, reason: edeNone, zone: f.zone.zone, partition: f.zone.partition}
	t.keep(l, part, wire.TypeA)
}

// delegate keeps what a referral tells: the servers of the child, and whether the
// parent says that it is signed. No delegation outlives that of the zone which made
// it: else one that was withdrawn could live on below itself (Phoenix domains, 2022;
// CVE-2022-30698). The root's servers are nobody's to withdraw.
func (t *task) delegate(f *finding) {
	ttl := f.ttl
	if up := f.zone; up.expires > 0 && len(up.zone) > 1 {
		ttl = uint32(min(int64(ttl), max(up.expires-t.unix(), 0)))
	}
	t.keepCut(f.child, ttl)
	switch {
	case f.ds != nil:
		t.keepSet(f.child.partition, f.ds, cache.NonAuth, secUnchecked)
	case len(f.proof) > 0 && t.s.Validate:
		l := &link{kind: foundNoData, proof: f.proof, sec: secUnchecked, zone: f.zone.zone, partition: f.child.partition, reason: edeNone}
		t.keepNegative(l, f.child.zone, wire.TypeDS, min(f.ttl, smallest(f.proof)))
	}
}

// learn makes a link of what servers said, validates it if that is wanted, and puts
// it into the cache.
func (t *task) learn(f *finding, name []byte, typ wire.Type) *link {
	l := &link{
		kind: f.kind, set: f.set, dname: f.dname, all: f.all, target: f.target, proof: f.proof,
		sec: secUnchecked, reason: edeNone, zone: f.zone.zone, partition: f.zone.partition, making: making{server: f.server},
	}
	if f.kind == foundAlias {
		t.beside = f.proof
	}
	signed := f.set != nil && len(f.set.Sigs) > 0 || f.dname != nil && len(f.dname.Sigs) > 0
	for _, s := range f.chain {
		if !dnssec.FromWildcard(s) && (len(s.Sigs) > 0 || !signed) { // what lost its signatures is asked for by its own name
			t.keepSet(l.partition, s, cache.AuthAnswer, secUnchecked)
		}
	}
	switch {
	case t.validate && t.s.Validate:
		t.check(l, name, typ)
	case l.set != nil && l.dname == nil:
		l.wild = dnssec.FromWildcard(l.set) // whoever validates himself needs the proof as well
	}
	t.keep(l, name, typ)
	return l
}

// smallest returns the smallest TTL of sets.
func smallest(sets []*wire.RRset) uint32 {
	ttl := uint32(maxDelegationTTL)
	for _, s := range sets {
		ttl = min(ttl, s.TTL)
	}
	return ttl
}

// A minimiser chooses how much of a name the servers of a zone are shown, and by
// what type they are asked for the part (RFC 9156, section 2.3).
type minimiser struct {
	mode  Minimisation
	name  []byte
	typ   wire.Type
	shown int // octets of the longest part that was asked for
	steps int
	whole bool
}

func (m *minimiser) all() { m.whole = true }

// next returns the question for the servers of c.
func (m *minimiser) next(c *cut) ([]byte, wire.Type) {
	at := max(len(c.zone), m.shown)
	if m.whole || m.mode == Off || c.local || c.route != nil && c.route.Forward || at >= len(m.name) {
		return m.name, m.typ
	}
	left := labelsBefore(m.name, len(m.name)-at) // labels that are not shown yet
	m.steps++
	one := 1
	switch {
	case m.steps > maxMinimised:
		one = left
	case m.steps > minimisedOne:
		one = max(1, left/max(maxMinimised-m.steps+1, 1))
	}
	if one >= left {
		return m.name, m.typ
	}
	part := m.name
	for range left - one {
		part = wire.Parent(part)
	}
	if part[1] == '_' {
		// Such labels are no zones; all of them are shown together (RFC 9156,
		// section 2.3).
		joined := m.name
		for rest := m.name; len(rest) > len(part); rest = wire.Parent(rest) {
			if rest[1] != '_' {
				joined = wire.Parent(rest)
			}
		}
		if part = joined; len(part) == len(m.name) {
			return m.name, m.typ
		}
	}
	return part, wire.TypeA
}

// labelsBefore returns the number of labels in the first n octets of name.
func labelsBefore(name []byte, n int) int {
	labels := 0
	for i := 0; i < n; i += int(name[i]) + 1 {
		labels++
	}
	return labels
}
