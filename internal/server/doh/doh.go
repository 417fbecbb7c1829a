// Package doh serves DNS over HTTPS (RFC 8484) with HTTP/2 (RFC 9113), with HTTP/3 (RFC 9114), and with
// HTTP/1.1 for proxies and for whoever looks whether the server lives. HTTP/2 is spoken here and not by
// net/http, which has a goroutine and several writes for each question, and so are the requests of HTTP/3,
// of which quic-go has the rest.
//
// One path has questions: GET has them in the URL, POST in the body, HEAD is GET without the
// answer. An answer may be kept by its client for as long as the shortest-lived of its records. Nothing else
// is served, nothing is compressed, nobody is given a cookie. A question is bounded before it is
// read, and a client in the time and the streams that it may take; the server below bounds its
// connections.
package doh

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"port53/internal/certs"
	"port53/internal/server"
	"port53/internal/wire"
)

// mediaType is that of DNS messages (RFC 8484, section 6).
const mediaType = "application/dns-message"

// Bounds of requests.
const (
	maxHeader   = 8 << 10   // octets of a request's header, the URL included
	maxEncoded  = 4096      // octets of a question in a URL: longer ones have a body
	connBuffer  = 128 << 10 // octets of bodies that a connection may have sent before they are read
	maxAnswer   = 30 * time.Second
	headerTable = 4096 // octets of HPACK's table, as everybody has it
)

// Options say how DNS is served over HTTPS. A zero field but Path means a default.
type Options struct {
	Path    string         // of questions
	Proxies []netip.Prefix // whose word for the client's address is taken
	Streams int            // requests of one connection at the same time (100)

	Idle     time.Duration // until a connection without a request is closed (10 s)
	Question time.Duration // for a request to arrive (3 s), and twice as long for its body
	Stall    time.Duration // for the client to take an octet (5 s)

	Log *slog.Logger // nil: discard
}

// A Server is a [server.Service].
type Server struct {
	o      Options
	http   http.Server // HTTP/1.1
	http2  http2Conns
	altSvc atomic.Pointer[string] // where HTTP/3 is spoken as well; nil: nowhere
}

// New returns a service.
func New(o Options) *Server {
	def := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	def(&o.Idle, 10*time.Second)
	def(&o.Question, 3*time.Second)
	def(&o.Stall, 5*time.Second)
	if o.Streams == 0 {
		o.Streams = 100
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o}
	s.http = http.Server{
		Handler:           http.HandlerFunc(s.serve),
		ReadHeaderTimeout: o.Question, ReadTimeout: 2 * o.Question, WriteTimeout: maxAnswer + o.Stall, IdleTimeout: o.Idle,
		MaxHeaderBytes: maxHeader, DisableGeneralOptionsHandler: true,
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){
			certs.H2: func(_ *http.Server, c *tls.Conn, _ http.Handler) { s.http2.serve(s, c) },
		},
		ErrorLog: log.New(debugWriter{o.Log}, "", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, callerKey{}, &caller{client: server.ClientConnOf(c)})
		},
	}
	s.http.RegisterOnShutdown(s.http2.drain)
	return s
}

type callerKey struct{}

// A caller is whose connection a request comes on.
type caller struct{ client *server.ClientConn }

// debugWriter has what net/http complains of told to whoever wants to know: it is clients' doing.
type debugWriter struct{ log *slog.Logger }

func (w debugWriter) Write(b []byte) (int, error) {
	w.log.Debug("DNS over HTTPS", "error", strings.TrimSpace(string(b)))
	return len(b), nil
}

// Transport implements [server.Service].
func (s *Server) Transport() server.Transport { return server.DoH }

// Serve implements [server.Service].
func (s *Server) Serve(g *server.ServiceListener) error {
	if err := s.http.Serve(g); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Shutdown implements [server.Service].
func (s *Server) Shutdown(ctx context.Context) {
	if s.http.Shutdown(ctx) != nil {
		s.http2.close()
		_ = s.http.Close()
	}
}

// fail says why there is no answer.
func fail(w http.ResponseWriter, why refusal) {
	h := w.Header()
	if why.status == http.StatusMethodNotAllowed {
		h.Set("Allow", allowed)
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(why.status)
	_, _ = io.WriteString(w, why.text+"\n") // a client that went away needs no reason
}

// serve answers one request of HTTP/1.1.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	c, _ := r.Context().Value(callerKey{}).(*caller)
	if alt := s.altSvc.Load(); alt != nil {
		w.Header().Set("Alt-Svc", *alt)
	}
	if c == nil || c.client == nil {
		fail(w, refusal{http.StatusInternalServerError, "the connection is none of this server's"})
		return
	}
	query, why := s.question(&request{
		method: r.Method, path: r.URL.Path, query: r.URL.RawQuery, types: r.Header["Content-Type"],
		encoding: r.Header.Get("Content-Encoding"), length: r.ContentLength, body: r.Body,
	})
	if why.status != 0 {
		fail(w, why)
		return
	}
	client, why := s.asker(c.client.Remote(), r.Header)
	if why.status != 0 {
		fail(w, why)
		return
	}
	sent := false
	err := c.client.Ask(r.Context(), query, client, func(answer []byte) error {
		if sent {
			return server.ErrTooLong // a response has one message
		}
		sent = true
		h := w.Header()
		h.Set("Content-Type", mediaType)
		h.Set("Content-Length", strconv.Itoa(len(answer)))
		h.Set("Cache-Control", cacheControl(freshness(answer)))
		if r.Method == http.MethodHead {
			return nil
		}
		_, err := w.Write(answer)
		return err
	})
	if err != nil && !sent {
		fail(w, refused(err))
	}
}

// cacheControl returns that an answer may be kept for so long. Who asks decides what is answered, and whether: no
// cache that several have may keep it (RFC 8484, section 5.1).
func cacheControl(seconds uint32) string {
	return "max-age=" + strconv.FormatUint(uint64(seconds), 10) + ", private"
}

// fromURL reads a question from a URL's query (RFC 8484, section 4.1): base64url without
// padding, as the one value of dns.
func fromURL(raw string) ([]byte, refusal) {
	long := refusal{http.StatusRequestURITooLong, "the query is too long for a URL: use POST"}
	if len(raw) > 2*maxEncoded {
		return nil, long
	}
	values, err := url.ParseQuery(raw)
	list := values["dns"]
	switch {
	case err != nil:
		return nil, refusal{http.StatusBadRequest, "the URL cannot be read"}
	case len(list) != 1:
		return nil, refusal{http.StatusBadRequest, "a question is the one value of dns="}
	case len(list[0]) > maxEncoded:
		return nil, long
	}
	query, err := base64.RawURLEncoding.Strict().DecodeString(list[0])
	if err != nil || strings.ContainsAny(list[0], "\r\n") {
		return nil, refusal{http.StatusBadRequest, "dns= is not base64url without padding"}
	}
	return query, refusal{}
}

// client returns who asks: whoever has connected, or whom a proxy of ours names. A proxy adds to one of
// two headers, and may pass on what the client wrote into the other: nobody is believed if they differ.
func (s *Server) client(from netip.AddrPort, h http.Header) (at netip.AddrPort, ok bool) {
	if !s.proxy(from.Addr()) {
		return from, true
	}
	standard, usual := forwarded(h), forwardedFor(h)
	switch {
	case standard == nil:
		return s.behind(from, usual), true
	case usual == nil:
		return s.behind(from, standard), true
	}
	at = s.behind(from, standard)
	return at, at == s.behind(from, usual)
}

// behind returns who has asked a proxy of ours, by the addresses that proxies have added.
func (s *Server) behind(from netip.AddrPort, chain []string) netip.AddrPort {
	for _, text := range slices.Backward(chain) {
		a, ok := address(text)
		if !ok {
			break // what stands before is anybody's word
		}
		from = netip.AddrPortFrom(a, from.Port())
		if !s.proxy(a) {
			break
		}
	}
	return from
}

func (s *Server) proxy(a netip.Addr) bool {
	return slices.ContainsFunc(s.o.Proxies, func(n netip.Prefix) bool { return n.Contains(a) })
}

// forwarded returns the addresses that proxies have added to Forwarded (RFC 7239), the last being the
// nearest; nil: it is not there.
func forwarded(h http.Header) (chain []string) {
	for _, line := range h["Forwarded"] {
		for element := range strings.SplitSeq(line, ",") {
			node := ""
			for pair := range strings.SplitSeq(element, ";") {
				key, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
				if strings.EqualFold(key, "for") {
					node = strings.Trim(value, `"`)
				}
			}
			chain = append(chain, node)
		}
	}
	return chain
}

// forwardedFor returns those of X-Forwarded-For.
func forwardedFor(h http.Header) (chain []string) {
	for _, line := range h["X-Forwarded-For"] {
		for text := range strings.SplitSeq(line, ",") {
			chain = append(chain, strings.TrimSpace(text))
		}
	}
	return chain
}

// address reads an address, with or without a port.
func address(text string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	if err != nil {
		at, err := netip.ParseAddrPort(text)
		if err != nil {
			return a, false
		}
		a = at.Addr()
	}
	return a.Unmap().WithZone(""), true
}

// freshness returns for how many seconds an answer may be kept (RFC 8484, section 5.1): the
// smallest TTL of the answer section, or without an answer what the SOA record says.
func freshness(msg []byte) uint32 {
	if len(msg) < wire.HeaderLen {
		return 0
	}
	pos := wire.HeaderLen
	for range int(binary.BigEndian.Uint16(msg[4:])) {
		if pos = skipName(msg, pos); pos < 0 || pos+4 > len(msg) {
			return 0
		}
		pos += 4
	}
	answers := int(binary.BigEndian.Uint16(msg[6:]))
	least, found := uint32(1<<31-1), false
	for i := range answers + int(binary.BigEndian.Uint16(msg[8:])) {
		if pos = skipName(msg, pos); pos < 0 || pos+10 > len(msg) {
			return 0
		}
		typ, ttl, length := wire.Type(
			binary.BigEndian.Uint16(msg[pos:]),
		), binary.BigEndian.Uint32(
			msg[pos+4:],
		), int(
			binary.BigEndian.Uint16(msg[pos+8:]),
		)
		pos += 10 + length
		switch {
		case pos > len(msg):
			return 0
		case i < answers:
			least, found = min(least, ttl), true
		case answers == 0 && typ == wire.TypeSOA && length >= 4:
			least, found = min(least, ttl, binary.BigEndian.Uint32(msg[pos-4:])), true
		}
	}
	if !found {
		return 0
	}
	return least
}

// skipName returns where a name ends, or -1.
func skipName(msg []byte, pos int) int {
	for pos < len(msg) {
		switch l := int(msg[pos]); {
		case l == 0:
			return pos + 1
		case l >= 0xC0:
			return pos + 2
		case l > wire.MaxLabel:
			return -1
		default:
			pos += 1 + l
		}
	}
	return -1
}
