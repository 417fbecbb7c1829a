package zone

import (
	"bytes"
	"iter"
	"sync"
	"sync/atomic"

	"port53/internal/wire"
)

// A Set is the zones that are served. Readers call View once per query and use
// only that; writers replace it whole.
type Set struct {
	seed wire.Seed
	view atomic.Pointer[View]
	mu   sync.Mutex // orders writers; readers never take it
}

// NewSet returns an empty set, whose zones are built with seed: random, so that
// nobody can choose names that collide.
func NewSet(seed wire.Seed) *Set {
	s := &Set{seed: seed}
	s.view.Store(&View{seed: seed})
	return s
}

// Seed returns the seed for builders of zones of this set.
func (s *Set) Seed() wire.Seed { return s.seed }

// View returns the zones as they are now.
func (s *Set) View() *View { return s.view.Load() }

// An Entry is a zone as it is published.
type Entry struct {
	Apex []byte // in lower case
	Zone *Zone  // nil if there is no version that could be served

	hash   wire.Seed
	labels int
}

// Key returns a number that stands for the zone's name.
func (e *Entry) Key() uint64 { return uint64(e.hash) }

// shards is over how many tables the zones are spread: a change copies one of
// them, so that changing one zone among 100,000 costs about 400 entries.
const shards = 256

// A View is the zones at one moment. It is immutable.
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

// deepest tells whether no apex has more than d labels.
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

// A Change is one zone to publish: a new version, nil for a zone that is ours but
// cannot be served, or with Remove a zone that is no longer ours.
type Change struct {
	Apex   []byte // in any case
	Zone   *Zone
	Remove bool
}

// Publish makes all changes at once: a query sees all of them or none.
func (s *Set) Publish(changes ...Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := *s.view.Load()
	copied := [shards]bool{}
	for _, c := range changes {
		apex := wire.Lower(nil, c.Apex)
		h := s.seed.Hash(apex)
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
		e := &Entry{Apex: apex, Zone: c.Zone, hash: h, labels: wire.LabelCount(apex)}
		switch {
		case c.Remove:
			next.shards[i] = t.without(old)
		case old != nil:
			t.replace(old, e)
		default:
			t.insert(e)
		}
	}
	s.view.Store(&next)
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
