// Package filter decides which names, and which addresses in answers, are not for whom: by lists
// that others publish, and by names of one's own.
//
// A [Table] has the rules of all lists: by name, each for the name itself, for the names below it,
// or for both. It is immutable, built beside the one that is used by a [Builder], and lies in a few
// large pieces of memory without pointers: a hash table of one cache line for twelve rules, and
// entries that hold the whole name, or what of it is before a suffix that many share. A name is
// found label by label from the right, by hashes that go on from one another, and compared octet by
// octet: no name is taken for another.
//
// A [Policy] says which lists count for whom and when, and what is answered. [Set.MatchesAny] tells
// whether any rule of any list is about a question and its answer: for nearly all there is none,
// which holds for all clients and can be remembered. [Set.Judge] says what a policy does otherwise.
//
// Package filter opens no file and knows no server: package feed has where lists come from, and
// package engine asks.
package filter

import (
	"port53/internal/wire"
)

// A Scope is which names a rule is for.
type Scope uint8

// The scopes.
const (
	Exact   Scope           = 1 << iota // the name itself
	Below                               // the names below it
	Subtree = Exact | Below             // both
)

// A space is what a rule looks at. Rules of different spaces never meet.
type space uint8

// The spaces.
const (
	spaceName          space = iota // names: the question's, and what aliases lead to
	spaceAddress                    // addresses in answers
	spaceClient                     // addresses of clients
	spaceServer                     // names of the servers of a zone
	spaceServerAddress              // and their addresses
	spaceCount
)

// MaxLists is how many lists a Table can tell apart.
const MaxLists = 250

// flags of an entry.
const (
	flagScope     = 3
	flagSpace     = 7 << spaceShift
	flagAllow     = 1 << 5
	flagImportant = 1 << 6
	flagExtra     = 1 << 7 // there is more to the rule than fits here

	spaceShift = 2
)

// A rule is one rule of a list, for a name that goes beside it.
type rule struct {
	scope     Scope
	space     space
	list      uint8
	allow     bool
	important bool
	line      uint32
	extra     *extra
}

func (r *rule) flags() uint8 {
	f := uint8(r.scope) | uint8(r.space)<<spaceShift
	if r.allow {
		f |= flagAllow
	}
	if r.important {
		f |= flagImportant
	}
	if r.extra != nil {
		f |= flagExtra
	}
	return f
}

// seedOf returns where the hash of a name begins in a space.
func seedOf(seed wire.Seed, s space) wire.Seed { return seed ^ wire.Seed(s)*0x9E3779B97F4A7C15 }
