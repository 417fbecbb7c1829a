package cli

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"port53/internal/certs"
	"port53/internal/exchange"
	"port53/internal/quic"
)

// A sealing is what was said of TLS.
type sealing struct {
	on       bool
	https    bool
	quic     bool // HTTP/3 with https
	get      bool
	path     string
	verified bool   // by authorities: the system's, or those of ca
	ca       string // file
	name     string // that the certificate has to have
	pins     []certs.Pin
	cert     string // files of what is shown
	key      string
}

// The ports of encrypted transports.
const (
	portTLS   = 853
	portHTTPS = 443
)

// usualPath is the path of questions over HTTPS.
const usualPath = "/dns-query"

// tlsOptions say how servers are asked over TLS and HTTPS, as dig and kdig spell it.
// In one piece: it is the table of them.
func tlsOptions() []queryOption {
	file := func(field func(*sealing) *string) func(*asking, string, bool) error {
		return func(a *asking, arg string, on bool) error {
			if *field(&a.seal) = arg; on && arg == "" {
				return errors.New("it wants a file")
			}
			return nil
		}
	}
	return []queryOption{
		{
			long: "tls",
			plus: "tls",
			help: "use TLS, port 853; the certificate is verified only with --tls-ca, --tls-hostname or --tls-pin",
			set:  func(a *asking, _ string, on bool) error { return a.setSealed(on, sealing{}) },
		},
		{
			long: "quic",
			plus: "quic",
			help: "use QUIC, port 853; verified as with --tls",
			set:  func(a *asking, _ string, on bool) error { return a.setSealed(on, sealing{quic: true}) },
		},
		{
			long: "tls-ca",
			plus: "tls-ca",
			arg:  "[FILE]",
			help: "require a certificate from these authorities (default: the system's)",
			set: func(a *asking, arg string, on bool) error {
				a.seal.verified, a.seal.ca = on, arg
				return nil
			},
		},
		{
			long: "tls-hostname",
			plus: "tls-hostname tls-host",
			arg:  "NAME",
			help: "the name the server's certificate must have",
			set: func(a *asking, arg string, on bool) error {
				a.seal.name = arg
				a.seal.verified = a.seal.verified || on
				return nil
			},
		},
		{
			long: "tls-pin",
			plus: "tls-pin",
			arg:  "DIGEST",
			help: "require this public key: its SHA-256 in base64",
			set: func(a *asking, arg string, on bool) error {
				if !on {
					a.seal.pins = nil
					return nil
				}
				p, err := certs.ParsePin(arg)
				a.seal.pins = append(a.seal.pins, p)
				return err
			},
		},
		{
			long: "tls-certfile",
			plus: "tls-certfile",
			arg:  "FILE",
			help: "present this certificate to the server",
			set:  file(func(s *sealing) *string { return &s.cert }),
		},
		{
			long: "tls-keyfile",
			plus: "tls-keyfile",
			arg:  "FILE",
			help: "that certificate's private key",
			set:  file(func(s *sealing) *string { return &s.key }),
		},
		{
			long: "https",
			plus: "https https-post",
			arg:  "[PATH]",
			help: "use HTTPS, port 443, with this path (" + usualPath + ")",
			set:  func(a *asking, arg string, on bool) error { return a.setSealed(on, sealing{https: true, path: arg}) },
		},
		{long: "https-get", plus: "https-get", arg: "[PATH]", help: "the same, with GET", set: func(a *asking, arg string, on bool) error {
			return a.setSealed(on, sealing{https: true, get: true, path: arg})
		}},
		{
			long: "https3",
			plus: "https3 http3",
			arg:  "[PATH]",
			help: "the same as --https, over HTTP/3",
			set: func(a *asking, arg string, on bool) error {
				return a.setSealed(on, sealing{https: true, quic: true, path: arg})
			},
		},
		{
			long: "https3-get",
			plus: "https3-get",
			arg:  "[PATH]",
			help: "the same, with GET",
			set: func(a *asking, arg string, on bool) error {
				return a.setSealed(on, sealing{https: true, quic: true, get: true, path: arg})
			},
		},
		{
			plus: "http-plain http-plain-get http-plain-post",
			arg:  "[PATH]",
			set:  refuse("this command does not use HTTP without TLS: write +https"),
		},
	}
}

// setSealed has servers asked as way says, or no longer.
func (a *asking) setSealed(on bool, way sealing) error {
	if way.path != "" && !strings.HasPrefix(way.path, "/") {
		return fmt.Errorf("%q: expected a path such as %s", way.path, usualPath)
	}
	if on && way.quic && !quic.Built {
		return quic.ErrNotBuilt
	}
	s := &a.seal
	s.on, s.https, s.quic, s.get, s.path = on, way.https, way.quic, way.get, way.path
	plain, sealed := uint16(53), uint16(portTLS)
	if way.https {
		sealed = portHTTPS
	}
	if on && (a.port == plain || a.port == portTLS || a.port == portHTTPS) {
		a.port = sealed
	} else if !on && a.port == sealed {
		a.port = plain
	}
	return nil
}

// route returns how servers are asked over TLS, or nil. server is as it was named.
func (s *sealing) route(server string) (*exchange.Transport, error) {
	if !s.on {
		return nil, nil
	}
	host := s.name
	if host == "" {
		host = strings.TrimSuffix(server, ".")
		if at, err := netip.ParseAddrPort(server); err == nil {
			host = at.Addr().String()
		}
		if before, _, found := strings.Cut(host, "#"); found {
			host = before
		}
	}
	protocol := []string{certs.DoT}
	switch {
	case s.https && s.quic:
		protocol = []string{certs.H3}
	case s.quic:
		protocol = []string{certs.DoQ}
	case s.https:
		protocol = []string{certs.H2, certs.H1}
	}
	p := &certs.Peer{Pins: s.pins}
	if s.verified {
		p.Name = host
	}
	var err error
	if s.ca != "" {
		if p.Roots, err = certs.ReadRoots(s.ca); err != nil {
			return nil, err
		}
	}
	if s.cert != "" || s.key != "" {
		if p.Own, err = certs.NewManager([]certs.Pair{{Certificate: s.cert, Key: s.key}}); err != nil {
			return nil, err
		}
	}
	sealed := &exchange.Transport{TLS: p.Client(protocol...), Get: s.get, QUIC: s.quic}
	if !s.verified && len(s.pins) == 0 { // as dig and kdig: nobody said who the server should be
		sealed.TLS.VerifyConnection = func(tls.ConnectionState) error { return nil }
	}
	if sealed.TLS.ServerName == "" {
		sealed.TLS.ServerName = host
	}
	if s.https {
		path := s.path
		if path == "" {
			path = usualPath
		}
		if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
			host = "[" + host + "]"
		}
		sealed.URL = "https://" + host + path
	}
	return sealed, nil
}
