// Package engine is what happens to one query, in order. Handle is the whole order
// of business, and nothing registers itself with it.
//
// The straight path, from the packet to the reply, runs on the goroutine that read
// the packet. It allocates nothing, takes no lock and shares no counter: all that
// it reads is one [Generation], loaded once.
package engine

import (
	"crypto/rand"
	"encoding/binary"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"port53/internal/authority"
	"port53/internal/event"
	"port53/internal/policy"
	"port53/internal/server"
	"port53/internal/telemetry"
	"port53/internal/tsig"
	"port53/internal/wire"
	"port53/internal/zone"
)

// A Blocker tells whose questions are not asked of other servers. It is called from many goroutines, for names
// in lower case that neither zones nor the cache answer.
type Blocker interface {
	Blocks(client netip.Addr, name []byte) bool
}

// Options make an Engine. The zero value is ready.
type Options struct {
	Telemetry *telemetry.Telemetry // nil: nothing is recorded
	Queries   *telemetry.QueryLog  // nil: queries are not logged
	Events    *event.Hub           // is told of each query; nil: nobody is
	Blocker   Blocker              // whose questions are refused before others are asked; nil: nobody's
	Audit     *telemetry.Audit     // is told who is refused an update, a transfer or a notification; nil: nobody is
	Log       *slog.Logger         // nil: discard

	// PropagatePanics lets a panic through, for tests that look for one.
	PropagatePanics bool
}

// An Engine answers queries. It is a [server.Handler].
type Engine struct {
	telemetry *telemetry.Telemetry
	queries   *telemetry.QueryLog
	events    *event.Hub
	stops     Blocker
	audit     *telemetry.Audit
	log       *slog.Logger
	contained bool
	now       atomic.Pointer[Generation]
	panicked  atomic.Bool // the first panic is logged with its packet, the others are counted

	late  chan *worker // those that make answers which had to wait
	pacer pacer        // of those that come late
	lost  losses
}

// New returns an engine that serves g.
func New(o Options, g Generation) *Engine {
	e := &Engine{
		telemetry: o.Telemetry, queries: o.Queries, events: o.Events, stops: o.Blocker,
		audit: o.Audit, log: o.Log, contained: !o.PropagatePanics,
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	e.Apply(g)
	e.late = make(chan *worker, lateWorkers)
	for range lateWorkers {
		e.late <- e.newWorker()
	}
	e.lost.worker = e.newWorker()
	return e
}

// Apply replaces the generation: queries that come from now on see all of the new one.
func (e *Engine) Apply(g Generation) { e.now.Store(g.filled()) }

// NewWorker implements [server.Handler].
func (e *Engine) NewWorker() server.Worker { return e.newWorker() }

func (e *Engine) newWorker() *worker {
	return &worker{engine: e, record: e.newRecord(), telling: telling{events: e.newEvents()}, writers: writers{order: newOrderer()}}
}

func newOrderer() *wire.Orderer {
	var seed [8]byte
	_, _ = rand.Read(seed[:]) // it never fails
	return wire.NewOrderer(binary.LittleEndian.Uint64(seed[:]))
}

func (e *Engine) newRecord() *telemetry.Worker {
	if e.telemetry == nil {
		return &telemetry.Worker{}
	}
	return e.telemetry.NewWorker()
}

// A worker is the scratch space of one goroutine that reads queries.
type worker struct {
	engine *Engine
	record *telemetry.Worker
	query  wire.Query
	writers
	event telemetry.Event
	entry telemetry.Entry
	telling

	present
	filtering
	policing
	tail [tailSize]byte

	source *Source // what Explain wants to know; nil for clients

	clock   int64  // unix time, as read at
	clockAt int64  // this arrival
	room    []byte // for replies that had to wait
}

// writers are what replies are made with.
type writers struct {
	builder wire.Builder
	answer  authority.Responder
	order   *wire.Orderer
}

// present is what a worker knows of the query in hand, beside what it says.
type present struct {
	gen       *Generation
	view      *View // of the client
	peer      *server.Peer
	now       int64
	udp       bool
	limited   bool          // the client's address may be forged: UDP without a server cookie of ours
	genuine   bool          // the client has a server cookie of ours
	cookie    bool          // the reply carries a cookie
	signature *tsig.Context // of the query, to sign the reply with; nil: it has none
	compact   bool          // the client knows compact denial, and the zone has it
	recursive bool          // the reply is of the recursive service
	nameHash  uint64        // see nameKey; 0: not yet known
	last      last          // of the query before
	ede       int           // Extended DNS Error to send, or -1 (RFC 8914)
	edeText   string        // its text
}

// Handle implements [server.Worker].
//
// In one piece: it shows the whole order of business to whoever reads it.
func (w *worker) Handle(msg []byte, peer *server.Peer, now int64, reply []byte) (n int) {
	defer func() {
		if !w.engine.contained {
			return
		}
		if fault := recover(); fault != nil {
			n = w.contain(fault, msg, reply)
		}
	}()
	g := w.engine.now.Load()
	q := &w.query
	w.begin(g, peer, msg)
	w.now = now
	if w.measure = (w.measure + 1) % latencySample; w.measure == 0 {
		w.begun = time.Now()
	}

	// Is it a query at all? A response, or less than a header, is never answered.
	bad := q.Parse(msg)
	if bad == wire.ShortHeader || bad == wire.IsResponse {
		w.record.Malformed(bad)
		return w.silence()
	}
	if w.udp && policy.ReflectorPort(peer.Remote.Port()) {
		return w.drop(telemetry.DropPort)
	}

	// The reply begins with the question; its end is kept for OPT.
	w.startReply(reply)

	// Whose view of the names is it?
	if g.Views != nil {
		w.view = w.chosen(g, peer, q.TSIG)
	}
	v := w.view

	// Who asks, and is the question one?
	switch {
	case !v.Access.MayQuery(peer.Remote.Addr()):
		if bad == 0 && q.HasQuestion && w.isDeed() {
			w.refused("its address may not query this server", "")
		}
		return w.failing(event.NotAllowed, wire.Refused, wire.EDEProhibited)
	case q.Opcode != wire.OpcodeQuery && q.Opcode != wire.OpcodeNotify && q.Opcode != wire.OpcodeUpdate:
		return w.failing(event.NotSupported, wire.NotImp, -1)
	case bad != 0:
		w.record.Malformed(bad)
		return w.failing(event.FormatError, wire.FormErr, -1)
	case q.EDNS && q.Version != 0:
		return w.fail(wire.BadVers, -1)
	case q.Cookie != nil && g.Limits.Cookies != nil:
		if !q.CookieLenOK() {
			w.record.Malformed(wire.BadCookieLen)
			return w.fail(wire.FormErr, -1)
		}
		w.checkCookie()
	}
	if !q.HasQuestion {
		if !w.cookie {
			return w.fail(wire.FormErr, -1)
		}
		return w.deliver(policy.Positive, cookieKey) // a cookie was asked for, and is in OPT (RFC 7873, section 5.4)
	}

	// What is asked?
	switch {
	case q.TSIG != nil && !w.verify():
		if q.Opcode == wire.OpcodeUpdate && w.signature != nil && w.signature.Error == wire.BadKey {
			if w.view = g.view(peer, nil); !w.view.Access.MayQuery(peer.Remote.Addr()) {
				w.refused("its address may not query this server", "") // the name of a key alone opens no view
				return w.failing(event.NotAllowed, wire.Refused, wire.EDEProhibited)
			}
			return w.hand() // it may be for the primary, which knows the key
		}
		w.refused(signatureError(w.builder.Rcode(), w.signature), "")
		return w.failing(event.BadTSIG, w.builder.Rcode(), -1)
	case q.Opcode != wire.OpcodeQuery:
		return w.hand()
	case q.Class == wire.ClassCH:
		return w.chaos()
	case q.Class != wire.ClassIN:
		return w.failing(event.NotSupported, wire.Refused, wire.EDENotSupported)
	case q.Type == wire.TypeNXNAME:
		return w.failing(event.FormatError, wire.FormErr, wire.EDEInvalidType) // RFC 9824, section 3.5
	case q.Type == wire.TypeAXFR && w.single():
		return w.failing(event.NotSupported, wire.NotImp, -1) // RFC 5936, section 4.2: not over UDP
	}

	// Whose is it?
	entry, further := w.zone(), w.offersRecursion()
	if further && q.Type != wire.TypeAXFR && q.Type != wire.TypeIXFR {
		if match, ok := v.Recursion.ownName(&q.Name, entry); ok {
			if match.Host.OnlyIPv4() && w.lacksSix(v.Recursion) {
				return w.recurse(v.Recursion, true)
			}
			return w.answerHost(match)
		}
		if entry != nil && v.Recursion.routedBelow(&q.Name, q.Type, entry) {
			return w.recurse(v.Recursion, true)
		}
	}
	var version *zone.Zone // one, to the end of the answer
	if entry != nil {
		version = entry.Zone()
	}
	switch {
	case q.Type == wire.TypeAXFR || q.Type == wire.TypeIXFR:
		if w.whole() == nil {
			w.refused("no zone of that name is served here", "")
			return w.failing(event.NotServed, wire.NotAuth, wire.EDENotAuthoritative) // RFC 5936, section 2.2.1
		}
		return w.hand()
	case entry == nil && v.Recursion != nil:
		return w.recurse(v.Recursion, further)
	case entry == nil:
		return w.failing(event.NotServed, wire.Refused, wire.EDENotAuthoritative)
	case !entry.Access.MayQuery(peer.Remote.Addr()):
		return w.failing(event.ZoneNotAllowed, wire.Refused, wire.EDEProhibited)
	case version == nil:
		return w.failing(event.NotLoaded, wire.ServFail, wire.EDEInvalidData)
	}
	further = further && q.Flags&wire.FlagRD != 0
	if further && q.Type == wire.TypeDS && q.Name.Labels > 0 && len(entry.Apex) == q.Name.Len() {
		if w.builtIn(v.Recursion) == nil { // else nobody is asked, and the zone says that there is none
			return w.recurse(v.Recursion, true) // it is the parent's, which is not here
		}
	}
	w.answer.Verified = !w.udp || w.genuine
	w.compact = q.CO && version.Online() != nil
	result := w.answer.Answer(version, q, &w.builder)
	if result.Busy && !w.udp {
		w.builder.ClearFlags(wire.FlagTC)
		w.edeText = "too many signatures are being made"
		return w.fail(wire.ServFail, wire.EDEOther)
	}
	if further &&
		(result.Kind == authority.Referral || result.Away || w.leadsElsewhere(v.Recursion) || result.Kind == authority.NoData &&
			w.lacksSix(v.Recursion)) {
		// What the zone said so far is part of what the resolver will say.
		w.builder.Reset()
		w.builder.ClearFlags(wire.FlagAA | wire.FlagTC)
		w.builder.SetRcode(wire.NoError)
		return w.recurse(v.Recursion, true)
	}

	if entry.Order != wire.OrderFixed {
		w.order.Apply(&w.builder, entry.Order, entry.Key()^uint64(result.Node)<<32^uint64(q.Type))
	}

	// May it go out?
	w.tell(FromZone, entry.Apex)
	return w.deliver(classOf(entry, result))
}

// begin makes the worker ready for a query.
func (w *worker) begin(g *Generation, peer *server.Peer, msg []byte) {
	w.gen, w.view, w.peer = g, &g.View, peer
	w.udp = peer.Transport == server.UDP
	w.limited = w.udp && g.Limits.Rates != nil
	w.genuine, w.cookie, w.compact, w.signature, w.recursive, w.ede, w.edeText = false, false, false, nil, false, -1, ""
	w.course, w.final = course{}, false
	w.query.Msg, w.nameHash = msg, 0
	if w.last.gen != nil && w.last.gen != g {
		w.last = last{} // or a generation that is over would stay, with all that it has
	}
}

// single reports whether the reply is one message, and a zone cannot be sent in several.
func (w *worker) single() bool { return w.udp || w.peer.Transport == server.DoH }

// startReply begins the reply in a buffer: the question, and room for OPT at the end.
func (w *worker) startReply(reply []byte) {
	w.builder.Start(reply, min(w.limit(), len(reply)), w.reserve(), &w.query)
}

// limit returns the octets of the largest reply to the query in hand.
func (w *worker) limit() int {
	q := &w.query
	switch {
	case !w.udp:
		return wire.MaxMessage
	case q.EDNS:
		return min(max(int(q.UDPSize), wire.MinUDP), w.gen.Limits.UDPSize)
	}
	return wire.MinUDP
}

// bare returns a reply that is cut off behind the question, and not signed.
func (w *worker) bare(rcode wire.Rcode) []byte {
	w.builder.Truncate()
	w.builder.SetRcode(rcode)
	tail, records := w.buildTail(rcode)
	return w.builder.Finish(tail, records)
}

// offersRecursion reports whether the client may be led beyond our zones, and says so in
// the reply (RFC 1035, section 4.1.1).
func (w *worker) offersRecursion() bool {
	v := w.view
	if v.Recursion == nil || !v.Access.MayRecurse(w.peer.Remote.Addr()) {
		return false
	}
	w.builder.SetFlags(wire.FlagRA)
	return true
}

// zone returns the zone that answers the question, or nil.
func (w *worker) zone() *zone.Entry {
	q := &w.query
	view := w.view.Zones
	entry := view.Find(&q.Name)
	if entry != nil && q.Type == wire.TypeDS && q.Name.Labels > 0 && len(entry.Apex) == q.Name.Len() {
		// DS lies on the parent's side of the cut (RFC 4035, section 3.1.4.1).
		if parent := view.FindAbove(&q.Name); parent != nil {
			return parent
		}
	}
	return entry
}

// classOf returns what the rate limiter goes by: names are told apart by what
// answered for them, so that a wildcard is one name.
func classOf(entry *zone.Entry, result authority.Result) (policy.Class, uint64) {
	switch result.Kind {
	case authority.NXDomain:
		return policy.NXDomain, entry.Key()
	case authority.Referral:
		return policy.Referral, entry.Key()
	case authority.Failure:
		return policy.Error, 0
	case authority.NoData:
		return policy.NoData, entry.Key() ^ uint64(result.Node)<<32
	}
	return policy.Positive, entry.Key() ^ uint64(result.Node)<<32
}

// nameKey returns what the rate limiter tells the question's name from others by.
func (w *worker) nameKey() uint64 {
	if w.nameHash == 0 {
		w.nameHash = uint64(w.query.Name.Sum(w.view.Zones.Seed()))
	}
	return w.nameHash
}

// expect prepares the rate limiter for an answer to the question.
func (w *worker) expect() {
	if w.limited {
		w.gen.Limits.Rates.Prefetch(w.peer.Remote.Addr(), policy.Positive, w.nameKey())
	}
}

// deliver sends the reply, or what the rate limiter leaves of it.
func (w *worker) deliver(class policy.Class, key uint64) int {
	if w.limited {
		switch w.check(class, key) {
		case policy.Drop:
			return w.drop(telemetry.DropRate)
		case policy.Slip:
			return w.slip()
		}
	}
	return w.finish(w.builder.Rcode())
}

// check asks the rate limiter, and counts what is beyond a limit.
func (w *worker) check(class policy.Class, key uint64) policy.Verdict {
	verdict := w.gen.Limits.Rates.Check(w.now, w.peer.Remote.Addr(), class, key)
	if verdict != policy.Send {
		w.record.Limited(class)
		w.class = class
	}
	return verdict
}

// fail replies with an error and nothing but the question. ede is the Extended DNS
// Error to add, or -1.
func (w *worker) fail(rcode wire.Rcode, ede int) int {
	w.ede = ede
	w.builder.Reset()
	w.builder.ClearFlags(wire.FlagAA)
	w.builder.SetRcode(rcode)
	if w.limited {
		switch w.check(policy.Error, 0) {
		case policy.Drop, policy.Slip: // an error is as small as a slip would be
			return w.drop(telemetry.DropRate)
		}
	}
	return w.finish(rcode)
}

// failing is fail, for a reason that lies here.
func (w *worker) failing(reason event.Reason, rcode wire.Rcode, ede int) int {
	w.reason = reason
	return w.fail(rcode, ede)
}

// slip replies with TC set and no records, so that a client that is not forged asks
// again over TCP; one that sent a cookie gets BADCOOKIE and a good cookie
// (RFC 7873, section 5.2.3).
func (w *worker) slip() int {
	w.record.Slip()
	w.outcome = event.Slipped
	w.builder.Reset()
	w.builder.ClearFlags(wire.FlagAA)
	if w.cookie {
		return w.finish(wire.BadCookie)
	}
	w.builder.SetRcode(wire.NoError)
	w.builder.SetFlags(wire.FlagTC)
	return w.finish(wire.NoError)
}

// finish adds OPT, writes the counts and records the reply.
func (w *worker) finish(rcode wire.Rcode) int {
	w.builder.SetRcode(rcode)
	w.name(rcode)
	tail, records := w.buildTail(rcode)
	reply := w.builder.Finish(tail, records)
	if w.signature != nil {
		if w.udp && len(reply)+w.signature.Overhead() > w.limit() {
			// Long names of a key and an algorithm that we do not know do not fit into the
			// least that everybody takes: over TCP they do.
			reply = w.bare(rcode)
		} else {
			reply = w.signature.Sign(reply, time.Now())
		}
	}
	w.replied(rcode, len(reply), reply)
	return len(reply)
}

// silence sends nothing: over UDP the packet is forgotten, over TCP the connection
// is closed, because whoever speaks like this does not wait for an answer.
func (w *worker) silence() int {
	w.drop(telemetry.DropMalformed)
	if w.udp {
		return 0
	}
	return -1
}

// drop sends nothing to a query that came over UDP.
func (w *worker) drop(why telemetry.Drop) int {
	w.record.Drop(why, w.peer.Transport, len(w.query.Msg))
	if wants := w.events.Wants(); wants&(event.Answers|event.Problems|event.Explained) != 0 {
		w.outcome = event.Dropped + event.Outcome(why)
		if why != telemetry.DropMalformed { // of that nothing could be found by its name
			w.name(wire.NoError)
		}
		if wants&(event.Answers|event.Problems) != 0 || w.why != 0 {
			w.tellEvent(wire.NoError, 0, nil)
		}
	}
	return 0
}

// latencySample is how many queries go by for one whose time is taken: reading the
// clock for each would be a good part of its cost.
const latencySample = 64

// replied records a reply of so many octets. message is it, or nil if it is not at hand.
func (w *worker) replied(rcode wire.Rcode, reply int, message []byte) {
	q, e := &w.query, &w.event
	e.Transport, e.Type, e.Rcode = w.peer.Transport, q.Type, rcode
	e.Query, e.Reply, e.Truncated, e.Nanos, e.View = len(q.Msg), reply, w.builder.Flags()&wire.FlagTC != 0, -1, w.view.Slot
	if w.measure == 0 {
		e.Nanos = int64(time.Since(w.begun))
	}
	w.record.Record(e)
	if log := w.engine.queries; log != nil && log.Wanted() {
		w.logQuery(log, rcode, reply)
	}
	if w.events.Wants() != 0 && w.wanted(rcode) {
		w.tellEvent(rcode, reply, message)
	}
}

func (w *worker) logQuery(log *telemetry.QueryLog, rcode wire.Rcode, size int) {
	l := &w.entry
	l.Time, l.Client, l.Transport = time.Now(), w.peer.Remote, w.peer.Transport
	l.Type, l.Class, l.Rcode, l.Reply, l.View, l.Why = w.query.Type, w.query.Class, rcode, size, w.view.Name, w.why
	l.SetName(w.query.AskedName())
	log.Offer(l)
}
