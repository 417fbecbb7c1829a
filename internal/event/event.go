// Package event is how the server tells of each query and its reply while it answers: to port53 top,
// to those who follow queries live, to dnstap, and to what remembers why an answer was as it was.
//
// Whoever answers has a [Writer], and in it a ring of memory of its own. To put a record there takes no
// lock, allocates nothing and waits for nobody; what does not fit, since it is not taken fast enough, is
// left out and counted. While nobody takes anything, a writer costs the load of one word.
//
// One goroutine of the [Hub] takes the records out of all rings, and gives them to those who want them.
// It sleeps while there are none, and is woken once for many.
package event

import (
	"net/netip"
	"strings"
	"time"

	"port53/internal/wire"
)

// Wants say which records somebody takes.
type Wants uint32

// What can be wanted.
const (
	// Problems are of answers that are refused, failed, limited, changed by a policy or out of date, and of
	// queries without a reply.
	Problems Wants = 1 << iota
	// Misses are of answers that other servers were asked for.
	Misses
	// Answers are of all queries.
	Answers
	// Upstream are of what other servers are asked.
	Upstream
	// Messages have the octets of query and reply in the records that are wanted.
	Messages
	// Explained are of what has an id by which it is known why the answer is as it is.
	Explained
)

// A Kind is what a record is of.
type Kind uint8

// The kinds.
const (
	Client Kind = iota // a query that came, and its reply
	Server             // a question to another server, and what it said
)

// The transports, as package server has them, which cannot be known here.
const (
	UDP uint8 = iota
	TCP
	DoT
	DoH
	DoQ
)

// A Path is where an answer comes from.
type Path uint8

// The paths.
const (
	Own     Path = iota // the server itself: refusals, errors, what may be known of it
	Zone                // a zone that is served
	Names               // the names of machines
	Builtin             // a name that is built in
	Cache               // the cache
	Stale               // the cache, out of date
	Miss                // other servers were asked
	Policy              // a rule of a list
	Manager             // what moves and changes zones
	PathCount
)

// String returns the path in one word.
func (p Path) String() string {
	names := [...]string{
		Own:     "server",
		Zone:    "zone",
		Names:   "names",
		Builtin: "builtin",
		Cache:   "cache",
		Stale:   "stale",
		Miss:    "miss",
		Policy:  "policy",
		Manager: "manager",
	}
	if int(p) < len(names) {
		return names[p]
	}
	return "unknown"
}

// An Outcome is what became of a query beside its reply.
type Outcome uint8

// The outcomes.
const (
	Replied Outcome = iota
	Slipped         // it was sent away to come back over TCP or with a cookie
	// Dropped and what follows are why there was no reply: Dropped plus the reason, as package telemetry has them.
	// Of a question to a server it is that nothing came which could be believed.
	Dropped
)

// A Reason is why the server itself, and nobody whom it asked, did not answer as the client wanted.
type Reason uint8

// The reasons.
const (
	_                   Reason = iota
	NotAllowed                 // the client may not ask here at all
	NoRecursion                // the client may not ask for other zones than ours
	CacheOnly                  // the query does not want recursion, and only the cache could answer it
	ZoneNotAllowed             // the client may not ask for the zone
	NotServed                  // there is no such zone here, and nobody else is asked
	NotLoaded                  // the zone has no version that can be served
	BadTSIG                    // the signature (TSIG) cannot be verified
	FormatError                // the message breaks the protocol
	NotSupported               // such a question is not answered here
	OperationNotAllowed        // the client may not transfer, change or notify the zone
	Tunnel                     // the client seems to move data through DNS
)

// A Record is one query and its reply, or one question to another server. Whoever is given one keeps nothing
// that its slices are of.
//
// In one piece: it is a form with a place for each thing that can be told of a query.
type Record struct {
	Kind      Kind
	Transport uint8
	Path      Path
	Outcome   Outcome
	View      uint8 // slot of the client's view; 0: there are no views
	Opcode    uint8
	Recursive bool           // it is of the recursive service; of a question to a server: the server is a forwarder
	Time      int64          // of arrival, in nanoseconds since 1970
	Latency   int64          // nanoseconds; below 0: not measured
	Remote    netip.AddrPort // the client, or the server that was asked
	Local     netip.AddrPort // where it was asked; the address is invalid if unknown
	ID        uint16         // of the message
	Flags     uint16         // of the reply
	Type      wire.Type
	Class     wire.Class
	Rcode     wire.Rcode
	EDE       int16  // -1: none
	Size      uint16 // octets of the query
	Reply     uint32 // octets of the reply; 0: none
	Reason    Reason
	List      uint8 // of the rule that counted, with Line; 0 without a line: none
	Line      uint32
	Why       uint64 // by which it is known why the answer is as it is; 0: by none

	Name     []byte // as asked, in wire form; nil: it could not be read
	Query    []byte // the message, if Messages are wanted
	Response []byte
	Text     []byte // more, for people
}

// When returns the time of arrival.
func (r *Record) When() time.Time { return time.Unix(0, r.Time) }

// idDigits are those of base 32 without letters that look alike.
const idDigits = "0123456789abcdefghjkmnpqrstvwxyz"

// IDLen is how many characters an id has; each has five bits.
const IDLen = 8

// AppendID appends the id of a record as people write it.
func AppendID(dst []byte, id uint64) []byte {
	for shift := 5 * (IDLen - 1); shift >= 0; shift -= 5 {
		dst = append(dst, idDigits[id>>shift&31])
	}
	return dst
}

// ParseID returns the id that somebody wrote.
func ParseID(text string) (id uint64, ok bool) {
	if len(text) != IDLen {
		return 0, false
	}
	for i := range len(text) {
		digit := strings.IndexByte(idDigits, text[i]|0x20)
		if c := text[i]; c >= '0' && c <= '9' {
			digit = int(c - '0')
		}
		if digit < 0 {
			return 0, false
		}
		id = id<<5 | uint64(digit)
	}
	return id, id != 0
}
