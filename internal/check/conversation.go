package check

import (
	"context"
	"errors"
	"time"

	"port53/internal/exchange"
	"port53/internal/finding"
)

// A Conversation is many questions to one server over TCP, one after the other, on as few
// connections as the server lets it. It is one goroutine's.
type Conversation struct {
	r      *Run
	server finding.Server
	stream *exchange.Stream
	leave  func()
	failed int // connections in a row on which nothing was answered
}

// conversationFails is how many connections in a row may bring nothing.
const conversationFails = 3

// NewConversation returns a conversation that has not begun.
func NewConversation(r *Run, s finding.Server) *Conversation { return &Conversation{r: r, server: s} }

// Close ends the conversation.
func (c *Conversation) Close() {
	if c.stream != nil {
		c.stream.Close()
		c.leave()
		c.stream = nil
	}
}

// Ask asks one question. What is cut off on a connection that was in use already is asked again
// on a new one.
func (c *Conversation) Ask(ctx context.Context, q Query) (*Reply, error) {
	if c.failed == conversationFails {
		return nil, errors.New("the server does not answer on this connection any more")
	}
	used := c.stream != nil
	m, err := c.once(ctx, q)
	if err != nil && used && ctx.Err() == nil {
		m, err = c.once(ctx, q)
	}
	if err != nil {
		c.failed++
		return nil, err
	}
	c.failed = 0
	return m, nil
}

func (c *Conversation) once(ctx context.Context, q Query) (*Reply, error) {
	wait := c.r.Timeout()
	if c.stream == nil {
		leave, err := c.r.Options.Limiter.Acquire(ctx, c.server.Addr.Addr())
		if err != nil {
			return nil, err
		}
		d := c.r.dialer()
		d.Timeout = min(d.Timeout, wait)
		if c.stream, err = d.Stream(ctx, c.server.Addr); err != nil {
			leave()
			c.stream = nil
			return nil, noWay(err)
		}
		c.leave = leave
	}
	begin := time.Now()
	m, err := ExchangeStream(ctx, c.stream, c.server.Addr, wait, q.Bytes())
	if err != nil {
		c.Close()
		return nil, err
	}
	m.RTT = time.Since(begin)
	return m, nil
}
