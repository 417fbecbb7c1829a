package zones

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"port53/internal/wire"
	"port53/internal/zone"
)

// A Signer makes the version that is served of the one that the origin gave: it adds keys,
// signatures and proofs. It is the stage between the check and the store.
//
// The manager has both versions of a zone that is signed: the plain one, which origins, updates
// and the zone file are about, and the signed one, which is served, transferred and announced,
// and has a serial of its own. Each has a store.
type Signer interface {
	// Sign returns the version to serve of plain. have is the version served until now, signed,
	// or what was kept of it over a restart; nil: there is none. If nothing changes, have is what
	// it returns. Versions are built with seed. changes lead to plain from what have was made of;
	// nil: they are not known. On an error plain is refused.
	Sign(ctx context.Context, seed wire.Seed, have, plain *zone.Zone, changes []*zone.Delta) (*Signed, error)

	// Try returns why plain could not be signed, as far as its records are to blame, and changes nothing. have is
	// as with Sign.
	Try(ctx context.Context, seed wire.Seed, have, plain *zone.Zone) error

	// Same reports whether another signer would sign alike: the signatures that are there count
	// on then.
	Same(other Signer) bool
}

// A Signed is what a [Signer] made.
type Signed struct {
	Zone     *zone.Zone
	Deltas   []*zone.Delta // that lead to it from the version before; nil: not known
	Problems []Problem     // warnings
	Resign   time.Time     // when it has to be signed again, however little changes; zero: never
	Keys     []string      // that signed it, for people
	Made     []string      // files of keys that were made, without their endings
	Alerts   []string      // what somebody has to look at
	Expires  time.Time     // when the first of its signatures does

	refused string // why it could not be made, and is what was kept over a restart
}

// A signing is what is known of the signed version of a zone.
type signing struct {
	signed  *zone.Zone // nil: the zone is not signed here, or could not be yet
	made    Signed     // without the versions
	refused string     // why it could not be signed the last time; empty: it could
}

// shown returns the version that is served: nil if there is none, or if it is to be signed and
// is not. z.mu is held.
func (z *managed) shown() *zone.Zone {
	if z.source.Signer != nil {
		return z.signed
	}
	return z.zone
}

// shown returns the version of a candidate that is served.
func (c *Candidate) shown() *zone.Zone {
	if c.signed != nil {
		return c.signed.Zone
	}
	return c.Zone
}

// coming returns the version that a step's candidate is served as.
func (s *step) coming() *zone.Zone {
	switch {
	case s.next.signed != nil:
		return s.next.signed.Zone
	case s.source.Signer != nil:
		return s.zone.signed // the plain version has not changed
	}
	return s.next.Zone
}

// bySigner says of a change that signing made it.
const bySigner = "signing"

// sign has a candidate signed. What is kept of the signed version is read before that is done
// for the first time. z is held.
func (m *Manager) sign(ctx context.Context, z *managed, s Signer, c *Candidate) error {
	have := z.signed
	if have == nil && m.signatures != nil {
		k, err := m.signatures.Load([]byte(z.key), m.seed)
		if err != nil {
			return fmt.Errorf(
				"the stored signed zone cannot be used: %w; restore its directory from a backup, or move it away and "+
					"raise the serial to sign the zone again",
				err,
			)
		}
		have, c.past = k.Zone, k.Deltas
	}
	next, err := s.Sign(ctx, m.seed, have, c.Zone, c.Deltas)
	if err != nil && z.served.Zone() == nil && ctx.Err() == nil && stillSigned(have, time.Now()) {
		// A restart takes away nothing that a server which went on would serve.
		m.log.Error("a zone cannot be signed: the version signed before the restart is served", "zone", z.name(), "error", err.Error(),
			"next", signRetry.String())
		next, err = &Signed{Zone: have, Resign: time.Now().Add(signRetry), refused: "it cannot be signed: " + err.Error()}, nil
	}
	if err != nil {
		return fmt.Errorf("it cannot be signed: %w", err)
	}
	for _, file := range next.Made {
		m.log.Warn(
			"a DNSSEC key was created: back it up, and add its DS record to the parent zone (port53 zone ds)",
			"zone",
			z.name(),
			"file",
			file+".private",
		)
	}
	for _, alert := range next.Alerts {
		m.log.Error("the signatures of a zone need attention", "zone", z.name(), "error", alert)
	}
	if next.Zone != have && next.Deltas == nil {
		c.past = nil // nobody knows what leads from there to here
	}
	c.signed, c.Problems = next, append(c.Problems, next.Problems...)
	for _, d := range next.Deltas {
		d.By, d.At = bySigner, time.Now().Truncate(time.Second)
		if n := len(c.Deltas); n > 0 && c.Deltas[n-1].By != "" {
			d.By = c.Deltas[n-1].By
		}
	}
	if m.signatures == nil || next.Zone == have {
		return nil
	}
	apex := []byte(z.key)
	if next.Deltas != nil {
		err = m.signatures.Append(apex, next.Zone, next.Deltas...)
	} else {
		err = m.signatures.Save(apex, next.Zone)
	}
	switch {
	case err == nil:
	case z.polled:
		m.log.Error(
			"the signed version of a zone cannot be stored: it is served from memory",
			"zone",
			z.name(),
			"error",
			err.Error(),
		)
	default:
		return fmt.Errorf("its signatures cannot be kept on disk: %w", err)
	}
	return nil
}

// stillSigned reports whether a signed version of a zone is worth to be served when no newer one can be made: nobody would
// believe signatures that have expired, as those of a zone that was not signed for a while.
func stillSigned(have *zone.Zone, now time.Time) bool {
	if have == nil {
		return false
	}
	signed := false
	have.EachAt(have.Name(), func(_ []byte, t wire.Type, _ uint32, data []byte) bool {
		const expiration = 8 // RFC 4034, section 3.1
		if t != wire.TypeRRSIG || len(data) < expiration+4 {
			return true
		}
		signed = int32(binary.BigEndian.Uint32(data[expiration:])-uint32(now.Unix())) > 0
		return signed
	})
	return signed
}

// enterSigned makes the signed version of a candidate the one that is served, as far as the
// manager knows it. z is held.
func (m *Manager) enterSigned(z *managed, c *Candidate) {
	if c.signed == nil {
		z.signing = signing{}
		m.schedule.signings.remove(&z.resign)
		return
	}
	z.signing = signing{signed: c.signed.Zone, made: *c.signed, refused: c.signed.refused}
	z.made.Zone, z.made.Deltas, z.made.Problems = nil, nil, nil
	m.signAgain(z)
}

// signAgain has a zone signed again when it has to be. z is held.
func (m *Manager) signAgain(z *managed) {
	if z.source.Signer != nil && !z.made.Resign.IsZero() && !z.gone {
		m.schedule.signings.in(&z.resign, max(time.Until(z.made.Resign), soonest))
	}
}

// signRetry is when signing is tried again that failed: keys may be back, or the disk have room.
const signRetry = 5 * time.Minute

// renewSignatures signs a zone again whose time has come, and has the new version served.
func (m *Manager) renewSignatures(z *managed) {
	wait := signRetry
	m.contained(z.name(), func() { wait = m.signNow(z) })
	m.schedule.signings.end(&z.resign, func() time.Duration { return wait })
}

// signNow does the work of renewSignatures, and returns when it is due again; negative: never.
func (m *Manager) signNow(z *managed) time.Duration {
	z.hold()
	defer z.release()
	if z.gone || z.source.Signer == nil || z.zone == nil {
		return -1
	}
	if err := m.signHeld(z); err != nil {
		m.log.Error("a zone cannot be re-signed: the previous version is served", "zone", z.name(), "error", err.Error(),
			"signatures_expire", z.made.Expires.UTC().Format(time.RFC3339), "next", signRetry.String())
		return signRetry
	}
	if z.made.Resign.IsZero() {
		return -1
	}
	return max(time.Until(z.made.Resign), soonest)
}

// signHeld signs a zone again, and has the new version served. z is held.
func (m *Manager) signHeld(z *managed) error {
	c := &Candidate{Zone: z.zone}
	start := time.Now()
	if err := m.sign(m.ctx, z, z.source.Signer, c); err != nil {
		z.refused = err.Error()
		return err
	}
	changed := c.signed.Zone != z.signed
	if changed {
		z.history = z.followed(c)
	}
	z.signing = signing{signed: c.signed.Zone, made: *c.signed}
	z.made.Zone, z.made.Deltas, z.made.Problems = nil, nil, nil
	if changed {
		z.past.Store(&past{z.signed, z.history.deltas})
		m.log.Info(
			"zone signed again",
			"zone",
			z.name(),
			"serial",
			z.signed.Serial(),
			"signatures_expire",
			z.made.Expires.UTC().Format(time.RFC3339),
			"took",
			time.Since(start).Round(time.Millisecond).String(),
		)
		if !z.expired {
			z.served.Store(z.signed)
			m.announce(z)
		}
	}
	return nil
}

// errUnsigned is why nothing can be done with the keys of a zone.
var errUnsigned = errors.New("the zone is not signed by this server: set dnssec: {sign: true} on it")

// Signing runs f with the signer of a zone and the version that is served, or nil, while nobody else
// has the signer sign. If f says so the zone is signed again then, and what came of it is served.
func (m *Manager) Signing(apex []byte, f func(s Signer, served *zone.Zone) (again bool, err error)) error {
	z, err := m.held(apex)
	if err != nil {
		return err
	}
	defer z.release()
	if z.source.Signer == nil {
		return errUnsigned
	}
	again, err := f(z.source.Signer, z.signed)
	if err != nil || !again || z.zone == nil {
		return err
	}
	if err := m.signHeld(z); err != nil {
		return fmt.Errorf("it cannot be signed, the previous version is served: %w", err)
	}
	m.signAgain(z)
	return nil
}

// signRestored has a zone signed whose plain version came from the store, and makes it what is
// served. If that fails it is tried again, and the zone is not served until then. z is held.
func (m *Manager) signRestored(z *managed) {
	c := &Candidate{Zone: z.zone}
	if err := m.sign(m.ctx, z, z.source.Signer, c); err != nil {
		z.refused = err.Error()
		m.log.Error(
			"a zone cannot be signed: it answers SERVFAIL",
			"zone",
			z.name(),
			"error",
			err.Error(),
			"next",
			signRetry.String(),
		)
		m.schedule.signings.in(&z.resign, signRetry)
		return
	}
	z.install(c)
	m.enterSigned(z, c)
}

// otherwise reports whether a source has its zone signed otherwise than it is.
func (z *managed) otherwise(s *Source) bool {
	have, next := z.source.Signer, s.Signer
	if have == nil || next == nil {
		return (have == nil) != (next == nil)
	}
	return !next.Same(have)
}

// A SignStatus is what is known of the signatures of a zone that is signed here.
type SignStatus struct {
	UnsignedSerial uint32    `json:"unsigned_serial"`
	Keys           []string  `json:"keys"`
	Expires        time.Time `json:"first_signature_expires,omitzero"`
	Next           time.Time `json:"next_signing,omitzero"`
	LastError      string    `json:"last_error,omitempty"`
}

// signStatus returns what is known of the signatures, or nil. z.mu is held.
func (z *managed) signStatus() *SignStatus {
	if z.source.Signer == nil {
		return nil
	}
	s := &SignStatus{Keys: z.made.Keys, Expires: z.made.Expires, Next: z.made.Resign, LastError: z.refused}
	if z.zone != nil {
		s.UnsignedSerial = z.zone.Serial()
	}
	return s
}

// Resign has a zone that is signed here signed now: its keys have changed.
func (m *Manager) Resign(key []byte) error {
	z := m.find(key)
	if z == nil {
		return errNotServed
	}
	m.contained(z.name(), func() {
		if wait := m.signNow(z); wait >= 0 {
			m.schedule.signings.in(&z.resign, wait)
		}
	})
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.refused != "" {
		return errors.New(z.refused)
	}
	return nil
}
