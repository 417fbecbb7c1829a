package telemetry_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"port53/internal/telemetry"
)

// serve serves an empty telemetry until the test ends.
func serve(t *testing.T) (addr string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- telemetry.New().ServeHTTP(ctx, l, slog.New(slog.DiscardHandler)) }()
	stop = func() {
		cancel()
		select {
		case err, ok := <-done:
			if ok && err != nil {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Error("still serving after its context ended")
		}
	}
	return l.Addr().String(), stop
}

// request sends raw octets over a connection of its own and returns the status line
// of the reply, or nothing if there is none.
func request(t *testing.T, addr, raw string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, raw); err != nil {
		return ""
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return ""
	}
	return strings.TrimSpace(line)
}

func TestHTTPRequests(t *testing.T) {
	addr, stop := serve(t)
	defer stop()
	for _, test := range []struct{ name, raw, want string }{
		{"metrics", "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "HTTP/1.1 200 OK"},
		{"head", "HEAD /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "HTTP/1.1 200 OK"},
		{"health", "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "HTTP/1.1 200 OK"},
		{"health by its other name", "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "HTTP/1.1 200 OK"},
		{"ready, which nobody has said", "GET /ready HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "HTTP/1.1 503 Service Unavailable"},
		{"by an IPv6 address", "GET /healthz HTTP/1.1\r\nHost: [::1]:9153\r\n\r\n", "HTTP/1.1 200 OK"},
		{"by localhost", "GET /healthz HTTP/1.1\r\nHost: localhost:9153\r\n\r\n", "HTTP/1.1 200 OK"},
		{"by no name", "GET /healthz HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK"},
		{"by a name that leads here", "GET /metrics HTTP/1.1\r\nHost: rebound.example:9153\r\n\r\n", "HTTP/1.1 403 Forbidden"},
		{"by a name like an address", "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1.example\r\n\r\n", "HTTP/1.1 403 Forbidden"},
		{"by a name like localhost", "GET /healthz HTTP/1.1\r\nHost: localhost.example\r\n\r\n", "HTTP/1.1 403 Forbidden"},
		{"post", "POST /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 405 Method Not Allowed"},
		{"root", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "HTTP/1.1 404 Not Found"},
		{"header of 64 KiB", "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", "HTTP/1.1 431 Request Header Fields Too Large"},
		{"not HTTP", "\x00\x1d\x00\x00\x01\x00\x00\x01\r\n\r\n", "HTTP/1.1 400 Bad Request"},
	} {
		if got := request(t, addr, test.raw); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

// Whoever holds all connections, with requests behind it or without ever having asked, keeps
// nobody out, and loses one that asks for nothing. Ends are counted once, also when the
// server stops under them.
func TestHTTPConnections(t *testing.T) {
	addr, stop := serve(t)
	const most = 32
	var held []net.Conn
	for range most {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
		if i := len(held); i%3 == 0 && i > 1 && i < most {
			continue // it asks for nothing
		}
		if i := len(held); i%3 == 1 && i > 1 && i < most {
			_, _ = io.WriteString(c, "GET /heal")
			continue
		}
		if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	const get = "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
	for range 3 {
		if got := request(t, addr, get); got != "HTTP/1.1 200 OK" {
			t.Errorf("connection %d: got %q", most+1, got)
		}
	}
	// The one that had been silent longest made room, and the others are there.
	_ = held[0].SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := held[0].Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the oldest connection: %v", err)
	}
	last := held[most-1]
	_ = last.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(last, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Error(err)
	}
	if resp, err := http.ReadResponse(bufio.NewReader(last), nil); err != nil {
		t.Errorf("the newest connection: %v", err)
	} else {
		resp.Body.Close()
	}
	stop()
	for _, c := range held {
		c.Close()
	}
}

// TestHTTPLines has package http say something of its own: it is a line in the form of the log.
func TestHTTPLines(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tel := telemetry.New()
	tel.Collect(func(*telemetry.Writer) { panic("a\nfault") })
	lines := &reader{} // the connection's goroutine writes to it
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tel.ServeHTTP(ctx, l, slog.New(slog.NewJSONHandler(lines, nil))) }()
	if got := request(t, l.Addr().String(), "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"); got != "" {
		t.Errorf("got %q", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	lines.mu.Lock()
	text := strings.TrimSuffix(lines.text.String(), "\n")
	lines.mu.Unlock()
	if text == "" {
		t.Fatal("nothing was said")
	}
	for line := range strings.SplitSeq(text, "\n") {
		var parsed struct{ Level, Msg string }
		if err := json.Unmarshal([]byte(line), &parsed); err != nil || parsed.Level != "WARN" || !strings.Contains(parsed.Msg, "fault") {
			t.Errorf("%v: %s", err, line)
		}
	}
}
