package certs

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// A Client is whose a client certificate is, where rights are given to one holder alone. It is
// stricter than a [Peer]: all that is written has to fit, dates count for pins as well, a name is
// that of one host and no wildcard's, and the key of an authority is nobody's pin.
type Client struct {
	Hostname string         // a host name or an address, which the certificate has to have; "": none
	Roots    *x509.CertPool // authorities, one of which has to vouch for it; nil: none has to
	Pins     []Pin          // public keys, one of which has to be the certificate's own; none: whatever key
}

// Verify reports why a chain is not the client's at a time. The TLS handshake has proven that who
// has shown it owns the first certificate.
func (c *Client) Verify(chain []*x509.Certificate, now time.Time) error {
	switch {
	case len(chain) == 0:
		return errors.New("it has shown no certificate")
	case len(c.Pins) == 0 && (c.Roots == nil || c.Hostname == ""):
		return errAnonymous // a name without an authority is what anybody writes, an authority without a name has many
	}
	leaf := chain[0]
	switch {
	case len(c.Pins) > 0 && !slices.Contains(c.Pins, PinOf(leaf)):
		return fmt.Errorf("its public key is %v, which is not a configured pin", PinOf(leaf))
	case c.Hostname != "" && !isNamed(leaf, c.Hostname):
		return fmt.Errorf("it is not for %s", c.Hostname)
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("it is not valid before %s", leaf.NotBefore.UTC().Format(time.RFC3339))
	case now.After(leaf.NotAfter):
		return fmt.Errorf("it has expired on %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	case c.Roots == nil:
		return nil
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: c.Roots, Intermediates: path(chain), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err
}

// path returns the certificates between the first of a chain and an authority, by their names: one for each
// step, and none twice. What a stranger shows could otherwise lead in circles, and each step is a
// signature to verify, a hundred of them for one small message.
func path(chain []*x509.Certificate) *x509.CertPool {
	pool, last := x509.NewCertPool(), chain[0]
	met := [][]byte{last.RawSubject}
	isMet := func(name []byte) bool {
		return slices.ContainsFunc(met, func(m []byte) bool { return bytes.Equal(m, name) })
	}
	for range chain[1:] {
		i := slices.IndexFunc(chain[1:], func(c *x509.Certificate) bool {
			return bytes.Equal(c.RawSubject, last.RawIssuer) && !bytes.Equal(c.RawSubject, c.RawIssuer) &&
				!isMet(c.RawSubject) && !isMet(c.RawIssuer)
		})
		if i < 0 {
			break
		}
		last = chain[1+i]
		met = append(met, last.RawSubject)
		pool.AddCert(last)
	}
	return pool
}

// isNamed reports whether a certificate is for a host name or an address, and not by a wildcard:
// what many hosts share tells none of them.
func isNamed(c *x509.Certificate, name string) bool {
	if addr, err := netip.ParseAddr(name); err == nil {
		for _, ip := range c.IPAddresses {
			if a, ok := netip.AddrFromSlice(ip); ok && a.Unmap() == addr.Unmap() {
				return true
			}
		}
		return false
	}
	name = strings.TrimSuffix(name, ".")
	return slices.ContainsFunc(c.DNSNames, func(n string) bool { return strings.EqualFold(strings.TrimSuffix(n, "."), name) })
}

// Bounds of what a client may show: a chain is kept as long as its connection, and judged at each
// request that wants something of a zone.
const (
	maxShown       = 4        // certificates: two or three lead to most authorities
	maxShownOctets = 32 << 10 // of all of them
)

// errShown is why a connection ends whose client shows more than the bounds.
var errShown = fmt.Errorf("a client may show at most %d certificates of %d octets in all", maxShown, maxShownOctets)

// bounded is a [tls.Config.VerifyPeerCertificate] that judges the size alone.
func bounded(raw [][]byte, _ [][]*x509.Certificate) error {
	octets := 0
	for _, der := range raw {
		octets += len(der)
	}
	if len(raw) > maxShown || octets > maxShownOctets {
		return errShown
	}
	return nil
}

// ReadPin returns the pin of the first certificate in a file, and the certificate.
func ReadPin(path string) (Pin, *x509.Certificate, error) {
	chain, problem := readChain(path)
	if problem != nil {
		return Pin{}, nil, errors.New(problem.in(Pair{Certificate: path}))
	}
	return PinOf(chain[0]), chain[0], nil
}
