package zones

import (
	"context"
	"errors"
)

// stored is the [Origin] of a zone that has no file: whoever made it has put its first version into
// the store, and what there is comes from there.
type stored struct{}

// Candidate implements [Origin]: what is kept is still right, whatever it is.
func (stored) Candidate(_ context.Context, known Known) (*Candidate, error) {
	if known.Zone == nil {
		return nil, errors.New(
			"it has no data in state_dir: restore its directory from a backup, or remove the zone and add it again",
		)
	}
	return nil, nil
}

// Continues implements [Origin].
func (stored) Continues(prior Origin) bool {
	_, same := prior.(stored)
	return same
}

// Traits implements [Origin].
func (stored) Traits() Traits { return Traits{Kept: true} }
