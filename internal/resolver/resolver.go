// Package resolver finds answers: it walks delegations from the root, or asks
// forwarders, follows aliases, and validates what it is told.
//
// A question of a client becomes a task, which has one budget of packets, time and
// cryptography, handed down to every question that must be asked on the way. A
// task first asks the cache; what is not there it fetches link by link: one RRset,
// one alias or one proof that there is nothing. Only one function, [admit],
// decides what of a reply may be used and kept.
//
// A forwarder is a delegation with RD set; a stub zone is one that is not learned
// from its parent; a zone that this server is authoritative for is one whose
// server is asked without a network. What is learned through each of them is kept
// apart.
//
// Package resolver opens no socket, it is given an [Exchanger], and it builds no
// reply: it yields a [cache.Answer], which the engine sends.
package resolver

import (
	"context"
	"hash/maphash"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"port53/internal/cache"
	"port53/internal/upstream"
	"port53/internal/why"
	"port53/internal/wire"
)

// An Exchanger asks one server one question. [upstream.Client] is one.
type Exchanger interface {
	// Exchange sends q and waits for the reply that matches it.
	Exchange(ctx context.Context, server netip.AddrPort, q *upstream.Question) (upstream.Reply, error)
	// Estimate tells how long a reply of the server should be waited for, and what is
	// known of it. probe is true for one caller at a time if it is dead.
	Estimate(server netip.AddrPort) (timeout time.Duration, state upstream.State, probe bool)
	// RTT returns a server's smoothed round-trip time, or 0.
	RTT(server netip.AddrPort) time.Duration
	// NoteCasePreserved notes whether a server finds names with upper-case letters.
	NoteCasePreserved(server netip.AddrPort, bears bool)
}

// Local answers from the zones that this server is authoritative for.
type Local interface {
	// Apex returns the apex of the closest local zone at or above name, or nil. For
	// type DS it is the zone above, if that is local as well.
	Apex(name []byte, t wire.Type) []byte
	// Answer returns a whole reply to a query for name and t with DO set.
	Answer(name []byte, t wire.Type) []byte
}

// Minimisation is how much of a name servers are shown (RFC 9156).
type Minimisation uint8

// The ways of QNAME minimisation.
const (
	Relaxed Minimisation = iota // servers that stumble over it are asked for the whole name
	Strict
	Off
)

// A Route sends the names at and below a zone to servers of its own.
type Route struct {
	Zone       []byte           // in lower case
	Servers    []netip.AddrPort // none: an exception of a wider route, names are iterated
	Forward    bool             // the servers are resolvers: RD is set, and they answer for everything below
	First      bool             // what forwarders do not answer is iterated; else nobody but them is asked
	TCP        bool
	Transports map[netip.AddrPort]*upstream.Transport // of servers that are never asked in the clear; nil: there are none
}

// Settings are what a reload may change. They are not modified after they were
// compiled.
//
// In one piece: it has a field for each setting.
type Settings struct {
	Hints      []Hint // the root's servers; nil: those built in
	Port       uint16 // of servers found by iteration; 0: 53
	Routes     []Route
	Local      Local    // nil: no zone is local
	Anchors    []Anchor // nil: those built in
	Validate   bool
	Now        func() time.Time // the time that signatures are valid at; nil: time.Now
	Minimise   Minimisation
	MixCase    bool // 0x20
	IPv4       bool
	IPv6       bool
	DoNotQuery []netip.Prefix // never an upstream, unless a route names it
	Negative   []NegativeAnchor
	DNS64      *DNS64 // for clients that have IPv6 alone; nil: there is none
	Exceptions []Exception
	Shared     []netip.Prefix // of clients whose addresses many share: each has the quota of one with a cookie
	Private    [][]byte       // zones in which private addresses may stand
	Rebinding  bool           // private addresses are taken out of answers found by iteration
	StaleWait  time.Duration  // until a client gets a stale answer, if there is one; 0: 1.8 s
	Aggressive bool           // use NSEC and NSEC3 records for other names (RFC 8198)
	Sentinel   bool           // root key sentinel (RFC 8509)
	Clock      Clock
	TimeNames  [][]byte // in lower case: answered without validation while the clock is wrong
	Reporting  bool     // zones that name an agent are told of failures (RFC 9567)
	Limits     Limits

	// Partition is the part of the cache, below cache.MaxViews, that has what is learned by these
	// settings, and nothing else. At any time there is one configuration for each.
	Partition uint8
}

// A NegativeAnchor makes a zone and what is below it insecure for a time
// (RFC 7646).
type NegativeAnchor struct {
	Zone  []byte
	Until time.Time // zero: without an end
}

// Options make a Resolver. Cache and Exchanger are required.
type Options struct {
	Cache     *cache.Cache
	Exchanger Exchanger
	Log       *slog.Logger
	Why       *why.Log // remembers how questions failed; nil: nothing is
}

// A Resolver finds answers for many at once.
//
// In one piece: it is the tables that all questions share, each with a lock of its own.
type Resolver struct {
	cache    *cache.Cache
	exchange Exchanger
	log      *slog.Logger
	why      *why.Log
	configs  [cache.MaxViews]atomic.Pointer[Config] // that questions come with now, by partition
	seed     maphash.Seed
	random   upstream.Entropy

	flights  flights
	trusts   [cache.MaxViews]trusts // by partition
	lame     expiring[lameFor]
	refusals refusals
	dead     expiring[targetKey]
	quota    quotas
	spans    [cache.MaxViews]spans // likewise
	waiting  waiting

	inquiries chan *inquiry // to goroutines without work
	idle      atomic.Int32  // these

	counters Counters
	clock    clockWatch

	ctx  context.Context // ends when the resolver is closed
	stop context.CancelFunc
	work sync.WaitGroup
}

// A Config is [Settings] and what is made of them once. It is immutable.
type Config struct {
	Settings
	routes  []Route // longest zone first
	anchors map[string]*Anchor
	except  exceptions
	now     func() time.Time
	port    uint16
	origin  *Config // that Compile returned
}

// New returns a resolver that works by c until [Resolver.Apply] says otherwise.
func New(o Options, c *Config) *Resolver {
	r := &Resolver{cache: o.Cache, exchange: o.Exchanger, log: o.Log, why: o.Why, seed: maphash.MakeSeed()}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	r.ctx, r.stop = context.WithCancel(context.Background())
	r.flights.init()
	r.inquiries = make(chan *inquiry)
	r.waiting.init()
	r.Apply(c)
	return r
}

// Compile makes settings ready for use.
func Compile(s Settings) *Config {
	s.Limits.fill()
	if s.StaleWait == 0 {
		s.StaleWait = defaultStaleWait
	}
	if s.Hints == nil {
		s.Hints = Hints()
	}
	if s.Anchors == nil {
		s.Anchors = Anchors()
	}
	c := &Config{
		Settings: s,
		now:      s.Now,
		port:     s.Port,
		routes:   sortRoutes(s.Routes),
		anchors:  indexAnchors(s.Anchors),
		except:   indexExceptions(s.Exceptions),
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.port == 0 {
		c.port = 53
	}
	c.origin = c
	return c
}

// WithLocal returns a configuration that differs in nothing but the zones that are local.
func (c *Config) WithLocal(local Local) *Config {
	next := *c
	next.Local = local
	return &next
}

// Apply says by which configuration the questions of its partition come from now on. Questions that still come
// with another are answered by that, and leave nothing in the cache. Keys of zones are
// learned again, unless c differs from the configuration before by its local zones alone.
func (r *Resolver) Apply(c *Config) {
	before := r.configs[c.Partition].Swap(c)
	if before == nil || before.origin != c.origin {
		r.cache.Revoke()
		r.trusts[c.Partition].clear()
	}
	if why := c.early(c.now()); why != "" && c.Validate {
		r.tellClock(c, doubt{"the clock is wrong: " + why, true})
	}
}

// Close ends all work and waits for it.
func (r *Resolver) Close() {
	r.stop()
	r.work.Wait()
	r.waiting.mu.Lock()
	defer r.waiting.mu.Unlock()
	if r.waiting.clock != nil {
		r.waiting.clock.Stop()
	}
}

// Counters count what the resolver did since its start.
type Counters struct {
	Questions atomic.Uint64 // of clients that were not answered from the cache
	Joined    atomic.Uint64 // of these, those that waited for another's answer
	Sent      atomic.Uint64 // packets to servers
	Timeouts  atomic.Uint64
	Spoofed   atomic.Uint64 // questions that got replies with a wrong ID
	Failed    atomic.Uint64 // answered SERVFAIL
	Bogus     atomic.Uint64
	Shed      atomic.Uint64 // dropped because too many were waiting
	Synthetic atomic.Uint64 // answered from NSEC and NSEC3 records of other names
	NSLookups atomic.Uint64 // names whose zones' servers were looked up, to judge answers by
	NSUnknown atomic.Uint64 // of these, those of which not all were found

	Failures [maxEDE + 2]atomic.Uint64 // Failed by Extended DNS Error plus one; the first is of those without
}

// maxEDE is the last Extended DNS Error that a failure can have.
const maxEDE = wire.EDEInvalidType

// Counters returns the counters, which go on counting.
func (r *Resolver) Counters() *Counters { return &r.counters }
