package app

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"

	"port53/internal/cache"
	"port53/internal/config"
	"port53/internal/engine"
	"port53/internal/filter"
	"port53/internal/policy"
	"port53/internal/resolver"
	"port53/internal/rpz"
	"port53/internal/wire"
	"port53/internal/zone"
)

// An outlook is one view of a generation, made ready but for its zones. The view default is no
// outlook: it is the generation itself.
type outlook struct {
	config    *config.Config // as the view has it
	match     engine.Match
	networks  networks
	access    *policy.Access
	recursion *engine.Recursion // nil: nothing is resolved for its clients
	policy    *filter.Policy    // which rules count for them; nil: none
	rpz       *rpz.Policy       // policy zones that count for them; nil: none
	slot      uint8             // of its counters

	settings resolver.Settings // that recursion.Config was compiled from
	anchors  []resolver.Anchor // as configured
}

// buildViews makes the views of g beside the default one, which is made already.
func (a *App) buildViews(g, old *generation) error {
	c := g.config
	for i := range c.Views {
		o := outlook{config: c.InView(i), match: matchOf(&c.Views[i].Match), slot: a.slotOf(c.Views[i].Name)}
		var err error
		if o.networks, err = networksOf(o.config); err != nil {
			return err
		}
		if o.access, err = access(o.config, o.networks); err != nil {
			return fmt.Errorf("view %s: %w", c.Views[i].Name, err)
		}
		if c.Views[i].Resolver.Recursion {
			if err := a.buildOutlook(g, old, &o); err != nil {
				return fmt.Errorf("view %s: %w", c.Views[i].Name, err)
			}
		}
		g.views = append(g.views, o)
	}
	if len(g.views) > 0 {
		g.slot = a.slotOf(config.DefaultView)
	}
	a.part(g, old)
	g.compile()
	return nil
}

// matchOf returns whose view a view is.
func matchOf(m *config.Match) engine.Match {
	return engine.Match{
		Clients: policy.ACLOptions{Allow: m.Clients, Deny: m.Except}, ClientKeys: m.ClientKeys, ExceptKeys: m.ExceptKeys,
		Listen: m.Listen, Keys: m.Key,
	}
}

// buildOutlook makes what a view needs to answer for names outside of its zones.
func (a *App) buildOutlook(g, old *generation, o *outlook) (err error) {
	if o.settings, err = resolverSettings(o.config); err != nil {
		return err
	}
	o.anchors = o.settings.Anchors
	rc := &o.config.Resolver
	o.recursion = &engine.Recursion{
		Order: order(o.config, o.config.RRsetOrder), Stale: rc.Cache.ServeStale, Prefetch: rc.Cache.Prefetch, Info: infoOf(o.config),
	}
	if o.recursion.DNS64Clients, err = sixOf(o.config); err != nil {
		return err
	}
	o.recursion.Builtin, err = a.builtinOf(o.config, old)
	return err
}

// builtinOf returns the names that are built in, those of old if they are the same.
func (a *App) builtinOf(c *config.Config, old *generation) (*zone.View, error) {
	ownRoot := c.Resolver.RootHints != ""
	switch {
	case !c.Resolver.SpecialNames && len(c.Resolver.DNS64.Prefix) == 0:
		return builtin(a.seed, []string{ownZone})
	case !c.Resolver.SpecialNames:
		return builtin(a.seed, append(prefixZones(), ownZone)) // whoever makes addresses answers for them himself (RFC 8880, section 7.1)
	case old != nil && old.engine.Recursion.Builtin != nil && old.config.Resolver.SpecialNames &&
		(old.config.Resolver.RootHints != "") == ownRoot:
		return old.engine.Recursion.Builtin, nil
	}
	return builtin(a.seed, builtinZones(ownRoot))
}

// sixOf returns for whom addresses of IPv6 are made, of those who may have names resolved; nil: for nobody.
func sixOf(c *config.Config) (*policy.ACL, error) {
	x := &c.Resolver.DNS64
	if len(x.Prefix) == 0 {
		return nil, nil
	}
	clients := x.Clients
	if len(clients) == 0 {
		clients = []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
	}
	return policy.NewACL(policy.ACLOptions{Allow: clients})
}

// sameAnswers reports whether two views are answered alike for names outside of their zones, so that
// what is learned for one is right for the other: they are resolved in one way, and see the same zones.
func sameAnswers(a, b *config.Config, zonesOf map[string][]int) bool {
	x, y := a.Resolver, b.Resolver
	x.Allow, x.AllowInterfaces, y.Allow, y.AllowInterfaces = nil, nil, nil, nil
	return reflect.DeepEqual(x, y) && slices.Equal(zonesOf[a.View()], zonesOf[b.View()])
}

// zonesOf returns the indexes of the zones that each view sees.
func zonesOf(c *config.Config) map[string][]int {
	of := map[string][]int{}
	for i, views := range c.ZoneViews() {
		for _, view := range views {
			of[view] = append(of[view], i)
		}
	}
	return of
}

// part gives each view its partition of the cache: those that are answered alike have one, the
// default view and its like the first. A view keeps the partition that it had.
func (a *App) part(g, old *generation) {
	g.partitions = map[string]uint8{}
	in := zonesOf(g.config)
	leaders := []*config.Config{g.config}
	g.partitions[config.DefaultView] = 0
	free := func(n uint8) bool {
		for _, of := range []*generation{old, g} {
			if of == nil {
				continue
			}
			for _, used := range of.partitions {
				if used == n {
					return false
				}
			}
		}
		return true
	}
	for i := range g.views {
		c := g.views[i].config
		if g.views[i].recursion == nil {
			continue
		}
		at := slices.IndexFunc(leaders, func(l *config.Config) bool { return sameAnswers(l, c, in) })
		if at >= 0 {
			g.partitions[c.View()] = g.partitions[leaders[at].View()]
			continue
		}
		leaders = append(leaders, c)
		if old != nil {
			if n, had := old.partitions[c.View()]; had && n != 0 && !taken(g.partitions, n) {
				g.partitions[c.View()] = n
				continue
			}
		}
		n := uint8(1)
		for n < cache.MaxViews-1 && !free(n) {
			n++
		}
		for n = n % cache.MaxViews; taken(g.partitions, n); n = (n + 1) % cache.MaxViews { // as many as ever can be are in use
		}
		g.partitions[c.View()] = n
		if a.recursion != nil {
			a.recursion.resolver.FlushPartition(n)
		}
	}
}

func taken(partitions map[string]uint8, n uint8) bool {
	for _, used := range partitions {
		if used == n {
			return true
		}
	}
	return false
}

// compile makes the configurations of the resolver that g's views are answered by: one for each
// partition.
func (g *generation) compile() {
	if g.engine.Recursion == nil {
		return
	}
	r := *g.engine.Recursion
	r.Config = resolver.Compile(g.resolver)
	g.engine.Recursion = &r
	of := map[uint8]*resolver.Config{0: r.Config}
	g.views = slices.Clone(g.views)
	for i := range g.views {
		o := &g.views[i]
		if o.recursion == nil {
			continue
		}
		if sameAnchors(o.anchors, g.anchors) {
			o.settings.Anchors = g.resolver.Anchors // they may have rolled
		}
		own := *o.recursion
		own.Cache, own.Resolver = r.Cache, r.Resolver
		n := g.partitions[o.config.View()]
		if of[n] == nil {
			o.settings.Partition = n
			of[n] = resolver.Compile(o.settings)
		}
		own.Config = of[n]
		o.recursion = &own
	}
}

// attach gives the views of g the zones that they see, and what their resolvers need to know of them.
// It returns those configurations of the resolver.
func (g *generation) attach() (configs []*resolver.Config, err error) {
	access := map[uint8][]*policy.Access{}
	if g.engine.Recursion != nil {
		access[0] = append(access[0], g.engine.Access)
	}
	for i := range g.views {
		if o := &g.views[i]; o.recursion != nil {
			n := g.partitions[o.config.View()]
			access[n] = append(access[n], o.access)
		}
	}
	local := map[uint8]*resolver.Config{}
	with := func(view string, r *engine.Recursion) *engine.Recursion {
		if r == nil {
			return nil
		}
		n := g.partitions[view]
		if local[n] == nil {
			local[n] = r.Config.WithLocal(engine.LocalZones(g.zones.View(view), r, access[n]...))
			configs = append(configs, local[n])
		}
		next := *r
		next.Config = local[n]
		return &next
	}
	g.engine.Zones = g.zones.View(config.DefaultView)
	g.engine.Recursion = with(config.DefaultView, g.engine.Recursion)
	g.engine.Views = nil
	if len(g.views) == 0 {
		return configs, nil
	}
	g.engine.Name, g.engine.Slot = config.DefaultView, g.slot
	views, matches := make([]engine.View, len(g.views)), make([]engine.Match, len(g.views))
	for i := range g.views {
		o := &g.views[i]
		name := o.config.View()
		views[i] = engine.View{
			Name:      name,
			Slot:      o.slot,
			Zones:     g.zones.View(name),
			Access:    o.access,
			Recursion: with(name, o.recursion),
			Policy:    o.policy,
			RPZ:       o.rpz,
		}
		matches[i] = o.match
	}
	g.engine.Views, err = engine.NewViews(views, matches)
	return configs, err
}

// zoneKey returns what stands for a zone among all, by its name and a view that sees it; no view: it
// has to be the only zone of that name.
func (a *App) zoneKey(name, view string) ([]byte, error) {
	apex, err := wire.ParseName(name)
	if err == nil {
		apex, err = a.manager.Key(wire.Lower(nil, apex), view)
	}
	if err != nil {
		return nil, fmt.Errorf("zone %s: %w", name, err)
	}
	return apex, nil
}

// viewNamed returns the view of a name that serves now; empty: that of those whom no other matches.
func (a *App) viewNamed(name string) (*engine.View, error) {
	g := &a.current.Load().engine
	if name == "" {
		return &g.View, nil
	}
	if v := g.ViewByName(name); v != nil {
		return v, nil
	}
	return nil, fmt.Errorf("there is no view %s", name)
}

// A ViewOf is which view a client gets, and why.
type ViewOf struct {
	View       string   `json:"view"`
	Client     string   `json:"client"`
	Listen     string   `json:"listen,omitempty"`
	Key        string   `json:"key,omitempty"`
	MayQuery   bool     `json:"may_ask"`
	MayRecurse bool     `json:"may_have_names_resolved"`
	Zones      []string `json:"own_zones,omitempty"` // that not all views see
}

// ViewOf implements [console.Admin].
func (a *App) ViewOf(client, listen, key string) (any, error) {
	g := a.current.Load()
	return viewOf(g, client, listen, key)
}

// WhichView tells which view a client gets of a server of c.
func WhichView(c *config.Config, client, listen, key string) (*ViewOf, error) {
	g, err := (&App{}).build(nil, c)
	if err == nil {
		_, err = g.attach()
	}
	if err != nil {
		return nil, err
	}
	return viewOf(g, client, listen, key)
}

// viewOf tells which view of g a client gets.
func viewOf(g *generation, client, listen, key string) (*ViewOf, error) {
	r := &ViewOf{Client: client, Listen: listen, Key: key}
	addr, err := netip.ParseAddr(client)
	if err != nil {
		return nil, fmt.Errorf("client %q is not an address", client)
	}
	var at netip.AddrPort
	if listen != "" {
		if at, err = netip.ParseAddrPort(listen); err != nil {
			host, hostErr := netip.ParseAddr(listen)
			if hostErr != nil {
				return nil, fmt.Errorf("listen %q is not an address", listen)
			}
			at = netip.AddrPortFrom(host, 53)
		}
	}
	var name []byte
	if key != "" {
		if name, err = wire.ParseName(key); err != nil {
			return nil, fmt.Errorf("key %q: %w", key, err)
		}
		if !slices.ContainsFunc(g.config.Keys, func(k config.Key) bool { return wire.EqualFold(k.Name, name) }) {
			return nil, fmt.Errorf("no key %q is configured", key)
		}
	}
	v := g.engine.ViewFor(addr.Unmap(), at, name)
	r.View, r.MayQuery = config.DefaultView, v.Access.MayQuery(addr.Unmap())
	if v.Name != "" {
		r.View = v.Name
	}
	r.MayRecurse = r.MayQuery && v.Recursion != nil && v.Access.MayRecurse(addr.Unmap())
	all := g.config.ViewNames()
	for i, in := range g.config.ZoneViews() {
		if len(in) < len(all) && slices.Contains(in, r.View) {
			r.Zones = append(r.Zones, string(wire.AppendName(nil, g.config.Zones[i].Name)))
		}
	}
	slices.Sort(r.Zones)
	return r, nil
}

// slotOf returns the slot of the counters of a view, which it has for as long as the server runs.
func (a *App) slotOf(view string) uint8 { return a.telemetry.ViewSlot(view) }
