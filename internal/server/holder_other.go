//go:build !linux

package server

import "net/netip"

// SocketHolders cannot tell.
func Holders(netip.AddrPort) []Holder { return nil }
