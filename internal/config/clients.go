package config

import (
	"fmt"
	"net/netip"
	"slices"

	"port53/internal/netif"
)

// PrivateNetworks returns the networks in which no host of the public Internet is, but for
// loopback: whoever has an address of one there is near. The addresses that providers share
// among customers (RFC 6598) are not among them: behind those are strangers.
func PrivateNetworks() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"), // RFC 1918
		netip.MustParsePrefix("169.254.0.0/16"), // RFC 3927
		netip.MustParsePrefix("fc00::/7"),       // RFC 4193
		netip.MustParsePrefix("fe80::/10"),      // RFC 4291, section 2.5.6
	}
}

// loopback returns the networks of this machine alone.
func loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// within reports whether all of n is in one of the networks.
func within(networks []netip.Prefix, n netip.Prefix) bool {
	return slices.ContainsFunc(networks, func(all netip.Prefix) bool { return all.Bits() <= n.Bits() && all.Contains(n.Addr()) })
}

// RecursionClients returns the networks whose clients have names resolved; none: everyone's,
// which only a public resolver has. Where the configuration names none, they are loopback and
// those networks of this machine's interfaces, as they are now, that are private. left are
// its other networks: their clients are strangers unless they are named, by network or by
// interface.
func (c *Config) RecursionClients() (clients, left []netip.Prefix, err error) {
	r := &c.Resolver
	if len(r.AllowInterfaces) > 0 {
		return onLink(r.Allow, r.AllowInterfaces)
	}
	if len(r.Allow) > 0 || !c.Internal() {
		return r.Allow, nil, nil
	}
	all, err := netif.List()
	if err != nil {
		return nil, nil, fmt.Errorf("networks of this machine: %w; write resolver: {allow: […]}", err)
	}
	clients, left = ownNetworks(all)
	return clients, left, nil
}

// QueryClients returns the networks that policy.allow names, those of interfaces as they are
// now; none: it names nobody, and the role decides.
func (c *Config) QueryClients() ([]netip.Prefix, error) {
	if len(c.Policy.AllowInterfaces) == 0 {
		return c.Policy.Allow, nil
	}
	allow, _, err := onLink(c.Policy.Allow, c.Policy.AllowInterfaces)
	return allow, err
}

// FollowsInterfaces reports whether who may ask depends on the networks that the machine's
// interfaces have.
func (c *Config) FollowsInterfaces() bool {
	for i := range c.Views {
		if v := &c.Views[i]; len(v.Resolver.AllowInterfaces)+len(v.Policy.AllowInterfaces) > 0 ||
			c.Internal() && len(v.Resolver.Allow) == 0 {
			return true
		}
	}
	r := &c.Resolver
	return len(r.AllowInterfaces)+len(c.Policy.AllowInterfaces) > 0 || c.Internal() && len(r.Allow) == 0
}

// onLink returns networks, those of interfaces, and loopback: an interface that has none yet
// lets nobody in but this machine, and not everybody. A network that is so wide that strangers
// are in it, as some tunnels have one, is left out.
func onLink(networks []netip.Prefix, interfaces []string) (allow, left []netip.Prefix, err error) {
	all, err := netif.List()
	if err != nil {
		return nil, nil, fmt.Errorf("networks of this machine: %w", err)
	}
	allow = append(slices.Clone(networks), loopback()...)
	for _, name := range interfaces {
		for _, p := range netif.Prefixes(all, name) {
			list := &allow
			if strangers(p) {
				list = &left
			}
			if !slices.Contains(*list, p) {
				*list = append(*list, p)
			}
		}
	}
	return allow, left, nil
}

// ownNetworks returns loopback and the networks of the addresses that are private, and left
// the others, each once.
func ownNetworks(all []netif.Address) (clients, left []netip.Prefix) {
	clients = loopback()
	for _, a := range all {
		p := a.Prefix.Masked()
		if p.Addr().IsLoopback() {
			continue
		}
		list := &left
		if within(PrivateNetworks(), p) {
			list = &clients
		}
		if !slices.Contains(*list, p) {
			*list = append(*list, p)
		}
	}
	return clients, left
}
