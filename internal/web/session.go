package web

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"port53/internal/grant"
)

// Bounds of sessions.
const (
	sessionTime = 12 * time.Hour
	maxSessions = 1000
	maxOfOne    = 32 // of one user; the oldest ends for the next
)

// A session is somebody who has signed in with one browser.
type session struct {
	token  string // what its cookie has
	name   string // of the user
	user   bool   // it is one of ours, who can have passkeys
	how    string // they have shown who they are
	holder func(now time.Time) *grant.Holder
	made   time.Time
}

// sessions are those that are known. They end with the server: what a cookie has is kept nowhere.
type sessions struct {
	mu  sync.Mutex
	all map[[sha256.Size]byte]*session // by the hash of the token, so that no comparison tells of it
}

func newSessions() *sessions { return &sessions{all: map[[sha256.Size]byte]*session{}} }

// begin makes a session, and gives it its token.
func (s *sessions) begin(n *session, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(now)
	s.oldest(maxOfOne, func(o *session) bool { return o.name == n.name && o.user == n.user })
	s.oldest(maxSessions, func(*session) bool { return true })
	n.token, n.made = random(), now
	s.all[sha256.Sum256([]byte(n.token))] = n
}

func (s *sessions) expire(now time.Time) {
	for key, n := range s.all {
		if now.Sub(n.made) >= sessionTime {
			delete(s.all, key)
		}
	}
}

// oldest ends the oldest of those that fit, until there is room for one more of them.
func (s *sessions) oldest(most int, fits func(*session) bool) {
	var list []*session
	for _, n := range s.all {
		if fits(n) {
			list = append(list, n)
		}
	}
	if len(list) < most {
		return
	}
	slices.SortFunc(list, func(a, b *session) int { return a.made.Compare(b.made) })
	for _, n := range list[:len(list)-most+1] {
		delete(s.all, sha256.Sum256([]byte(n.token)))
	}
}

// find returns the session of a token; nil: there is none, or it is over.
func (s *sessions) find(token string, now time.Time) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.all[sha256.Sum256([]byte(token))]
	if n == nil || now.Sub(n.made) >= sessionTime {
		return nil
	}
	return n
}

func (s *sessions) end(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, sha256.Sum256([]byte(token)))
}

// endOf ends all sessions of a user, but the one of a token.
func (s *sessions) endOf(name string, but string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, n := range s.all {
		if n.user && n.name == name && n.token != but {
			delete(s.all, key)
		}
	}
}

// signIn begins a session, and sends its cookie.
func (s *Server) signIn(w http.ResponseWriter, r *http.Request, n *session) {
	s.sessions.begin(n, s.o.Now())
	s.setCookie(w, r, n.token, int(sessionTime/time.Second))
	s.o.Audit(s.by(r, n.name), "console: signed in by "+n.how, nil)
}

func (s *Server) setCookie(w http.ResponseWriter, r *http.Request, value string, age int) {
	t := siteOf(r)
	http.SetCookie(
		w,
		&http.Cookie{
			Name:     t.cookie,
			Value:    value,
			Path:     "/",
			MaxAge:   age,
			Secure:   t.secure,
			HttpOnly: true,
			SameSite: http.SameSiteStrictMode,
		},
	)
}

// by says who makes a request, for people.
func (s *Server) by(r *http.Request, name string) string {
	return fmt.Sprintf("user %s from %s", name, peer(r))
}

// failed answers an attempt to sign in that was none, and tells the audit.
func (s *Server) failed(w http.ResponseWriter, r *http.Request, name, how, why string) {
	s.o.Audit(s.by(r, name), "console: sign in by "+how, fmt.Errorf("%s", why))
	s.refuse(w, http.StatusForbidden, why)
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	if n := s.session(r); n != nil {
		s.sessions.end(n.token)
		if n.user && r.URL.Query().Has("all") {
			s.sessions.endOf(n.name, "")
		}
	}
	s.setCookie(w, r, "", -1)
	w.WriteHeader(http.StatusNoContent)
}

// A whoAmI is who has signed in, and how somebody may.
type whoAmI struct {
	Name     string    `json:"name,omitempty"` // empty: nobody has
	How      string    `json:"how,omitempty"`
	Until    time.Time `json:"until,omitzero"`
	Account  bool      `json:"account"` // it is a user's, who can have passkeys
	Passkeys []passkey `json:"passkeys"`

	Users     bool   `json:"users"`     // there are some
	CanKeys   bool   `json:"can_keys"`  // passkeys work at the name that was asked for
	Provider  string `json:"provider"`  // the issuer that people sign in by; empty: none
	Passwords bool   `json:"passwords"` // somebody has one
	Origin    string `json:"origin"`    // where passkeys work
}

func (s *Server) whoAmI(w http.ResponseWriter, r *http.Request) {
	t := siteOf(r)
	a := whoAmI{Passkeys: []passkey{}, CanKeys: t.known != nil, Origin: s.origin()}
	a.Users, a.Passwords = s.users.any()
	if s.provider != nil {
		a.Provider = s.provider.Issuer
	}
	if n := s.session(r); n != nil {
		a.Name, a.How, a.Until, a.Account = n.name, n.how, n.made.Add(sessionTime), n.user
		if u := s.users.named(n.name); u != nil && n.user {
			a.Passkeys = append(a.Passkeys, u.Passkeys...)
			for i := range a.Passkeys {
				a.Passkeys[i].Credential = nil
			}
		}
	} else if h := s.certified(r); h != nil {
		a.Name, a.How, a.Until = h.Name, "a client certificate", r.TLS.PeerCertificates[0].NotAfter
	}
	send(w, http.StatusOK, "application/json", a)
}

// Bounds of attempts to sign in.
const (
	ofNetwork, networkTime = 10, 6 * time.Second // at once, and one more after each
	ofAll, allTime         = 100, time.Second
	maxNetworks            = 4096
)

// attempts are how many attempts to sign in are left: to each network, and to all.
type attempts struct {
	mu  sync.Mutex
	all bucket
	of  map[netip.Prefix]*bucket
}

type bucket struct {
	have float64
	at   time.Time
}

func (b *bucket) take(now time.Time, most float64, each time.Duration) bool {
	b.have = min(most, b.have+float64(now.Sub(b.at))/float64(each))
	b.at = now
	if b.have < 1 {
		return false
	}
	b.have--
	return true
}

func newAttempts() *attempts { return &attempts{of: map[netip.Prefix]*bucket{}} }

// take reports whether a peer may try now.
func (a *attempts) take(from netip.Addr, now time.Time) bool {
	bits := 24
	if from.Is6() {
		bits = 56
	}
	network, _ := from.Prefix(bits) // the zero prefix is what is no address
	a.mu.Lock()
	defer a.mu.Unlock()
	b := a.of[network]
	if b == nil {
		if len(a.of) >= maxNetworks {
			for key, o := range a.of {
				if o.have+float64(now.Sub(o.at))/float64(networkTime) >= ofNetwork {
					delete(a.of, key)
				}
			}
			if len(a.of) >= maxNetworks {
				return false
			}
		}
		b = &bucket{have: ofNetwork, at: now}
		a.of[network] = b
	}
	if a.all.at.IsZero() {
		a.all = bucket{have: ofAll, at: now}
	}
	return b.take(now, ofNetwork, networkTime) && a.all.take(now, ofAll, allTime)
}

// mayTry reports whether the peer of a request may try to sign in, and answers it if not.
func (s *Server) mayTry(w http.ResponseWriter, r *http.Request) bool {
	if s.attempts.take(peer(r), s.o.Now()) {
		return true
	}
	w.Header().Set("Retry-After", fmt.Sprint(int(networkTime/time.Second)))
	s.refuse(w, http.StatusTooManyRequests, "too many sign-in attempts: wait a moment")
	return false
}
