package lab

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math/big"

	"github.com/cloudflare/circl/sign/ed448"

	"port53/internal/dnssec"
)

// Flags of DNSKEY (RFC 4034, section 2.1.1; RFC 5011, section 7).
const (
	flagZone   = 0x0100
	flagRevoke = 0x0080
	flagSEP    = 0x0001
)

// DNSSEC algorithms (RFC 9904, section 2).
const (
	algRSASHA1   = 5
	algRSASHA256 = 8
	algRSASHA512 = 10
	algECDSAP256 = 13
	algECDSAP384 = 14
	algEd25519   = 15
	algEd448     = 16
)

// An rsaForm is the size of an RSA key, in bits, and its exponent.
type rsaForm struct {
	bits     int
	exponent int64
}

// usualRSA is the least that is accepted, since finding larger primes takes long, and nobody
// attacks a laboratory.
var usualRSA = rsaForm{1024, 65537}

// A Key signs in a laboratory. It is made from a name and nothing else: it is the
// same in every run and everywhere, and no secret.
type Key struct {
	DNSKEY []byte // RDATA
	Tag    uint16

	algorithm uint8 // as DNSKEY has it
	private   crypto.Signer
}

// A stream is the octets that a key is made from: SHA-256 of a name and a counter.
type stream struct {
	name  string
	count uint32
	rest  []byte
}

func (s *stream) Read(b []byte) (int, error) {
	n := 0
	for n < len(b) {
		if len(s.rest) == 0 {
			h := sha256.Sum256(binary.BigEndian.AppendUint32([]byte(s.name), s.count))
			s.rest = h[:]
			s.count++
		}
		c := copy(b[n:], s.rest)
		n, s.rest = n+c, s.rest[c:]
	}
	return n, nil
}

// NewKey makes the key of a name, such as "example. ksk". An algorithm that port53
// does not implement gets a key and signatures that look like Ed25519's: nobody will
// verify them.
func NewKey(name string, algorithm uint8, flags uint16) (*Key, error) {
	return newKey(name, algorithm, flags, 3, usualRSA)
}

func newKey(name string, algorithm uint8, flags uint16, protocol uint8, form rsaForm) (*Key, error) {
	k := &Key{algorithm: algorithm}
	random := &stream{name: fmt.Sprintf("%s %d ", name, algorithm)}
	public, err := k.generate(random, form)
	if err != nil {
		return nil, fmt.Errorf("make a key of algorithm %d: %w", algorithm, err)
	}
	k.setPublic(flags, protocol, public)
	return k, nil
}

// setPublic makes the DNSKEY record's data.
func (k *Key) setPublic(flags uint16, protocol uint8, public []byte) {
	k.DNSKEY = append(binary.BigEndian.AppendUint16(nil, flags), protocol, k.algorithm)
	k.DNSKEY = append(k.DNSKEY, public...)
	k.Tag = dnssec.KeyTag(k.DNSKEY)
}

func (k *Key) generate(random io.Reader, form rsaForm) (public []byte, err error) {
	switch k.algorithm {
	case algRSASHA256, algRSASHA512:
		key := newRSA(random, form)
		k.private = key
		return rsaPublic(key.N, form.exponent), nil
	case algEd448:
		b := make([]byte, ed448.SeedSize)
		_, _ = io.ReadFull(random, b)
		key := ed448.NewKeyFromSeed(b)
		k.private = key
		return key.Public().(ed448.PublicKey), nil
	case algECDSAP256, algECDSAP384:
		curve := elliptic.P256()
		if k.algorithm == algECDSAP384 {
			curve = elliptic.P384()
		}
		b := make([]byte, (curve.Params().BitSize+7)/8)
		for {
			_, _ = io.ReadFull(random, b) // a stream never fails
			key, err := ecdsa.ParseRawPrivateKey(curve, b)
			if err != nil {
				continue // not below the order of the group: one in 2^32
			}
			k.private = key
			public, err := key.PublicKey.Bytes()
			if err != nil {
				return nil, err
			}
			return public[1:], nil // without the octet that says uncompressed (RFC 6605, section 4)
		}
	default:
		b := make([]byte, ed25519.SeedSize)
		_, _ = io.ReadFull(random, b)
		key := ed25519.NewKeyFromSeed(b)
		k.private = key
		return key.Public().(ed25519.PublicKey), nil
	}
}

// rsaPublic is the public key field of RSA (RFC 3110, section 2).
func rsaPublic(modulus *big.Int, exponent int64) []byte {
	e := big.NewInt(exponent).Bytes()
	return append(append([]byte{byte(len(e))}, e...), modulus.Bytes()...)
}

// newRSA makes an RSA key. The standard library's own generator cannot be made to
// repeat itself.
func newRSA(random io.Reader, form rsaForm) *rsa.PrivateKey {
	one, e := big.NewInt(1), big.NewInt(form.exponent)
	prime := func() *big.Int {
		b := make([]byte, form.bits/2/8)
		for {
			_, _ = io.ReadFull(random, b)
			b[0] |= 0xC0 // so that the product has all its bits
			b[len(b)-1] |= 1
			p := new(big.Int).SetBytes(b)
			if p.ProbablyPrime(20) && new(big.Int).GCD(nil, nil, e, new(big.Int).Sub(p, one)).Cmp(one) == 0 {
				return p
			}
		}
	}
	p, q := prime(), prime()
	key := &rsa.PrivateKey{Primes: []*big.Int{p, q}}
	key.E, key.N = int(form.exponent), new(big.Int).Mul(p, q)
	phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	key.D = new(big.Int).ModInverse(e, phi)
	return key
}

// signRSA returns a signature of PKCS #1, version 1.5, whatever the key's size and exponent:
// package rsa refuses those that nobody should have.
func signRSA(key *rsa.PrivateKey, digest []byte, hash crypto.Hash) []byte {
	prefix := []byte{0x30, 0x31, 0x30, 0x0D, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}
	if hash == crypto.SHA512 { // RFC 8017, section 9.2, note 1
		prefix[1], prefix[14], prefix[18] = 0x51, 3, 0x40
	}
	size := (key.N.BitLen() + 7) / 8
	padded := append([]byte{0, 1}, bytes.Repeat([]byte{0xFF}, size-3-len(prefix)-len(digest))...)
	padded = append(append(append(padded, 0), prefix...), digest...)
	m := new(big.Int).SetBytes(padded)
	return m.Exp(m, key.D, key.N).FillBytes(make([]byte, size))
}

// Sign returns the signature field of an RRSIG record over data.
func (k *Key) Sign(data []byte) ([]byte, error) {
	switch k.algorithm {
	case algRSASHA256, algECDSAP256:
		h := sha256.Sum256(data)
		return k.signDigest(h[:], crypto.SHA256)
	case algRSASHA512, algECDSAP384:
		hash := crypto.SHA512
		if k.algorithm == algECDSAP384 {
			hash = crypto.SHA384
		}
		h := hash.New()
		h.Write(data)
		return k.signDigest(h.Sum(nil), hash)
	}
	return k.private.Sign(nil, data, crypto.Hash(0))
}

func (k *Key) signDigest(digest []byte, hash crypto.Hash) ([]byte, error) {
	if key, ok := k.private.(*rsa.PrivateKey); ok {
		return signRSA(key, digest, hash), nil
	}
	sig, err := k.private.Sign(nil, digest, hash) // without randomness: RFC 6979 for ECDSA
	if err != nil {
		return nil, err
	}
	if key, ok := k.private.(*ecdsa.PrivateKey); ok {
		return rawECDSA(sig, (key.Curve.Params().BitSize+7)/8)
	}
	return sig, nil
}

// rawECDSA makes r and s, side by side (RFC 6605, section 4), from their ASN.1 form.
func rawECDSA(der []byte, size int) ([]byte, error) {
	// SEQUENCE, length, then twice INTEGER, length, value: all lengths are below 128.
	raw := make([]byte, 2*size)
	rest := der[2:]
	for i := range 2 {
		if len(rest) < 2 || rest[0] != 2 || len(rest) < 2+int(rest[1]) {
			return nil, fmt.Errorf("signature %x is not ASN.1", der)
		}
		new(big.Int).SetBytes(rest[2 : 2+int(rest[1])]).FillBytes(raw[i*size : (i+1)*size])
		rest = rest[2+int(rest[1]):]
	}
	return raw, nil
}

// collide returns the data of a DNSKEY record with the tag and algorithm of k, which
// must be RSA, and another public key, the nth of its kind (KeyTrap, CVE-2023-50387).
func (k *Key) collide(n int) []byte {
	random := &stream{name: fmt.Sprintf("twin %d of %x ", n, k.DNSKEY)}
	b := make([]byte, usualRSA.bits/8)
	_, _ = io.ReadFull(random, b)
	b[0] |= 0x80
	b[len(b)-1] |= 1
	twin := Key{algorithm: k.algorithm}
	set := func(word uint16) uint16 {
		binary.BigEndian.PutUint16(b[2:], word)
		twin.setPublic(binary.BigEndian.Uint16(k.DNSKEY), k.DNSKEY[2], rsaPublic(new(big.Int).SetBytes(b), usualRSA.exponent))
		return twin.Tag
	}
	// The tag is a sum of 16-bit words with the carry added once (RFC 4034, appendix
	// B): one word that is free brings it where it shall be, or next to it.
	word := k.Tag - set(0)
	for set(word) != k.Tag {
		word--
	}
	return twin.DNSKEY
}
