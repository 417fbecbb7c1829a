package signer

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"port53/internal/dnssec"
	"port53/internal/wire"
)

// A Key is a key of a zone, with the private half if it is known, and when it is used.
type Key struct {
	Zone   []byte // in lower case
	DNSKEY []byte // RDATA of the DNSKEY record, as if it were not revoked
	Times  Times

	// State is what the server that had the key before made of it; nil: nobody says, and Times count.
	State *KeyState

	TTL uint32 // that servers gave the DNSKEY record, in seconds; 0: that is not known

	// Private signs; nil: the key can only be published.
	Private crypto.Signer

	// URI names the private key in a token (RFC 7512); empty: it is in the key's file. Private
	// signs when the token has been found to have it ([Attach]).
	URI string

	// File is the path of the key's files without .key and .private; empty: there are none.
	File string

	kept []string // lines of the private file that mean nothing here
}

// Times are when a key is used, as BIND's key files say. A zero time is not set: a key with
// neither Publish nor Activate is published and signs.
type Times struct {
	Created     time.Time
	Publish     time.Time // it is in the DNSKEY set from now on
	Activate    time.Time // it signs
	Revoke      time.Time // it is published as revoked (RFC 5011, section 2.1)
	Inactive    time.Time // it signs no more
	Delete      time.Time // it is not in the DNSKEY set any more
	SyncPublish time.Time // CDS and CDNSKEY records are for it
	SyncDelete  time.Time // and no more
}

// Tag returns the key's tag (RFC 4034, appendix B).
func (k *Key) Tag() uint16 { return dnssec.KeyTag(k.DNSKEY) }

// Algorithm returns the number of the key's algorithm.
func (k *Key) Algorithm() uint8 { return k.DNSKEY[3] }

// Flags returns the flags of the DNSKEY record.
func (k *Key) Flags() uint16 { return binary.BigEndian.Uint16(k.DNSKEY) }

// SEP reports whether the key is for the parent to point at.
func (k *Key) SEP() bool { return k.Flags()&dnssec.FlagSEP != 0 }

func passed(t, now time.Time) bool { return !t.IsZero() && !now.Before(t) }

// Published reports whether the key is in the DNSKEY set at a time.
func (k *Key) Published(now time.Time) bool {
	t := &k.Times
	if passed(t.Delete, now) {
		return false
	}
	return t.Publish.IsZero() && t.Activate.IsZero() || passed(t.Publish, now) || passed(t.Activate, now)
}

// Active reports whether the key signs at a time.
func (k *Key) Active(now time.Time) bool {
	t := &k.Times
	if k.Private == nil || passed(t.Inactive, now) || passed(t.Delete, now) || k.Revoked(now) {
		return false
	}
	return passed(t.Activate, now) || t.Publish.IsZero() && t.Activate.IsZero()
}

// Revoked reports whether the key is published as revoked at a time.
func (k *Key) Revoked(now time.Time) bool { return passed(k.Times.Revoke, now) }

// synced reports whether the parent is asked to have DS records of the key.
func (k *Key) synced(now time.Time) bool {
	return passed(k.Times.SyncPublish, now) && !passed(k.Times.SyncDelete, now)
}

// data returns the RDATA of the DNSKEY record at a time.
func (k *Key) data(now time.Time) []byte {
	if !k.Revoked(now) {
		return k.DNSKEY
	}
	revoked := bytes.Clone(k.DNSKEY)
	revoked[1] |= dnssec.FlagRevoke
	return revoked
}

// String tells a key by its zone, algorithm and tag.
func (k *Key) String() string {
	return fmt.Sprintf("%s/%s/%d", text(k.Zone), wire.AlgorithmName(k.Algorithm()), k.Tag())
}

// Kind tells what a key is for, among the keys of its zone at a time: KSK with the SEP flag, ZSK
// without, and CSK if it signs all because its algorithm has keys of one kind alone.
func Kind(k *Key, keys []*Key, now time.Time) string {
	both := k.Active(now)
	for _, other := range keys {
		if other.Algorithm() == k.Algorithm() && other.SEP() != k.SEP() && other.Active(now) && other.Published(now) {
			both = false
		}
	}
	switch {
	case both:
		return "CSK"
	case k.SEP():
		return "KSK"
	}
	return "ZSK"
}

// CanSign reports whether keys of an algorithm can be made and sign.
func CanSign(alg uint8) bool {
	switch alg {
	case dnssec.RSASHA256, dnssec.RSASHA512, dnssec.ECDSAP256, dnssec.ECDSAP384, dnssec.ED25519:
		return true
	}
	return false
}

// maxTries is how many keys are made until one has a tag of its own: one in 65536 does not.
const maxTries = 16

// errTags is why no key is made.
var errTags = errors.New("no key with a tag of its own was found")

// NewKey makes a key for a zone, with FlagSEP in its flags if sep. Its tag, revoked too, is
// none of others: validators try all keys of one tag (RFC 4034, appendix B).
func NewKey(zone []byte, alg uint8, sep bool, now time.Time, others []*Key) (*Key, error) {
	if !CanSign(alg) {
		return nil, fmt.Errorf("algorithm %s cannot sign", wire.AlgorithmName(alg))
	}
	for range maxTries {
		made, err := dnssec.GenerateKey(zone, alg, keyFlags(sep))
		if err != nil {
			return nil, err
		}
		if k := newKey(made, now); !slices.ContainsFunc(others, func(other *Key) bool { return sharesTag(k, other) }) {
			return k, nil
		}
	}
	return nil, errTags
}

// keyFlags returns the flags of a key's DNSKEY record.
func keyFlags(sep bool) uint16 {
	if sep {
		return dnssec.FlagZone | dnssec.FlagSEP
	}
	return dnssec.FlagZone
}

// newKey returns a key that was made, and is published and signs from now on.
func newKey(made *dnssec.Signer, now time.Time) *Key {
	now = now.UTC().Truncate(time.Second)
	return &Key{Zone: made.Zone, DNSKEY: made.Key.Data, Private: made.Private, Times: Times{Created: now, Publish: now, Activate: now}}
}

// sharesTag reports whether two keys of one algorithm have a tag in common, revoked or not.
func sharesTag(a, b *Key) bool {
	if a.Algorithm() != b.Algorithm() {
		return false
	}
	tags := func(k *Key) [2]uint16 {
		revoked := bytes.Clone(k.DNSKEY)
		revoked[1] |= dnssec.FlagRevoke
		return [2]uint16{k.Tag(), dnssec.KeyTag(revoked)}
	}
	x, y := tags(a), tags(b)
	return x[0] == y[0] || x[0] == y[1] || x[1] == y[0] || x[1] == y[1]
}

// DS returns the RDATA of the key's DS record with a digest, which is also that of its CDS
// record (RFC 7344, section 3.1).
func (k *Key) DS(digest uint8) ([]byte, bool) { return dnssec.AppendDS(nil, k.Zone, k.DNSKEY, digest) }
