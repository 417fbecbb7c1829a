//go:build lean

package doq

import "port53/internal/server"

// New returns nil.
func New(Options) server.PacketService { return nil }
