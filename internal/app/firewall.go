package app

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"slices"

	"port53/internal/config"
	"port53/internal/firewall"
	"port53/internal/fwrun"
)

// FirewallPlan returns what a firewall has to let through for a configuration: who may ask
// here, and the peers of transfers.
func FirewallPlan(c *config.Config) (*firewall.Plan, error) {
	p := &firewall.Plan{Role: c.Role, Deny: deniedByAll(c), Peers: transferPeers(c), User: c.User}
	for i := range c.Zones {
		p.Peers = append(append(p.Peers, c.Zones[i].AllowTransfer...), c.Zones[i].TransferAlone...)
		p.Peers = append(p.Peers, c.Zones[i].AllowNotify...)
		for _, name := range slices.Concat(c.Zones[i].TransferRemotes, c.Zones[i].Members.TransferRemotes) {
			if r := c.Remote(name); r != nil {
				p.Peers = append(p.Peers, peersOf(r.Addresses)...)
			}
		}
	}
	p.Peers = slices.DeleteFunc(p.Peers, func(n netip.Prefix) bool { return n.Addr().IsLoopback() })
	whole := false
	for _, a := range slices.Concat(c.Listen, encryptedAddrs(c), c.Encrypted.QUIC()) {
		switch {
		case a.Addr().IsUnspecified():
			whole = true
		case !a.Addr().IsLoopback():
			p.Listen = append(p.Listen, a.Addr().WithZone(""))
		}
	}
	local := len(p.Listen) == 0 && !whole
	if whole {
		p.Listen = nil
	}
	p.Ports = servedPorts(c)
	if c.Metrics.Listen.IsValid() && !c.Metrics.Listen.Addr().IsLoopback() {
		p.Closed = append(p.Closed, firewall.Port{Proto: "tcp", Number: c.Metrics.Listen.Port(), Use: "metrics"})
		p.Monitors = slices.Clone(c.Expose.Scrape)
	}
	if local { // nobody from outside of this machine
		return p, nil
	}
	for _, in := range views(c) {
		if err := letIn(p, in); err != nil {
			return nil, err
		}
	}
	for _, x := range c.Proxies {
		p.Allow = append(p.Allow, x.From...) // whoever asks, they are who sends
	}
	if p.Everybody {
		p.Allow = nil
	}
	p.Limits = p.Everybody || !c.Recurses()
	return p, nil
}

// servedPorts returns the ports that c serves, each once.
func servedPorts(c *config.Config) (ports []firewall.Port) {
	add := func(more ...firewall.Port) {
		for _, p := range more {
			if !slices.ContainsFunc(ports, func(q firewall.Port) bool { return q.Proto == p.Proto && q.Number == p.Number }) {
				ports = append(ports, p)
			}
		}
	}
	for _, a := range c.Listen {
		add(firewall.DNS(a.Port())...)
	}
	for _, a := range c.Encrypted.DoT {
		add(firewall.Port{Proto: "tcp", Number: a.Port(), Use: "DNS over TLS"})
	}
	for _, a := range c.Encrypted.DoH.Listen {
		add(firewall.Port{Proto: "tcp", Number: a.Port(), Use: "DNS over HTTPS"})
	}
	for _, a := range c.Encrypted.DoQ {
		add(firewall.Port{Proto: "udp", Number: a.Port(), Use: "DNS over QUIC"})
	}
	for _, a := range c.Encrypted.ACME.Listen {
		add(firewall.Port{Proto: "tcp", Number: a.Port(), Use: "proofs for certificates (ACME)"})
	}
	if c.Encrypted.DoH.HTTP3 {
		for _, a := range c.Encrypted.DoH.Listen {
			add(firewall.Port{Proto: "udp", Number: a.Port(), Use: "DNS over HTTP/3"})
		}
	}
	slices.SortStableFunc(ports, func(a, b firewall.Port) int { return int(a.Number) - int(b.Number) })
	return ports
}

// views returns the configuration as each view has it, the default one first.
func views(c *config.Config) []*config.Config {
	all := []*config.Config{c}
	for i := range c.Views {
		all = append(all, c.InView(i))
	}
	return all
}

// letIn has a plan let through who may ask in a view.
func letIn(p *firewall.Plan, c *config.Config) error {
	allow, err := c.QueryClients()
	if err != nil {
		return err
	}
	if c.Recurses() {
		clients, _, err := c.RecursionClients()
		if err != nil {
			return err
		}
		allow = slices.Concat(clients, allow)
	}
	p.Everybody = p.Everybody || len(allow) == 0 && !(c.Recurses() && c.Internal()) && !c.DeniesQueries()
	for _, n := range allow {
		if !slices.Contains(p.Allow, n) {
			p.Allow = append(p.Allow, n)
		}
	}
	return nil
}

// deniedByAll returns the networks that no view lets ask.
func deniedByAll(c *config.Config) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(c.Policy.Deny), func(n netip.Prefix) bool {
		return slices.ContainsFunc(c.Views, func(v config.View) bool { return !slices.Contains(v.Policy.Deny, n) })
	})
}

// A guard is the rules that the machine's firewall is to have, and where their state lies.
type guard struct {
	rules   *firewall.Rules
	state   string
	foreign []fwrun.Foreign // rules of others that are in the way of port 53
	unseen  bool            // those could not be looked for
}

// planGuard returns the rules that fit c; nil: they are not ours to set.
func planGuard(c *config.Config) (*guard, error) {
	if !c.Firewall.Manage {
		return nil, nil
	}
	p, err := FirewallPlan(c)
	if err == nil {
		err = p.Check()
	}
	var rules *firewall.Rules
	var foreign []fwrun.Foreign
	unseen := false
	if err == nil {
		// Where nobody may look, nobody may load the rules either, and apply says so.
		var blind error
		foreign, blind = (&fwrun.System{}).Foreign(context.Background(), firewall.Nftables)
		unseen = blind != nil
		for _, f := range foreign {
			p.Tracked = p.Tracked || (f.Translates || f.Tracks) && f.UDP
		}
		rules, err = p.Render(firewall.Nftables)
	}
	if err != nil {
		return nil, fmt.Errorf("firewall.manage: %w", err)
	}
	return &guard{rules, c.Firewall.StateDir, foreign, unseen}, nil
}

// apply makes the machine's rules fit the generation that serves, if they are to.
func (a *App) apply(ctx context.Context, g *guard) error {
	if g == nil {
		return nil
	}
	if err := a.loadRules(ctx, g); err != nil {
		return err
	}
	a.tellForeign(nil, g.foreign)
	a.watching.Do(func() { fwrun.Watch(a.ctx, a.followRules) })
	return nil
}

// loadRules loads the rules of a guard if others are loaded.
func (a *App) loadRules(ctx context.Context, g *guard) error {
	a.guarding.Lock()
	defer a.guarding.Unlock()
	changed, err := (&fwrun.System{State: g.state}).Apply(ctx, g.rules, 0, false, nil)
	if err != nil {
		return fmt.Errorf("firewall.manage: the rules were not changed: %w", err)
	}
	if changed {
		a.log.Info("the firewall rules match the configuration again", "table", firewall.Table)
	}
	return nil
}

// tellForeign logs which rules of others have come and gone.
func (a *App) tellForeign(before, now []fwrun.Foreign) {
	for _, f := range now {
		if !slices.Contains(before, f) {
			a.log.Warn("the firewall has foreign rules for port 53", "rule", f.String())
		}
	}
	for _, f := range before {
		if !slices.Contains(now, f) {
			a.log.Info("a foreign firewall rule for port 53 was removed", "rule", f.String())
		}
	}
}

// followRules looks for rules of others that have come or gone, and has the rules here fit them:
// where UDP is translated it has to stay tracked. Rules of ours that somebody took away stay away.
func (a *App) followRules() {
	old := a.current.Load()
	if old.guard == nil {
		return
	}
	guard, err := planGuard(old.config)
	if err != nil {
		a.log.Error("the firewall rules could not be updated", "error", err.Error())
		return
	}
	if guard.unseen || slices.Equal(guard.foreign, old.guard.foreign) {
		return
	}
	replaced := false
	a.update(func(g *generation) {
		if replaced = g.config == old.config; replaced { // else a reload has looked since
			g.guard = guard
		}
	})
	if !replaced {
		return
	}
	a.tellForeign(old.guard.foreign, guard.foreign)
	if reflect.DeepEqual(guard.rules, old.guard.rules) {
		return
	}
	if err := a.loadRules(a.ctx, guard); err != nil {
		a.log.Error("the firewall rules could not be updated", "error", err.Error())
	}
}
