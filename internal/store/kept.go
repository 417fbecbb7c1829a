package store

import (
	"errors"
	"time"

	"port53/internal/wire"
	"port53/internal/zone"
)

// Kept is what a store has of a zone.
type Kept struct {
	Zone   *zone.Zone    // nil: nothing is kept
	Deltas []*zone.Delta // that led to the version, as far as they are known, the oldest first
	Meta   Meta
}

// Meta is what is kept beside the version of a zone.
type Meta struct {
	Checked time.Time     // when the zone was last known to be the newest
	Expire  time.Duration // for how long it may be served from then on; 0: not known
	Frozen  bool          // its updates are refused for now
}

// files returns the files of a zone, whose name is in lower case.
func (d *Dir) files(apex []byte) *Zone {
	d.mu.Lock()
	defer d.mu.Unlock()
	z := d.zones[string(apex)]
	if z == nil {
		if d.zones == nil {
			d.zones = map[string]*Zone{}
		}
		z = d.Zone(append([]byte(nil), apex...))
		d.zones[string(apex)] = z
	}
	return z
}

// Load returns what is kept of a zone, its version made with seed.
func (d *Dir) Load(apex []byte, seed wire.Seed) (Kept, error) {
	z := d.files(apex)
	v, deltas, err := z.Load(seed)
	if err != nil {
		return Kept{}, err
	}
	k := Kept{Zone: v, Deltas: deltas, Meta: Meta{Frozen: z.Frozen()}}
	if v != nil {
		k.Meta.Checked, k.Meta.Expire = z.Checked()
	}
	return k, nil
}

// Save makes v the version that is kept. With history the differences that are kept stay,
// as those that led to v; without they go.
func (d *Dir) Save(apex []byte, v *zone.Zone, history bool) error {
	return d.files(apex).Save(v, history)
}

// Append adds differences to the version that was saved or loaded last. full asks for a
// Save, with history, when there is time.
func (d *Dir) Append(apex []byte, deltas ...*zone.Delta) (full bool, err error) {
	z := d.files(apex)
	err = z.Append(deltas...)
	return err == nil && z.Full(), err
}

// SetMeta keeps what is known beside the version. It is not synced: what is lost makes the
// zone expire sooner.
func (d *Dir) SetMeta(apex []byte, m Meta) error {
	z := d.files(apex)
	err := z.SetFrozen(m.Frozen)
	if !m.Checked.IsZero() {
		err = errors.Join(err, z.SetChecked(m.Checked, m.Expire))
	}
	return err
}

// Remove takes all files of a zone away.
func (d *Dir) Remove(apex []byte) error {
	z := d.files(apex)
	d.mu.Lock()
	delete(d.zones, string(apex))
	d.mu.Unlock()
	return z.Remove()
}
