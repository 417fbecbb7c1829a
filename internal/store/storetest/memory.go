package storetest

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"

	"port53/internal/store"
	"port53/internal/wire"
	"port53/internal/zone"
)

// A Memory is a store that keeps zones in memory, and the [Medium] of itself: each call is
// one operation, which is carried out or not.
type Memory struct {
	mu    sync.Mutex
	watch func(call string) error // nil: nobody does
	zones map[string]*remembered
	done  int // operations since Interrupt
	fails int // the first operation that fails; 0: none
	times int // how many fail; 0: all from then on
}

// A remembered is one zone in a Memory.
type remembered struct {
	records []byte // as a Delta has them; nil: there is no version
	serial  uint32
	deltas  []*zone.Delta // that led to it, the oldest first
	meta    store.Meta
	history []*zone.Delta // of a version that is kept elsewhere
	leads   zone.Fingerprint
}

// NewMemory returns a store without zones.
func NewMemory() *Memory { return &Memory{zones: map[string]*remembered{}} }

var errInterrupted = errors.New("interrupted")

// change carries out a call that changes a zone.
func (m *Memory) change(call string, apex []byte, f func(z *remembered)) error {
	if err := m.told(call); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done++
	if m.fails > 0 && m.done >= m.fails && (m.times == 0 || m.done < m.fails+m.times) {
		return errInterrupted
	}
	z := m.zones[string(apex)]
	if z == nil {
		z = &remembered{}
		m.zones[string(apex)] = z
	}
	f(z)
	return nil
}

// Watch has f called before each call, with its name in lower case: load, save, savefetched, append,
// savehistory, setmeta or remove. Its error is the call's, which does nothing then.
func (m *Memory) Watch(f func(call string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watch = f
}

// told tells whoever watches of a call.
func (m *Memory) told(call string) error {
	m.mu.Lock()
	watch := m.watch
	m.mu.Unlock()
	if watch == nil {
		return nil
	}
	return watch(call)
}

// Load implements the zone manager's Store, as the methods that follow it do.
func (m *Memory) Load(apex []byte, seed wire.Seed) (store.StoredZone, error) {
	if err := m.told("load"); err != nil {
		return store.StoredZone{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	z := m.zones[string(apex)]
	if z == nil {
		return store.StoredZone{}, nil
	}
	k := store.StoredZone{Deltas: slices.Clone(z.deltas), Meta: z.meta}
	if z.records == nil {
		return k, nil
	}
	b := zone.NewBuilder(apex, seed)
	if err := zone.EachRecord(z.records, func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		b.Add(&zone.Record{Owner: owner, Type: t, TTL: ttl, Data: data})
		return true
	}); err != nil {
		return store.StoredZone{}, err
	}
	k.Zone, _ = b.Build()
	return k, nil
}

func (z *remembered) set(v *zone.Zone) {
	z.records, z.serial = records(v), v.Serial()
}

// Save makes v the version that is kept.
func (m *Memory) Save(apex []byte, v *zone.Zone, _ ...*zone.Delta) error {
	return m.change("save", apex, func(z *remembered) {
		z.set(v)
		z.deltas = nil
	})
}

// SaveFetched makes v the version that is kept, with what is known beside it.
func (m *Memory) SaveFetched(apex []byte, v *zone.Zone, meta store.Meta) error {
	return m.change("savefetched", apex, func(z *remembered) {
		z.set(v)
		z.deltas, z.meta = nil, meta
	})
}

// Append adds the differences that lead to v.
func (m *Memory) Append(apex []byte, v *zone.Zone, deltas ...*zone.Delta) error {
	return m.change("append", apex, func(z *remembered) {
		if z.records == nil || len(deltas) == 0 || deltas[0].From != z.serial {
			z.deltas = nil
		} else {
			z.deltas = append(z.deltas, deltas...)
		}
		z.set(v)
	})
}

// SaveHistory keeps the differences that led to v.
func (m *Memory) SaveHistory(apex []byte, v *zone.Zone, deltas []*zone.Delta) error {
	return m.change("savehistory", apex, func(z *remembered) { z.history, z.leads = slices.Clone(deltas), v.Fingerprint() })
}

// LoadHistory returns the differences that are known to lead to v.
func (m *Memory) LoadHistory(apex []byte, v *zone.Zone) ([]*zone.Delta, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if z := m.zones[string(apex)]; z != nil && z.leads == v.Fingerprint() {
		return slices.Clone(z.history), nil
	}
	return nil, nil
}

// SetMeta keeps what is known beside the version.
func (m *Memory) SetMeta(apex []byte, meta store.Meta) error {
	return m.change("setmeta", apex, func(z *remembered) { z.meta = meta })
}

// Remove forgets the zone.
func (m *Memory) Remove(apex []byte) error {
	return m.change("remove", apex, func(*remembered) { delete(m.zones, string(apex)) })
}

// Move has what is kept of one zone be of another.
func (m *Memory) Move(from, to []byte) (moved bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	z := m.zones[string(from)]
	if z == nil || m.zones[string(to)] != nil {
		return false, nil
	}
	m.zones[string(to)] = z
	delete(m.zones, string(from))
	return true, nil
}

// Open implements [Medium], as the methods that follow it do.
func (m *Memory) Open() Store { return m }

// Interrupt makes operations fail.
func (m *Memory) Interrupt(n, times int) (done int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	done, m.done, m.fails, m.times = m.done, 0, n, times
	return done
}

// Crash loses nothing: what a call has done lasts.
func (m *Memory) Crash(*rand.Rand) Medium { return m.Copy() }

// Copy returns a store with the same zones.
func (m *Memory) Copy() Medium {
	m.mu.Lock()
	defer m.mu.Unlock()
	other := NewMemory()
	for apex, z := range m.zones {
		same := *z
		same.deltas = slices.Clone(z.deltas)
		other.zones[apex] = &same
	}
	return other
}

// Litter is empty: there is nothing that a call could leave.
func (m *Memory) Litter() string { return "" }
