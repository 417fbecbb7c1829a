package acme

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

// authorized makes an order, and shows the authority for each name that it is this server's.
func (m *Manager) authorized(ctx context.Context, account acme.Account, before *x509.Certificate) (acme.Order, error) {
	o := acme.Order{Profile: m.o.Profile}
	for _, name := range m.o.Names {
		kind := "dns"
		if _, err := netip.ParseAddr(name); err == nil {
			kind = "ip" // RFC 8738
		}
		o.Identifiers = append(o.Identifiers, acme.Identifier{Type: kind, Value: name})
	}
	if dir, err := m.client.GetDirectory(ctx); err == nil && dir.RenewalInfo != "" && before != nil {
		o.Replaces, _ = acme.ARIUniqueIdentifier(before) // some certificates have none
	}
	order, err := m.client.NewOrder(ctx, account, o)
	var problem acme.Problem
	if errors.As(err, &problem) && o.Replaces != "" {
		// It was replaced before, by an order whose certificate was lost, or is unknown to this
		// authority: RFC 9773, section 5.
		o.Replaces = ""
		order, err = m.client.NewOrder(ctx, account, o)
	}
	if err != nil {
		return order, fmt.Errorf("order: %w", err)
	}
	for _, url := range order.Authorizations {
		if err := m.authorize(ctx, account, url); err != nil {
			return order, err
		}
	}
	return order, nil
}

// authorize has one name authorized.
func (m *Manager) authorize(ctx context.Context, account acme.Account, url string) error {
	a, err := m.client.GetAuthorization(ctx, account, url)
	if err != nil {
		return fmt.Errorf("authorization: %w", err)
	}
	if a.Status == acme.StatusValid { // of an earlier order
		return nil
	}
	for _, c := range a.Challenges {
		if c.Type != m.o.Challenge {
			continue
		}
		p, err := proofOf(c, a.Identifier)
		if err != nil {
			return err
		}
		defer m.o.Solver.Withdraw(p)
		if err := m.o.Solver.Present(ctx, p); err != nil {
			return fmt.Errorf("%s for %s: %w", c.Type, a.Identifier.Value, err)
		}
		if _, err := m.client.InitiateChallenge(ctx, account, c); err != nil {
			return fmt.Errorf("%s for %s: %w", c.Type, a.Identifier.Value, err)
		}
		if _, err := m.client.PollAuthorization(ctx, account, a); err != nil {
			return fmt.Errorf("%s for %s: %w", c.Type, a.Identifier.Value, err)
		}
		return nil
	}
	return fmt.Errorf("the authority does not take %s for %s", m.o.Challenge, a.Identifier.Value)
}

// proofOf returns what a challenge for a name asks for.
func proofOf(c acme.Challenge, of acme.Identifier) (*Proof, error) {
	c.Identifier = of
	p := &Proof{Name: of.Value}
	switch c.Type {
	case HTTP01:
		p.Path, p.Text = c.HTTP01ResourcePath(), c.KeyAuthorization
	case DNS01:
		p.Record, p.TXT = c.DNS01TXTRecordName(), c.DNS01KeyAuthorization()
	case TLSALPN01:
		var err error
		p.Certificate, err = shown(of.Value, c.KeyAuthorization)
		return p, err
	}
	return p, nil
}

// shown makes the certificate of tls-alpn-01 (RFC 8737, section 3): its only name is the one that is
// proven, and its extension acmeIdentifier, which nothing else knows, has the digest of the proof.
func shown(name, proof string) (*tls.Certificate, error) {
	digest := sha256.Sum256([]byte(proof))
	value, err := asn1.Marshal(digest[:])
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	c := &x509.Certificate{
		SerialNumber:    big.NewInt(1),
		Subject:         pkix.Name{CommonName: "ACME challenge"},
		NotBefore:       now.Add(-time.Hour),
		NotAfter:        now.Add(24 * time.Hour),
		KeyUsage:        x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}, Critical: true, Value: value}},
	}
	if a, err := netip.ParseAddr(name); err == nil {
		c.IPAddresses = append(c.IPAddresses, a.AsSlice())
	} else {
		c.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
