package zones

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"port53/internal/store"
	"port53/internal/zone"
)

// commit makes a candidate the version that is served. Candidates of all origins, and of
// updates, go this way, and its order is the promise: what is served has been checked, is
// signed, and is written down; what followers are told of is served. On an error nothing
// has changed.
//
// z is held.
func (m *Manager) commit(ctx context.Context, z *managed, c *Candidate) error {
	if err := m.write(ctx, z, z.source, c); err != nil {
		return err
	}
	m.publish(z, c)
	return nil
}

// write is the part of commit that may fail: check, sign, write down. A Load does it for
// many zones before it publishes them together. z is held.
func (m *Manager) write(ctx context.Context, z *managed, source *Source, c *Candidate) error {
	if err := check(c); err != nil {
		return err
	}
	if c.Deltas == nil {
		z.annotate(c)
	}
	if s := source.Signer; s != nil {
		if err := m.sign(ctx, z, s, c); err != nil {
			return err
		}
	}
	if c.Deltas == nil && source.Signer == nil && z.zone != nil && source.shared() && zone.Newer(c.Zone.Serial(), z.zone.Serial()) {
		// Who has the zone from here need not take it whole as well.
		c.Deltas = deltasOf(z.zone, c.Zone)
		for _, d := range c.Deltas {
			switch z.origin.(type) {
			case *file:
				d.By = byFile
			case *primaries:
				d.By = "a primary"
			}
		}
	}
	for _, d := range c.Deltas {
		if d.At.IsZero() {
			d.At = time.Now().Truncate(time.Second)
		}
	}
	err := m.persist(z, c)
	switch {
	case err == nil:
		m.keeps(z)
	case z.polled:
		m.lacks(z, err) // its primaries have it: better served from memory than not at all
	default:
		return fmt.Errorf("it cannot be kept on disk: %w", err)
	}
	m.remembered(z, source, c)
	return nil
}

// annotate gives a candidate that an origin made, which knows no notes, those of the version before.
func (z *managed) annotate(c *Candidate) {
	if c.Zone != nil && z.zone != nil && c.Zone != z.zone {
		c.Zone = c.Zone.WithNotes(z.zone.Notes())
	}
}

// remembered has the differences that lead to a version last over a restart whose records
// are not in the store, since its zone file has them. z is held.
func (m *Manager) remembered(z *managed, source *Source, c *Candidate) {
	if m.store == nil || z.stored || c.keep || c.signed != nil || !source.shared() {
		return
	}
	apex := []byte(z.key)
	if z.zone == nil {
		var err error
		if c.past, err = m.store.LoadHistory(apex, c.Zone); err != nil {
			m.log.Warn(
				"the history of a zone cannot be used: IXFR requests are answered with the whole zone",
				"zone",
				z.name(),
				"error",
				err.Error(),
			)
		}
		return
	}
	if h := z.followed(c); len(h.deltas) > 0 {
		if err := m.store.SaveHistory(apex, c.Zone, h.deltas); err != nil {
			m.log.Warn("the history of a zone is kept in memory only", "zone", z.name(), "error", err.Error())
		}
	}
}

// check looks whether the version is what its own digest says (RFC 8976, section 4).
func check(c *Candidate) error {
	if c.checked || c.Digest == DigestIgnored {
		return nil
	}
	err := c.Zone.CheckDigest(time.Now())
	if err != nil && c.Digest == DigestDecides {
		return err
	}
	if err != nil {
		c.Problems = append(c.Problems, Problem{Warning: true, Text: err.Error() + "; servers that verify it reject the zone"})
	}
	c.checked = true
	return nil
}

// persist writes a candidate down, if it has to be there at the next start: because its
// origin may not be, or because the store counts for this zone already. The version that
// differences lead from is written first. Where many zones are fetched for the first time,
// as those of a catalog, none waits for the disk: they are written down a few at the same time,
// after they are served. z is held.
func (m *Manager) persist(z *managed, c *Candidate) error {
	if m.store == nil || !z.stored && !c.keep {
		return nil
	}
	if !z.restored {
		return errNotRestored
	}
	if z.zone == nil && c.fetched && z.source.Signer == nil && m.schedule.crowded() {
		z.pending = true
		m.schedule.keepings.in(&z.keeping, 0)
		return nil
	}
	z.pending = false
	apex := []byte(z.key)
	if !z.stored && c.Deltas != nil && z.zone != nil {
		past := z.history.deltas // of its zone file
		if z.source.Signer != nil {
			past = nil // they are of the signed version
		}
		if err := m.store.Save(apex, z.zone, past...); err != nil {
			return err
		}
		z.stored = true
	}
	var err error
	if z.stored && c.Deltas != nil {
		err = m.store.Append(apex, c.Zone, c.Deltas...)
	} else {
		err = m.store.Save(apex, c.Zone)
	}
	z.stored = z.stored || err == nil
	return err
}

// lacks remembers that the version of a zone is in memory alone. z is held.
func (m *Manager) lacks(z *managed, err error) {
	first := z.unkept == ""
	if z.unkept = err.Error(); !first {
		return
	}
	// On a full disk that may be all zones.
	if others, tell := m.unkept.tell(); tell {
		m.log.Error("a secondary zone cannot be stored: it is served from memory, and transferred again after a restart",
			"zone", z.name(), "error", err.Error(), "other_zones", others)
	}
}

// A sometimes says what is to be told once a minute, however often it happens.
type sometimes struct {
	mu   sync.Mutex
	told time.Time
	more int
}

// tell reports whether something is to be told now, and how often it has not been.
func (s *sometimes) tell() (more int, now bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.told) < time.Minute {
		s.more++
		return 0, false
	}
	more, s.more, s.told = s.more, 0, time.Now()
	return more, true
}

// keeps remembers that the version of a zone is on disk, if it has to be. z is held.
func (m *Manager) keeps(z *managed) {
	if z.unkept != "" {
		z.unkept = ""
		m.log.Info("a secondary zone is stored again", "zone", z.name()) // a line for each, as they were fetched
	}
}

// keep writes down a version that could not be when it came. z is held.
func (m *Manager) keep(z *managed) {
	if z.unkept == "" || m.store == nil || z.zone == nil {
		return
	}
	if err := m.store.Save([]byte(z.key), z.zone); err != nil {
		m.lacks(z, err)
		return
	}
	z.stored, z.pending = true, false
	m.keeps(z)
}

// keepFirst writes down the first version of a zone that was served before.
func (m *Manager) keepFirst(z *managed) {
	z.hold()
	m.keepPending(z)
	again := time.Duration(-1)
	if z.pending && !z.gone {
		again = keepAgain
	}
	z.release()
	m.schedule.keepings.end(&z.keeping, func() time.Duration { return again })
}

// keepPending writes down the version of a zone that waits for it. z is held.
func (m *Manager) keepPending(z *managed) {
	if !z.pending || z.gone {
		return
	}
	if err := m.store.SaveFetched([]byte(z.key), z.zone, z.meta()); err != nil {
		m.lacks(z, err)
		return
	}
	z.pending, z.stored = false, true
	m.keeps(z)
}

// keepTime is how long the end waits for zones to be written down that were just fetched.
const keepTime = 2 * time.Second

// keepRest writes down at the end what still waits for it, as far as there is time.
func (m *Manager) keepRest() {
	over, left := time.Now().Add(keepTime), 0
	for _, z := range m.all() {
		z.hold()
		if time.Now().Before(over) {
			m.keepPending(z)
		} else if z.pending {
			left++
		}
		z.release()
	}
	if left > 0 {
		m.log.Warn("secondary zones just transferred are not stored: they are transferred again after a restart", "zones", left)
	}
}

// keepAgain is how often it is tried to write down a version that could not be.
const keepAgain = 5 * time.Minute

// errNotRestored is why a zone is not changed whose store could not be read: what it has
// was acknowledged, and is not written over.
var errNotRestored = errors.New("the stored version of the zone could not be used when it was loaded")

// publish is the part of commit that cannot fail: serve, remember, notify. z is held.
func (m *Manager) publish(z *managed, c *Candidate) {
	z.install(c)
	m.enterSigned(z, c)
	z.served.Store(z.shown())
	if c.Deltas == nil {
		z.prepare()
	}
	if !onlyNotes(c.Deltas) {
		m.announce(z)
	}
}

// preparedNames is how many names a zone has whose first difference would take more than some milliseconds.
const preparedNames = 50_000

// prepare has a large zone be ready for differences, if it is to have any. z is held.
func (z *managed) prepare() {
	if !z.polled && !z.source.changes() {
		return
	}
	versions := []*zone.Zone{z.zone}
	if s := z.shown(); s != z.zone {
		versions = append(versions, s)
	}
	for _, v := range versions {
		if v != nil && v.Names() >= preparedNames {
			go v.Prepare()
		}
	}
}

// onlyNotes reports whether differences change nothing that followers have.
func onlyNotes(deltas []*zone.Delta) bool {
	return deltas != nil && !slices.ContainsFunc(deltas, func(d *zone.Delta) bool { return d.From != d.To })
}

// announce sends NOTIFY for the version that is served to those who follow the zone. z is
// held.
func (m *Manager) announce(z *managed) { m.announceAfter(z, 0) }

// announceAfter does what announce does after a while, and reports whether there is anybody
// to tell. z is held.
func (m *Manager) announceAfter(z *managed, wait time.Duration) bool {
	if z.shown() == nil || z.expired {
		return false
	}
	followers := z.source.followers()
	m.notifier.announce(z.key, notice{z.shown(), followers, z.source.signers()}, wait, false)
	return len(followers) > 0
}

// restore makes a zone what the store has of it. It is a new one, or may be updated from
// now on. An origin that is polled gives another version if the store cannot be used. z is
// held.
func (m *Manager) restore(z *managed) error {
	if m.store == nil {
		z.restored = true
		return nil
	}
	k, err := m.store.Load([]byte(z.key), m.seed)
	if z.again && (err != nil || k.Zone != nil) {
		m.log.Info("what is kept of a zone of that name is removed: it begins again in its catalog", "zone", z.name())
		k, err = store.StoredZone{}, m.store.Remove([]byte(z.key))
	}
	if err != nil {
		z.restored = z.polled
		return err
	}
	z.restored, z.frozen = true, k.Meta.Frozen
	if k.Zone == nil {
		return nil
	}
	z.stored, z.zone, z.loaded, z.history = true, k.Zone, time.Now(), history{}
	z.changes = history{whole: true}
	z.changes.add(k.Zone, k.Deltas...)
	z.plain.Store(&past{k.Zone, z.changes.deltas})
	z.history.add(k.Zone, k.Deltas...)
	z.past.Store(&past{z.zone, z.history.deltas})
	if z.source.Signer != nil {
		m.signRestored(z)
	}
	z.basis = nil                                            // the origin is asked what it is to this version
	z.synced, z.inFile = k.Zone.Serial(), len(k.Deltas) == 0 // or it is what was saved, and nothing has changed it
	if z.polled {
		z.checked, z.expire = k.Meta.Checked, k.Meta.Expire
		if z.expire == 0 {
			z.expire = timersOf(k.Zone).expire
		}
		z.expired = time.Since(z.checked) > z.expire
	}
	return nil
}

// errFault is why something failed that ended in a fault of ours.
var errFault = errors.New("internal error, which the log has")

// deltasOf returns what leads from one version to another; nil: there is no version to lead
// from, or nothing changed.
func deltasOf(have, next *zone.Zone) []*zone.Delta {
	if have == nil {
		return nil
	}
	d := zone.Diff(have, next)
	if d == nil {
		return nil
	}
	return []*zone.Delta{d}
}
