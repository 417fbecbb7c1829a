package zones

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"port53/internal/authority"
	"port53/internal/wire"
	"port53/internal/zone"
)

// A VersionRef is a version that a zone has had: by its serial, or by when it was served. The zero VersionRef is the
// version before the last change.
type VersionRef struct {
	Serial *uint32
	Time   time.Time
}

// History returns the changes of a zone that are known, before it is signed here, the oldest first, those
// of notes alone among them. They are not modified.
func (m *Manager) History(key []byte) ([]*zone.Delta, error) {
	z := m.find(key)
	if z == nil {
		return nil, errNotServed
	}
	if p := z.plain.Load(); p != nil {
		return p.deltas, nil
	}
	return nil, errors.New("the zone is not loaded")
}

// At returns the version that a zone had at a point, before it is signed here.
func (m *Manager) At(key []byte, at VersionRef) (*zone.Zone, error) {
	z := m.find(key)
	if z == nil {
		return nil, errNotServed
	}
	_, then, _, err := z.at(at)
	return then, err
}

// at returns the version that a zone has, the one that it had at a point, and what led from there to
// here. It does not wait.
func (z *managed) at(at VersionRef) (now, then *zone.Zone, since []*zone.Delta, err error) {
	p := z.plain.Load()
	if p == nil || p.zone == nil {
		return nil, nil, nil, errors.New("the zone is not loaded")
	}
	from, err := p.point(at)
	if err != nil {
		return nil, nil, nil, err
	}
	since = p.deltas[from:]
	back := make([]*zone.Delta, 0, len(since))
	for _, d := range slices.Backward(since) {
		back = append(back, d.Reverse())
	}
	if len(back) == 0 {
		return p.zone, p.zone, nil, nil
	}
	then, problems := p.zone.Preview(back...)
	if then == nil {
		return nil, nil, nil, fmt.Errorf("that version cannot be made again: %v", problems)
	}
	return p.zone, then, since, nil
}

// point returns which difference is the first after a point.
func (p *past) point(at VersionRef) (int, error) {
	n := len(p.deltas)
	switch {
	case at.Serial != nil && *at.Serial == p.zone.Serial():
		return n, nil
	case at.Serial != nil:
		for i, d := range slices.Backward(p.deltas) {
			if d.From == *at.Serial && d.To != d.From {
				return i, nil
			}
		}
		return 0, fmt.Errorf("serial %d is not in the history of the zone%s", *at.Serial, p.oldest())
	case !at.Time.IsZero():
		for i, d := range p.deltas {
			if d.At.IsZero() || d.At.After(at.Time) {
				if i == 0 {
					return 0, fmt.Errorf("the history of the zone does not go back that far%s", p.oldest())
				}
				return i, nil
			}
		}
		return n, nil
	case n == 0:
		return 0, errors.New("no change of the zone is known")
	}
	return n - 1, nil
}

// oldest says where a history begins.
func (p *past) oldest() string {
	if len(p.deltas) == 0 {
		return ": no change of it is known"
	}
	text := fmt.Sprintf(", which begins with serial %d", p.deltas[0].From)
	if at := p.deltas[0].At; !at.IsZero() {
		text += " at " + at.UTC().Format(time.RFC3339)
	}
	return text
}

// errMoved is why a plan is made again: the zone has another version by now.
var errMoved = errors.New("the zone kept changing meanwhile")

// ErrVersion is why an undo that is for some versions is refused.
var ErrVersion = errors.New("the zone has changed")

// undoTries is how often an undo is made again since somebody else was quicker.
const undoTries = 16

// Undo gives a zone the content that it had at a point, with a newer serial, which is not one that it had
// before: secondaries follow. fits, if it is not nil, says of a serial whether the zone may have it until then:
// else the error is one of ErrVersion.
func (m *Manager) Undo(key []byte, by string, at VersionRef, fits func(serial uint32) bool) (EditResult, error) {
	z := m.find(key)
	if z == nil {
		return EditResult{}, errNotServed
	}
	for range undoTries {
		now, then, since, err := z.at(at)
		if err != nil {
			return EditResult{}, err
		}
		if fits != nil && !fits(now.Serial()) {
			return EditResult{}, fmt.Errorf("%w: it has serial %d", ErrVersion, now.Serial())
		}
		c := undoing(then, since)
		if len(c.Sets) == 0 {
			c.Serial = now.Serial()
		}
		e, err := m.Edit(key, by, func(u *authority.Updater, notes *zone.Notes) (Changes, error) {
			if u.Serial() != now.Serial() || notes != now.Notes() {
				return Changes{}, errMoved
			}
			return c, nil
		})
		if !errors.Is(err, errMoved) {
			return e, err
		}
	}
	return EditResult{}, errMoved
}

// undoing returns what has to be changed of all that differences have touched, so that it is as it was.
func undoing(then *zone.Zone, since []*zone.Delta) (c Changes) {
	type place struct {
		name string
		t    wire.Type
	}
	sets, notes := map[place]int{}, map[string]bool{}
	for _, d := range since {
		for _, list := range [][]byte{d.Removed, d.Added} {
			_ = zone.EachRecord(list, func(owner []byte, t wire.Type, _ uint32, _ []byte) bool {
				at := place{string(wire.Lower(nil, owner)), t}
				if _, seen := sets[at]; !seen && d.From != d.To {
					sets[at] = len(c.Sets)
					c.Sets = append(c.Sets, authority.Set{Owner: bytes.Clone(owner), Type: t})
				}
				return true
			})
		}
		for _, n := range d.Notes {
			if !notes[n.Key] {
				notes[n.Key] = true
				c.Notes = append(c.Notes, zone.Note{Key: n.Key, Value: then.Notes().Get(n.Key)})
			}
		}
	}
	for at, i := range sets {
		then.EachAt([]byte(at.name), func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
			if t == at.t {
				s := &c.Sets[i]
				s.Owner, s.TTL = bytes.Clone(owner), ttl
				s.Data = append(s.Data, bytes.Clone(data))
			}
			return true
		})
	}
	return c
}

// A DryRunResult is what would come of a plan.
type DryRunResult struct {
	Before, After *zone.Zone // After is nil if it could not be served
	Delta         *zone.Delta
	Problems      []string // why it could not be served, or what there is to say of it
}

// DryRun returns what would come of a plan now, and changes nothing.
func (m *Manager) DryRun(key []byte, plan Plan) (DryRunResult, error) {
	z := m.find(key)
	if z == nil {
		return DryRunResult{}, errNotServed
	}
	p := z.plain.Load()
	if p == nil || p.zone == nil {
		return DryRunResult{}, errors.New("the zone is not loaded")
	}
	u := &update{plan: plan}
	z.hold()
	defer z.release()
	if p = z.plain.Load(); p.zone == nil {
		return DryRunResult{}, errors.New("the zone is not loaded")
	}
	t := DryRunResult{Before: p.zone}
	d, _, why := u.planned(z, z.updater(p.zone), p.zone.Notes(), z.next())
	switch {
	case u.err != nil:
		return t, u.err
	case d == nil:
		return t, errors.New(why)
	}
	var problems []zone.Problem
	t.Delta = d
	t.After, problems = p.zone.Preview(d)
	for _, one := range problems {
		t.Problems = append(t.Problems, one.Text)
	}
	if s := z.source.Signer; t.After != nil && s != nil && d.From != d.To {
		if err := s.Try(m.ctx, m.seed, z.signed, t.After); err != nil {
			t.After, t.Problems = nil, append(t.Problems, "it cannot be signed: "+err.Error())
		}
	}
	return t, nil
}
