package rpz

import (
	"math/bits"
	"sync/atomic"

	"port53/internal/wire"
	"port53/internal/zone"
)

// A Summary is what is worth knowing of the versions of a policy zone before anything is looked for:
// which triggers it has, and which lengths of prefixes. It outlives generations; the zero value is ready.
//
// It is found out with the first question that a version judges. What has changed since the version
// before is looked at there and then; a version that was compiled again is read beside, and until that is
// done prefixes of all lengths are looked for.
type Summary struct {
	now atomic.Pointer[shape]
}

// A shape is the outline of a version.
type shape struct {
	of    *zone.Zone
	has   [triggers]bool
	known bool // lengths are
	lengths
}

// lengths are those of prefixes, of each trigger that has any: of IPv4 and of IPv6. A length of which
// there is no prefix any more may be among them.
type lengths [triggers][2]mask

// A mask has a bit for each length from 0 to 128.
type mask [3]uint64

func (m *mask) set(n int) { m[n>>6] |= 1 << (n & 63) }

// below returns the longest length that is less than n, or 0.
func (m *mask) below(n int) int {
	for i := (n - 1) >> 6; n > 0 && i >= 0; i-- {
		w := m[i]
		if i == (n-1)>>6 {
			w &= ^uint64(0) >> (63 - (n-1)&63)
		}
		if w != 0 {
			return i<<6 + 63 - bits.LeadingZeros64(w)
		}
	}
	return 0
}

// shaped returns the shape of a version of a zone.
func (z *Zone) shaped(v *zone.Zone) *shape {
	o := z.Summary
	if o == nil {
		return look(v)
	}
	before := o.now.Load()
	if before != nil && before.of == v {
		return before
	}
	s := look(v)
	if before != nil && before.known && !s.known && v.NamesSince(before.of, s.note) {
		for t := range s.lengths {
			for family := range s.lengths[t] {
				for i, w := range before.lengths[t][family] {
					s.lengths[t][family][i] |= w
				}
			}
		}
		s.known = true
	}
	if o.now.CompareAndSwap(before, s) && !s.known {
		go o.read(s)
	}
	return s
}

// look returns the triggers of a version.
func look(v *zone.Zone) *shape {
	s := &shape{of: v, has: [triggers]bool{QName: true}}
	for t, label := range labels {
		if label == "" || len(label)+len(v.Apex()) > wire.MaxName {
			continue
		}
		var split wire.SplitName
		split.Set(append([]byte(label), v.Apex()...))
		s.has[t] = v.Lookup(&split) != 0
	}
	s.known = !s.has[ClientIP] && !s.has[IP] && !s.has[NSIP]
	return s
}

// read finds out the lengths of a version.
func (o *Summary) read(s *shape) {
	full := *s
	full.of.NamesSince(nil, full.note)
	full.known = true
	o.now.CompareAndSwap(s, &full)
}

// note takes the length of the prefix that a name may be.
func (s *shape) note(rel []byte) {
	if len(rel) < 2 || rel[1] < '0' || rel[1] > '9' || rel[0] > 3 {
		return
	}
	last, parts, zz := 0, 0, false
	for i := 0; i < len(rel); i += 1 + int(rel[i]) {
		zz = zz || string(rel[i:min(i+3, len(rel))]) == "\x02zz"
		last = i
		parts++
	}
	n := 0
	for _, c := range rel[1 : 1+rel[0]] {
		if n = 10*n + int(c-'0'); c < '0' || c > '9' {
			return
		}
	}
	family := 1
	if parts == 6 && !zz {
		family = 0
	}
	for t, label := range labels {
		if label != "" && label == string(rel[last:]) && n <= 128 {
			s.lengths[t][family].set(n)
		}
	}
}

// below returns the longest length less than n that prefixes of a trigger may have; 0: there is none.
func (s *shape) below(t Trigger, six bool, n int) int {
	switch {
	case !s.known:
		return n - 1
	case six:
		return s.lengths[t][1].below(n)
	}
	return s.lengths[t][0].below(n)
}

// later reports whether a version has rules about what is known with the answer alone.
func (s *shape) later() bool { return s.has[IP] || s.servers() }

// servers reports whether a version has rules about the servers of zones.
func (s *shape) servers() bool { return s.has[NSDName] || s.has[NSIP] }
