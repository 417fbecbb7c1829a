package web

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"
	"golang.org/x/crypto/argon2"

	"port53/internal/grant"
)

// A Store keeps the users. What Save is given lasts when it returns.
type Store interface {
	Load() ([]byte, error) // nil: there are none
	Save([]byte) error
}

// A User may sign in.
type User struct {
	Name     string    `json:"name"`
	ID       []byte    `json:"id"` // random; what passkeys know the user by
	Role     string    `json:"role,omitempty"`
	Grants   []Right   `json:"grants,omitempty"` // beside those of the role
	Password string    `json:"password,omitempty"`
	Passkeys []passkey `json:"passkeys,omitempty"`
	Made     time.Time `json:"made"`
}

// A Right lets a user do something, as a grant of a token does.
type Right struct {
	Zones []string `json:"zones"`
	Names []string `json:"names,omitempty"`
	Types []string `json:"types,omitempty"`
	Verbs []string `json:"verbs,omitempty"`
	Until string   `json:"until,omitempty"`
}

// A passkey is one that a user has made.
type passkey struct {
	Name       string               `json:"name"`
	ID         string               `json:"id"`
	Host       string               `json:"host"` // the name that it is for
	Made       time.Time            `json:"made"`
	Used       time.Time            `json:"used,omitzero"`
	Credential *webauthn.Credential `json:"credential,omitempty"`
}

// Roles returns the roles that a user, or a group of a provider, may have.
func Roles() []string { return []string{"reader", "editor", "admin"} }

// verbsOf returns what a role may do with all zones.
func verbsOf(role string) (grant.Verbs, error) {
	switch role {
	case "":
		return 0, nil
	case "reader":
		return grant.Read, nil
	case "editor":
		return grant.Read | grant.Change | grant.Notify | grant.Sign, nil
	case "admin":
		return grant.All, nil
	}
	return 0, fmt.Errorf("%q is not a role: it is one of %s", role, strings.Join(Roles(), ", "))
}

// grantsOf returns the grants of a role and of rights.
func grantsOf(role string, rights []Right) (list []grant.Grant, err error) {
	verbs, err := verbsOf(role)
	if err != nil {
		return nil, err
	}
	if verbs != 0 {
		list = append(list, grant.Grant{Zones: grant.Zones{All: true}, Names: []string{"*"}, Verbs: verbs})
	}
	for _, r := range rights {
		g := grant.Grant{Names: r.Names}
		if len(g.Names) == 0 {
			g.Names = []string{"*"}
		}
		var errs [4]error
		g.Zones, errs[0] = grant.ParseZones(r.Zones)
		g.Types, errs[1] = grant.ParseTypes(r.Types)
		g.Verbs, errs[2] = grant.ParseVerbs(r.Verbs)
		g.Until, errs[3] = grant.ParseUntil(r.Until)
		if err := errors.Join(errs[:]...); err != nil {
			return nil, err
		}
		if g.Verbs == 0 {
			return nil, errors.New("a grant without verbs allows nothing")
		}
		list = append(list, g)
	}
	if len(list) == 0 {
		return nil, errors.New("neither a role nor a grant is given: the user could do nothing")
	}
	return list, nil
}

// users are those that are known, and how they are kept.
type users struct {
	store Store
	mu    sync.Mutex
	all   map[string]*User // never changed in place
}

// form is the version of the file; a later one is refused.
const form = 1

type usersFile struct {
	Form  int     `json:"form"`
	Users []*User `json:"users"`
}

const maxUsers = 1000

func openUsers(store Store) (*users, error) {
	text, err := store.Load()
	if err != nil {
		return nil, fmt.Errorf("the users of the console: %w", err)
	}
	u := &users{store: store, all: map[string]*User{}}
	if len(text) == 0 {
		return u, nil
	}
	var f usersFile
	switch err := json.Unmarshal(text, &f); {
	case err != nil:
		return nil, fmt.Errorf("the users of the console: %w", err)
	case f.Form != form:
		return nil, fmt.Errorf("the console's user file has format %d, written by a newer version", f.Form)
	}
	for _, one := range f.Users {
		u.all[one.Name] = one
	}
	return u, nil
}

func (u *users) named(name string) *User {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.all[name]
}

// byID returns the user that a passkey knows by an ID; nil: nobody.
func (u *users) byID(id []byte) *User {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, one := range u.all {
		if subtle.ConstantTimeCompare(one.ID, id) == 1 {
			return one
		}
	}
	return nil
}

// any reports whether there are users, and whether one has a password.
func (u *users) any() (some, passwords bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, one := range u.all {
		passwords = passwords || one.Password != ""
	}
	return len(u.all) > 0, passwords
}

// holder returns what tells who a user is, and what they may do, for as long as there is one of the name.
func (u *users) holder(name string) func(time.Time) *grant.Holder {
	return func(time.Time) *grant.Holder {
		one := u.named(name)
		if one == nil {
			return nil
		}
		list, err := grantsOf(one.Role, one.Grants)
		if err != nil {
			return nil
		}
		return &grant.Holder{Kind: grant.User, Name: name, Grants: list}
	}
}

// change replaces the user of a name by what f makes of it: nil in, there is none; nil out, there is none
// any more. It counts, and lasts, when it returns.
func (u *users) change(name string, f func(had *User) (*User, error)) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	var had *User
	if one := u.all[name]; one != nil {
		copied := *one
		copied.Passkeys = slices.Clone(one.Passkeys)
		had = &copied
	}
	next, err := f(had)
	if err != nil {
		return err
	}
	all := map[string]*User{}
	for key, one := range u.all {
		all[key] = one
	}
	delete(all, name)
	if next != nil {
		all[next.Name] = next
	}
	if len(all) > maxUsers {
		return fmt.Errorf("more than %d users", maxUsers)
	}
	list := []*User{}
	for _, one := range all {
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b *User) int { return strings.Compare(a.Name, b.Name) })
	text, err := json.MarshalIndent(usersFile{form, list}, "", " ")
	if err != nil {
		return err
	}
	if err := u.store.Save(append(text, '\n')); err != nil {
		return fmt.Errorf("the users cannot be kept: %w", err)
	}
	u.all = all
	return nil
}

func errNoUser(name string) error { return fmt.Errorf("there is no user %s", name) }

// A NewUser is a user that is to be made.
type NewUser struct {
	Name     string  `json:"name"`
	Role     string  `json:"role,omitempty"`
	Grants   []Right `json:"grants,omitempty"`
	Password string  `json:"password,omitempty"` // empty: a link is made, to make a passkey with
}

const (
	maxName     = 64
	minPassword = 12 // characters
	maxPassword = 1024
)

// AddUser makes a user, and a link to sign in with if there is no password.
func (s *Server) AddUser(by string, n NewUser) (*Link, error) {
	if n.Name == "" || len(n.Name) > maxName ||
		strings.ContainsFunc(n.Name, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\u202e' }) {
		return nil, fmt.Errorf("a name has 1 to %d characters without blanks", maxName)
	}
	for _, r := range n.Grants {
		if r.Names != nil && len(r.Names) == 0 || r.Types != nil && len(r.Types) == 0 {
			return nil, errors.New("the grant has an empty list of names or types: leave the list out to grant all of them")
		}
	}
	grants, err := grantsOf(n.Role, n.Grants)
	if err != nil {
		return nil, err
	}
	for i := range grants {
		if err := grants[i].Check(s.o.Now()); err != nil {
			return nil, err
		}
	}
	one := &User{Name: n.Name, Role: n.Role, Grants: n.Grants, ID: make([]byte, 32), Made: s.o.Now().UTC().Truncate(time.Second)}
	_, _ = rand.Read(one.ID) // it never fails
	if n.Password != "" {
		if len([]rune(n.Password)) < minPassword || len(n.Password) > maxPassword {
			return nil, fmt.Errorf("a password has %d to %d characters", minPassword, maxPassword)
		}
		one.Password = s.hash(n.Password)
	}
	err = s.users.change(n.Name, func(had *User) (*User, error) {
		if had != nil {
			return nil, fmt.Errorf(
				"there is a user %s already: port53 user remove %s first, or port53 console --user %s",
				n.Name,
				n.Name,
				n.Name,
			)
		}
		return one, nil
	})
	if err != nil || n.Password != "" {
		return nil, err
	}
	return s.Link(by, n.Name)
}

// RemoveUser takes a user away, and ends their sessions.
func (s *Server) RemoveUser(name string) error {
	err := s.users.change(name, func(had *User) (*User, error) {
		if had == nil {
			return nil, errNoUser(name)
		}
		return nil, nil
	})
	if err == nil {
		s.sessions.endOf(name, "")
	}
	return err
}

// A KnownUser is a user without what is secret.
type KnownUser struct {
	Name     string    `json:"name"`
	Role     string    `json:"role,omitempty"`
	Grants   []Right   `json:"grants,omitempty"`
	Password bool      `json:"password"`
	Passkeys []string  `json:"passkeys"` // by their names
	Made     time.Time `json:"made"`
}

// Users returns all users in the order of their names.
func (s *Server) Users() []KnownUser {
	s.users.mu.Lock()
	defer s.users.mu.Unlock()
	list := []KnownUser{}
	for _, u := range s.users.all {
		k := KnownUser{Name: u.Name, Role: u.Role, Grants: u.Grants, Password: u.Password != "", Passkeys: []string{}, Made: u.Made}
		for _, p := range u.Passkeys {
			k.Passkeys = append(k.Passkeys, p.Name)
		}
		list = append(list, k)
	}
	slices.SortFunc(list, func(a, b KnownUser) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// What a hash of a password costs (RFC 9106, section 4: the second choice, with less parallelism).
const (
	hashTime   = 3
	hashMemory = 64 << 10 // KiB
	hashLanes  = 1
	hashSize   = 32
	maxHashing = 2 // at the same time
)

// hash returns what is kept of a password, in the form that others have it in as well.
func (s *Server) hash(password string) string {
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // it never fails
	return fmt.Sprintf(
		"$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s",
		argon2.Version,
		hashMemory,
		hashTime,
		hashLanes,
		base64.RawStdEncoding.EncodeToString(
			salt,
		),
		base64.RawStdEncoding.EncodeToString(s.derive(password, salt, hashTime, hashMemory, hashLanes)),
	)
}

func (s *Server) derive(password string, salt []byte, time, memory uint32, lanes uint8) []byte {
	s.hashing <- struct{}{}
	defer func() { <-s.hashing }()
	return argon2.IDKey([]byte(password), salt, time, memory, lanes, hashSize)
}

// fits reports whether a password is the one of a hash. Without a hash it takes as long.
func (s *Server) fits(password, hash string) bool {
	var version int
	var memory, time uint32
	var lanes uint8
	var rest string
	if _, err := fmt.Sscanf(
		hash,
		"$argon2id$v=%d$m=%d,t=%d,p=%d$%s",
		&version,
		&memory,
		&time,
		&lanes,
		&rest,
	); err != nil || memory > 4*hashMemory || time == 0 ||
		lanes == 0 {
		s.derive(password, make([]byte, 16), hashTime, hashMemory, hashLanes)
		return false
	}
	saltText, sumText, _ := strings.Cut(rest, "$")
	salt, err1 := base64.RawStdEncoding.DecodeString(saltText)
	sum, err2 := base64.RawStdEncoding.DecodeString(sumText)
	return errors.Join(err1, err2) == nil && subtle.ConstantTimeCompare(s.derive(password, salt, time, memory, lanes), sum) == 1
}

func (s *Server) password(w http.ResponseWriter, r *http.Request) {
	var body struct{ Name, Password string }
	if !s.mayTry(w, r) {
		return
	}
	if err := read(w, r, &body); err != nil || len(body.Password) > maxPassword || len(body.Name) > maxName {
		s.refuse(w, http.StatusBadRequest, "the body is not a name and password")
		return
	}
	hash := ""
	u := s.users.named(body.Name)
	if u != nil {
		hash = u.Password
	}
	if !s.fits(body.Password, hash) {
		name := "unknown" // what was typed may be a password
		if u != nil {
			name = u.Name
		}
		s.failed(w, r, name, "password", "the name or the password is wrong")
		return
	}
	s.signIn(w, r, &session{name: u.Name, user: true, how: "password", holder: s.users.holder(u.Name)})
	w.WriteHeader(http.StatusNoContent)
}
