package main

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/miekg/dns"
	quicgo "github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"port53/conformance/probe"
)

// serveStreams answers questions on loopback over a transport until the test ends.
func serveStreams(t *testing.T, over string, answer func(query []byte) []byte) netip.AddrPort {
	t.Helper()
	b := &bench{dir: t.TempDir()}
	if err := b.certify(); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(b.cert, b.key)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{protocols[over]}}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != dohPath || r.Header.Get("Content-Type") != "application/dns-message" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		_, _ = w.Write(answer(query))
	})
	if over == overDoQ || over == overDoH3 {
		udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { udp.Close() })
		if over == overDoH3 {
			s := &http3.Server{Handler: handler, TLSConfig: config}
			t.Cleanup(func() { s.Close() })
			go s.Serve(udp)
		} else {
			l, err := quicgo.Listen(udp, config, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			go serveDoQ(l, answer)
		}
		return udp.LocalAddr().(*net.UDPAddr).AddrPort()
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	switch over {
	case overDoH:
		s := &http.Server{Handler: handler, TLSConfig: config}
		go s.ServeTLS(l, "", "")
		t.Cleanup(func() { s.Close() })
		return addr
	case overDoT:
		l = tls.NewListener(l, config)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serveFramed(conn, answer)
		}
	}()
	return addr
}

func serveDoQ(l *quicgo.Listener, answer func([]byte) []byte) {
	for {
		c, err := l.Accept(context.Background())
		if err != nil {
			return
		}
		go func() {
			for {
				s, err := c.AcceptStream(context.Background())
				if err != nil {
					return
				}
				go func() {
					b, err := io.ReadAll(s)
					if err == nil && len(b) > 2 {
						reply := answer(b[2:])
						_, _ = s.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...))
					}
					_ = s.Close()
				}()
			}
		}()
	}
}

func serveFramed(conn net.Conn, answer func([]byte) []byte) {
	defer conn.Close()
	for {
		var length [2]byte
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		reply := answer(query)
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil {
			return
		}
	}
}

// TestStream has clients of each transport ask, and sees that wrong answers are told from right ones.
func TestStream(t *testing.T) {
	file := filepath.Join(t.TempDir(), "queries")
	a, err := newAsking(file, probe.Question{RD: true, EDNS: true, Size: 1232})
	if err != nil {
		t.Fatal(err)
	}
	a.ask("good.example.", probe.TypeA)
	a.ask("bad.example.", probe.TypeA)
	a.ask("failing.example.", probe.TypeA)
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	answer := func(query []byte) []byte {
		return answered(t, query, func(m *dns.Msg) {
			switch m.Question[0].Name {
			case "bad.example.":
				m.Answer = aSet("bad.example.", [4]byte{192, 0, 2, 1})
			case "failing.example.":
				m.Answer, m.Rcode = nil, dns.RcodeServerFailure
			}
		})
	}
	for _, over := range []string{overTCP, overDoT, overDoH, overDoQ, overDoH3} {
		t.Run(over, func(t *testing.T) {
			r, err := stream(streamLoad{
				streaming: streaming{Over: over, Conns: 2, Window: 4, Each: 30, Resume: true}, Server: serveStreams(t, over, answer), Queries: file,
				Duration: 500 * time.Millisecond,
			})
			if err != nil {
				t.Fatal(err)
			}
			if r.Received < 60 || r.Lost > 0 || r.Opened < 2 || r.P50 == 0 {
				t.Fatalf("%+v", r)
			}
			third, slack := r.Received/3, r.Received/10+8
			if failed := r.Rcodes[dns.RcodeServerFailure]; failed < third-slack || failed > third+slack {
				t.Errorf("%d of %d are failures", failed, r.Received)
			}
			if r.Wrong < 2*third-2*slack || r.Wrong > 2*third+2*slack {
				t.Errorf("%d of %d are wrong", r.Wrong, r.Received)
			}
			if encrypted := over == overDoT || over == overDoH; encrypted && r.Resumed == 0 {
				t.Errorf("of %d connections none is resumed", r.Opened)
			}
		})
	}
}

// What is no answer over HTTP/3 is none.
func TestHTTP3Body(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"\x01\x02ab\x00\x03xyz", "xyz"},
		{"\x00\x03xyz", "xyz"},
		{"\x01\x02ab", ""},
		{"\x01\x09ab\x00\x03xyz", ""},
		{"\x00\x04xyz", ""},
		{"\x00", ""},
		{"", ""},
	} {
		if got := string(http3Body([]byte(tt.in))); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.in, got, tt.want)
		}
	}
}
