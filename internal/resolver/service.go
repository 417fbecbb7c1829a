package resolver

import (
	"bytes"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"port53/internal/cache"
	"port53/internal/why"
	"port53/internal/wire"
)

// Wants are what a client wants of an answer.
type Wants struct {
	DO    bool // signatures and proofs
	CD    bool // to validate for itself
	DNS64 bool // addresses that are made for who has IPv6 alone, if there is a DNS64
}

// A Request is a question of a client that the cache could not answer.
type Request struct {
	Name []byte // in lower case; it stays the caller's only until Ask returns
	// Written is Name with the letters that the client wrote, which servers are sent where their case is not
	// mixed ([Config.MixCase]); nil: they are sent Name. It stays the caller's only until Ask returns.
	Written []byte
	Type    wire.Type
	Wants
	Client  netip.Addr
	Cookie  bool      // the client has a valid cookie, or came over TCP: its address is not forged
	Stale   bool      // an answer that has expired is at hand, should this take long
	Waiter  Waiter    // nil: only the cache is to be refreshed
	Idle    bool      // nobody waits for it: it gives way to all for which somebody does
	Arrived time.Time // zero: now
	Config  *Config   // by which the question is answered; nil: the one applied last
}

// A Waiter is told of an answer. Its methods are called from any goroutine, and must
// not block for long. Of Answer and Drop one is called, once; Late may come before.
type Waiter interface {
	// Answer gives the answer. text explains a failure, for the Extended DNS Error.
	Answer(a *cache.Answer, text string)
	// Late says that the answer takes so long that a stale one may be given instead
	// (RFC 8767, section 5). It is called only if the request said so.
	Late()
	// Drop says that there will be no answer: too many are waiting.
	Drop()
}

// defaultStaleWait is how long a client waits before it gets a stale answer (RFC 8767,
// section 5: less than what clients wait, which is 2 s and more).
const defaultStaleWait = 1800 * time.Millisecond

// waiting is who waits for answers, so that overload ends with the oldest of those
// whose address may be forged.
type waiting struct {
	mu      sync.Mutex
	asked   map[inquiryKey]*inquiry
	clients map[netip.Prefix]int
	forged  waiters // without a cookie, the oldest first
	due     waiters // all, in the order in which they are to have an answer
	clock   *time.Timer
	total   int
	working int // inquiries
}

func (w *waiting) init() {
	w.asked, w.clients = make(map[inquiryKey]*inquiry), make(map[netip.Prefix]int)
	w.due.list = 1
}

type inquiryKey struct {
	question
	view  uint8 // the partition of the cache: others know nothing of it
	wants Wants
	w     cache.Writer // what is asked after a flush does not join what was asked before
}

// An inquiry is a question with all who wait for its answer.
type inquiry struct {
	key     inquiryKey
	config  *Config
	waiters []*waiter
	refresh bool // nobody waits: the cache is to have it again
	stale   bool // whoever asked first can have a stale answer
	begun   time.Time
	journal atomic.Pointer[journal] // of who works on it; nil: of nobody, or nothing is remembered
	told    bool                    // by the journal's lock: what was done until somebody had to be answered is remembered
	written string                  // the name as whoever asked first wrote it; "": it does not matter
	brief   bool                    // it ends when whoever asked first has been told that there is no answer
	answer  *cache.Answer           // once it is known, by the lock of waiting: what is left is to look up servers to judge it by
	text    string                  // of the answer
	judged  bool                    // and nobody who waits wants to know more: who joins now is too late to be judged
}

type waiter struct {
	Waiter
	client netip.Prefix
	cookie bool
	gone   bool
	late   *time.Timer
	in     *inquiry
	reply  time.Time // when it gets SERVFAIL, if there is nothing better
	links  [2]links  // by waiters.list
}

type links struct{ prev, next *waiter }

// waiters is a list of waiters, by when they came. A list of their own costs no memory beside
// them.
type waiters struct {
	first, last *waiter
	list        int // which of a waiter's links
}

func (l *waiters) push(w *waiter) {
	if at := &w.links[l.list]; l.last == nil {
		l.first = w
	} else {
		at.prev = l.last
		l.last.links[l.list].next = w
	}
	l.last = w
}

func (l *waiters) remove(w *waiter) {
	at := &w.links[l.list]
	if at.prev == nil {
		l.first = at.next
	} else {
		at.prev.links[l.list].next = at.next
	}
	if at.next == nil {
		l.last = at.prev
	} else {
		at.next.links[l.list].prev = at.prev
	}
	*at = links{}
}

// network is who shares the quota of waiting questions. Programs of this machine
// have none: nobody else can send from its loopback addresses.
func network(a netip.Addr) netip.Prefix {
	bits := 32
	switch {
	case !a.IsValid() || a.IsLoopback():
		return netip.Prefix{}
	case a.Is6():
		bits = 56 // what one site gets (RFC 6177)
	}
	p, _ := a.Prefix(bits)
	return p
}

// Ask finds the answer to q and tells its waiter. It does not block. If too many are
// waiting already, the waiter is dropped, or somebody else's who has waited longer.
func (r *Resolver) Ask(q *Request) {
	config := q.Config
	if config == nil {
		config = r.configs[0].Load()
	}
	key := inquiryKey{question{string(q.Name), q.Type}, config.Partition, q.Wants, r.cache.Writer()}
	w := &r.waiting
	w.mu.Lock()
	limits := &config.Limits
	in := w.asked[key]
	begin := in == nil
	var me, victim *waiter
	var list []*waiter
	if !begin {
		me = &waiter{}
	} else { // in one piece: most have one who waits
		first := &struct {
			in   inquiry
			me   waiter
			list [1]*waiter
		}{}
		in, me, list = &first.in, &first.me, first.list[:0]
	}
	if q.Idle && (!begin || w.total >= limits.Waiting/2) {
		w.mu.Unlock()
		return
	}
	if q.Waiter != nil {
		var room bool
		if victim, room = w.enter(me, q, config); !room {
			w.mu.Unlock()
			r.counters.Shed.Add(1)
			me.Drop()
			return
		}
	} else if me = nil; w.total >= limits.Waiting/2 || !begin {
		w.mu.Unlock() // refreshing can wait
		return
	}
	if begin {
		// Where many are at work already, none goes on when nobody waits any more.
		crowded := w.working >= limits.Waiting/2
		in.key, in.config, in.waiters, in.begun = key, config, list, time.Now()
		in.refresh, in.stale, in.brief = me == nil, q.Stale, crowded
		if !config.MixCase && !bytes.Equal(q.Written, q.Name) {
			in.written = string(q.Written)
		}
		w.asked[key] = in
		w.working++
	}
	if me != nil {
		r.wait(in, me, q, config)
	}
	known := in.answer != nil
	w.mu.Unlock()
	if victim != nil {
		r.counters.Shed.Add(1)
		victim.Drop()
	}
	r.counters.Questions.Add(1)
	if !begin {
		r.counters.Joined.Add(1)
		if known && me != nil {
			r.work.Add(1)
			go r.joinAnswered(in, me) // the caller is not ready for an answer yet
		}
		return
	}
	r.begin(in)
}

// begin has somebody work on an inquiry.
func (r *Resolver) begin(in *inquiry) {
	r.work.Add(1)
	select {
	case r.inquiries <- in: // somebody waits for work, whose stack has grown already
	default:
		go r.inquirer(in)
	}
}

// wait makes me one of those who wait for the answer of in. The lock is held.
func (r *Resolver) wait(in *inquiry, me *waiter, q *Request, config *Config) {
	arrived := q.Arrived
	if arrived.IsZero() {
		arrived = time.Now()
	}
	me.reply, me.in = arrived.Add(config.Limits.Reply), in
	due := &r.waiting.due
	if due.push(me); due.first == me {
		r.wind(config.Limits.Reply)
	}
	if in.answer == nil { // else joinAnswered sees to it
		in.waiters = append(in.waiters, me)
	}
	if q.Stale {
		me.late = time.AfterFunc(config.StaleWait, me.Late)
	}
}

// maxIdle is how many goroutines wait for the next question. Each has a stack of some
// 16 KiB; a new one's grows to that by being copied again and again, which is a tenth of
// what a question costs.
const maxIdle = 256

// inquirer finds answers, one after the other, until there is nothing to do and enough
// others wait.
func (r *Resolver) inquirer(in *inquiry) {
	for {
		r.inquire(in)
		if r.idle.Add(1) > maxIdle {
			r.idle.Add(-1)
			return
		}
		select {
		case in = <-r.inquiries:
			r.idle.Add(-1)
		case <-r.ctx.Done():
			return
		}
	}
}

// enter makes me who asks, and counts it if there is room. The one who goes for that, if there
// is one, is the caller's to tell. The lock is held.
func (w *waiting) enter(me *waiter, q *Request, config *Config) (victim *waiter, room bool) {
	limits := &config.Limits
	*me = waiter{Waiter: q.Waiter, client: network(q.Client), cookie: q.Cookie}
	if q.Idle {
		me.client = netip.Prefix{} // none of those it may wait for
	}
	most := limits.PerClient
	if q.Cookie || slices.ContainsFunc(config.Shared, func(n netip.Prefix) bool { return n.Contains(q.Client.Unmap()) }) {
		most = limits.PerCookie
	}
	if me.client.IsValid() && w.clients[me.client] >= most {
		return nil, false
	}
	if w.total >= limits.Waiting {
		victim = w.forged.first
		if victim == nil {
			return nil, false
		}
		w.leave(victim)
	}
	w.total++
	if me.client.IsValid() {
		w.clients[me.client]++
	}
	if !me.cookie {
		w.forged.push(me)
	}
	return victim, true
}

// leave takes a waiter out of the count. The lock is held.
func (w *waiting) leave(me *waiter) {
	if me.gone {
		return
	}
	me.gone = true
	w.total--
	w.due.remove(me)
	if !me.cookie {
		w.forged.remove(me)
	}
	if me.late != nil {
		me.late.Stop()
	}
	if me.client.IsValid() {
		if n := w.clients[me.client] - 1; n > 0 {
			w.clients[me.client] = n
		} else {
			delete(w.clients, me.client)
		}
	}
}

// wind sets the clock that calls overdue. The lock is held.
func (r *Resolver) wind(d time.Duration) {
	if r.waiting.clock == nil {
		r.waiting.clock = time.AfterFunc(d, r.overdue)
		return
	}
	r.waiting.clock.Reset(d)
}

// overdue tells those who have waited for long that there is no answer. The work on it goes
// on: whoever asks again finds it done, or joins.
func (r *Resolver) overdue() {
	w := &r.waiting
	var late []*waiter
	w.mu.Lock()
	now := time.Now()
	for w.due.first != nil && !w.due.first.reply.After(now) {
		late = append(late, w.due.first)
		w.leave(w.due.first)
	}
	if w.due.first != nil {
		r.wind(time.Until(w.due.first.reply))
	}
	w.mu.Unlock()
	for _, me := range late {
		r.rememberSoFar(me.in)
		me.Answer(&cache.Answer{Rcode: wire.ServFail, EDE: wire.EDENoReachableAuthority}, "no answer in time")
	}
}

// inquire finds an answer and gives it to all who wait.
func (r *Resolver) inquire(in *inquiry) {
	defer r.work.Done()
	a, text := r.resolve(in.config, in.key.name, in.key.typ, in.key.wants, in.refresh, in.stale, in.brief, in, nil)
	r.end(in, a, text)
}

// end gives the answer of an inquiry to all who wait for it.
func (r *Resolver) end(in *inquiry, a *cache.Answer, text string) {
	w := &r.waiting
	w.mu.Lock()
	w.working--
	if w.asked[in.key] == in { // else another one has begun after this one was judged
		delete(w.asked, in.key)
	}
	waiters := in.waiters
	kept := waiters[:0]
	for _, me := range waiters {
		if !me.gone {
			w.leave(me)
			kept = append(kept, me)
		}
	}
	w.mu.Unlock()
	for _, me := range kept {
		me.Answer(a, text)
	}
}

// resolve finds the answer to one question and puts it into the cache.
func (r *Resolver) resolve(
	c *Config,
	asked string,
	typ wire.Type,
	wants Wants,
	refresh, stale, brief bool,
	of *inquiry, // nil: no client asks
	trace *Trace,
) (*cache.Answer, string) {
	name := []byte(asked)
	t := r.task(c)
	t.asked = asked
	defer t.release()
	if brief {
		t.own.deadline = t.own.reply
	}
	if of != nil {
		t.written = of.written
		t.remembers(of)
	}
	t.validate, t.refresh, t.stale, t.trace = t.s.Validate && !wants.CD, refresh, stale, trace
	if refresh {
		if hit, ok := r.cache.Answer(c.Key(name, typ, wants), t.unix(), nil); ok && !hit.Stale {
			t.ahead = int64(hit.TTL)
		}
	}
	res := t.answer(name, typ, wants)
	if !wants.CD {
		t.sentinel(name, typ, res)
		d := r.watchClock(c, res)
		if d.text != "" {
			t.note(&why.Step{Kind: why.Clock, Text: d.text, EDE: edeNone})
		}
		if res.sec == secBogus && c.timeName(name, typ) && (d.wrong || r.doubtClock(c).wrong) {
			res = r.unvalidatedAnswer(c, name, typ)
			t.keepWay(name, typ, res)
			return res.finish(name, typ, wants.DO), res.text
		}
	}
	t.keepWay(name, typ, res)
	a := res.finish(name, typ, wants.DO)
	now := t.unix()
	key := c.Key(name, typ, wants)
	if res.rcode == wire.ServFail {
		r.counters.Failed.Add(1)
		r.counters.Failures[min(max(res.ede, edeNone), maxEDE)+1].Add(1)
		if t.agent != nil && !res.passing {
			r.report(c, name, typ, res.ede, t.agent)
		}
		if !res.passing && !refresh && r.ctx.Err() == nil {
			t.w.PutFailure(key, int16(res.ede), now)
		}
		if refresh {
			time.AfterFunc(refreshPause, func() { r.cache.RetryPrefetch(key) })
		}
		return a, res.text
	}
	a.Stored = now
	if typ != wire.TypeANY && !res.detour {
		t.w.PutAnswer(key, a, now)
	}
	if of != nil && !refresh {
		t.judged(of, a, res.text)
	}
	return a, res.text
}

// refreshPause is how long after an answer could not be transferred again that is tried again, if
// somebody asks for it (RFC 9520, section 3.2).
const refreshPause = 5 * time.Second

// variant returns what tells the answers to one name and type apart: with or without
// signatures, validated or not.
func variant(do, cd bool) uint8 {
	v := uint8(0)
	if do {
		v |= 1
	}
	if cd {
		v |= 2
	}
	return v
}

// Key returns the key of the cache's answer to a question. name is in lower case.
func (s *Config) Key(name []byte, typ wire.Type, wants Wants) cache.Key {
	return cache.MakeKey(name, typ, variant(wants.DO, wants.CD), s.answers(typ, wants))
}

// recentFailure reports whether the question failed just now, for those who waited for
// another to ask it.
func (r *Resolver) recentFailure(c *Config, name []byte, typ wire.Type, now int64) (ede int, text string, failed bool) {
	for _, do := range [...]bool{false, true} {
		if e, ok := r.cache.Failure(c.Key(name, typ, Wants{DO: do}), now); ok {
			return e, "the same query failed shortly before (cached error)", true
		}
	}
	return edeNone, "", false
}

// Explain resolves a question again, past the finished answers of the cache, and
// returns the answer with the way to it.
func (r *Resolver) Explain(name []byte, typ wire.Type, do, cd bool) (*cache.Answer, string, *Trace) {
	return r.ExplainBy(r.configs[0].Load(), name, typ, do, cd)
}

// ExplainBy is Explain by one of the configurations that were applied.
func (r *Resolver) ExplainBy(c *Config, name []byte, typ wire.Type, do, cd bool) (*cache.Answer, string, *Trace) {
	tr := NewTrace()
	a, text := r.resolve(c, string(wire.Lower(nil, name)), typ, Wants{DO: do, CD: cd}, false, false, false, nil, tr)
	return a, text, tr
}

// Flush forgets what is known of a name, or of all at and below it, or with the
// root's name and tree everything.
func (r *Resolver) Flush(name []byte, tree bool) {
	name = wire.Lower(nil, name)
	switch {
	case tree && len(name) == 1:
		r.cache.FlushAll()
	case tree:
		r.cache.FlushTree(name)
	default:
		r.cache.Flush(name)
	}
	for i := range r.trusts {
		r.spans[i].drop(name)
		r.trusts[i].drop(name)
	}
}

// FlushPartition forgets all that is known of a partition.
func (r *Resolver) FlushPartition(partition uint8) {
	r.cache.FlushView(partition)
	r.spans[partition].clear()
	r.trusts[partition].clear()
}
