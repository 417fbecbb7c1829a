// Package server is the listeners: UDP in batches, TCP framing, limits and
// draining. Whatever the transport, it hands the bytes of one query to a
// [Worker] and sends back the bytes that the worker wrote; nothing above it
// knows sockets.
package server

import "net/netip"

// Transport is how a query came and how its answer leaves.
type Transport uint8

// The transports.
const (
	UDP Transport = iota
	TCP
	DoT
	DoH
	DoQ
)

// A Peer is who sent a query, and over what. A worker may read it only until
// Handle returns.
type Peer struct {
	Remote    netip.AddrPort // the client; IPv4 addresses are unmapped
	Local     netip.Addr     // the address that was asked, invalid if unknown
	Transport Transport
	Idle      uint16 // TCP: the idle timeout now granted, in units of 100 ms (RFC 7828, section 3.1)
}

// A Worker answers queries, one at a time: each is used by one goroutine only.
type Worker interface {
	// Handle answers the message query, which came from peer. It writes the reply
	// into reply, whose length is the most that may be written (65,535 octets over
	// TCP; over UDP at least 4,096: Handle itself keeps to what the client allows),
	// and returns the reply's length. 0 means silence. Over TCP, a negative number
	// means that the connection is to be closed.
	//
	// now is the time of arrival in nanoseconds since some fixed point, read once
	// per batch. Handle keeps neither query, peer nor reply.
	Handle(query []byte, peer *Peer, now int64, reply []byte) int
}

// A Handler makes a worker for each goroutine that reads from sockets.
type Handler interface {
	NewWorker() Worker
}
