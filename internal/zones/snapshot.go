package zones

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"port53/internal/store"
	"port53/internal/zone"
)

// A Snapshot is a zone as it is, for those who read it. It waits for no work on the zone.
type Snapshot struct {
	Key       []byte     // as [Manager.Key] returns it
	Apex      []byte     // in wire form and lower case
	Qualifier string     // what tells it from others of its name, such as a view; empty: nothing has to
	Zone      *zone.Zone // before it is signed here; nil: there is no version
	Served    *zone.Zone // as it is answered from; nil: it is not
	Status    Status
}

// Snapshot returns a zone by its key; false: it is not here.
func (m *Manager) Snapshot(key []byte) (Snapshot, bool) {
	z := m.find(key)
	if z == nil {
		return Snapshot{}, false
	}
	return z.look(), true
}

func (z *managed) look() Snapshot {
	v := Snapshot{Key: []byte(z.key), Apex: z.apex(), Status: z.tell()}
	if p := z.plain.Load(); p != nil {
		v.Zone = p.zone
	}
	v.Qualifier = z.key[len(v.Apex):]
	if p := z.past.Load(); p != nil {
		v.Served = p.zone
	}
	return v
}

// Walk calls f for each zone, in the order of their names' octets, until f returns false. It waits for no
// work on them, and has of no more than one at a time what Snapshot tells.
func (m *Manager) Walk(f func(v Snapshot) bool) {
	list := m.all()
	slices.SortFunc(list, func(a, b *managed) int { return cmp.Compare(a.key, b.key) })
	for _, z := range list {
		if !f(z.look()) {
			return
		}
	}
}

// Count returns how many zones there are.
func (m *Manager) Count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.zones)
}

// A Summary is what a list of zones has of one. It is valid until the function that got it returns.
type Summary struct {
	Key       []byte
	Secondary bool
	Notifies  bool             // it has secondaries or servers to send NOTIFY to
	Primaries []netip.AddrPort // not modified
	Catalog   []byte           // that named the zone; nil: none did
	Checked   time.Time
	Signed    bool
	Zone      *zone.Zone // before it is signed here; nil: there is no version
	Served    *zone.Zone
}

// Apex returns the zone's name.
func (b *Summary) Apex() []byte { return store.Apex(b.Key) }

// List is Walk for who needs little of very many zones: it takes no memory for each.
func (m *Manager) List(f func(b *Summary) bool) {
	list := m.all()
	slices.SortFunc(list, func(a, b *managed) int { return cmp.Compare(a.key, b.key) })
	var b Summary
	for _, z := range list {
		b = Summary{Key: append(b.Key[:0], z.key...), Secondary: z.polled}
		if p := z.plain.Load(); p != nil {
			b.Zone = p.zone
		}
		if p := z.past.Load(); p != nil {
			b.Served = p.zone
			b.Signed = p.zone != nil && p.zone.Signed()
		}
		if z.mu.TryLock() {
			s := z.source
			b.Notifies, b.Primaries, b.Catalog = len(s.Secondaries)+len(s.Notify) > 0, s.Primaries, s.Catalog
			if z.polled {
				b.Checked = z.checked
			}
			z.mu.Unlock()
		} else {
			s := z.tell()
			b.Notifies, b.Primaries, b.Checked = len(s.Secondaries) > 0, s.Primaries, s.Checked
		}
		if !f(&b) {
			return
		}
	}
}
