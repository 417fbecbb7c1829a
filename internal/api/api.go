// Package api is the HTTP API: that of PowerDNS at /api/v1 (pdns*.go), for the tools that speak it, and
// one of its own at /v1 (v1*.go).
//
// Both stand on the zone manager, which is the only writer of zones: a request that changes a zone is a
// [zones.Plan], and so one version and one write, with what others want at the same time. What belongs to
// a zone and is not served — comments, records that are switched off, its kind and its metadata — are
// notes of its version (notes.go).
//
// Who asks shows a token, or over TLS a client certificate instead; what its holder may do is asked of
// package grant for each zone, name and type. Browsers show a certificate by themselves, whichever page
// has them ask: what pages of other sites ask for is refused then. A zone of which nothing may be read is
// not there. What the manager does not know, such as making zones and keys, a [Host] does.
package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"port53/internal/event"
	"port53/internal/grant"
	"port53/internal/top"
	"port53/internal/why"
	"port53/internal/wire"
	"port53/internal/zones"
)

// Bounds of the listener.
const (
	maxConns    = 256              // at a time
	maxHeader   = 16 << 10         // octets, the path too
	maxBody     = 2 << 20          // octets of a request, as PowerDNS has it
	maxDepth    = 32               // of arrays and objects in one
	headTime    = 10 * time.Second // for the head of a request
	readTime    = time.Minute      // for all of it
	idleTime    = 2 * time.Minute  // between two
	stallTime   = 30 * time.Second // for a client to take an octet
	maxSegments = 16               // of a path
)

// A Host is the server, as far as the API changes more than a zone's content. What it changes lasts when
// it returns. By says for people who wants it. A zone is named by its key in the zone manager.
type Host interface {
	Operator

	// Holder returns whose a token is; nil: nobody's.
	Holder(token string) *grant.Holder
	// CertificateHolder returns whose a client certificate is now, which was shown over TLS with what
	// leads to an authority behind it; nil: nobody's.
	CertificateHolder(chain []*x509.Certificate) *grant.Holder

	// MakeZone adds a zone, which is not there yet, or returns an error that wraps ErrExists.
	MakeZone(by string, z *ZoneSpec) error
	// ChangeZone changes where a zone that was so made comes from, and whether it is signed.
	ChangeZone(by string, z *ZoneSpec) error
	// DropZone takes a zone that was so made away, and all that is kept of it.
	DropZone(by string, zone []byte) error

	// TSIGKeys returns the keys of transfers and updates. Those that have no Place can be changed.
	TSIGKeys() []TSIGKey
	// SetTSIGKey makes a key, or changes the one called old. Without a secret it has the one before,
	// or a random one.
	SetTSIGKey(by, old string, k TSIGKey) (TSIGKey, error)
	DropTSIGKey(by, name string) error

	// Keys returns the DNSSEC keys of a zone that is signed here.
	Keys(zone []byte) ([]Key, error)
	// MakeKey makes one; ChangeKey has it sign and be published, or not; DropKey removes it.
	MakeKey(by string, zone []byte, k Key) (Key, error)
	ChangeKey(by string, zone []byte, k Key) error
	DropKey(by string, zone []byte, id int) error

	// Server tells of the server as a whole.
	Server() ServerStatus
	// Settings are the configuration in effect.
	Settings() []Setting
	// Statistics are all counters, by the names that the metrics have.
	Statistics() []Statistic
	// Top tells who asks most, and for what: recently, or in all, with so many rows of each kind at most.
	Top(recent bool, limit int) (*top.Report, error)
	// Tunnels returns who is taken to move data through DNS.
	Tunnels() top.TunnelReport
	// Follow gives queries that fit, as they are answered, until stop is called. lost returns how many
	// did not fit into the channel. The error may be ErrFollowed.
	Follow(f event.Filter) (queries <-chan Query, lost func() uint64, stop func(), err error)
	// Why returns what is remembered of how queries came to their answers, the newest first.
	Why(q why.Question) ([]why.Report, error)
	// Flush forgets a name in the cache, if there is one, and returns how many times that was.
	Flush(name []byte) int
}

// Errors of a [Host].
var (
	ErrExists    = errors.New("it exists already")
	ErrNotFound  = errors.New("it is not there")
	ErrAlgorithm = errors.New("the algorithm is not supported") // of a TSIG key
	ErrBound     = errors.New("the configuration has it, and it is changed there")
)

// A ZoneSpec is a zone that is to be made, or changed.
type ZoneSpec struct {
	Apex      []byte // in wire form
	Qualifier string // what tells it from others of its name; empty: nothing has to
	Primaries []netip.AddrPort
	TSIG      string // the key that transfers from the primaries are signed with; empty: none
	Keyed     bool   // TSIG is to be so; of a zone that is changed it stays as it was otherwise
	Signed    bool   // it is signed here
	First     *zones.First
}

// A TSIGKey is a key of transfers and updates.
type TSIGKey struct {
	Name      string // without a last dot
	Algorithm string
	Secret    string // in base64
	Place     string // where the configuration has it; empty: it was granted
}

// A Key is a DNSSEC key.
type Key struct {
	ID        int // its place among the keys of the zone, from 1
	Type      string
	Algorithm string // as RFC 8624 has it, in capitals
	Bits      int
	Flags     int
	Active    bool
	Published bool
	DNSKEY    string
	DS        []string
	Private   string // as key files have it; told when it is made, and when a single key is asked for
}

// A ServerStatus is what is known of the server.
type ServerStatus struct {
	Version  string           `json:"version"`
	Uptime   float64          `json:"uptime_seconds"`
	Started  time.Time        `json:"started"`
	Listen   []netip.AddrPort `json:"listen"`
	Role     string           `json:"role"`
	Config   string           `json:"config"`
	Reloaded time.Time        `json:"reloaded"`
	Healthy  bool             `json:"last_reload_succeeded"`
	Zones    int              `json:"zones"`
}

// A Setting is one value in effect.
type Setting struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Origin string `json:"origin"`
}

// A Statistic is one counter.
type Statistic struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}

// Options make a [Server]. Zones and Host are required.
type Options struct {
	Zones    *zones.Manager
	Host     Host
	PowerDNS bool         // whether /api is there
	Log      *slog.Logger // nil: discard
}

// A Server answers requests of the API.
type Server struct {
	zones  *zones.Manager
	host   Host
	pdns   bool
	log    *slog.Logger
	routes []route
	events *hub
	checks checkList
	series seriesLog
}

// New returns a server.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{zones: o.Zones, host: o.Host, pdns: o.PowerDNS, log: o.Log, events: newHub()}
	s.routes = ownRoutes()
	if s.pdns {
		s.routes = append(s.routes, pdnsRoutes()...)
	}
	return s
}

// A call is one request, and who makes it.
type call struct {
	*Server
	w      http.ResponseWriter
	r      *http.Request
	params []string // what stands in the path for the stars of the route
	holder *grant.Holder
	now    time.Time
	local  string // somebody on this machine; empty: it came over the network

	again func() *grant.Holder // who it is, and what they may do, some time later; nil: nobody any more
}

// A route is what is done at a path.
type route struct {
	method string
	path   []string // segments; "*" is any
	pdns   bool     // errors are as those of PowerDNS
	do     func(*call) error
	doc    *operation // what the document says of it; nil: it is not in there
}

func at(method, path string, do func(*call) error) route {
	return route{method: method, path: strings.Split(path, "/")[1:], do: do}
}

// zoned reports whether a path is of one zone.
func (r *route) zoned() bool {
	i := slices.Index(r.path, "zones")
	return i >= 0 && i+1 < len(r.path) && r.path[i+1] == "*"
}

// by says who makes the request, for people.
func (c *call) by() string {
	if c.local != "" {
		return c.local
	}
	host, _, err := net.SplitHostPort(c.r.RemoteAddr)
	if err != nil {
		host = c.r.RemoteAddr
	}
	return c.holder.Kind.String() + " " + c.holder.Name + " from " + host
}

// credential is what the request was made with, for errors.
func (c *call) credential() string {
	switch c.holder.Kind {
	case grant.Certificate, grant.User:
		return "the " + c.holder.Kind.String()
	}
	return "the token"
}

// may reports whether the holder may do all of want with the records of a type at a name of a zone.
func (c *call) may(want grant.Verbs, apex, name []byte, t wire.Type) bool {
	return c.holder.May(want, apex, name, t, c.now)
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{Server: s, w: w, r: r, now: time.Now()}
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	path, ok := segments(r.URL)
	if !ok {
		c.fail(&route{}, &problem{status: http.StatusNotFound})
		return
	}
	found := &route{pdns: path[0] == "api"}
	c.again = func() *grant.Holder { return s.holder(r) }
	if c.holder = c.again(); c.holder == nil && r.Method != http.MethodOptions {
		h.Set("WWW-Authenticate", `X-API-Key realm="port53"`)
		text := "show a token in X-API-Key, or as Authorization: Bearer"
		switch {
		case r.TLS == nil:
		case len(r.TLS.PeerCertificates) == 0:
			text += "; or a client certificate that a grant is for"
		case shown(r) == "":
			text += "; no grant is for the client certificate that was shown"
		default:
			text += "; the token is nobody's, and the client certificate counts only without one"
		}
		c.fail(found, &problem{status: http.StatusUnauthorized, text: text})
		return
	}
	if c.holder != nil && c.holder.Kind == grant.Certificate && crossSite(r) {
		c.fail(found, forbidden("a page of another site made this request: by a client certificate alone it is refused"))
		return
	}
	c.serve(path)
}

// serve does what is to be done at a path.
func (c *call) serve(path []string) {
	found := &route{pdns: path[0] == "api"}
	var methods []string
	for i := range c.routes {
		rt := &c.routes[i]
		params, fits := match(rt.path, path)
		if !fits {
			continue
		}
		methods = append(methods, rt.method)
		if rt.method == c.r.Method {
			c.params = params
			if c.r.URL.Query().Has("view") && !rt.zoned() {
				c.fail(rt, &problem{status: http.StatusBadRequest, text: "?view= is for the paths of one zone: leave it out", shaped: true})
				return
			}
			c.r.Body = http.MaxBytesReader(c.w, c.r.Body, maxBody)
			if err := rt.do(c); err != nil {
				c.fail(rt, err)
			}
			return
		}
	}
	switch {
	case len(methods) == 0:
		c.fail(found, &problem{status: http.StatusNotFound})
	case c.r.Method == http.MethodOptions:
		c.w.Header().Set("Allow", strings.Join(methods, ", ")+", OPTIONS")
		c.w.WriteHeader(http.StatusOK)
	default:
		c.w.Header().Set("Allow", strings.Join(methods, ", "))
		c.fail(found, &problem{status: http.StatusMethodNotAllowed})
	}
}

// ServeLocal answers a request of /v1 for somebody on this machine who may do all, whom by names.
func (s *Server) ServeLocal(w http.ResponseWriter, r *http.Request, by string) {
	all := grant.Grant{Zones: grant.Zones{All: true}, Names: []string{"*"}, Verbs: grant.All}
	h := &grant.Holder{Kind: grant.Local, Name: by, Grants: []grant.Grant{all}}
	s.serveOwn(&call{Server: s, w: w, r: r, local: by, again: func() *grant.Holder { return h }})
}

// ServeAs answers a request of /v1 for somebody who has shown elsewhere who they are: again returns them,
// with what they may do now, or nil once they may do nothing any more.
func (s *Server) ServeAs(w http.ResponseWriter, r *http.Request, again func() *grant.Holder) {
	s.serveOwn(&call{Server: s, w: w, r: r, again: again})
}

// serveOwn answers a request of /v1 whose maker is known.
func (s *Server) serveOwn(c *call) {
	c.now, c.holder = time.Now(), c.again()
	path, ok := segments(c.r.URL)
	switch {
	case c.holder == nil:
		c.fail(&route{}, &problem{status: http.StatusUnauthorized})
	case !ok || path[0] != "v1":
		c.fail(&route{}, notFound())
	default:
		c.w.Header().Set("X-Content-Type-Options", "nosniff")
		c.w.Header().Set("Cache-Control", "no-store")
		c.serve(path)
	}
}

// holder returns who makes a request: whose the token is that it shows, or if it shows none, whose the
// client certificate of its connection is. Who shows both is who has the token, and nobody if it is
// not good: rights are never added up.
func (s *Server) holder(r *http.Request) *grant.Holder {
	token := shown(r)
	if token == "" && r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		return s.host.CertificateHolder(r.TLS.PeerCertificates)
	}
	return s.host.Holder(token)
}

// crossSite reports whether a browser sends a request for a page of another site. Browsers say so of all
// that changes something, and show certificates to whoever has them ask.
func crossSite(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return true
	}
	origin := r.Header.Get("Origin")
	return origin != "" && origin != "https://"+r.Host
}

// shown returns the token that a request shows; empty: none.
func shown(r *http.Request) string {
	if key := r.Header.Get("X-API-Key"); key != "" {
		return key
	}
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return token
}

// segments returns the parts of a path, unescaped each by itself.
func segments(u *url.URL) ([]string, bool) {
	parts := strings.Split(strings.TrimPrefix(u.EscapedPath(), "/"), "/")
	if len(parts) > maxSegments {
		return nil, false
	}
	for i, p := range parts {
		text, err := url.PathUnescape(p)
		if err != nil {
			return nil, false
		}
		parts[i] = text
	}
	return parts, true
}

// match returns what stands in a path for the stars of a route.
func match(route, path []string) (params []string, ok bool) {
	if len(route) != len(path) {
		return nil, false
	}
	for i, part := range route {
		switch {
		case part == "*" && path[i] != "":
			params = append(params, path[i])
		case part != path[i]:
			return nil, false
		}
	}
	return params, true
}

// A problem is why a request is not carried out.
type problem struct {
	status int
	text   string // empty: what the status says
	shaped bool   // PowerDNS has it as an object, whatever the client accepts
}

func (p *problem) Error() string { return p.text }

// invalid is the problem of a request that is well formed and cannot be carried out.
func invalid(text string) *problem {
	return &problem{status: http.StatusUnprocessableEntity, text: text, shaped: true}
}

func notFound() *problem { return &problem{status: http.StatusNotFound} }

func forbidden(text string) *problem {
	return &problem{status: http.StatusForbidden, text: text, shaped: true}
}

// problemOf returns the problem that an error of others is.
func problemOf(err error) *problem {
	var p *problem
	var refused *zones.Refusal
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &large):
		return &problem{status: http.StatusRequestEntityTooLarge, text: "the request is larger than 2 MiB"}
	case errors.As(err, &refused) && refused.Rcode == wire.ServFail:
		return &problem{status: http.StatusInternalServerError, text: refused.Why, shaped: true}
	case errors.Is(err, ErrNotFound):
		return notFound()
	case errors.Is(err, ErrExists):
		return &problem{status: http.StatusConflict}
	}
	return invalid(err.Error())
}

// fail sends a problem: as PowerDNS does, or as RFC 9457 has it.
func (c *call) fail(rt *route, err error) {
	p := problemOf(err)
	text := p.text
	if text == "" {
		text = http.StatusText(p.status)
	}
	if p.status == http.StatusInternalServerError {
		c.log.Error("a request of the API failed", "method", c.r.Method, "path", c.r.URL.Path, "error", text)
	}
	switch {
	case !rt.pdns:
		c.send(
			p.status,
			"application/problem+json",
			map[string]any{"type": "about:blank", "title": http.StatusText(p.status), "status": p.status, "detail": text},
		)
	case p.shaped || strings.Contains(c.r.Header.Get("Accept"), "application/json"):
		c.send(p.status, "application/json", map[string]any{"error": text})
	default:
		c.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		c.w.WriteHeader(p.status)
		_, _ = c.w.Write([]byte(http.StatusText(p.status)))
	}
}

// json sends what a request asks for.
func (c *call) json(status int, v any) error {
	c.send(status, "application/json", v)
	return nil
}

func (c *call) send(status int, kind string, v any) {
	c.w.Header().Set("Content-Type", kind)
	c.w.WriteHeader(status)
	e := json.NewEncoder(c.w)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // a client that went away needs no answer
}

// none sends that there is nothing to send.
func (c *call) none() error {
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// Serve answers requests until ctx ends. On a loopback address it answers those who ask for an address or
// for localhost: a page in a browser of this machine that has its own name lead here gets nothing.
func (s *Server) Serve(ctx context.Context, l net.Listener, sealed *tls.Config) error {
	var handler http.Handler = s
	if a, ok := l.Addr().(*net.TCPAddr); ok && a.IP.IsLoopback() {
		handler = named(s)
	}
	h := &http.Server{
		Handler: handler, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		ReadHeaderTimeout: headTime, ReadTimeout: readTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { h.Close() })
	defer stop()
	l = Bound(l)
	if sealed != nil {
		l = tls.NewListener(l, sealed)
	}
	if err := h.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// named refuses requests for the name of another host.
func named(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
		if _, err := netip.ParseAddr(host); err != nil && !strings.EqualFold(host, "localhost") {
			http.Error(w, "ask for an address, or for localhost", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Bound returns a listener of so many connections at a time; those whose client takes nothing end.
func Bound(l net.Listener) net.Listener {
	return &bounded{Listener: l, free: make(chan struct{}, maxConns), stall: stallTime}
}

// bounded accepts so many connections at a time; one more waits until another ends. A connection whose
// client takes nothing for as long as stall ends.
type bounded struct {
	net.Listener
	free  chan struct{}
	stall time.Duration
}

func (b *bounded) Accept() (net.Conn, error) {
	b.free <- struct{}{}
	c, err := b.Listener.Accept()
	if err != nil {
		<-b.free
		return nil, err
	}
	return &boundedConn{Conn: c, of: b}, nil
}

type boundedConn struct {
	net.Conn
	of   *bounded
	once sync.Once
}

// Write implements [net.Conn]. Each has a time of its own, so that a client may be slow.
func (c *boundedConn) Write(b []byte) (int, error) {
	_ = c.SetWriteDeadline(time.Now().Add(c.of.stall)) // without it the client only waits longer
	return c.Conn.Write(b)
}

func (c *boundedConn) Close() error {
	c.once.Do(func() { <-c.of.free })
	return c.Conn.Close()
}
