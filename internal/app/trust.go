package app

import (
	"slices"
	"time"

	"port53/internal/config"
	"port53/internal/wire"
)

// Who is not validated, by the operator's will.

// unvalidated returns the zones that are never validated, without an end.
func unvalidated(c *config.Config) []string {
	var list []string
	for _, n := range c.Resolver.NegativeTrustAnchors {
		if n.Until.IsZero() {
			list = append(list, wire.NameText(n.Name))
		}
	}
	slices.Sort(list)
	return list
}

// tellUnvalidated logs which zones are not validated without an end. old is the generation
// before, which has told of its own; it may be nil.
func (a *App) tellUnvalidated(old, g *generation) {
	if !g.config.Recurses() {
		return
	}
	list := unvalidated(g.config)
	if len(list) == 0 || old != nil && slices.Equal(unvalidated(old.config), list) {
		return
	}
	a.log.Warn("zones with a permanent negative trust anchor are not validated: forged answers for them are accepted", "zones", list,
		"by", "resolver.negative_trust_anchors")
}

// anchorsInEffect returns how many negative trust anchors have no end, and how many end later
// than now.
func anchorsInEffect(c *config.Config, now time.Time) (never, later int) {
	for _, n := range c.Resolver.NegativeTrustAnchors {
		switch {
		case n.Until.IsZero():
			never++
		case n.Until.After(now):
			later++
		}
	}
	return never, later
}

// unexcepted returns the zones with servers of their own whose answers depend on the public
// tree: what it proves of them has to be fetched before they can be answered.
func unexcepted(c *config.Config) []string {
	if !c.Recurses() || !c.Resolver.Validation {
		return nil
	}
	var list []string
	look := func(zone []byte) {
		if len(zone) > 1 && !slices.ContainsFunc(c.Resolver.NegativeTrustAnchors, func(n config.NegativeTrustAnchor) bool {
			return wire.Subdomain(wire.Lower(nil, zone), wire.Lower(nil, n.Name))
		}) {
			list = append(list, wire.NameText(zone))
		}
	}
	for _, f := range c.Resolver.Forward {
		if len(f.To) > 0 {
			look(f.Zone)
		}
	}
	for _, s := range c.Resolver.Stub {
		look(s.Zone)
	}
	return list
}
