package upstream_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"

	"port53/internal/exchange"
	"port53/internal/upstream"
)

// A closed network gives no socket; an open one gives any number, and counts those that are open.
type countedNetwork struct {
	open   int
	closed bool
}

type countedSocket struct {
	exchange.Socket
	of *countedNetwork
}

func (s *countedSocket) Close() error { s.of.open--; return nil }

type countedConn struct {
	net.Conn
	of *countedNetwork
}

func (c *countedConn) Close() error { c.of.open--; return nil }

func (n *countedNetwork) Socket(netip.AddrPort) (exchange.Socket, error) {
	if n.closed {
		return nil, io.ErrClosedPipe
	}
	n.open++
	return &countedSocket{of: n}, nil
}

func (n *countedNetwork) DialTCP(context.Context, netip.AddrPort) (net.Conn, error) {
	if n.closed {
		return nil, io.ErrClosedPipe
	}
	n.open++
	return &countedConn{of: n}, nil
}

func (n *countedNetwork) Close() error { n.closed = true; return nil }

// TestBounded opens what it may and no more, gives room back once for each that is closed or
// could not be opened, and closes the network behind.
func TestBounded(t *testing.T) {
	n := &countedNetwork{}
	b := upstream.Bounded(n, 3)
	to := netip.MustParseAddrPort("192.0.2.1:53")
	var held []io.Closer
	open := func() error {
		var c io.Closer
		var err error
		if len(held)%2 == 0 {
			c, err = b.Socket(to)
		} else {
			c, err = b.DialTCP(t.Context(), to)
		}
		if err == nil {
			held = append(held, c)
		}
		return err
	}
	for range 3 {
		if err := open(); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := open(); err == nil || n.open != 3 {
			t.Errorf("a fourth: %v, %d are open", err, n.open)
		}
	}
	held[0].Close()
	held[0].Close() // which gives nothing back
	n.open++
	if err := open(); err != nil {
		t.Error(err)
	}
	if err := open(); err == nil {
		t.Error("what was closed twice made room twice")
	}
	for _, c := range held[1:] {
		c.Close()
	}
	n.closed = true
	for range 10 {
		if err := open(); !errors.Is(err, io.ErrClosedPipe) {
			t.Fatalf("%v: what could not be opened takes room", err)
		}
	}
	n.closed = false
	if err := b.(io.Closer).Close(); err != nil || !n.closed {
		t.Errorf("closed %v, %v", n.closed, err)
	}
}
