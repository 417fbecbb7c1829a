//go:build !linux

package server

import "net/netip"

// An outbox takes nothing: without sendmmsg(2) each answer is sent by whoever has it.
type outbox struct{}

func (*outbox) bind(*udpSocket) {}

func (*outbox) put(message, control []byte, to netip.AddrPort) bool { return false }
