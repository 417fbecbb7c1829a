package app

import (
	"port53/internal/config"
	"port53/internal/rpz"
	"port53/internal/wire"
	"port53/internal/zone"
)

// rpzOf returns the policy zones that count in the view that c is of, as they are served now; nil: none.
func (a *App) rpzOf(c *config.Config, zones *zone.View) *rpz.Policy {
	if !c.Recurses() || len(c.Policy.RPZ) == 0 {
		return nil
	}
	actions := map[string]rpz.Action{
		"given": rpz.Given, "log": rpz.Disabled, "passthru": rpz.Passthru, "nxdomain": rpz.NXDomain, "nodata": rpz.NoData,
		"drop": rpz.Drop, "tcp-only": rpz.TCPOnly,
	}
	reasons := map[string]int{"blocked": wire.EDEBlocked, "censored": wire.EDECensored, "filtered": wire.EDEFiltered}
	p := &rpz.Policy{}
	for i := range c.Policy.RPZ {
		o := &c.Policy.RPZ[i]
		name := wire.Lower(nil, o.Zone)
		text := wire.NameText(name)
		z := &rpz.Zone{
			Name:        name,
			Number:      a.filters.number(text),
			Override:    actions[o.Answer],
			MaxTTL:      uint32(o.MaxTTL.Seconds()),
			BreakDNSSEC: o.BreakDNSSEC,
			AddSOA:      o.AddSOA,
			Wait:        o.Wait,
			WaitServers: o.WaitServers,
			EDE:         reasons[o.Reason],
			Text:        o.Reason + " by policy zone " + text,
		}
		z.Summary = a.filters.outline(string(name))
		if len(o.CNAME) > 0 {
			z.Override, z.Target = rpz.Alias, wire.Lower(nil, o.CNAME)
		}
		if entry := zones.Get(name); entry != nil {
			z.Served = entry.Served
		}
		p.Zones = append(p.Zones, z)
	}
	return p
}

// outline returns the outline of a policy zone, which it has while the server runs.
func (f *filters) outline(name string) *rpz.Summary {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.outlines == nil {
		f.outlines = map[string]*rpz.Summary{}
	}
	if f.outlines[name] == nil {
		f.outlines[name] = new(rpz.Summary)
	}
	return f.outlines[name]
}

// attachRPZ gives the views of g the policy zones that count for them, unless filtering is paused.
func (a *App) attachRPZ(g *generation) {
	zones := g.zones.View(config.PolicyView)
	g.engine.Policies = zones
	paused := a.isPaused()
	if g.engine.RPZ = nil; !paused {
		g.engine.RPZ = a.rpzOf(g.config, zones)
	}
	for i := range g.views {
		if g.views[i].rpz = nil; !paused {
			g.views[i].rpz = a.rpzOf(g.views[i].config, zones)
		}
	}
}
