// Package web is the console: pages for a browser, and how people sign in to them.
//
// It has no data of its own but its users. What the pages show and change goes through the API at /v1, as
// whoever has signed in ([Options.API]), so that nobody may do more here than a token of equal grants.
// People show who they are by a passkey, by a password that port53 user add has set, by an OpenID provider
// ([OIDC]), or by a link that the server has made for them, once ([Server.Link]).
//
// A browser on this machine visits other pages as well. So a request names a host that is ours, whatever
// changes something names the page that it comes from, and nothing of the pages comes from elsewhere.
package web

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"port53/internal/api"
	"port53/internal/grant"
)

// Bounds of the listener, and of requests that the console answers itself.
const (
	maxHeader = 16 << 10
	maxBody   = 64 << 10
	headTime  = 10 * time.Second
	readTime  = time.Minute
	idleTime  = 2 * time.Minute
)

// Options make a [Server]. API, Users and Listen are required.
type Options struct {
	// API answers a request of /v1. again returns who makes it, and what they may do now; nil: nothing
	// any more.
	API func(w http.ResponseWriter, r *http.Request, again func() *grant.Holder)

	// Certificate returns whose a client certificate is now, which was shown over TLS with what leads to
	// an authority behind it; nil: nobody's. It may be nil.
	Certificate func(chain []*x509.Certificate) *grant.Holder

	Users  Store
	Listen netip.AddrPort // where it is reached on this machine
	Origin string         // how browsers reach it, such as https://dns.example.org; empty: by Listen
	TLS    *tls.Config    // nil: the listener is in the clear
	OIDC   *OIDC          // nil: nobody signs in by a provider
	Log    *slog.Logger   // nil: discard

	// Audit is told who has signed in, or tried. It may be nil.
	Audit func(by, what string, err error)
	// About is what the page without scripts tells. It may be nil.
	About func() About

	Now func() time.Time // nil: time.Now
}

// About is what the page without scripts tells of the server.
type About struct {
	Started time.Time
	Healthy bool // the last reload has succeeded
}

// A Server answers browsers.
type Server struct {
	o        Options
	sites    map[string]*site // by the host that a request names
	users    *users
	sessions *sessions
	links    *links
	attempts *attempts
	passkeys *ceremonies
	provider *provider // nil: none
	hashing  chan struct{}
	files    map[string]*file
	mux      *http.ServeMux
}

// A site is one of the names that browsers reach the console by.
type site struct {
	origin string
	host   string // without its port
	secure bool   // it is reached over TLS
	cookie string // the name of the cookie of sessions
	known  *relyingParty
}

// New returns a server. It fails if its users cannot be read.
func New(o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Audit == nil {
		o.Audit = func(string, string, error) {}
	}
	if o.About == nil {
		o.About = func() About { return About{} }
	}
	s := &Server{
		o: o, sites: map[string]*site{}, sessions: newSessions(), links: newLinks(), attempts: newAttempts(), passkeys: newCeremonies(),
		hashing: make(chan struct{}, maxHashing),
	}
	var err error
	if s.users, err = openUsers(o.Users); err != nil {
		return nil, err
	}
	if err := s.addSites(); err != nil {
		return nil, err
	}
	if o.OIDC != nil {
		s.provider = &provider{OIDC: *o.OIDC, redirect: s.origin() + "/auth/oidc/callback", pending: map[string]asked{}}
	}
	if s.files, err = readFiles(); err != nil {
		return nil, err
	}
	s.mux = s.routes()
	return s, nil
}

// addSites finds the names that browsers reach the console by.
func (s *Server) addSites() error {
	port := fmt.Sprint(s.o.Listen.Port())
	scheme := "http"
	if s.o.TLS != nil {
		scheme = "https"
	}
	hosts := []string{}
	if s.o.Listen.Addr().IsLoopback() {
		hosts = append(hosts, "localhost", "127.0.0.1", "::1")
	}
	for _, host := range hosts {
		if err := s.addSite(scheme + "://" + net.JoinHostPort(host, port)); err != nil {
			return err
		}
	}
	if s.o.Origin != "" {
		return s.addSite(s.o.Origin)
	}
	return nil
}

func (s *Server) addSite(origin string) error {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return fmt.Errorf("origin %q is no URL", origin)
	}
	t := &site{origin: u.Scheme + "://" + strings.ToLower(u.Host), host: strings.ToLower(u.Hostname()), secure: u.Scheme == "https"}
	// Cookies go by hosts, whatever the port: several consoles of one machine have cookies of their own.
	t.cookie = "port53-" + u.Port()
	if t.secure {
		t.cookie = "__Host-port53"
	}
	if t.known, err = newRelyingParty(t); err != nil {
		return err
	}
	s.sites[strings.ToLower(u.Host)] = t
	return nil
}

// origin returns where people are sent to.
func (s *Server) origin() string {
	if s.o.Origin != "" {
		return strings.TrimSuffix(s.o.Origin, "/")
	}
	scheme := "http"
	if s.o.TLS != nil {
		scheme = "https"
	}
	// A passkey is for a name: there is none for an address.
	return fmt.Sprintf("%s://localhost:%d", scheme, s.o.Listen.Port())
}

// Serve answers requests until ctx ends.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	l = api.Bound(l)
	if s.o.TLS != nil {
		l = tls.NewListener(l, s.o.TLS)
	}
	h := &http.Server{
		Handler: s, ErrorLog: slog.NewLogLogger(s.o.Log.Handler(), slog.LevelDebug),
		ReadHeaderTimeout: headTime, ReadTimeout: readTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { h.Close() })
	defer stop()
	if err := h.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// policy is what pages may load: what comes from here, in files. Scripts and styles in a page are none.
const policy = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	t := s.sites[strings.ToLower(r.Host)]
	if t == nil {
		// A page of somebody else may have its own name lead here (DNS rebinding).
		s.refuse(w, http.StatusMisdirectedRequest, "this is not the console's name: ask for "+s.origin())
		return
	}
	if t.secure {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
	if why := t.foreign(r); why != "" {
		s.refuse(w, http.StatusForbidden, why)
		return
	}
	s.mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), siteKey{}, t)))
}

type siteKey struct{}

func siteOf(r *http.Request) *site { return r.Context().Value(siteKey{}).(*site) }

// foreign returns why a request is not one of our pages'; empty: it is.
func (t *site) foreign(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		// Pages may be reached from anywhere, data from pages alone.
		from := r.Header.Get("Sec-Fetch-Site")
		if strings.HasPrefix(r.URL.Path, "/v1") && from != "" && from != "same-origin" && from != "none" {
			return "another site asks"
		}
	default:
		if r.Header.Get("Origin") != t.origin {
			return "the request does not come from a page of the console: its Origin is another, or none"
		}
	}
	return ""
}

func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("/v1", s.data)
	mux.HandleFunc("/v1/", s.data)
	mux.HandleFunc("GET /auth", s.whoAmI)
	mux.HandleFunc("POST /auth/link", s.useLink)
	mux.HandleFunc("POST /auth/password", s.password)
	mux.HandleFunc("POST /auth/passkey/begin", s.beginPasskey)
	mux.HandleFunc("POST /auth/passkey/finish", s.finishPasskey)
	mux.HandleFunc("POST /auth/passkeys/begin", s.beginNewPasskey)
	mux.HandleFunc("POST /auth/passkeys/finish", s.finishNewPasskey)
	mux.HandleFunc("DELETE /auth/passkeys/{id}", s.dropPasskey)
	mux.HandleFunc("POST /auth/logout", s.logout)
	mux.HandleFunc("GET /auth/oidc/start", s.beginOIDC)
	mux.HandleFunc("GET /auth/oidc/callback", s.finishOIDC)
	mux.HandleFunc("GET /status", s.plain)
	mux.HandleFunc("/", s.static)
	return mux
}

// data hands a request of /v1 to the API, as whoever has signed in; or if nobody has, as the holder of
// the client certificate.
func (s *Server) data(w http.ResponseWriter, r *http.Request) {
	n := s.session(r)
	byCertificate := n == nil && s.certified(r) != nil
	if n == nil && !byCertificate {
		s.refuse(w, http.StatusUnauthorized, "sign in")
		return
	}
	// A cookie is no token, and a token none: what is shown here counts alone.
	r.Header.Del("X-API-Key")
	r.Header.Del("Authorization")
	if byCertificate {
		s.o.API(w, r, func() *grant.Holder { return s.certified(r) })
		return
	}
	token := n.token
	s.o.API(w, r, func() *grant.Holder {
		if n := s.sessions.find(token, s.o.Now()); n != nil {
			return n.holder(s.o.Now())
		}
		return nil
	})
}

// certified returns whose the client certificate is that a request came with; nil: nobody's.
func (s *Server) certified(r *http.Request) *grant.Holder {
	if s.o.Certificate == nil || r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil
	}
	return s.o.Certificate(r.TLS.PeerCertificates)
}

// session returns that of a request; nil: nobody has signed in.
func (s *Server) session(r *http.Request) *session {
	c, err := r.Cookie(siteOf(r).cookie)
	if err != nil {
		return nil
	}
	n := s.sessions.find(c.Value, s.o.Now())
	if n == nil || n.holder(s.o.Now()) == nil {
		return nil
	}
	return n
}

// refuse says why a request is not carried out.
func (s *Server) refuse(w http.ResponseWriter, status int, why string) {
	w.Header().Set("Cache-Control", "no-store")
	send(
		w,
		status,
		"application/problem+json",
		map[string]any{"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": why},
	)
}

func send(w http.ResponseWriter, status int, kind string, v any) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that went away needs no answer
}

// read decodes the body of a request into v.
func read(w http.ResponseWriter, r *http.Request, v any) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return err
	}
	return json.Unmarshal(body, v)
}

// random returns 256 random bits as text.
func random() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // it never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// peer returns the address that a request comes from.
func peer(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap().WithZone("")
}
