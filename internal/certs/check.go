package certs

import (
	"bytes"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"time"
)

// minRSA is the bits of the shortest RSA key that clients of today take.
const minRSA = 2048

// A Problem is something wrong with the files of a certificate.
type Problem struct {
	Key   bool   // it is the private key's file that is wrong, else the certificate's
	Text  string // what is wrong, behind the name of the file
	Hint  string // what to do, or ""
	Fatal bool   // the certificate cannot be used at all; else some clients will not take it
}

// in returns the problem in one line.
func (p *Problem) in(of Pair) string {
	path := of.Certificate
	if p.Key {
		path = of.Key
	}
	text := path + " " + p.Text
	if p.Hint != "" {
		text += "; " + p.Hint
	}
	return text
}

// Check says what is wrong with the files of a pair: whether they can be read, and the key by
// no stranger, whether they fit, the order of the chain, whether names, of hosts or addresses,
// are covered, and whether it is valid now.
func Check(p Pair, names []string, now time.Time) (problems []Problem) {
	chain, problem := readChain(p.Certificate)
	if problem != nil {
		problems = append(problems, *problem)
	}
	if problem = p.checkKey(chain); problem != nil {
		problems = append(problems, *problem)
	}
	if len(chain) == 0 {
		return problems
	}
	leaf := chain[0]
	late := func(hint, format string, args ...any) {
		problems = append(problems, Problem{Text: fmt.Sprintf(format, args...), Hint: hint})
	}
	for i := range chain[1:] {
		if !bytes.Equal(chain[i].RawIssuer, chain[i+1].RawSubject) {
			late(
				"put the server's certificate first, and after each certificate its issuer's",
				"has its certificates in the wrong order: certificate %d (%s) was not issued by certificate %d (%s)",
				i+1,
				nameOf(chain[i]),
				i+2,
				nameOf(chain[i+1]),
			)
			break
		}
	}
	switch {
	case now.After(leaf.NotAfter):
		late("renew it; it is read again as soon as the file changes", "expired on %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		late("check this host's clock", "is not valid before %s", leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	for _, name := range names {
		if leaf.VerifyHostname(hostText(name)) != nil {
			late("get one that has the name, or change the name", "does not cover %s: it has %s", name, listed(leaf))
		}
	}
	if key, ok := leaf.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() < minRSA {
		late("use an ECDSA key, or an RSA key of 2048 bits", "has an RSA key of %d bits, which clients reject", key.N.BitLen())
	}
	return problems
}

// hostText writes a name as x509 knows it: addresses of IPv6 in brackets.
func hostText(name string) string {
	if a, err := netip.ParseAddr(name); err == nil && a.Is6() {
		return "[" + name + "]"
	}
	return strings.TrimSuffix(name, ".")
}

// listed returns the names of a certificate for an error.
func listed(c *x509.Certificate) string {
	const most = 8
	names := namesOf(c)
	switch {
	case len(names) == 0:
		return "no names (subject alternative names)"
	case len(names) > most:
		return strings.Join(names[:most], ", ") + " and others"
	}
	return strings.Join(names, ", ")
}

func nameOf(c *x509.Certificate) string {
	if c.Subject.CommonName != "" {
		return c.Subject.CommonName
	}
	return listed(c)
}

// readChain reads the certificates of a file.
func readChain(path string) ([]*x509.Certificate, *Problem) {
	text, err := readFile(path)
	if err != nil {
		return nil, unreadable(err, false)
	}
	var chain []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, &Problem{Text: fmt.Sprintf("has a certificate (%d) that cannot be read: %v", len(chain)+1, err), Fatal: true}
		}
		chain = append(chain, c)
	}
	if len(chain) == 0 {
		return nil, &Problem{Text: "has no certificate in PEM", Hint: "it begins with -----BEGIN CERTIFICATE-----", Fatal: true}
	}
	return chain, nil
}

// checkKey reads the private key, and looks whether it is that of a chain's first certificate.
func (p Pair) checkKey(chain []*x509.Certificate) *Problem {
	info, err := os.Stat(p.Key)
	if err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o007 != 0 {
		return &Problem{Key: true, Text: "is readable by every user", Hint: "chmod o= " + p.Key, Fatal: true}
	}
	key, err := readFile(p.Key)
	if err != nil {
		return unreadable(err, true)
	}
	if !bytes.Contains(key, []byte("PRIVATE KEY-----")) {
		return &Problem{Key: true, Text: "has no private key in PEM", Hint: "it begins with -----BEGIN PRIVATE KEY-----", Fatal: true}
	}
	if bytes.Contains(key, []byte("-----BEGIN ENCRYPTED")) || bytes.Contains(key, []byte("Proc-Type: 4,ENCRYPTED")) {
		return &Problem{
			Key:   true,
			Text:  "is encrypted with a password",
			Hint:  "write it without one: openssl pkey -in " + p.Key + " -out NEW",
			Fatal: true,
		}
	}
	for i, c := range chain {
		_, err := tls.X509KeyPair(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), key)
		switch {
		case err == nil && i == 0:
			return nil
		case err == nil:
			return &Problem{
				Text:  fmt.Sprintf("has its certificates in the wrong order: that of the private key is certificate %d", i+1),
				Hint:  "put it first, and after each certificate its issuer's",
				Fatal: true,
			}
		case !strings.Contains(err.Error(), "does not match"):
			return &Problem{Key: true, Text: "cannot be read: " + strings.TrimPrefix(err.Error(), "tls: "), Fatal: true}
		}
	}
	if len(chain) > 0 {
		return &Problem{
			Key:   true,
			Text:  "does not fit the certificate " + p.Certificate,
			Hint:  "the key must belong to the certificate: find the matching one",
			Fatal: true,
		}
	}
	return nil
}

// unreadable says why a file cannot be read.
func unreadable(err error, key bool) *Problem {
	p := &Problem{Key: key, Fatal: true}
	var path *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.Text, p.Hint = "does not exist", "relative paths are relative to the directory of the file they appear in"
	case errors.Is(err, fs.ErrPermission):
		p.Text, p.Hint = "cannot be read: permission denied", "let the user that port53 runs as read it"
	case errors.As(err, &path):
		p.Text = "cannot be read: " + path.Err.Error()
	default:
		_, text, _ := strings.Cut(err.Error(), " ")
		p.Text = text
	}
	return p
}
