package policy

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
)

// MaxSets is how many sets of networks one [Sets] can hold: a bit each.
const MaxSets = 64

// Sets tell in which of up to [MaxSets] sets of networks an address is, all of them by one
// search: however many the sets are, an address is looked up once. Each set is as an [ACL] of
// its own would have it.
type Sets struct {
	// Where the answer changes, going up from the lowest address, and what it is from there on.
	from4 []uint32
	from6 []addr128
	in4   []uint64
	in6   []uint64
}

// NewSets returns the sets of a list of rules, the first of which is bit 0. It is an error if
// they are more than [MaxSets], or if [NewACL] would take one of them for one.
func NewSets(list []ACLOptions) (*Sets, error) {
	if len(list) > MaxSets {
		return nil, fmt.Errorf("sets of networks: %d, and there can be %d", len(list), MaxSets)
	}
	acls := make([]*ACL, len(list))
	s := &Sets{from4: []uint32{0}, from6: []addr128{{}}}
	for i, o := range list {
		a, err := NewACL(o)
		if err != nil {
			return nil, err
		}
		acls[i] = a
		s.from4, s.from6 = append(s.from4, a.flips4...), append(s.from6, a.flips6...)
	}
	slices.Sort(s.from4)
	s.from4 = slices.Clip(slices.Compact(s.from4))
	slices.SortFunc(s.from6, addr128.compare)
	s.from6 = slices.Clip(slices.Compact(s.from6))
	s.in4, s.in6 = make([]uint64, len(s.from4)), make([]uint64, len(s.from6))
	for i, a := range acls {
		mark(s.in4, s.from4, a.flips4, 1<<i, cmp.Compare[uint32])
		mark(s.in6, s.from6, a.flips6, 1<<i, addr128.compare)
	}
	return s, nil
}

// mark sets a bit of those ranges, by where they begin, that lie behind an odd number of flips.
func mark[T any](in []uint64, from, flips []T, bit uint64, compare func(T, T) int) {
	passed := 0
	for i := range from {
		for passed < len(flips) && compare(flips[passed], from[i]) <= 0 {
			passed++
		}
		if passed&1 != 0 {
			in[i] |= bit
		}
	}
}

// Of returns the sets that addr is in, a bit each. An invalid address is in none.
func (s *Sets) Of(addr netip.Addr) uint64 {
	if addr.Is4() {
		b := addr.As4()
		return s.of4(binary.BigEndian.Uint32(b[:]))
	}
	if !addr.IsValid() {
		return 0
	}
	n := number(addr)
	if n.hi == 0 && n.lo>>32 == 0xFFFF { // mapped
		return s.of4(uint32(n.lo))
	}
	low, high := 1, len(s.from6) // the first range begins with the lowest address
	for low < high {
		mid := int(uint(low+high) / 2)
		if f := &s.from6[mid]; f.hi < n.hi || f.hi == n.hi && f.lo <= n.lo {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return s.in6[low-1]
}

// of4 halves as allows4 of an [ACL] does.
func (s *Sets) of4(n uint32) uint64 {
	f := s.from4
	low := 0
	for size := len(f); size > 1; {
		half := size / 2
		if f[low+half] <= n {
			low += half
		}
		size -= half
	}
	return s.in4[low]
}
