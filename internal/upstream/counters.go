package upstream

import (
	"context"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"port53/internal/certs"
	"port53/internal/wire"
)

// Counters count what was sent and what came back.
//
// In one piece: it has a field for each thing that is counted.
type Counters struct {
	UDP             atomic.Uint64 // questions sent over UDP
	TCP             atomic.Uint64 // questions sent over TCP
	Dialled         atomic.Uint64 // connections made or tried
	Timeouts        atomic.Uint64 // questions over UDP that nothing came back for
	Truncated       atomic.Uint64 // questions asked again over TCP for TC or an oversized reply
	Mismatched      atomic.Uint64 // replies with another ID, question, case or cookie
	Oversized       atomic.Uint64 // replies over UDP that were larger than asked for
	SuspectedSpoofs atomic.Uint64 // questions taken to TCP because somebody seemed to guess
	BadCookie       atomic.Uint64 // replies that said so
	WithoutEDNS     atomic.Uint64 // questions asked again without EDNS

	Replies  [rcodeSlots]atomic.Uint64   // that were believed, by response code; the last is of all others
	Failures [FailureCount]atomic.Uint64 // questions without a reply, by [Failure]
	RTT      [len(RTTBounds) + 1]atomic.Uint64
	RTTSum   atomic.Uint64 // nanoseconds
}

// rcodeSlots is the response codes up to BADCOOKIE, and one for the rest.
const rcodeSlots = int(wire.BadCookie) + 2

// RTTBounds are the upper bounds of the ranges that [Counters.RTT] counts round-trip times of
// replies in; behind them comes what took longer.
var RTTBounds = [...]time.Duration{
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second,
}

// A Failure is why a question got no reply.
type Failure uint8

// The kinds of failures.
const (
	FailedTimeout     Failure = iota // nothing that fitted came in time
	FailedClosed                     // nobody listens on the port
	FailedUnreachable                // there is no way to the server, or a firewall of this machine forbids it
	FailedSocket                     // no socket was to be had: too few descriptors, or too many connections
	FailedConnection                 // the server ended the connection before it replied
	FailedReply                      // the replies made no sense
	FailedTrust                      // over TLS, the server was not who it should be
	FailureCount
)

// String returns the kind as the metrics have it.
func (f Failure) String() string {
	names := [...]string{
		FailedTimeout: "timeout", FailedClosed: "closed", FailedUnreachable: "unreachable", FailedSocket: "socket",
		FailedConnection: "connection", FailedReply: "reply", FailedTrust: "trust",
	}
	if int(f) < len(names) {
		return names[f]
	}
	return "unknown"
}

// replied counts a reply that is believed.
func (c *Counters) replied(r *Reply) {
	c.Replies[min(int(rcodeOf(r.Message)), rcodeSlots-1)].Add(1)
	i := 0
	for i < len(RTTBounds) && r.RTT > RTTBounds[i] {
		i++
	}
	c.RTT[i].Add(1)
	c.RTTSum.Add(uint64(r.RTT))
}

// failed counts a question without a reply. What the caller ended is none.
func (c *Counters) failed(err error) {
	kind := FailedReply
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, net.ErrClosed), errors.Is(err, errSpent):
		return
	case errors.As(err, new(*certs.UntrustedError)):
		kind = FailedTrust
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		kind = FailedTimeout
	case errors.Is(err, syscall.ECONNREFUSED):
		kind = FailedClosed
	case errors.Is(err, errFull),
		errors.Is(err, errBusy),
		errors.Is(err, syscall.EMFILE),
		errors.Is(err, syscall.ENFILE),
		errors.Is(err, syscall.ENOBUFS),
		errors.Is(err, syscall.ENOMEM):
		kind = FailedSocket
	case errors.Is(err, errEnded), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		kind = FailedConnection
	case errors.As(err, new(syscall.Errno)):
		kind = FailedUnreachable
	}
	c.Failures[kind].Add(1)
}

// rcodeOf returns the response code of a reply that has a header.
func rcodeOf(msg []byte) wire.Rcode {
	rcode := wire.Rcode(msg[3] & 15)
	if opt := findOPT(msg); opt != nil {
		rcode |= wire.Rcode(opt[4]) << 4
	}
	return rcode
}
