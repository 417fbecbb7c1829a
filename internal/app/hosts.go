package app

import (
	"slices"
	"time"

	"port53/internal/config"
	"port53/internal/hosts"
	"port53/internal/wire"
	"port53/internal/zone"
)

// hostsPoll is how often files of names and leases are looked at: one stat(2) each.
const hostsPoll = time.Second

// hostSources returns where the names of machines of c come from; taken tells of names that a
// lease may not have, since they lie in a zone.
func hostSources(c *config.Config, taken func(name []byte) bool) *hosts.Sources {
	s := &hosts.Sources{Domain: c.Domain, Authoritative: c.AuthoritativeDomain(), Reserved: taken}
	for _, n := range c.Names {
		s.Names = append(s.Names, hosts.Name{Name: n.Name, Addrs: n.Address})
	}
	for _, f := range c.Hosts {
		s.Files = append(s.Files, f.File)
	}
	formats := map[string]hosts.Format{"dnsmasq": hosts.Dnsmasq, "kea": hosts.Kea, "isc": hosts.ISC}
	for _, f := range c.Leases {
		s.Leases = append(s.Leases, hosts.LeaseFile{Path: f.File, Format: formats[f.Format]})
	}
	return s
}

// inZones reports whether a name is in a zone that is served: one that is below a zone but the
// root's.
func inZones(view *zone.View) func(name []byte) bool {
	return func(name []byte) bool {
		if view == nil || view.Len() == 0 {
			return false
		}
		var split wire.SplitName
		split.Set(name)
		entry := view.Find(&split)
		return entry != nil && len(entry.Apex) > 1
	}
}

// readHosts reads the names of machines of g.
func (a *App) readHosts(g *generation, view *zone.View) *hosts.Result {
	return hosts.Read(hostSources(g.config, inZones(view)), time.Now())
}

// tellHosts logs what is new of a reading. old may be nil.
func (a *App) tellHosts(old, now *hosts.Result) {
	had := map[string]bool{}
	if old != nil {
		for _, n := range old.Notes {
			had[n] = true
		}
	}
	for _, n := range now.Notes {
		if !had[n] {
			a.log.Warn("hosts and leases", "error", n)
		}
	}
	if old == nil || old.Table.Len() != now.Table.Len() {
		a.log.Info("hosts and leases read", "names", now.Table.Len())
	}
}

// followHosts reads the names of machines again when a file of theirs changes or a lease ends.
// While a file is away, as it is for a moment when a DHCP server puts another in its place, the
// names before go on.
func (a *App) followHosts() {
	tick := time.NewTicker(hostsPoll)
	defer tick.Stop()
	var told *hosts.Result // of the failure that goes on
	for {
		select {
		case <-a.ctx.Done():
			return
		case <-tick.C:
		}
		g := a.current.Load()
		if g.hosts == nil || !g.hosts.Changed(time.Now()) {
			continue
		}
		r := a.readHosts(g, g.engine.Zones)
		if r.Failed {
			a.tellHosts(told, r)
			told = r
			continue
		}
		told = nil
		a.tellHosts(g.hosts, r)
		a.update(func(next *generation) {
			if next.hosts == g.hosts { // no reload has read them meanwhile
				next.setHosts(r)
			}
		})
	}
}

// setHosts makes r the names of machines that g answers with.
func (g *generation) setHosts(r *hosts.Result) {
	g.hosts = r
	recursion := *g.engine.Recursion
	recursion.Names = r.Table
	g.engine.Recursion = &recursion
	g.views = slices.Clone(g.views)
	for i := range g.views {
		if o := &g.views[i]; o.recursion != nil {
			own := *o.recursion
			own.Names = r.Table
			o.recursion = &own
		}
	}
}
