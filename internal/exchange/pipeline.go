package exchange

import (
	"bufio"
	"context"
	"encoding/binary"
	"net"
	"sync"
)

// A Pipeline is one connection on which many questions wait at once, and replies come in
// any order (RFC 7766, sections 6.2.1.1 and 7). Any number of goroutines ask; one runs
// [Pipeline.Run], and then [Pipeline.End].
type Pipeline struct {
	conn  net.Conn
	newID func() uint16

	write sync.Mutex // of what is sent
	out   []byte     // the query that is, behind its length

	mu        sync.Mutex // of all that follows
	calls     map[uint16]*call
	free      []*call // memory
	order     int     // of queries and replies
	lastReply int     // its order
	err       error   // it has ended
}

// A call is a query that waits for its reply.
type call struct {
	done  chan outcome // has room for one
	order int
}

// An outcome is what comes of a query: a message, or the end of the connection.
type outcome struct {
	msg       []byte
	overtaken bool
	err       error
}

// NewPipeline returns a pipeline on a connection, which stays the caller's. newID makes
// IDs for queries whose own are taken.
func NewPipeline(c net.Conn, newID func() uint16) *Pipeline {
	return &Pipeline{conn: c, newID: newID, calls: make(map[uint16]*call)}
}

// Ask sends a query and returns the message that comes with its ID, which is the
// caller's. The query is given another ID if its own is waited for already (RFC 7766,
// section 6.2.1). Without a reply the error is the cause of ctx's end, or that of the
// connection's, and overtaken reports whether a reply to another query came after this one
// was sent. A query that could not be sent whole closes the connection: nothing can
// follow it.
func (p *Pipeline) Ask(ctx context.Context, query []byte) (msg []byte, overtaken bool, err error) {
	c, err := p.begin(query)
	if err != nil {
		return nil, false, err
	}
	if err := p.send(ctx, query); err != nil {
		p.conn.Close()
		p.leave(c, query)
		return nil, false, err
	}
	select {
	case o := <-c.done:
		p.leave(c, query)
		return o.msg, o.overtaken, o.err
	case <-ctx.Done():
		return nil, p.leave(c, query), context.Cause(ctx)
	}
}

// begin enters a query among those that wait.
func (p *Pipeline) begin(query []byte) (*call, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return nil, p.err
	}
	id := binary.BigEndian.Uint16(query)
	for p.calls[id] != nil {
		id = p.newID()
	}
	binary.BigEndian.PutUint16(query, id)
	var c *call
	if n := len(p.free); n > 0 {
		c, p.free = p.free[n-1], p.free[:n-1]
	} else {
		c = &call{done: make(chan outcome, 1)}
	}
	p.order++
	c.order = p.order
	p.calls[id] = c
	return c, nil
}

// leave takes a query from those that wait, and reports whether replies to others have
// come since it began.
func (p *Pipeline) leave(c *call, query []byte) (overtaken bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if id := binary.BigEndian.Uint16(query); p.calls[id] == c { // else somebody else has the ID by now
		delete(p.calls, id)
	}
	select {
	case <-c.done: // too late
	default:
	}
	p.free = append(p.free, c)
	return p.lastReply > c.order
}

func (p *Pipeline) send(ctx context.Context, query []byte) error {
	deadline, _ := ctx.Deadline()
	p.write.Lock()
	defer p.write.Unlock()
	_ = p.conn.SetWriteDeadline(deadline)
	p.out = AppendFrame(p.out[:0], query)
	_, err := p.conn.Write(p.out)
	return err
}

// Run reads replies and hands them out until the connection ends, and returns why it
// does. More than MaxUnwanted messages that nobody waits for end it as well.
func (p *Pipeline) Run() error {
	r := bufio.NewReaderSize(p.conn, streamBuffer)
	for stray := 0; stray <= MaxUnwanted; {
		msg, err := ReadMessage(r)
		if err != nil {
			return err
		}
		if !p.deliver(msg) {
			stray++
		}
	}
	return ErrFlooded
}

// deliver hands a message to whoever waits for its ID.
func (p *Pipeline) deliver(msg []byte) bool {
	id := binary.BigEndian.Uint16(msg)
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.calls[id]
	if c == nil {
		return false
	}
	p.order++
	p.lastReply = p.order
	delete(p.calls, id)
	c.done <- outcome{msg: msg}
	return true
}

// End fails with err what waits, and whatever is asked from now on. It reports whether a
// query was left without a reply that had been sent when the last one came: some servers
// answer one query on a connection.
func (p *Pipeline) End(err error) (overtaken bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
	for id, c := range p.calls {
		later := p.lastReply > c.order
		overtaken = overtaken || later
		c.done <- outcome{overtaken: later, err: err}
		delete(p.calls, id)
	}
	return overtaken
}
