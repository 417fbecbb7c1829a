// Package exchange sends a DNS message to one server and reads what answers it, over a
// datagram or a stream. Whoever asks a server stands on it: the resolver, a transfer, a
// NOTIFY, a person.
//
// What a reply must repeat is one rule, [Match]: the ID, the opcode and the question,
// with their case (RFC 5452, section 9.1). What does not fit is counted and passed
// over, because it may be late, or anybody's.
//
// A [DatagramReceiver] waits on a [Socket] for the reply to one query. A [Stream] sends and
// reads messages behind their lengths on one connection (RFC 1035, section 4.2.2), be it
// TCP or TLS: one reply, or the many of a transfer. A [Pipeline] is a stream on which
// many questions wait at once, and replies come in any order (RFC 7766, section 7). A
// [Dialer] opens sockets and connections.
//
// A [Question] is everything that a query may hold, odd things too, and a [Route] sends it
// as a person's tools do: again after silence, over TCP after a truncated reply, with the
// cookie that the server wants. The [Reply] keeps the octets, and what happened on the
// way to them. A response code is never an error: an error is that nothing came that
// answers.
//
// Every wait ends at a time or with its context; every length is checked before what it
// announces is read, against the octets that may come. Package exchange chooses no
// servers, and keeps nothing between two exchanges.
package exchange

import (
	"context"
	"errors"
	"time"
)

// The errors of exchanges beside those of the network and of contexts.
var (
	// ErrFlooded ends a wait for which too much came that does not fit.
	ErrFlooded = errors.New("exchange: too many messages that do not fit the question")
	// ErrShort is a message on a stream that is shorter than a header.
	ErrShort = errors.New("exchange: message shorter than its header")
	// ErrTooLarge is more than may come, or a message that is longer than its length
	// can say.
	ErrTooLarge = errors.New("exchange: more octets than allowed")
)

// until has what waits under a deadline end at a time, zero being never, or with ctx,
// until stop is called. The deadline is set before ctx is watched: the other way round,
// it would cover an end of ctx that came between.
func until(ctx context.Context, set func(time.Time) error, at time.Time) (stop func() bool) {
	_ = set(at) // a connection that has ended says so when it is used
	return context.AfterFunc(ctx, func() { _ = set(time.Unix(1, 0)) })
}

// ended returns ctx's error in place of that of a deadline which ctx moved.
func ended(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
