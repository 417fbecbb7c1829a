//go:build !linux

package server

import (
	"net/netip"
	"syscall"
)

// spreadsDatagrams is false: here, sockets that share a port do not share its load.
const spreadsDatagrams = false

// canFreebind is false: no option that the other systems have in common does it.
const canFreebind = false

// controlUDP leaves the socket as net made it. Bound to a wildcard, it answers
// from the address that the system prefers.
func controlUDP(syscall.RawConn, bool, bool, bool, bool) error { return nil }

func controlPackets(syscall.RawConn, bool) error { return nil }

func controlTCP(syscall.RawConn, bool) error { return nil }

func udpFamilyIs6(_ syscall.RawConn, a netip.Addr) bool { return a.Is6() }

// CanFreebind reports whether an address may be bound before an interface has it.
func CanFreebind() bool { return canFreebind }

// tryBind does not try: what a bound socket does to others differs from system to system.
func tryBind(int, int, netip.AddrPort) error { return nil }
