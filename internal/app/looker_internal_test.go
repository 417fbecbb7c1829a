package app

import (
	"testing"
	"time"

	"port53/internal/config"
	"port53/internal/resolver"
)

// TestLookerValidates has what the parent's servers say be validated: by the trust anchors that are built in or,
// at a resolver, by its own, at its own time; if its validation is off, not at all.
func TestLookerValidates(t *testing.T) {
	own := resolver.Anchors()[:1]
	past := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	for what, c := range map[string]struct {
		role     string
		validate bool
		want     int
		now      time.Time
	}{
		"authoritative":        {"authoritative", true, len(resolver.Anchors()), time.Time{}},
		"a resolver":           {"internal-resolver", true, 1, past},
		"one that is told not": {"internal-resolver", false, 0, past},
	} {
		g := &generation{config: &config.Config{Role: c.role}, resolver: resolver.Settings{Anchors: own}}
		g.config.Resolver.Validation, g.config.Resolver.ValidationTime = c.validate, past
		a := &App{}
		a.current.Store(g)
		if l := a.looker(); len(l.Anchors) != c.want || !l.Now.Equal(c.now) || len(l.Roots) == 0 {
			t.Errorf("%s: %d anchors, at %v", what, len(l.Anchors), l.Now)
		}
	}
}
