package policy

import (
	"bytes"
	"crypto/x509"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"port53/internal/certs"
	"port53/internal/wire"
)

// An Op is what the sender of a message wants of the server.
type Op uint8

// The operations.
const (
	Query    Op = iota // an answer
	Recurse            // an answer from beyond the zones that are served here
	Transfer           // a zone, whole or by differences (RFC 5936, RFC 1995)
	Notify             // to announce that a zone has changed at its primary (RFC 1996)
	Update             // to change a zone (RFC 2136)
)

// A Peer is who sent a message.
type Peer struct {
	Addr netip.Addr
	Key  []byte // the name of the key that signed it, in lower case; nil: none that is known here

	// Signed says that there is a signature, by whatever key.
	Signed bool

	// Certificates are what it has shown over TLS, its own first; nil: none.
	Certificates []*x509.Certificate

	// Holder is who has the certificate, as grants name them; "": nobody whom they know, or the
	// message is signed, and its key is who sent it.
	Holder string
}

// An Access decides who may do what. A server has one, for [Query] and [Recurse], and
// each zone has one, for what concerns that zone alone. It is immutable.
//
// The zero value lets everyone ask and recurse, and nobody transfer, notify or update.
type Access struct {
	Query   *ACL // nil: everyone
	Recurse *ACL // nil: everyone

	Transfer []Rule  // any of them is enough
	Notify   []Rule  // any of them is enough
	Updates  []Grant // who may change what of the zone

	// Forward says that the zone's primaries judge updates (RFC 2136, section 6): every
	// signed one is theirs.
	Forward bool
}

// Allows reports whether p may do op. For [Update] it reports whether p may change
// anything at all: [Access.MayChange] decides record by record.
func (a *Access) Allows(op Op, p Peer) bool {
	switch op {
	case Query:
		return a.MayQuery(p.Addr)
	case Recurse:
		return a.MayRecurse(p.Addr)
	case Transfer:
		return slices.ContainsFunc(a.Transfer, func(r Rule) bool { return r.allows(p) })
	case Notify:
		return slices.ContainsFunc(a.Notify, func(r Rule) bool { return r.allows(p) })
	case Update:
		return a.Forward && p.Signed || slices.ContainsFunc(a.Updates, func(g Grant) bool { return g.holds(p) })
	}
	return false
}

// MayQuery is Allows for [Query], on the path of every query.
func (a *Access) MayQuery(addr netip.Addr) bool { return a.Query == nil || a.Query.Allows(addr) }

// MayRecurse is Allows for [Recurse], on the path of every query.
func (a *Access) MayRecurse(addr netip.Addr) bool { return a.Recurse == nil || a.Recurse.Allows(addr) }

// MayChange reports whether p, by its key or as the holder of its certificate, may change the records
// of type t at name, which is in lower case. Type ANY stands for all records of the name.
func (a *Access) MayChange(p Peer, name []byte, t wire.Type) bool {
	return slices.ContainsFunc(a.Updates, func(g Grant) bool { return g.allows(p, name, t) })
}

// A Contract bounds what zones and grants let peers do: they may only narrow it. It is immutable.
type Contract struct{ Transfer, Notify, Update *Rules } // nil: zones and grants alone decide

// A Rules is who may do something at all: any of the rules is enough.
type Rules []Rule

// Allows reports whether p may do op as far as the contract goes; a nil contract bounds nobody.
func (c *Contract) Allows(op Op, p Peer) bool {
	if c == nil {
		return true
	}
	var b *Rules
	switch op {
	case Transfer:
		b = c.Transfer
	case Notify:
		b = c.Notify
	case Update:
		b = c.Update
	}
	return b == nil || slices.ContainsFunc(*b, func(r Rule) bool { return r.allows(p) })
}

// A Rule admits peers by their address and their signature: both have to fit.
type Rule struct {
	Networks []netip.Prefix // none: nobody

	// Key is the name of the key that has to have signed, in lower case. Nil: any
	// signature that verified will do.
	Key []byte

	// Unsigned admits messages without a signature. Without it and without Key, only
	// signed messages are admitted.
	Unsigned bool

	// Client admits whoever has proven over TLS to be this peer (RFC 9103, section 9.3.3), whatever
	// the message is signed with; nil: nobody is admitted so. Key and Unsigned say nothing then.
	Client *certs.Peer

	// Holder admits the holder of a certificate, by name; "": nobody is admitted so. Key and
	// Unsigned say nothing then.
	Holder string

	Until time.Time // when it ends; zero: never
}

// over reports whether something has ended by now.
func over(until time.Time) bool { return !until.IsZero() && !time.Now().Before(until) }

func (r *Rule) allows(p Peer) bool {
	if over(r.Until) || !slices.ContainsFunc(r.Networks, func(n netip.Prefix) bool { return n.Contains(p.Addr) }) {
		return false
	}
	switch {
	case r.Client != nil:
		return r.Client.Verify(p.Certificates, true, time.Now()) == nil
	case r.Holder != "":
		return r.Holder == p.Holder
	case p.Key == nil:
		return r.Unsigned
	}
	return r.Key == nil || string(r.Key) == string(p.Key)
}

// A Grant lets the holder of a key or of a certificate change some records of a zone.
type Grant struct {
	Key    []byte // its name, in lower case; nil: none
	Holder string // of a certificate, by name; "": none
	Names  []Pattern
	Types  []wire.Type // none: all
	Until  time.Time   // when it ends; zero: never
}

func (g *Grant) holds(p Peer) bool {
	byKey := p.Key != nil && g.Key != nil && string(g.Key) == string(p.Key)
	return (byKey || g.Holder != "" && g.Holder == p.Holder) && !over(g.Until)
}

func (g *Grant) allows(p Peer, name []byte, t wire.Type) bool {
	return g.holds(p) && (len(g.Types) == 0 || slices.Contains(g.Types, t)) &&
		slices.ContainsFunc(g.Names, func(p Pattern) bool { return p.Matches(name) })
}

// A Pattern is a name, or all names below one.
type Pattern struct {
	Name       []byte // in lower case
	Below      bool   // the names below Name, without Name itself
	FirstLabel []byte // with its length: of the names below, those that begin with this label; nil: all
}

// ParsePattern reads a name, *.name for all names below it, label.* for all names of the
// zone that begin with a label, as _acme-challenge.*, @ for the apex of the zone, or * for
// all of it, the apex included. apex is that of the zone.
func ParsePattern(text string, apex []byte) ([]Pattern, error) {
	lower := wire.Lower(nil, apex)
	switch label, first := strings.CutSuffix(text, ".*"); {
	case text == "*":
		return []Pattern{{Name: lower}, {Name: lower, Below: true}}, nil
	case text == "@":
		return []Pattern{{Name: lower}}, nil
	case first:
		name, err := wire.ParseName(label)
		if err == nil && (len(name) < 2 || int(name[0])+2 != len(name)) {
			err = errOneLabel
		}
		if err != nil {
			return nil, err
		}
		return []Pattern{{Name: lower, Below: true, FirstLabel: wire.Lower(nil, name[:len(name)-1])}}, nil
	}
	name, err := wire.ParseName(text)
	if err != nil {
		return nil, err
	}
	name = wire.Lower(nil, name)
	if name[0] == 1 && name[1] == '*' {
		return []Pattern{{Name: name[2:], Below: true}}, nil
	}
	return []Pattern{{Name: name}}, nil
}

// errOneLabel is of a pattern such as a.b.*.
var errOneLabel = errors.New("exactly one label comes before .*, as in _acme-challenge.*")

// Matches reports whether a name, in wire form and lower case, is one of the pattern's.
func (p *Pattern) Matches(name []byte) bool {
	if p.Below {
		return len(name) > len(p.Name) && wire.Subdomain(name, p.Name) && bytes.HasPrefix(name, p.FirstLabel)
	}
	return string(name) == string(p.Name)
}
