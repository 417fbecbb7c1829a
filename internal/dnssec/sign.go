package dnssec

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"

	"port53/internal/wire"
)

// A Signer is a key of a zone that can sign.
type Signer struct {
	Zone    []byte // in lower case
	Key     Key
	Private crypto.Signer
}

// rsaBits is the size of RSA keys that are made (RFC 9904, section 3 recommends
// elliptic curves instead).
const rsaBits = 2048

// GenerateKey makes a key for a zone. flags are FlagZone, with FlagSEP for one that
// signs keys.
func GenerateKey(zone []byte, alg uint8, flags uint16) (*Signer, error) {
	var private crypto.Signer
	var err error
	switch alg {
	case RSASHA256, RSASHA512:
		private, err = rsa.GenerateKey(rand.Reader, rsaBits)
	case ECDSAP256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case ECDSAP384:
		private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case ED25519:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		return nil, fmt.Errorf("dnssec: algorithm %s cannot sign", wire.AlgorithmName(alg))
	}
	if err != nil {
		return nil, fmt.Errorf("dnssec: key for %s: %w", wire.AlgorithmName(alg), err)
	}
	return NewSigner(zone, alg, flags, private)
}

// NewSigner returns the signer with a private key, which is of the algorithm's kind.
func NewSigner(zone []byte, alg uint8, flags uint16, private crypto.Signer) (*Signer, error) {
	rdata := binary.BigEndian.AppendUint16(nil, flags)
	rdata = append(rdata, 3, alg)
	switch p := private.Public().(type) {
	case *rsa.PublicKey:
		e := big.NewInt(int64(p.E)).Bytes()
		rdata = append(append(rdata, byte(len(e))), e...)
		rdata = append(rdata, p.N.Bytes()...)
	case *ecdsa.PublicKey:
		point, err := p.Bytes()
		if err != nil {
			return nil, fmt.Errorf("dnssec: %w", err)
		}
		rdata = append(rdata, point[1:]...)
	case ed25519.PublicKey:
		rdata = append(rdata, p...)
	default:
		return nil, fmt.Errorf("dnssec: a key of type %T cannot sign", p)
	}
	k, _ := ParseKey(rdata)
	if k.public == nil {
		return nil, fmt.Errorf("dnssec: the key does not fit algorithm %s", wire.AlgorithmName(alg))
	}
	return &Signer{Zone: wire.Lower(nil, zone), Key: k, Private: private}, nil
}

// Sign returns the RDATA of the RRSIG record over set, valid from inception to
// expiration, in seconds since 1970 (RFC 4034, section 3).
func (s *Signer) Sign(set *wire.RRset, inception, expiration uint32) ([]byte, error) {
	if !wire.Subdomain(set.Owner, s.Zone) {
		return nil, fmt.Errorf(
			"dnssec: signing %s %v: it is not in %s",
			wire.AppendName(nil, set.Owner),
			set.Type,
			wire.AppendName(nil, s.Zone),
		)
	}
	labels := wire.LabelCount(set.Owner) - leadingStar(set.Owner)
	sig := binary.BigEndian.AppendUint16(nil, uint16(set.Type))
	sig = append(sig, s.Key.Algorithm, byte(labels))
	sig = binary.BigEndian.AppendUint32(sig, set.TTL)
	sig = binary.BigEndian.AppendUint32(sig, expiration)
	sig = binary.BigEndian.AppendUint32(sig, inception)
	sig = binary.BigEndian.AppendUint16(sig, s.Key.Tag)
	buf := getBuffer()
	defer buf.put()
	buf.signed(set, sig, s.Zone, set.TTL, 0)
	sig = append(sig, s.Zone...)
	made, err := s.sign(buf.b)
	if err != nil {
		return nil, fmt.Errorf("dnssec: signing %s %v: %w", wire.AppendName(nil, set.Owner), set.Type, err)
	}
	return append(sig, made...), nil
}

func (s *Signer) sign(data []byte) ([]byte, error) {
	switch s.Key.Algorithm {
	case ED25519:
		return s.Private.Sign(rand.Reader, data, crypto.Hash(0))
	case RSASHA256:
		sum := sha256.Sum256(data)
		return s.Private.Sign(rand.Reader, sum[:], crypto.SHA256)
	case RSASHA512:
		sum := sha512.Sum512(data)
		return s.Private.Sign(rand.Reader, sum[:], crypto.SHA512)
	case ECDSAP256:
		sum := sha256.Sum256(data)
		return s.ecdsa(sum[:], crypto.SHA256, 32)
	}
	sum := sha512.Sum384(data)
	return s.ecdsa(sum[:], crypto.SHA384, 48)
}

// ecdsa returns both numbers of a signature in full length (RFC 6605, section 4). A key in
// memory signs with the number that RFC 6979 derives, which is quicker than a random one, and
// as safe.
func (s *Signer) ecdsa(sum []byte, hash crypto.Hash, size int) ([]byte, error) {
	random := io.Reader(rand.Reader)
	if _, ok := s.Private.(*ecdsa.PrivateKey); ok {
		random = nil
	}
	der, err := s.Private.Sign(random, sum, hash)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 2*size)
	if !splitASN1(out, der) {
		return nil, errors.New("the signature has not the form that was asked for")
	}
	return out, nil
}

// splitASN1 fills both halves of out with the two numbers of an ECDSA signature as package
// crypto writes it: it undoes appendASN1.
func splitASN1(out, der []byte) bool {
	const sequence, integer = 0x30, 0x02
	if len(der) < 2 || der[0] != sequence || int(der[1]) != len(der)-2 || der[1] >= 0x80 {
		return false
	}
	der = der[2:]
	size := len(out) / 2
	for ; len(out) > 0; out = out[size:] {
		if len(der) < 2 || der[0] != integer || int(der[1]) > len(der)-2 {
			return false
		}
		n := der[2 : 2+int(der[1])]
		der = der[2+len(n):]
		for len(n) > size && n[0] == 0 {
			n = n[1:]
		}
		if len(n) > size {
			return false
		}
		clear(out[:size-len(n)])
		copy(out[size-len(n):size], n)
	}
	return len(der) == 0
}
