package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"port53/internal/certs"
	"port53/internal/quic"
)

// Encrypted is what is served over TLS.
type Encrypted struct {
	Name         []byte            `yaml:"name" is:"name" default:""`
	Certificate  string            `yaml:"certificate" is:"path" default:""`
	Key          string            `yaml:"key" is:"path" default:""`
	Certificates []CertificatePair `yaml:"certificates"`
	Tickets      string            `yaml:"tickets" is:"path" default:""`
	DoT          []netip.AddrPort  `yaml:"dot" port:"853" lone:"true" default:""`
	DoQ          []netip.AddrPort  `yaml:"doq" port:"853" lone:"true" default:""`
	DoH          DoH               `yaml:"doh"`
	Padding      int               `yaml:"padding" default:"468" min:"0" max:"512"`
	Limits       EncryptedLimits   `yaml:"limits"`
}

// A CertificatePair is a certificate and its private key.
type CertificatePair struct {
	Certificate string `yaml:"certificate" is:"path" required:"true"`
	Key         string `yaml:"key" is:"path" required:"true"`
}

// DoH is DNS over HTTPS.
type DoH struct {
	Listen  []netip.AddrPort `yaml:"listen" port:"443" lone:"true" default:""`
	Path    string           `yaml:"path" is:"label" default:"/dns-query"`
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

// Listens tells whether anything encrypted is served.
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
			d.fail(at, l.key+": there is no certificate to show", "add certificate: and key: to encrypted, the paths of two files in PEM")
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
				key+": "+quic.ErrLean.Error(),
				"remove it, or install the port53 that has QUIC: port53 version --features tells which one this is",
			)
		}
	}
	if at, set := d.at("encrypted.doh.http3"); set && e.DoH.HTTP3 && len(e.DoH.Listen) == 0 {
		d.fail(at, "encrypted.doh.http3: there is no address to serve it on", "add listen: to encrypted.doh")
	}
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
