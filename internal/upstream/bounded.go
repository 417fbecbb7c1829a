package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"port53/internal/exchange"
)

// errFull is why a question does not leave.
var errFull = errors.New("upstream: the limit of open sockets is reached")

// Bounded returns a network that has at most so many sockets of n open at the same time, those that
// wait for questions included: a question beyond that fails at once, as if the system had none
// to give. It is an io.Closer that closes n.
func Bounded(n Network, sockets int) Network {
	b := &bounded{network: n}
	if n, ok := n.(idler); ok {
		sockets -= n.boundIdle(sockets / idleShare)
	}
	b.free.Store(int64(sockets))
	return b
}

// An idler keeps sockets open that no question has.
type idler interface {
	// boundIdle has it keep at most so many, and returns how many it keeps at most.
	boundIdle(most int) int
}

// idleShare is the part of all sockets that may be idle.
const idleShare = 8

type bounded struct {
	network Network
	free    atomic.Int64
}

func (b *bounded) take() error {
	if b.free.Add(-1) < 0 {
		b.free.Add(1)
		return errFull
	}
	return nil
}

// Socket implements [Network].
func (b *bounded) Socket(to netip.AddrPort) (exchange.Socket, error) {
	if err := b.take(); err != nil {
		return nil, err
	}
	s, err := b.network.Socket(to)
	if err != nil {
		b.free.Add(1)
		return nil, err
	}
	return &boundedSocket{Socket: s, of: b}, nil
}

// DialTCP implements [Network].
func (b *bounded) DialTCP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return b.dial(ctx, to, b.network.DialTCP)
}

// DialUDP implements [Packets].
func (b *bounded) DialUDP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	n, ok := b.network.(Packets)
	if !ok {
		return nil, errNoDatagrams
	}
	return b.dial(ctx, to, n.DialUDP)
}

func (b *bounded) dial(
	ctx context.Context,
	to netip.AddrPort,
	dial func(context.Context, netip.AddrPort) (net.Conn, error),
) (net.Conn, error) {
	if err := b.take(); err != nil {
		return nil, err
	}
	c, err := dial(ctx, to)
	if err != nil {
		b.free.Add(1)
		return nil, err
	}
	return &boundedConn{Conn: c, of: b}, nil
}

// Close implements io.Closer.
func (b *bounded) Close() error {
	if c, ok := b.network.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

type boundedSocket struct {
	exchange.Socket
	of   *bounded
	once sync.Once
}

func (s *boundedSocket) Close() error {
	err := s.Socket.Close()
	s.once.Do(func() { s.of.free.Add(1) })
	return err
}

type boundedConn struct {
	net.Conn
	of   *bounded
	once sync.Once
}

func (c *boundedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { c.of.free.Add(1) })
	return err
}
