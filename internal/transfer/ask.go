package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"port53/internal/exchange"
	"port53/internal/tsig"
	"port53/internal/wire"
)

func (c *Client) dialer() *exchange.Dialer {
	return &exchange.Dialer{Dial: c.Dial, Timeout: c.Limits.filled().Connect}
}

// maxDatagram is the octets of an answer over UDP that is read: more than a question allows
// ([exchange.UDPSize]), so that what is longer shows. Many may wait at the same time.
const maxDatagram = 4096

// askUDP sends a query over UDP, signed if the server has a key, and waits for the reply
// until the deadline. What does not fit, cannot be read, or is signed wrongly is passed
// over: it may be anybody's (RFC 8945, section 5.4). Only if nothing better comes, the
// error is what was wrong with the signature.
func (c *Client) askUDP(ctx context.Context, p Primary, query []byte, deadline time.Time) (*wire.Message, error) {
	s, err := c.dialer().Datagrams(ctx, p.Addr)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	var v *tsig.Verifier
	if p.Key != nil {
		query, v = tsig.SignRequest(p.Key, bytes.Clone(query), time.Now())
	}
	if err := s.Send(query); err != nil {
		return nil, err
	}
	m := new(wire.Message)
	var unverified error
	d := exchange.DatagramReceiver{Verify: func(msg []byte, fit exchange.Fit) exchange.Fit {
		if v != nil {
			one := *v // which a wrong signature does not spoil
			if err := one.Verify(msg, time.Now()); err != nil {
				unverified = err
				return exchange.NearMiss
			}
		}
		if m.Parse(msg) != 0 {
			return exchange.NearMiss
		}
		return fit
	}}
	if _, _, err := d.Receive(ctx, s, query, make([]byte, maxDatagram), deadline); err != nil {
		if unverified != nil && ctx.Err() == nil {
			err = unverified
		}
		return nil, err
	}
	return m, nil
}

// askTLS sends a query over TLS, signed if the server has a key, and waits for the reply until the
// deadline.
func (c *Client) askTLS(ctx context.Context, p Primary, query []byte, deadline time.Time) (*wire.Message, error) {
	quick := *c
	left := max(time.Until(deadline), time.Millisecond)
	quick.Limits.Connect, quick.Limits.Idle = left, left
	s, err := quick.connect(ctx, p)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if err := s.ask(ctx, query); err != nil {
		return nil, err
	}
	return s.next(ctx)
}

// A stream is a query over TCP and the messages of the reply to it.
type stream struct {
	*exchange.Stream
	idle     time.Duration
	key      *tsig.Key
	query    []byte
	verifier *tsig.Verifier // nil: nothing is signed
	message  wire.Message

	reused bool        // there was a transfer before
	ending *time.Timer // while it is in a Pool
}

// connect connects to a server. What is read from the connection is bounded here.
func (c *Client) connect(ctx context.Context, p Primary) (*stream, error) {
	d := c.dialer()
	if p.TLS != nil {
		d.TLS = p.TLS.config
	}
	s, err := d.Stream(ctx, p.Addr)
	if err != nil {
		return nil, err
	}
	limits := c.Limits.filled()
	s.Limit = limits.Octets
	return &stream{Stream: s, idle: limits.Idle, key: p.Key}, nil
}

// reuse makes a connection that was used before as good as a new one.
func (c *Client) reuse(s *stream, p Primary) {
	limits := c.Limits.filled()
	s.Limit, s.Counts, s.Messages = limits.Octets, exchange.Counts{}, 0
	s.idle, s.key, s.verifier, s.reused = limits.Idle, p.Key, nil, true
}

// deadline returns how long the other side has for its next message.
func (s *stream) deadline() time.Time { return time.Now().Add(s.idle) }

// ask sends the query, signed if there is a key. The query stays as it is: it may be asked again over
// another connection, and signed again.
func (s *stream) ask(ctx context.Context, query []byte) error {
	if s.query = query; s.key != nil {
		s.query, s.verifier = tsig.SignRequest(s.key, slices.Clone(query), time.Now())
	}
	return s.Send(ctx, s.query, s.deadline())
}

// next reads the next message, which is valid until the one after it.
func (s *stream) next(ctx context.Context) (*wire.Message, error) {
	msg, err := s.Next(ctx, s.deadline())
	if err != nil {
		return nil, s.broken(err)
	}
	fit := exchange.Match(s.query, msg)
	fits := fit >= exchange.NoQuestion || s.Messages > 1 && exchange.Continues(s.query, msg)
	switch {
	case !fits && fit == exchange.NearMiss && bytes.Equal(msg[:2], s.query[:2]):
		return nil, fmt.Errorf("%w: message %d answers another question", ErrWrong, s.Messages)
	case !fits || s.message.Parse(msg) != 0:
		return nil, fmt.Errorf("%w: message %d is not a reply to the query", ErrWrong, s.Messages)
	}
	if s.verifier != nil {
		if err := s.verifier.Verify(msg, time.Now()); err != nil {
			return nil, fmt.Errorf("message %d: %w", s.Messages, err)
		}
	}
	return &s.message, nil
}

// broken says what the end of a connection, or of what may come, means for a transfer.
func (s *stream) broken(err error) error {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: it ends after %d messages, before its last record", ErrWrong, s.Messages)
	case errors.Is(err, exchange.ErrTooLarge):
		return fmt.Errorf("%w: more than %d octets", ErrTooLarge, s.Limit)
	case errors.Is(err, exchange.ErrShort), errors.Is(err, exchange.ErrFlooded):
		return fmt.Errorf("%w: %w", ErrWrong, err)
	}
	return err
}
