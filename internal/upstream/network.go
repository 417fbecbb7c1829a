// Package upstream asks one server one question: the other direction of a resolver.
//
// A question goes out over a socket of its own, from a random port, with a random ID
// and a random case (RFC 5452; draft-vixie-dnsext-dns0x20), and with a cookie
// (RFC 7873). A reply is believed if all of that comes back, from the address that was
// asked; anything else is as if it had not come. Three that are nearly right mean that
// somebody is guessing, and the question goes over TCP, as it does whenever a reply
// leaves a doubt that a connection can settle.
//
// [Client.Exchange] is the entry point. What is learned of a server on the way, its
// speed, whether it lives, what it does not understand, is kept in a bounded table and
// decides how it is asked next. It is learned from replies that matched, never from
// silence or from packets that did not.
//
// Package upstream knows no names but those it is given, chooses no servers, and keeps
// no answers.
package upstream

import (
	"context"
	"net"
	"net/netip"

	"port53/internal/exchange"
)

// A Network is how questions leave: [System] is the sockets of this machine, and
// laboratories have one that is simulated.
type Network interface {
	// Socket returns a new UDP socket that is connected to a server, from a random port.
	Socket(to netip.AddrPort) (exchange.Socket, error)
	// DialTCP connects to a server over TCP.
	DialTCP(ctx context.Context, to netip.AddrPort) (net.Conn, error)
}

// Packets is a [Network] over which QUIC goes as well.
type Packets interface {
	// DialUDP returns a socket that is connected to a server, and has no deadline.
	DialUDP(ctx context.Context, to netip.AddrPort) (net.Conn, error)
}

// Ports that questions leave from: all but those of the system's services. The range
// that the kernel takes them from by itself has half as many.
const (
	firstPort = 1024
	portCount = 65536 - firstPort
	bindTries = 10 // random ports tried; with 10,000 in use, ten in a row are taken once in 10^8
)

// sources are the addresses that questions leave from.
type sources []netip.Addr

// pick returns the one to ask a server from: always the same, because the server's
// cookie holds for it alone (RFC 9018, section 3). hash spreads servers over them.
// Without any of the server's family it is the unspecified address.
func (s sources) pick(to netip.Addr, hash uint64) netip.Addr {
	n := uint64(0)
	for _, a := range s {
		if a.Is4() == to.Is4() {
			n++
		}
	}
	if n > 0 {
		n = hash % n
	}
	for _, a := range s {
		if a.Is4() == to.Is4() {
			if n == 0 {
				return a
			}
			n--
		}
	}
	if to.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// dial connects over TCP or UDP from a source address, or whatever routes say.
func dial(ctx context.Context, network string, to netip.AddrPort, source netip.Addr) (net.Conn, error) {
	var d exchange.Dialer
	if !source.IsUnspecified() {
		d.Source = netip.AddrPortFrom(source, 0)
	}
	return d.Open(ctx, network, to)
}
