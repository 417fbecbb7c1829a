package app

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"port53/internal/config"
	"port53/internal/netif"
	"port53/internal/wire"
)

// The largest public networks that one site has: a zone that is transferred to a larger one
// without a key is transferred to others as well.
const (
	widestSite4 = 24
	widestSite6 = 48
)

// risks returns what a configuration exposes that its role is rarely meant to, each with what to do.
// What no role is meant to is an error of the configuration, which package config finds. Both are in
// the table of docs/EXPOSURE.md. all are this machine's addresses.
func risks(c *config.Config, all []netif.Address) (list []string) {
	note := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	for _, at := range slices.Concat(c.Listen, encryptedAddrs(c), c.Encrypted.QUIC()) {
		riskOfListener(c, at, all, note)
	}
	if c.Recurses() && c.Internal() && !limitsRates(c) {
		for _, n := range c.Resolver.Allow {
			if public(n) {
				note("resolver.allow: recursion for the public network %s without rate limiting: with forged addresses this server "+
					"can be made to flood it: set policy: {rate_limit: {enabled: true}}", n)
			}
		}
	}
	for i := range c.Zones {
		riskOfZone(c, &c.Zones[i], note)
	}
	if at := c.API.Listen; at.IsValid() && !at.Addr().IsLoopback() && c.API.Certificate == "" {
		note("api.listen: %s is not a loopback address, and tokens travel unencrypted: whoever reads a token on the way may do all that "+
			"its holder may: add certificate and key to api, or listen on 127.0.0.1 behind a TLS proxy", at)
	}
	for _, f := range filesOf(c) {
		bits, what, mend := os.FileMode(0o002), "written", "chmod o-w "
		if f.Secret {
			bits, what, mend = 0o007, "read", "chmod o= "
		}
		if info, err := os.Stat(f.Path); err == nil && info.Mode().Type()&os.ModeDevice == 0 && info.Mode().Perm()&bits != 0 {
			note("%s, %s, can be %s by every user: %s", f.Path, f.What, what, mend+f.Path)
		}
	}
	return list
}

func limitsRates(c *config.Config) bool {
	return c.Policy.RateLimit.Enabled && !c.Policy.RateLimit.LogOnly
}

// riskOfListener finds an internal server that strangers reach, and an authoritative one that they reach
// without a limit.
func riskOfListener(c *config.Config, at netip.AddrPort, all []netif.Address, note func(string, ...any)) {
	reached := []string{}
	for _, a := range all {
		addr := a.Prefix.Addr()
		same := at.Addr().WithZone("") == addr || at.Addr().IsUnspecified() && addr.Is4() == at.Addr().Is4()
		if same && public(netip.PrefixFrom(addr, addr.BitLen())) && !slices.Contains(reached, addr.String()) {
			reached = append(reached, addr.String())
		}
	}
	if own := at.Addr(); len(reached) == 0 && !own.IsUnspecified() && public(netip.PrefixFrom(own, own.BitLen())) {
		reached = append(reached, own.String()) // no interface has it yet
	}
	const mend = "listen on its private addresses alone, or set firewall.manage, or run port53 firewall apply --config FILE"
	switch internal := c.Recurses() && c.Internal(); {
	case internal && c.Firewall.Manage:
	case internal && len(reached) > 0:
		note("listen: role %s is served at %s, of which the public %s: strangers' queries reach it, and the access list alone refuses "+
			"them: %s", c.Role, at, listed(reached), mend)
	case internal && at.Addr().IsUnspecified():
		note("listen: role %s is served at %s, every address that this host has or will have: %s", c.Role, at, mend)
	case !internal && len(reached) > 0 && !limitsRates(c):
		note("policy.rate_limit: replies are not limited, and the public address %s is served: with forged addresses this server "+
			"can be made to flood others: remove enabled: false and log_only", listed(reached))
	}
}

// riskOfZone finds transfers that go to many or come from afar without a signature.
func riskOfZone(c *config.Config, z *config.Zone, note func(string, ...any)) {
	zone := "zone " + strings.TrimSuffix(wire.NameText(z.Name), ".") + ": "
	unsigned := slices.Clone(z.TransferAlone)
	if z.Insecure && len(z.TSIG) == 0 {
		unsigned = append(unsigned, z.AllowTransfer...)
	}
	meant, _, _, _ := c.Expose.Peers("transfer")
	for _, n := range unsigned {
		widest := widestSite6
		if n.Addr().Is4() {
			widest = widestSite4
		}
		stated := slices.ContainsFunc(meant, func(m netip.Prefix) bool { return m.Bits() <= n.Bits() && m.Contains(n.Addr()) })
		if public(n) && n.Bits() < widest && !stated {
			note("%sit is transferred to all of %s without a key: add tsig, or write expose: {transfer: %s} if it is public",
				zone, n, n)
		}
	}
	for _, p := range z.Primaries {
		if public(netip.PrefixFrom(p.Addr(), p.Addr().BitLen())) && len(z.TSIG) == 0 && z.KeyOf(p) == nil && c.TLSRemote(p) == nil {
			note("%sit is transferred from %s without TSIG: anyone who can alter packets on the path can change the zone: add tsig",
				zone, p.Addr())
		}
	}
}

// public reports whether others than this host and its private networks are in a network.
func public(n netip.Prefix) bool {
	near := append(config.PrivateNetworks(), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))
	addr := n.Addr().Unmap().WithZone("")
	return !slices.ContainsFunc(near, func(p netip.Prefix) bool { return p.Bits() <= n.Bits() && p.Contains(addr) })
}

// toldRisks are those that were logged.
type toldRisks struct {
	mu   sync.Mutex
	list []string
}

// tellRisks logs the risks of a configuration that were not there before.
func (a *App) tellRisks(c *config.Config, all []netif.Address) {
	now := risks(c, all)
	a.risks.mu.Lock()
	defer a.risks.mu.Unlock()
	a.logRisks(now)
	a.risks.list = now
}

// tellZoneRisks is tellRisks for one zone that came or went.
func (a *App) tellZoneRisks(c *config.Config, z *config.Zone) {
	var now []string
	riskOfZone(c, z, func(format string, args ...any) { now = append(now, fmt.Sprintf(format, args...)) })
	a.risks.mu.Lock()
	defer a.risks.mu.Unlock()
	if slices.ContainsFunc(c.Zones, func(o config.Zone) bool { return bytes.Equal(o.Name, z.Name) }) {
		a.logRisks(now)
		a.risks.list = append(a.risks.list, now...)
		return
	}
	a.risks.list = slices.DeleteFunc(slices.Clone(a.risks.list), func(r string) bool { return slices.Contains(now, r) })
}

// logRisks logs what was not a risk before. a.risks.mu is held.
func (a *App) logRisks(now []string) {
	for _, r := range now {
		if !slices.Contains(a.risks.list, r) {
			a.log.Warn("exposed more than the role is meant to be", "risk", r)
		}
	}
}
