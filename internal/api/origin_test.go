package api_test

import (
	"context"

	"port53/internal/zone"
	"port53/internal/zones"
)

// A given is an origin of one version.
type given struct{ version *zone.Zone }

func (g given) Candidate(context.Context, zones.Known) (*zones.Candidate, error) {
	return &zones.Candidate{Zone: g.version}, nil
}
func (given) Continues(zones.Origin) bool { return false }
func (given) Traits() zones.Traits        { return zones.Traits{} }
