// Package certtest makes certificates for tests.
package certtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// An Authority signs certificates.
type Authority struct {
	t    testing.TB
	key  *ecdsa.PrivateKey
	Cert *x509.Certificate
	Pool *x509.CertPool
	File string // of its certificate
}

// New makes an authority, whose files are in a folder of the test's.
func New(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{t: t, Pool: x509.NewCertPool()}
	a.key = newKey(t)
	template := &x509.Certificate{
		SerialNumber: serial(t), Subject: pkix.Name{CommonName: "An authority for tests"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.Cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.Pool.AddCert(a.Cert)
	a.File = filepath.Join(t.TempDir(), "ca.pem")
	write(t, a.File, 0o644, "CERTIFICATE", der)
	return a
}

// A Leaf is what a certificate says.
type Leaf struct {
	Names []string // of hosts, and addresses
	From  time.Time
	Until time.Time
}

// Issue writes a certificate for names, valid now, and its key into files of a folder: name.pem
// and name.key. It returns their paths.
func (a *Authority) Issue(dir, name string, names ...string) (certificate, key string) {
	a.t.Helper()
	return a.IssueLeaf(dir, name, Leaf{Names: names})
}

// IssueLeaf is Issue with all that a certificate says.
func (a *Authority) IssueLeaf(dir, name string, l Leaf) (certificate, key string) {
	a.t.Helper()
	if l.From.IsZero() {
		l.From = time.Now().Add(-time.Hour)
	}
	if l.Until.IsZero() {
		l.Until = time.Now().Add(90 * 24 * time.Hour)
	}
	k := newKey(a.t)
	template := &x509.Certificate{
		SerialNumber: serial(a.t), Subject: pkix.Name{CommonName: name}, NotBefore: l.From, NotAfter: l.Until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, n := range l.Names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Cert, &k.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	certificate, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	text, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	write(a.t, key, 0o600, "PRIVATE KEY", text)
	write(a.t, certificate, 0o644, "CERTIFICATE", der)
	return certificate, key
}

// Sign returns a certificate for what is requested, in DER.
func (a *Authority) Sign(r *x509.CertificateRequest, l Leaf) []byte {
	a.t.Helper()
	template := &x509.Certificate{
		SerialNumber: serial(a.t), NotBefore: l.From, NotAfter: l.Until, DNSNames: r.DNSNames, IPAddresses: r.IPAddresses,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Cert, r.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return der
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func serial(t testing.TB) *big.Int {
	t.Helper()
	n, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func write(t testing.TB, path string, mode os.FileMode, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode); err != nil {
		t.Fatal(err)
	}
}
