package zones

import (
	"context"
	"errors"
	"fmt"

	"port53/internal/zone"
)

// A ThawResult says what the end of a freeze made of a zone.
type ThawResult struct {
	Zone   string `json:"zone"`
	Serial uint32 `json:"serial"` // that is served
	File   uint32 `json:"file_serial,omitempty"`

	// Raised says that the file has another serial, which is not newer than that of the
	// version before: what it has is served with the next one.
	Raised  bool     `json:"serial_raised,omitempty"`
	Changes []Change `json:"changes"` // that the file made
}

// Thaw ends a freeze: what was edited in the zone's file meanwhile is taken, with a raised
// serial if its own is not newer, and updates are taken again. If the file cannot be served
// the zone stays frozen and nothing changes.
func (m *Manager) Thaw(ctx context.Context, apex []byte) (*ThawResult, error) {
	z, err := m.held(apex)
	if err != nil {
		return nil, err
	}
	defer z.release()
	t := &ThawResult{Zone: z.name(), Changes: []Change{}}
	if f, ok := z.origin.(*file); ok && z.frozen && z.zone != nil {
		if err := m.takeFile(ctx, z, f, t); err != nil {
			return nil, err
		}
	}
	if err := m.setFrozen(z, false); err != nil {
		return nil, err
	}
	if z.zone != nil {
		t.Serial = z.zone.Serial()
	}
	return t, nil
}

var errNobodyUpdates = errors.New("the zone does not allow updates: its file can be edited at any time")

// takeFile makes what the file of a frozen zone has the version that is served. z is held.
func (m *Manager) takeFile(ctx context.Context, z *managed, f *file, t *ThawResult) error {
	c, err := f.Candidate(ctx, Known{Zone: z.zone, Seed: m.seed, Check: check})
	if err != nil {
		return err
	}
	if c.Zone == nil {
		for _, p := range c.Problems {
			if !p.Warning {
				return fmt.Errorf("its file cannot be loaded, the zone stays frozen: %s", p)
			}
		}
		return errors.New("its file cannot be loaded, the zone stays frozen")
	}
	basis := c.Basis
	t.File = c.Zone.Serial()
	z.annotate(c)
	d := zone.Diff(z.zone, c.Zone)
	if d != nil {
		d.By = byFile
	}
	switch {
	case d == nil:
	case zone.Newer(d.To, d.From):
		c.Deltas = []*zone.Delta{d}
	default:
		d = d.WithSerial(z.next()(d.From))
		if zone.Newer(t.File, d.To) {
			return fmt.Errorf(
				"the zone stays frozen: the file's serial, %d, is neither newer nor older than %d (RFC 1982); give it a newer one",
				t.File,
				d.From,
			)
		}
		if !d.OnlySerial() {
			now, problems := z.zone.Apply(d)
			if now == nil {
				return fmt.Errorf("its file cannot be loaded, the zone stays frozen: %v", problems)
			}
			t.Raised, d = true, z.zone.Exact(now, []*zone.Delta{d})[0]
			c = &Candidate{Zone: now, Deltas: []*zone.Delta{d}, Problems: c.Problems, Basis: basis, Digest: DigestIgnored}
		} else {
			d = nil
		}
	}
	if d != nil {
		c.keep = true
		if err := m.commit(ctx, z, c); err != nil {
			return err
		}
		list, err := changes([]*zone.Delta{d})
		if err != nil {
			return err
		}
		t.Changes = list
	} else {
		c.Zone = z.zone
	}
	z.conclude(c)
	z.synced, z.inFile = z.zone.Serial(), true
	return nil
}
