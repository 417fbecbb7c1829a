package exchange

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"port53/internal/quic"
	"port53/internal/wire"
)

// A Transport is how servers are asked that are asked over TLS, over QUIC, or over HTTPS.
type Transport struct {
	TLS  *tls.Config // which judges the server
	URL  string      // of questions over HTTPS (RFC 8484), whose host is not looked up; "": over TLS (RFC 7858)
	QUIC bool        // over QUIC (RFC 9250), or over HTTP/3
	Get  bool        // questions over HTTPS are in the URL; else in the body
}

// String returns the transport's name.
func (s *Transport) String() string {
	switch {
	case s.URL != "" && s.QUIC:
		return "HTTPS (HTTP/3)"
	case s.URL != "":
		return "HTTPS"
	case s.QUIC:
		return "QUIC"
	}
	return "TLS"
}

// maxHTTPHeader bounds the header of a response.
const maxHTTPHeader = 64 << 10

// overHTTPS sends a query in a request, on a connection of its own.
func (rt *Route) overHTTPS(
	ctx context.Context,
	server netip.AddrPort,
	query []byte,
	deadline time.Time,
) (msg []byte, came Counts, err error) {
	within, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	way, end, err := rt.http(within, server)
	if err != nil {
		return nil, came, err
	}
	defer end()
	r, err := rt.Transport.request(within, query)
	if err != nil {
		return nil, came, err
	}
	res, err := way.RoundTrip(r)
	if err != nil {
		return nil, came, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, came, fmt.Errorf("the server answers HTTP status %d", res.StatusCode)
	}
	if media := res.Header.Get("Content-Type"); media != mediaType {
		return nil, came, fmt.Errorf("the server answers with the type %.60q, not %s", media, mediaType)
	}
	msg, err = io.ReadAll(io.LimitReader(res.Body, wire.MaxMessage+1))
	switch {
	case err != nil:
		return nil, came, err
	case len(msg) > wire.MaxMessage:
		return nil, came, ErrTooLarge
	case Match(query, msg) < NoQuestion:
		return nil, came, fmt.Errorf("the server answers another question")
	}
	came.Octets = int64(len(msg))
	return msg, came, nil
}

// http connects to a server, and returns what sends one request, and ends the connection.
func (rt *Route) http(ctx context.Context, server netip.AddrPort) (way http.RoundTripper, end func(), err error) {
	if rt.Transport.QUIC {
		c, err := rt.dialQUIC(ctx, server)
		if err != nil {
			return nil, nil, err
		}
		return c, func() { _ = c.Close() }, nil
	}
	c, err := rt.dialer().Open(ctx, "tcp", server)
	if err != nil {
		return nil, nil, err
	}
	t := tls.Client(c, rt.Transport.TLS)
	if err := t.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, nil, err
	}
	tr := &http.Transport{
		DialTLSContext:    func(context.Context, string, string) (net.Conn, error) { return t, nil },
		ForceAttemptHTTP2: true, DisableCompression: true, MaxResponseHeaderBytes: maxHTTPHeader,
	}
	return tr, func() { tr.CloseIdleConnections(); c.Close() }, nil
}

func (rt *Route) dialQUIC(ctx context.Context, server netip.AddrPort) (*quic.Conn, error) {
	c, err := rt.dialer().Open(ctx, "udp", server)
	if err != nil {
		return nil, err
	}
	return quic.Dial(ctx, c, rt.Transport.TLS)
}

// overQUIC sends a query on the one stream of a connection of its own (RFC 9250).
func (rt *Route) overQUIC(
	ctx context.Context,
	server netip.AddrPort,
	query []byte,
	deadline time.Time,
) (msg []byte, came Counts, err error) {
	within, cancel := context.WithDeadlineCause(ctx, deadline, os.ErrDeadlineExceeded)
	defer cancel()
	c, err := rt.dialQUIC(within, server)
	if err != nil {
		return nil, came, err
	}
	defer c.Close()
	err = c.Ask(within, query, 1, func(m []byte) error {
		if msg = m; Match(query, m) < NoQuestion {
			return errors.New("the server answers another question")
		}
		return nil
	})
	came.Octets = int64(len(msg))
	return msg, came, err
}

// mediaType is that of DNS messages (RFC 8484, section 6).
const mediaType = "application/dns-message"

func (s *Transport) request(ctx context.Context, query []byte) (*http.Request, error) {
	method, url, body := http.MethodPost, s.URL, io.Reader(bytes.NewReader(query))
	if s.Get {
		method, url, body = http.MethodGet, s.URL+"?dns="+base64.RawURLEncoding.EncodeToString(query), nil
	}
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", mediaType)
	r.Header["User-Agent"] = nil
	if !s.Get {
		r.Header.Set("Content-Type", mediaType)
	}
	return r, nil
}
