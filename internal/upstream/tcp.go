package upstream

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"port53/internal/wire"
)

// Bounds of connections to servers (RFC 7766, sections 6.2.2 and 6.2.3).
const (
	tcpTimeout = 4 * time.Second // for a question, its connection included
	tcpIdle    = 10 * time.Second
	maxConns   = 256 // kept open
	maxStreams = 64  // questions in flight on one
)

// conns are the connections that are kept, one a server.
type conns struct {
	mu     sync.Mutex
	m      map[netip.AddrPort]*conn
	closed bool
}

// A conn is one connection with its questions in flight, by ID.
type conn struct {
	owner *conns
	to    netip.AddrPort
	nc    net.Conn

	write sync.Mutex
	mu    sync.Mutex
	wait  map[uint16]chan []byte
	gone  error
}

var errClosed = errors.New("upstream: connection closed")

// overTCP asks over TCP, on a connection that is open already if there is one. One
// that turns out to be closed is replaced.
func (a *attempt) overTCP(ctx context.Context) error {
	a.c.counters.TCP.Add(1)
	begin := time.Now()
	deadline := begin.Add(tcpTimeout)
	if end, ok := a.end(ctx); ok && end.Before(deadline) {
		deadline = end
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	for range 2 {
		cn, fresh, err := a.c.conns.get(ctx, a.c.o.Network, a.to)
		a.reply.Packets++
		if err != nil {
			return timedOut(ctx, err)
		}
		msg, err := cn.ask(ctx, a.query, a.id)
		a.reply.Octets += len(a.query) + len(msg)
		if err != nil {
			if !fresh && ctx.Err() == nil {
				continue // it had been closed by the server
			}
			return timedOut(ctx, err)
		}
		if fit := a.matches(msg); fit != fits && fit != otherCase {
			a.c.counters.Mismatched.Add(1)
			return errMismatch
		}
		a.reply.Message, a.reply.RTT, a.reply.TCP = msg, time.Since(begin), true
		return nil
	}
	return errClosed
}

func timedOut(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return os.ErrDeadlineExceeded
	}
	return err
}

// get returns a connection to a server with room for a question.
func (cs *conns) get(ctx context.Context, network Network, to netip.AddrPort) (cn *conn, fresh bool, err error) {
	cs.mu.Lock()
	cn = cs.m[to]
	cs.mu.Unlock()
	if cn != nil && cn.usable() {
		return cn, false, nil
	}
	nc, err := network.DialTCP(ctx, to)
	if err != nil {
		return nil, true, err
	}
	cn = &conn{owner: cs, to: to, nc: nc, wait: make(map[uint16]chan []byte)}
	cs.mu.Lock()
	switch {
	case cs.closed:
		cs.mu.Unlock()
		nc.Close()
		return nil, true, errClosed
	case len(cs.m) < maxConns || cs.m[to] != nil:
		cs.m[to] = cn // an older one ends when its questions do
	}
	cs.mu.Unlock()
	go cn.read()
	return cn, true, nil
}

func (cs *conns) close() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.closed = true
	for _, cn := range cs.m {
		cn.nc.Close()
	}
}

func (cn *conn) usable() bool {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	return cn.gone == nil && len(cn.wait) < maxStreams
}

// ask sends a query, with its length before it, and waits for the reply with its ID.
func (cn *conn) ask(ctx context.Context, query []byte, id uint16) ([]byte, error) {
	reply := make(chan []byte, 1)
	cn.mu.Lock()
	switch {
	case cn.gone != nil:
		cn.mu.Unlock()
		return nil, cn.gone
	case cn.wait[id] != nil:
		cn.mu.Unlock()
		return nil, errMismatch // another question has the same ID: one in thousands
	}
	cn.wait[id] = reply
	cn.mu.Unlock()
	defer func() {
		cn.mu.Lock()
		delete(cn.wait, id)
		cn.mu.Unlock()
	}()
	cn.write.Lock()
	deadline, _ := ctx.Deadline()
	_ = cn.nc.SetWriteDeadline(deadline)
	_, err := cn.nc.Write(query)
	_ = cn.nc.SetReadDeadline(time.Now().Add(tcpTimeout + tcpIdle))
	cn.write.Unlock()
	if err != nil {
		cn.nc.Close()
		return nil, err
	}
	select {
	case msg, ok := <-reply:
		if !ok {
			cn.mu.Lock()
			defer cn.mu.Unlock()
			return nil, cn.gone
		}
		return msg, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// read hands out replies until the connection ends: when the server closes it, or when
// it has been idle.
func (cn *conn) read() {
	var err error
	for err == nil {
		var msg []byte
		if msg, err = readMessage(cn.nc); err != nil {
			break
		}
		id := binary.BigEndian.Uint16(msg)
		cn.mu.Lock()
		if reply := cn.wait[id]; reply != nil {
			reply <- msg
			delete(cn.wait, id)
		}
		idle := len(cn.wait) == 0
		cn.mu.Unlock()
		if idle {
			_ = cn.nc.SetReadDeadline(time.Now().Add(tcpIdle))
		}
	}
	cn.nc.Close()
	cs := cn.owner
	cs.mu.Lock()
	if cs.m[cn.to] == cn {
		delete(cs.m, cn.to)
	}
	cs.mu.Unlock()
	cn.mu.Lock()
	defer cn.mu.Unlock()
	cn.gone = err
	for id, reply := range cn.wait {
		close(reply)
		delete(cn.wait, id)
	}
}

// readMessage reads one message with its length before it.
func readMessage(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if n < wire.HeaderLen {
		return nil, errMismatch
	}
	msg := make([]byte, n)
	_, err := io.ReadFull(r, msg)
	return msg, err
}
