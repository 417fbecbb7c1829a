// Package why remembers for a while why answers were what they were: of each resolution that ended in a
// problem the way that it took, and of each client's query that met one what was replied.
//
// A [Log] has a bound in octets, and the newest wins. The resolver gives it a [Resolution] when it is done with a
// question; queries come by the event hub, with the id that the client was told. Whoever asks gets a
// [Report]: the cause first, then the steps, then what can be done.
//
// The way of a query from the client to its reply is left alone: nothing here is called from it.
package why

import (
	"net/netip"
	"time"

	"port53/internal/dnssec"
	"port53/internal/wire"
)

// A Kind is what happened in a step.
type Kind uint8

// The kinds.
const (
	Replied   Kind = iota + 1 // a server replied; Text says what that comes to
	Silent                    // nothing that can be believed came from a server; Text says why
	Skipped                   // a server was not asked; Text says why
	NoAddress                 // a name server has no address that can be asked; Text says why
	Validated                 // a set was validated, and is not secure
	Failed                    // a name could not be looked up: Cause and Text say why
	Clock                     // the clock is not right; Text says why
	Filtered                  // a private address was taken out of an answer
	Untrusted                 // an operator has a negative trust anchor for the name
	Cached                    // an answer came from the cache, or another question waited for the same
)

// A Step is something that happened on the way to an answer. It is a form with a place for each thing that
// can be told.
type Step struct {
	Kind    Kind
	Cause   Cause
	Reason  dnssec.Reason // of what was judged
	TCP     bool
	Forward bool // the server is a forwarder
	Type    wire.Type
	Rcode   wire.Rcode
	EDE     int16 // -1: none
	Server  netip.AddrPort
	At      time.Duration // since the question came
	Took    time.Duration
	Zone    []byte // whose servers were asked, or that was judged
	Name    []byte // that was asked for
	Other   []byte // the target of an alias, or the zone of a referral
	Text    string
}

// A Resolution is how a question came to its answer.
type Resolution struct {
	Started   time.Time
	Took      time.Duration
	Name      []byte // in lower case
	Type      wire.Type
	Partition uint8 // the partition of the cache, which a view has
	Partial   bool  // the work was not done yet when this was written
	Left      uint16
	Rcode     wire.Rcode
	EDE       int16 // -1: none
	Cause     Cause // of a failure, as the resolver knows it; 0: see the steps
	Text      string
	Steps     []Step
}

// A Cause is why there was a problem.
type Cause uint8

// The causes. Each has a code, which programs can rely on.
const (
	Unknown Cause = iota
	ServersSilent
	ServersUnreachable
	ServersRefuse
	ServersFail
	ServersReject
	ServersLame
	ServersGarbled
	NoServerAddress
	DelegationCircle
	AddressForbidden
	AliasLoop
	AliasChain
	ReferralChain
	LimitPackets
	LimitOctets
	LimitDepth
	LimitTime
	LimitServers
	LimitZone
	FailedBefore
	LocalZone
	ShuttingDown
	SignatureExpired
	SignatureEarly
	SignatureMissing
	SignatureWrong
	SignatureSigner
	KeyMissing
	DSMismatch
	NoKeys
	NoZoneKey
	ProofMissing
	ProofWrong
	Iterations
	Unsupported
	LimitValidation
	ClockWrong
	PrivateAddress
	NegativeAnchor
	Blocked
	Tunnel
	RateLimited
	Overloaded
	NotAllowed
	NoRecursion
	CacheOnly
	ZoneNotAllowed
	NotServed
	NotLoaded
	BadTSIG
	FormatError
	NotSupported
	PortRefused
	WaitedTooLong
	Stale
	Answered
	causeCount
)
