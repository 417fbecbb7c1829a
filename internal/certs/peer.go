package certs

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Peer is another server, or a client that has a certificate, as it is known here. The
// zero value trusts whom the system trusts for any name, so that Name has to be set, or Pins.
type Peer struct {
	Name  string         // of a host, or an address, that its certificate has to have; "": none
	Roots *x509.CertPool // authorities that may vouch for it; nil: the system's
	Pins  []Pin          // public keys, one of which has to be in the chain; with them, Roots nil is no authority at all

	// Own is what is shown to it, if it asks; nil: nothing.
	Own *Manager
}

// A Pin is the SHA-256 digest of a public key (RFC 7469, section 2.4).
type Pin [sha256.Size]byte

// ParsePin reads a pin in base64, with or without sha256/ or sha256= before it.
func ParsePin(text string) (p Pin, err error) {
	for _, before := range [...]string{"sha256/", "sha256="} {
		text = strings.TrimPrefix(text, before)
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(b) != len(p) {
		return p, fmt.Errorf("%q is no SHA-256 digest in base64", text)
	}
	return Pin(b), nil
}

// String returns the pin in base64.
func (p Pin) String() string { return base64.StdEncoding.EncodeToString(p[:]) }

// PinOf returns the pin of a certificate's public key.
func PinOf(c *x509.Certificate) Pin { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

// ReadRoots reads a file of authorities.
func ReadRoots(path string) (*x509.CertPool, error) {
	chain, problem := readChain(path)
	if problem != nil {
		return nil, errors.New(problem.in(Pair{Certificate: path}))
	}
	pool := x509.NewCertPool()
	for _, c := range chain {
		pool.AddCert(c)
	}
	return pool, nil
}

// errAnonymous is why a peer is not believed of which nothing is known.
var errAnonymous = errors.New("neither a name nor a public key is configured to authenticate it")

// Verify reports why the owner of a chain is not the peer at a time, as a server or as a
// client. The TLS handshake has proven that it owns the first certificate.
func (p *Peer) Verify(chain []*x509.Certificate, client bool, now time.Time) error {
	switch {
	case len(chain) == 0:
		return errors.New("it has shown no certificate")
	case p.Name == "" && len(p.Pins) == 0:
		return errAnonymous
	}
	leaf := chain[0]
	if p.Name != "" {
		if err := leaf.VerifyHostname(hostText(p.Name)); err != nil {
			return err
		}
	}
	usage := x509.ExtKeyUsageServerAuth
	if client {
		usage = x509.ExtKeyUsageClientAuth
	}
	o := x509.VerifyOptions{Roots: p.Roots, Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}}
	if client { // anybody shows us what they like
		o.Intermediates = path(chain)
	} else {
		for _, c := range chain[1:] {
			o.Intermediates.AddCert(c)
		}
	}
	if p.Roots != nil || len(p.Pins) == 0 {
		if _, err := leaf.Verify(o); err != nil {
			return err
		}
	}
	if len(p.Pins) == 0 || slices.Contains(p.Pins, PinOf(leaf)) {
		return nil
	}
	// The key of an authority vouches for what it has signed, and not for what stands beside it.
	o.Roots = x509.NewCertPool()
	pinned := false
	for _, c := range chain[1:] {
		if slices.Contains(p.Pins, PinOf(c)) {
			o.Roots.AddCert(c)
			pinned = true
		}
	}
	if pinned {
		if _, err := leaf.Verify(o); err == nil {
			return nil
		}
	}
	return fmt.Errorf("its public key is %v, which is not a configured pin", PinOf(leaf))
}

// Client returns the configuration of a client of the peer, which speaks one of protocols. The
// peer is judged in each connection, those that resume a session as well.
func (p *Peer) Client(protocols ...string) *tls.Config {
	c := &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: protocols, ServerName: strings.TrimSuffix(p.Name, "."),
		InsecureSkipVerify: true, // Verify judges instead
		ClientSessionCache: tls.NewLRUClientSessionCache(sessions),
		VerifyConnection: func(s tls.ConnectionState) error {
			if err := p.Verify(s.PeerCertificates, false, time.Now()); err != nil {
				return &UntrustedError{err}
			}
			return nil
		},
	}
	if p.Own != nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return p.Own.set.Load().all[0], nil }
	}
	return c
}

// sessions is how many sessions with one peer are kept: each is used once.
const sessions = 8

// An UntrustedError is why a server is not told anything: it is not who it should be.
type UntrustedError struct{ Err error }

// Error says so.
func (e *UntrustedError) Error() string {
	return "the server is not who it should be: " + e.Err.Error()
}

// Unwrap returns the reason.
func (e *UntrustedError) Unwrap() error { return e.Err }
