package config

import (
	"fmt"
	"net/netip"
	"slices"
)

// Proxies are those before some listeners.
type Proxies struct {
	Listen []netip.AddrPort `yaml:"listen" port:"53" lone:"true" required:"true"`
	From   []netip.Prefix   `yaml:"from" lone:"true" required:"true"`
}

// WithoutProxies returns those of the addresses that clients ask themselves, and not proxies for them.
func (c *Config) WithoutProxies(addrs []netip.AddrPort) (direct []netip.AddrPort) {
	for _, a := range addrs {
		if !slices.ContainsFunc(c.Proxies, func(p Proxies) bool { return slices.Contains(p.Listen, a) }) {
			direct = append(direct, a)
		}
	}
	return direct
}

// checkProxies reports proxies before what is not listened on, or that anybody could be.
func (d *decoder) checkProxies() {
	c := d.config
	served := slices.Concat(c.Listen, c.Encrypted.DoT, c.Encrypted.DoH.Listen)
	seen := map[netip.AddrPort]bool{}
	for i, p := range c.Proxies {
		if at, _ := d.atIndex("proxies.listen", int32(i)); len(p.Listen) == 0 {
			d.fail(at, fmt.Sprintf("proxies[%d].listen: expected at least one address, found an empty list", i), "")
		}
		if at, _ := d.atIndex("proxies.from", int32(i)); len(p.From) == 0 {
			d.fail(at, fmt.Sprintf("proxies[%d].from: expected at least one network, found an empty list", i), "name the proxies")
		}
		for j, a := range p.Listen {
			at, hint := d.item("proxies.listen", int32(i), j), ""
			what := fmt.Sprintf("proxies[%d].listen[%d]: %s ", i, j, a)
			switch {
			case slices.Contains(c.Encrypted.DoQ, a) || c.Encrypted.DoH.HTTP3 && slices.Contains(c.Encrypted.DoH.Listen, a):
				what += "is served over QUIC, for which there are no PROXY headers"
				hint = "give the proxies another port, or leave QUIC out there"
			case !slices.Contains(served, a):
				what += "is not in listen, encrypted.dot or encrypted.doh.listen"
				hint = "write it as it is written there, with its port"
			case seen[a]:
				what, hint = what+"is in the list twice", "remove one of them"
			default:
				seen[a] = true
				continue
			}
			d.fail(at, what, hint)
		}
		for j, n := range p.From {
			if n.Bits() == 0 {
				at := d.item("proxies.from", int32(i), j)
				what := fmt.Sprintf("proxies[%d].from[%d]: %s is everybody: anyone could claim any client address", i, j, n)
				d.fail(at, what, "name the proxies")
			}
		}
	}
}
