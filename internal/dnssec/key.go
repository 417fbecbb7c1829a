package dnssec

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha1" // DS digests of old zones (RFC 4509, section 3)
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"math/big"

	"github.com/cloudflare/circl/sign/ed448"

	"port53/internal/wire"
)

// Algorithms that are supported (RFC 9904, section 3).
const (
	RSASHA256 = 8
	RSASHA512 = 10
	ECDSAP256 = 13
	ECDSAP384 = 14
	ED25519   = 15
	ED448     = 16
)

// Digests of DS records that are supported (RFC 9904, section 3).
const (
	DigestSHA1   = 1
	DigestSHA256 = 2
	DigestSHA384 = 4
)

// Bounds of RSA keys: smaller ones are broken, larger ones cost too much
// (RFC 5702, section 2.1 allows 512 to 4096 bits).
const (
	minRSA = 1024
	maxRSA = 4096
)

// SupportedAlgorithm reports whether signatures of an algorithm can be verified. Zones
// that have no other are insecure, those with SHA-1 among them (RFC 9905, section 2).
func SupportedAlgorithm(alg uint8) bool {
	switch alg {
	case RSASHA256, RSASHA512, ECDSAP256, ECDSAP384, ED25519, ED448:
		return true
	}
	return false
}

// SupportedDigest reports whether a digest of DS records can be computed.
func SupportedDigest(digest uint8) bool {
	return digest == DigestSHA1 || digest == DigestSHA256 || digest == DigestSHA384
}

// Flags of DNSKEY records (RFC 4034, section 2.1.1; RFC 5011, section 7).
const (
	FlagZone   = 0x0100
	FlagRevoke = 0x0080
	FlagSEP    = 0x0001
)

// A Key is a DNSKEY record, its public key parsed.
type Key struct {
	Flags     uint16
	Algorithm uint8
	Tag       uint16
	Data      []byte // the whole RDATA

	public crypto.PublicKey // nil if it is no good, or of an unsupported algorithm
	beyond bool             // it may be good, but not within our bounds
}

// ParseKey reads the RDATA of a DNSKEY record, which the key refers to from then on. It
// returns false if the record is not a key of protocol 3. A key that cannot be used is
// a key all the same: it verifies nothing.
func ParseKey(rdata []byte) (Key, bool) {
	if len(rdata) < 5 || rdata[2] != 3 {
		return Key{}, false
	}
	k := Key{Flags: binary.BigEndian.Uint16(rdata), Algorithm: rdata[3], Tag: KeyTag(rdata), Data: rdata}
	k.public, k.beyond = publicKey(k.Algorithm, rdata[4:])
	return k, true
}

// Zone reports whether the key may sign a zone's data.
func (k *Key) Zone() bool { return k.Flags&FlagZone != 0 }

// SEP reports whether the key says of itself that it is the secure entry point.
func (k *Key) SEP() bool { return k.Flags&FlagSEP != 0 }

// Revoked reports whether the key has been revoked (RFC 5011, section 2.1).
func (k *Key) Revoked() bool { return k.Flags&FlagRevoke != 0 }

// KeyTag returns the key tag of a DNSKEY record (RFC 4034, appendix B).
func KeyTag(rdata []byte) uint16 {
	var sum uint32
	for i, b := range rdata {
		if i&1 == 0 {
			sum += uint32(b) << 8
		} else {
			sum += uint32(b)
		}
	}
	return uint16(sum + sum>>16)
}

// Public returns the public half of the key, or nil if it is no good, or of an unsupported algorithm.
func (k *Key) Public() crypto.PublicKey { return k.public }

// publicKey parses the public key field of an algorithm, or returns nil. beyond tells of a
// key which is nil for its size.
func publicKey(alg uint8, b []byte) (key crypto.PublicKey, beyond bool) {
	switch alg {
	case RSASHA256, RSASHA512:
		return rsaKey(b)
	case ECDSAP256:
		return ecdsaKey(elliptic.P256(), 32, b), false
	case ECDSAP384:
		return ecdsaKey(elliptic.P384(), 48, b), false
	case ED25519: // RFC 8080, section 3
		if len(b) == ed25519.PublicKeySize {
			return ed25519.PublicKey(b), false
		}
	case ED448: // the same
		if len(b) == ed448.PublicKeySize {
			return ed448.PublicKey(b), false
		}
	}
	return nil, false
}

// rsaKey parses RFC 3110, section 2. Exponents are odd and from 3 to 2^31-1, which is what
// package crypto takes: larger ones can make a verification as dear as wished.
func rsaKey(b []byte) (key crypto.PublicKey, beyond bool) {
	if len(b) < 1 {
		return nil, false
	}
	n := int(b[0])
	b = b[1:]
	if n == 0 {
		if len(b) < 2 {
			return nil, false
		}
		n = int(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if n == 0 || len(b) <= n {
		return nil, false
	}
	exponent, modulus := new(big.Int).SetBytes(b[:n]), new(big.Int).SetBytes(b[n:])
	if bits := modulus.BitLen(); n > 4 || exponent.BitLen() > 31 || bits < minRSA || bits > maxRSA {
		return nil, true
	}
	e := int(exponent.Int64())
	if e < 3 || e%2 == 0 || modulus.Bit(0) == 0 {
		return nil, false // nobody has such a key
	}
	return &rsa.PublicKey{N: modulus, E: e}, false
}

// ecdsaKey parses RFC 6605, section 4.
func ecdsaKey(curve elliptic.Curve, size int, b []byte) crypto.PublicKey {
	if len(b) != 2*size {
		return nil
	}
	k, err := ecdsa.ParseUncompressedPublicKey(curve, append([]byte{4}, b...))
	if err != nil {
		return nil
	}
	return k
}

// check reports whether sig is the key's signature over data.
func (k *Key) check(data, sig []byte) bool {
	switch p := k.public.(type) {
	case *rsa.PublicKey:
		if k.Algorithm == RSASHA512 {
			sum := sha512.Sum512(data)
			return rsa.VerifyPKCS1v15(p, crypto.SHA512, sum[:], sig) == nil
		}
		sum := sha256.Sum256(data)
		return rsa.VerifyPKCS1v15(p, crypto.SHA256, sum[:], sig) == nil
	case *ecdsa.PublicKey:
		var room [2*48 + 8]byte
		if k.Algorithm == ECDSAP384 {
			sum := sha512.Sum384(data)
			return len(sig) == 2*48 && ecdsa.VerifyASN1(p, sum[:], appendASN1(room[:0], sig))
		}
		sum := sha256.Sum256(data)
		return len(sig) == 2*32 && ecdsa.VerifyASN1(p, sum[:], appendASN1(room[:0], sig))
	case ed25519.PublicKey:
		return ed25519.Verify(p, data, sig)
	case ed448.PublicKey:
		return ed448.Verify(p, data, sig, "")
	}
	return false
}

// appendASN1 appends an ECDSA signature, two numbers of equal length of at most 48
// octets, in the form that package crypto reads: a sequence of two integers. That halves
// the allocations of going through package big.
func appendASN1(dst, sig []byte) []byte {
	const sequence, integer = 0x30, 0x02
	dst = append(dst, sequence, 0)
	for _, n := range [2][]byte{sig[:len(sig)/2], sig[len(sig)/2:]} {
		for len(n) > 1 && n[0] == 0 {
			n = n[1:]
		}
		if n[0] < 0x80 {
			dst = append(dst, integer, byte(len(n)))
		} else {
			dst = append(dst, integer, byte(len(n)+1), 0) // it is no negative number
		}
		dst = append(dst, n...)
	}
	dst[1] = byte(len(dst) - 2)
	return dst
}

// AppendDS appends the RDATA of the DS record for a key (RFC 4034, section 5.1.4). It
// returns false for a digest that is not supported.
func AppendDS(dst []byte, owner, dnskey []byte, digest uint8) ([]byte, bool) {
	if len(dnskey) < 5 {
		return dst, false
	}
	data := append(wire.Lower(make([]byte, 0, len(owner)+len(dnskey)), owner), dnskey...)
	dst = binary.BigEndian.AppendUint16(dst, KeyTag(dnskey))
	dst = append(dst, dnskey[3], digest)
	switch digest {
	case DigestSHA1:
		sum := sha1.Sum(data) // as above
		return append(dst, sum[:]...), true
	case DigestSHA256:
		sum := sha256.Sum256(data)
		return append(dst, sum[:]...), true
	case DigestSHA384:
		sum := sha512.Sum384(data)
		return append(dst, sum[:]...), true
	}
	return dst, false
}

// MatchDS reports whether the DS record stands for the key.
func MatchDS(ds, owner, dnskey []byte) bool {
	if len(ds) < 5 || len(dnskey) < 5 || ds[2] != dnskey[3] || binary.BigEndian.Uint16(ds) != KeyTag(dnskey) {
		return false
	}
	made, ok := AppendDS(nil, owner, dnskey, ds[3])
	return ok && bytes.Equal(made, ds)
}
