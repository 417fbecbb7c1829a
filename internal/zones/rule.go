package zones

import (
	"errors"

	"port53/internal/authority"
	"port53/internal/wire"
	"port53/internal/zone"
)

// An Unfit is an error of a version that its records are to blame for, and not its keys or the disk: whoever
// brought the records is refused, and what others brought at the same time is taken.
type Unfit struct{ Err error }

func (u *Unfit) Error() string { return u.Err.Error() }

// Unwrap has errors.Is look at what it is about.
func (u *Unfit) Unwrap() error { return u.Err }

// errElsewhere is why nobody but its signer changes a zone that came signed (DIALECT 108).
var errElsewhere = errors.New("the zone was signed elsewhere: changed records would have no signatures")

// elsewhere reports whether the zone is served with proofs that were not made here. z.mu is held.
func (z *managed) elsewhere() bool { return z.zone != nil && z.zone.Signed() && z.shown() == z.zone }

// barred returns why a change of the records of a zone is refused whatever it is, or NoError. z.mu is held.
func (z *managed) barred() (wire.Rcode, string) {
	switch {
	case z.polled:
		return wire.NotAuth, "this server is not a primary for the zone"
	case z.elsewhere():
		return wire.Refused, errElsewhere.Error()
	}
	return wire.NoError, ""
}

// stray returns a record of a first version that only a signed zone has, if the zone is none as a whole.
func stray(z *zone.Zone) (t wire.Type, found bool) {
	if z.ComesSigned() {
		return 0, false
	}
	z.EachSet(func(_ zone.Node, set *zone.RRset) bool {
		switch {
		case authority.Proof(set.Type):
			t, found = set.Type, true
		case set.Sigs > 0:
			t, found = wire.TypeRRSIG, true
		}
		return !found
	})
	return t, found
}
