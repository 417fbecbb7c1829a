package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"sync"
)

// A PacketService speaks a protocol over datagrams that has connections, as QUIC does.
type PacketService interface {
	// Transport is what its questions come over.
	Transport() Transport
	// Serve takes clients in until Shutdown is called, and returns nil then.
	Serve(g *PacketListener) error
	// Shutdown has Serve end, has what was asked answered, and closes the connections, or ends
	// with ctx.
	Shutdown(ctx context.Context)
}

// A PacketListener is where a [PacketService]'s clients come from: a socket, and who decides whether
// they come in.
type PacketListener struct {
	server  *Server
	service *ServiceBinding
	conn    *net.UDPConn
}

// What clients cost that have not shown yet that their addresses are their own. Those that forge
// them get no more than this, whatever they send; all others are asked for a proof, which takes
// them a round trip.
const (
	unprovenMost  = 128 // at the same time
	unprovenShare = 10  // of the handshakes of a second, one in so many
)

// Conn returns the socket. It is the server's, and closed when Shutdown has returned.
func (g *PacketListener) Conn() *net.UDPConn { return g.conn }

// Addr returns the address that is listened on.
func (g *PacketListener) Addr() netip.AddrPort {
	return unmap(g.conn.LocalAddr().(*net.UDPAddr).AddrPort())
}

// TLS returns what clients are shown.
func (g *PacketListener) TLS() *tls.Config { return g.service.TLS }

// ValidateAddress reports whether whoever begins a connection has to prove its address first.
func (g *PacketListener) ValidateAddress() bool {
	s := g.server
	if s.unproven.Load() < unprovenMost && s.believed.allow(s.now()) {
		return false
	}
	s.secure.shakes.retried.Add(1)
	return true
}

// ErrFull is why a client is turned away: it, or its network, has as many connections as it may.
var ErrFull = errors.New("server: too many connections")

// Admit takes in a client that has come to an address, or returns why not; proven reports whether
// its own address is known to be its own. end closes its connection, and does not wait. The
// client is to be closed, however it ends.
//
// Who has proven its address counts for it from now on. Anybody else would count for whomever it
// names: it is one of a few, and counts when the handshake has proven it.
func (g *PacketListener) Admit(from, at netip.AddrPort, proven bool, end func()) (*ClientConn, error) {
	s := g.server
	if s.draining.Load() {
		return nil, ErrGone
	}
	v := newClientConn(s, from, at, g.service.transport(), end)
	v.shaking = true
	if proven {
		if !s.secure.enter(&v.tenant) {
			return nil, ErrFull
		}
		v.entered = true
	}
	if !s.handshakes.allow(s.now()) {
		s.secure.shakes.refused.Add(1)
		if v.entered {
			s.secure.forget(&v.tenant)
		}
		return nil, errShakes
	}
	if !proven {
		s.unproven.Add(1)
	}
	s.conns.Add(1)
	return v, nil
}

// HandshakeDone says that a client of a [PacketListener] has shaken hands. On an error its connection is to be
// closed.
func (v *ClientConn) HandshakeDone(resumed bool, certificates []*x509.Certificate) error {
	s := v.server
	v.shake.Lock()
	defer v.shake.Unlock()
	v.shaking = false
	s.secure.shakes.done.Add(1)
	if resumed {
		s.secure.shakes.resumed.Add(1)
	}
	v.certificates = certificates
	v.active.Store(s.now())
	if v.entered {
		return nil
	}
	s.unproven.Add(-1)
	if v.entered = s.secure.enter(&v.tenant); !v.entered {
		return ErrFull
	}
	return nil
}

// leave gives back the places that a client of a PacketListener has.
func (v *ClientConn) leave() {
	v.shake.Lock()
	defer v.shake.Unlock()
	if v.shaking {
		v.server.secure.shakes.failed.Add(1)
		if !v.entered {
			v.server.unproven.Add(-1)
		}
	}
	if v.entered {
		v.server.secure.forget(&v.tenant)
	}
}

// A packetArrival is what is known of a client while it shakes hands over datagrams.
type packetArrival struct {
	shake   sync.Mutex
	shaking bool // the handshake has begun, and is not done
	entered bool // it has a place in the table
}
