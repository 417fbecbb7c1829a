package telemetry

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// Bounds of the metrics listener: scrapers are few and quick.
const (
	httpTimeout   = 10 * time.Second
	httpHeader    = 8 << 10
	httpConns     = 32
	httpIdleConns = 2 * time.Minute
)

// Handler serves /metrics and /healthz.
func (t *Telemetry) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(t.Append(nil)) // a scraper that went away needs no answer
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n"))
	})
	return mux
}

// ServeHTTP serves Handler on l until ctx ends.
func (t *Telemetry) ServeHTTP(ctx context.Context, l net.Listener) error {
	s := &http.Server{
		Handler:           http.MaxBytesHandler(t.Handler(), 1),
		ReadHeaderTimeout: httpTimeout, ReadTimeout: httpTimeout, WriteTimeout: httpTimeout,
		IdleTimeout: httpIdleConns, MaxHeaderBytes: httpHeader,
	}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(&bounded{Listener: l, slots: make(chan struct{}, httpConns)}); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// bounded has at most so many connections at a time.
type bounded struct {
	net.Listener
	slots chan struct{}
}

func (b *bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case b.slots <- struct{}{}:
			return &boundedConn{Conn: c, slots: b.slots}, nil
		default:
			c.Close()
		}
	}
}

type boundedConn struct {
	net.Conn
	slots  chan struct{}
	closed bool
}

// Close is called once or more by package http, from one goroutine at a time.
func (c *boundedConn) Close() error {
	if !c.closed {
		c.closed = true
		<-c.slots
	}
	return c.Conn.Close()
}
