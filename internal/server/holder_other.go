//go:build !linux

package server

import "net/netip"

// Holders cannot tell.
func Holders(netip.AddrPort) []Holder { return nil }
