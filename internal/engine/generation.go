package engine

import (
	"port53/internal/cache"
	"port53/internal/filter"
	"port53/internal/grant"
	"port53/internal/hosts"
	"port53/internal/policy"
	"port53/internal/resolver"
	"port53/internal/tsig"
	"port53/internal/why"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zones"
)

// A Generation is all that a query reads of the server: a configuration, made ready for
// use. It is immutable but for the versions of zones. A query loads it once and sees it
// from its start to its end; a reload builds another and swaps it in whole.
//
// State that outlives a generation, such as the limiter's table, the secrets of cookies and
// the cache, is handed on from one to the next, and is never edited to fit the next.
type Generation struct {
	View             // of those whom none of Views matches
	Views     *Views // nil: there is but one
	Limits    Limits
	Identity  Identity
	Filter    *filter.Set      // rules that names outside of the zones are judged by, as the view has it; nil: none
	Keys      tsig.Keys        // signatures are verified with; nil: there are no keys
	Holders   grant.Table      // whose client certificates are whose; nil: nobody is known by one
	Contract  *policy.Contract // what zones and grants let peers do, at the most; nil: whatever they do
	Policies  *zone.View       // response policy zones: nobody is answered from them, though some may transfer or change them; nil: none
	Why       Why              // of which replies it is remembered why they are as they are
	Discovery *Discovery       // what clients are told of the recursive service; nil: nothing
	Manager   Manager          // moves zones whole, and changes them; nil: nobody may have that
}

// Limits are what bounds replies.
type Limits struct {
	Rates            *policy.RateLimiter // limits UDP answers; nil: no limit
	Cookies          *policy.Cookies     // server cookies; nil: off
	UDPSize          int                 // octets of the largest reply over UDP, and what OPT tells; 0: 1232
	Padding          int                 // over TCP, replies to those who ask are padded to multiples of this (RFC 7830); 0: off
	EncryptedPadding int                 // the same over encrypted transports
}

// Why says which replies get an id, by which it can be asked later why they are as they are.
type Why struct {
	Record why.Record
	Tell   bool // clients, in the text of the Extended DNS Error
}

// Identity is what the server tells of itself to those who ask.
type Identity struct {
	NSID []byte // RFC 5001; empty: off

	// What CH TXT version.bind and version.server, hostname.bind and id.server answer
	// (RFC 4892). Empty: REFUSED.
	Version  string
	Hostname string
}

// Recursion is what answers for names outside of the zones.
type Recursion struct {
	Cache        *cache.Cache
	Resolver     *resolver.Resolver
	Config       *resolver.Config // by which the resolver answers
	Names        *hosts.Table     // of machines, beside the zones; nil: none
	Builtin      *zone.View       // names that are never asked of others (RFC 6303, RFC 6761); nil: none
	DNS64Clients *policy.ACL      // clients that have IPv6 alone, for whom addresses are made (DNS64); nil: none
	Info         []byte           // RDATA of the RESINFO record that tells what this can do (RFC 9606); nil: none
	Order        wire.Order       // in which the records of a set are sent
	Stale        bool             // what has expired is served when nothing fresh is to be had (RFC 8767)
	Prefetch     bool             // what is about to expire is asked for again
}

// A Manager does what a message wants of a zone as a whole, from a client that the zone's
// access allows it. Its methods are called from many goroutines.
type Manager interface {
	// Transfer sends the zone, by as many calls of reply as it needs, signed.
	Transfer(r *zones.Request, reply func(message []byte) error)
	// Notify reports whether the zone is here and has primaries that are asked now.
	Notify(r *zones.Request) bool
	// Update returns the rcode to answer with, or the reply itself: a primary's. What it
	// acknowledges is durable.
	Update(r *zones.Request) (rcode wire.Rcode, reply []byte)
}

// defaultUDPSize avoids fragments on every path seen (DNS flag day 2020;
// RFC 9715, section 3.1 would allow 1400).
const defaultUDPSize = 1232

// everyone is the access of a generation for which nothing is said.
var everyone = &policy.Access{}

// filled returns the generation with defaults for what is not said.
func (g Generation) filled() *Generation {
	g.View = g.View.filled()
	if g.Limits.UDPSize == 0 {
		g.Limits.UDPSize = defaultUDPSize
	}
	return &g
}
