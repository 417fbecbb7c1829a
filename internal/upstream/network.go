// Package upstream asks one server one question: the other direction of a resolver.
//
// A question goes out over a socket of its own, from a random port, with a random ID
// and a random case (RFC 5452; draft-vixie-dnsext-dns0x20), and with a cookie
// (RFC 7873). A reply is believed if all of that comes back, from the address that was
// asked; anything else is as if it had not come. Three that are nearly right mean that
// somebody is guessing, and the question goes over TCP.
//
// [Client.Exchange] is the entry point. What is learned of a server on the way, its
// speed, whether it lives, what it does not understand, is kept in a bounded table.
// Package upstream knows no names but those it is given, and chooses no servers.
package upstream

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// A Network is how questions leave: [System] is the sockets of this machine, and
// laboratories have one that is simulated.
type Network interface {
	// Socket returns a new UDP socket that is connected to a server, so that nobody
	// else's datagrams arrive, from a random port.
	Socket(to netip.AddrPort) (Socket, error)
	// DialTCP connects to a server over TCP.
	DialTCP(ctx context.Context, to netip.AddrPort) (net.Conn, error)
}

// A Socket is used by one goroutine, for one question.
type Socket interface {
	Send(datagram []byte) error
	// Recv waits for a datagram until the deadline, and returns its length; what does
	// not fit into b is cut off. The error is os.ErrDeadlineExceeded, or what the
	// network said, such as ECONNREFUSED.
	Recv(b []byte, deadline time.Time) (int, error)
	Close() error
}
