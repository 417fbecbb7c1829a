package web

import (
	"crypto/sha256"
	"errors"
	"net/http"
	"sync"
	"time"

	"port53/internal/grant"
)

// Bounds of links.
const (
	linkTime = 10 * time.Minute
	maxLinks = 64
)

// A link lets whoever opens it sign in, once.
type link struct {
	user  string // empty: as who made it, who may do all
	by    string
	until time.Time
}

type links struct {
	mu  sync.Mutex
	all map[[sha256.Size]byte]link
}

func newLinks() *links { return &links{all: map[[sha256.Size]byte]link{}} }

// add makes a link; false: there are too many.
func (l *links) add(n link, now time.Time) (token string, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, o := range l.all {
		if !now.Before(o.until) {
			delete(l.all, key)
		}
	}
	if len(l.all) >= maxLinks {
		return "", false
	}
	token = random()
	l.all[sha256.Sum256([]byte(token))] = n
	return token, true
}

// use takes the link of a token away, if it still counts.
func (l *links) use(token string, now time.Time) (link, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := sha256.Sum256([]byte(token))
	n, ok := l.all[key]
	delete(l.all, key)
	return n, ok && now.Before(n.until)
}

// A Link is where somebody signs in.
type Link struct {
	URL   string    `json:"url"`
	User  string    `json:"user,omitempty"`
	Until time.Time `json:"until"`
}

// Note is what the audit has of it: the link itself is a secret.
func (l *Link) Note() string {
	if l.User == "" {
		return "a link"
	}
	return "a link for " + l.User
}

// errLinks is of too many links.
var errLinks = errors.New("too many unused links: each expires after ten minutes")

// Link makes a link that signs in once, within ten minutes, as a user; without one as who asks for it, by,
// who may do all. The secret is behind the #, which browsers send to nobody.
func (s *Server) Link(by, user string) (*Link, error) {
	if user != "" && s.users.named(user) == nil {
		return nil, errNoUser(user)
	}
	now := s.o.Now()
	until := now.Add(linkTime)
	token, ok := s.links.add(link{user, by, until}, now)
	if !ok {
		return nil, errLinks
	}
	return &Link{URL: s.origin() + "/#link=" + token, User: user, Until: until.UTC().Truncate(time.Second)}, nil
}

func (s *Server) useLink(w http.ResponseWriter, r *http.Request) {
	var body struct{ Link string }
	if !s.mayTry(w, r) {
		return
	}
	if err := read(w, r, &body); err != nil {
		s.refuse(w, http.StatusBadRequest, "the body is not a link")
		return
	}
	l, ok := s.links.use(body.Link, s.o.Now())
	if !ok {
		s.failed(w, r, "unknown", "a link", "the link was used or has expired: create another with port53 console")
		return
	}
	n := &session{name: l.user, user: true, how: "a link", holder: s.users.holder(l.user)}
	if l.user == "" {
		all := grant.Grant{Zones: grant.Zones{All: true}, Names: []string{"*"}, Verbs: grant.All}
		h := &grant.Holder{Kind: grant.Local, Name: l.by, Grants: []grant.Grant{all}}
		n.name, n.user, n.holder = l.by, false, func(time.Time) *grant.Holder { return h }
	}
	s.signIn(w, r, n)
	w.WriteHeader(http.StatusNoContent)
}
