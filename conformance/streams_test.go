package conformance_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"port53/conformance/peers"
	"port53/conformance/probe"
)

// frame puts the length before a message (RFC 1035, section 4.2.2).
func frame(message []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...)
}

// streamPatience is how long a server may take over TCP until that counts as
// waiting.
const streamPatience = time.Second

// readStream reads messages until the server closes, waits or has sent n, and
// says what came.
func readStream(conn net.Conn, n int) string {
	var got []string
	for range n {
		conn.SetReadDeadline(time.Now().Add(streamPatience))
		var length [2]byte
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return strings.Join(append(got, ending(err)), ", ")
		}
		message := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(conn, message); err != nil {
			return strings.Join(append(got, "half a message"), ", ")
		}
		got = append(got, inShort(message, nil))
	}
	if len(got) > 2 && len(slices.Compact(slices.Clone(got))) == 1 {
		return fmt.Sprintf("%d times %s", len(got), got[0])
	}
	return strings.Join(got, ", ")
}

// ending says how a connection ended.
func ending(err error) string {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "waits"
	}
	return "closes"
}

// streams are the odd things to do to a TCP connection. Each returns what the
// server did; port53 does one of want.
var streams = []struct {
	name string
	run  func(conn net.Conn) string
	want string
}{
	{"one question", func(c net.Conn) string {
		c.Write(frame(ordinary()))
		return readStream(c, 1)
	}, "NOERROR aa"},
	{"ten questions in one write", func(c net.Conn) string {
		c.Write(bytes.Repeat(frame(ordinary()), 10))
		return readStream(c, 10)
	}, "10 times NOERROR aa"},
	{"a question octet by octet", func(c net.Conn) string {
		for _, b := range frame(ordinary()) {
			c.Write([]byte{b})
			time.Sleep(2 * time.Millisecond) // so that each is a segment of its own
		}
		return readStream(c, 1)
	}, "NOERROR aa"},
	{"a question, then no more to send", func(c net.Conn) string {
		c.Write(frame(ordinary()))
		c.(*net.TCPConn).CloseWrite()
		return readStream(c, 2)
	}, "NOERROR aa, closes"},
	{"50: frame of length 0", func(c net.Conn) string {
		c.Write([]byte{0, 0})
		return readStream(c, 1)
	}, "closes"},
	{"50: frame of 5 octets", func(c net.Conn) string {
		c.Write(frame([]byte("short")))
		return readStream(c, 1)
	}, "closes"},
	{"50: junk of 64 kB, then a question", func(c net.Conn) string {
		c.Write(append(frame(bytes.Repeat([]byte{0x2e}, 65535)), frame(ordinary())...))
		return readStream(c, 2)
	}, "closes|NOTIMP, NOERROR aa|FORMERR, NOERROR aa|FORMERR, closes|NOTIMP, closes"},
	{"51: QR=1, then a question", func(c net.Conn) string {
		reply := ordinary()
		reply[2] |= 0x80
		c.Write(append(frame(reply), frame(ordinary())...))
		return readStream(c, 1)
	}, "closes"},
	{"a malformed question, then a good one", func(c net.Conn) string {
		c.Write(append(frame([]byte("\x53\x53\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01")), frame(ordinary())...))
		return readStream(c, 2)
	}, "FORMERR, NOERROR aa|FORMERR, closes"},
	{"AXFR without permission", func(c net.Conn) string {
		c.Write(frame(append(header(0, 1), question(apexName, 252, 1)...)))
		return readStream(c, 1)
	}, "REFUSED|NOTAUTH"},
	{"IXFR without permission", func(c net.Conn) string {
		c.Write(frame(append(header(0, 1), question(apexName, 251, 1)...)))
		return readStream(c, 1)
	}, "REFUSED|NOTAUTH"},
	{"half a frame, then nothing", func(c net.Conn) string {
		c.Write(frame(ordinary())[:20])
		return readStream(c, 1)
	}, "waits|closes"},
	{"half a frame, then no more to send", func(c net.Conn) string {
		c.Write(frame(ordinary())[:20])
		c.(*net.TCPConn).CloseWrite()
		return readStream(c, 1)
	}, "closes"},
	{"an answer of 20 kB", func(c net.Conn) string {
		c.Write(frame(append(header(0, 1), question(string(probe.MustName("big.packets.test.")), 16, 1)...)))
		return readStream(c, 1)
	}, "NOERROR aa"},
}

func ordinary() []byte { return append(header(0, 1), question(wwwName, 1, 1)...) }

// TestStreams does odd things to TCP connections. What port53 does is fixed;
// what the peers do is printed beside it.
func TestStreams(t *testing.T) {
	zones := packetZone(t)
	servers := []*peers.Server{startSubject(t, peers.Options{Zones: served(zones, subjectKind())})}
	for _, kind := range []string{peers.NSD, peers.Knot, peers.BIND} {
		if _, err := peers.Find(kind); err == nil && kind != subjectKind() {
			servers = append(servers, start(t, kind, peers.Options{Zones: served(zones, kind)}))
		}
	}
	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "stream")
	for _, s := range servers {
		fmt.Fprintf(w, "\t%s", s.Kind)
	}
	fmt.Fprintln(w)
	for _, s := range streams {
		fmt.Fprint(w, s.name)
		for i, server := range servers {
			conn, err := net.Dial("tcp", server.Addr.String())
			if err != nil {
				t.Fatal(err)
			}
			got := s.run(conn)
			conn.Close()
			if i == 0 && !slices.Contains(strings.Split(s.want, "|"), got) {
				t.Errorf("%s: got %s, want %s", s.name, got, s.want)
			}
			fmt.Fprintf(w, "\t%s", got)
		}
		fmt.Fprintln(w)
	}
	w.Flush()
	t.Logf("\n%s", &table)
}
