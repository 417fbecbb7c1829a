package zones

import (
	"errors"

	"port53/internal/authority"
	"port53/internal/telemetry"
	"port53/internal/wire"
	"port53/internal/zone"
)

// A Plan says what is to become of a zone. now is the zone as all that was before has left it: its
// records, and its notes. It may be called more than once, changes nothing itself, and does not wait.
type Plan func(now *authority.Updater, notes *zone.Notes) (Changes, error)

// Changes are what becomes of a zone: all of them, or nothing.
type Changes struct {
	Sets  []authority.Set // in the place of those that there are
	Notes []zone.Note

	// Serial is the one that the zone has then: newer than before, or the same if there are no
	// Sets. Followers hear of nothing else. Zero: the one that follows by the zone's own rule.
	Serial uint32
}

// An EditResult is what came of a [Plan].
type EditResult struct {
	From, To uint32
	Zone     *zone.Zone // the version that is served
}

// errBackwards is of a plan whose serial secondaries would not follow.
var errBackwards = errors.New("the serial is not newer than the zone's")

// Edit carries out a plan for somebody who may have it carried out, whom by names. What it returns
// without an error is durable and served: one version, and one write, with others that came at the same
// time. Errors of the plan are returned as they are.
func (m *Manager) Edit(key []byte, by string, plan Plan) (EditResult, error) {
	z := m.find(key)
	if z == nil {
		return EditResult{}, errNotServed
	}
	u := &update{plan: plan, by: by, any: true, done: make(chan struct{}), rcode: wire.ServFail}
	if z.updates.join(u) {
		m.carryOut(z)
	}
	<-u.done
	act := telemetry.AuditRecord{Operation: telemetry.Updated, Zone: z.apex(), By: by}
	defer func() { m.audit.Record(&act) }()
	switch {
	case u.err != nil:
		act.Outcome, act.Reason = telemetry.Refused, u.err.Error()
		return EditResult{}, u.err
	case u.rcode != wire.NoError:
		act.Outcome, act.Reason = telemetry.Failed, u.why
		return EditResult{}, &Refusal{u.rcode, u.why}
	}
	act.From, act.To = u.delta.From, u.delta.To
	act.Removed, act.Added = u.delta.Counts()
	return EditResult{From: u.delta.From, To: u.delta.To, Zone: u.served}, nil
}

// A Refusal is why a plan that is good by itself was not carried out.
type Refusal struct {
	Rcode wire.Rcode // REFUSED and NOTAUTH: the zone is not changed so; SERVFAIL: it could not be
	Why   string
}

func (r *Refusal) Error() string { return r.Why }

// planned makes the difference of a plan, in a batch of which notes are what it has made of these. z.mu is held.
func (u *update) planned(
	z *managed,
	updater *authority.Updater,
	notes *zone.Notes,
	next func(uint32) uint32,
) (*zone.Delta, wire.Rcode, string) {
	c, err := u.plan(updater, notes)
	serial := updater.Serial()
	if c.Serial == 0 && len(c.Sets) > 0 {
		c.Serial = next(serial)
	}
	switch {
	case err != nil:
	case len(c.Sets) > 0 && z.elsewhere():
		return nil, wire.Refused, errElsewhere.Error()
	case len(c.Sets) > 0 && !z.source.changes():
		return nil, wire.Refused, "the zone is loaded from its file only, so a change would be lost at a restart: add a " +
			"grant to change it, or edit the file"
	case c.Serial == serial && len(c.Sets) == 0, zone.Newer(c.Serial, serial):
	default:
		err = errBackwards
	}
	for i := 0; err == nil && i < len(c.Sets); i++ {
		err = authority.Unwritable(c.Sets[i].Type, updater.SignedHere)
	}
	if err != nil {
		u.err = err
		return nil, wire.Refused, err.Error()
	}
	d := updater.Replace(c.Sets, c.Serial)
	for _, n := range c.Notes {
		if n.Was = notes.Get(n.Key); n.Was != n.Value {
			d.Notes = append(d.Notes, n)
		}
	}
	return d, wire.NoError, ""
}

// A First is the first version of a zone that is made here.
type First struct {
	Sets  []authority.Set
	Notes []zone.Note
}

// Build compiles the first version of a zone. It is nil if it cannot be served: then the problems say why.
func (m *Manager) Build(apex []byte, f *First) (*zone.Zone, []zone.Problem) {
	b := zone.NewBuilder(apex, m.seed)
	var r zone.Record
	for i := range f.Sets {
		s := &f.Sets[i]
		for _, data := range s.Data {
			r.Owner, r.Type, r.TTL, r.Data = s.Owner, s.Type, s.TTL, data
			b.Add(&r)
		}
	}
	z, problems := b.Build()
	if z != nil {
		if t, found := stray(z); found {
			return nil, append(problems, zone.Problem{
				Text: t.String() + " records are made by whoever signs the zone: give a zone that is signed as a whole, or none of them",
			})
		}
		z = z.WithNotes(z.Notes().With(f.Notes...))
	}
	return z, problems
}
