package zones

import (
	"context"
	"net/netip"
	"time"

	"port53/internal/wire"
	"port53/internal/zone"
)

// An Origin is where the versions of one zone come from.
type Origin interface {
	// Candidate returns what is to be served instead of what is known, or nil if that is
	// still right; a candidate with the known version says so too, and for how long. It may
	// take long. A zone's calls do not overlap.
	// An error means that the origin could not be asked; what is wrong with the zone itself
	// is told in a Candidate without a version.
	Candidate(ctx context.Context, known Known) (*Candidate, error)

	// Continues reports whether prior, the zone's origin until now, has given versions of
	// the same zone, so that what is served and what is written down go on to count.
	Continues(prior Origin) bool

	// Traits returns how the origin is to be used.
	Traits() Traits
}

// Traits say how an [Origin] is used.
type Traits struct {
	// Polled origins are asked by the times of the zone's SOA record and after NOTIFY, as
	// primaries are, and the zone expires if they cannot be. Others are asked at each load.
	Polled bool

	// Kept versions are in the store before they are served, since the origin may not be
	// there at the next start.
	Kept bool
}

// Known is what the manager has of a zone when it asks the zone's origin.
type Known struct {
	Zone  *zone.Zone // the version that is served; nil: there is none, or it is not to count
	Basis Basis      // of the last candidate; nil: it does not hold any more
	Seed  wire.Seed  // to build versions with
	From  netip.Addr // who has announced a new version; invalid: nobody

	// Check is what the manager will ask of a candidate. An origin with several servers
	// offers what the next one has if it fails.
	Check func(*Candidate) error
}

// A Basis is what an origin's verdict rested on, the bad verdict as well as the good one.
type Basis interface {
	// Holds reports whether the origin would come to the same verdict again.
	Holds() bool
}

// A Candidate is a version of a zone that is to be served.
type Candidate struct {
	Zone     *zone.Zone    // nil: there is none, and Problems say why
	Deltas   []*zone.Delta // that lead to it from the version served, the oldest first; nil: not known
	Problems []Problem     // warnings, and errors if there is no Zone
	Basis    Basis         // nil: the origin is to be asked again

	// Digest says what a wrong ZONEMD record means (RFC 8976).
	Digest DigestRule

	Expire time.Duration // for how long it may be served without its origin (RFC 7314); 0: as its SOA says
	Octets int64         // that fetching it took on the wire

	checked bool // Check has seen it
	keep    bool // it has to be in the store before it is served
	unused  bool // the zone file was edited, and its serial is not newer
	fetched bool // it has come just now from an origin that is polled

	past []*zone.Delta // that led to it before the server started

	signed *Signed // what is served of it; nil: it is served as it is
}

// A DigestRule says what is done about a ZONEMD record that does not fit the zone.
type DigestRule uint8

// The rules.
const (
	DigestIgnored DigestRule = iota // the digest is of an earlier version: an update has changed the zone
	DigestWarns                     // the zone is served: whoever wrote it wants it so
	DigestDecides                   // the zone is refused: it has been damaged on its way
)
