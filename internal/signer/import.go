package signer

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	"port53/internal/dnssec"
	"port53/internal/wire"
)

// Import returns the key of a private key file of another program: in BIND's format, which
// pdnsutil export-zone-key and dnssec-keygen write, or PKCS #8 in PEM, as Knot DNS keeps keys.
// name is the file's, for errors. The zone, and whether it has the SEP flag, are not in the
// file; alg is the algorithm of an RSA key in PEM, 0 means RSASHA256.
func Import(name string, b []byte, zone []byte, sep bool, alg uint8, now time.Time) (*Key, error) {
	f := &privateFile{}
	block, _ := pem.Decode(b)
	if block == nil {
		var err error
		if f, err = parsePrivate(name, b); err != nil {
			return nil, err
		}
	} else if err := f.fromPEM(block, alg); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if alg != 0 && alg != f.algorithm {
		return nil, fmt.Errorf("%s: the key's algorithm is %s, not %s", name, wire.AlgorithmName(f.algorithm), wire.AlgorithmName(alg))
	}
	flags := uint16(dnssec.FlagZone)
	if sep {
		flags |= dnssec.FlagSEP
	}
	made, err := dnssec.NewSigner(zone, f.algorithm, flags, f.key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	k := &Key{Zone: made.Zone, DNSKEY: made.Key.Data, Private: f.key, Times: f.times, kept: f.kept}
	if k.Times == (Times{}) {
		now = now.UTC().Truncate(time.Second)
		k.Times = Times{Created: now, Publish: now, Activate: now}
	}
	return k, nil
}

// fromPEM takes a private key out of a block of PEM.
func (f *privateFile) fromPEM(block *pem.Block, alg uint8) error {
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return fmt.Errorf("expected a private key in PEM, got %q", block.Type)
	}
	if err != nil {
		return err
	}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		f.key, f.algorithm = k, dnssec.RSASHA256
		if alg == dnssec.RSASHA512 {
			f.algorithm = alg
		}
	case *ecdsa.PrivateKey:
		f.key, f.algorithm = k, dnssec.ECDSAP256
		if k.Curve == elliptic.P384() {
			f.algorithm = dnssec.ECDSAP384
		}
	case ed25519.PrivateKey:
		f.key, f.algorithm = k, dnssec.ED25519
	default:
		return fmt.Errorf("a key of type %T cannot sign a zone", k)
	}
	return nil
}
