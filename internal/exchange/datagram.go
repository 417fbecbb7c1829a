package exchange

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"time"
)

// A Socket is a UDP socket that is connected to one server, so that nobody else's
// datagrams arrive. It is used by one goroutine.
type Socket interface {
	Send(datagram []byte) error
	// Recv waits for a datagram and returns its length; what does not fit into b is
	// cut off. The error is os.ErrDeadlineExceeded, that of ctx, or what the network
	// said, such as ECONNREFUSED.
	Recv(ctx context.Context, b []byte, deadline time.Time) (int, error)
	Close() error
}

// Counts say what came to one query, the reply and all else.
type Counts struct {
	Octets           int64 // of messages
	Unrelated        int   // not a reply to anything like the query
	NearMisses       int   // the question is right and the ID is not, or the other way, or Verify said so
	Oversized        int   // longer than the query allowed
	Errors           int   // what the network said and was passed over
	TruncatedReplies int   // of the oversized, those that else were the reply
}

// Unwanted returns how many messages came that were not the reply.
func (c *Counts) Unwanted() int { return c.Unrelated + c.NearMisses + c.Oversized }

// A DatagramReceiver is the wait for the reply to one query over UDP. Its zero value takes what
// fits, of any length, whatever else comes. Its memory may be used again, with Counts
// set to zero.
type DatagramReceiver struct {
	Counts Counts

	Limit         int // octets of the longest reply that the query allowed; 0: any
	MaxNearMisses int // messages that nearly fit and end the wait: somebody guesses; 0: no bound
	MaxUnwanted   int // all that comes in vain and ends the wait, so that a flood does not feed it; 0: no bound
	// IgnoreICMP passes over what routers are said to say, of sizes or of anything else. That
	// nobody listens on the port (ECONNREFUSED) ends the wait all the same.
	IgnoreICMP bool
	// ByID takes the first reply that has the query's ID, whatever its opcode and its
	// question: for who looks at how a server answers, and at what it gets wrong.
	ByID bool
	// Verify is given each message that fits, and returns how it fits when its cookie or
	// its signature is looked at as well. Nil changes nothing. It keeps nothing of msg.
	Verify func(msg []byte, fit Fit) Fit
}

// Receive waits for the reply to query, which was sent on s, until the deadline. The
// reply is in buf, which is longer than Limit by an octet at least. The error is that of
// the socket, or ErrFlooded.
func (d *DatagramReceiver) Receive(ctx context.Context, s Socket, query, buf []byte, deadline time.Time) (msg []byte, fit Fit, err error) {
	for vain := 0; ; {
		n, err := s.Recv(ctx, buf, deadline)
		switch {
		case err == nil:
			d.Counts.Octets += int64(n)
			if msg, fit = buf[:n], d.judged(query, buf[:n]); fit >= NoQuestion {
				return msg, fit, nil
			}
		case d.IgnoreICMP && !final(ctx, err):
			d.Counts.Errors++
		default:
			return nil, Unrelated, err
		}
		if vain++; vain == d.MaxUnwanted || d.MaxNearMisses > 0 && d.Counts.NearMisses >= d.MaxNearMisses {
			return nil, Unrelated, ErrFlooded
		}
	}
}

// judged returns how a message fits, and counts it if it does not.
func (d *DatagramReceiver) judged(query, msg []byte) Fit {
	fit := Match(query, msg)
	if d.ByID && fit < NoQuestion && ReplyTo(query, msg) {
		fit = NoQuestion
	}
	oversized := d.Limit > 0 && len(msg) > d.Limit
	if fit >= NoQuestion && d.Verify != nil && !oversized {
		fit = d.Verify(msg, fit)
	}
	switch {
	case oversized:
		// It may have come in fragments, which others can replace.
		d.Counts.Oversized++
		if fit >= CaseDiffers {
			d.Counts.TruncatedReplies++
		}
		return Unrelated
	case fit == NearMiss:
		d.Counts.NearMisses++
	case fit == Unrelated:
		d.Counts.Unrelated++
	}
	return fit
}

// final reports whether a socket's error ends a wait.
func final(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ECONNREFUSED) ||
		errors.Is(err, net.ErrClosed)
}

// Datagrams makes a Socket of a connected UDP socket of package net.
func Datagrams(c net.Conn) Socket { return connSocket{c} }

type connSocket struct{ net.Conn }

// Send implements [Socket].
func (c connSocket) Send(b []byte) error {
	_, err := c.Write(b)
	return err
}

// Recv implements [Socket].
func (c connSocket) Recv(ctx context.Context, b []byte, deadline time.Time) (int, error) {
	stop := until(ctx, c.SetReadDeadline, deadline)
	defer stop()
	n, err := c.Read(b)
	return n, ended(ctx, err)
}
