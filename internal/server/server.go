// Package server is the listeners: UDP in batches, TCP framing, limits and
// draining. Whatever the transport, it hands the bytes of one query to a
// [Worker] and sends back the bytes that the worker wrote; nothing above it
// knows sockets.
//
// [Listen] binds every address for UDP and TCP, [Server.Serve] answers until its
// context ends, and [Server.Shutdown] drains: what has arrived is answered before
// the sockets close. An answer that takes time (a resolution, a zone transfer) is
// given later: see [Peer.Detach].
//
// Transport UDP, each worker has its own socket and its own memory, allocated once; a
// query costs no allocation and takes no lock. Over TCP, a connection is a
// goroutine, and a fixed number of workers goes round among those that have
// questions.
//
// A client that does not read what it is sent hurts itself alone. Its answers wait in
// a queue of its connection, which is bounded, and so is what waits for all clients
// together; a connection whose client takes nothing for [Limits].Stall, or is out of
// room, is reset.
//
// Transport TLS, DoT is what TCP is, below the same limits, in a table of its own. A [Service] speaks
// more than DNS: its clients are admitted, and have shaken hands, before it sees them, and have
// their questions answered through a [ClientConn].
package server

import (
	"crypto/x509"
	"errors"
	"net/netip"
)

// Transport is how a query came and how its answer leaves.
type Transport uint8

// The transports.
const (
	UDP Transport = iota
	TCP
	DoT
	DoH
	DoQ

	transportCount
)

// TransportCount is the number of transports.
const TransportCount = int(transportCount)

// String returns the transport in lower case.
func (t Transport) String() string {
	names := [...]string{UDP: "udp", TCP: "tcp", DoT: "dot", DoH: "doh", DoQ: "doq"}
	if int(t) < len(names) {
		return names[t]
	}
	return "unknown"
}

// A Peer is who sent a query, and over what. A worker may read it only until
// Handle returns.
type Peer struct {
	Remote    netip.AddrPort // the client; IPv4 addresses are unmapped, and there is no zone
	Local     netip.Addr     // the address that was asked, invalid if unknown
	LocalPort uint16         // and its port
	Transport Transport
	Idle      uint16 // TCP and DoT: the idle timeout now granted, in units of 100 ms (RFC 7828, section 3.1)

	// Certificates are what the client has shown over TLS, its own first, which it has proven
	// to be its own. Whether anybody vouches for it nobody has looked at.
	Certificates []*x509.Certificate

	// Later makes the responder for the query in hand. Whoever fills a Peer sets
	// it; nil means that this peer must be answered at once. Callers use Detach.
	Later func(*Peer) (Responder, error)
}

// Pending is what Handle returns after [Peer.Detach]: the answer comes later,
// through the responder.
const Pending = -1 << 20

// The errors of detached answers.
var (
	// ErrNotDetachable means that this query must be answered before Handle returns.
	ErrNotDetachable = errors.New("server: this query must be answered at once")
	// ErrBusy means that too many answers are already being waited for.
	ErrBusy = errors.New("server: too many answers pending")
	// ErrGone means that the client can no longer be answered.
	ErrGone = errors.New("server: the client is gone")
	// ErrTooLong means that a reply is longer than the transport can carry.
	ErrTooLong = errors.New("server: reply too long")
)

// Detach lets the query in hand be answered after Handle returns, which must then
// return [Pending]. Every responder must be closed. The error is
// [ErrNotDetachable] or [ErrBusy].
func (p *Peer) Detach() (Responder, error) {
	if p.Later == nil {
		return nil, ErrNotDetachable
	}
	return p.Later(p)
}

// A Responder answers one query, later, from any goroutine.
type Responder interface {
	// Reply sends one message to the client, which must not be changed from then on. It
	// never waits for the client: over TCP the message leaves behind what the connection
	// has to send before it, and over UDP it is lost if the system has no room for it.
	// The error is ErrGone, ErrTooLong, or what the network said.
	Reply(message []byte) error
	// Stream sends one message of many, as a zone transfer does, and does not keep it.
	// Transport TCP it returns when the message has left, and waits while the client reads
	// too slowly. After an error other than ErrTooLong there is no use in going on.
	Stream(message []byte) error
	// Close says that there will be no more replies. Without any, the query stays
	// unanswered. Closing twice does nothing.
	Close()
}

// A Worker answers queries, one at a time: each is used by one goroutine only.
type Worker interface {
	// Handle answers the message query, which came from peer. It writes the reply
	// into reply, whose length is the most that may be written (65,535 octets over
	// TCP; over UDP at least 4,096: Handle itself keeps to what the client allows),
	// and returns the reply's length. 0 means silence, and [Pending] that the answer
	// comes later. Over TCP, any other negative number means that the connection is
	// to be closed.
	//
	// now is the time of arrival in nanoseconds since some fixed point, read once
	// per batch. Handle keeps neither query, peer nor reply.
	Handle(query []byte, peer *Peer, now int64, reply []byte) int
}

// A Handler makes a worker for each goroutine that reads from sockets, and for
// TCP a fixed number that goroutines use in turn.
type Handler interface {
	NewWorker() Worker
}
