package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"

	"github.com/quic-go/qpack"
	quicgo "github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"
)

// A quicConn is DNS over QUIC, or HTTP/3 in as few steps as a client can take.
type quicConn struct {
	udp    *net.UDPConn
	ways   *quicgo.Transport
	quic   *quicgo.Conn
	http   bool
	under  []quicStream // in the order of the questions
	fields map[int][]byte
	out    []byte
	in     []byte
	half   int // so many answers are waited for before more is asked
}

// A quicStream is a question under way.
type quicStream struct {
	place  int
	stream *quicgo.Stream
}

// The frames and streams of HTTP/3 (RFC 9114, sections 6.2 and 7.2).
const (
	http3Data     = 0
	http3Headers  = 1
	http3Settings = 4
	http3Control  = 0
)

func openQUIC(from, to netip.AddrPort, config *tls.Config, http bool, window int) (channel, bool, error) {
	udp, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(from))
	if err != nil {
		return nil, false, err
	}
	c := &quicConn{udp: udp, ways: &quicgo.Transport{Conn: udp}, http: http, fields: map[int][]byte{}, in: make([]byte, 4096), half: max(1, window/2)}
	ctx, cancel := context.WithTimeout(context.Background(), patienceOpen)
	defer cancel()
	c.quic, err = c.ways.Dial(ctx, net.UDPAddrFromAddrPort(to), config, &quicgo.Config{MaxIncomingUniStreams: 8})
	if err != nil {
		c.close()
		return nil, false, err
	}
	if http {
		s, err := c.quic.OpenUniStream()
		if err != nil {
			c.close()
			return nil, false, err
		}
		if _, err := s.Write([]byte{http3Control, http3Settings, 0}); err != nil {
			c.close()
			return nil, false, err
		}
	}
	return c, c.quic.ConnectionState().TLS.DidResume, nil
}

// headers returns the frame of a request's headers, without a table.
func (c *quicConn) headers(length int) []byte {
	if b := c.fields[length]; b != nil {
		return b
	}
	var block bytes.Buffer
	e := qpack.NewEncoder(&block)
	for _, f := range postFields(length) {
		if err := e.WriteField(qpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			panic(err) // a buffer takes all
		}
	}
	b := quicvarint.Append([]byte{http3Headers}, uint64(block.Len()))
	b = append(b, block.Bytes()...)
	b = append(b, http3Data)
	b = quicvarint.Append(b, uint64(length))
	c.fields[length] = b
	return b
}

func (c *quicConn) ask(places []int, queries [][]byte) error {
	for i, q := range queries {
		s, err := c.quic.OpenStreamSync(context.Background())
		if err != nil {
			return err
		}
		if c.http {
			c.out = append(c.out[:0], c.headers(len(q))...)
		} else {
			c.out = binary.BigEndian.AppendUint16(c.out[:0], uint16(len(q)))
		}
		if _, err := s.Write(append(c.out, q...)); err != nil {
			return err
		}
		if err := s.Close(); err != nil {
			return err
		}
		c.under = append(c.under, quicStream{places[i], s})
	}
	return nil
}

func (c *quicConn) take(got func(int, []byte)) error {
	n := min(c.half, len(c.under))
	for _, u := range c.under[:n] {
		have := 0
		for {
			n, err := u.stream.Read(c.in[have:])
			have += n
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
			if have == len(c.in) {
				return fmt.Errorf("an answer of more than %d octets", have)
			}
		}
		reply := c.in[min(have, 2):have]
		if c.http {
			reply = http3Body(c.in[:have])
		}
		got(u.place, reply)
	}
	c.under = c.under[:copy(c.under, c.under[n:])]
	return nil
}

// http3Body returns what is in the one frame of data of a response.
func http3Body(b []byte) []byte {
	for len(b) > 0 {
		kind, n, err := quicvarint.Parse(b)
		if err != nil {
			return nil
		}
		length, m, err := quicvarint.Parse(b[n:])
		if b = b[n+m:]; err != nil || uint64(len(b)) < length {
			return nil
		}
		if kind == http3Data {
			return b[:length]
		}
		b = b[length:]
	}
	return nil
}

func (c *quicConn) close() {
	if c.quic != nil {
		_ = c.quic.CloseWithError(0, "")
	}
	_ = c.ways.Close()
	_ = c.udp.Close()
}
