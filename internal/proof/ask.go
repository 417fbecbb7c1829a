package proof

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"port53/internal/wire"
)

// A vantage is from where questions are asked.
type vantage struct {
	name string
	from netip.Addr
	do   func(f func() error) error // opens sockets there
}

// The transports.
const (
	overUDP   = "udp"
	overTCP   = "tcp"
	overTLS   = "tls"
	overHTTPS = "https"
)

// An outcome is what became of a message.
type outcome struct {
	reply []byte // nil: none
	open  bool   // a connection was taken
	err   error
}

// closed reports whether nobody listens there.
func (o *outcome) closed() bool { return errors.Is(o.err, syscall.ECONNREFUSED) }

// rcode returns the reply's, or -1.
func (o *outcome) rcode() int {
	if len(o.reply) < wire.HeaderLen {
		return -1
	}
	return int(o.reply[3] & 15)
}

func (o *outcome) truncated() bool { return len(o.reply) > 2 && o.reply[2]&2 != 0 }
func (o *outcome) records() int {
	if len(o.reply) < wire.HeaderLen {
		return 0
	}
	return int(binary.BigEndian.Uint16(o.reply[6:]))
}

// recursion reports whether the reply offers it.
func (o *outcome) recursion() bool { return len(o.reply) > 3 && o.reply[3]&0x80 != 0 }

// words says what came.
func (o *outcome) words() string {
	switch {
	case o.reply != nil:
		return wire.Rcode(o.rcode()).String()
	case o.closed():
		return "a closed port"
	case o.open && os.IsTimeout(o.err):
		return "a connection without an answer"
	case errors.Is(o.err, io.EOF), errors.Is(o.err, syscall.ECONNRESET), errors.Is(o.err, io.ErrUnexpectedEOF):
		return "a connection that is cut off"
	}
	return "silence"
}

// exchange sends a message and waits for its reply. Certificates are not looked at: who answers is what is to be
// found out.
func (v *vantage) exchange(transport string, to netip.AddrPort, msg []byte, timeout time.Duration) outcome {
	if transport == overHTTPS {
		return v.post(to, msg, timeout)
	}
	c, err := v.dial(transport, to, timeout)
	if err != nil {
		return outcome{err: err}
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(timeout))
	if transport == overTLS {
		t := tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"dot"}})
		if err := t.Handshake(); err != nil {
			return outcome{open: true, err: err}
		}
		c = t
	}
	if transport == overUDP {
		return datagram(c, msg)
	}
	if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)); err != nil {
		return outcome{open: true, err: err}
	}
	var length [2]byte
	if _, err := io.ReadFull(c, length[:]); err != nil {
		return outcome{open: true, err: err}
	}
	reply := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(c, reply); err != nil {
		return outcome{open: true, err: err}
	}
	return outcome{reply: reply}
}

// datagram sends one, and takes the first that has its ID.
func datagram(c net.Conn, msg []byte) outcome {
	if _, err := c.Write(msg); err != nil {
		return outcome{err: err}
	}
	buf := make([]byte, 65535)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return outcome{err: err}
		}
		if n >= wire.HeaderLen && bytes.Equal(buf[:2], msg[:2]) || len(msg) == quicSize {
			return outcome{reply: bytes.Clone(buf[:n])}
		}
	}
}

func (v *vantage) dial(transport string, to netip.AddrPort, timeout time.Duration) (c net.Conn, err error) {
	d := net.Dialer{Timeout: timeout}
	network := "tcp"
	d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(v.from, 0))
	if transport == overUDP {
		network, d.LocalAddr = "udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(v.from, 0))
	}
	err = v.do(func() error {
		c, err = d.Dial(network, to.String())
		return err
	})
	return c, err
}

// post asks over HTTPS (RFC 8484).
func (v *vantage) post(to netip.AddrPort, msg []byte, timeout time.Duration) outcome {
	transport := &http.Transport{
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return v.dial(overTCP, to, timeout) },
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		ForceAttemptHTTP2: true,
	}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, Timeout: timeout}
	resp, err := client.Post("https://"+to.String()+"/dns-query", "application/dns-message", bytes.NewReader(msg))
	if err != nil {
		return outcome{err: err}
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(io.LimitReader(resp.Body, 65535))
	if err != nil || resp.StatusCode != http.StatusOK {
		return outcome{err: fmt.Errorf("HTTP %d: %w", resp.StatusCode, io.EOF)}
	}
	return outcome{reply: reply}
}

// web reports whether anything is said over HTTP.
func (v *vantage) web(to netip.AddrPort, timeout time.Duration) outcome {
	c, err := v.dial(overTCP, to, timeout)
	if err != nil {
		return outcome{err: err}
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(timeout))
	if _, err := io.WriteString(c, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		return outcome{err: err}
	}
	buf := make([]byte, 64)
	n, err := c.Read(buf)
	if n == 0 {
		return outcome{err: err}
	}
	return outcome{reply: buf[:n]}
}

// until asks until what comes is wanted, for a machine that is busy: what is to be answered is asked for
// again some times.
func (v *vantage) until(
	transport string,
	to netip.AddrPort,
	msg func() []byte,
	timeout time.Duration,
	wanted func(o *outcome) bool,
) outcome {
	var o outcome
	for range 4 {
		if o = v.exchange(transport, to, msg(), timeout); wanted(&o) {
			break
		}
	}
	return o
}

// twice asks again where nothing came: a datagram may be lost.
func (v *vantage) twice(transport string, to netip.AddrPort, msg []byte, timeout time.Duration) outcome {
	o := v.exchange(transport, to, msg, timeout)
	if o.reply == nil && !o.closed() {
		o = v.exchange(transport, to, msg, timeout)
	}
	return o
}

// id is a number for a message.
func id() uint16 { return uint16(number()) }

// number is one that nobody guesses.
func number() uint32 {
	var b [4]byte
	_, _ = rand.Read(b[:]) // it never fails
	return binary.BigEndian.Uint32(b[:])
}

const (
	flagRD = 1 << 8
	flagAA = 1 << 10
)

// question asks for records, with recursion or without.
func question(name []byte, t wire.Type, flags uint16, size uint16) []byte {
	msg := wire.AppendQuery(nil, id(), flags, name, t)
	if size > 0 {
		msg = wire.AppendOPT(msg, size, true, nil)
		msg[11]++
	}
	return msg
}

// chaos asks for a server's version (RFC 4892).
func chaos() []byte {
	msg := wire.AppendQuery(nil, id(), 0, []byte("\x07version\x04bind\x00"), wire.TypeTXT)
	binary.BigEndian.PutUint16(msg[len(msg)-2:], 3) // CH
	return msg
}

// updateThatNeverIs asks to change a zone only if a name exists that does not (RFC 2136, section 2.4.4): who
// may not is told so, and whoever may changes nothing.
func updateThatNeverIs(zone []byte) []byte {
	msg := wire.AppendQuery(nil, id(), uint16(wire.OpcodeUpdate)<<11, zone, wire.TypeSOA)
	label := fmt.Sprintf("port53-proof-%08x", number())
	msg = append(append(append(msg, byte(len(label))), label...), zone...)
	msg = append(msg, 0, 255, 0, 255, 0, 0, 0, 0, 0, 0) // ANY, ANY, TTL 0, no data
	msg[7] = 1
	return msg
}

const (
	portDoQ  = 853  // RFC 9250, section 4.1.1
	quicSize = 1200 // of the smallest datagram that a server answers (RFC 9000, section 14.1)
)

// ofNoVersion is the first packet of a connection of a QUIC version that nobody speaks: whoever serves QUIC answers
// with those that it does (RFC 9000, section 6.1).
func ofNoVersion() []byte {
	msg := []byte{0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8}
	msg = binary.BigEndian.AppendUint64(msg, uint64(number())) // the connection's ID for the server
	return append(msg, make([]byte, quicSize-len(msg))...)
}

// announcement says that a zone has changed (RFC 1996).
func announcement(zone []byte) []byte {
	return wire.AppendQuery(nil, id(), uint16(wire.OpcodeNotify)<<11|flagAA, zone, wire.TypeSOA)
}

// tried is the name of a transport beside an address.
func tried(to netip.AddrPort, transport string) string {
	return to.String() + "/" + strings.ToUpper(transport)
}
