package certs_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"
	"time"

	"port53/internal/certs"
	"port53/internal/certs/certtest"
)

// TestClient judges what clients show: all that is known of one has to fit.
func TestClient(t *testing.T) {
	ca, other, dir := certtest.New(t), certtest.New(t), t.TempDir()
	leaf := func(a *certtest.Authority, name string, l certtest.Leaf) []*x509.Certificate {
		file, _ := a.IssueLeaf(dir, name, l)
		_, c, err := certs.ReadPin(file)
		if err != nil {
			t.Fatal(err)
		}
		return []*x509.Certificate{c}
	}
	// usage returns a certificate of its own authority that says what it is for.
	usage := func(usages ...x509.ExtKeyUsage) []*x509.Certificate {
		key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
		template := &x509.Certificate{
			SerialNumber: big.NewInt(7), DNSNames: []string{"a.test"}, NotBefore: time.Now().Add(-time.Hour),
			NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: usages,
		}
		return []*x509.Certificate{must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))))}
	}
	now := time.Now()
	a := leaf(ca, "a", certtest.Leaf{Names: []string{"A.test"}})
	wild := leaf(ca, "wild", certtest.Leaf{Names: []string{"*.test"}})
	addr := leaf(ca, "addr", certtest.Leaf{Names: []string{"192.0.2.1", "2001:db8::1"}})
	common := leaf(ca, "a.test", certtest.Leaf{Names: []string{"b.test"}}) // a.test is its common name alone
	foreign := leaf(other, "foreign", certtest.Leaf{Names: []string{"a.test"}})
	old := leaf(ca, "old", certtest.Leaf{Names: []string{"a.test"}, Until: now.Add(-time.Minute)})
	early := leaf(ca, "early", certtest.Leaf{Names: []string{"a.test"}, From: now.Add(time.Minute)})
	server, client, none := usage(x509.ExtKeyUsageServerAuth), usage(x509.ExtKeyUsageClientAuth), usage()
	roots := func(c []*x509.Certificate) *x509.CertPool {
		p := x509.NewCertPool()
		p.AddCert(c[0])
		return p
	}
	pin := func(c []*x509.Certificate) []certs.Pin { return []certs.Pin{certs.PinOf(c[0])} }
	named := &certs.Client{Hostname: "a.test", Roots: ca.Pool}
	for what, tt := range map[string]struct {
		c     *certs.Client
		shown []*x509.Certificate
		want  bool
	}{
		"its name":                         {named, a, true},
		"its name, with a dot":             {&certs.Client{Hostname: "a.TEST.", Roots: ca.Pool}, a, true},
		"with its authority behind it":     {named, append(a[:1:1], ca.Cert), true},
		"nothing":                          {named, nil, false},
		"another name":                     {&certs.Client{Hostname: "c.test", Roots: ca.Pool}, a, false},
		"a name below":                     {&certs.Client{Hostname: "x.a.test", Roots: ca.Pool}, a, false},
		"a wildcard that would fit":        {named, wild, false},
		"a wildcard as it is written":      {&certs.Client{Hostname: "b.test", Roots: ca.Pool}, wild, false},
		"a common name alone":              {named, common, false},
		"an address":                       {&certs.Client{Hostname: "192.0.2.1", Roots: ca.Pool}, addr, true},
		"an address of IPv6":               {&certs.Client{Hostname: "2001:DB8:0::1", Roots: ca.Pool}, addr, true},
		"another address":                  {&certs.Client{Hostname: "192.0.2.2", Roots: ca.Pool}, addr, false},
		"another authority":                {named, foreign, false},
		"the good one behind another":      {named, append(foreign[:1:1], a[0], ca.Cert), false},
		"expired":                          {named, old, false},
		"not valid yet":                    {named, early, false},
		"its pin":                          {&certs.Client{Pins: pin(a)}, a, true},
		"its pin, without an authority":    {&certs.Client{Pins: pin(foreign)}, foreign, true},
		"one of several pins":              {&certs.Client{Pins: append(pin(old), pin(a)...)}, a, true},
		"another's pin":                    {&certs.Client{Pins: pin(wild)}, a, false},
		"its pin, expired":                 {&certs.Client{Pins: pin(old)}, old, false},
		"its pin, not valid yet":           {&certs.Client{Pins: pin(early)}, early, false},
		"its authority's pin":              {&certs.Client{Pins: []certs.Pin{certs.PinOf(ca.Cert)}}, append(a[:1:1], ca.Cert), false},
		"the pin of what it shows besides": {&certs.Client{Pins: pin(a)}, append(foreign[:1:1], a[0]), false},
		"pin and name":                     {&certs.Client{Hostname: "a.test", Roots: ca.Pool, Pins: pin(a)}, a, true},
		"pin, and another name":            {&certs.Client{Hostname: "b.test", Pins: pin(a)}, a, false},
		"pin, and another authority":       {&certs.Client{Roots: other.Pool, Pins: pin(a)}, a, false},
		"name, and another pin":            {&certs.Client{Hostname: "a.test", Roots: ca.Pool, Pins: pin(wild)}, a, false},
		"of which nothing is known":        {&certs.Client{}, a, false},
		"a name without an authority":      {&certs.Client{Hostname: "a.test"}, a, false},
		"an authority without a name":      {&certs.Client{Roots: ca.Pool}, a, false},
		"an authority that has nobody":     {&certs.Client{Hostname: "a.test", Roots: x509.NewCertPool()}, a, false},
		"its own authority":                {&certs.Client{Hostname: "a.test", Roots: roots(client)}, client, true},
		"for whatever use":                 {&certs.Client{Hostname: "a.test", Roots: roots(none)}, none, true},
		"for servers":                      {&certs.Client{Hostname: "a.test", Roots: roots(server)}, server, false},
		"for servers, by its pin":          {&certs.Client{Pins: pin(server)}, server, true},
	} {
		if err := tt.c.Verify(tt.shown, now); (err == nil) != tt.want {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, _, err := certs.ReadPin(dir + "/none.pem"); err == nil || !strings.Contains(err.Error(), "none.pem") {
		t.Errorf("%v", err)
	}
}

// TestPath has strangers show certificates that lead in circles: few signatures are verified. Chains that
// lead to an authority, in whatever order, are found.
func TestPath(t *testing.T) {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	serial := int64(0)
	issue := func(name, issuer string, ca bool) *x509.Certificate {
		serial++
		template := &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
			NotAfter: time.Now().Add(time.Hour), IsCA: ca, BasicConstraintsValid: ca, KeyUsage: x509.KeyUsageDigitalSignature,
		}
		if ca {
			template.KeyUsage = x509.KeyUsageCertSign
		} else {
			template.DNSNames = []string{"a.test"}
		}
		parent := &x509.Certificate{Subject: pkix.Name{CommonName: issuer}, PublicKey: &key.PublicKey}
		return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, key))))
	}
	root, one, two, leaf := issue("root", "root", true), issue("one", "root", true), issue("two", "one", true), issue("leaf", "two", false)
	roots := x509.NewCertPool()
	roots.AddCert(root)
	c := &certs.Client{Hostname: "a.test", Roots: roots}
	for what, chain := range map[string][]*x509.Certificate{
		"in order": {leaf, two, one}, "in another order": {leaf, one, two}, "with the root": {leaf, two, one, root}, "the root first": {leaf, root, one, two},
	} {
		if err := c.Verify(chain, time.Now()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if c.Verify([]*x509.Certificate{leaf, two}, time.Now()) == nil {
		t.Error("with a gap: it is taken")
	}
	// Each of these has the package x509 verify signatures up to its own limit.
	nobody := &certs.Client{Hostname: "a.test", Roots: certtest.New(t).Pool}
	for what, chain := range map[string][]*x509.Certificate{
		"itself":     {issue("x", "x", false), issue("x", "x", true), issue("x", "x", true), issue("x", "x", true)},
		"one":        {issue("leaf", "x", false), issue("x", "x", true), issue("x", "x", true), issue("x", "x", true)},
		"two":        {issue("leaf", "x", false), issue("x", "y", true), issue("y", "x", true), issue("x", "y", true)},
		"three":      {issue("leaf", "x", false), issue("x", "y", true), issue("y", "z", true), issue("z", "x", true)},
		"the first":  {issue("leaf", "x", false), issue("x", "leaf", true), issue("leaf", "x", true), issue("x", "leaf", true)},
		"many alike": {issue("leaf", "x", false), issue("x", "y", true), issue("x", "y", true), issue("x", "y", true)},
	} {
		if err := nobody.Verify(chain, time.Now()); err == nil || strings.Contains(err.Error(), "limit reached") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
