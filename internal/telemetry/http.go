package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Bounds of the metrics listener: scrapers are few and quick.
const (
	httpTimeout   = 10 * time.Second // for a request, and for taking the reply: as long as a scraper waits by default
	httpHeader    = 8 << 10          // octets of a request's header
	httpBody      = 1                // octets of a request's body, which nobody has a reason to send
	httpConns     = 32               // connections at a time; for one more, the one that has waited longest for a request goes
	httpIdleConns = 2 * time.Minute  // so that a scraper that comes each minute can keep its connection
)

var errStarting = errors.New("the server is starting")

// Ready has /ready ask f why the server should not be asked yet or any more; nil: it should.
func (t *Telemetry) Ready(f func() error) { t.ready.Store(&f) }

// Handler serves /metrics, /health (/healthz as well), which says that the process lives, and
// /ready, which says that it answers questions.
func (t *Telemetry) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(t.Append(nil)) // a scraper that went away needs no answer
	})
	alive := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) }
	mux.HandleFunc("GET /healthz", alive)
	mux.HandleFunc("GET /health", alive)
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, r *http.Request) {
		err := errStarting
		if f := t.ready.Load(); f != nil {
			err = (*f)()
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		alive(w, r)
	})
	return mux
}

// ServeHTTP serves Handler on l until ctx ends. What goes wrong with a connection goes to log.
//
// On a loopback address it answers those who ask for an address or for localhost: a page in
// a browser of this machine that has its own name lead here (DNS rebinding) gets nothing.
func (t *Telemetry) ServeHTTP(ctx context.Context, l net.Listener, log *slog.Logger) error {
	b := &bounded{Listener: l, idle: map[*boundedConn]time.Time{}}
	s := &http.Server{
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		Handler:           b.working(http.MaxBytesHandler(named(l.Addr(), t.Handler()), httpBody)),
		ConnContext:       b.context,
		ReadHeaderTimeout: httpTimeout, ReadTimeout: httpTimeout, WriteTimeout: httpTimeout,
		IdleTimeout: httpIdleConns, MaxHeaderBytes: httpHeader,
	}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(b); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// named refuses requests for the name of another host, if only this machine is served.
func named(at net.Addr, next http.Handler) http.Handler {
	if a, ok := at.(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		return next // whoever reaches it may have any name for it
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
		if _, err := netip.ParseAddr(host); err != nil && host != "" && !strings.EqualFold(host, "localhost") {
			http.Error(w, "ask for an address, or for localhost", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// bounded has at most so many connections at a time. For a new one it closes the one that
// has waited longest for its client to ask; if all are being answered, the new one.
type bounded struct {
	net.Listener

	mu   sync.Mutex
	all  int
	idle map[*boundedConn]time.Time // those that are not being answered, and since when
}

func (b *bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if conn := b.admit(c); conn != nil {
			return conn, nil
		}
		c.Close()
	}
}

// admit makes room for c; nil: there is none.
func (b *bounded) admit(c net.Conn) *boundedConn {
	b.mu.Lock()
	var oldest *boundedConn
	if b.all >= httpConns {
		for d, since := range b.idle {
			if oldest == nil || since.Before(b.idle[oldest]) {
				oldest = d
			}
		}
		if oldest == nil {
			b.mu.Unlock()
			return nil
		}
		b.forget(oldest)
	}
	conn := &boundedConn{Conn: c, of: b}
	b.all++
	b.idle[conn] = time.Now()
	b.mu.Unlock()
	if oldest != nil {
		oldest.Close()
	}
	return conn
}

// forget gives the room of a connection to another, once. The lock is held.
func (b *bounded) forget(c *boundedConn) {
	if !c.gone {
		c.gone = true
		b.all--
		delete(b.idle, c)
	}
}

type connKey struct{}

// context lets a request find its connection.
func (b *bounded) context(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// working keeps the connection of a request that is being answered.
func (b *bounded) working(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connKey{}).(*boundedConn); ok {
			b.set(c, false)
			defer b.set(c, true)
		}
		next.ServeHTTP(w, r)
	})
}

func (b *bounded) set(c *boundedConn, idle bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case c.gone:
	case idle:
		b.idle[c] = time.Now()
	default:
		delete(b.idle, c)
	}
}

type boundedConn struct {
	net.Conn
	of   *bounded
	gone bool // its room is another's; of.mu guards it
}

func (c *boundedConn) Close() error {
	c.of.mu.Lock()
	c.of.forget(c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}
