package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Bounds of the metrics listener: scrapers are few and quick.
const (
	httpTimeout   = 10 * time.Second // for a request, and for taking the reply: as long as a scraper waits by default
	httpHeader    = 8 << 10          // octets of a request's header
	httpBody      = 1                // octets of a request's body, which nobody has a reason to send
	httpConns     = 32               // connections at a time; more are closed at once
	httpIdleConns = 2 * time.Minute  // so that a scraper that comes each minute can keep its connection
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

// ServeHTTP serves Handler on l until ctx ends. What goes wrong with a connection goes to log.
func (t *Telemetry) ServeHTTP(ctx context.Context, l net.Listener, log *slog.Logger) error {
	s := &http.Server{
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		Handler:           http.MaxBytesHandler(t.Handler(), httpBody),
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
	slots chan struct{}
	once  sync.Once // package http may close from two goroutines when it is shut down
}

func (c *boundedConn) Close() error {
	c.once.Do(func() { <-c.slots })
	return c.Conn.Close()
}
