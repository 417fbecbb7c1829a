package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
)

// A Client asks one server, one question at a time, from one UDP socket and one
// TCP connection that it opens when needed and opens again when the server has
// closed it. It is not safe for concurrent use.
type Client struct {
	Server  netip.AddrPort
	Source  netip.Addr    // where to ask from; invalid: any
	Timeout time.Duration // of one try; 0 stands for 2 s
	Tries   int           // of one question; 0 stands for 3
	// Run runs a function where sockets are to be opened, as in a network
	// namespace; nil: right here.
	Run func(func() error) error

	udp *net.UDPConn
	tcp *net.TCPConn
	buf [65535]byte
}

// ErrSilent says that the server sent nothing in time.
var ErrSilent = errors.New("no reply in time")

// Close closes the client's sockets.
func (c *Client) Close() {
	if c.udp != nil {
		c.udp.Close()
		c.udp = nil
	}
	c.closeTCP()
}

func (c *Client) closeTCP() {
	if c.tcp != nil {
		c.tcp.Close()
		c.tcp = nil
	}
}

func (c *Client) timeout() time.Duration {
	if c.Timeout == 0 {
		return 2 * time.Second
	}
	return c.Timeout
}

// Ask sends the question and returns the reply, parsed. A reply to another ID
// is passed over; one that does not parse is an error with the octets in it.
func (c *Client) Ask(q *Question) (*Message, error) {
	raw, err := c.Exchange(q.Pack(), q.TCP)
	if err != nil {
		return nil, err
	}
	m, err := Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("unreadable reply: %w: %x", err, raw)
	}
	return m, nil
}

// Exchange sends the octets of one query and returns those of the reply that
// carries its ID. It returns [ErrSilent] where no reply came on any try, or
// where a server closed the connection on each.
func (c *Client) Exchange(query []byte, tcp bool) ([]byte, error) {
	tries := c.Tries
	if tries == 0 {
		tries = 3
	}
	var err error
	for range tries {
		var reply []byte
		if tcp {
			reply, err = c.overTCP(query)
		} else {
			reply, err = c.overUDP(query)
		}
		if err == nil {
			return reply, nil
		}
	}
	return nil, fmt.Errorf("%w: %w", ErrSilent, err)
}

// UDP returns the client's UDP socket, opening it first.
func (c *Client) UDP() (*net.UDPConn, error) {
	if c.udp != nil {
		return c.udp, nil
	}
	var local *net.UDPAddr
	if c.Source.IsValid() {
		local = net.UDPAddrFromAddrPort(netip.AddrPortFrom(c.Source, 0))
	}
	err := c.run(func() (err error) {
		c.udp, err = net.DialUDP("udp", local, net.UDPAddrFromAddrPort(c.Server))
		return err
	})
	return c.udp, err
}

func (c *Client) run(f func() error) error {
	if c.Run == nil {
		return f()
	}
	return c.Run(f)
}

func (c *Client) overUDP(query []byte) ([]byte, error) {
	conn, err := c.UDP()
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	if err := conn.SetReadDeadline(time.Now().Add(c.timeout())); err != nil {
		return nil, err
	}
	for {
		n, err := conn.Read(c.buf[:])
		if err != nil {
			return nil, err
		}
		if n >= 2 && len(query) >= 2 && c.buf[0] == query[0] && c.buf[1] == query[1] {
			return append([]byte(nil), c.buf[:n]...), nil
		}
	}
}

func (c *Client) overTCP(query []byte) ([]byte, error) {
	fresh := c.tcp == nil
	reply, err := c.onceTCP(query)
	if err != nil {
		c.closeTCP()
		if !fresh { // the server may have closed an idle connection
			if reply, err = c.onceTCP(query); err != nil {
				c.closeTCP()
			}
		}
	}
	return reply, err
}

func (c *Client) onceTCP(query []byte) ([]byte, error) {
	if c.tcp == nil {
		d := net.Dialer{Timeout: c.timeout()}
		if c.Source.IsValid() {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.Source, 0))
		}
		if err := c.run(func() error {
			conn, err := d.Dial("tcp", c.Server.String())
			if err == nil {
				c.tcp = conn.(*net.TCPConn)
			}
			return err
		}); err != nil {
			return nil, err
		}
	}
	if err := c.tcp.SetDeadline(time.Now().Add(c.timeout())); err != nil {
		return nil, err
	}
	frame := binary.BigEndian.AppendUint16(make([]byte, 0, len(query)+2), uint16(len(query)))
	if _, err := c.tcp.Write(append(frame, query...)); err != nil {
		return nil, err
	}
	for {
		if _, err := io.ReadFull(c.tcp, c.buf[:2]); err != nil {
			return nil, err
		}
		reply := make([]byte, binary.BigEndian.Uint16(c.buf[:2]))
		if _, err := io.ReadFull(c.tcp, reply); err != nil {
			return nil, err
		}
		if len(reply) >= 2 && len(query) >= 2 && reply[0] == query[0] && reply[1] == query[1] {
			return reply, nil
		}
	}
}
