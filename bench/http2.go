package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// dohPath is where questions over HTTPS go.
const dohPath = "/dns-query"

// An http2Conn is DNS over HTTPS with HTTP/2, in as few steps as a client can take: headers of
// answers are not read, for what follows says whether they are right.
type http2Conn struct {
	conn   net.Conn
	out    bytes.Buffer // what is to be written next
	in     *bufio.Reader
	frames *http2.Framer
	fields bytes.Buffer
	hpack  *hpack.Encoder
	next   uint32   // stream
	stream []uint32 // by place
	data   [][]byte // that came of each
}

// manyOctets is more than all answers of a connection have.
const manyOctets = 1 << 30

func newHTTP2(conn net.Conn, window int) (*http2Conn, error) {
	c := &http2Conn{conn: conn, next: 1, stream: make([]uint32, window), data: make([][]byte, window)}
	c.hpack = hpack.NewEncoder(&c.fields)
	c.in = bufio.NewReaderSize(conn, 16<<10)
	c.frames = http2.NewFramer(&c.out, c.in)
	c.frames.SetReuseFrames()
	c.out.WriteString(http2.ClientPreface)
	err := c.frames.WriteSettings(http2.Setting{ID: http2.SettingEnablePush}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	if err != nil {
		return nil, err
	}
	return c, c.frames.WriteWindowUpdate(0, manyOctets)
}

func (c *http2Conn) ask(places []int, queries [][]byte) error {
	for i, q := range queries {
		c.fields.Reset()
		for _, f := range postFields(len(q)) {
			if err := c.hpack.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
				return err
			}
		}
		c.stream[places[i]], c.data[places[i]] = c.next, c.data[places[i]][:0]
		if err := c.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: c.next, BlockFragment: c.fields.Bytes(), EndHeaders: true}); err != nil {
			return err
		}
		if err := c.frames.WriteData(c.next, true, q); err != nil {
			return err
		}
		c.next += 2
	}
	return c.flush()
}

func (c *http2Conn) flush() error {
	_, err := c.out.WriteTo(c.conn)
	c.out.Reset()
	return err
}

func (c *http2Conn) take(got func(int, []byte)) error {
	for some := false; !some || c.in.Buffered() > 0; { // what came together is taken together
		f, err := c.frames.ReadFrame()
		if err != nil {
			return err
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				if err := c.frames.WriteSettingsAck(); err != nil {
					return err
				}
				if err := c.flush(); err != nil {
					return err
				}
			}
		case *http2.PingFrame:
			if err := c.frames.WritePing(true, f.Data); err != nil {
				return err
			}
			if err := c.flush(); err != nil {
				return err
			}
		case *http2.GoAwayFrame:
			return io.EOF
		case *http2.RSTStreamFrame:
			return fmt.Errorf("stream %d was reset: %v", f.StreamID, f.ErrCode)
		case *http2.DataFrame:
			for p, id := range c.stream {
				if id != f.StreamID {
					continue
				}
				c.data[p] = append(c.data[p], f.Data()...)
				if f.StreamEnded() {
					got(p, c.data[p])
					some = true
				}
			}
		case *http2.HeadersFrame:
			if f.StreamEnded() {
				return fmt.Errorf("stream %d has no body", f.StreamID)
			}
		}
	}
	return nil
}

func (c *http2Conn) close() { c.conn.Close() }

// postFields are the fields of a request with a question of so many octets.
func postFields(length int) [][2]string {
	return [][2]string{
		{":method", "POST"},
		{":scheme", "https"},
		{":authority", hostname},
		{":path", dohPath},
		{"accept", "application/dns-message"},
		{"content-type", "application/dns-message"},
		{"content-length", strconv.Itoa(length)},
	}
}
