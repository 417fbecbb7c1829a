package signer

import (
	"context"
	"errors"
	"slices"
	"time"

	"port53/internal/wire"
	"port53/internal/zone"
)

// foreign reports whether a zone comes signed, by others than this server: an export of what it served is
// signed by keys that it has. Stray records of a signed zone are none of a signer, and are replaced.
func (s *Stage) foreign(plain *zone.Zone, now time.Time) bool {
	if s.From != "" || !plain.ComesSigned() {
		return false
	}
	_, keys, err := s.open(now.Round(0).UTC().Truncate(time.Second))
	if err != nil {
		return true // nothing can be signed; what comes is judged by what the parent has
	}
	var u zone.Unpacked
	plain.UnpackType(&u, plain.Root(), wire.TypeDNSKEY)
	return !slices.ContainsFunc(u.Data, func(d []byte) bool {
		return slices.ContainsFunc(keys, func(k *Key) bool { return k.madeOf(wire.TypeDNSKEY, d) })
	})
}

// ErrContent is what the errors are of a version that the records of the plain zone are to blame for.
var ErrContent = errors.New("records of the zone are to blame")

// A contentError is one of these, with a text of its own.
type contentError struct{ error }

// Is has errors.Is find ErrContent.
func (contentError) Is(target error) bool { return target == ErrContent }

// Try returns why plain could not be signed, as far as its records are to blame, and changes nothing: no key
// is made, no state remembered. have is the signed version that there is. A large zone is gone through and not
// signed, as the server does not verify it whole either.
func (s *Stage) Try(ctx context.Context, seed wire.Seed, have, plain *zone.Zone, now time.Time) error {
	if s.foreign(plain, now) {
		return nil
	}
	trial := *s
	trial.From = "" // signing alone takes keys over
	s = &trial
	now = now.Round(0).UTC().Truncate(time.Second)
	life, keys, err := s.open(now)
	if err != nil || life.Unsigned || s.attach(life, keys) != nil {
		return nil // that is not for the records to mend
	}
	v := &Version{Lifecycle: life}
	switch _, err := s.keySet(v, plain, keys, now); {
	case errors.Is(err, ErrContent):
		return err
	case err != nil:
		return nil
	case plain.Names() > fewSignatures:
		return misplaced(plain)
	}
	serial := plain.Serial()
	if err := s.sign(ctx, v, seed, have, plain, keys, serial, now); err != nil {
		return content(err)
	}
	return content(s.check(v, now))
}

// content returns an error if it is of the records of a zone.
func content(err error) error {
	if errors.Is(err, ErrContent) {
		return err
	}
	return nil
}

// elsewhere returns ErrSigned, unless the zone that comes signed is worse than what is served.
func (s *Stage) elsewhere(have, plain *zone.Zone, now time.Time) error {
	life, err := s.load()
	if err != nil {
		return err
	}
	if _, err := life.seatbelt(have, plain, now); err != nil {
		return err
	}
	return ErrSigned
}
