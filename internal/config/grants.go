package config

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"port53/internal/certs"
	"port53/internal/wire"
)

// GrantsLine is the first line of the file in which a server keeps the keys and tokens that were
// granted to it while it ran, and certGrantsLine that of one with client certificates, which versions
// before them cannot read. What follows is JSON, a [Granted].
const (
	GrantsLine     = "port53 grants 1"
	certGrantsLine = "port53 grants 2"
)

// A Granted is the keys, tokens and client certificates that commands have given to a running server.
type Granted struct {
	Keys         []GrantedKey         `json:"keys,omitempty"`
	Tokens       []GrantedToken       `json:"tokens,omitempty"`
	Certificates []GrantedCertificate `json:"certificates,omitempty"`
}

// A GrantedCertificate is a client certificate, which is known by its public key.
type GrantedCertificate struct {
	Name   string         `json:"name"`
	Pins   []string       `json:"pins"` // in base64
	Made   time.Time      `json:"made,omitzero"`
	Grants []GrantedRight `json:"grants"`
}

// A GrantedKey is a key that signs messages. Whoever verifies signatures has its secret.
type GrantedKey struct {
	Name      string         `json:"name"`
	Algorithm string         `json:"algorithm"`
	Secret    string         `json:"secret"` // in base64
	Made      time.Time      `json:"made,omitzero"`
	Grants    []GrantedRight `json:"grants"`
}

// A GrantedToken is a token, of which only the hash is kept.
type GrantedToken struct {
	Name   string         `json:"name"`
	Hash   string         `json:"sha256"` // in hexadecimal digits
	Made   time.Time      `json:"made,omitzero"`
	Grants []GrantedRight `json:"grants"`
}

// A GrantedRight is a [Right] as JSON has it.
type GrantedRight struct {
	Zones []string `json:"zones"`
	Names []string `json:"names"`
	Types []string `json:"types,omitempty"`
	Verbs []string `json:"verbs"`
	Until string   `json:"until,omitempty"`
}

func rights(list []GrantedRight) []Right {
	all := make([]Right, len(list))
	for i, g := range list {
		all[i] = Right{Zone: g.Zones, Names: g.Names, Types: g.Types, Verbs: g.Verbs, Until: g.Until}
	}
	return all
}

// KnowsGrants reports whether the first line of a file of grants is one that this version reads.
func KnowsGrants(line string) bool { return line == GrantsLine || line == certGrantsLine }

// ParseGranted reads the text of the file.
func ParseGranted(text []byte) (*Granted, error) {
	g := &Granted{}
	if len(text) == 0 {
		return g, nil
	}
	line, rest, _ := bytes.Cut(text, []byte{'\n'})
	if !KnowsGrants(string(line)) {
		return nil, fmt.Errorf(
			"the first line is %s, and this version of port53 reads %s and %s: it was written by another version, or is damaged",
			quote(printable(string(line[:min(len(line), 40)]))),
			quote(GrantsLine),
			quote(certGrantsLine),
		)
	}
	d := json.NewDecoder(bytes.NewReader(rest))
	d.DisallowUnknownFields()
	if err := d.Decode(g); err != nil {
		return nil, err
	}
	return g, nil
}

// Text returns the text of the file.
func (g *Granted) Text() ([]byte, error) {
	line := GrantsLine
	if len(g.Certificates) > 0 {
		line = certGrantsLine
	}
	text, err := json.MarshalIndent(g, "", " ")
	return append(append([]byte(line+"\n"), text...), '\n'), err
}

// WithGranted returns the configuration with the keys, tokens and certificates of g beside those of its own files,
// instead of those that it had from another before. c stays as it is.
func (c *Config) WithGranted(g *Granted) (*Config, error) {
	n := *c
	n.Keys = slices.Clone(c.Keys[:len(c.Keys)-c.granted.keys])
	n.Tokens = slices.Clone(c.Tokens[:len(c.Tokens)-c.granted.tokens])
	n.ClientCertificates = slices.Clone(c.ClientCertificates[:len(c.ClientCertificates)-c.granted.certificates])
	n.granted = granted{}
	for i := range g.Keys {
		k := &g.Keys[i]
		name, err := wire.ParseName(k.Name)
		octets, decodeErr := base64.StdEncoding.DecodeString(k.Secret)
		switch {
		case err != nil || decodeErr != nil || len(octets) < minSecret:
			return nil, fmt.Errorf("key %s is not as it was written", quote(printable(k.Name)))
		case slices.ContainsFunc(n.Keys, func(o Key) bool { return wire.EqualFold(o.Name, name) }):
			return nil, fmt.Errorf("there is a key %s already", quote(printable(k.Name)))
		}
		n.Keys = append(n.Keys, Key{Name: name, Algorithm: k.Algorithm, Grants: rights(k.Grants), Octets: octets})
		n.granted.keys++
	}
	for i := range g.Tokens {
		t := &g.Tokens[i]
		sum, err := hex.DecodeString(t.Hash)
		switch {
		case err != nil || len(sum) != sha256.Size:
			return nil, fmt.Errorf("token %s is not as it was written", quote(printable(t.Name)))
		case slices.ContainsFunc(n.Tokens, func(o Token) bool { return o.Name == t.Name }):
			return nil, fmt.Errorf("there is a token %s already", quote(printable(t.Name)))
		}
		n.Tokens = append(n.Tokens, Token{Name: t.Name, Hash: t.Hash, Grants: rights(t.Grants), Sum: [32]byte(sum)})
		n.granted.tokens++
	}
	for i := range g.Certificates {
		k := ClientCertificate{Name: g.Certificates[i].Name, Pins: g.Certificates[i].Pins, Grants: rights(g.Certificates[i].Grants)}
		switch pins := k.Client().Pins; {
		case len(pins) == 0 || len(pins) != len(k.Pins):
			return nil, fmt.Errorf("certificate %s has no pin, or one that is no SHA-256 digest in base64", quote(printable(k.Name)))
		case !holderName(k.Name):
			return nil, fmt.Errorf("certificate %s: %s", quote(printable(k.Name)), holderNames)
		}
		for j := range n.ClientCertificates {
			if o := &n.ClientCertificates[j]; o.Name == k.Name {
				return nil, fmt.Errorf("there is a certificate %s already", quote(k.Name))
			} else if pin := commonPin(o, &k); pin != "" {
				return nil, fmt.Errorf("the pin %s is certificate %s's already: a certificate has one holder", pin, quote(o.Name))
			}
		}
		n.ClientCertificates = append(n.ClientCertificates, k)
		n.granted.certificates++
	}
	return &n, nil
}

// holderNames says what the names of holders of certificates are.
const holderNames = "a name has letters, digits and - _ . @ alone, and at most 64 of them"

// holderName reports whether a name can stand in logs, and be told from others there.
func holderName(name string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.@"
	return name != "" && len(name) <= 64 && strings.Trim(name, letters) == ""
}

// commonPin returns a pin that both have which could be of the same certificate, or "".
func commonPin(a, b *ClientCertificate) string {
	for _, p := range a.Client().Pins {
		if slices.Contains(b.Client().Pins, p) {
			return p.String()
		}
	}
	return ""
}

// CertificateGranted is KeyGranted for client certificates.
func (c *Config) CertificateGranted(i int) bool {
	return i >= len(c.ClientCertificates)-c.granted.certificates
}

// KeyGranted reports whether the key at index i was granted to the running server, and is in none of
// the configuration's own files; TokenGranted does so of tokens.
func (c *Config) KeyGranted(i int) bool { return i >= len(c.Keys)-c.granted.keys }

// TokenGranted is KeyGranted for tokens.
func (c *Config) TokenGranted(i int) bool { return i >= len(c.Tokens)-c.granted.tokens }

// minToken is the characters of the shortest token: 128 bits in base64.
const minToken = 22

// oneLabel reports whether text is a single label.
func oneLabel(text string) bool {
	name, err := wire.ParseName(text)
	return err == nil && len(name) > 2 && int(name[0])+2 == len(name)
}

// checkGrants reports tokens without a secret or with two, and grants that mean nothing.
func (d *decoder) checkGrants() {
	for i := range d.config.Keys {
		if !d.config.KeyGranted(i) {
			d.checkRights("keys.grants", i, "key "+quote(nameText(d.config.Keys[i].Name)), d.config.Keys[i].Grants)
		}
	}
	seen := map[string]bool{}
	for i := range d.config.Tokens {
		t := &d.config.Tokens[i]
		if d.config.TokenGranted(i) {
			continue
		}
		at, _ := d.atIndex("tokens.name", int32(i))
		what := "token " + quote(t.Name)
		if seen[t.Name] {
			d.fail(at, what+" is already defined", "remove one of them")
		}
		seen[t.Name] = true
		switch {
		case t.Hash != "" && t.SecretFile != "":
			d.fail(at, what+" has both hash and secret_file", "remove one of them")
		case t.Hash == "" && t.SecretFile == "":
			d.fail(at, what+" has no secret", "add secret_file: keys/"+t.Name+", or the hash that port53 grant new prints")
		case t.Hash != "":
			sum, err := hex.DecodeString(t.Hash)
			if err != nil || len(sum) != sha256.Size {
				at, _ = d.atIndex("tokens.hash", int32(i))
				d.fail(at, what+": the hash is not 64 hexadecimal digits", "port53 grant new prints one")
				break
			}
			t.Sum = [32]byte(sum)
		}
		d.checkRights("tokens.grants", i, what, t.Grants)
	}
	d.checkClientCertificates()
}

// checkClientCertificates reports client certificates that nothing is known of, or that somebody else
// could have as well.
func (d *decoder) checkClientCertificates() {
	c := d.config
	for i := range c.ClientCertificates {
		k := &c.ClientCertificates[i]
		if c.CertificateGranted(i) {
			continue
		}
		at, _ := d.atIndex("client_certificates.name", int32(i))
		what := "client certificate " + quote(k.Name)
		if !holderName(k.Name) {
			d.fail(at, what+": "+holderNames, "")
		}
		for j, text := range k.Pins {
			if _, err := certs.ParsePin(text); err != nil {
				d.fail(d.item("client_certificates.pins", int32(i), j), what+": "+printable(err.Error()),
					"port53 grant new --cert FILE prints the pin of a certificate")
			}
		}
		switch {
		case len(k.Pins) > 0:
		case k.CA == "" && k.Hostname == "":
			d.fail(at, what+": neither ca nor pins says which certificate it is", "add ca: FILE and hostname: NAME, or pins: PIN")
		case k.CA == "":
			d.fail(at, what+": anybody can make a certificate with the name "+quote(k.Hostname), "add ca: FILE, or pins: PIN")
		case k.Hostname == "":
			d.fail(at, what+": every certificate of the authority would match", "add hostname: NAME, or pins: PIN")
		}
		if strings.Contains(k.Hostname, "*") {
			d.fail(at, what+": hostname is one name, and "+quote(k.Hostname)+" stands for many", "write the name in full")
		}
		for j := range i {
			o := &c.ClientCertificates[j]
			same := k.Hostname != "" && strings.EqualFold(strings.TrimSuffix(k.Hostname, "."), strings.TrimSuffix(o.Hostname, ".")) &&
				k.CA == o.CA && len(k.Pins)+len(o.Pins) == 0
			switch pin := commonPin(o, k); {
			case o.Name == k.Name:
				d.fail(at, what+" is already defined", "remove one of them")
			case pin != "":
				d.fail(at, what+": the pin "+pin+" is also that of "+quote(o.Name), "a certificate has one holder: remove one of them")
			case same:
				d.fail(at, what+": ca and hostname are also those of "+quote(o.Name), "a certificate has one holder: remove one of them")
			}
		}
		e := &c.Encrypted
		if len(e.DoT)+len(e.DoQ) == 0 && c.API.Certificate == "" && c.Console.Certificate == "" {
			d.fail(at, what+": no listener with TLS asks clients for a certificate",
				"add dot or doq to encrypted, or a certificate to api or console")
		}
		d.checkRights("client_certificates.grants", i, what, k.Grants)
	}
}

// checkClientAuthorities reads the files of authorities of client certificates.
func (d *decoder) checkClientAuthorities() {
	for i := range d.config.ClientCertificates {
		k := &d.config.ClientCertificates[i]
		if k.CA == "" || d.config.CertificateGranted(i) {
			continue
		}
		roots, err := certs.ReadRoots(k.CA)
		if err != nil {
			at, _ := d.atIndex("client_certificates.ca", int32(i))
			d.fail(at, "client certificate "+quote(k.Name)+": "+printable(err.Error()), "")
			roots = x509.NewCertPool() // which nobody is vouched for by
		}
		k.Roots = roots
	}
}

// checkRights reports grants of a key, a token or a certificate that mean nothing.
func (d *decoder) checkRights(path string, i int, what string, list []Right) {
	at, ok := d.atIndex(path, int32(i))
	if !ok {
		return
	}
	for _, r := range list {
		if len(r.Zone) == 0 || len(r.Names) == 0 || len(r.Verbs) == 0 {
			d.fail(at, what+": a grant without zones, names or verbs lets nobody do anything", "")
		}
		for _, text := range slices.Concat(r.Zone, r.Names) {
			if label, first := strings.CutSuffix(text, ".*"); first && oneLabel(label) && !slices.Contains(r.Zone, text) {
				continue
			}
			if _, err := wire.ParseName(text); err != nil {
				d.fail(at, fmt.Sprintf("%s: %s is not a name", what, quote(text)),
					`write it in full, such as example.com, *.example.com or "*"`)
			}
		}
		for _, text := range r.Types {
			if _, ok := wire.ParseType(text); !ok {
				d.fail(at, what+": "+quote(text)+" is not a record type", "write types like A, AAAA or TXT")
			}
		}
		if _, dayErr := time.Parse(time.DateOnly, r.Until); r.Until != "" && dayErr != nil {
			if _, err := time.Parse(time.RFC3339, r.Until); err != nil {
				d.fail(at, what+": until is not a time: "+quote(r.Until), "write 2027-01-31, or 2027-01-31T12:00:00Z")
			}
		}
	}
}

// checkTokenFiles reads the files of tokens.
func (d *decoder) checkTokenFiles() {
	for i := range d.config.Tokens {
		t := &d.config.Tokens[i]
		if t.SecretFile == "" || d.config.TokenGranted(i) {
			continue
		}
		at, _ := d.atIndex("tokens.secret_file", int32(i))
		what := "token " + quote(t.Name) + ": " + printable(t.SecretFile) + " "
		if p := unreadable(t.SecretFile); p != nil {
			d.fail(at, what+p.text, p.hint)
			continue
		}
		if info, err := os.Stat(t.SecretFile); err == nil && info.Mode().Perm()&0o007 != 0 {
			d.fail(at, what+"is readable by every user", "chmod o= "+printable(t.SecretFile))
			continue
		}
		text, err := os.ReadFile(t.SecretFile)
		secret := bytes.TrimSpace(text)
		switch {
		case err != nil:
			d.fail(at, what+"cannot be read: "+reason(err), "")
		case len(secret) < minToken || bytes.ContainsAny(secret, " \t\r\n"):
			d.fail(at, fmt.Sprintf("%shas to have one word of at least %d characters", what, minToken), "port53 grant new makes a good one")
		default:
			t.Sum = sha256.Sum256(secret)
		}
	}
}

// checkAPI reports an API that strangers could listen to.
func (d *decoder) checkAPI() {
	a := d.config.API
	if at, set := d.at("api"); set && (a.Certificate == "") != (a.Key == "") {
		d.fail(at, "api: a certificate and a key go together", "add the other one, both the paths of files in PEM")
	}
	if !a.Listen.IsValid() {
		return
	}
	at, _ := d.at("api.listen")
	if _, said := d.at("expose.control"); !a.Listen.Addr().IsLoopback() && a.Certificate == "" && !a.Expose && !said {
		d.fail(
			at,
			fmt.Sprintf("api.listen: %s is not a loopback address, and tokens would travel unencrypted", a.Listen),
			"add certificate: and key:, or listen on 127.0.0.1 behind a TLS proxy; where the proxy is elsewhere, add expose: true",
		)
	}
	for _, l := range d.config.Listen {
		if l == a.Listen && l.Port() != 0 {
			d.contradiction("listen", "api.listen", fmt.Sprintf("api.listen: %s serves DNS already", l), "give the API another port")
		}
	}
	if m := d.config.Metrics.Listen; m == a.Listen && m.Port() != 0 {
		d.contradiction(
			"metrics.listen",
			"api.listen",
			fmt.Sprintf("api.listen: %s serves the metrics already", m),
			"give the API another port",
		)
	}
}
