//go:build pkcs11

package pkcs11

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"

	"github.com/miekg/pkcs11"
)

// Built reports whether this program reaches tokens.
const Built = true

// Stores are the key stores of a configuration. Their methods are for any number of goroutines.
type Stores struct{ list []*store }

// New returns the stores. Nothing is loaded or opened yet.
func New(list []Options) *Stores {
	s := &Stores{}
	modules := map[string]*module{}
	for _, o := range list {
		if modules[o.Module] == nil {
			modules[o.Module] = &module{path: o.Module}
		}
		s.list = append(s.list, &store{Options: o, module: modules[o.Module]})
	}
	return s
}

// Open loads the modules and logs in to each token, and returns what keeps stores from being used. What
// needs them later tries again.
func (s *Stores) Open() (problems []error) {
	for _, one := range s.list {
		if err := one.await(func() error { return one.do(false, func(session) error { return nil }) }); err != nil {
			problems = append(problems, err)
		}
	}
	return problems
}

// The numbers of algorithms that tokens sign with (RFC 8624, section 3.1).
const (
	rsaSHA256 = 8
	rsaSHA512 = 10
	ecdsaP256 = 13
	ecdsaP384 = 14
	edwards   = 15
)

// The parts of PKCS #11 3.0 that the library does not know: the mechanisms and the type of Ed25519 keys.
const (
	generateEdwards = 0x1055
	signEdwards     = 0x1057
	typeEdwards     = 0x40
)

// rsaBits is the size of RSA keys, as that of those in files.
const rsaBits = 2048

// A kind is how keys of an algorithm are made.
type kind struct {
	mechanism, keyType uint
	params             []byte // of the curve; nil: it is RSA
}

func kindOf(alg uint8) (kind, bool) {
	switch alg {
	case rsaSHA256, rsaSHA512:
		return kind{pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, pkcs11.CKK_RSA, nil}, true
	case ecdsaP256:
		return kind{pkcs11.CKM_EC_KEY_PAIR_GEN, pkcs11.CKK_EC, []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}}, true
	case ecdsaP384:
		return kind{pkcs11.CKM_EC_KEY_PAIR_GEN, pkcs11.CKK_EC, []byte{6, 5, 0x2b, 0x81, 4, 0, 0x22}}, true
	case edwards:
		return kind{generateEdwards, typeEdwards, append([]byte{0x13, 12}, "edwards25519"...)}, true
	}
	return kind{}, false
}

// Generate makes a key in the store of a name, for an algorithm by its DNSSEC number, and returns its
// URI. name says from the public half how the key is labelled; empty: it is not wanted, is destroyed,
// and key is nil.
func (s *Stores) Generate(store string, alg uint8, name func(crypto.PublicKey) string) (uri string, key crypto.Signer, err error) {
	for _, one := range s.list {
		if one.Name != store {
			continue
		}
		var made *signer
		err := one.await(func() (err error) {
			made, err = one.generate(alg, name)
			return err
		})
		if err != nil || made == nil {
			return "", nil, err
		}
		return made.uri.String(), made, nil
	}
	return "", nil, fmt.Errorf("key store %q is not one that this server was started with: restart it", store)
}

func (s *store) generate(alg uint8, name func(crypto.PublicKey) string) (made *signer, err error) {
	k, ok := kindOf(alg)
	if !ok {
		return nil, fmt.Errorf("key store %q: algorithm %d is not one that tokens make keys for here", s.Name, alg)
	}
	id := make([]byte, 16)
	_, _ = rand.Read(id) // which never fails
	public := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, k.keyType),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		pkcs11.NewAttribute(pkcs11.CKA_VERIFY, true),
		pkcs11.NewAttribute(pkcs11.CKA_ID, id),
	}
	if k.params == nil {
		public = append(
			public,
			pkcs11.NewAttribute(pkcs11.CKA_MODULUS_BITS, rsaBits),
			pkcs11.NewAttribute(pkcs11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}),
		)
	} else {
		public = append(public, pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, k.params))
	}
	private := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, k.keyType),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false),
		pkcs11.NewAttribute(pkcs11.CKA_SIGN, true),
		pkcs11.NewAttribute(pkcs11.CKA_ID, id),
	}
	err = s.do(true, func(c session) error {
		made = nil
		first, second, err := c.GenerateKeyPair(c.handle, []*pkcs11.Mechanism{pkcs11.NewMechanism(k.mechanism, nil)}, public, private)
		if err != nil {
			return err
		}
		undo := func(err error) error {
			return errors.Join(err, c.DestroyObject(c.handle, second), c.DestroyObject(c.handle, first))
		}
		half, err := c.public(first, alg)
		if err != nil {
			return undo(err)
		}
		label := name(half)
		if label == "" {
			return undo(nil)
		}
		made = &signer{store: s, uri: s.URI.with("id", string(id)), public: half}
		// The tag, and so the label, is known now. A token that lets nobody change it has a key without.
		labelled := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_LABEL, label)}
		if errors.Join(c.SetAttributeValue(c.handle, first, labelled), c.SetAttributeValue(c.handle, second, labelled)) == nil {
			made.uri = made.uri.with("object", label)
		}
		made.uri = made.uri.with("type", "private")
		return nil
	})
	return made, err
}

// public reads the public half of a key.
func (c session) public(object pkcs11.ObjectHandle, alg uint8) (crypto.PublicKey, error) {
	if alg == rsaSHA256 || alg == rsaSHA512 {
		a, err := c.GetAttributeValue(c.handle, object, []*pkcs11.Attribute{
			pkcs11.NewAttribute(pkcs11.CKA_MODULUS, nil), pkcs11.NewAttribute(pkcs11.CKA_PUBLIC_EXPONENT, nil),
		})
		if err != nil {
			return nil, err
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(a[0].Value), E: int(new(big.Int).SetBytes(a[1].Value).Int64())}, nil
	}
	a, err := c.GetAttributeValue(c.handle, object, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_EC_POINT, nil)})
	if err != nil {
		return nil, err
	}
	point := a[0].Value
	var inner []byte
	if rest, err := asn1.Unmarshal(point, &inner); err == nil && len(rest) == 0 {
		point = inner // as PKCS #11 says, and not every token does
	}
	curve := elliptic.P256()
	switch {
	case alg == edwards && len(point) == ed25519.PublicKeySize:
		return ed25519.PublicKey(point), nil
	case alg == edwards:
		return nil, errors.New("the token gives no public key of Ed25519")
	case alg == ecdsaP384:
		curve = elliptic.P384()
	}
	return ecdsa.ParseUncompressedPublicKey(curve, point)
}

// Key returns what signs with the key that a URI names. It has been seen to be there, and to be the
// private half of public.
func (s *Stores) Key(uri string, public crypto.PublicKey) (crypto.Signer, error) {
	k, err := s.find(uri)
	if err != nil {
		return nil, err
	}
	k.public = public
	sum := sha256.Sum256([]byte("port53"))
	tried, opts := sum[:], crypto.SignerOpts(crypto.SHA256)
	if _, ok := public.(ed25519.PublicKey); ok {
		opts = crypto.Hash(0)
	}
	sig, err := k.Sign(nil, tried, opts)
	if err != nil {
		return nil, err
	}
	good := false
	switch p := public.(type) {
	case *rsa.PublicKey:
		good = rsa.VerifyPKCS1v15(p, crypto.SHA256, tried, sig) == nil
	case *ecdsa.PublicKey:
		good = ecdsa.VerifyASN1(p, tried, sig)
	case ed25519.PublicKey:
		good = ed25519.Verify(p, tried, sig)
	}
	if !good {
		return nil, fmt.Errorf("key store %q: the private key %s does not match the DNSKEY record", k.store.Name, k.uri)
	}
	return k, nil
}

// find returns a signer for a URI, in the first store whose token it may be in.
func (s *Stores) find(text string) (*signer, error) {
	uri, err := ParseURI(text)
	if err != nil {
		return nil, err
	}
	for _, one := range s.list {
		if one.URI.fits(uri) {
			return &signer{store: one, uri: uri}, nil
		}
	}
	return nil, fmt.Errorf("the key %s is in a token that none of key_stores names", uri)
}

// Destroy takes a key out of its token for good. One that is not there is no error.
func (s *Stores) Destroy(uri string) error {
	k, err := s.find(uri)
	if err != nil {
		return err
	}
	return k.store.await(func() error {
		return k.store.do(true, func(c session) error {
			for _, class := range []uint{pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_PUBLIC_KEY} {
				found, err := c.objects(k.uri, class)
				if err != nil {
					return err
				}
				if len(found) > 1 {
					return fmt.Errorf("key store %q: %s names more than one key: none is destroyed", k.store.Name, k.uri)
				}
				for _, o := range found {
					if err := c.DestroyObject(c.handle, o); err != nil {
						return err
					}
				}
			}
			return nil
		})
	})
}

// objects returns the objects of a class that a URI names.
func (c session) objects(uri URI, class uint) (found []pkcs11.ObjectHandle, err error) {
	template := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, class), pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true)}
	id, label := uri.get("id"), uri.get("object")
	if id != "" {
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_ID, []byte(id)))
	} else if label != "" {
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_LABEL, label))
	} else {
		return nil, fmt.Errorf("%s names no key: want object or id", uri)
	}
	if err := c.FindObjectsInit(c.handle, template); err != nil {
		return nil, err
	}
	found, _, err = c.FindObjects(c.handle, 2)
	return found, errors.Join(err, c.FindObjectsFinal(c.handle))
}

// A signer is a key in a token.
type signer struct {
	store  *store
	uri    URI
	public crypto.PublicKey
}

// Public implements [crypto.Signer].
func (k *signer) Public() crypto.PublicKey { return k.public }

// Sign implements [crypto.Signer]. The random numbers are the token's own.
func (k *signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) (sig []byte, err error) {
	mechanism := uint(pkcs11.CKM_ECDSA)
	switch k.public.(type) {
	case *rsa.PublicKey:
		mechanism = pkcs11.CKM_RSA_PKCS
		digest, err = digestInfo(digest, opts.HashFunc())
	case ed25519.PublicKey:
		mechanism = signEdwards
	}
	if err != nil {
		return nil, err
	}
	err = k.store.await(func() error {
		return k.store.do(false, func(c session) error {
			object, err := c.key(k.uri)
			if err != nil {
				return err
			}
			if err := c.SignInit(c.handle, []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanism, nil)}, object); err != nil {
				return err
			}
			made, err := c.Sign(c.handle, digest)
			sig = bytes.Clone(made)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	if _, ok := k.public.(*ecdsa.PublicKey); ok {
		// The token gives both numbers in full length; package crypto has them in DER.
		half := len(sig) / 2
		return asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(sig[:half]), new(big.Int).SetBytes(sig[half:])})
	}
	return sig, nil
}

// digestInfo puts a hash into the form that RSA signs (RFC 8017, section 9.2).
func digestInfo(digest []byte, hash crypto.Hash) ([]byte, error) {
	oid := asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	switch {
	case hash == crypto.SHA256 && len(digest) == sha256.Size:
	case hash == crypto.SHA512 && len(digest) == sha512.Size:
		oid[len(oid)-1] = 3
	default:
		return nil, fmt.Errorf("RSA signs no %s here", hash)
	}
	type algorithm struct {
		OID  asn1.ObjectIdentifier
		Null asn1.RawValue
	}
	return asn1.Marshal(struct {
		Algorithm algorithm
		Digest    []byte
	}{algorithm{oid, asn1.NullRawValue}, digest})
}
