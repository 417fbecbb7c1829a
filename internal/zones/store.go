package zones

import (
	"port53/internal/store"
	"port53/internal/wire"
	"port53/internal/zone"
)

// A Store keeps zones over restarts. Zones are named by their apex, in wire form and lower
// case, or a key of [store.Key]. Calls for one zone come one after the other, calls for several at the same time.
type Store interface {
	// Load returns what is kept of a zone, its version built with seed; a Kept without a
	// version if there is nothing. An error means that there is something, and that it is
	// not what was written: it is left as it is.
	Load(apex []byte, seed wire.Seed) (store.StoredZone, error)

	// Save makes v the version that is kept, durably; the differences that are kept go. Those
	// of history, the oldest first, led to v: they may be kept, and need not.
	// What Load has not read, or could not, is put aside, not overwritten. With an error
	// nothing has changed.
	Save(apex []byte, v *zone.Zone, history ...*zone.Delta) error

	// SaveFetched is Save and SetMeta for a version that the primaries of the zone have as well,
	// and that is the first here: many come at the same time, so it is to cost little.
	SaveFetched(apex []byte, v *zone.Zone, m store.Meta) error

	// Append adds the differences that lead to v from the version that is kept. They are
	// durable when it returns without an error; with one, none of them is there. If they
	// begin with another version than the one that is kept, it is as Save.
	Append(apex []byte, v *zone.Zone, deltas ...*zone.Delta) error

	// SaveHistory keeps the differences that led to v, the oldest first, of a zone whose
	// versions are not kept here. They need not outlast a crash.
	SaveHistory(apex []byte, v *zone.Zone, deltas []*zone.Delta) error

	// LoadHistory returns the differences that are known to lead to v, or none.
	LoadHistory(apex []byte, v *zone.Zone) ([]*zone.Delta, error)

	// SetMeta keeps what is known beside the version. That updates are refused, or not, is
	// durable when it returns without an error; when the zone was checked need not be.
	SetMeta(apex []byte, m store.Meta) error

	// Remove forgets the zone, durably. With an error it is there.
	Remove(apex []byte) error

	// Move has what is kept of one zone be of another, by their keys, if anything is kept of the
	// first and nothing of the other. It lasts when it returns true.
	Move(from, to []byte) (moved bool, err error)
}
