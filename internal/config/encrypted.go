package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"port53/internal/certs"
)

// Encrypted is what is served over TLS.
type Encrypted struct {
	Name         []byte            `yaml:"name" is:"name" default:"" doc:"The name by which clients know the server, which its certificate has to have." why:"Clients may know it by its address alone."`
	Certificate  string            `yaml:"certificate" is:"path" default:"" doc:"File of the certificate in PEM, with those that lead from it to an authority behind it. It is read again within ten seconds when it changes." why:"There is no encrypted transport without one."`
	Key          string            `yaml:"key" is:"path" default:"" doc:"File of the certificate's private key in PEM, which others may not be able to read. It may be the same file." why:"As certificate."`
	Certificates []CertificatePair `yaml:"certificates" doc:"More certificates, for clients that ask for other names (SNI). Who asks for none, or for one that no certificate has, is shown the first of all."`
	Tickets      string            `yaml:"tickets" is:"path" default:"" doc:"File of secrets that session tickets are made with, for servers that share a name: one or two lines of 64 hexadecimal digits, the first is used, both are accepted. Others may not be able to read it. Keys change daily all the same. Empty: random keys, which die with the process." why:"Only servers that share a name need to know the same."`
	DoT          []netip.AddrPort  `yaml:"dot" port:"853" lone:"true" default:"" doc:"Addresses to serve DNS over TLS on (RFC 7858), and zone transfers over TLS (RFC 9103). Port 853 unless given." why:"Nothing is opened that nobody has asked for."`
	DoH          DoH               `yaml:"doh" doc:"DNS over HTTPS (RFC 8484)."`
	Padding      int               `yaml:"padding" default:"468" min:"0" max:"512" doc:"Replies to queries with the padding option are padded to a multiple of this. 0: never." why:"RFC 8467, section 4.1: it hides which name was asked for among those of like size."`
	Limits       EncryptedLimits   `yaml:"limits" doc:"Bounds of encrypted connections. They do not count among those of tcp, whose other bounds hold for them as well."`
}

// A CertificatePair is a certificate and its private key.
type CertificatePair struct {
	Certificate string `yaml:"certificate" is:"path" required:"true" doc:"As encrypted.certificate."`
	Key         string `yaml:"key" is:"path" required:"true" doc:"As encrypted.key."`
}

// DoH is DNS over HTTPS.
type DoH struct {
	Listen  []netip.AddrPort `yaml:"listen" port:"443" lone:"true" default:"" doc:"Addresses to serve HTTP/2 and HTTP/1.1 on. Port 443 unless given." why:"Nothing is opened that nobody has asked for."`
	Path    string           `yaml:"path" is:"label" default:"/dns-query" doc:"The path of questions. All other paths are not found." why:"Clients that are told a name alone try it (RFC 8484, section 4.1 has it as its example)."`
	Proxies []netip.Prefix   `yaml:"proxies" default:"" doc:"Networks of HTTP proxies in front of this server: what they say of the client in Forwarded or X-Forwarded-For is believed, and who may ask is decided by it. Connections count for the proxy." why:"Anybody else could say anything."`
}

// EncryptedLimits are the bounds of encrypted connections.
type EncryptedLimits struct {
	Connections int  `yaml:"connections" default:"4096" min:"1" max:"1000000" doc:"Connections at one time, of all encrypted transports. At the ceiling the one that has been idle longest is closed for the new one." why:"As tcp.max_connections; each takes some 20 KiB."`
	PerClient   int  `yaml:"per_client" default:"20" min:"1" max:"1000000" doc:"Connections of one address." why:"As tcp.per_client."`
	PerNetwork  int  `yaml:"per_network" default:"64" min:"1" max:"1000000" doc:"Connections of one network, /24 or /56." why:"As tcp.per_network."`
	Streams     int  `yaml:"streams" default:"100" min:"1" max:"10000" doc:"Questions at one time on one connection of HTTP/2." why:"RFC 9113, section 6.5.2 advises no fewer."`
	Handshakes  Rate `yaml:"handshakes" default:"5000" min:"1" max:"1000000" doc:"Connections that may begin in a second. More are refused. Networks take turns with what processors there are, of which one is left to questions in the clear." why:"A handshake costs some 200 µs of a processor, a hundred times a question."`
}

// Listens tells whether anything encrypted is served.
func (e *Encrypted) Listens() bool { return len(e.DoT)+len(e.DoH.Listen) > 0 }

// Pairs returns the certificates, the one for all clients first.
func (e *Encrypted) Pairs() []certs.Pair {
	var list []certs.Pair
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
	if at, set := d.at("encrypted.doh.path"); set && (!strings.HasPrefix(e.DoH.Path, "/") || strings.ContainsAny(e.DoH.Path, "?#{} %")) {
		d.fail(at, "encrypted.doh.path: expected a path such as /dns-query, found "+quote(e.DoH.Path), "")
	}
	type use struct {
		key string
		i   int
	}
	first := map[netip.AddrPort]use{}
	for i, a := range d.config.Listen {
		first[a] = use{"listen", i}
	}
	if m := d.config.Metrics.Listen; m.IsValid() {
		first[m] = use{"metrics.listen", 0}
	}
	for _, l := range []struct {
		key   string
		addrs []netip.AddrPort
	}{{"encrypted.dot", e.DoT}, {"encrypted.doh.listen", e.DoH.Listen}} {
		at, set := d.at(l.key)
		if set && len(l.addrs) > 0 && len(e.Pairs()) == 0 {
			d.fail(at, l.key+": there is no certificate to show", "add certificate: and key: to encrypted, the paths of two files in PEM")
		}
		for i, a := range l.addrs {
			if by, again := first[a]; again && a.Port() != 0 {
				here := d.item(l.key, 0, i)
				d.fail(here, fmt.Sprintf("%s[%d]: %s is in %s already%s", l.key, i, a, by.key, d.seen(by.key, here)), "give one of them another port")
			}
			first[a] = use{l.key, i}
		}
	}
}

// checkPair reports a certificate without a key, and the other way.
func (d *decoder) checkPair() {
	e := &d.config.Encrypted
	for key, missing := range map[string]bool{"certificate": e.Key != "" && e.Certificate == "", "key": e.Certificate != "" && e.Key == ""} {
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
// what else is wrong with them are doubts.
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
	for i, p := range e.Pairs() {
		path, index := "encrypted.", int32(0)
		if i > 0 || e.Certificate == "" {
			path, index = "encrypted.certificates.", int32(i)
			if e.Certificate != "" {
				index--
			}
		}
		var names []string
		if i == 0 {
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
		if n := len(d.errs) - 1; !problem.Grave && n < MaxErrors-1 {
			d.config.doubts = append(d.config.doubts, d.errs[n])
			d.errs = slices.Delete(d.errs, n, n+1)
		}
	}
}

// Doubts returns what is wrong with files that the configuration names, and keeps no server
// from serving: certificates that some clients will not take. [Load] finds them.
func (c *Config) Doubts() Errors { return c.doubts }
