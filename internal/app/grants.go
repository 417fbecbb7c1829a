package app

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"port53/internal/config"
	"port53/internal/grant"
	"port53/internal/policy"
	"port53/internal/tsig"
	"port53/internal/wire"
	"port53/internal/zones"
)

// GrantsFile is the file in the state directory with the keys, tokens and certificates that were granted
// to the running server.
const GrantsFile = "grants"

// granted returns the keys, tokens and certificates of the file.
func (s *added) granted() (*config.Granted, error) {
	text, err := s.readFile(GrantsFile)
	if err != nil {
		return nil, err
	}
	return config.ParseGranted(text)
}

// holders returns who has grants. What it reads was checked before.
func holders(c *config.Config) grant.Table {
	var table grant.Table
	for i := range c.Keys {
		if k := &c.Keys[i]; len(k.Grants) > 0 {
			table = append(table, grant.Holder{Kind: grant.Key, Name: keyName(k.Name), Grants: grantsOf(k.Grants)})
		}
	}
	for i := range c.Tokens {
		t := &c.Tokens[i]
		table = append(table, grant.Holder{Kind: grant.Token, Name: t.Name, Secret: t.Sum, Grants: grantsOf(t.Grants)})
	}
	for i := range c.ClientCertificates {
		k := &c.ClientCertificates[i]
		table = append(table, grant.Holder{Kind: grant.Certificate, Name: k.Name, Client: k.Client(), Grants: grantsOf(k.Grants)})
	}
	if c.Console.Listen.IsValid() {
		// Who signs in is known to the console alone: its zones can be changed, as if by a token.
		table = append(table, grant.Holder{Kind: grant.User, Name: "console", Grants: []grant.Grant{{
			Zones: grant.Zones{All: true}, Names: []string{"*"}, Verbs: grant.All,
		}}})
	}
	return table
}

// keyName returns the name of a key as tables and people have it.
func keyName(name []byte) string {
	return strings.TrimSuffix(string(wire.AppendName(nil, wire.Lower(nil, name))), ".")
}

// grantsOf returns the grants that are good: others give nothing.
func grantsOf(list []config.Right) (all []grant.Grant) {
	for i := range list {
		if g, err := grantOf(&list[i]); err == nil {
			all = append(all, g)
		}
	}
	return all
}

func grantOf(r *config.Right) (g grant.Grant, err error) {
	var errs [4]error
	g.Names = r.Names
	g.Zones, errs[0] = grant.ParseZones(r.Zone)
	g.Types, errs[1] = grant.ParseTypes(r.Types)
	g.Verbs, errs[2] = grant.ParseVerbs(r.Verbs)
	g.Until, errs[3] = grant.ParseUntil(r.Until)
	for _, name := range r.Names {
		if _, bad := policy.ParsePattern(name, wire.Root); bad != nil {
			err = fmt.Errorf("name %q: %w", name, bad)
		}
	}
	if err = errors.Join(errors.Join(errs[:]...), err); err == nil && (len(g.Names) == 0 || g.Verbs == 0) {
		err = errors.New("a grant without names or verbs allows nothing")
	}
	return g, err
}

// addRights gives a zone what the table says of keys and certificates, and notes whether others may
// change it.
func addRights(s *zones.Source, table grant.Table) {
	apex := wire.Lower(nil, s.Apex)
	primary := len(s.Primaries) == 0 && !s.Produces
	anywhere := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	for i := range table {
		h := &table[i]
		for j := range h.Grants {
			g := &h.Grants[j]
			if !g.Zones.Has(apex) {
				continue
			}
			rule := policy.Rule{Networks: anywhere, Until: g.Until}
			switch h.Kind {
			case grant.Key:
				key, err := wire.ParseName(h.Name)
				if err != nil {
					continue
				}
				rule.Key = key
			case grant.Certificate:
				rule.Holder = h.Name
			default:
				s.Changes = s.Changes || primary && g.Verbs&grant.Change != 0
				continue
			}
			if g.Verbs&grant.Change != 0 && primary {
				s.Updates = append(
					s.Updates,
					policy.Grant{Key: rule.Key, Holder: rule.Holder, Names: g.Patterns(apex), Types: g.Types, Until: g.Until},
				)
			}
			if g.Verbs&grant.Read != 0 && g.WholeZone() {
				s.TransferBy = append(s.TransferBy, rule)
			}
			if g.Verbs&grant.Notify != 0 {
				s.NotifyBy = append(s.NotifyBy, rule)
			}
		}
	}
}

// A Credential is a key, a token or a client certificate, as people are told of it.
type Credential struct {
	Name   string                `json:"name"`
	Kind   string                `json:"kind"` // key, token or certificate
	Place  string                `json:"configured_at,omitempty"`
	Made   time.Time             `json:"made,omitzero"`
	Grants []config.GrantedRight `json:"grants"`

	Algorithm string `json:"algorithm,omitempty"` // of a key
	Secret    string `json:"secret,omitempty"`    // as it was made: it is told once

	Hostname string   `json:"hostname,omitempty"` // that a certificate has
	CA       string   `json:"ca,omitempty"`       // the file of who vouches for it
	Pins     []string `json:"pins,omitempty"`     // of its public key
}

// Note is what the audit has of it.
func (h Credential) Note() string { return h.Kind + " " + h.Name }

// Grants implements [console.Admin].
func (a *App) Grants() (any, error) {
	c := a.current.Load().config
	list := []Credential{}
	back := func(rights []config.Right) (all []config.GrantedRight) {
		for _, r := range rights {
			all = append(all, config.GrantedRight{Zones: r.Zone, Names: r.Names, Types: r.Types, Verbs: r.Verbs, Until: r.Until})
		}
		return all
	}
	for i := range c.Keys {
		k := &c.Keys[i]
		h := Credential{Name: keyName(k.Name), Kind: "key", Algorithm: k.Algorithm, Grants: back(k.Grants)}
		if h.Place = "state_dir"; !c.KeyGranted(i) {
			h.Place = c.FileOf("keys.name", i)
		}
		list = append(list, h)
	}
	for i := range c.Tokens {
		t := &c.Tokens[i]
		h := Credential{Name: t.Name, Kind: "token", Grants: back(t.Grants)}
		if h.Place = "state_dir"; !c.TokenGranted(i) {
			h.Place = c.FileOf("tokens.name", i)
		}
		list = append(list, h)
	}
	for i := range c.ClientCertificates {
		k := &c.ClientCertificates[i]
		h := Credential{Name: k.Name, Kind: "certificate", Hostname: k.Hostname, CA: k.CA, Pins: k.Pins, Grants: back(k.Grants)}
		if h.Place = "state_dir"; !c.CertificateGranted(i) {
			h.Place = c.FileOf("client_certificates.name", i)
		}
		list = append(list, h)
	}
	return list, nil
}

// Grant implements [console.Admin].
func (a *App) Grant(what []byte) (any, error) {
	var h Credential
	if err := json.Unmarshal(what, &h); err != nil {
		return nil, err
	}
	if strings.TrimSpace(h.Name) == "" {
		return nil, errors.New("there is no name: write one, such as that of the program or server that gets the grant")
	}
	for i := range h.Grants {
		g := &h.Grants[i]
		read, err := grantOf(&config.Right{Zone: g.Zones, Names: g.Names, Types: g.Types, Verbs: g.Verbs, Until: g.Until})
		if err == nil {
			err = read.Check(time.Now())
		}
		if err != nil {
			return nil, err
		}
	}
	if len(h.Grants) == 0 {
		return nil, errors.New("no grant is given: the key, token or certificate would allow nothing")
	}
	h.Made, h.Place = time.Now().UTC().Truncate(time.Second), "state_dir"
	err := a.changeGrants(func(g *config.Granted) error {
		switch h.Kind {
		case "token":
			h.Secret = grant.NewToken()
			sum := grant.Hash(h.Secret)
			g.Tokens = append(g.Tokens, config.GrantedToken{Name: h.Name, Hash: hex.EncodeToString(sum[:]), Made: h.Made, Grants: h.Grants})
		case "key":
			secret, err := newSecret(&h)
			if err != nil {
				return err
			}
			h.Secret = secret
			g.Keys = append(
				g.Keys,
				config.GrantedKey{Name: h.Name, Algorithm: h.Algorithm, Secret: h.Secret, Made: h.Made, Grants: h.Grants},
			)
		case "certificate":
			g.Certificates = append(g.Certificates, config.GrantedCertificate{Name: h.Name, Pins: h.Pins, Made: h.Made, Grants: h.Grants})
		default:
			return fmt.Errorf("%q is none of \"token\", \"key\" and \"certificate\"", h.Kind)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("grant %s: %w", h.Name, err)
	}
	return h, nil
}

// newSecret makes the secret of a key, in base64, and its name what names of keys are.
func newSecret(h *Credential) (string, error) {
	name, err := wire.ParseName(h.Name)
	if err != nil || len(name) < 2 {
		return "", fmt.Errorf("%q is not a valid key name", h.Name)
	}
	if h.Name = keyName(name); h.Algorithm == "" {
		h.Algorithm = "hmac-sha256"
	}
	algorithm, ok := tsig.ParseAlgorithm(h.Algorithm)
	if !ok {
		return "", fmt.Errorf("algorithm %q is not supported", h.Algorithm)
	}
	octets := make([]byte, algorithm.Size())
	_, _ = rand.Read(octets) // it never fails
	return base64.StdEncoding.EncodeToString(octets), nil
}

// Revoke implements [console.Admin].
func (a *App) Revoke(name string) (any, error) {
	gone := Credential{Name: name}
	err := a.changeGrants(func(g *config.Granted) error {
		g.Tokens = slices.DeleteFunc(g.Tokens, func(t config.GrantedToken) bool {
			if t.Name == name {
				gone.Kind, gone.Grants = "token", t.Grants
			}
			return t.Name == name
		})
		g.Keys = slices.DeleteFunc(g.Keys, func(k config.GrantedKey) bool {
			if k.Name == strings.ToLower(name) && gone.Kind == "" {
				gone.Kind, gone.Grants = "key", k.Grants
				return true
			}
			return false
		})
		g.Certificates = slices.DeleteFunc(g.Certificates, func(k config.GrantedCertificate) bool {
			if k.Name == name && gone.Kind == "" {
				gone.Kind, gone.Grants = "certificate", k.Grants
				return true
			}
			return false
		})
		if gone.Kind == "" {
			return a.notGranted(name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return gone, nil
}

// notGranted says why there is nothing of a name to revoke.
func (a *App) notGranted(name string) error {
	c := a.current.Load().config
	for i := range c.Tokens {
		if c.Tokens[i].Name == name && !c.TokenGranted(i) {
			return fmt.Errorf(
				"token %s is in the configuration, %s: remove it there and run port53 reload",
				name,
				c.FileOf("tokens.name", i),
			)
		}
	}
	for i := range c.Keys {
		if keyName(c.Keys[i].Name) == name && !c.KeyGranted(i) {
			return fmt.Errorf("key %s is in the configuration, %s: remove it there and run port53 reload", name, c.FileOf("keys.name", i))
		}
	}
	for i := range c.ClientCertificates {
		if c.ClientCertificates[i].Name == name && !c.CertificateGranted(i) {
			return fmt.Errorf(
				"certificate %s is in the configuration, %s: remove it there and run port53 reload",
				name,
				c.FileOf("client_certificates.name", i),
			)
		}
	}
	return fmt.Errorf("there is no key, no token and no certificate %s", name)
}

// maxGranted is the most keys, tokens and certificates that commands make: each token is compared with
// each request.
const maxGranted = 1000

// changeGrants changes what commands have granted; it counts, and lasts, when it returns.
func (a *App) changeGrants(change func(*config.Granted) error) error {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	was, err := a.added.readFile(GrantsFile)
	if err != nil {
		return err
	}
	g, err := config.ParseGranted(was)
	if err != nil {
		return err
	}
	if err := change(g); err != nil {
		return err
	}
	if len(g.Keys)+len(g.Tokens)+len(g.Certificates) > maxGranted {
		return fmt.Errorf("more than %d keys, tokens and certificates", maxGranted)
	}
	c, err := a.current.Load().config.WithGranted(g)
	if err != nil {
		return err
	}
	text, err := g.Text()
	if err != nil {
		return err
	}
	return a.changeFile(setChange{c, was, text, a.adoptAll}, GrantsFile)
}
