package upstream

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"port53/internal/certs"
	"port53/internal/event"
	"port53/internal/exchange"
	"port53/internal/quic"
	"port53/internal/wire"
)

// A Transport is how a server is asked that is not asked in the clear: over TLS, over QUIC, or over HTTPS
// where there is a path. Whatever goes wrong with it, nothing is sent by another transport. It is not modified.
type Transport struct {
	path   string // of questions over HTTPS; "": over TLS
	quic   bool
	host   string
	tls    *tls.Config
	digest [sha256.Size]byte // of all that tells it from others
}

// NewTransport returns the transport to a server that a peer is, over TLS, or over HTTPS at a path of host. what
// tells transports apart whose peers have the same name: connections are kept over reloads by it.
func NewTransport(peer *certs.Peer, host, path, what string) *Transport {
	protocol := certs.DoT
	if path != "" {
		protocol = certs.H2
	}
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q %q %v", peer.Name, host, path, what, peer.Pins)
	return &Transport{path: path, host: host, tls: peer.Client(protocol), digest: [sha256.Size]byte(h.Sum(nil))}
}

// NewQUICTransport returns the transport to a server that a peer is over QUIC (RFC 9250). what is as for NewTransport.
func NewQUICTransport(peer *certs.Peer, what string) *Transport {
	h := sha256.New()
	fmt.Fprintf(h, "quic %q %q %v", peer.Name, what, peer.Pins)
	return &Transport{quic: true, tls: peer.Client(certs.DoQ), digest: [sha256.Size]byte(h.Sum(nil))}
}

// transport returns it as records have it.
func (w *Transport) transport() uint8 {
	switch {
	case w.quic:
		return event.DoQ
	case w.path != "":
		return event.DoH
	}
	return event.DoT
}

// Same reports whether two transports are the same.
func (w *Transport) Same(other *Transport) bool { return w.digest == other.digest }

// String returns the name of the transport.
func (w *Transport) String() string {
	switch {
	case w.quic:
		return "quic"
	case w.path != "":
		return "https"
	}
	return "tls"
}

// queryPadding is what queries over encrypted transports are padded to multiples of (RFC 8467,
// section 4.1).
const queryPadding = 128

// appendPadding appends the option that pads a query, whose length will be n without it.
func appendPadding(options []byte, n int) []byte {
	fill := (queryPadding - (n+4)%queryPadding) % queryPadding
	options = append(options, 0, wire.OptionPadding, 0, byte(fill))
	return append(options, make([]byte, fill)...)
}

// A pipe is a connection on which many questions wait: an [exchange.Pipeline], HTTP, or QUIC.
type pipe interface {
	Ask(ctx context.Context, query []byte) (msg []byte, overtaken bool, err error)
	Run() error
	End(err error) (overtaken bool)
}

// begin returns the pipe on a connection to a server, and the connection as it is to be used.
func (cs *conns) begin(ctx context.Context, nc net.Conn, w *Transport) (net.Conn, pipe, error) {
	if w == nil {
		return nc, exchange.NewPipeline(nc, cs.newID), nil
	}
	if w.quic {
		return beginQUIC(ctx, nc, w)
	}
	tc := tls.Client(nc, w.tls)
	if err := tc.HandshakeContext(ctx); err != nil {
		return nc, nil, err
	}
	if w.path == "" {
		return tc, exchange.NewPipeline(tc, cs.newID), nil
	}
	if tc.ConnectionState().NegotiatedProtocol != certs.H2 {
		return nc, nil, errNoHTTP
	}
	p, err := newHTTPPipe(ctx, tc, w)
	return tc, p, err
}

// errNoDatagrams is why nothing is asked over QUIC on a network that does not carry it.
var errNoDatagrams = errors.New("upstream: QUIC is not available on this network")

// connect opens what a transport goes over.
func (cs *conns) connect(ctx context.Context, to netip.AddrPort, w *Transport) (net.Conn, error) {
	if w == nil || !w.quic {
		return cs.client.o.Network.DialTCP(ctx, to)
	}
	n, ok := cs.client.o.Network.(Packets)
	if !ok {
		return nil, errNoDatagrams
	}
	return n.DialUDP(ctx, to)
}

func beginQUIC(ctx context.Context, nc net.Conn, w *Transport) (net.Conn, pipe, error) {
	c, err := quic.Dial(ctx, nc, w.tls)
	if err != nil {
		return nc, nil, err
	}
	p := &quicPipe{Conn: nc, quic: c}
	p.idle = time.AfterFunc(tcpTimeout+tcpIdle, func() { _ = c.Close() })
	return p, p, nil
}

// A quicPipe is a connection of QUIC: each question is a stream (RFC 9250).
type quicPipe struct {
	net.Conn // the socket
	quic     *quic.Conn
	idle     *time.Timer
}

// Close implements net.Conn, and does not wait.
func (p *quicPipe) Close() error {
	p.idle.Stop()
	go p.quic.Close()
	return nil
}

// SetReadDeadline implements net.Conn: until then the connection is kept.
func (p *quicPipe) SetReadDeadline(at time.Time) error {
	p.idle.Reset(time.Until(at))
	return nil
}

// Ask implements pipe.
func (p *quicPipe) Ask(ctx context.Context, query []byte) (msg []byte, overtaken bool, err error) {
	err = p.quic.Ask(ctx, query, 1, func(m []byte) error {
		msg = m
		return nil
	})
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", errEnded, err)
	}
	return msg, false, err
}

// Run implements pipe.
func (p *quicPipe) Run() error {
	<-p.quic.Done()
	return fmt.Errorf("%w: %w", errEnded, p.quic.Err())
}

// End implements pipe: who waits hears of it from the connection.
func (p *quicPipe) End(error) bool { return false }

// errNoHTTP is why nothing is asked of a server that does not speak HTTP/2.
var errNoHTTP = errors.New("upstream: the server does not speak HTTP/2")

// An httpPipe is a connection of HTTP/2: each question is a request (RFC 8484).
type httpPipe struct {
	conn *http.ClientConn
	url  string
	once sync.Once
	over chan struct{} // closed when the connection has ended

	mu  sync.Mutex
	err error
}

// maxHTTPHeader bounds the header of a response.
const maxHTTPHeader = 16 << 10

func newHTTPPipe(ctx context.Context, nc net.Conn, w *Transport) (*httpPipe, error) {
	host := w.host
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
		host = "[" + host + "]"
	}
	p := &httpPipe{url: "https://" + host + w.path, over: make(chan struct{})}
	tr := &http.Transport{
		DialTLSContext:    func(context.Context, string, string) (net.Conn, error) { return nc, nil },
		ForceAttemptHTTP2: true, DisableCompression: true, MaxResponseHeaderBytes: maxHTTPHeader, Protocols: new(http.Protocols),
	}
	tr.Protocols.SetHTTP2(true)
	var err error
	if p.conn, err = tr.NewClientConn(ctx, "https", host+":443"); err != nil {
		return nil, err
	}
	p.conn.SetStateHook(func(c *http.ClientConn) {
		if c.Err() != nil {
			p.once.Do(func() { close(p.over) })
		}
	})
	return p, nil
}

// Ask implements pipe. The message ID is 0 on the wire (RFC 8484, section 4.1).
func (p *httpPipe) Ask(ctx context.Context, query []byte) ([]byte, bool, error) {
	p.mu.Lock()
	err := p.err
	p.mu.Unlock()
	if err != nil {
		return nil, false, err
	}
	body := bytes.Clone(query)
	body[0], body[1] = 0, 0
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return nil, false, err
	}
	r.Header.Set("Content-Type", "application/dns-message")
	r.Header.Set("Accept", "application/dns-message")
	r.Header["User-Agent"] = nil
	res, err := p.conn.RoundTrip(r)
	if err != nil {
		if ctx.Err() != nil {
			return nil, false, context.Cause(ctx)
		}
		return nil, false, fmt.Errorf("%w: %w", errEnded, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "application/dns-message" {
		return nil, false, fmt.Errorf("upstream: HTTP status %d, type %.40q", res.StatusCode, res.Header.Get("Content-Type"))
	}
	msg, err := io.ReadAll(io.LimitReader(res.Body, wire.MaxMessage+1))
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, false, context.Cause(ctx)
	case err != nil:
		return nil, false, fmt.Errorf("%w: %w", errEnded, err)
	case len(msg) < wire.HeaderLen:
		return nil, false, exchange.ErrShort
	case len(msg) > wire.MaxMessage:
		return nil, false, exchange.ErrTooLarge
	}
	if binary.BigEndian.Uint16(msg) == 0 {
		copy(msg, query[:2])
	}
	return msg, false, nil
}

// Run implements pipe.
func (p *httpPipe) Run() error {
	<-p.over
	if err := p.conn.Err(); err != nil {
		return fmt.Errorf("%w: %w", errEnded, err)
	}
	return errEnded
}

// End implements pipe.
func (p *httpPipe) End(err error) bool {
	p.mu.Lock()
	p.err = err
	p.mu.Unlock()
	_ = p.conn.Close()
	return false
}
