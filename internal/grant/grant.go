// Package grant is who may do what with which zones, names and types of records: one table for all
// that can show who they are, by the secret of a key (TSIG), by a token of the API or by a client
// certificate.
//
// A [Holder] has grants, and each is a set of zones, names, types and verbs, and a time at which it
// ends. What one grant gives no other takes away. Updates, transfers and notifications of zones are
// judged by package policy, record by record; app gives it what this table says of keys and certificates,
// so that a key, a token and a certificate with equal grants may do equal things (TestGrantsAlike).
//
// A request has one holder: of the token or the key that it carries, and only if it carries neither, of
// the certificate of its connection. Rights of two holders are never added up.
//
// Secrets of tokens are not here: what is kept is their SHA-256, and what is shown is compared with all
// of them in constant time.
package grant

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"port53/internal/certs"
	"port53/internal/policy"
	"port53/internal/wire"
)

// Verbs are a set of what a grant lets its holder do.
type Verbs uint8

// The verbs.
const (
	Read   Verbs = 1 << iota // records; the whole zone, if it is for all names and types: transfers are that
	Change                   // records
	Notify                   // say that the zone has changed, and have others told so
	Sign                     // see, make and remove DNSSEC keys
	Admin                    // all of that, and to add and remove the zone, and say how it is served

	All = Read | Change | Notify | Sign | Admin
)

// verbs are the verbs as they are written.
var verbs = [...]string{"read", "change", "notify", "sign", "admin"}

// VerbNames returns the verbs as they are written.
func VerbNames() []string { return verbs[:] }

// ParseVerbs reads verbs. Admin is all of them.
func ParseVerbs(names []string) (v Verbs, err error) {
	for _, name := range names {
		i := slices.Index(verbs[:], name)
		if i < 0 {
			return 0, fmt.Errorf("%q is not a verb: it is one of %s", name, strings.Join(verbs[:], ", "))
		}
		v |= 1 << i
	}
	if v&Admin != 0 {
		v = All
	}
	return v, nil
}

// String returns the verbs as they are written, parted by commas.
func (v Verbs) String() string {
	if v&Admin != 0 {
		return "admin"
	}
	var list []string
	for i, name := range verbs {
		if v&(1<<i) != 0 {
			list = append(list, name)
		}
	}
	return strings.Join(list, ",")
}

// A Grant lets its holder do something.
type Grant struct {
	Zones Zones
	Names []string    // as [policy.ParsePattern] reads them; "*": all of each zone
	Types []wire.Type // none: all
	Verbs Verbs
	Until time.Time // when it ends; zero: never
}

// Zones are the zones that a grant is for.
type Zones struct {
	All   bool             // whatever is served
	Exact []policy.Pattern // zones, and what is below names
}

// ParseZones reads zones: a name, *.name for all zones below it, or * for all.
func ParseZones(texts []string) (z Zones, err error) {
	if len(texts) == 0 {
		return z, errors.New("there is no zone")
	}
	for _, text := range texts {
		if text == "*" {
			z.All = true
			continue
		}
		p, err := policy.ParsePattern(text, wire.Root)
		if err != nil {
			return z, fmt.Errorf("zone %q: %w", text, err)
		}
		z.Exact = append(z.Exact, p...)
	}
	return z, nil
}

// Has reports whether a zone, by its name in lower case, is one of them.
func (z *Zones) Has(apex []byte) bool {
	return z.All || slices.ContainsFunc(z.Exact, func(p policy.Pattern) bool { return p.Matches(apex) })
}

// reaches reports whether a name of a pattern can be in one of the zones. A pattern for any zone is read with the
// root as the zone, and reaches all.
func (z *Zones) reaches(p policy.Pattern) bool {
	if z.All || len(p.Name) == 1 {
		return true
	}
	return slices.ContainsFunc(z.Exact, func(zone policy.Pattern) bool {
		if p.Below && wire.Subdomain(zone.Name, p.Name) {
			return true
		}
		return wire.Subdomain(p.Name, zone.Name) && (!zone.Below || len(p.Name) > len(zone.Name))
	})
}

// ParseTypes reads types of records; none is all.
func ParseTypes(texts []string) ([]wire.Type, error) {
	var list []wire.Type
	for _, text := range texts {
		t, ok := wire.ParseType(text)
		if !ok {
			return nil, fmt.Errorf("%q is not a record type: write types such as A, AAAA or TXT", text)
		}
		list = append(list, t)
	}
	return list, nil
}

// ParseUntil reads when a grant ends: a day, which ends with it in UTC, or a moment; empty: never.
func ParseUntil(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return day.AddDate(0, 0, 1), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, fmt.Errorf("%q is not a time: write 2027-01-31 or 2027-01-31T12:00:00Z", text)
	}
	return t, nil
}

// Active reports whether the grant has not ended.
func (g *Grant) Active(now time.Time) bool { return g.Until.IsZero() || now.Before(g.Until) }

// Check returns why a grant that is made now could never be used: it has ended, or it is for names that are in
// none of its zones. nil: it can be used.
func (g *Grant) Check(now time.Time) error {
	if !g.Active(now) {
		return fmt.Errorf("it has ended on %s: write a time that is to come", g.Until.UTC().Format(time.RFC3339))
	}
	for _, text := range g.Names {
		if !slices.ContainsFunc(patterns(text, wire.Root), g.Zones.reaches) {
			return fmt.Errorf("name %s is in none of the zones: write names in full, such as www.example.com, or @ or *", text)
		}
	}
	return nil
}

// WholeZone reports whether the grant is for all names and types of its zones.
func (g *Grant) WholeZone() bool { return len(g.Types) == 0 && slices.Contains(g.Names, "*") }

// Patterns returns the names of the grant in a zone. Those that are in no part of it match nothing.
func (g *Grant) Patterns(apex []byte) (list []policy.Pattern) {
	for _, text := range g.Names {
		list = append(list, patterns(text, apex)...)
	}
	return list
}

// patterns returns the names in a zone that a text is for; none: it is not one that can be read.
func patterns(text string, apex []byte) []policy.Pattern {
	p, err := policy.ParsePattern(text, apex)
	if err != nil {
		return nil
	}
	return p
}

// A Kind is how a holder shows who they are.
type Kind uint8

// The kinds.
const (
	Key         Kind = iota // a secret that signs messages (TSIG)
	Token                   // a secret that is sent with each request of the API
	Local                   // by being on this machine, and allowed to use the control socket
	User                    // by having signed in to the console
	Certificate             // by a client certificate (mutual TLS)
)

// String returns the kind for people.
func (k Kind) String() string {
	return [...]string{"key", "token", "local", "user", "certificate"}[min(k, Certificate)]
}

// A Holder is who has grants.
type Holder struct {
	Kind   Kind
	Name   string            // a key's is a domain name without its last dot, in lower case
	Secret [sha256.Size]byte // of a token, as [Hash] makes it
	Client *certs.Client     // whose certificate it is; nil: of other kinds
	Grants []Grant
}

// May reports whether the holder may do all of want, which are one verb or more, with the records of a
// type at a name of a zone. Names are in lower case; type ANY stands for all records of the name.
func (h *Holder) May(want Verbs, apex, name []byte, t wire.Type, now time.Time) bool {
	return h.any(want, apex, now, func(g *Grant) bool {
		return (len(g.Types) == 0 || slices.Contains(g.Types, t)) &&
			slices.ContainsFunc(g.Patterns(apex), func(p policy.Pattern) bool { return p.Matches(name) })
	})
}

// MayWholeZone reports whether the holder may do all of want with the whole of a zone, by one grant.
func (h *Holder) MayWholeZone(want Verbs, apex []byte, now time.Time) bool {
	return h.any(want, apex, now, (*Grant).WholeZone)
}

// MayAny reports whether there is anything in a zone that the holder may do all of want with.
func (h *Holder) MayAny(want Verbs, apex []byte, now time.Time) bool {
	return h.any(want, apex, now, func(g *Grant) bool { return len(g.Names) > 0 })
}

// MayServer reports whether the holder may do all of want with the server itself: such a grant is for
// the whole of all zones.
func (h *Holder) MayServer(want Verbs, now time.Time) bool {
	return slices.ContainsFunc(h.Grants, func(g Grant) bool {
		return g.Zones.All && g.WholeZone() && g.Verbs&want == want && g.Active(now)
	})
}

func (h *Holder) any(want Verbs, apex []byte, now time.Time, fits func(*Grant) bool) bool {
	for i := range h.Grants {
		if g := &h.Grants[i]; g.Verbs&want == want && g.Active(now) && g.Zones.Has(apex) && fits(g) {
			return true
		}
	}
	return false
}

// A Table is all holders. It is not modified once it is in use.
type Table []Holder

// Token returns the holder of a token, or nil. How long it takes does not depend on what is shown.
func (t Table) Token(shown string) *Holder {
	sum := Hash(shown)
	var found *Holder
	for i := range t {
		if h := &t[i]; h.Kind == Token && subtle.ConstantTimeCompare(h.Secret[:], sum[:]) == 1 {
			found = h
		}
	}
	return found
}

// Certificate returns the first holder of a certificate that a chain is of at a time, or nil. A connection
// that goes on, or resumes a session, is judged by the table that is in use then.
func (t Table) Certificate(chain []*x509.Certificate, now time.Time) *Holder {
	if len(chain) == 0 {
		return nil
	}
	for i := range t {
		if h := &t[i]; h.Kind == Certificate && h.Client != nil && h.Client.Verify(chain, now) == nil {
			return h
		}
	}
	return nil
}

// Prefix begins every token, so that those who look for secrets in texts know one.
const Prefix = "p53_"

// NewToken returns a new token: 256 random bits behind [Prefix].
func NewToken() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // it never fails
	return Prefix + base64.RawURLEncoding.EncodeToString(b[:])
}

// Hash returns what is kept of a token. A token has so many random bits that a hash without salt and
// without patience is as good as any.
func Hash(token string) [sha256.Size]byte { return sha256.Sum256([]byte(token)) }
