//go:build !linux

package upstream

import (
	"context"
	"hash/maphash"
	"net"
	"net/netip"

	"port53/internal/exchange"
)

// A system is the sockets of this machine, by way of package net.
type system struct {
	random  Entropy
	sources sources
	seed    maphash.Seed
}

// System returns the network of this machine. sources are the addresses that questions
// leave from; without any of a server's family, routes decide.
func System(addrs ...netip.Addr) Network { return &system{sources: addrs, seed: maphash.MakeSeed()} }

func (s *system) source(to netip.Addr) netip.Addr {
	return s.sources.pick(to, maphash.Comparable(s.seed, to))
}

// Socket implements [Network].
func (s *system) Socket(to netip.AddrPort) (exchange.Socket, error) {
	source := s.source(to.Addr())
	for tries := 0; ; tries++ {
		port := firstPort + uint16(s.random.Below(portCount))
		conn, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(source, port)), net.UDPAddrFromAddrPort(to))
		if err == nil {
			return exchange.Datagrams(conn), nil
		}
		if tries == bindTries {
			return nil, err
		}
	}
}

// DialTCP implements [Network].
func (s *system) DialTCP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return dial(ctx, "tcp", to, s.source(to.Addr()))
}

// DialUDP implements [Packets].
func (s *system) DialUDP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return dial(ctx, "udp", to, s.source(to.Addr()))
}
