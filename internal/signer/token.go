package signer

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"port53/internal/dnssec"
	"port53/internal/pkcs11"
	"port53/internal/wire"
)

// KeyStores are tokens that make and keep private keys, and sign with them: package pkcs11 has them.
type KeyStores interface {
	// Generate makes a key in the store of a name. label names it by its public half; if that is empty
	// the key is not wanted, and none is returned.
	Generate(store string, algorithm uint8, label func(crypto.PublicKey) string) (uri string, key crypto.Signer, err error)

	// Key returns what signs with the key of a URI, which has been seen to be there and to be the
	// private half of public.
	Key(uri string, public crypto.PublicKey) (crypto.Signer, error)

	// Destroy takes a key out of its token for good. One that is not there is no error.
	Destroy(uri string) error
}

// errNoStores is why a key in a token cannot be used.
var errNoStores = errors.New("no key store is configured: name its token in key_stores")

// A distant key is in a token that nobody has asked for it yet.
type distant struct {
	uri    string
	public crypto.PublicKey
}

// Public implements [crypto.Signer].
func (d *distant) Public() crypto.PublicKey { return d.public }

// Sign implements [crypto.Signer].
func (d *distant) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, fmt.Errorf("the key %s is in a token: %w", d.uri, errNoStores)
}

// Attach finds those of keys that are in tokens there, so that they sign. One that is not there is an
// error, and so is a token that is not.
func Attach(keys []*Key, stores KeyStores) error {
	for _, k := range keys {
		d, ok := k.Private.(*distant)
		if !ok {
			continue
		}
		if stores == nil {
			return fmt.Errorf("key %s: the key %s is in a token: %w", k, k.URI, errNoStores)
		}
		private, err := stores.Key(k.URI, d.public)
		if err != nil {
			return fmt.Errorf("key %s: %w", k, err)
		}
		k.Private = private
	}
	return nil
}

// NewKeyIn is [NewKey] for a key that is made in a store, and stays there. Its label in the token is the
// zone's name, what it is for, and its tag.
func NewKeyIn(stores KeyStores, store string, zone []byte, alg uint8, sep bool, now time.Time, others []*Key) (*Key, error) {
	if !CanSign(alg) {
		return nil, fmt.Errorf("algorithm %s cannot sign", wire.AlgorithmName(alg))
	}
	if stores == nil {
		return nil, errNoStores
	}
	for range maxTries {
		var k *Key
		var unfit error
		uri, private, err := stores.Generate(store, alg, func(public crypto.PublicKey) string {
			var made *dnssec.Signer
			if made, unfit = dnssec.NewSigner(zone, alg, keyFlags(sep), &distant{public: public}); unfit != nil {
				return ""
			}
			k = newKey(made, now)
			if slices.ContainsFunc(others, func(other *Key) bool { return sharesTag(k, other) }) {
				return ""
			}
			return k.label()
		})
		switch err = errors.Join(err, unfit); {
		case err != nil:
			return nil, err
		case private != nil:
			k.URI, k.Private = uri, private
			return k, nil
		}
	}
	return nil, errTags
}

// label returns what a token calls the key.
func (k *Key) label() string {
	kind := "zsk"
	if k.SEP() {
		kind = "ksk"
	}
	return fmt.Sprintf("%s %s %d", text(k.Zone), kind, k.Tag())
}

// labelURI reads the field of a private key file that names a key in a token, as BIND has it: the URI
// with an octet 0 behind it, in base64.
func labelURI(value string) (string, error) {
	b, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return "", errors.New("expected base64")
	}
	uri, err := pkcs11.ParseURI(string(bytes.TrimRight(b, "\x00")))
	if err != nil {
		return "", fmt.Errorf("the key is in hardware, and not named by a PKCS#11 URI: %w", err)
	}
	return uri.String(), nil
}

// NewKey makes a key of the zone, where the policy has such keys, and writes its files.
func (s *Stage) NewKey(alg uint8, sep bool, now time.Time, others []*Key) (*Key, error) {
	store := s.Policy.ZSKStore
	if sep {
		store = s.Policy.KSKStore
	}
	var k *Key
	var err error
	if store == "" {
		k, err = NewKey(s.Zone, alg, sep, now, others)
	} else {
		k, err = NewKeyIn(s.Tokens, store, s.Zone, alg, sep, now, others)
	}
	if err != nil {
		return nil, err
	}
	if err := k.Write(s.Dir); err != nil {
		return nil, errors.Join(err, s.destroy(k))
	}
	return k, nil
}

// destroy takes a key's private half out of its token, if it is in one.
func (s *Stage) destroy(k *Key) error {
	switch {
	case k.URI == "":
		return nil
	case s.Tokens == nil:
		return fmt.Errorf("the key %s is in a token: %w", k.URI, errNoStores)
	}
	return s.Tokens.Destroy(k.URI)
}

// attach finds the keys that do something in their tokens, and looks whether those that others may
// know are still there.
func (s *Stage) attach(life *Lifecycle, keys []*Key) error {
	uses := life.uses()
	var used []*Key
	for _, k := range keys {
		if u := uses[k]; u.published || u.signsData {
			used = append(used, k)
		}
	}
	if err := Attach(used, s.Tokens); err != nil {
		return fmt.Errorf("a private key cannot be reached, and no other is made in its place: %w", err)
	}
	return nil
}

// inToken returns a key of a list that is in a token, for people; empty: none is.
func inToken(keys []*dnssec.Signer, all []*Key) string {
	for _, s := range keys {
		for _, k := range all {
			if k.URI != "" && bytes.Equal(k.DNSKEY, s.Key.Data) {
				return k.String()
			}
		}
	}
	return ""
}
