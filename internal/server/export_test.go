package server

// Draining says whether Shutdown has begun.
func (s *Server) Draining() bool { return s.draining.Load() }

// MaxUDPPending is the bound of detached answers over UDP.
const MaxUDPPending = maxUDPPending
