package web

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"port53/internal/grant"
)

// OIDC is a provider that people sign in by (OpenID Connect).
type OIDC struct {
	Issuer string
	Client string
	Secret string
	Groups map[string]string // the roles of groups, as the claim "groups" has them
	HTTP   *http.Client      // nil: the usual one
}

// Bounds of signing in by a provider.
const (
	providerTime = 10 * time.Second // for the provider to answer
	askedTime    = 10 * time.Minute // for a person
	maxAsked     = 256
	retryTime    = 10 * time.Second // before a provider that did not answer is asked again
)

// An asked is somebody who was sent to the provider.
type asked struct {
	nonce, verifier string
	made            time.Time
}

// A provider is asked for what it is when somebody signs in for the first time.
type provider struct {
	OIDC
	redirect string

	mu      sync.Mutex
	known   *oidc.Provider
	failed  time.Time
	problem error
	pending map[string]asked // by state
}

// context returns one in which the provider is asked with our client.
func (p *provider) context(ctx context.Context) (context.Context, context.CancelFunc) {
	client := p.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	return context.WithTimeout(oidc.ClientContext(ctx, client), providerTime)
}

// find returns what the provider says of itself.
func (p *provider) find(ctx context.Context, now time.Time) (*oidc.Provider, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known != nil {
		return p.known, nil
	}
	if now.Sub(p.failed) < retryTime {
		return nil, p.problem
	}
	// What is kept asks for keys later, when this request is over.
	ctx, cancel := p.context(context.WithoutCancel(ctx))
	defer cancel()
	known, err := oidc.NewProvider(ctx, p.Issuer)
	if err != nil {
		p.failed, p.problem = now, err
		return nil, err
	}
	p.known = known
	return known, nil
}

func (p *provider) client(known *oidc.Provider) *oauth2.Config {
	return &oauth2.Config{
		ClientID:     p.Client,
		ClientSecret: p.Secret,
		Endpoint:     known.Endpoint(),
		RedirectURL:  p.redirect,
		Scopes:       []string{oidc.ScopeOpenID, "profile", "email", "groups"},
	}
}

// role returns the greatest role of groups; empty: none.
func (p *provider) role(groups []string) string {
	best := -1
	for _, g := range groups {
		best = max(best, slices.Index(Roles(), p.Groups[g]))
	}
	if best < 0 {
		return ""
	}
	return Roles()[best]
}

// stateCookie has what tells that who comes back is who was sent. It is sent with a visit from another site,
// which a cookie of a session is not.
func stateCookie(t *site) string {
	if t.secure {
		return "__Host-port53-oidc"
	}
	return t.cookie + "-oidc"
}

func (s *Server) setState(w http.ResponseWriter, t *site, value string, age int) {
	http.SetCookie(
		w,
		&http.Cookie{
			Name:     stateCookie(t),
			Value:    value,
			Path:     "/",
			MaxAge:   age,
			Secure:   t.secure,
			HttpOnly: true,
			SameSite: http.SameSiteLaxMode,
		},
	)
}

// back sends a browser to the page where people sign in, which says what was wrong.
func back(w http.ResponseWriter, r *http.Request, why string) {
	http.Redirect(w, r, "/#problem="+url.QueryEscape(why), http.StatusSeeOther)
}

func (s *Server) beginOIDC(w http.ResponseWriter, r *http.Request) {
	if s.provider == nil {
		s.refuse(w, http.StatusNotFound, "no provider is configured: set console.oidc")
		return
	}
	if !s.mayTry(w, r) {
		return
	}
	known, err := s.provider.find(r.Context(), s.o.Now())
	if err != nil {
		s.o.Log.Warn("console: the provider cannot be asked", "issuer", s.provider.Issuer, "error", err.Error())
		back(w, r, "the provider "+s.provider.Issuer+" does not respond: see the log")
		return
	}
	state, a := random(), asked{nonce: random(), verifier: oauth2.GenerateVerifier(), made: s.o.Now()}
	if !s.provider.ask(state, a) {
		back(w, r, "too many sign in at this time")
		return
	}
	s.setState(w, siteOf(r), state, int(askedTime/time.Second))
	http.Redirect(
		w,
		r,
		s.provider.client(known).AuthCodeURL(state, oidc.Nonce(a.nonce), oauth2.S256ChallengeOption(a.verifier)),
		http.StatusSeeOther,
	)
}

// ask remembers somebody who is sent to the provider.
func (p *provider) ask(state string, a asked) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, o := range p.pending {
		if a.made.Sub(o.made) > askedTime {
			delete(p.pending, key)
		}
	}
	if len(p.pending) >= maxAsked {
		return false
	}
	p.pending[state] = a
	return true
}

func (p *provider) answered(state string, now time.Time) (asked, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a, ok := p.pending[state]
	delete(p.pending, state)
	return a, ok && now.Sub(a.made) <= askedTime
}

// claims are what is read of an ID token (OpenID Connect Core 1.0, section 5.1).
type claims struct {
	Subject  string `json:"sub"`
	Username string `json:"preferred_username"`
	Email    string `json:"email"`
	Groups   any    `json:"groups"`
}

func (c *claims) name() string {
	for _, n := range []string{c.Username, c.Email, c.Subject} {
		if n != "" && len(n) <= maxName && !strings.ContainsFunc(n, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			return n
		}
	}
	return "unknown"
}

func (c *claims) groups() (list []string) {
	switch g := c.Groups.(type) {
	case string:
		return []string{g}
	case []any:
		for _, one := range g {
			if text, ok := one.(string); ok {
				list = append(list, text)
			}
		}
	}
	return list
}

func (s *Server) finishOIDC(w http.ResponseWriter, r *http.Request) {
	const how = "the provider"
	if s.provider == nil {
		s.refuse(w, http.StatusNotFound, "there is no provider")
		return
	}
	t, q := siteOf(r), r.URL.Query()
	c, cookieErr := r.Cookie(stateCookie(t))
	s.setState(w, t, "", -1)
	a, ok := s.provider.answered(q.Get("state"), s.o.Now())
	if cookieErr != nil || !ok || subtle.ConstantTimeCompare([]byte(c.Value), []byte(q.Get("state"))) != 1 {
		back(w, r, "the sign-in took too long or began in another browser: try again")
		return
	}
	claims, err := s.provider.claims(r.Context(), q, a, s.o.Now())
	if err != nil {
		s.o.Log.Warn("console: the provider's answer is refused", "issuer", s.provider.Issuer, "error", err.Error())
		s.o.Audit(s.by(r, "unknown"), "console: sign in by "+how, errors.New("the provider's answer is refused"))
		back(w, r, "the provider's response was not accepted: see the log")
		return
	}
	role := s.provider.role(claims.groups())
	if role == "" {
		s.o.Audit(s.by(r, claims.name()), "console: sign in by "+how, errors.New("in no group that has a role"))
		back(w, r, claims.name()+" is in no group that may use this console")
		return
	}
	grants, err := grantsOf(role, nil)
	if err != nil {
		back(w, r, err.Error())
		return
	}
	h := &grant.Holder{Kind: grant.User, Name: claims.name(), Grants: grants}
	s.signIn(w, r, &session{name: h.Name, how: how, holder: func(time.Time) *grant.Holder { return h }})
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// claims exchanges a code for what the provider says of somebody.
func (p *provider) claims(ctx context.Context, q url.Values, a asked, now time.Time) (*claims, error) {
	if q.Get("code") == "" {
		return nil, fmt.Errorf("it answered %q", clip(q.Get("error")+" "+q.Get("error_description")))
	}
	known, err := p.find(ctx, now)
	if err != nil {
		return nil, err
	}
	ctx, cancel := p.context(ctx)
	defer cancel()
	token, err := p.client(known).Exchange(ctx, q.Get("code"), oauth2.VerifierOption(a.verifier))
	if err != nil {
		return nil, err
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return nil, errors.New("there is no ID token")
	}
	id, err := known.VerifierContext(ctx, &oidc.Config{ClientID: p.Client, Now: func() time.Time { return now }}).Verify(ctx, raw)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(a.nonce)) != 1 {
		return nil, errors.New("the nonce is another")
	}
	var c claims
	return &c, id.Claims(&c)
}

func clip(text string) string { return text[:min(len(text), 200)] }
