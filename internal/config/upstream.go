package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"port53/internal/certs"
	"port53/internal/quic"
	"port53/internal/wire"
)

// The ways of asking an upstream that hide what is asked.
const (
	SchemeTLS   = "tls"   // DNS over TLS
	SchemeHTTPS = "https" // DNS over HTTPS
	SchemeQUIC  = "quic"  // DNS over QUIC
)

// An Upstream is a server that is asked, and how.
type Upstream struct {
	Addr   netip.AddrPort
	Scheme string // "": over UDP and TCP, in the clear
	Name   string // that its certificate has to have: of a host, or its address
	Path   string // of questions over HTTPS
}

// String returns the server as it is written in the file.
func (u Upstream) String() string {
	if u.Scheme == "" {
		return u.Addr.String()
	}
	text := u.Scheme + "://" + u.Addr.String() + u.Path
	if u.Name != u.Addr.Addr().String() {
		text += "#" + u.Name
	}
	return text
}

// UpstreamTLS is how servers that are asked over TLS are known, beside their names.
type UpstreamTLS struct {
	CA   string   `yaml:"ca" is:"path" default:""`
	Pins []string `yaml:"pins" is:"label" value:"a SHA-256 digest in base64" lone:"true" default:""`
}

// Digests returns the pins, which were checked.
func (t *UpstreamTLS) Digests() (pins []certs.Pin) {
	for _, text := range t.Pins {
		if p, err := certs.ParsePin(text); err == nil {
			pins = append(pins, p)
		}
	}
	return pins
}

// addrsOf returns where servers are.
func addrsOf(list []Upstream) []netip.AddrPort {
	addrs := make([]netip.AddrPort, len(list))
	for i, u := range list {
		addrs[i] = u.Addr
	}
	return addrs
}

// parseServer reads a server that may be asked over TLS: tls://ADDRESS[:PORT]#NAME,
// quic://ADDRESS[:PORT]#NAME, or https://ADDRESS[:PORT]/PATH#NAME.
func (k *key) parseServer(s scalar) (any, *problem) {
	scheme, rest, found := strings.Cut(s.text, "://")
	if !found {
		if _, name, found := strings.Cut(s.text, "#"); found {
			const hint = "a name is for servers that are asked over TLS: "
			if p := k.propose(hint+"write "+strconv.Quote("tls://"+s.text)+", or leave "+quote("#"+name)+" out", "tls://"+s.text); p != "" {
				return nil, expected(k, s, p)
			}
			return nil, expected(k, s, hint+"leave "+quote("#"+name)+" out")
		}
		at, p := k.parseUpstream(s)
		if p != nil {
			return nil, p
		}
		return Upstream{Addr: at.(netip.AddrPort)}, nil
	}
	u := Upstream{Scheme: scheme}
	one := *k
	rest, u.Name, _ = strings.Cut(rest, "#")
	switch scheme {
	case SchemeQUIC:
		if !quic.Built {
			return nil, expected(k, s, quic.ErrNotBuilt.Error())
		}
		one.port = 853
	case SchemeTLS:
		one.port = 853
	case SchemeHTTPS:
		one.port = 443
		at := strings.IndexByte(rest, '/')
		if at < 0 {
			at = len(rest)
		}
		if rest, u.Path = rest[:at], rest[at:]; len(u.Path) < 2 {
			u.Path = "/dns-query"
		}
		if strings.ContainsAny(u.Path, "?{} ") {
			return nil, expected(k, s, "the path has no parts that vary: questions are sent by POST")
		}
	default:
		return nil, expected(k, s, "servers are asked over UDP and TCP, tls://, https:// and quic://")
	}
	v, p := one.parseUpstream(scalar{text: rest})
	if p != nil {
		if bad := badPort(scalar{text: rest}, true); bad != nil {
			return nil, bad
		}
		hint := p.hint
		if strings.HasPrefix(hint, "names are not") {
			hint = k.namedServer(scheme, rest, u.Path)
		}
		return nil, expected(k, s, hint)
	}
	u.Addr = v.(netip.AddrPort)
	if u.Name == "" {
		u.Name = u.Addr.Addr().WithZone("").String()
		return u, nil
	}
	if _, err := netip.ParseAddr(u.Name); err == nil {
		return u, nil
	}
	if name, err := wire.ParseName(u.Name); err != nil || len(name) < 2 || strings.ContainsAny(u.Name, "*/:?#@ ") {
		return nil, expected(k, s, quote(u.Name)+" is not a server name")
	}
	u.Name = strings.TrimSuffix(u.Name, ".")
	return u, nil
}

// checkHidden reports servers in the clear beside others, and what is said of TLS without need.
func (d *decoder) checkHidden(r *route) {
	hidden := 0
	for _, u := range r.to {
		if u.Scheme != "" {
			hidden++
		}
	}
	here := func(key string) (position, bool) { return d.atIndex(r.path+"."+key, r.index) }
	for i, u := range r.to {
		if hidden > 0 && u.Scheme == "" {
			d.fail(
				d.item(r.path+".to", r.index, i),
				fmt.Sprintf(
					"%s.to[%d]: %s is queried without encryption, beside servers that are queried with it: "+
						"anyone on the path could read what the others do not answer",
					r,
					i,
					u,
				),
				"write "+quote("tls://"+u.Addr.Addr().String())+", or remove it",
			)
			break
		}
	}
	at, set := here("tls.ca")
	if pinned, also := here("tls.pins"); also {
		at, set = pinned, true
	}
	if set && hidden == 0 {
		d.fail(at, r.String()+".tls: no server of the list is asked over TLS", "write to: [\"tls://ADDRESS#NAME\"], or remove tls")
	}
	for i, text := range r.tls.Pins {
		if _, err := certs.ParsePin(text); err != nil {
			d.fail(
				d.item(r.path+".tls.pins", r.index, i),
				fmt.Sprintf("%s.tls.pins[%d]: %v", r, i, printable(err.Error())),
				"kdig +tls and openssl show the digest of a server's key",
			)
		}
	}
}

// checkAuthorities reads the files of authorities.
func (d *decoder) checkAuthorities() {
	for _, r := range d.routes() {
		if r.tls.CA == "" {
			continue
		}
		if _, err := certs.ReadRoots(r.tls.CA); err != nil {
			at, _ := d.atIndex(r.path+".tls.ca", r.index)
			d.fail(at, r.String()+".tls.ca: "+printable(err.Error()), "leave it out for the authorities that the system trusts")
		}
	}
}

// checkSealed reports what is wrong with how the i-th remote is known over TLS.
func (d *decoder) checkSealed(i int, t *RemoteTLS) {
	what := fmt.Sprintf("remotes[%d].tls", i)
	for j, text := range t.Pins {
		if _, err := certs.ParsePin(text); err != nil {
			d.fail(
				d.item("remotes.tls.pins", int32(i), j),
				fmt.Sprintf("%s.pins[%d]: %s", what, j, printable(err.Error())),
				"kdig +tls and openssl show the digest of a server's key",
			)
		}
	}
	if (t.Certificate == "") != (t.Key == "") {
		at, set := d.atIndex("remotes.tls.certificate", int32(i))
		if !set {
			at, _ = d.atIndex("remotes.tls.key", int32(i))
		}
		d.fail(at, what+": a certificate and its key go together", "write both, or neither")
	}
}

// checkShared reports an address that a remote shares with one before it that is known over TLS otherwise: who a server has to be, and
// what it is shown, is known by its address.
func (d *decoder) checkShared(i int) {
	r := &d.config.Remotes[i]
	if !r.TLS.Set() {
		return
	}
	at, _ := d.atIndex("remotes.addresses", int32(i))
	for j := range i {
		other := &d.config.Remotes[j]
		if !other.TLS.Set() || reflect.DeepEqual(other.TLS, r.TLS) {
			continue
		}
		for _, a := range r.Addresses {
			if slices.Contains(other.Addresses, a) {
				d.fail(at, fmt.Sprintf("remote %s has the address %s of remote %s, with another tls", quote(r.Name), a, quote(other.Name)),
					"a server is known by its address: write the same tls for both, or give one of them another address or port")
				return
			}
		}
	}
}

// checkSealedFiles reads the files by which remotes are known over TLS.
func (d *decoder) checkSealedFiles(now time.Time) {
	for i := range d.config.Remotes {
		t := &d.config.Remotes[i].TLS
		if t.CA != "" {
			if _, err := certs.ReadRoots(t.CA); err != nil {
				at, _ := d.atIndex("remotes.tls.ca", int32(i))
				d.fail(at, fmt.Sprintf("remotes[%d].tls.ca: %s", i, printable(err.Error())), "")
			}
		}
		if t.Certificate != "" {
			d.judge(certs.Pair{Certificate: t.Certificate, Key: t.Key}, "remotes.tls.", int32(i), nil, now)
		}
	}
}
