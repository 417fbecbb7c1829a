package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"port53/internal/certs"
	"port53/internal/quic"
	"port53/internal/wire"
)

// Encrypted is what is served over TLS.
type Encrypted struct {
	Name         []byte            `yaml:"name" is:"name" default:""`
	Certificate  string            `yaml:"certificate" is:"path" default:""`
	Key          string            `yaml:"key" is:"path" default:""`
	Certificates []CertificatePair `yaml:"certificates"`
	ACME         ACME              `yaml:"acme"`
	Tickets      string            `yaml:"tickets" is:"path" default:""`
	DoT          []netip.AddrPort  `yaml:"dot" port:"853" lone:"true" default:""`
	DoQ          []netip.AddrPort  `yaml:"doq" port:"853" lone:"true" default:""`
	DoH          DoH               `yaml:"doh"`
	DDR          bool              `yaml:"ddr" default:"true"`
	Padding      int               `yaml:"padding" default:"468" min:"0" max:"512"`
	Limits       EncryptedLimits   `yaml:"limits"`
}

// A CertificatePair is a certificate and its private key.
type CertificatePair struct {
	Certificate string `yaml:"certificate" is:"path" required:"true"`
	Key         string `yaml:"key" is:"path" required:"true"`
}

// The challenges of ACME.
const (
	HTTP01    = "http-01"
	DNS01     = "dns-01"
	TLSALPN01 = "tls-alpn-01"
)

// ACME is how certificates are ordered from an authority (RFC 8555).
type ACME struct {
	Challenge string           `yaml:"challenge" is:"word" words:"off dns-01 http-01 tls-alpn-01" default:"off"`
	Email     string           `yaml:"email" is:"label" value:"an e-mail address" default:""`
	Names     []string         `yaml:"names" is:"label" value:"a host name, or an address" lone:"true" default:""`
	Directory string           `yaml:"directory" is:"label" value:"a URL" default:"https://acme-v02.api.letsencrypt.org/directory"`
	CA        string           `yaml:"ca" is:"path" default:""`
	Profile   string           `yaml:"profile" is:"label" default:""`
	EAB       EAB              `yaml:"eab"`
	Listen    []netip.AddrPort `yaml:"listen" port:"80" lone:"true" default:""`
	DNSWait   time.Duration    `yaml:"dns_wait" default:"30s" min:"0s" max:"5m"`

	dir string // of what is kept
}

// EAB is another account at the authority, which vouches for that of ACME (RFC 8555, section 7.3.4).
type EAB struct {
	KeyID    string `yaml:"key_id" is:"label" default:""`
	HMACFile string `yaml:"hmac_file" is:"path" default:""`
}

// Set reports whether certificates are ordered.
func (a *ACME) Set() bool { return a.Challenge != "" && a.Challenge != "off" }

// Dir returns the directory of the account.
func (a *ACME) Dir() string { return a.dir }

// File returns the file with the certificate and its key.
func (a *ACME) File() string { return filepath.Join(a.dir, "certificate.pem") }

// DoH is DNS over HTTPS.
type DoH struct {
	Listen  []netip.AddrPort `yaml:"listen" port:"443" lone:"true" default:""`
	Path    string           `yaml:"path" is:"label" value:"a path such as /dns-query" default:"/dns-query"`
	HTTP3   bool             `yaml:"http3" default:"false"`
	Proxies []netip.Prefix   `yaml:"proxies" default:""`
}

// EncryptedLimits are the bounds of encrypted connections.
type EncryptedLimits struct {
	Connections int  `yaml:"connections" default:"4096" min:"1" max:"1000000"`
	PerClient   int  `yaml:"per_client" default:"20" min:"1" max:"1000000"`
	PerNetwork  int  `yaml:"per_network" default:"64" min:"1" max:"1000000"`
	Streams     int  `yaml:"streams" default:"100" min:"1" max:"10000"`
	Handshakes  Rate `yaml:"handshakes" default:"5000" min:"1" max:"1000000"`
}

// Listens reports whether anything encrypted is served.
func (e *Encrypted) Listens() bool { return len(e.DoT)+len(e.DoQ)+len(e.DoH.Listen) > 0 }

// QUIC returns where QUIC is spoken, over UDP: as DNS over QUIC, and as HTTP/3.
func (e *Encrypted) QUIC() []netip.AddrPort {
	if e.DoH.HTTP3 {
		return slices.Concat(e.DoQ, e.DoH.Listen)
	}
	return e.DoQ
}

// Pairs returns the certificates, the one for all clients first.
func (e *Encrypted) Pairs() []certs.Pair {
	var list []certs.Pair
	if e.ACME.Set() {
		file := e.ACME.File()
		list = append(list, certs.Pair{Certificate: file, Key: file, Ordered: true})
	}
	if e.Certificate != "" {
		list = append(list, certs.Pair{Certificate: e.Certificate, Key: e.Key})
	}
	for _, c := range e.Certificates {
		list = append(list, certs.Pair{Certificate: c.Certificate, Key: c.Key})
	}
	return list
}

// Names returns the names that the first certificate has to have.
func (e *Encrypted) Names() []string {
	if len(e.Name) < 2 {
		return nil
	}
	return []string{nameText(e.Name)}
}

// checkEncrypted reports what is served without a certificate, and addresses that two want.
func (d *decoder) checkEncrypted() {
	e := &d.config.Encrypted
	d.checkPair()
	d.checkACME()
	d.checkQUIC()
	if at, set := d.at("encrypted.doh.path"); set && (!strings.HasPrefix(e.DoH.Path, "/") || strings.ContainsAny(e.DoH.Path, "?#{} %")) {
		d.fail(at, "encrypted.doh.path: expected a path such as /dns-query, found "+quote(e.DoH.Path), "")
	}
	type use struct {
		key string
		i   int
	}
	type place struct {
		at  netip.AddrPort
		udp bool
	}
	first := map[place]use{}
	for i, a := range d.config.Listen {
		first[place{a, false}], first[place{a, true}] = use{"listen", i}, use{"listen", i}
	}
	if m := d.config.Metrics.Listen; m.IsValid() {
		first[place{m, false}] = use{"metrics.listen", 0}
	}
	for i, a := range e.ACME.Listen {
		first[place{a, false}] = use{"encrypted.acme.listen", i}
	}
	for _, l := range []struct {
		key   string
		addrs []netip.AddrPort
		over  []bool // UDP
	}{
		{"encrypted.dot", e.DoT, []bool{false}},
		{"encrypted.doq", e.DoQ, []bool{true}},
		{"encrypted.doh.listen", e.DoH.Listen, []bool{false, true}[:1+btoi(e.DoH.HTTP3)]},
	} {
		at, set := d.at(l.key)
		if set && len(l.addrs) > 0 && len(e.Pairs()) == 0 {
			d.fail(at, l.key+": there is no certificate for it",
				"set encrypted.certificate and encrypted.key to PEM files, or encrypted.acme to obtain one")
		}
		for i, a := range l.addrs {
			for _, udp := range l.over {
				if by, again := first[place{a, udp}]; again && a.Port() != 0 {
					here := d.item(l.key, 0, i)
					d.fail(
						here,
						fmt.Sprintf("%s[%d]: %s is in %s already%s", l.key, i, a, by.key, d.seen(by.key, here)),
						"give one of them another port",
					)
					break
				}
			}
			for _, udp := range l.over {
				first[place{a, udp}] = use{l.key, i}
			}
		}
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// checkQUIC reports what a program without QUIC cannot serve, and HTTP/3 without addresses.
func (d *decoder) checkQUIC() {
	e := &d.config.Encrypted
	for key, wanted := range map[string]bool{"encrypted.doq": len(e.DoQ) > 0, "encrypted.doh.http3": e.DoH.HTTP3} {
		if at, _ := d.at(key); wanted && !quic.Built {
			d.fail(
				at,
				key+": "+quic.ErrNotBuilt.Error(),
				"remove it, or install the port53 that has QUIC: port53 version --features tells which one this is",
			)
		}
	}
	if at, set := d.at("encrypted.doh.http3"); set && e.DoH.HTTP3 && len(e.DoH.Listen) == 0 {
		d.fail(at, "encrypted.doh.http3: there is no address to serve it on", "add listen: to encrypted.doh")
	}
}

// checkACME reports orders that cannot succeed, and fills in what they are for.
func (d *decoder) checkACME() {
	a := &d.config.Encrypted.ACME
	a.dir = filepath.Join(d.config.StateDir, "acme")
	if !a.Set() {
		return
	}
	at, _ := d.at("encrypted.acme.challenge")
	if len(a.Names) == 0 {
		if a.Names = d.config.Encrypted.Names(); len(a.Names) == 0 {
			d.fail(at, "encrypted.acme: there is no name to order a certificate for", "add name: to encrypted, or names: to acme")
		}
		for i, name := range a.Names {
			a.Names[i] = strings.TrimSuffix(name, ".")
		}
	}
	for i, name := range a.Names {
		here := at
		if _, set := d.at("encrypted.acme.names"); set {
			here = d.item("encrypted.acme.names", 0, i)
		}
		d.checkOrdered(here, name)
	}
	if u, err := url.Parse(a.Directory); err != nil || u.Scheme != "https" || u.Host == "" {
		where, _ := d.at("encrypted.acme.directory")
		d.fail(where, "encrypted.acme.directory: expected the URL of an ACME server's directory, found "+quote(a.Directory),
			"it begins with https://")
	}
	if (a.EAB.KeyID == "") != (a.EAB.HMACFile == "") {
		d.fail(at, "encrypted.acme.eab: the authority gives an identifier and a key, and there is one of them",
			"write eab: {key_id: IDENTIFIER, hmac_file: FILE}")
	}
	switch {
	case a.Challenge == HTTP01 && len(a.Listen) == 0:
		d.fail(at, "encrypted.acme.challenge: nothing is listening for http-01",
			"add listen: to acme, with the addresses that the names have; the port is 80")
	case a.Challenge != HTTP01 && len(a.Listen) > 0:
		where, _ := d.at("encrypted.acme.listen")
		d.fail(where, "encrypted.acme.listen: only http-01 listens, and the challenge is "+a.Challenge,
			"leave it out, or write challenge: http-01")
	case a.Challenge == TLSALPN01 && len(d.config.Encrypted.DoH.Listen) == 0:
		d.fail(at, "encrypted.acme.challenge: tls-alpn-01 is answered where DNS over HTTPS listens, but DNS over HTTPS is not on",
			"add doh: to encrypted, on port 443 as authorities see it; or take another challenge")
	}
	if !d.config.Encrypted.Listens() {
		d.fail(at, "encrypted.acme: no listener uses the certificate", "add dot:, doh: or doq: to encrypted")
	}
}

// hostLetters are what names of hosts consist of (RFC 952, RFC 1123, section 2.1).
const hostLetters = "abcdefghijklmnopqrstuvwxyz0123456789-."

// checkOrdered reports a name that no certificate can be ordered for by the challenge.
func (d *decoder) checkOrdered(at position, name string) {
	challenge := d.config.Encrypted.ACME.Challenge
	if _, err := netip.ParseAddr(name); err == nil {
		if challenge == DNS01 {
			d.fail(at, "encrypted.acme: "+quote(name)+" is an address, which dns-01 cannot prove (RFC 8738, section 7)",
				"take another challenge, or leave it out")
		}
		return
	}
	plain, wild := strings.CutPrefix(name, "*.")
	wireName, err := wire.ParseName(plain)
	switch {
	case err != nil || len(wireName) < 2 || strings.HasSuffix(plain, ".") || strings.Trim(strings.ToLower(plain), hostLetters) != "":
		d.fail(at, "encrypted.acme: expected a host name or an address, found "+quote(name),
			"names beyond ASCII are written as xn--; there is no dot at the end")
	case wild && challenge != DNS01:
		d.fail(at, "encrypted.acme: "+quote(name)+" is a wildcard, which only dns-01 can prove", "write challenge: dns-01")
	case challenge == DNS01 && len(d.config.ChallengeZones(wireName)) == 0:
		d.fail(at, "encrypted.acme: no primary zone of this server has _acme-challenge."+plain,
			"add a zone for it, or take another challenge")
	}
}

// ChallengeZones returns which of the zones proofs by dns-01 are put into for a name: those that are
// nearest above it, which may be one in each of several views.
func (c *Config) ChallengeZones(name []byte) (list []int) {
	owner := append([]byte("\x0f_acme-challenge"), name...)
	best := 0
	for i := range c.Zones {
		z := &c.Zones[i]
		if !wire.Subdomain(owner, z.Name) || len(z.Name) < best {
			continue
		}
		if len(z.Name) > best {
			list, best = nil, len(z.Name)
		}
		if len(z.Primaries) == 0 && z.Catalog == "" { // else the nearest is somebody else's to change
			list = append(list, i)
		}
	}
	return list
}

// checkPair reports a certificate without a key, and the other way.
func (d *decoder) checkPair() {
	e := &d.config.Encrypted
	for key, missing := range map[string]bool{
		"certificate": e.Key != "" && e.Certificate == "",
		"key":         e.Certificate != "" && e.Key == "",
	} {
		if !missing {
			continue
		}
		other := "certificate"
		if key == other {
			other = "key"
		}
		at, _ := d.at("encrypted." + other)
		d.fail(at, "encrypted."+other+": there is no "+key+" beside it", "add "+key+": and the path of a file in PEM")
	}
}

// checkCertificates looks at the files of certificates. Those that cannot be used are errors;
// what else is wrong with them are warnings.
func (d *decoder) checkCertificates(now time.Time) {
	e := &d.config.Encrypted
	if file := e.Tickets; file != "" {
		at, _ := d.at("encrypted.tickets")
		if p := unreadable(file); p != nil {
			d.fail(at, "encrypted.tickets: "+printable(file)+" "+p.text, p.hint)
		} else if _, err := certs.ReadSecrets(file); err != nil {
			text, hint, _ := strings.Cut(err.Error(), "; ")
			d.fail(at, "encrypted.tickets: "+printable(text), printable(hint))
		}
	}
	if file := e.ACME.EAB.HMACFile; file != "" && e.ACME.Set() {
		at, _ := d.at("encrypted.acme.eab.hmac_file")
		if p := unreadable(file); p != nil {
			d.fail(at, "encrypted.acme.eab.hmac_file: "+printable(file)+" "+p.text, p.hint)
		} else if _, err := certs.ReadMACKey(file); err != nil {
			text, hint, _ := strings.Cut(err.Error(), "; ")
			d.fail(at, "encrypted.acme.eab.hmac_file: "+printable(text), printable(hint))
		}
	}
	for i, p := range slices.DeleteFunc(e.Pairs(), func(p certs.Pair) bool { return p.Ordered }) {
		path, index := "encrypted.", int32(0)
		if i > 0 || e.Certificate == "" {
			path, index = "encrypted.certificates.", int32(i)
			if e.Certificate != "" {
				index--
			}
		}
		var names []string
		if i == 0 && !e.ACME.Set() {
			names = e.Names()
		}
		d.judge(p, path, index, names, now)
	}
}

// judge reports what is wrong with the files of a pair, whose keys are at path.
func (d *decoder) judge(p certs.Pair, path string, index int32, names []string, now time.Time) {
	for _, problem := range certs.Check(p, names, now) {
		key, file := path+"certificate", p.Certificate
		if problem.Key {
			key, file = path+"key", p.Key
		}
		at, _ := d.atIndex(key, index)
		d.fail(at, key+": "+printable(file)+" "+printable(problem.Text), printable(problem.Hint))
		if n := len(d.errs) - 1; !problem.Fatal && n < MaxErrors-1 {
			d.config.warnings = append(d.config.warnings, d.errs[n])
			d.errs = slices.Delete(d.errs, n, n+1)
		}
	}
}

// Warnings returns what is wrong with files that the configuration names, and keeps no server
// from serving: certificates that some clients will not take. [Load] finds them.
func (c *Config) Warnings() Errors { return c.warnings }
