package telemetry_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
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
		{"metrics", "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK"},
		{"head", "HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK"},
		{"health", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK"},
		{"post", "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 405 Method Not Allowed"},
		{"root", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 Not Found"},
		{"header of 64 KiB", "GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", "HTTP/1.1 431 Request Header Fields Too Large"},
		{"not HTTP", "\x00\x1d\x00\x00\x01\x00\x00\x01\r\n\r\n", "HTTP/1.1 400 Bad Request"},
	} {
		if got := request(t, addr, test.raw); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

// Whoever holds all connections keeps others out only until one ends, and ends
// itself are counted once, also when the server stops under them.
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
		if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	const get = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	if got := request(t, addr, get); got != "" {
		t.Errorf("connection %d: got %q, want none", most+1, got)
	}
	held[0].Close()
	deadline := time.Now().Add(time.Minute)
	for request(t, addr, get) == "" {
		if time.Now().After(deadline) {
			t.Fatal("no connection after one ended")
		}
		time.Sleep(time.Millisecond) // until the server has seen it
	}
	stop()
	for _, c := range held {
		c.Close()
	}
}
