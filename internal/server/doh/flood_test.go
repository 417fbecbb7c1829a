package doh_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"port53/internal/certs"
	"port53/internal/server"
	"port53/internal/server/doh"
)

// A flood is what an attacker writes on a connection, until it fails.
type flood func(f *http2.Framer, conn net.Conn) error

// floods are those of HTTP/2: each is cheap to send.
func floods() map[string]flood {
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for _, h := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "dns.test"}, {":path", encode(question(1))}} {
		_ = e.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
	}
	headers := block.Bytes()
	open := func(f *http2.Framer, id uint32, whole bool) error {
		return f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: headers, EndHeaders: whole, EndStream: true})
	}
	return map[string]flood{
		"rapid reset": func(f *http2.Framer, _ net.Conn) error { // CVE-2023-44487
			for id := uint32(1); ; id += 2 {
				if err := open(f, id, true); err != nil {
					return err
				}
				if err := f.WriteRSTStream(id, http2.ErrCodeCancel); err != nil {
					return err
				}
			}
		},
		"settings": func(f *http2.Framer, _ net.Conn) error { // CVE-2019-9515
			for {
				if err := f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1}); err != nil {
					return err
				}
			}
		},
		"pings": func(f *http2.Framer, _ net.Conn) error { // CVE-2019-9512
			for {
				if err := f.WritePing(false, [8]byte{}); err != nil {
					return err
				}
			}
		},
		"headers without end": func(f *http2.Framer, _ net.Conn) error { // CVE-2023-45288
			if err := open(f, 1, false); err != nil {
				return err
			}
			for {
				if err := f.WriteContinuation(1, false, nil); err != nil {
					return err
				}
			}
		},
		"streams without a window": func(f *http2.Framer, conn net.Conn) error { // CVE-2019-9517
			_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
			for id := uint32(1); ; id += 2 {
				if err := open(f, id, true); err != nil {
					return err
				}
			}
		},
	}
}

// TestFloods has attackers flood connections of HTTP/2, and never read, while somebody asks: all
// questions are answered, and memory does not grow with what is sent.
func TestFloods(t *testing.T) {
	s := open(t, doh.Options{Streams: 100, Question: time.Second, Stall: time.Second}, server.Limits{}, nil)
	done := make(chan struct{})
	defer close(done)
	go func() { // nobody looks at them here
		for {
			select {
			case <-s.peers:
			case <-done:
				return
			}
		}
	}()
	length := time.Second
	if testing.Short() {
		length = 300 * time.Millisecond
	}
	for name, attack := range floods() {
		t.Run(name, func(t *testing.T) {
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			end := time.Now().Add(length)
			attacks := make(chan int)
			for range 3 {
				go func() {
					n := 0
					for time.Now().Before(end) { // whoever is cut off comes again
						if c, err := tls.Dial("tcp", s.addr(), s.peer.Client(certs.H2)); err == nil {
							_ = c.SetDeadline(end)
							_, _ = io.WriteString(c, http2.ClientPreface)
							f := http2.NewFramer(c, nil)
							_ = f.WriteSettings()
							_ = attack(f, c)
							c.NetConn().Close()
							n++
						}
					}
					attacks <- n
				}()
			}
			client, asked := s.client(true), 0
			for time.Now().Before(end) {
				s.do(client, "GET", encode(question(1)), nil) // it fails the test if there is no answer
				asked++
			}
			connections := 0
			for range 3 {
				connections += <-attacks
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 32<<20 {
				t.Errorf("the heap has grown by %d MiB", grown>>20)
			}
			if asked == 0 || connections == 0 {
				t.Errorf("%d questions were asked during %d attacks", asked, connections)
			}
			t.Logf("%d questions answered during %d connections of attackers", asked, connections)
		})
	}
}
