//go:build !linux

package server

import "net/netip"

// SocketHolders cannot tell.
func SocketHolders(netip.AddrPort) []SocketHolder { return nil }
