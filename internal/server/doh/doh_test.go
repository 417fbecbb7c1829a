package doh_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"port53/internal/certs"
	"port53/internal/certs/certtest"
	"port53/internal/server"
	"port53/internal/server/doh"
	"port53/internal/wire"
)

const patience = 2 * time.Minute

// A site is a server of DoH, and a client that trusts it.
type site struct {
	*testing.T
	*server.Server
	peer  certs.Peer
	peers chan server.Peer
}

// answer is what the site answers with: the question and one record, as large as its type says.
func answer(q []byte, p *server.Peer, r []byte) int {
	n := copy(r, q)
	r[2] |= 0x80
	r[7] = 1
	size := int(binary.BigEndian.Uint16(q[len(q)-4:]))
	copy(r[n:], []byte{0xC0, 12, 0, 16, 0, 1, 0, 0, 1, 44, byte(size >> 8), byte(size)})
	return n + 12 + size
}

type worker func(query []byte, peer *server.Peer, reply []byte) int

func (w worker) NewWorker() server.Worker { return w }

func (w worker) Handle(query []byte, peer *server.Peer, _ int64, reply []byte) int {
	return w(query, peer, reply)
}

func open(t *testing.T, o doh.Options, l server.Limits, h worker) *site {
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
	st.Server, err = server.Listen(server.Options{
		Addrs: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")},
		Handler: worker(func(q []byte, p *server.Peer, r []byte) int {
			st.peers <- *p
			return h(q, p, r)
		}),
		Encrypted: server.Encrypted{Limits: l, Services: []server.ServiceBinding{{
			Addrs: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, TLS: k.Server(nil, certs.H2, certs.H1), Service: doh.New(o),
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	st.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := st.Shutdown(ctx); err != nil {
			t.Error("Shutdown:", err)
		}
	})
	return st
}

func (s *site) addr() string { return s.Encrypted()[0].Addr.String() }

// client returns a client that speaks HTTP/2, or HTTP/1.1.
func (s *site) client(two bool) *http.Client {
	protocols := []string{certs.H2}
	if !two {
		protocols = []string{certs.H1}
	}
	tr := &http.Transport{TLSClientConfig: s.peer.Client(protocols...), ForceAttemptHTTP2: two}
	tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", s.addr())
	}
	s.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

// question returns a question that is answered with a record of so many octets.
func question(size int) []byte {
	return wire.AppendQuery(nil, 0, wire.FlagRD, []byte("\x03www\x04test\x00"), wire.Type(size))
}

// do sends a request and returns the response with its body.
func (s *site) do(c *http.Client, method, target string, body []byte, headers ...string) (*http.Response, []byte) {
	s.Helper()
	r, err := http.NewRequest(method, "https://dns.test"+target, bytes.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	res, err := c.Do(r)
	if err != nil {
		s.Fatalf("%s %.80s: %v", method, target, err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		s.Fatalf("%s %.80s: %v", method, target, err)
	}
	return res, got
}

const media = "application/dns-message"

func encode(q []byte) string { return "/dns-query?dns=" + base64.RawURLEncoding.EncodeToString(q) }

func TestAnswers(t *testing.T) {
	s := open(t, doh.Options{}, server.Limits{}, nil)
	for _, two := range []bool{true, false} {
		c := s.client(two)
		for _, size := range []int{1, 500, 20000, 65489} {
			q := question(size)
			want := make([]byte, 65535)
			want = want[:answer(q, nil, want)]
			for _, method := range []string{"GET", "POST", "HEAD"} {
				target, body := encode(q), []byte(nil)
				var headers []string
				if method == "POST" {
					target, body, headers = "/dns-query", q, []string{"Content-Type", media}
				}
				res, got := s.do(c, method, target, body, headers...)
				p := <-s.peers
				if method == "HEAD" && len(got) == 0 {
					got = want // its length is told
				}
				if res.StatusCode != 200 || !bytes.Equal(got, want) || res.ContentLength != int64(len(want)) {
					t.Fatalf("%s of %d octets over HTTP/2 %v: %s, %d octets of %d", method, size, two, res.Status, len(got), len(want))
				}
				if h := res.Header; h.Get("Content-Type") != media || h.Get("Cache-Control") != "max-age=300, private" || h.Get("Set-Cookie") != "" || h.Get("Content-Encoding") != "" {
					t.Errorf("%s: header %v", method, h)
				}
				if (res.ProtoMajor == 2) != two {
					t.Errorf("%s is spoken, HTTP/2 is %v", res.Proto, two)
				}
				if p.Transport != server.DoH || p.Remote.Addr() != netip.MustParseAddr("127.0.0.1") || p.Local != p.Remote.Addr() {
					t.Errorf("peer %+v", p)
				}
			}
		}
	}
	if st := s.Stats(); st.DoH.Received != 24 || st.DoH.Sent != 24 {
		t.Errorf("counters %+v", st.DoH)
	}
}

func TestBadRequests(t *testing.T) {
	s := open(t, doh.Options{}, server.Limits{}, func(q []byte, p *server.Peer, r []byte) int {
		if q[2]&0x80 != 0 {
			return -1
		}
		return answer(q, p, r)
	})
	q := question(5)
	good := base64.RawURLEncoding.EncodeToString(q)
	response := bytes.Clone(q)
	response[2] |= 0x80
	typed := []string{"Content-Type", media}
	for _, two := range []bool{true, false} {
		c := s.client(two)
		for _, tt := range []struct {
			name, method, target string
			body                 []byte
			headers              []string
			want                 int
		}{
			{"another path", "GET", "/?dns=" + good, nil, nil, 404},
			{"below the path", "GET", "/dns-query/?dns=" + good, nil, nil, 404},
			{"no question", "GET", "/dns-query", nil, nil, 400},
			{"two questions", "GET", "/dns-query?dns=" + good + "&dns=" + good, nil, nil, 400},
			{"something beside", "GET", "/dns-query?ct&dns=" + good, nil, nil, 200},
			{"padding", "GET", "/dns-query?dns=" + base64.URLEncoding.EncodeToString(append(q, 1)) + "==", nil, nil, 400},
			{"plain base64", "GET", "/dns-query?dns=%2B%2F%2BA" + good, nil, nil, 400},
			{"a line break", "GET", "/dns-query?dns=" + good[:8] + "%0A" + good[8:], nil, nil, 400},
			{"bits too many", "GET", "/dns-query?dns=" + base64.RawURLEncoding.EncodeToString(append(bytes.Clone(q), 0)) + "B", nil, nil, 400},
			{"empty", "GET", "/dns-query?dns=", nil, nil, 400},
			{"short", "GET", "/dns-query?dns=AAAA", nil, nil, 400},
			{"a response", "GET", encode(response), nil, nil, 400},
			{"long", "GET", encode(make([]byte, 3100)), nil, nil, 414},
			{"long beside", "GET", "/dns-query?dns=" + good + "&x=" + strings.Repeat("y", 5000), nil, nil, 200},
			{"PUT", "PUT", "/dns-query", q, typed, 405},
			{"OPTIONS", "OPTIONS", "/dns-query", nil, nil, 405},
			{"no type", "POST", "/dns-query", q, nil, 415},
			{"text", "POST", "/dns-query", q, []string{"Content-Type", "text/plain"}, 415},
			{"two types", "POST", "/dns-query", q, []string{"Content-Type", media, "Content-Type", media}, 415},
			{"compressed", "POST", "/dns-query", q, []string{"Content-Type", media, "Content-Encoding", "gzip"}, 415},
			{"with a parameter", "POST", "/dns-query", q, []string{"Content-Type", media + "; x=y"}, 200},
			{"no body", "POST", "/dns-query", nil, typed, 400},
			{"short body", "POST", "/dns-query", make([]byte, 11), typed, 400},
			{"long body", "POST", "/dns-query", make([]byte, 65536), typed, 413},
			{"question in the URL of a POST", "POST", encode(q), nil, typed, 400},
		} {
			res, body := s.do(c, tt.method, tt.target, tt.body, tt.headers...)
			if res.StatusCode != tt.want {
				t.Errorf("%s over HTTP/2 %v: %s %.80q, want %d", tt.name, two, res.Status, body, tt.want)
			}
			if tt.want != 200 && res.StatusCode != 200 && (res.Header.Get("Cache-Control") != "no-store" || len(body) == 0) {
				t.Errorf("%s: %v %q", tt.name, res.Header, body)
			}
			if tt.want == 405 && res.Header.Get("Allow") != "GET, HEAD, POST" {
				t.Errorf("%s: Allow %q", tt.name, res.Header.Get("Allow"))
			}
		}
	}
}

// A question that is let go unanswered was a good one, whether that is known at once, or later.
func TestUnanswered(t *testing.T) {
	for what, n := range map[string]int{"at once": 0, "later": server.Pending} {
		s := open(t, doh.Options{}, server.Limits{}, func(_ []byte, p *server.Peer, _ []byte) int {
			if n == server.Pending {
				to, err := p.Detach()
				if err != nil {
					t.Error(err)
					return 0
				}
				to.Close()
			}
			return n
		})
		for _, two := range []bool{true, false} {
			for _, method := range []string{"GET", "POST", "HEAD"} {
				target, body, headers := encode(question(1)), []byte(nil), []string(nil)
				if method == "POST" {
					target, body, headers = "/dns-query", question(1), []string{"Content-Type", media}
				}
				if res, text := s.do(s.client(two), method, target, body, headers...); res.StatusCode != 503 {
					t.Errorf("%s, %s, HTTP/2 %v: %s %q, want 503", what, method, two, res.Status, text)
				}
			}
		}
	}
}

// A body without a length ends at the bound as well.
func TestEndlessBody(t *testing.T) {
	s := open(t, doh.Options{}, server.Limits{}, nil)
	r, _ := http.NewRequest("POST", "https://dns.test/dns-query", io.LimitReader(zeros{}, 1<<22))
	r.ContentLength = -1
	r.Header.Set("Content-Type", media)
	res, err := s.client(true).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 413 {
		t.Errorf("%s, want 413", res.Status)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// Only a listed proxy is believed, and only what it and others that are listed have added.
func TestProxies(t *testing.T) {
	for _, tt := range []struct {
		name    string
		proxies string
		headers []string
		want    string
	}{
		{"a stranger's word", "10.0.0.0/8", []string{"X-Forwarded-For", "192.0.2.1"}, "127.0.0.1"},
		{"a proxy's", "127.0.0.0/8", []string{"X-Forwarded-For", "192.0.2.1"}, "192.0.2.1"},
		{"the last one counts", "127.0.0.0/8", []string{"X-Forwarded-For", "198.51.100.1, 192.0.2.1"}, "192.0.2.1"},
		{"two lines", "127.0.0.0/8", []string{"X-Forwarded-For", "198.51.100.1", "X-Forwarded-For", "192.0.2.1"}, "192.0.2.1"},
		{"through two proxies", "127.0.0.0/8", []string{"X-Forwarded-For", "192.0.2.1, 127.0.0.2"}, "192.0.2.1"},
		{"IPv6", "127.0.0.0/8", []string{"X-Forwarded-For", "2001:db8::1"}, "2001:db8::1"},
		{"with a port", "127.0.0.0/8", []string{"X-Forwarded-For", "192.0.2.1:4000"}, "192.0.2.1"},
		{"mapped", "127.0.0.0/8", []string{"X-Forwarded-For", "::ffff:192.0.2.1"}, "192.0.2.1"},
		{"rubbish", "127.0.0.0/8", []string{"X-Forwarded-For", "192.0.2.1, unknown"}, "127.0.0.1"},
		{"nothing", "127.0.0.0/8", nil, "127.0.0.1"},
		{"Forwarded", "127.0.0.0/8", []string{"Forwarded", `for="[2001:db8::1]:4711";proto=https, FOR=192.0.2.1`}, "192.0.2.1"},
		{"Forwarded of IPv6", "127.0.0.0/8", []string{"Forwarded", `by=x; for="[2001:db8::1]:4711"`}, "2001:db8::1"},
		{"both", "127.0.0.0/8", []string{"Forwarded", `for="[2001:db8::1]:4711"`, "X-Forwarded-For", "198.51.100.1, 2001:db8::1"}, "2001:db8::1"},
	} {
		s := open(t, doh.Options{Proxies: []netip.Prefix{netip.MustParsePrefix(tt.proxies)}}, server.Limits{}, nil)
		s.do(s.client(true), "GET", encode(question(1)), nil, tt.headers...)
		if p := <-s.peers; p.Remote.Addr() != netip.MustParseAddr(tt.want) {
			t.Errorf("%s: asked by %v, want %s", tt.name, p.Remote, tt.want)
		}
	}
}

// A proxy that adds to one header passes on what a client has written into the other: then nothing is
// answered, in whoever's name.
func TestProxiesDiffer(t *testing.T) {
	s := open(t, doh.Options{Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, server.Limits{}, nil)
	for _, headers := range [][]string{
		{"Forwarded", "for=10.0.0.1", "X-Forwarded-For", "192.0.2.1"},
		{"Forwarded", "for=unknown", "X-Forwarded-For", "192.0.2.1"},
		{"Forwarded", "for=192.0.2.1", "X-Forwarded-For", ""},
	} {
		if res, body := s.do(s.client(true), "GET", encode(question(1)), nil, headers...); res.StatusCode != 400 || !strings.Contains(string(body), "X-Forwarded-For") {
			t.Errorf("%q: %s, %q, want 400", headers, res.Status, body)
		}
	}
}

// Answers that come later, of which the client does not wait for some.
func TestLater(t *testing.T) {
	later := make(chan server.Responder, 100)
	s := open(t, doh.Options{}, server.Limits{}, func(q []byte, p *server.Peer, r []byte) int {
		to, err := p.Detach()
		if err != nil {
			t.Error(err)
			return 0
		}
		later <- to
		return server.Pending
	})
	c := s.client(true)
	want := make([]byte, 100)
	want = want[:answer(question(1), nil, want)]
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if res, got := s.do(c, "GET", encode(question(1)), nil); res.StatusCode != 200 || !bytes.Equal(got, want) {
				t.Errorf("%s", res.Status)
			}
		})
	}
	for range 20 {
		r := <-later
		if err := r.Reply(bytes.Clone(want)); err != nil {
			t.Error(err)
		}
		r.Close()
	}
	wg.Wait()

	ctx, cancel := context.WithCancel(context.Background())
	r, _ := http.NewRequestWithContext(ctx, "GET", "https://dns.test"+encode(question(1)), nil)
	done := make(chan error, 1)
	go func() {
		_, err := c.Do(r)
		done <- err
	}()
	to := <-later
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for end := time.Now().Add(patience); to.Reply(want) == nil && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if err := to.Reply(want); !errors.Is(err, server.ErrGone) {
		t.Errorf("a client that went away: %v", err)
	}
	to.Close()

	// Nothing comes of a question: the client hears of that.
	go func() { (<-later).Close() }()
	if res, _ := s.do(c, "GET", encode(question(1)), nil); res.StatusCode != 503 {
		t.Errorf("%s, want 503", res.Status)
	}
	if st := s.Stats(); st.Pending != 0 {
		t.Errorf("%d pending", st.Pending)
	}
}

// A connection may be idle for longer than a request may take, and has as many streams as it
// may and no more.
func TestIdleAndStreams(t *testing.T) {
	later := make(chan server.Responder, 100)
	s := open(t, doh.Options{Question: 50 * time.Millisecond, Streams: 3}, server.Limits{}, func(q []byte, p *server.Peer, r []byte) int {
		if q[len(q)-3] != 9 {
			return answer(q, p, r)
		}
		to, _ := p.Detach()
		later <- to
		return server.Pending
	})
	c := s.client(true)
	for range 2 {
		s.do(c, "GET", encode(question(1)), nil)
		time.Sleep(300 * time.Millisecond)
	}
	if st := s.Stats().Secure; st.Accepted != 1 {
		t.Errorf("%d connections, want one that lives", st.Accepted)
	}
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() { s.do(c, "GET", encode(question(9)), nil) })
	}
	var held []server.Responder
	for range 3 {
		held = append(held, <-later)
	}
	// The others go by connections of their own, since three are what one may have.
	for end := time.Now().Add(patience); s.Stats().Secure.Accepted < 2 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if st := s.Stats().Secure; st.Accepted < 2 {
		t.Errorf("%d connections", st.Accepted)
	}
	for range 2 {
		held = append(held, <-later)
	}
	for _, to := range held {
		_ = to.Reply(make([]byte, 100))
		to.Close()
	}
	wg.Wait()
}

// Whoever sends half a header, or half a body, is cut off; others do not notice.
func TestSlow(t *testing.T) {
	s := open(t, doh.Options{Question: 100 * time.Millisecond}, server.Limits{}, nil)
	for _, text := range []string{"", "GET /dns-query?dns=AA", "POST /dns-query HTTP/1.1\r\nHost: dns.test\r\nContent-Type: " + media + "\r\nContent-Length: 40\r\n\r\nabc"} {
		c, err := tls.Dial("tcp", s.addr(), s.peer.Client(certs.H1))
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(c, text)
		got, err := io.ReadAll(c)
		if err != nil || bytes.Contains(got, []byte("200 OK")) {
			t.Errorf("after %q: %q, %v", text, got, err)
		}
		c.Close()
		s.do(s.client(true), "GET", encode(question(1)), nil)
	}
}

// Connections are bounded before anything is read, for HTTP as for the rest.
func TestBounds(t *testing.T) {
	s := open(t, doh.Options{}, server.Limits{PerAddr: 2}, nil)
	for range 2 {
		c, err := net.Dial("tcp", s.addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	for end := time.Now().Add(patience); s.Stats().Secure.Open < 2 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if _, err := s.client(true).Get("https://dns.test" + encode(question(1))); err == nil {
		t.Error("a third connection is taken")
	}
	if st := s.Stats().Secure; st.Refused == 0 || st.Open != 2 {
		t.Errorf("counters %+v", st)
	}
}

// TestShutdown has what was asked answered before the server ends.
func TestShutdown(t *testing.T) {
	later := make(chan server.Responder, 1)
	s := open(t, doh.Options{}, server.Limits{}, func(_ []byte, p *server.Peer, _ []byte) int {
		to, _ := p.Detach()
		later <- to
		return server.Pending
	})
	got := make(chan error, 1)
	go func() {
		res, err := s.client(true).Get("https://dns.test" + encode(question(1)))
		if err == nil && res.StatusCode != 200 {
			err = fmt.Errorf("status %s", res.Status)
		}
		got <- err
	}()
	to := <-later
	down := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		down <- s.Shutdown(ctx)
	}()
	for !s.ended() {
		time.Sleep(time.Millisecond)
	}
	if err := to.Reply(question(1)); err != nil {
		t.Error(err)
	}
	to.Close()
	if err := <-got; err != nil {
		t.Error(err)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
}

// ended reports whether new connections are not taken any more.
func (s *site) ended() bool {
	c, err := net.DialTimeout("tcp", s.Addrs()[0].String(), patience)
	if err != nil {
		return true
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Millisecond))
	_, err = c.Read(make([]byte, 1))
	return errors.Is(err, io.EOF)
}
