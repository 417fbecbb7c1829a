package server

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

// A tcpSender is the sending half of a connection. Only who has the turn may wait for
// the client: the connection's own goroutine, a zone transfer, or a goroutine that was
// started to send what is in the queue. Everybody else leaves the answer in the queue
// and goes on, so that a client that does not read keeps nobody waiting but itself.
//
// The queue is bounded in two ways: by what a connection may be owed (Limits.queue),
// since an answer is owed until it has left, and by what all connections may hold
// (tcpTable.hold). A connection that passes either bound is reset.
type tcpSender struct {
	conn *tcpConn
	now  writerNow

	mu      sync.Mutex
	free    sync.Cond // somebody gave the turn back, or the connection is closed
	taken   bool      // somebody has the turn; whoever leaves something in the queue sees to that
	closed  bool
	queue   []*outgoing
	octets  int64       // of the queue and of what is taken out of it to be sent
	buffers net.Buffers // of who has the turn
}

// An outgoing is what waits to be sent: one answer that came later, or answers of the
// straight path with their lengths, the first perhaps sent in part.
type outgoing struct {
	body    []byte
	length  [2]byte // goes before body, if it is a later answer
	later   bool
	kept    int64 // octets that are below TLS already, and have no body here
	answers int   // that are complete with it
}

func (o *outgoing) size() int64 {
	if o.later {
		return int64(len(o.length) + len(o.body))
	}
	return int64(len(o.body)) + o.kept
}

// queue is how many octets may wait for one connection: the answers that it may be
// owed, and those of the straight path of one turn.
func (l *Limits) queue() int64 { return int64(l.Pending)*tcpLarge + slotRoom }

func (s *tcpSender) bind(c *tcpConn) {
	s.conn = c
	s.free.L = &s.mu
	s.now.bind(c.conn)
}

// straight sends answers with their lengths, without waiting. What the system does not
// take at once is copied to the queue: then wait is true, and whoever called flushes
// before there is more. ok is false if the connection is to be closed.
func (s *tcpSender) straight(b []byte, answers int) (wait, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	switch {
	case s.taken || s.closed:
	case s.conn.wire != nil:
		kept, err := s.conn.wire.try(s.conn.conn, b)
		if err == nil && kept > 0 && s.room(kept) {
			s.queue = append(s.queue, &outgoing{kept: kept, answers: answers})
			return true, true
		}
		if err != nil || kept > 0 {
			s.conn.table.count.sendErrors.Add(uint64(answers))
			return false, false
		}
		n = len(b)
	default:
		n = s.now.write(b)
	}
	if n == len(b) {
		s.conn.table.count.sent.Add(uint64(answers))
		return false, true
	}
	if !s.room(int64(len(b) - n)) {
		s.conn.table.count.sendErrors.Add(uint64(answers))
		return false, false
	}
	s.queue = append(s.queue, &outgoing{body: append([]byte(nil), b[n:]...), answers: answers})
	return true, true
}

// flush returns when the queue is empty, or with false when the connection is closed.
func (s *tcpSender) flush() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.taken && !s.closed {
		s.free.Wait()
	}
	if len(s.queue) > 0 {
		s.taken = true
		s.drain()
	}
	return !s.closed
}

// later leaves an answer in the queue, which is owed until it has left.
func (s *tcpSender) later(message []byte) error {
	o := &outgoing{body: message, later: true, answers: 1}
	binary.BigEndian.PutUint16(o.length[:], uint16(len(message)))
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrGone
	}
	if !s.room(o.size()) {
		s.mu.Unlock()
		s.conn.table.count.sendErrors.Add(1)
		s.conn.reset()
		return ErrGone
	}
	s.conn.pending.Add(1)
	s.queue = append(s.queue, o)
	if !s.taken {
		s.taken = true
		s.start()
	}
	s.mu.Unlock()
	return nil
}

// stream sends one message of many, and waits until it has left.
func (s *tcpSender) stream(message []byte) error {
	s.mu.Lock()
	for (s.taken || len(s.queue) > 0) && !s.closed { // what is in the queue may have been sent in part
		s.free.Wait()
	}
	if s.closed {
		s.mu.Unlock()
		return ErrGone
	}
	s.taken = true
	s.mu.Unlock()
	err := s.write(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message)
	s.sent(1, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) > 0 {
		s.start()
	} else {
		s.release()
	}
	return err
}

// start has the queue sent by a goroutine of its own, to which the turn goes. The
// connection's goroutine, which closes the sender before it ends, keeps the wait group
// from being done. The lock is held.
func (s *tcpSender) start() {
	s.conn.table.server.conns.Go(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.drain()
	})
}

// drain sends the queue until it is empty, and gives the turn back. The lock is held
// but while it writes.
func (s *tcpSender) drain() {
	c := s.conn
	for len(s.queue) > 0 {
		octets, answers, later := s.take()
		s.mu.Unlock()
		err := s.write(s.buffers...)
		s.sent(answers, err)
		for range later {
			c.paid()
		}
		s.mu.Lock()
		s.give(octets)
	}
	s.release()
}

// take moves the first of the queue to buffers: as much as one answer may be, but one
// at least. The lock is held.
func (s *tcpSender) take() (octets int64, answers, later int) {
	s.buffers = s.buffers[:0]
	n := 0
	for ; n < len(s.queue); n++ {
		o := s.queue[n]
		if n > 0 && octets+o.size() > tcpLarge {
			break
		}
		octets += o.size()
		answers += o.answers
		if o.later {
			later++
			s.buffers = append(s.buffers, o.length[:])
		}
		s.buffers = append(s.buffers, o.body)
	}
	s.queue = slices.Delete(s.queue, 0, n)
	return octets, answers, later
}

// release gives the turn back. The lock is held.
func (s *tcpSender) release() {
	s.taken = false
	s.free.Broadcast()
}

// room takes room for so many octets more in the queue. It is false if there is none.
// The lock is held.
func (s *tcpSender) room(octets int64) bool {
	c := s.conn
	if s.closed {
		return false
	}
	if s.octets+octets > c.table.limits.queue() || !c.table.hold(c.network, octets) {
		c.table.count.stalled.Add(1)
		return false
	}
	s.octets += octets
	return true
}

// give gives room back. The lock is held.
func (s *tcpSender) give(octets int64) {
	s.octets -= octets
	s.conn.table.letGo(s.conn.network, octets)
}

// close forgets what waits, and lets nothing more in.
func (s *tcpSender) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, o := range s.queue {
		s.conn.table.count.sendErrors.Add(uint64(o.answers))
		s.give(o.size())
		if o.later {
			s.conn.paid()
		}
	}
	s.queue = nil
	s.free.Broadcast()
}

// write writes b for as long as a client may stall. The caller has the turn.
func (s *tcpSender) write(b ...[]byte) error {
	c := s.conn
	buffers := net.Buffers(b)
	_ = c.conn.SetWriteDeadline(time.Now().Add(c.table.limits.Stall))
	var err error
	if c.wire != nil {
		err = c.writeTLS(b)
	} else {
		_, err = buffers.WriteTo(c.conn)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.table.count.stalled.Add(1)
		c.reset()
	}
	_ = c.conn.SetWriteDeadline(time.Time{})
	if errors.Is(err, net.ErrClosed) {
		return ErrGone
	}
	return err
}

// sent counts answers that have left, or have not: then the connection is closed.
func (s *tcpSender) sent(answers int, err error) {
	c := s.conn
	if err != nil {
		c.table.count.sendErrors.Add(uint64(answers))
		c.close()
		return
	}
	c.table.count.sent.Add(uint64(answers))
	c.active.Store(c.table.server.now())
}

// A tcpResponder answers one question, with as many messages as it takes.
type tcpResponder struct {
	conn *tcpConn
	once sync.Once
}

func (r *tcpResponder) Reply(message []byte) error {
	if len(message) > tcpLarge-2 {
		return ErrTooLong
	}
	return r.conn.out.later(message)
}

func (r *tcpResponder) Stream(message []byte) error {
	if len(message) > tcpLarge-2 {
		return ErrTooLong
	}
	return r.conn.out.stream(message)
}

func (r *tcpResponder) Close() {
	r.once.Do(func() {
		c := r.conn
		c.active.Store(c.table.server.now())
		c.table.server.pending.Add(-1)
		c.paid()
	})
}
