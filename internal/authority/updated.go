package authority

import (
	"bytes"

	"port53/internal/wire"
	"port53/internal/zone"
)

// An updated name is the records of one name as the messages so far have left them.
type updated struct {
	name  string // in wire form and lower case
	owner []byte // as it is spelled
	sets  map[wire.Type]*updatedSet
	live  int // records of all sets
}

// An updatedSet is the records of one type.
type updatedSet struct {
	of   *updated
	t    wire.Type
	list []updatedRecord // in their order; those without data are gone
	at   map[string]int  // where in the list the record with some canonical data is
	live int
	ttl  uint32 // of all records, if
	one  bool   // an update has said so

	touched bool // by the message in hand: then
	before  []updatedRecord
	owner   []byte // as it was spelled before
}

type updatedRecord struct {
	ttl  uint32
	data []byte
}

// canonical returns what tells a record's data from that of others: names in it count
// without regard to case where comparing DNSSEC records would (RFC 2136, section 1.1.1).
func canonical(t wire.Type, data []byte) string { return string(wire.AppendCanonical(nil, t, data)) }

// set returns the set of a type, an empty one if there is none.
func (n *updated) set(t wire.Type) *updatedSet {
	s := n.sets[t]
	if s == nil {
		s = &updatedSet{of: n, t: t, at: map[string]int{}}
		n.sets[t] = s
	}
	return s
}

// size returns how many records of a type there are.
func (n *updated) size(t wire.Type) int {
	if s := n.sets[t]; s != nil {
		return s.live
	}
	return 0
}

// first returns the first record of a type that has one.
func (n *updated) first(t wire.Type) updatedRecord { return n.sets[t].records()[0] }

// has reports whether the records of a type are those with the canonical data, and no
// others.
func (n *updated) has(t wire.Type, wanted map[string]struct{}) bool {
	if n.size(t) != len(wanted) {
		return false
	}
	for key := range wanted {
		if !n.sets[t].holds(key) {
			return false
		}
	}
	return true
}

func (s *updatedSet) holds(key string) bool {
	_, ok := s.at[key]
	return ok
}

// put adds a record behind the others, in place of one with the same data, which it copies.
func (s *updatedSet) put(ttl uint32, data []byte) {
	key := canonical(s.t, data)
	s.remove(key)
	s.at[key] = len(s.list)
	s.list = append(s.list, updatedRecord{ttl, append([]byte{}, data...)})
	s.live++
	s.of.live++
}

func (s *updatedSet) remove(key string) {
	i, ok := s.at[key]
	if !ok {
		return
	}
	delete(s.at, key)
	s.list[i].data = nil
	s.live--
	s.of.live--
}

func (s *updatedSet) clear() {
	s.of.live -= s.live
	s.list, s.live = s.list[:0], 0
	clear(s.at)
}

// records returns what the set has now. It is valid until the set changes.
func (s *updatedSet) records() []updatedRecord {
	if len(s.list) != s.live {
		kept := s.list[:0]
		for _, r := range s.list {
			if r.data != nil {
				s.at[canonical(s.t, r.data)] = len(kept)
				kept = append(kept, r)
			}
		}
		s.list = kept
	}
	if s.one {
		for i := range s.list {
			s.list[i].ttl = s.ttl
		}
	}
	return s.list
}

// difference appends the records that the message in hand has taken from the set and those
// that it has brought.
func (s *updatedSet) difference(removed, added []byte) (_, _ []byte) {
	now := s.records()
	spelled := bytes.Equal(s.owner, s.of.owner)
	was := make(map[string]updatedRecord, len(s.before))
	for _, r := range s.before {
		key := canonical(s.t, r.data)
		was[key] = r
		if i, ok := s.at[key]; !ok || !spelled || !r.equal(now[i]) {
			removed = zone.AppendRecord(removed, s.owner, s.t, r.ttl, r.data)
		}
	}
	for _, r := range now {
		if old, ok := was[canonical(s.t, r.data)]; !ok || !spelled || !r.equal(old) {
			added = zone.AppendRecord(added, s.of.owner, s.t, r.ttl, r.data)
		}
	}
	return removed, added
}

func (r updatedRecord) equal(other updatedRecord) bool {
	return r.ttl == other.ttl && bytes.Equal(r.data, other.data)
}
