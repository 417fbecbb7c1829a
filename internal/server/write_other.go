//go:build !unix

package server

import (
	"net"
	"net/netip"
)

// A writerNow writes nothing, so that all is copied before it is written.
type writerNow struct{}

func (*writerNow) bind(net.Conn) {}

func (*writerNow) write([]byte) int { return 0 }

// A datagramNow sends as the system does, which here does not wait for long.
type datagramNow struct{ conn *net.UDPConn }

func (d *datagramNow) bind(conn *net.UDPConn) { d.conn = conn }

func (d *datagramNow) send(message, control []byte, to netip.AddrPort) error {
	_, _, err := d.conn.WriteMsgUDPAddrPort(message, control, to)
	return err
}
