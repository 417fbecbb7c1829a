// Package telemetry counts what the server does and tells it: counters of each
// worker, summed when they are read, as Prometheus text; and a query log that can
// fill neither memory nor a disk nor a terminal.
//
// A worker counts in memory of its own that no other worker writes: one load and one
// store a counter, and no contention. Readers see each counter whole, if not all at
// the same moment.
package telemetry

import (
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"

	"port53/internal/policy"
	"port53/internal/server"
	"port53/internal/wire"
)

// Drop is why a query got no reply. Each message that reached the engine is replied to
// once, or dropped once for one reason.
type Drop uint8

// The reasons.
const (
	DropRate      Drop = iota // response rate limiting
	DropPort                  // the source port is a reflector's
	DropMalformed             // a response, or less than a header
	DropLate                  // the answer took longer than clients wait
	DropLoad                  // too many were waiting for answers
	DropPolicy                // a rule of a list says so
	DropFault                 // no reply could be made, by a fault of port53
	dropCount
)

// String returns the reason as the metrics have it.
func (d Drop) String() string {
	names := [...]string{
		DropRate:      "rate_limit",
		DropPort:      "port",
		DropMalformed: "malformed",
		DropLate:      "late",
		DropLoad:      "load",
		DropPolicy:    "policy",
		DropFault:     "fault",
	}
	if int(d) < len(names) {
		return names[d]
	}
	return "unknown"
}

// Cookie is what a query's cookie was.
type Cookie uint8

// The kinds of cookies.
const (
	CookieClient Cookie = iota // a client cookie alone
	CookieValid                // with a server cookie of ours
	CookieBad                  // with one that is not, or not any more
	cookieCount
)

// String returns the kind as the metrics have it.
func (c Cookie) String() string {
	names := [...]string{CookieClient: "client", CookieValid: "valid", CookieBad: "bad"}
	if int(c) < len(names) {
		return names[c]
	}
	return "unknown"
}

// A Lookup is what was found in the cache of the resolver.
type Lookup uint8

// Operation a look into the cache can come to.
const (
	LookupHit    Lookup = iota // an answer
	LookupStale                // an answer that has expired
	LookupFailed               // that asking failed a moment ago
	LookupMiss                 // nothing
	lookupCount
)

// String returns the outcome as the metrics have it.
func (l Lookup) String() string {
	names := [...]string{LookupHit: "hit", LookupStale: "stale", LookupFailed: "failed", LookupMiss: "miss"}
	if int(l) < len(names) {
		return names[l]
	}
	return "unknown"
}

// A Filtering is what became of an answer that a rule of a list is about.
type Filtering uint8

// The kinds of it.
const (
	FilterBlocked Filtering = iota // something else was answered, or nothing
	FilterAllowed                  // it went out, since a rule allows it
	FilterLogged                   // a list whose names are only told of has it
	filterCount
)

// String returns what became of it as the metrics have it.
func (f Filtering) String() string {
	names := [...]string{FilterBlocked: "blocked", FilterAllowed: "allowed", FilterLogged: "logged"}
	if int(f) < len(names) {
		return names[f]
	}
	return "unknown"
}

// An Event is one query and its reply.
type Event struct {
	Transport server.Transport
	Type      wire.Type
	Rcode     wire.Rcode
	Query     int // octets
	Reply     int
	Truncated bool
	Nanos     int64 // from arrival to reply; below 0: not measured
	View      uint8 // slot of the client's view; 0: there are no views
}

// Sizes of tables.
const (
	typeSlots = 264 // types up to CLA's have a counter each, the rest share the last
	rcodes    = 25  // up to BADCOOKIE; the rest share the last
	lists     = 256 // of names that are blocked, by their numbers
	buckets   = 24  // of latency, up to 2^33 ns: 8.6 s
	viewSlots = 65  // that of no view, 63 of views, and the last for all that come after many reloads
)

// A Worker is the counters of one goroutine.
//
// In one piece: they lie together, in cache lines that no other goroutine writes.
type Worker struct {
	_         [64]byte // its own cache lines
	queries   [server.TransportCount]counter
	types     [typeSlots]counter
	rcodes    [rcodes]counter
	latency   [buckets + 1]counter
	nanos     counter
	malformed [wire.MalformedCount]counter
	drops     [server.TransportCount][dropCount]counter
	cookies   [cookieCount]counter
	limited   [policy.ClassCount]counter
	in, out   counter
	truncated counter
	slipped   counter
	panics    counter
	lookups   [lookupCount]counter
	stale     counter
	views     [viewSlots]counter
	blocked   [viewSlots]counter
	filtered  [lists][filterCount]counter
	_         [64]byte
}

// Record counts a query that was replied to.
func (w *Worker) Record(e *Event) {
	w.queries[e.Transport].add(1)
	w.types[min(int(e.Type), typeSlots-1)].add(1)
	w.rcodes[min(int(e.Rcode), rcodes-1)].add(1)
	w.in.add(uint64(e.Query))
	w.out.add(uint64(e.Reply))
	if e.Truncated {
		w.truncated.add(1)
	}
	if e.View != 0 {
		w.views[min(e.View, viewSlots-1)].add(1)
	}
	if e.Nanos >= 0 {
		w.latency[bucket(e.Nanos)].add(1)
		w.nanos.add(uint64(e.Nanos))
	}
}

// firstBucket is the exponent of the smallest bucket: 2^10 ns, about a microsecond.
const firstBucket = 10

// bucket returns the index of the smallest bucket that holds n: bucket i is up to
// 2^(firstBucket+i) ns.
func bucket(n int64) int {
	if n <= 1<<firstBucket {
		return 0
	}
	return min(bits.Len64(uint64(n-1))-firstBucket, buckets)
}

// Malformed counts a packet that could not be parsed.
func (w *Worker) Malformed(why wire.Malformed) {
	if int(why) < len(w.malformed) {
		w.malformed[why].add(1)
	}
}

// Drop counts a query without a reply; query is its octets.
func (w *Worker) Drop(why Drop, over server.Transport, query int) {
	w.drops[over][why].add(1)
	w.in.add(uint64(query))
}

// Slip counts a reply that response rate limiting made TC=1 or BADCOOKIE. It is recorded as
// every reply is, too.
func (w *Worker) Slip() { w.slipped.add(1) }

// Cookie counts a cookie.
func (w *Worker) Cookie(kind Cookie) { w.cookies[kind].add(1) }

// Limited counts an answer beyond the limit of its class, whether or not it was held
// back.
func (w *Worker) Limited(class policy.Class) { w.limited[class].add(1) }

// CacheLookup counts a look into the cache.
func (w *Worker) CacheLookup(found Lookup) { w.lookups[found].add(1) }

// Stale counts an answer that was given although it has expired.
func (w *Worker) Stale() { w.stale.add(1) }

// Filtered counts an answer that a rule of a list is about, by the list's number; if it is blocked by the
// client's view, too.
func (w *Worker) Filtered(list uint8, how Filtering, view uint8) {
	w.filtered[list][how].add(1)
	if how == FilterBlocked && view != 0 {
		w.blocked[min(view, viewSlots-1)].add(1)
	}
}

// Panic counts a query that made us panic.
func (w *Worker) Panic() { w.panics.add(1) }

// A Telemetry is all counters of one server.
type Telemetry struct {
	mu         sync.Mutex
	workers    []*Worker
	collectors []func(*Writer)
	ready      atomic.Pointer[func() error] // why the server should not be asked; nil: it is starting
	views      []string                     // names, by slot less one
}

// otherViews is the name of the views that have no slot of their own.
const otherViews = "other"

// ViewSlot returns the slot of a view's counters, which it has until the server ends: counters do not
// go back when views come and go.
func (t *Telemetry) ViewSlot(name string) uint8 {
	if t == nil {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	at := slices.Index(t.views, name)
	if at < 0 && len(t.views) < viewSlots-2 {
		at = len(t.views)
		t.views = append(t.views, name)
	}
	if at < 0 {
		return viewSlots - 1
	}
	return uint8(at + 1)
}

// ViewName returns the name of a view by its slot; empty: there are no views.
func (t *Telemetry) ViewName(slot uint8) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case slot == 0:
		return ""
	case int(slot) <= len(t.views):
		return t.views[slot-1]
	}
	return otherViews
}

// New returns a telemetry without workers.
func New() *Telemetry { return &Telemetry{} }

// NewWorker returns counters for one goroutine.
func (t *Telemetry) NewWorker() *Worker {
	w := &Worker{}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.workers = append(t.workers, w)
	return w
}

// Collect has f write more metrics whenever they are read. They must be in the table.
func (t *Telemetry) Collect(f func(*Writer)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.collectors = append(t.collectors, f)
}

// sum returns the workers' counters added up.
func (t *Telemetry) sum() *Worker {
	t.mu.Lock()
	workers := t.workers[:len(t.workers):len(t.workers)]
	t.mu.Unlock()
	total := &Worker{}
	for _, w := range workers {
		add(total.queries[:], w.queries[:])
		add(total.types[:], w.types[:])
		add(total.rcodes[:], w.rcodes[:])
		add(total.latency[:], w.latency[:])
		add(total.malformed[:], w.malformed[:])
		for i := range w.drops {
			add(total.drops[i][:], w.drops[i][:])
		}
		add(total.cookies[:], w.cookies[:])
		add(total.limited[:], w.limited[:])
		add(total.lookups[:], w.lookups[:])
		add(total.views[:], w.views[:])
		add(total.blocked[:], w.blocked[:])
		for i := range w.filtered {
			add(total.filtered[i][:], w.filtered[i][:])
		}
		total.nanos.add(w.nanos.load())
		total.in.add(w.in.load())
		total.out.add(w.out.load())
		total.truncated.add(w.truncated.load())
		total.slipped.add(w.slipped.load())
		total.panics.add(w.panics.load())
		total.stale.add(w.stale.load())
	}
	return total
}

func add(total, part []counter) {
	for i := range part {
		total[i].add(part[i].load())
	}
}

// EachFiltered calls f for each list, by its number, and each way that answers went that it has a rule
// for, with their number.
func (t *Telemetry) EachFiltered(f func(list int, how Filtering, n uint64)) {
	total := t.sum()
	for i := range total.filtered {
		for how := range filterCount {
			if n := total.filtered[i][how].load(); n > 0 {
				f(i, how, n)
			}
		}
	}
}
