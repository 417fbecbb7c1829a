// Package tsig signs and verifies messages with shared secrets (RFC 8945).
//
// [Verify] checks a request and yields a [Context], which signs the replies to it:
// one, or all of a stream's. [SignRequest] is the other side: it yields the
// [Verifier] of what comes back. Both compare in constant time, and do the same work
// for a key that is not known as for a wrong signature.
//
// Package tsig knows no sockets, and is given the time.
package tsig

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"hash"
	"strings"

	"port53/internal/wire"
)

// An Algorithm is a way to make message authentication codes (RFC 8945, section 6).
// MD5 and SHA-1 are left out: RFC 8945 keeps them for what is old.
type Algorithm uint8

// The algorithms.
const (
	HMACSHA256 Algorithm = iota + 1
	HMACSHA224
	HMACSHA384
	HMACSHA512
)

type algorithm struct {
	text string
	name []byte
	size int
	new  func() hash.Hash
}

// algorithmOf returns what an algorithm is, or nil.
func algorithmOf(a Algorithm) *algorithm {
	switch a {
	case HMACSHA224:
		return &algorithm{"hmac-sha224", []byte("\x0bhmac-sha224\x00"), sha256.Size224, sha256.New224}
	case HMACSHA256:
		return &algorithm{"hmac-sha256", []byte("\x0bhmac-sha256\x00"), sha256.Size, sha256.New}
	case HMACSHA384:
		return &algorithm{"hmac-sha384", []byte("\x0bhmac-sha384\x00"), sha512.Size384, sha512.New384}
	case HMACSHA512:
		return &algorithm{"hmac-sha512", []byte("\x0bhmac-sha512\x00"), sha512.Size, sha512.New}
	}
	return nil
}

// ParseAlgorithm reads a name such as hmac-sha256, without regard to case.
func ParseAlgorithm(s string) (Algorithm, bool) {
	s = strings.TrimSuffix(strings.ToLower(s), ".")
	for a := HMACSHA256; a <= HMACSHA512; a++ {
		if algorithmOf(a).text == s {
			return a, true
		}
	}
	return 0, false
}

// String returns the name as people write it.
func (a Algorithm) String() string {
	if x := algorithmOf(a); x != nil {
		return x.text
	}
	return "unknown"
}

// Name returns the algorithm's name in wire form.
func (a Algorithm) Name() []byte { return algorithmOf(a).name }

// Size returns the octets of a whole code.
func (a Algorithm) Size() int { return algorithmOf(a).size }

// SizeOf returns the octets of a whole code by the algorithm of a name in wire form, or 0 if
// it is not known. It does not allocate.
func SizeOf(name []byte) int {
	const prefix = "\x0bhmac-sha"
	if len(name) != len(prefix)+4 || name[len(name)-1] != 0 || !strings.EqualFold(string(name[:len(prefix)]), prefix) {
		return 0
	}
	switch string(name[len(prefix) : len(prefix)+3]) {
	case "224":
		return sha256.Size224
	case "256":
		return sha256.Size
	case "384":
		return sha512.Size384
	case "512":
		return sha512.Size
	}
	return 0
}

// A Key is a secret that two hosts share. It is not modified after it was given away.
type Key struct {
	Name      []byte // in wire form and lower case
	Algorithm Algorithm
	Secret    []byte
}

func (k *Key) mac() hash.Hash { return hmac.New(algorithmOf(k.Algorithm).new, k.Secret) }

// Keys finds keys. [Ring] is those of the configuration; contexts that are agreed upon
// at run time could be another.
type Keys interface {
	// Key returns the key of a name in wire form and lower case, or nil.
	Key(name []byte) *Key
}

// A Ring is a fixed set of keys. It is immutable.
type Ring struct{ keys map[string]*Key }

// NewRing returns a ring of keys. Of two with one name the later counts.
func NewRing(keys ...Key) *Ring {
	r := &Ring{make(map[string]*Key, len(keys))}
	for _, k := range keys {
		k.Name = wire.Lower(nil, k.Name)
		k.Secret = bytes.Clone(k.Secret)
		r.keys[string(k.Name)] = &k
	}
	return r
}

// Key implements [Keys]. A nil ring has none.
func (r *Ring) Key(name []byte) *Key {
	if r == nil {
		return nil
	}
	return r.keys[string(name)]
}
