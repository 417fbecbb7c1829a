package dnssec_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io"
	"slices"
	"testing"

	"port53/internal/dnssec"
	"port53/internal/wire"
)

// tried reports whether a signature is verified by a key with such a public key at all, and
// not passed over since the key is no good.
func tried(t *testing.T, alg uint8, public []byte) bool {
	t.Helper()
	k, ok := dnssec.ParseKey(append([]byte{1, 0, 3, alg}, public...))
	if !ok {
		t.Fatalf("% x is no key", public)
	}
	s := set(t)
	head := []byte{0, 15, alg, 2, 0, 0, 14, 16, 0x7F, 0, 0, 0, 0, 0, 0, 0, byte(k.Tag >> 8), byte(k.Tag)}
	s.Sigs = [][]byte{append(append(head, name(t, "example.")...), 1, 2, 3)}
	w := work()
	if _, why := dnssec.Verify(s, name(t, "example."), []dnssec.Key{k}, clock, w); why != dnssec.BadSignature {
		t.Errorf("algorithm %d, % x: %v", alg, public[:min(8, len(public))], why)
	}
	return w.Signatures < 32
}

// TestPublicKeys has public keys in the form of RFC 3110, section 2, RFC 6605, section 4, and
// RFC 8080, section 3, and such as end too soon, are too long or cannot be.
func TestPublicKeys(t *testing.T) {
	modulus := bytes.Repeat([]byte{0xFF}, 128)
	even := append(bytes.Clone(modulus[:127]), 0xFE)
	p256, p384 := signer(t, dnssec.ECDSAP256, "example.").Key.Data[4:], signer(t, dnssec.ECDSAP384, "example.").Key.Data[4:]
	ed := signer(t, dnssec.ED25519, "example.").Key.Data[4:]
	for _, c := range []struct {
		what   string
		alg    uint8
		public []byte
		want   bool
	}{
		{"RSA", dnssec.RSASHA256, slices.Concat([]byte{1, 3}, modulus), true},
		{"RSA, SHA-512", dnssec.RSASHA512, slices.Concat([]byte{1, 3}, modulus), true},
		{"RSA, the exponent's length in three octets", dnssec.RSASHA256, slices.Concat([]byte{0, 0, 3, 1, 0, 1}, modulus), true},
		{"RSA, an exponent with zeros before it", dnssec.RSASHA256, slices.Concat([]byte{4, 0, 1, 0, 1}, modulus), true},
		{"RSA, an exponent of five octets", dnssec.RSASHA256, slices.Concat([]byte{5, 0, 0, 1, 0, 1}, modulus), false},
		{"RSA, an exponent that ends like a good one", dnssec.RSASHA256, slices.Concat([]byte{0, 0, 9, 1, 0, 0, 0, 0, 0, 0, 0, 3}, modulus), false},
		{"RSA, an exponent of 257", dnssec.RSASHA256, slices.Concat([]byte{2, 1, 1}, modulus), true},
		{"RSA, the largest exponent", dnssec.RSASHA256, slices.Concat([]byte{4, 0x7F, 0xFF, 0xFF, 0xFF}, modulus), true},
		{"RSA, an exponent of 2^31 + 1", dnssec.RSASHA256, slices.Concat([]byte{4, 0x80, 0, 0, 1}, modulus), false},
		{"RSA, an even exponent", dnssec.RSASHA256, slices.Concat([]byte{3, 1, 0, 0}, modulus), false},
		{"RSA, an exponent of 1", dnssec.RSASHA256, slices.Concat([]byte{1, 1}, modulus), false},
		{"RSA, no exponent", dnssec.RSASHA256, slices.Concat([]byte{0, 0, 0}, modulus), false},
		{"RSA, half a length", dnssec.RSASHA256, []byte{0, 0}, false},
		{"RSA, a length alone", dnssec.RSASHA256, []byte{0, 0, 1}, false},
		{"RSA, no modulus", dnssec.RSASHA256, []byte{1, 3}, false},
		{"RSA, an exponent that is cut off", dnssec.RSASHA256, []byte{3, 1, 0}, false},
		{"RSA, one octet", dnssec.RSASHA256, []byte{1}, false},
		{"RSA, an even modulus", dnssec.RSASHA256, slices.Concat([]byte{1, 3}, even), false},
		{"RSA, 1023 bits", dnssec.RSASHA256, slices.Concat([]byte{1, 3, 0x7F}, modulus[1:]), false},
		{"RSA, 4097 bits", dnssec.RSASHA256, slices.Concat([]byte{1, 3, 1}, bytes.Repeat(modulus, 4)), false},
		{"P-256", dnssec.ECDSAP256, p256, true},
		{"P-256, an octet less", dnssec.ECDSAP256, p256[:63], false},
		{"P-256, an octet more", dnssec.ECDSAP256, append(bytes.Clone(p256), 0), false},
		{"P-256, no point", dnssec.ECDSAP256, bytes.Repeat([]byte{1}, 64), false},
		{"P-256, a point of P-384", dnssec.ECDSAP256, p384, false},
		{"P-384", dnssec.ECDSAP384, p384, true},
		{"P-384, an octet less", dnssec.ECDSAP384, p384[:95], false},
		{"P-384, a point of P-256", dnssec.ECDSAP384, p256, false},
		{"Ed25519", dnssec.ED25519, ed, true},
		{"Ed25519, an octet less", dnssec.ED25519, ed[:31], false},
		{"Ed25519, an octet more", dnssec.ED25519, append(bytes.Clone(ed), 0), false},
		{"Ed448", dnssec.ED448, make([]byte, 57), true},
		{"Ed448, an octet less", dnssec.ED448, make([]byte, 56), false},
		{"Ed448, an octet more", dnssec.ED448, make([]byte, 58), false},
	} {
		if got := tried(t, c.alg, c.public); got != c.want {
			t.Errorf("%s: used %v, want %v", c.what, got, c.want)
		}
	}
	if k, ok := dnssec.ParseKey([]byte{1, 0, 3, dnssec.RSASHA256}); ok {
		t.Errorf("a key without a public key: %+v", k)
	}
}

// TestSignatureLengths has ECDSA signatures that are shorter and longer than both numbers
// (RFC 6605, section 4): neither is good, whatever it begins with.
func TestSignatureLengths(t *testing.T) {
	for _, alg := range []uint8{dnssec.ECDSAP256, dnssec.ECDSAP384, dnssec.ED25519, dnssec.RSASHA256} {
		k := signer(t, alg, "example.")
		s := signed(t, k, set(t), now-100, now+1000)
		good := s.Sigs[0]
		for what, sig := range map[string][]byte{
			"two octets less": good[:len(good)-2], "two octets more": append(bytes.Clone(good), 0, 0),
			"one octet": append(bytes.Clone(good[:18+9]), 1), "zeros": append(bytes.Clone(good[:18+9]), make([]byte, len(good)-18-9)...),
		} {
			s.Sigs = [][]byte{sig}
			if _, why := dnssec.Verify(s, k.Zone, []dnssec.Key{k.Key}, clock, work()); why != dnssec.BadSignature {
				t.Errorf("%s, %s: %v", wire.AlgorithmName(alg), what, why)
			}
		}
	}
}

// TestDSFields has DS records that differ from the key's in one field each, and such as are
// cut off (RFC 4034, section 5.1): the digest alone does not make a key theirs.
func TestDSFields(t *testing.T) {
	k := signer(t, dnssec.ED25519, "example.").Key
	owner := name(t, "example.")
	for _, digest := range []uint8{dnssec.DigestSHA1, dnssec.DigestSHA256, dnssec.DigestSHA384} {
		ds, ok := dnssec.AppendDS(nil, owner, k.Data, digest)
		if !ok || !dnssec.SupportedDigest(digest) || !dnssec.MatchDS(ds, name(t, "EXAMPLE."), k.Data) {
			t.Fatalf("digest %d does not match its key", digest)
		}
		for at := range ds {
			bad := bytes.Clone(ds)
			bad[at]++
			if dnssec.MatchDS(bad, owner, k.Data) {
				t.Errorf("digest %d: it matches with another octet %d", digest, at)
			}
		}
		for n := range ds {
			if dnssec.MatchDS(ds[:n], owner, k.Data) {
				t.Errorf("digest %d: its first %d octets match", digest, n)
			}
		}
		if dnssec.MatchDS(append(bytes.Clone(ds), 0), owner, k.Data) || dnssec.MatchDS(ds, name(t, "example.com."), k.Data) {
			t.Errorf("digest %d: it matches with an octet more, or for another name", digest)
		}
		for n := range 5 {
			if dnssec.MatchDS(ds, owner, k.Data[:n]) {
				t.Errorf("digest %d: the first %d octets of the key match", digest, n)
			}
			if made, ok := dnssec.AppendDS([]byte{7}, owner, k.Data[:n], digest); ok || !bytes.Equal(made, []byte{7}) {
				t.Errorf("digest %d of %d octets of a key: %x %v", digest, n, made, ok)
			}
		}
	}
	for _, digest := range []uint8{0, 3, 5, 6} {
		if _, ok := dnssec.AppendDS(nil, owner, k.Data, digest); ok || dnssec.SupportedDigest(digest) {
			t.Errorf("digest %d is supported", digest)
		}
	}
	for alg := range 256 {
		want := slices.Contains([]int{8, 10, 13, 14, 15, 16}, alg) // RFC 9904, section 3
		if dnssec.SupportedAlgorithm(uint8(alg)) != want {
			t.Errorf("algorithm %d is supported: %v", alg, !want)
		}
	}
}

// A broken key signs nothing, or what cannot be read.
type brokenKey struct {
	crypto.Signer
	made []byte
	err  error
}

func (b *brokenKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return b.made, b.err }

// foreignKey is a private key of a kind that DNSSEC does not know.
type foreignKey struct{ crypto.Signer }

func (foreignKey) Public() crypto.PublicKey { return "a secret handshake" }

// foreignCurve is a curve that package crypto has no form for.
type foreignCurve struct{ elliptic.Curve }

// TestKeysThatCannotSign has keys that do not fit their algorithm, and such as fail when they
// sign, as one in a module may: the error says so.
func TestKeysThatCannotSign(t *testing.T) {
	zone := name(t, "example.")
	for _, alg := range []uint8{0, 5, 7, 12, 16, 253} {
		if k, err := dnssec.GenerateKey(zone, alg, dnssec.FlagZone); err == nil || k != nil {
			t.Errorf("algorithm %d: %v %v", alg, k, err)
		}
	}
	p256 := signer(t, dnssec.ECDSAP256, "example.").Private
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		alg uint8
		key crypto.Signer
	}{
		"P-256 for P-384": {dnssec.ECDSAP384, p256}, "P-256 for RSA": {dnssec.RSASHA256, p256}, "P-521": {dnssec.ECDSAP256, p521},
		"another curve": {dnssec.ECDSAP256, &ecdsa.PrivateKey{PublicKey: ecdsa.PublicKey{Curve: foreignCurve{elliptic.P256()}}}},
		"foreign":       {dnssec.ECDSAP256, foreignKey{p256}}, "an unknown algorithm": {16, p256},
	} {
		if k, err := dnssec.NewSigner(zone, c.alg, dnssec.FlagZone, c.key); err == nil || k != nil {
			t.Errorf("%s: %v %v", what, k, err)
		}
	}
	failure := errors.New("the module is gone")
	for _, alg := range []uint8{dnssec.RSASHA256, dnssec.RSASHA512, dnssec.ECDSAP256, dnssec.ECDSAP384, dnssec.ED25519} {
		k := signer(t, alg, "example.")
		k.Private = &brokenKey{k.Private, nil, failure}
		if sig, err := k.Sign(set(t), now-1, now+1); !errors.Is(err, failure) || sig != nil {
			t.Errorf("%s: %x %v", wire.AlgorithmName(alg), sig, err)
		}
	}
	k := signer(t, dnssec.ECDSAP256, "example.")
	k.Private = &brokenKey{k.Private, []byte{0x30, 3, 2, 1, 1}, nil}
	if sig, err := k.Sign(set(t), now-1, now+1); err == nil {
		t.Errorf("one number of two: %x", sig)
	}
}
