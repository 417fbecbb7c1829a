package dnstap

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"port53/internal/event"
)

// Bounds of a sender.
const (
	batch     = 64 << 10 // octets that are written at once, at the latest after
	batchTime = 100 * time.Millisecond
	maxWaits  = 4 << 20 // octets that wait for the collector
	patience  = 5 * time.Second
	firstWait = time.Second // until the next attempt to reach a collector, twice as long each time
	lastWait  = 30 * time.Second
)

// Frame Streams: a control frame is an escape, its length and what follows.
const (
	controlAccept = 1
	controlStart  = 2
	controlStop   = 3
	controlReady  = 4
	controlFinish = 5
	contentType   = "protobuf:dnstap.Dnstap"
	maxControl    = 512
)

// Options make a [Sender].
type Options struct {
	Network, Address  string // unix or tcp, and where the collector is
	Kinds             Kind
	Identity, Version string // of this server; empty: neither is told
	Hub               *event.Hub
	Log               *slog.Logger
}

// A Sender sends to one collector.
type Sender struct {
	o      Options
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	waits   []byte // frames that are to be written
	count   uint64 // of them
	some    chan struct{}
	full    chan struct{}
	message []byte // the one in hand, and what it stands in
	frame   []byte

	sent, lost atomic.Uint64
	connected  atomic.Bool
}

// New returns a sender that works until it is closed.
func New(o Options) *Sender {
	s := &Sender{o: o, done: make(chan struct{}), some: make(chan struct{}, 1), full: make(chan struct{}, 1)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	go s.run()
	return s
}

// Counts returns how many messages were sent, how many were lost since the collector did not read them, and
// whether there is a collector.
func (s *Sender) Counts() (sent, lost uint64, connected bool) {
	return s.sent.Load(), s.lost.Load(), s.connected.Load()
}

// Close tells the collector that there is no more, and ends the sender.
func (s *Sender) Close() {
	s.cancel()
	<-s.done
}

// run reaches a collector, again and again.
func (s *Sender) run() {
	defer close(s.done)
	wait, told := firstWait, ""
	for {
		begun := time.Now()
		err := s.session()
		if s.ctx.Err() != nil {
			return
		}
		if time.Since(begun) > lastWait {
			wait, told = firstWait, ""
		}
		if err.Error() != told {
			told = err.Error()
			s.o.Log.Warn("dnstap does not reach its collector, and tries again", "address", s.o.Address, "error", told)
		}
		select {
		case <-s.ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(2*wait, lastWait)
	}
}

// session is with one connection. Records are taken only while there is one.
func (s *Sender) session() error {
	dialer := net.Dialer{Timeout: patience}
	c, err := dialer.DialContext(s.ctx, s.o.Network, s.o.Address)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := handshake(c); err != nil {
		return err
	}
	s.o.Log.Info("dnstap has a collector", "address", s.o.Address)
	s.connected.Store(true)
	stop := s.o.Hub.Subscribe(event.Answers|event.Upstream|event.Messages, s.take)
	err = s.send(c)
	stop()
	s.connected.Store(false)
	s.mu.Lock()
	s.lost.Add(s.count)
	s.waits, s.count = nil, 0
	s.mu.Unlock()
	return err
}

// handshake agrees on what is sent.
func handshake(c net.Conn) error {
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write(control(controlReady)); err != nil {
		return err
	}
	body, err := readControl(c, controlAccept)
	if err != nil {
		return err
	}
	if len(body) > 0 && !bytes.Contains(body, []byte(contentType)) {
		return errors.New("the collector takes no " + contentType)
	}
	_, err = c.Write(control(controlStart))
	return err
}

// control returns a control frame with the content type.
func control(typ uint32) []byte {
	be := binary.BigEndian
	b := be.AppendUint32(make([]byte, 4, 64), uint32(12+len(contentType)))
	b = be.AppendUint32(be.AppendUint32(b, typ), 1)
	return append(be.AppendUint32(b, uint32(len(contentType))), contentType...)
}

// readControl reads a control frame of a type and returns its fields.
func readControl(r io.Reader, typ uint32) ([]byte, error) {
	var head [12]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, fmt.Errorf("the collector does not speak Frame Streams: %w", err)
	}
	be := binary.BigEndian
	n := be.Uint32(head[4:])
	if be.Uint32(head[:]) != 0 || n < 4 || n > maxControl || be.Uint32(head[8:]) != typ {
		return nil, errors.New("the collector does not speak Frame Streams: it sends something else than was expected")
	}
	body := make([]byte, n-4)
	_, err := io.ReadFull(r, body)
	return body, err
}

// send writes what comes until that fails or the sender is closed. It is woken once for many messages.
func (s *Sender) send(c net.Conn) error {
	_ = c.SetReadDeadline(time.Time{})
	gone := make(chan struct{})
	go func() { // the collector says nothing until it is told that there is no more, unless it goes
		defer close(gone)
		_, _ = io.ReadFull(c, make([]byte, 12))
	}()
	defer func() {
		c.Close()
		<-gone
	}()
	pause := time.NewTimer(batchTime)
	defer pause.Stop()
	var spare []byte
	for {
		select {
		case <-s.ctx.Done():
			return s.finish(c, gone)
		case <-gone:
			return errors.New("the collector has closed the connection")
		case <-s.some:
		}
		pause.Reset(batchTime)
		select {
		case <-s.ctx.Done():
		case <-s.full:
		case <-pause.C:
		}
		var err error
		if spare, err = s.flush(c, spare); err != nil {
			return err
		}
	}
}

// flush writes what waits. The memory of what was written is for what comes then.
func (s *Sender) flush(c net.Conn, spare []byte) ([]byte, error) {
	s.mu.Lock()
	out, n := s.waits, s.count
	s.waits, s.count = spare[:0], 0
	s.mu.Unlock()
	_ = c.SetWriteDeadline(time.Now().Add(patience))
	if _, err := c.Write(out); err != nil {
		s.lost.Add(n)
		return nil, err
	}
	s.sent.Add(n)
	return out, nil
}

// finish writes what waits, and that there is no more.
func (s *Sender) finish(c net.Conn, gone chan struct{}) error {
	s.o.Hub.Flush()
	if _, err := s.flush(c, nil); err != nil {
		return err
	}
	_, err := c.Write([]byte{0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, controlStop})
	select {
	case <-gone: // it has said FINISH
	case <-time.After(time.Second):
	}
	return err
}

// take puts the messages of a record behind those that wait. It waits for nothing but the moment in which these
// are taken away.
func (s *Sender) take(r *event.Record) {
	kind, typ := kindOf(r)
	if s.o.Kinds&kind == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.waits)
	if len(r.Query) > 0 {
		s.put(r, typ, false)
	}
	if len(r.Response) > 0 {
		s.put(r, typ, true)
	}
	if before == 0 && len(s.waits) > 0 {
		signal(s.some)
	}
	if before < batch && len(s.waits) >= batch {
		signal(s.full)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// put appends the frame of one message. The lock is held.
func (s *Sender) put(r *event.Record, typ uint64, reply bool) {
	s.message = appendMessage(s.message[:0], r, typ, reply)
	f := s.frame[:0]
	if s.o.Identity != "" {
		f = appendOctets(f, fieldIdentity, []byte(s.o.Identity))
	}
	if s.o.Version != "" {
		f = appendOctets(f, fieldVersion, []byte(s.o.Version))
	}
	f = appendNumber(appendOctets(f, fieldMessage, s.message), fieldType, isMessage)
	s.frame = f
	if len(s.waits)+4+len(f) > maxWaits {
		s.lost.Add(1)
		return
	}
	s.waits = append(binary.BigEndian.AppendUint32(s.waits, uint32(len(f))), f...)
	s.count++
}
