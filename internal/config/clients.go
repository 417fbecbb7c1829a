package config

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
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
// which only a public resolver has. Where Resolver.Allow names none, they are loopback and
// those networks of this machine's interfaces, as they are now, that are private. left are
// its other networks: their clients are strangers unless they are named.
func (c *Config) RecursionClients() (clients, left []netip.Prefix, err error) {
	if len(c.Resolver.Allow) > 0 || !c.Internal() {
		return c.Resolver.Allow, nil, nil
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, nil, fmt.Errorf("networks of this machine: %w; write resolver: {allow: […]}", err)
	}
	clients, left = ownNetworks(addrs)
	return clients, left, nil
}

// ownNetworks returns loopback and the networks of the addresses that are private, and left
// the others, each once.
func ownNetworks(addrs []net.Addr) (clients, left []netip.Prefix) {
	clients = loopback()
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		addr, ok := netip.AddrFromSlice(n.IP)
		addr = addr.Unmap()
		ones, bits := n.Mask.Size()
		if !ok || addr.IsLoopback() || bits != addr.BitLen() || ones == 0 {
			continue
		}
		p := netip.PrefixFrom(addr, ones).Masked()
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
