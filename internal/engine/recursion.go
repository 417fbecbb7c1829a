package engine

import (
	"bytes"
	"sync"
	"sync/atomic"
	"time"

	"port53/internal/cache"
	"port53/internal/event"
	"port53/internal/hosts"
	"port53/internal/policy"
	"port53/internal/resolver"
	"port53/internal/server"
	"port53/internal/telemetry"
	"port53/internal/tsig"
	"port53/internal/wire"
)

// recurse answers for a name that is not in our zones: from names that are built in,
// from the cache, or later. allowed reports whether the client may have that.
func (w *worker) recurse(r *Recursion, allowed bool) int {
	q := &w.query
	if !allowed {
		return w.failing(event.NoRecursion, wire.Refused, wire.EDEProhibited)
	}
	if q.Flags&wire.FlagRD == 0 {
		// What the cache holds is nobody's business (cache snooping).
		return w.failing(event.CacheOnly, wire.Refused, wire.EDEProhibited)
	}
	w.recursive = true
	w.builder.SetFlags(q.Flags & wire.FlagCD) // RFC 4035, section 3.2.2
	switch {
	case q.Type == wire.TypeOPT:
		return w.failing(event.FormatError, wire.FormErr, wire.EDEInvalidType)
	case q.Type > wire.TypeNXNAME && q.Type < wire.TypeANY: // nobody has such records (RFC 6895, section 3.1)
		return w.failing(event.NotSupported, wire.NotImp, -1)
	}
	if w.asksInfo() {
		w.tell(FromBuiltin, w.gen.Discovery.Name)
		return w.info(r)
	}
	if entry := w.builtIn(r); entry != nil {
		return w.builtin(r, entry)
	}
	if w.unqualified(r) {
		return w.answerHost(hosts.Match{Owner: q.Name.Len(), Denied: true})
	}
	if w.source != nil {
		if w.judge(r, nil, false) {
			return w.block(r)
		}
		if w.judgeRPZ(r, false) {
			return w.rewrite(r)
		}
		w.source.Kind = FromResolver
		return 0
	}
	key := w.cacheKey()
	now := w.cacheTime(r.Cache)
	w.expect()
	hit, ok := r.Cache.Answer(key, now, w.builder.Rest())
	if ok && !hit.Stale {
		w.record.CacheLookup(telemetry.LookupHit)
		if hit.Prefetch && r.Prefetch {
			req := w.request()
			r.Resolver.Ask(&req)
		}
		return w.cached(&hit)
	}
	if w.judge(r, nil, false) { // before anybody is asked for it
		return w.block(r)
	}
	if w.judgeRPZ(r, false) {
		return w.rewrite(r)
	}
	if s := w.engine.stops; s != nil && s.Blocks(w.peer.Remote.Addr(), q.Name.Name()) {
		return w.failing(event.Tunnel, wire.Refused, wire.EDEBlocked)
	}
	stale := ok && r.Stale
	other := !stale && r.Stale && r.Resolver.HasVariant(r.Config, q.Name.Name(), q.Type, w.wants(r), now)
	if ede, failed := r.Cache.Failure(key, now); failed {
		w.record.CacheLookup(telemetry.LookupFailed)
		w.path = event.Cache
		if stale {
			return w.stale(&hit)
		}
		if n, ok := w.otherStale(r, other); ok {
			return n
		}
		return w.fail(wire.ServFail, ede)
	}
	if ok {
		w.record.CacheLookup(telemetry.LookupStale)
	} else {
		w.record.CacheLookup(telemetry.LookupMiss)
	}
	return w.later(r, stale || other)
}

// cacheTime returns the cache's time in seconds since 1970. It goes with the batch, whose
// time of arrival is read once.
func (w *worker) cacheTime(c *cache.Cache) int64 {
	if d := w.now - w.clockAt; w.clockAt == 0 || d > int64(clockStep) || d < 0 {
		w.clock, w.clockAt = c.Now(), w.now
	}
	return w.clock
}

// cacheKey returns what the answer to the query in hand is found by.
func (w *worker) cacheKey() cache.Key {
	q := &w.query
	return w.view.Recursion.Config.Key(q.Name.Name(), q.Type, w.wants(w.view.Recursion))
}

// clockStep is how long a worker believes the time it read: lifetimes are whole
// seconds.
const clockStep = 50 * time.Millisecond

// cached makes the reply of what the cache copied behind the question.
func (w *worker) cached(hit *cache.Hit) int {
	b := &w.builder
	b.SetRcode(hit.Rcode)
	if w.path == event.Own {
		w.path = event.Cache
	}
	fits := hit.N <= len(b.Rest())
	if fits {
		b.Take(hit.N, hit.Counts)
	}
	r := w.view.Recursion
	if w.judge(r, hit, fits) {
		return w.block(r)
	}
	if w.judgeRPZ(r, fits) {
		return w.rewrite(r)
	}
	if fits && w.lacking() {
		return w.later(r, false) // the resolver finds them out, and then has the answer from what it knows
	}
	if !fits {
		b.Truncate()
		return w.deliver(w.classOfCached(hit))
	}
	w.reorder()
	// Without DO or AD the client does not know what AD means (RFC 6840, section 5.8).
	if hit.Flags&wire.FlagAD != 0 && (w.query.DO || w.query.Flags&wire.FlagAD != 0) {
		b.SetFlags(wire.FlagAD)
	}
	w.ede = int(hit.EDE)
	return w.deliver(w.classOfCached(hit))
}

// reorder puts the records of a reply of the recursive service into the order that the
// configuration says.
func (w *worker) reorder() {
	if r := w.view.Recursion; r != nil && r.Order != wire.OrderFixed && w.builder.Count(wire.Answer) > 1 {
		w.order.Apply(&w.builder, r.Order, w.nameKey()^uint64(w.query.Type)<<48)
	}
}

// stale is cached for an answer that has expired.
func (w *worker) stale(hit *cache.Hit) int {
	w.record.Stale()
	w.path = event.Stale
	w.final = true // nobody is asked
	hit.EDE = wire.EDEStaleAnswer
	if hit.Rcode == wire.NXDomain {
		hit.EDE = wire.EDEStaleNXDomain
	}
	return w.cached(hit)
}

// otherStale answers from what was given to clients with another DO or CD bit, if there may be
// such an answer.
func (w *worker) otherStale(r *Recursion, other bool) (int, bool) {
	if !other || r.Resolver == nil {
		return 0, false
	}
	q := &w.query
	a := r.Resolver.Stale(r.Config, q.Name.Name(), q.Type, w.wants(r))
	if a == nil {
		return 0, false
	}
	hit := cache.Hit{N: len(a.Body), Flags: a.Flags, Rcode: a.Rcode, Counts: a.Counts, Security: a.Security, TTL: a.TTL}
	copy(w.builder.Rest(), a.Body)
	return w.stale(&hit), true
}

// classOfCached returns what the rate limiter goes by. The zone of a name that does
// not exist is taken to be its last two labels.
func (w *worker) classOfCached(hit *cache.Hit) (policy.Class, uint64) {
	if !w.limited {
		return policy.Positive, 0
	}
	switch {
	case hit.Rcode == wire.NXDomain:
		name := &w.query.Name
		return policy.NXDomain, uint64(name.Hash(w.view.Zones.Seed(), max(name.Labels-2, 0)))
	case hit.Counts[wire.Answer] == 0:
		return policy.NoData, w.nameKey()
	default:
		return policy.Positive, w.nameKey()
	}
}

// wants returns what the client wants of an answer.
func (w *worker) wants(r *Recursion) resolver.Wants {
	q := &w.query
	return resolver.Wants{DO: q.DO, CD: q.Flags&wire.FlagCD != 0, DNS64: w.six(r)}
}

// six reports whether the question is one that a client with IPv6 alone gets another answer to: whoever
// validates himself does not (RFC 6147, section 5.5).
func (w *worker) six(r *Recursion) bool {
	q := &w.query
	return r.DNS64Clients != nil &&
		(q.Type == wire.TypeAAAA || q.Type == wire.TypePTR) && q.Flags&(wire.FlagCD|wire.FlagRD) == wire.FlagRD &&
		r.DNS64Clients.Allows(w.peer.Remote.Addr())
}

// lacksSix reports whether addresses of IPv6 are to be made for a name of ours that has none: the
// resolver does that, if it knows of the name.
func (w *worker) lacksSix(r *Recursion) bool {
	if w.query.Type != wire.TypeAAAA || !w.six(r) {
		return false
	}
	local := r.Config.Local
	return local != nil && local.Apex(w.query.Name.Name(), wire.TypeAAAA) != nil
}

// request returns what the resolver is asked for the query in hand.
func (w *worker) request() resolver.Request {
	q := &w.query
	return resolver.Request{
		Name: q.Name.Name(), Written: q.Msg[wire.HeaderLen:][:q.Name.Len()], Type: q.Type, Wants: w.wants(w.view.Recursion),
		Client: w.peer.Remote.Addr(), Cookie: !w.udp || w.genuine, Config: w.view.Recursion.Config,
	}
}

// later lets the query be answered when the resolver knows.
func (w *worker) later(r *Recursion, stale bool) int {
	to, err := w.peer.Detach()
	if err != nil {
		return w.fail(wire.ServFail, wire.EDEOther)
	}
	p := w.suspend(to, 0)
	p.recursion = r
	req := w.request()
	req.Waiter, req.Stale, req.Arrived = p, stale, p.arrived
	r.Resolver.Ask(&req)
	return server.Pending
}

// suspend returns the query in hand, to be answered later through to.
func (w *worker) suspend(to server.Responder, maxAge time.Duration) *pending {
	p := &pending{
		engine: w.engine, gen: w.gen, view: w.view, to: to, peer: *w.peer, arrived: time.Now(), clock: w.now,
		limited: w.limited, genuine: w.genuine, signature: w.signature, maxAge: maxAge,
	}
	p.msg = append(p.memory[:0], w.query.Msg...)
	return p
}

// A pending is a query that has to wait for its answer: the resolver's, of which it is a
// [resolver.Waiter], or the manager's.
type pending struct {
	engine    *Engine
	recursion *Recursion // nil: it does not wait for the resolver
	gen       *Generation
	view      *View
	to        server.Responder
	msg       []byte
	peer      server.Peer
	arrived   time.Time
	clock     int64 // the server's, as it arrived
	limited   bool
	genuine   bool
	signature *tsig.Context
	maxAge    time.Duration // of a reply over UDP; 0: it is sent however old it is
	result
	memory [pendingSize]byte // of msg, and of the resolver's reply if that fits behind it
}

// A result is what came of a pending query.
type result struct {
	answered atomic.Bool
	done     time.Time // when there was an answer
	room     int       // octets that the reply may have; 0: as many as the client takes
	alias    *alias    // what was asked for in place of the question; nil: that was
}

// pendingSize is octets enough for most queries and their replies.
const pendingSize = 256

// Answer implements [resolver.Waiter].
func (p *pending) Answer(a *cache.Answer, text string) {
	p.reply(func(w *worker) int {
		w.path = event.Miss
		if a.Rcode == wire.ServFail {
			if p.recursion.Stale && a.Security != cache.Bogus {
				if n, ok := p.fromStale(w); ok {
					return n
				}
			}
			w.edeText = text
			return w.fail(wire.ServFail, int(a.EDE))
		}
		if p.alias != nil {
			return w.renamed(p.alias, a, false)
		}
		hit := cache.Hit{N: len(a.Body), Flags: a.Flags, Rcode: a.Rcode, Counts: a.Counts, EDE: a.EDE, Security: a.Security, TTL: a.TTL}
		copy(w.builder.Rest(), a.Body)
		return w.cached(&hit)
	})
}

// Late implements [resolver.Waiter].
func (p *pending) Late() {
	p.reply(func(w *worker) int {
		w.path = event.Miss
		if n, ok := p.fromStale(w); ok {
			return n
		}
		return w.fail(wire.ServFail, wire.EDEOther)
	})
}

// Drop implements [resolver.Waiter].
func (p *pending) Drop() {
	if p.answered.CompareAndSwap(false, true) {
		p.engine.lost.drop(telemetry.DropLoad, p)
		p.to.Close()
	}
}

// fromStale answers from what has expired, if it is still there.
func (p *pending) fromStale(w *worker) (int, bool) {
	if p.alias != nil {
		a := p.recursion.Resolver.Stale(p.recursion.Config, p.alias.target, w.query.Type, w.wants(p.recursion))
		if a == nil {
			return 0, false
		}
		return w.renamed(p.alias, a, true), true
	}
	key := p.recursion.Config.Key(w.query.Name.Name(), w.query.Type, w.wants(p.recursion))
	hit, ok := p.recursion.Cache.Answer(key, p.recursion.Cache.Now(), w.builder.Rest())
	if !ok {
		return w.otherStale(p.recursion, true)
	}
	if !hit.Stale {
		return w.cached(&hit), true
	}
	return w.stale(&hit), true
}

// reply sends what answer makes, once.
func (p *pending) reply(answer func(*worker) int) {
	if !p.answered.CompareAndSwap(false, true) {
		return
	}
	p.done = time.Now()
	now, age := p.done, p.done.Sub(p.arrived)
	if p.peer.Transport == server.UDP && p.maxAge > 0 && age > p.maxAge {
		p.engine.lost.drop(telemetry.DropLate, p)
		p.to.Close()
		return
	}
	client := p.peer.Remote.Addr()
	if p.peer.Transport == server.UDP && !p.genuine && p.recursion != nil && age > paceAfter && !client.IsLoopback() {
		pacer := &p.engine.pacer
		p.room = pacer.room(client, p.arrived, now, len(p.msg))
		reply := p.make(answer)
		if reply == nil {
			p.send(nil)
			return
		}
		pacer.pass(client, now, len(reply), func() { p.send(reply) })
		return
	}
	p.send(p.make(answer))
}

// send sends a reply, if there is one, and is done with the query.
func (p *pending) send(reply []byte) {
	defer p.to.Close()
	if reply != nil {
		_ = p.to.Reply(reply) // a client that went away needs no answer
	}
}

// make returns what answer makes, or nil. The worker that it is made with is back when
// it returns: whatever sending takes, others make theirs.
func (p *pending) make(answer func(*worker) int) []byte {
	w := <-p.engine.late
	defer func() { p.engine.late <- w }()
	n := w.resume(p, answer)
	if n <= 0 {
		return nil
	}
	if rest := p.memory[min(len(p.msg), pendingSize):]; p.recursion != nil && n <= len(rest) {
		return append(rest[:0], w.room[:n]...) // there is but one reply
	}
	return bytes.Clone(w.room[:n])
}

// resume puts w into the state in which the query was left.
func (w *worker) resume(p *pending, answer func(*worker) int) int {
	if w.room == nil {
		w.room = make([]byte, wire.MaxMessage)
	}
	w.begin(p.gen, &p.peer, p.msg)
	w.view = p.view
	w.arrived = p.arrived.UnixNano()
	// The rate limiter has one clock for all replies: by another it would take its buckets
	// for full, or never fill them.
	if p.done.IsZero() {
		p.done = time.Now()
	}
	w.now = p.clock + int64(p.done.Sub(p.arrived))
	if w.query.Parse(p.msg) != 0 {
		return 0
	}
	w.limited, w.genuine, w.recursive, w.measure, w.signature = p.limited, p.genuine, p.recursion != nil, 1, p.signature
	w.cookie = w.query.Cookie != nil && p.gen.Limits.Cookies != nil
	w.final = true // the resolver looks servers up
	room := w.room
	if p.room > 0 {
		room = room[:min(p.room, len(room))]
	}
	w.startReply(room)
	if p.recursion != nil {
		w.builder.SetFlags(wire.FlagRA | w.query.Flags&wire.FlagCD)
	}
	return answer(w)
}

// lateWorkers is how many answers can be made at the same time by others than the
// goroutines that read sockets. Each takes a microsecond, and none waits for anything.
const lateWorkers = 4

// A losses counts the queries that had to wait and get no answer. Who drops them may be
// a goroutine that reads a socket, and needs no worker for it.
type losses struct {
	mu     sync.Mutex
	worker *worker
}

func (l *losses) drop(why telemetry.Drop, p *pending) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.worker
	w.begin(p.gen, &p.peer, p.msg)
	w.view, w.recursive, w.arrived, w.path = p.view, p.recursion != nil, p.arrived.UnixNano(), event.Manager
	if p.recursion != nil {
		w.path = event.Miss
	}
	if w.events.Wants() != 0 {
		w.query.Parse(p.msg) // it is told of with what could be read of it
	}
	w.drop(why)
}
