package zones

import (
	"port53/internal/store"
	"port53/internal/wire"
	"port53/internal/zone"
)

// A Store keeps zones over restarts. Zones are named by their apex, in wire form and lower
// case. Calls for one zone come one after the other, calls for several at the same time.
type Store interface {
	// Load returns what is kept of a zone, its version built with seed; a Kept without a
	// version if there is nothing. An error means that there is something, and that it is
	// not what was written: it is left where it is.
	Load(apex []byte, seed wire.Seed) (store.Kept, error)

	// Save makes v the version that is kept, durably. With history the differences that are
	// kept stay, as those that led to v; without they go.
	Save(apex []byte, v *zone.Zone, history bool) error

	// Append adds differences to the version that was saved or loaded last. They are
	// durable when it returns without an error; with one none of them is there. full asks
	// for a Save, with history, when there is time.
	Append(apex []byte, deltas ...*zone.Delta) (full bool, err error)

	// SetMeta keeps what is known beside the version. It need not be durable at once.
	SetMeta(apex []byte, m store.Meta) error

	// Remove forgets the zone.
	Remove(apex []byte) error
}
