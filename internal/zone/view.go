package zone

import (
	"bytes"
	"encoding/binary"
	"iter"
	"sync/atomic"
	"time"

	"port53/internal/policy"
	"port53/internal/wire"
)

// A Served is what the server has of one zone at present: the version that answers, and
// until when it may. It outlives the views that name it: a new version is stored here, in
// place, and every view sees it at once.
type Served struct {
	zone    atomic.Pointer[Zone]
	expires atomic.Int64 // unix time in seconds; 0: never
}

// NewServed returns a Served with a version; nil: there is none that could be served.
func NewServed(z *Zone) *Served {
	s := &Served{}
	s.zone.Store(z)
	return s
}

// Zone returns the version that answers now, or nil. A query calls it once.
func (s *Served) Zone() *Zone { return s.zone.Load() }

// Store replaces the version; nil: the zone is not to be served any more for now.
func (s *Served) Store(z *Zone) { s.zone.Store(z) }

// Extend says until when the version may be served without word from a primary; the zero
// Time: for ever, as at a primary.
func (s *Served) Extend(until time.Time) {
	if until.IsZero() {
		s.expires.Store(0)
		return
	}
	s.expires.Store(until.Unix())
}

// An Entry is all that belongs to one zone: who may do what with it, and what is served.
type Entry struct {
	Apex      []byte         // in lower case
	Qualifier string         // what tells it from other zones of its name; empty: there need be none
	Access    *policy.Access // never nil
	Order     wire.Order     // of the records of a set
	*Served

	hash   wire.Seed
	labels int
}

// Expire returns for how many seconds a zone may be served without its primary (RFC 7314,
// section 2): what is left of a secondary's time, and all of it at a primary. It reports
// false if no version is served.
func (e *Entry) Expire(now time.Time) (seconds uint32, ok bool) {
	z := e.Zone()
	if z == nil {
		return 0, false
	}
	if until := e.expires.Load(); until != 0 {
		return uint32(max(0, until-now.Unix())), true
	}
	_, soa := z.SOA()
	return binary.BigEndian.Uint32(soa[len(soa)-8:]), true
}

// Key returns a number that stands for the zone's name.
func (e *Entry) Key() uint64 { return uint64(e.hash) }

// DefaultView is the name of the view of those whom no other view is for, which is the only one where
// none is configured.
const DefaultView = "default"

// Views are the zones that are served, by the names of the views that see them. A zone of several is
// one: they share its version. They are not modified once they were given to a reader.
type Views map[string]*View

// Qualifier returns the zones of a view, none if nothing is known of it.
func (v Views) View(name string) *View {
	if zones := v[name]; zones != nil {
		return zones
	}
	return &View{seed: v.Seed()}
}

// Seed returns the seed for builders of zones of these views.
func (v Views) Seed() wire.Seed {
	if zones := v[DefaultView]; zones != nil {
		return zones.seed
	}
	return 0
}

// shards is over how many tables the zones are spread: a change copies one of
// them, so that changing one zone among 100,000 costs about 400 entries.
const shards = 256

// A View is the zones that are served, and who may do what with them. It is immutable but
// for the versions themselves, which live in [Served].
type View struct {
	seed   wire.Seed
	count  int
	depths [2]uint64 // bit d is set if some apex has d labels
	byLen  [wire.MaxLabels + 1]int32
	shards [shards]*shard
}

// A shard is a hash table of entries, at most half full.
type shard struct {
	slots []*Entry
	count int
}

func (t *shard) find(h wire.Seed, apex []byte) *Entry {
	if t == nil {
		return nil
	}
	mask := uint64(len(t.slots) - 1)
	for slot := uint64(h) >> 8 & mask; ; slot = (slot + 1) & mask {
		e := t.slots[slot]
		if e == nil || e.hash == h && bytes.Equal(e.Apex, apex) {
			return e
		}
	}
}

func (t *shard) insert(e *Entry) {
	mask := uint64(len(t.slots) - 1)
	slot := uint64(e.hash) >> 8 & mask
	for t.slots[slot] != nil {
		slot = (slot + 1) & mask
	}
	t.slots[slot] = e
	t.count++
}

// NewView returns a view without zones, whose zones are built with seed: random, so that
// nobody can choose names that collide.
func NewView(seed wire.Seed) *View { return &View{seed: seed} }

// Seed returns the seed for builders of zones of this view.
func (v *View) Seed() wire.Seed { return v.seed }

// Len returns the number of zones.
func (v *View) Len() int { return v.count }

// Find returns the zone with the longest apex at or above name, or nil.
func (v *View) Find(name *wire.SplitName) *Entry { return v.find(name, name.Labels) }

// FindAbove returns the zone with the longest apex above name, or nil.
func (v *View) FindAbove(name *wire.SplitName) *Entry { return v.find(name, name.Labels-1) }

func (v *View) find(name *wire.SplitName, most int) *Entry {
	if v.count == 0 || most < 0 {
		return nil
	}
	h := v.seed
	var found *Entry
	for d := 0; ; d++ {
		at := name.Start(name.Labels - d)
		if d > 0 {
			h = h.Label(name.From(at))
		}
		if v.depths[d>>6]>>(d&63)&1 != 0 {
			if e := v.shards[h&(shards-1)].find(h, name.Name()[at:]); e != nil {
				found = e
			}
		}
		if d == most || v.deepest(d) {
			return found
		}
	}
}

// deepest reports whether no apex has more than d labels.
func (v *View) deepest(d int) bool {
	if d < 63 {
		return v.depths[0]>>(d+1) == 0 && v.depths[1] == 0
	}
	return d >= 127 || v.depths[1]>>(d-63) == 0
}

// Get returns the zone named apex, in lower case, or nil.
func (v *View) Get(apex []byte) *Entry {
	h := v.seed.Hash(apex)
	return v.shards[h&(shards-1)].find(h, apex)
}

// All yields the zones in no order.
func (v *View) All() iter.Seq[*Entry] {
	return func(yield func(*Entry) bool) {
		for _, t := range v.shards {
			if t == nil {
				continue
			}
			for _, e := range t.slots {
				if e != nil && !yield(e) {
					return
				}
			}
		}
	}
}

// A Change is one zone of a view that is to come.
type Change struct {
	Apex      []byte         // in any case
	Qualifier string         // as in Entry
	Access    *policy.Access // nil: the zero value
	Order     wire.Order     // in which the records of a set are sent
	Served    *Served        // nil: a new one, with Zone
	Zone      *Zone
	Remove    bool // the zone is no longer ours
}

// nobody is the access to zones for which nothing is said.
var nobody = &policy.Access{}

// With returns a view with the changes. v stays as it is; what did not change is shared.
func (v *View) With(changes ...Change) *View {
	next := *v
	copied := [shards]bool{}
	for _, c := range changes {
		apex := wire.Lower(nil, c.Apex)
		h := v.seed.Hash(apex)
		i := h & (shards - 1)
		old := next.shards[i].find(h, apex)
		switch {
		case old == nil && c.Remove:
			continue
		case old == nil:
			next.add(wire.LabelCount(apex), 1)
		case c.Remove:
			next.add(old.labels, -1)
		}
		t := next.shards[i]
		if !copied[i] || old == nil && 2*(t.count+1) > len(t.slots) {
			t = t.clone()
			next.shards[i], copied[i] = t, true
		}
		e := &Entry{
			Apex: apex, Qualifier: c.Qualifier, Access: c.Access, Order: c.Order, Served: c.Served,
			hash: h, labels: wire.LabelCount(apex),
		}
		if e.Access == nil {
			e.Access = nobody
		}
		if e.Served == nil {
			e.Served = NewServed(c.Zone)
		}
		switch {
		case c.Remove:
			next.shards[i] = t.without(old)
		case old != nil:
			t.replace(old, e)
		default:
			t.insert(e)
		}
	}
	return &next
}

func (v *View) add(labels int, n int32) {
	v.count += int(n)
	v.byLen[labels] += n
	if v.byLen[labels] > 0 {
		v.depths[labels>>6] |= 1 << (labels & 63)
	} else {
		v.depths[labels>>6] &^= 1 << (labels & 63)
	}
}

// clone returns a copy with room for one more.
func (t *shard) clone() *shard {
	if t == nil {
		return &shard{slots: make([]*Entry, 4)}
	}
	size := len(t.slots)
	if 2*(t.count+1) > size {
		size *= 2
	}
	return t.rebuild(size, nil)
}

func (t *shard) rebuild(size int, except *Entry) *shard {
	next := &shard{slots: make([]*Entry, size)}
	for _, e := range t.slots {
		if e != nil && e != except {
			next.insert(e)
		}
	}
	return next
}

func (t *shard) without(e *Entry) *shard { return t.rebuild(len(t.slots), e) }

func (t *shard) replace(old, e *Entry) {
	for i := range t.slots {
		if t.slots[i] == old {
			t.slots[i] = e
			return
		}
	}
}
