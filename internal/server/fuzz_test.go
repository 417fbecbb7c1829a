package server_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"port53/internal/server"
)

// FuzzTCPFraming sends any stream, cut anywhere, and wants exactly the answers to
// the complete messages in it: in order, and none after a frame that is too short.
func FuzzTCPFraming(f *testing.F) {
	f.Add([]byte{}, uint16(1))
	f.Add(framed(question(1, 12)), uint16(1))
	f.Add(append(framed(question(1, 12)), framed(question(2, 3000))...), uint16(700))
	f.Add(append(framed(question(1, 40)), 0, 11), uint16(13))
	f.Add(append(framed(question(1, 40)), 0xff, 0xff, 1, 2, 3), uint16(3))
	s := listen(f, server.Options{Handler: worker(echo), Limits: server.Limits{PerAddr: 1000, PerPrefix: 1000}})
	f.Fuzz(func(t *testing.T, stream []byte, cut uint16) {
		if len(stream) > 1<<17 {
			return
		}
		var want []byte
		bad := false
		for b := stream; len(b) >= 2; {
			n := int(binary.BigEndian.Uint16(b))
			if bad = n < 12; bad || len(b) < 2+n {
				break
			}
			m := append([]byte(nil), b[:2+n]...)
			m[4] |= 0x80
			want = append(want, m...)
			b = b[2+n:]
		}
		c, err := net.Dial("tcp", s.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		go func() {
			for b := stream; len(b) > 0; {
				n := min(int(cut)+1, len(b))
				if _, err := c.Write(b[:n]); err != nil {
					return
				}
				b = b[n:]
			}
			_ = c.(*net.TCPConn).CloseWrite()
		}()
		got, err := io.ReadAll(c)
		if bad { // the reset may overtake answers
			if !bytes.HasPrefix(want, got) {
				t.Errorf("got %x, want a beginning of %x", got, want)
			}
			return
		}
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("got %x, %v; want %x", got, err, want)
		}
	})
}
