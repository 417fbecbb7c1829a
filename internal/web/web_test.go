package web_test

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"port53/internal/grant"
	"port53/internal/web"
)

// memory keeps users for a test.
type memory struct {
	text []byte
	full error
}

func (m *memory) Load() ([]byte, error) { return m.text, nil }

func (m *memory) Save(text []byte) error {
	if m.full == nil {
		m.text = text
	}
	return m.full
}

// A bench is a console under test, at a time of its own.
type bench struct {
	*testing.T
	s     *web.Server
	store *memory
	now   time.Time
	told  []string
}

func newBench(t *testing.T, change ...func(*web.Options)) *bench {
	t.Helper()
	b := &bench{T: t, store: &memory{}, now: time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)}
	o := web.Options{
		Users: b.store, Listen: netip.MustParseAddrPort("127.0.0.1:8080"), Now: func() time.Time { return b.now },
		API: func(w http.ResponseWriter, r *http.Request, again func() *grant.Holder) {
			h := again()
			if h == nil {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			_, _ = io.WriteString(w, h.Kind.String()+" "+h.Name+" "+h.Grants[0].Verbs.String()+r.Header.Get("X-API-Key")+r.Header.Get("Authorization"))
		},
		Audit: func(by, what string, err error) {
			line := by + ": " + what
			if err != nil {
				line += ": " + err.Error()
			}
			b.told = append(b.told, line)
		},
	}
	for _, f := range change {
		f(&o)
	}
	var err error
	if b.s, err = web.New(o); err != nil {
		t.Fatal(err)
	}
	return b
}

const here = "http://localhost:8080"

// ask sends a request as a page of ours would.
func (b *bench) ask(method, path, body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	b.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host, r.RemoteAddr = "localhost:8080", "127.0.0.1:4711"
	if method != http.MethodGet {
		r.Header.Set("Origin", here)
	}
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	b.s.ServeHTTP(w, r)
	return w
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func host(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }

func from(addr string) func(*http.Request) { return func(r *http.Request) { r.RemoteAddr = addr } }

// as sends the cookies that an answer has set.
func as(w *httptest.ResponseRecorder) func(*http.Request) {
	return func(r *http.Request) {
		for _, c := range w.Result().Cookies() {
			r.AddCookie(c)
		}
	}
}

func (b *bench) want(w *httptest.ResponseRecorder, status int) *httptest.ResponseRecorder {
	b.Helper()
	if w.Code != status {
		b.Fatalf("status %d, want %d: %s", w.Code, status, w.Body)
	}
	return w
}

// link returns the secret of a new link.
func (b *bench) link(user string) string {
	b.Helper()
	l, err := b.s.Link("uid 0", user)
	if err != nil {
		b.Fatal(err)
	}
	_, secret, ok := strings.Cut(l.URL, "/#link=")
	if !ok {
		b.Fatalf("the link %s has its secret not behind #", l.URL)
	}
	return secret
}

func (b *bench) useLink(secret string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	b.Helper()
	return b.ask("POST", "/auth/link", `{"link":"`+secret+`"}`, change...)
}

// TestLinkWorksOnce: a link signs in once, within ten minutes, and its session ends after twelve hours.
func TestLinkWorksOnce(t *testing.T) {
	b := newBench(t)
	b.want(b.ask("GET", "/v1/zones", ""), http.StatusUnauthorized)
	secret := b.link("")
	in := b.want(b.useLink(secret), http.StatusNoContent)
	b.want(b.useLink(secret), http.StatusForbidden)
	c := in.Result().Cookies()[0]
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Secure || c.Name != "port53-8080" || c.MaxAge != 12*3600 || c.Path != "/" {
		t.Errorf("the cookie is %+v", c)
	}
	if got := b.want(b.ask("GET", "/v1/zones", "", as(in)), http.StatusOK).Body.String(); got != "local uid 0 admin" {
		t.Errorf("the link makes %q", got)
	}
	old := b.link("")
	b.now = b.now.Add(10 * time.Minute)
	b.want(b.useLink(old), http.StatusForbidden)
	b.now = b.now.Add(12*time.Hour - 10*time.Minute - time.Second)
	b.want(b.ask("GET", "/v1/zones", "", as(in)), http.StatusOK)
	b.now = b.now.Add(time.Second)
	b.want(b.ask("GET", "/v1/zones", "", as(in)), http.StatusUnauthorized)
	for _, line := range b.told {
		if strings.Contains(line, secret) || strings.Contains(line, c.Value) {
			t.Errorf("the audit has a secret: %s", line)
		}
	}
}

// TestCertificate: who has not signed in is the holder of the client certificate, as long as it has one;
// whoever has signed in is that user, and a page of another site gets nothing by it.
func TestCertificate(t *testing.T) {
	known := map[string]bool{"laptop": true}
	b := newBench(t, func(o *web.Options) {
		o.Certificate = func(chain []*x509.Certificate) *grant.Holder {
			name := chain[0].Subject.CommonName
			if !known[name] {
				return nil
			}
			return &grant.Holder{Kind: grant.Certificate, Name: name, Grants: []grant.Grant{{Verbs: grant.Read}}}
		}
	})
	shows := func(name string) func(*http.Request) {
		return func(r *http.Request) {
			r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Subject: pkix.Name{CommonName: name}}}}
		}
	}
	if got := b.want(b.ask("GET", "/v1/zones", "", shows("laptop"), header("X-API-Key", "x")), http.StatusOK).Body.String(); got != "certificate laptop read" {
		t.Errorf("the certificate makes %q", got)
	}
	if got := b.want(b.ask("GET", "/auth", "", shows("laptop")), http.StatusOK).Body.String(); !strings.Contains(got, `"name":"laptop","how":"a client certificate"`) {
		t.Errorf("%s", got)
	}
	b.want(b.ask("GET", "/v1/zones", "", shows("stranger")), http.StatusUnauthorized)
	b.want(b.ask("GET", "/v1/zones", "", func(r *http.Request) { r.TLS = &tls.ConnectionState{} }), http.StatusUnauthorized)
	b.want(b.ask("POST", "/v1/checks", "", shows("laptop"), header("Origin", "https://evil.example")), http.StatusForbidden)
	b.want(b.ask("GET", "/v1/zones", "", shows("laptop"), header("Sec-Fetch-Site", "cross-site")), http.StatusForbidden)
	in := b.want(b.useLink(b.link("")), http.StatusNoContent)
	if got := b.want(b.ask("GET", "/v1/zones", "", as(in), shows("laptop")), http.StatusOK).Body.String(); got != "local uid 0 admin" {
		t.Errorf("a session beside the certificate makes %q", got)
	}
	b.want(b.ask("POST", "/auth/passkeys/begin", "{}", shows("laptop")), http.StatusUnauthorized) // it is nobody's account
	known["laptop"] = false
	b.want(b.ask("GET", "/v1/zones", "", shows("laptop")), http.StatusUnauthorized)
}

// TestLogout: a session that has ended is over, whoever kept its cookie.
func TestLogout(t *testing.T) {
	b := newBench(t)
	in := b.want(b.useLink(b.link("")), http.StatusNoContent)
	b.want(b.ask("POST", "/auth/logout", "", as(in)), http.StatusNoContent)
	b.want(b.ask("GET", "/v1", "", as(in)), http.StatusUnauthorized)
}

// TestForeign: a request for another host, or from a page of another site, gets nothing.
func TestForeign(t *testing.T) {
	b := newBench(t)
	in := b.want(b.useLink(b.link("")), http.StatusNoContent)
	for _, name := range []string{"evil.example", "evil.example:8080", "localhost", "localhost:8081", "127.0.0.1", "192.0.2.1:8080", "localhost.:8080", ""} {
		for _, path := range []string{"/", "/auth", "/v1/zones", "/status"} {
			b.want(b.ask("GET", path, "", as(in), host(name)), http.StatusMisdirectedRequest)
		}
	}
	for _, name := range []string{"LOCALHOST:8080", "127.0.0.1:8080", "[::1]:8080"} {
		b.want(b.ask("GET", "/", "", host(name)), http.StatusOK)
	}
	for _, origin := range []string{"", "null", "http://evil.example", "https://localhost:8080", "http://localhost:8081", "http://127.0.0.1:8080"} {
		for _, method := range []string{"POST", "PATCH", "PUT", "DELETE"} {
			b.want(b.ask(method, "/v1/zones/x/records", "", as(in), header("Origin", origin)), http.StatusForbidden)
		}
		b.want(b.useLink(b.link(""), header("Origin", origin)), http.StatusForbidden)
	}
	for _, site := range []string{"cross-site", "same-site"} {
		b.want(b.ask("GET", "/v1/zones", "", as(in), header("Sec-Fetch-Site", site)), http.StatusForbidden)
		b.want(b.ask("GET", "/", "", header("Sec-Fetch-Site", site)), http.StatusOK)
	}
	b.want(b.ask("GET", "/v1/zones", "", as(in), header("Sec-Fetch-Site", "same-origin")), http.StatusOK)
}

// TestTokensAreNone: a token that a page sends counts for nothing, and is not handed on.
func TestTokensAreNone(t *testing.T) {
	b := newBench(t)
	b.want(b.ask("GET", "/v1", "", header("X-API-Key", "p53_x")), http.StatusUnauthorized)
	in := b.want(b.useLink(b.link("")), http.StatusNoContent)
	if got := b.ask("GET", "/v1", "", as(in), header("X-API-Key", "p53_x"), header("Authorization", "Bearer p53_x")).Body.String(); strings.Contains(got, "p53_x") {
		t.Errorf("the API was shown %q", got)
	}
}

// TestHeaders: pages load nothing from elsewhere, run no script that stands in them, and are in no frame.
func TestHeaders(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{"/", "/app.js", "/app.css", "/auth", "/status", "/nothing", "/v1"} {
		h := b.ask("GET", path, "").Header()
		policy := h.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'self';") || strings.Contains(policy, "unsafe") || !strings.Contains(policy, "frame-ancestors 'none'") {
			t.Errorf("%s: the policy is %q", path, policy)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cross-Origin-Opener-Policy") != "same-origin" {
			t.Errorf("%s: headers %v", path, h)
		}
	}
	page := b.ask("GET", "/", "").Body.String()
	for _, bad := range []string{"<script>", "<style", "onclick", "style=", "http:", "https:"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
}

// TestSecure: over TLS the cookie is for this host alone.
func TestSecure(t *testing.T) {
	b := newBench(t, func(o *web.Options) { o.Origin = "https://dns.example.org" })
	l, err := b.s.Link("uid 0", "")
	if err != nil || !strings.HasPrefix(l.URL, "https://dns.example.org/#link=") {
		t.Fatalf("the link is %v, %v", l, err)
	}
	_, secret, _ := strings.Cut(l.URL, "=")
	in := b.want(b.useLink(secret, host("dns.example.org"), header("Origin", "https://dns.example.org")), http.StatusNoContent)
	if c := in.Result().Cookies()[0]; c.Name != "__Host-port53" || !c.Secure {
		t.Errorf("the cookie is %+v", c)
	}
	if in.Header().Get("Strict-Transport-Security") == "" {
		t.Error("browsers may come back in the clear")
	}
	b.want(b.ask("GET", "/v1", "", as(in), host("dns.example.org")), http.StatusOK)
	b.want(b.ask("GET", "/v1", "", as(in)), http.StatusUnauthorized)
}

const good = "correct horse battery"

// TestPassword: a user signs in with the password, may do what was granted, and no more once they are removed.
func TestPassword(t *testing.T) {
	b := newBench(t)
	if _, err := b.s.AddUser("uid 0", web.NewUser{Name: "anna", Role: "reader", Password: good}); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b.store.text, []byte(good)) || !bytes.Contains(b.store.text, []byte("$argon2id$v=19$m=65536,t=3,p=1$")) {
		t.Errorf("what is kept is %s", b.store.text)
	}
	try := func(name, password string) *httptest.ResponseRecorder {
		body, _ := json.Marshal(map[string]string{"name": name, "password": password})
		return b.ask("POST", "/auth/password", string(body))
	}
	wrong := b.want(try("anna", good+"!"), http.StatusForbidden).Body.String()
	if nobody := b.want(try("nobody", good), http.StatusForbidden).Body.String(); nobody != wrong {
		t.Errorf("who is there can be told: %q and %q", nobody, wrong)
	}
	in := b.want(try("anna", good), http.StatusNoContent)
	if got := b.ask("GET", "/v1", "", as(in)).Body.String(); got != "user anna read" {
		t.Errorf("anna is %q", got)
	}
	for _, line := range b.told {
		if strings.Contains(line, "correct") || strings.Contains(line, "nobody") {
			t.Errorf("the audit has what was typed: %s", line)
		}
	}
	if err := b.s.RemoveUser("anna"); err != nil {
		t.Fatal(err)
	}
	b.want(b.ask("GET", "/v1", "", as(in)), http.StatusUnauthorized)
}

// TestUsersRefused: users that could do nothing, or whom nobody could tell apart, are not made, and what
// cannot be kept does not count.
func TestUsersRefused(t *testing.T) {
	b := newBench(t)
	zones, read := []string{"example.com"}, []string{"read"}
	for name, u := range map[string]web.NewUser{
		"no name":  {Role: "admin"},
		"a blank":  {Name: "a b", Role: "admin"},
		"nothing":  {Name: "a"},
		"no role":  {Name: "a", Role: "root"},
		"no verb":  {Name: "a", Grants: []web.Right{{Zones: []string{"*"}}}},
		"bad zone": {Name: "a", Grants: []web.Right{{Zones: []string{".."}, Verbs: []string{"read"}}}},
		"short":    {Name: "a", Role: "admin", Password: "short"},
		"no names": {Name: "a", Grants: []web.Right{{Zones: zones, Names: []string{}, Verbs: read}}},
		"no types": {Name: "a", Grants: []web.Right{{Zones: zones, Types: []string{}, Verbs: read}}},
		"ended":    {Name: "a", Grants: []web.Right{{Zones: zones, Verbs: read, Until: "2001-01-01"}}},
		"outside":  {Name: "a", Grants: []web.Right{{Zones: zones, Names: []string{"www.example.org"}, Verbs: read}}},
	} {
		if _, err := b.s.AddUser("uid 0", u); err == nil {
			t.Errorf("%s: the user is made", name)
		}
	}
	b.store.full = errors.New("no space left on device")
	if _, err := b.s.AddUser("uid 0", web.NewUser{Name: "a", Role: "admin"}); err == nil || len(b.s.Users()) > 0 {
		t.Errorf("a user who is not kept counts: %v", err)
	}
	b.store.full = nil
	if _, err := b.s.AddUser("uid 0", web.NewUser{Name: "a", Role: "admin"}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.s.AddUser("uid 0", web.NewUser{Name: "a", Role: "admin"}); err == nil {
		t.Error("a user is made twice")
	}
}

// TestUsersOfLaterForm: users that a newer version has written are refused, not lost.
func TestUsersOfLaterForm(t *testing.T) {
	for _, text := range []string{`{"form":2}`, `{`, `[]`} {
		o := web.Options{Users: &memory{text: []byte(text)}, Listen: netip.MustParseAddrPort("127.0.0.1:1")}
		if _, err := web.New(o); err == nil {
			t.Errorf("%s is read", text)
		}
	}
}

// TestAttempts: who tries without end is told to wait, and keeps nobody else out.
func TestAttempts(t *testing.T) {
	b := newBench(t)
	for range 10 {
		b.want(b.useLink("wrong", from("192.0.2.1:1")), http.StatusForbidden)
	}
	for _, addr := range []string{"192.0.2.1:2", "192.0.2.200:1"} {
		w := b.want(b.useLink(b.link(""), from(addr)), http.StatusTooManyRequests)
		if w.Header().Get("Retry-After") == "" {
			t.Error("nobody says when")
		}
	}
	b.want(b.useLink(b.link(""), from("198.51.100.1:1")), http.StatusNoContent)
	b.now = b.now.Add(6 * time.Second)
	b.want(b.useLink(b.link(""), from("192.0.2.1:3")), http.StatusNoContent)
	many := 0
	for i := range 300 {
		addr := netip.AddrFrom4([4]byte{10, byte(i / 256), byte(i), 1})
		if b.useLink("wrong", from(netip.AddrPortFrom(addr, 1).String())).Code == http.StatusForbidden {
			many++
		}
	}
	if many > 100 {
		t.Errorf("%d attempts from many networks at once", many)
	}
}

// TestSessionsBounded: the oldest session of a user ends for one too many.
func TestSessionsBounded(t *testing.T) {
	b := newBench(t)
	if _, err := b.s.AddUser("uid 0", web.NewUser{Name: "anna", Role: "admin"}); err != nil {
		t.Fatal(err)
	}
	var all []*httptest.ResponseRecorder
	for range 33 {
		b.now = b.now.Add(time.Minute)
		all = append(all, b.want(b.useLink(b.link("anna")), http.StatusNoContent))
	}
	b.want(b.ask("GET", "/v1", "", as(all[0])), http.StatusUnauthorized)
	b.want(b.ask("GET", "/v1", "", as(all[1])), http.StatusOK)
	b.want(b.ask("GET", "/v1", "", as(all[32])), http.StatusOK)
}

// TestLinksBounded: not more links wait than there is a use for.
func TestLinksBounded(t *testing.T) {
	b := newBench(t)
	for range 64 {
		b.link("")
	}
	if _, err := b.s.Link("uid 0", ""); err == nil {
		t.Error("links without end")
	}
	b.now = b.now.Add(11 * time.Minute)
	b.link("")
	if _, err := b.s.Link("uid 0", "nobody"); err == nil {
		t.Error("a link for nobody")
	}
}

// TestBodies: what is no request is refused, whatever its size.
func TestBodies(t *testing.T) {
	b := newBench(t)
	for _, body := range []string{"", "{", "[]", `"x"`, strings.Repeat("x", 100_000), `{"name":"` + strings.Repeat("x", 65) + `"}`, `{"password":"` + strings.Repeat("x", 1025) + `"}`} {
		if w := b.ask("POST", "/auth/password", body, from("203.0.113."+string('1'+byte(len(body)%9))+":1")); w.Code != http.StatusBadRequest && w.Code != http.StatusForbidden {
			t.Errorf("%.20s…: status %d", body, w.Code)
		}
	}
	for _, path := range []string{"/auth/passkey/finish", "/auth/passkeys/begin", "/auth/passkeys/finish"} {
		if w := b.ask("POST", path, "{}"); w.Code < 400 || w.Code >= 500 {
			t.Errorf("%s: status %d", path, w.Code)
		}
	}
	b.want(b.ask("POST", "/auth/passkey/begin", "{}", host("127.0.0.1:8080"), header("Origin", "http://127.0.0.1:8080")), http.StatusConflict)
}

// budget is how much a browser has to load, at most.
const budget = 120 << 10

// TestBudget: all pages together are small, and not sent again while they are the same.
func TestBudget(t *testing.T) {
	b := newBench(t)
	total := 0
	for _, path := range []string{"/", "/app.js", "/app.css", "/icon.svg"} {
		w := b.want(b.ask("GET", path, "", header("Accept-Encoding", "gzip")), http.StatusOK)
		total += w.Body.Len()
		plain := b.ask("GET", path, "").Body.Bytes()
		if w.Header().Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(w.Body)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(z); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%s: what is packed is something else", path)
			}
		}
		b.want(b.ask("GET", path, "", header("If-None-Match", w.Header().Get("ETag"))), http.StatusNotModified)
	}
	t.Logf("%d octets packed", total)
	if total > budget {
		t.Errorf("%d octets, more than %d", total, budget)
	}
}

// TestPlain: without scripts there is a page that says how the server is.
func TestPlain(t *testing.T) {
	b := newBench(t)
	if page := b.ask("GET", "/", "").Body.String(); !strings.Contains(page, "<noscript>") || !strings.Contains(page, "/status") {
		t.Error("the page leads nowhere without scripts")
	}
	if page := b.want(b.ask("GET", "/status", ""), http.StatusOK).Body.String(); !strings.Contains(page, "The server runs") {
		t.Errorf("the page says %s", page)
	}
}
