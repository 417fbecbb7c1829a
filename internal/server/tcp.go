package server

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// tcpSmall is the read buffer of a connection: dozens of usual questions.
	tcpSmall = 2048
	// tcpLarge holds the longest message behind its length (RFC 1035, section 4.2.2).
	tcpLarge = 2 + 65535
	// idleUnit is the unit of Peer.Idle (RFC 7828, section 3.1).
	idleUnit = 100 * time.Millisecond
)

// A tcpConn is one connection. Its goroutine reads, has the questions answered, and
// reads no more while the client does not take the answers.
type tcpConn struct {
	tenant
	conn net.Conn // a *net.TCPConn but in tests, or what TLS makes of it
	wire *tlsWire // what is below TLS; nil: there is none
	out  tcpSender
	peer Peer

	freed chan struct{} // something no longer owed, one token
	gone  chan struct{} // closed with the connection
	once  sync.Once

	tcpInput
}

// A tcpInput is what has been read of a connection and not answered. It is its goroutine's own.
type tcpInput struct {
	buf   []byte // small or large
	small *[tcpSmall]byte
	large *[tcpLarge]byte
	have  int       // octets in buf
	since time.Time // when a part of a question came; zero: there is none
}

func newTCPConn(t *tcpTable, conn net.Conn) *tcpConn {
	c := &tcpConn{conn: conn, freed: make(chan struct{}, 1), gone: make(chan struct{})}
	remote, local := unmap(conn.RemoteAddr().(*net.TCPAddr).AddrPort()), unmap(conn.LocalAddr().(*net.TCPAddr).AddrPort())
	c.peer = Peer{
		Remote:    netip.AddrPortFrom(remote.Addr().WithZone(""), remote.Port()),
		Local:     local.Addr().WithZone(""),
		LocalPort: local.Port(),
		Transport: TCP,
		Later:     c.detach,
	}
	c.settleIn(t, c.peer.Remote.Addr(), c.close, func(at time.Time) { _ = c.conn.SetReadDeadline(at) })
	c.out.bind(c)
	return c
}

func (c *tcpConn) close() {
	c.once.Do(func() {
		close(c.gone)
		c.out.close()
		if c.wire != nil {
			c.wire.part()
		}
		_ = c.conn.Close()
	})
}

// reset closes without waiting for the client to take what was sent.
func (c *tcpConn) reset() {
	conn := c.conn
	if c.wire != nil {
		conn = c.wire.Conn
	}
	if l, ok := conn.(interface{ SetLinger(seconds int) error }); ok {
		_ = l.SetLinger(0)
	}
	c.close()
}

// serve is the life of a connection.
func (c *tcpConn) serve() {
	c.borrow()
	defer func() {
		c.settle() // however it ends, what was asked before is answered
		c.close()
		c.giveBack()
		c.table.forget(&c.tenant)
	}()
	var drain drainer
	missed := false
	for {
		s := c.table.server
		now := time.Now()
		draining := s.draining.Load()
		var deadline time.Time
		switch {
		case c.have > 0:
			if c.since.IsZero() {
				c.since = now
			}
			deadline = c.since.Add(c.table.limits.Question)
		case draining:
			var more bool
			if deadline, more = drain.next(missed); !more {
				return
			}
		case c.pending.Load() > 0: // the client is the one who waits
			deadline = now.Add(c.table.idle())
		default:
			deadline = c.idleEnd()
		}
		_ = c.conn.SetReadDeadline(deadline)
		if !draining && s.draining.Load() {
			continue // that may have undone the deadline that wakes
		}
		n, err := c.conn.Read(c.buf[c.have:])
		c.have += n
		missed = n == 0
		if n > 0 && !c.answerAll() {
			return
		}
		switch {
		case err == nil:
		case !isTimeout(err): // the end, or a broken connection
			return
		case time.Now().Before(deadline): // woken to drain
		case c.have == 0 && draining: // perhaps nothing is left
		case c.have == 0 && (c.pending.Load() > 0 || time.Now().Before(c.idleEnd())): // an answer was given, or will be
		default:
			c.table.count.timedOut.Add(1)
			return
		}
	}
}

// idleEnd is when silence has lasted too long, counted from the last question or
// the last answer that a responder gave (RFC 7766, section 6.2.3).
func (c *tcpConn) idleEnd() time.Time {
	return c.table.server.begun.Add(time.Duration(c.active.Load()) + c.table.idle())
}

// answerAll answers the complete questions in the buffer, and makes room for the
// next one. It returns false if the connection is to be closed.
func (c *tcpConn) answerAll() bool {
	begin, open := 0, true
	for open {
		whole, ok := frame(c.buf[begin:c.have])
		if !ok {
			c.table.count.received.Add(1)
			c.table.count.short.Add(1)
			return false
		}
		if whole == 0 {
			break
		}
		var n int
		n, open = c.answerSome(c.buf[begin:c.have])
		begin += n
	}
	if !open {
		return false
	}
	if begin > 0 {
		c.have = copy(c.buf, c.buf[begin:c.have])
		c.since = time.Time{}
	}
	c.fit()
	return true
}

// frame returns the length of the message that b begins with, its length field
// included; 0 if it is not complete. ok is false if it can be no message.
func frame(b []byte) (whole int, ok bool) {
	if len(b) < 2 {
		return 0, true
	}
	n := int(binary.BigEndian.Uint16(b))
	if n < headerLen {
		return 0, false
	}
	if len(b) < 2+n {
		return 0, true
	}
	return 2 + n, true
}

// answerSome answers questions of b until there is no complete one, answers fill
// the room there is for them, or too many are owed. It returns how much of b is
// done with, and false if the connection is to be closed.
func (c *tcpConn) answerSome(b []byte) (done int, open bool) {
	if !c.mayOwe() {
		return 0, false
	}
	t := c.table
	slot := <-t.server.slots
	now := t.server.now()
	c.active.Store(now)
	c.peer.Idle = 0 // draining
	if !t.server.draining.Load() {
		c.peer.Idle = uint16(min(t.idle()/idleUnit, 1<<16-1))
	}
	out, received, sent := 0, 0, 0
	open = true
	for open && len(slot.out)-out >= tcpLarge && c.pending.Load() < int32(t.limits.Pending) {
		whole, ok := frame(b[done:])
		if whole == 0 || !ok {
			break
		}
		received++
		room := slot.out[out+2 : out+tcpLarge : out+tcpLarge]
		n := slot.worker.Handle(b[done+2:done+whole:done+whole], &c.peer, now, room)
		done += whole
		switch {
		case n > 0:
			binary.BigEndian.PutUint16(slot.out[out:], uint16(n))
			out += 2 + n
			sent++
		case n < 0 && n != Pending:
			open = false
		}
	}
	t.count.received.Add(uint64(received))
	// A client that does not read keeps no worker from the others.
	wait, ok := false, true
	if out > 0 {
		wait, ok = c.out.straight(slot.out[:out], sent)
	}
	t.server.slots <- slot
	if !ok {
		c.reset()
		return done, false
	}
	if wait && !c.out.flush() {
		return done, false
	}
	return done, open
}

// borrow takes a small buffer.
func (c *tcpConn) borrow() {
	c.small = c.table.small.Get().(*[tcpSmall]byte)
	c.buf = c.small[:]
}

// giveBack gives all buffers back.
func (c *tcpConn) giveBack() {
	c.shrink()
	c.table.small.Put(c.small)
}

// fit gives the beginning of a question the room that the whole needs.
func (c *tcpConn) fit() {
	need := tcpSmall
	if c.have >= 2 {
		need = 2 + int(binary.BigEndian.Uint16(c.buf))
	}
	switch {
	case need <= len(c.buf) && (c.large == nil || need > tcpSmall):
	case need <= tcpSmall && c.have <= tcpSmall:
		copy(c.small[:], c.buf[:c.have])
		c.shrink()
	case c.large == nil:
		c.table.beginLong(c)
		c.large = c.table.large.Get().(*[tcpLarge]byte)
		copy(c.large[:], c.buf[:c.have])
		c.buf = c.large[:]
	}
}

// shrink gives a large buffer back.
func (c *tcpConn) shrink() {
	c.buf = c.small[:]
	if c.large != nil {
		c.table.large.Put(c.large)
		c.table.endLong(c)
		c.large = nil
	}
}

// mayOwe waits until one more answer may be owed. It returns false if the
// connection was closed meanwhile.
func (c *tcpConn) mayOwe() bool { return c.owes(c.table.limits.Pending - 1) }

// settle waits until nothing is owed, or the connection is closed.
func (c *tcpConn) settle() { c.owes(0) }

// owes waits until at most n answers are owed.
func (c *tcpConn) owes(n int) bool {
	for c.pending.Load() > int32(n) {
		select {
		case <-c.freed:
		case <-c.gone:
			return false
		}
	}
	return true
}

func (c *tcpConn) detach(*Peer) (Responder, error) {
	c.pending.Add(1)
	c.table.server.pending.Add(1)
	return &tcpResponder{conn: c}, nil
}

// paid takes one of what is owed off.
func (c *tcpConn) paid() {
	c.pending.Add(-1)
	select {
	case c.freed <- struct{}{}:
	default:
	}
}
