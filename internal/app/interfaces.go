package app

import (
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"sync"

	"port53/internal/netif"
	"port53/internal/policy"
)

// presence is which of the addresses that are served an interface of this machine has. A
// socket is bound to the others already, and serves as soon as one has them.
type presence struct {
	mu      sync.Mutex
	missing []netip.AddrPort
}

// lookAtAddresses compares the addresses that are served with those of the interfaces, and logs what
// has changed since it was last called.
func (a *App) lookAtAddresses(all []netif.Address) {
	var missing []netip.AddrPort
	for _, at := range a.served() {
		if !netif.Has(all, at.Addr()) {
			missing = append(missing, at)
		}
	}
	p := &a.presence
	p.mu.Lock()
	before := p.missing
	p.missing = missing
	p.mu.Unlock()
	for _, at := range missing {
		if !slices.Contains(before, at) {
			a.log.Warn("no interface has a listen address yet: it is served as soon as one has it", "address", at)
		}
	}
	for _, at := range before {
		if !slices.Contains(missing, at) {
			a.log.Info("a listen address has appeared and is served", "address", at)
		}
	}
}

// served returns all addresses that are served, over whatever transport.
func (a *App) served() []netip.AddrPort {
	list := a.server.Addrs()
	for _, l := range a.server.Encrypted() {
		if !slices.Contains(list, l.Addr) { // one may be served over TCP and UDP
			list = append(list, l.Addr)
		}
	}
	return list
}

// present calls f for each address that is served.
func (a *App) present(f func(at netip.AddrPort, there bool)) {
	a.presence.mu.Lock()
	missing := a.presence.missing
	a.presence.mu.Unlock()
	for _, at := range a.served() {
		f(at, !slices.Contains(missing, at))
	}
}

// followInterfaces does what the addresses of this machine as they are now lead to.
func (a *App) followInterfaces() {
	all, err := netif.List()
	if err != nil {
		a.log.Warn("this host's addresses cannot be read, and changes are not tracked", "error", err.Error())
		return
	}
	a.bindLate()
	a.lookAtAddresses(all)
	a.tellRisks(a.current.Load().config, all)
	a.followNetworks()
}

// bindLate binds addresses that could not be had at the start: of a family that this machine did
// not have, or of a link that was not there.
func (a *App) bindLate() {
	bound, err := a.server.Retry()
	if len(bound) > 0 {
		a.log.Info("addresses that were missing at start are served now", "addresses", bound)
	}
	if err != nil {
		a.log.Error("an address has appeared but cannot be bound: restart the server", "error", err.Error())
	}
}

// followViews returns the views with whom they answer by the networks that the machine's interfaces
// have now; nil: nothing is different.
func followViews(old []outlook) ([]outlook, error) {
	next, differ := slices.Clone(old), false
	for i := range next {
		o := &next[i]
		now, err := networksOf(o.config)
		if err == nil && !reflect.DeepEqual(now, o.networks) {
			differ = true
			o.networks = now
			o.access, err = access(o.config, now)
		}
		if err != nil {
			return nil, err
		}
	}
	if !differ {
		return nil, nil
	}
	return next, nil
}

// followNetworks answers the clients of the networks that the machine's interfaces have now,
// if the configuration leaves it to those, and has the firewall do the same if it is to.
func (a *App) followNetworks() {
	old := a.current.Load()
	c := old.config
	if !c.FollowsInterfaces() {
		return
	}
	now, err := networksOf(c)
	views, viewsErr := followViews(old.views)
	err = errors.Join(err, viewsErr)
	if err == nil && reflect.DeepEqual(now, old.networks) && views == nil {
		return
	}
	var who *policy.Access
	var guard *guard
	if err == nil {
		who, err = access(c, now)
	}
	if err == nil {
		guard, err = planGuard(c)
	}
	if err != nil {
		a.log.Error("this host's networks changed, but the allowed clients could not be updated", "error", err.Error())
		return
	}
	replaced := false
	a.update(func(g *generation) {
		if replaced = g.config == c; replaced { // else a reload has read them since
			g.networks, g.engine.Access, g.guard = now, who, guard
			for i := range views {
				g.views[i].networks, g.views[i].access = views[i].networks, views[i].access
			}
		}
	})
	if !replaced {
		return
	}
	a.log.Info(
		"this host's networks changed: the allowed clients are updated",
		"clients",
		now.clients,
		"policy_allow",
		now.asked,
	)
	a.tellLeft(old, a.current.Load())
	if err := a.apply(a.ctx, guard); err != nil {
		a.log.Error("the firewall rules could not be updated", "error", err.Error())
	}
}
