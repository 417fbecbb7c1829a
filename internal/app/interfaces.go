package app

import (
	"net/netip"
	"slices"
	"sync"

	"port53/internal/netif"
)

// presence is which of the addresses that are served an interface of this machine has. A
// socket is bound to the others already, and serves as soon as one has them.
type presence struct {
	mu      sync.Mutex
	missing []netip.AddrPort
}

// look compares the addresses that are served with those of the interfaces, and logs what
// has changed since it was last called.
func (a *App) lookAtAddresses(all []netif.Address) {
	var missing []netip.AddrPort
	for _, at := range a.server.Addrs() {
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
			a.log.Warn("no interface of this machine has an address that is to be served: it is served once one has", "address", at)
		}
	}
	for _, at := range before {
		if !slices.Contains(missing, at) {
			a.log.Info("an interface has the address now, and it is served", "address", at)
		}
	}
}

// present calls f for each address that is served.
func (a *App) present(f func(at netip.AddrPort, there bool)) {
	a.presence.mu.Lock()
	missing := a.presence.missing
	a.presence.mu.Unlock()
	for _, at := range a.server.Addrs() {
		f(at, !slices.Contains(missing, at))
	}
}

// followInterfaces does what the addresses of this machine as they are now lead to.
func (a *App) followInterfaces() {
	all, err := netif.List()
	if err != nil {
		a.log.Warn("addresses of this machine are not known, and changes of them not followed", "problem", err.Error())
		return
	}
	a.lookAtAddresses(all)
}
