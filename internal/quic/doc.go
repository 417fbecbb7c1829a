// Package quic is connections of QUIC (RFC 9000), by quic-go: those to a server, which carry one
// question in each stream (RFC 9250) or requests of HTTP/3, and what listens for clients.
//
// With the build tag lean it is nothing: [Built] is false, and whatever would speak QUIC says
// [ErrNotBuilt].
package quic

import (
	"errors"
	"fmt"
	"time"
)

// ErrNotBuilt is why QUIC is not spoken.
var ErrNotBuilt = errors.New("this port53 was built without QUIC (make lean): use one that has it, or TLS")

// An EndedError is how a connection was ended.
type EndedError struct {
	Code   uint64 // of the protocol that is spoken on it
	Remote bool   // by the other side
}

// Error says so.
func (e *EndedError) Error() string {
	who := "here"
	if e.Remote {
		who = "by the other side"
	}
	return fmt.Sprintf("quic: the connection was ended %s with code %d", who, e.Code)
}

// The error codes of DNS over QUIC (RFC 9250, section 4.3).
const (
	NoError          = 0
	InternalError    = 1
	ProtocolError    = 2
	RequestCancelled = 3
	ExcessiveLoad    = 4
)

// Bounds of connections.
const (
	// idleTime is how long a connection may be silent, by whoever wants less of the two sides.
	idleTime = 30 * time.Second
	// shakeTime is how long a handshake may be silent; it may last twice as long.
	shakeTime = 2500 * time.Millisecond
	// streamWindow is what a stream may have sent before it is read: the longest message behind
	// its length, and the frames of HTTP around it. A connection may have sent four times as much.
	streamWindow = 66 << 10
)
