//go:build !lean

package doh_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/netip"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"port53/internal/certs"
	"port53/internal/certs/certtest"
	"port53/internal/server"
	"port53/internal/server/doh"
)

// openHTTP3 is open with HTTP/3 beside HTTP/2, and returns a client of it as well.
func openHTTP3(t *testing.T, o doh.Options, l server.Limits, h worker) (*site, *http.Client) {
	t.Helper()
	ca := certtest.New(t)
	c, key := ca.Issue(t.TempDir(), "own", "dns.test")
	k, err := certs.NewManager([]certs.Pair{{Certificate: c, Key: key}})
	if err != nil {
		t.Fatal(err)
	}
	st := &site{T: t, peer: certs.Peer{Name: "dns.test", Roots: ca.Pool}, peers: make(chan server.Peer, 1000)}
	if h == nil {
		h = answer
	}
	o.Path = "/dns-query"
	web := doh.New(o)
	at := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	st.Server, err = server.Listen(server.Options{
		Addrs: at,
		Handler: worker(func(q []byte, p *server.Peer, r []byte) int {
			st.peers <- *p
			return h(q, p, r)
		}),
		Encrypted: server.Encrypted{Limits: l, Services: []server.ServiceBinding{
			{Addrs: at, TLS: k.Server(nil, certs.H2, certs.H1), Service: web},
			{Addrs: at, TLS: k.Server(nil, certs.H3), Packets: web.HTTP3()},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	st.Start()
	tr := &http3.Transport{TLSClientConfig: st.peer.Client(certs.H3), Dial: st.dialQUIC}
	t.Cleanup(func() {
		_ = tr.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := st.Shutdown(ctx); err != nil {
			t.Error("Shutdown:", err)
		}
	})
	return st, &http.Client{Transport: tr, Timeout: patience}
}

func TestHTTP3(t *testing.T) {
	s, c := openHTTP3(t, doh.Options{}, server.Limits{}, nil)
	for _, size := range []int{0, 1, 500, 4000, 16400, 65497} {
		res, got := s.do(c, "POST", "/dns-query", question(size), "Content-Type", media)
		if res.StatusCode != 200 || res.ProtoMajor != 3 || len(got) != 26+12+size || res.Header.Get("Cache-Control") != "max-age=300, private" {
			t.Errorf("%d octets: %v %v, %d, %v", size, res.Status, res.Proto, len(got), res.Header)
		}
		if p := <-s.peers; p.Transport != server.DoH || p.Remote.Addr() != netip.MustParseAddr("127.0.0.1") || p.LocalPort != s.Encrypted()[1].Addr.Port() {
			t.Errorf("the peer is %+v", p)
		}
	}
	if res, got := s.do(c, "GET", encode(question(5)), nil); res.StatusCode != 200 || len(got) != 26+12+5 {
		t.Errorf("GET: %v, %d octets", res.Status, len(got))
	}
	if res, got := s.do(c, "HEAD", encode(question(5)), nil); res.StatusCode != 200 || len(got) != 0 {
		t.Errorf("HEAD: %v, %d octets", res.Status, len(got))
	}
	for _, tt := range []struct {
		method, target string
		body           []byte
		status         int
	}{
		{"POST", "/other", question(1), 404},
		{"PUT", "/dns-query", question(1), 405},
		{"GET", "/dns-query", nil, 400},
		{"POST", "/dns-query", make([]byte, 65536), 413},
		{"POST", "/dns-query", nil, 400},
	} {
		if res, _ := s.do(c, tt.method, tt.target, tt.body, "Content-Type", media); res.StatusCode != tt.status {
			t.Errorf("%s %s: %v, want %d", tt.method, tt.target, res.Status, tt.status)
		}
	}
	if res, _ := s.do(c, "POST", "/dns-query", question(1), "Content-Type", media, "Pad", string(bytes.Repeat([]byte("x"), 9000))); res.StatusCode != 431 {
		t.Errorf("a long header: %v", res.Status)
	}
	// Who comes over HTTP/2 is told where HTTP/3 is.
	res, _ := s.do(s.client(true), "GET", encode(question(5)), nil)
	if want := `h3=":` + s.Encrypted()[1].Addr.String()[len("127.0.0.1:"):] + `"; ma=86400`; res.Header.Get("Alt-Svc") != want {
		t.Errorf("Alt-Svc is %q, want %q", res.Header.Get("Alt-Svc"), want)
	}
	if st := s.Stats(); st.Secure.Open != 2 || st.Handshakes.Done != 2 {
		t.Errorf("%+v", st)
	}
}

// A request that does not come whole ends, and others are answered meanwhile.
func TestHTTP3Slow(t *testing.T) {
	s, c := openHTTP3(t, doh.Options{Question: 50 * time.Millisecond}, server.Limits{}, nil)
	conn, err := s.dialQUIC(t.Context(), "", s.peer.Client(certs.H3), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseWithError(0, "")
	for _, b := range [][]byte{{1}, {1, 40, 0, 0}, {0, 1, 0}} { // a frame without a length, one that is not whole, and DATA before HEADERS
		stream, err := conn.OpenStreamSync(t.Context())
		if err != nil {
			break // the last is against the protocol
		}
		if _, err := stream.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(stream); err == nil {
			t.Errorf("%x: it is answered", b)
		}
	}
	pipe, w := io.Pipe()
	defer w.Close()
	r, _ := http.NewRequest("POST", "https://dns.test/dns-query", pipe)
	r.Header.Set("Content-Type", media)
	if res, err := c.Do(r); err == nil {
		if res.Body.Close(); res.StatusCode == 200 {
			t.Errorf("a body that does not come: %v", res.Status)
		}
	}
	if res, _ := s.do(c, "GET", encode(question(5)), nil); res.StatusCode != 200 {
		t.Errorf("the next: %v", res.Status)
	}
}

// dialQUIC connects to where HTTP/3 is.
func (s *site) dialQUIC(ctx context.Context, _ string, config *tls.Config, _ *quicgo.Config) (*quicgo.Conn, error) {
	return quicgo.DialAddr(ctx, s.Encrypted()[1].Addr.String(), config, nil)
}
