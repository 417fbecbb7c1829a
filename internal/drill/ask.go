package drill

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"time"

	"port53/internal/wire"
)

const typeA = wire.TypeA

// Who asks: all of them are loopback.
var (
	bystander = netip.AddrFrom4([4]byte{127, 0, 200, 1})
	attacker  = netip.AddrFrom4([4]byte{127, 0, 66, 1})
)

// patience is for how long an answer is waited for.
const patience = 2 * time.Second

// A reply is a message, or nil.
type reply []byte

func (r reply) rcode() int {
	if len(r) < wire.HeaderLen {
		return -1
	}
	return int(r[3] & 15)
}

func (r reply) answers() int {
	if len(r) < wire.HeaderLen {
		return 0
	}
	return int(binary.BigEndian.Uint16(r[6:]))
}

func (r reply) secure() bool { return len(r) > 3 && r[3]&0x20 != 0 }

// has reports whether an address is among its octets.
func (r reply) has(a netip.Addr) bool { return bytes.Contains(r, a.AsSlice()) }

// question returns a query with recursion desired, EDNS and DO.
func question(name string, t wire.Type) []byte {
	n, err := wire.ParseName(name)
	if err != nil {
		n = wire.Root // no name here is wrong
	}
	var id [2]byte
	_, _ = rand.Read(id[:]) // it never fails
	msg := wire.AppendOPT(wire.AppendQuery(nil, binary.BigEndian.Uint16(id[:]), 1<<8, n, t), 1232, true, nil)
	msg[11]++
	return msg
}

// dial connects to the server from an address.
func (b *bench) dial(network string, from netip.Addr) (net.Conn, error) {
	d := net.Dialer{Timeout: patience, LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	if network == "tcp" {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	return d.Dial(network, b.Addr.String())
}

// ask asks over UDP.
func (b *bench) ask(from netip.Addr, name string, t wire.Type, wait time.Duration) reply {
	c, err := b.dial("udp", from)
	if err != nil {
		return nil
	}
	defer c.Close()
	msg := question(name, t)
	_ = c.SetDeadline(time.Now().Add(wait))
	if _, err := c.Write(msg); err != nil {
		return nil
	}
	buf := make([]byte, wire.MaxMessage)
	n, err := c.Read(buf)
	if err != nil || n < wire.HeaderLen || buf[0] != msg[0] || buf[1] != msg[1] {
		return nil
	}
	return buf[:n]
}

// askTCP asks over a connection of its own.
func (b *bench) askTCP(from netip.Addr, name string, t wire.Type, wait time.Duration) reply {
	c, err := b.dial("tcp", from)
	if err != nil {
		return nil
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(wait))
	msg := question(name, t)
	if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)); err != nil {
		return nil
	}
	var length [2]byte
	if _, err := io.ReadFull(c, length[:]); err != nil {
		return nil
	}
	r := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(c, r); err != nil {
		return nil
	}
	return r
}

// every calls f with 0, 1 and so on, with a rest after each, until ctx ends or there are most of them.
func every(ctx context.Context, rest time.Duration, most int, f func(i int)) (n int) {
	for n = 0; ctx.Err() == nil && n < most; n++ {
		f(n)
		select {
		case <-ctx.Done():
		case <-time.After(rest):
		}
	}
	return n
}
