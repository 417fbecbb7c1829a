package web

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
)

// Bounds of passkeys.
const (
	ceremonyTime  = 5 * time.Minute
	maxCeremonies = 256
	maxPasskeys   = 20 // of one user
)

// A relyingParty makes passkeys for one name, and knows them again (W3C Web Authentication).
type relyingParty struct{ *webauthn.WebAuthn }

// newRelyingParty returns that of a site; nil: its name is an address, for which there are no passkeys.
func newRelyingParty(t *site) (*relyingParty, error) {
	if _, err := netip.ParseAddr(t.host); err == nil {
		return nil, nil
	}
	w, err := webauthn.New(&webauthn.Config{
		RPID: t.host, RPDisplayName: "port53 on " + t.host, RPOrigins: []string{t.origin},
		AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementRequired, UserVerification: protocol.VerificationRequired,
		},
	})
	if err != nil {
		return nil, err
	}
	return &relyingParty{w}, nil
}

// A holder of passkeys, as the library wants one.
type account struct{ *User }

func (a account) WebAuthnID() []byte          { return a.ID }
func (a account) WebAuthnName() string        { return a.Name }
func (a account) WebAuthnDisplayName() string { return a.Name }

func (a account) WebAuthnCredentials() (list []webauthn.Credential) {
	for _, p := range a.Passkeys {
		if p.Credential != nil {
			list = append(list, *p.Credential)
		}
	}
	return list
}

// ceremonies are those that have begun, each of which ends once.
type ceremonies struct {
	mu  sync.Mutex
	all map[string]ceremony
}

type ceremony struct {
	data webauthn.SessionData
	user string // of a new passkey; empty: it is to sign in with
	made time.Time
}

func newCeremonies() *ceremonies { return &ceremonies{all: map[string]ceremony{}} }

// begin keeps a ceremony. Beyond the bound the oldest is forgotten: those who begin without end keep
// nobody else from it for longer than they do it.
func (c *ceremonies) begin(n ceremony, now time.Time) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	oldest, at := "", now
	for key, o := range c.all {
		if now.Sub(o.made) > ceremonyTime {
			delete(c.all, key)
		} else if !o.made.After(at) {
			oldest, at = key, o.made
		}
	}
	if len(c.all) >= maxCeremonies {
		delete(c.all, oldest)
	}
	id := random()
	n.made = now
	c.all[id] = n
	return id
}

func (c *ceremonies) end(id string, now time.Time) (ceremony, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, ok := c.all[id]
	delete(c.all, id)
	return n, ok && now.Sub(n.made) <= ceremonyTime
}

// A begun is what a browser needs to go on.
type begun struct {
	ID      string `json:"id"`
	Options any    `json:"options"`
}

// An ended is what a browser has done.
type ended struct {
	ID       string          `json:"id"`
	Name     string          `json:"name"` // of a new passkey
	Response json.RawMessage `json:"response"`
}

// party returns who knows the passkeys of the name that a request has asked for, and says if nobody does.
func (s *Server) party(w http.ResponseWriter, r *http.Request) *relyingParty {
	p := siteOf(r).known
	if p == nil {
		s.refuse(w, http.StatusConflict, "there are no passkeys for an address: ask for "+s.origin())
	}
	return p
}

func (s *Server) beginPasskey(w http.ResponseWriter, r *http.Request) {
	p := s.party(w, r)
	if p == nil || !s.mayTry(w, r) {
		return
	}
	options, data, err := p.BeginDiscoverableLogin(webauthn.WithUserVerification(protocol.VerificationRequired))
	if err != nil {
		s.refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	send(w, http.StatusOK, "application/json", begun{s.passkeys.begin(ceremony{data: *data}, s.o.Now()), options.Response})
}

// errCopied is of a passkey whose count of uses goes back (W3C Web Authentication, section 6.1.1).
var errCopied = errors.New("the passkey seems to be copied")

func (s *Server) finishPasskey(w http.ResponseWriter, r *http.Request) {
	const how = "passkey"
	p := s.party(w, r)
	if p == nil {
		return
	}
	var body ended
	if err := read(w, r, &body); err != nil {
		s.refuse(w, http.StatusBadRequest, "the body is not an answer of a passkey")
		return
	}
	c, ok := s.passkeys.end(body.ID, s.o.Now())
	if !ok || c.user != "" {
		s.refuse(w, http.StatusConflict, "that took too long: try again")
		return
	}
	name := "unknown"
	parsed, err := protocol.ParseCredentialRequestResponseBytes(body.Response)
	var used *webauthn.Credential
	if err == nil {
		used, err = p.ValidateDiscoverableLogin(func(_, id []byte) (webauthn.User, error) {
			u := s.users.byID(id)
			if u == nil {
				return nil, errors.New("nobody has this passkey here")
			}
			name = u.Name
			return account{u}, nil
		}, c.data, parsed)
	}
	if err == nil && used.Authenticator.CloneWarning {
		err = errCopied
	}
	if err != nil {
		s.o.Log.Debug("a passkey was refused", "error", err.Error())
		s.failed(w, r, name, how, "the passkey is unknown or its signature is wrong")
		return
	}
	err = s.users.change(name, func(u *User) (*User, error) {
		if u == nil {
			return nil, errNoUser(name)
		}
		for i := range u.Passkeys {
			if o := &u.Passkeys[i]; o.Credential != nil && bytes.Equal(o.Credential.ID, used.ID) {
				o.Credential, o.Used = used, s.o.Now().UTC().Truncate(time.Second)
			}
		}
		return u, nil
	})
	if err != nil {
		// That its count is not kept is no reason to keep people out while a disk is full.
		s.o.Log.Warn("the use of a passkey was not kept", "error", err.Error())
	}
	s.signIn(w, r, &session{name: name, user: true, how: how, holder: s.users.holder(name)})
	w.WriteHeader(http.StatusNoContent)
}

// newUserName is the user that whoever has come by a link of their own makes with the first passkey.
const newUserName = "admin"

// owner returns whose passkeys the session of a request is about: the user's, or for who has come by a link
// without a user the one that is made with the first passkey.
func (s *Server) owner(w http.ResponseWriter, r *http.Request) (*session, *User) {
	n := s.session(r)
	if n == nil {
		s.refuse(w, http.StatusUnauthorized, "sign in")
		return nil, nil
	}
	if n.user {
		if u := s.users.named(n.name); u != nil {
			return n, u
		}
	}
	if n.user || n.how != "a link" {
		s.refuse(w, http.StatusConflict, "users of a provider have no passkeys here")
		return nil, nil
	}
	if some, _ := s.users.any(); some {
		s.refuse(w, http.StatusConflict, "users exist already: create another with port53 user add")
		return nil, nil
	}
	return n, &User{Name: newUserName, Role: "admin", ID: []byte(random()), Made: s.o.Now().UTC().Truncate(time.Second)}
}

func (s *Server) beginNewPasskey(w http.ResponseWriter, r *http.Request) {
	p := s.party(w, r)
	if p == nil {
		return
	}
	_, u := s.owner(w, r)
	if u == nil {
		return
	}
	if len(u.Passkeys) >= maxPasskeys {
		s.refuse(w, http.StatusConflict, "that are enough passkeys: remove one")
		return
	}
	var had []protocol.CredentialDescriptor
	for _, c := range (account{u}).WebAuthnCredentials() {
		had = append(had, c.Descriptor())
	}
	options, data, err := p.BeginRegistration(account{u}, webauthn.WithExclusions(had))
	if err != nil {
		s.refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	send(w, http.StatusOK, "application/json", begun{s.passkeys.begin(ceremony{data: *data, user: u.Name}, s.o.Now()), options.Response})
}

func (s *Server) finishNewPasskey(w http.ResponseWriter, r *http.Request) {
	p := s.party(w, r)
	if p == nil {
		return
	}
	n, u := s.owner(w, r)
	if u == nil {
		return
	}
	var body ended
	if err := read(w, r, &body); err != nil {
		s.refuse(w, http.StatusBadRequest, "the body is not an answer of a passkey")
		return
	}
	c, ok := s.passkeys.end(body.ID, s.o.Now())
	if !ok || c.user != u.Name {
		s.refuse(w, http.StatusConflict, "that took too long: try again")
		return
	}
	u.ID = c.data.UserID
	parsed, err := protocol.ParseCredentialCreationResponseBytes(body.Response)
	var made *webauthn.Credential
	if err == nil {
		made, err = p.CreateCredential(account{u}, c.data, parsed)
	}
	if err != nil {
		s.o.Log.Debug("a new passkey was refused", "error", err.Error())
		s.refuse(w, http.StatusUnprocessableEntity, "the passkey cannot be used here")
		return
	}
	name := strings.TrimSpace(body.Name)
	if name == "" || len(name) > maxName {
		name = "passkey"
	}
	k := passkey{
		Name:       name,
		ID:         base64.RawURLEncoding.EncodeToString(made.ID),
		Host:       siteOf(r).host,
		Made:       s.o.Now().UTC().Truncate(time.Second),
		Credential: made,
	}
	err = s.users.change(u.Name, func(had *User) (*User, error) {
		switch {
		case had == nil && n.user:
			return nil, errNoUser(u.Name)
		case had == nil:
			had = u
		case !n.user:
			return nil, errors.New("there is a user already")
		}
		had.Passkeys = append(had.Passkeys, k)
		return had, nil
	})
	if err != nil {
		s.refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	s.o.Audit(s.by(r, n.name), "console: passkey added for "+u.Name, nil)
	if !n.user { // from here on they are the user
		s.sessions.end(n.token)
		s.signIn(w, r, &session{name: u.Name, user: true, how: "passkey", holder: s.users.holder(u.Name)})
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) dropPasskey(w http.ResponseWriter, r *http.Request) {
	n := s.session(r)
	if n == nil || !n.user {
		s.refuse(w, http.StatusUnauthorized, "sign in")
		return
	}
	id := r.PathValue("id")
	err := s.users.change(n.name, func(u *User) (*User, error) {
		if u == nil {
			return nil, errNoUser(n.name)
		}
		before := len(u.Passkeys)
		u.Passkeys = slices.DeleteFunc(u.Passkeys, func(p passkey) bool { return p.ID == id })
		if len(u.Passkeys) == before {
			return nil, errors.New("there is no such passkey")
		}
		return u, nil
	})
	if err != nil {
		s.refuse(w, http.StatusConflict, err.Error())
		return
	}
	// Whoever has signed in with it elsewhere may not be who removes it.
	s.sessions.endOf(n.name, n.token)
	s.o.Audit(s.by(r, n.name), "console: passkey removed", nil)
	w.WriteHeader(http.StatusNoContent)
}
