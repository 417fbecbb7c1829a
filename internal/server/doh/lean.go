//go:build lean

package doh

import "port53/internal/server"

// HTTP3 returns nil: this program has no QUIC.
func (s *Server) HTTP3() server.PacketService { return nil }
