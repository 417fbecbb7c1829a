package web_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"port53/internal/web"
)

// A provider of OpenID Connect under test: it says of whoever comes what its fields say.
type provider struct {
	*httptest.Server
	key    *rsa.PrivateKey
	signer *rsa.PrivateKey // another than key: a forger
	change func(claims map[string]any)
	asked  url.Values // the visit of the browser
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{key: key, signer: key, change: func(map[string]any) {}}
	text := base64.RawURLEncoding.EncodeToString
	say := func(v any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(v)
		}
	}
	mux := http.NewServeMux()
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	mux.Handle("/.well-known/openid-configuration", say(map[string]any{
		"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token",
		"jwks_uri": p.URL + "/keys", "id_token_signing_alg_values_supported": []string{"RS256"},
	}))
	mux.Handle("/keys", say(map[string]any{"keys": []any{map[string]any{
		"kty": "RSA", "kid": "1", "alg": "RS256", "use": "sig", "n": text(key.N.Bytes()), "e": text(big.NewInt(int64(key.E)).Bytes()),
	}}}))
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		verifier := sha256.Sum256([]byte(r.FormValue("code_verifier")))
		if r.FormValue("code") != "the-code" || text(verifier[:]) != p.asked.Get("code_challenge") {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
		claims := map[string]any{
			"iss": p.URL, "aud": "port53", "sub": "1", "preferred_username": "anna", "groups": []string{"helpdesk"},
			"nonce": p.asked.Get("nonce"), "iat": at.Unix(), "exp": at.Add(time.Minute).Unix(),
		}
		p.change(claims)
		body, _ := json.Marshal(claims)
		signed := text([]byte(`{"alg":"RS256","kid":"1"}`)) + "." + text(body)
		sum := sha256.Sum256([]byte(signed))
		signature, err := rsa.SignPKCS1v15(rand.Reader, p.signer, crypto.SHA256, sum[:])
		if err != nil {
			t.Error(err)
		}
		say(map[string]any{"access_token": "x", "token_type": "Bearer", "id_token": signed + "." + text(signature)})(w, r)
	})
	return p
}

// visit has a browser sent to the provider, and come back with a code; other is what to change of that.
func (p *provider) visit(b *bench, other func(back url.Values), cookies ...func(*http.Request)) *httptest.ResponseRecorder {
	b.Helper()
	sent := b.want(b.ask("GET", "/auth/oidc/start", ""), http.StatusSeeOther)
	to, err := url.Parse(sent.Header().Get("Location"))
	if err != nil || !strings.HasPrefix(to.String(), p.URL+"/authorize?") {
		b.Fatalf("sent to %v, %v", to, err)
	}
	p.asked = to.Query()
	if got := p.asked.Get("redirect_uri"); got != here+"/auth/oidc/callback" {
		b.Fatalf("redirect_uri %q", got)
	}
	back := url.Values{"code": {"the-code"}, "state": {p.asked.Get("state")}}
	if other != nil {
		other(back)
	}
	if cookies == nil {
		cookies = []func(*http.Request){as(sent)}
	}
	return b.want(b.ask("GET", "/auth/oidc/callback?"+back.Encode(), "", cookies...), http.StatusSeeOther)
}

func withProvider(t *testing.T) (*bench, *provider) {
	t.Helper()
	p := newProvider(t)
	return newBench(t, func(o *web.Options) {
		o.OIDC = &web.OIDC{Issuer: p.URL, Client: "port53", Groups: map[string]string{"helpdesk": "reader", "dns": "admin"}}
	}), p
}

// TestProvider: who the provider has in a group signs in with the greatest of its roles.
func TestProvider(t *testing.T) {
	b, p := withProvider(t)
	for _, c := range []struct {
		groups any
		want   string
	}{
		{"helpdesk", "user anna read"},
		{[]string{"x", "helpdesk", "dns"}, "user anna admin"},
	} {
		p.change = func(claims map[string]any) { claims["groups"] = c.groups }
		w := p.visit(b, nil)
		if to := w.Header().Get("Location"); to != "/" {
			t.Fatalf("sent to %s", to)
		}
		if got := b.want(b.ask("GET", "/v1/zones", "", as(w)), http.StatusOK).Body.String(); !strings.HasPrefix(got, c.want) {
			t.Errorf("signed in as %q, want %q", got, c.want)
		}
	}
}

// TestProviderRefused: nobody signs in with what the provider has not said to this browser, for this console,
// now.
func TestProviderRefused(t *testing.T) {
	forger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	claim := func(name string, value any) func(p *provider) {
		return func(p *provider) { p.change = func(claims map[string]any) { claims[name] = value } }
	}
	for name, c := range map[string]struct {
		set     func(p *provider)
		other   func(back url.Values)
		cookies func(*http.Request)
	}{
		"in no group":           {set: claim("groups", []string{"people"})},
		"no groups":             {set: claim("groups", nil)},
		"another audience":      {set: claim("aud", "wiki")},
		"another issuer":        {set: claim("iss", "https://id.example.org")},
		"another nonce":         {set: claim("nonce", "x")},
		"no longer good":        {set: claim("exp", 1)},
		"another key":           {set: func(p *provider) { p.signer = forger }},
		"no code":               {other: func(back url.Values) { back.Del("code"); back.Set("error", "access_denied") }},
		"another code":          {other: func(back url.Values) { back.Set("code", "x") }},
		"another state":         {other: func(back url.Values) { back.Set("state", "x") }},
		"another browser":       {cookies: func(*http.Request) {}},
		"a cookie of our state": {cookies: func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "port53-8080-oidc", Value: "x"}) }},
	} {
		t.Run(name, func(t *testing.T) {
			b, p := withProvider(t)
			if c.set != nil {
				c.set(p)
			}
			var cookies []func(*http.Request)
			if c.cookies != nil {
				cookies = append(cookies, c.cookies)
			}
			w := p.visit(b, c.other, cookies...)
			if to := w.Header().Get("Location"); !strings.HasPrefix(to, "/#problem=") {
				t.Errorf("sent to %s", to)
			}
			b.want(b.ask("GET", "/v1/zones", "", as(w)), http.StatusUnauthorized)
		})
	}
}

// TestProviderSilent: a provider that does not answer is said to, and asked no more than now and then.
func TestProviderSilent(t *testing.T) {
	b, p := withProvider(t)
	p.Close()
	for range 2 {
		w := b.want(b.ask("GET", "/auth/oidc/start", ""), http.StatusSeeOther)
		if to := w.Header().Get("Location"); !strings.Contains(to, "does+not+respond") {
			t.Errorf("sent to %s", to)
		}
	}
}
