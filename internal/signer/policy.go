package signer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"port53/internal/dnssec"
	"port53/internal/wire"
	"port53/internal/zone"
)

// A Denial is how a zone proves what is absent.
type Denial uint8

// The ways.
const (
	NSEC        Denial = iota // each name tells the next (RFC 4034, section 4)
	NSEC3                     // by hashes, without iterations and salt (RFC 5155; RFC 9276, section 3.1)
	NSEC3OptOut               // the same, and delegations without DS are left out (RFC 5155, section 6)
	Compact                   // NSEC records that match the name that was asked for, made and signed when it is (RFC 9824)
)

// String returns the name of the way in the configuration.
func (d Denial) String() string { return [...]string{"nsec", "nsec3", "nsec3-opt-out", "compact"}[d] }

func (d Denial) hashes() bool { return d == NSEC3 || d == NSEC3OptOut }

// A Policy says how a zone is signed. The zero value signs as the defaults say.
type Policy struct {
	Denial Denial

	Valid  time.Duration // from now on for which a signature is good; 0: 14 days
	Before time.Duration // before now from which it is, for clocks that are late; 0: 1 hour

	// Spread is by how much less signatures are valid, each by an amount of its own between
	// none and all of it, which its name and type determine: so they are not renewed all at
	// once.
	Spread time.Duration

	// Refresh is what a signature that is there must still be valid for to be kept.
	Refresh time.Duration

	TTL    uint32 // of the DNSKEY set in seconds; 0: that of the zone's own DNSKEY set, or an hour
	Digest bool   // a ZONEMD record is made, SHA-384 (RFC 8976). It is too if the zone has one.

	// Serial is what the signed zone has; nil: the zone's own.
	Serial *uint32
}

// Defaults of a policy.
const (
	defaultValid  = 14 * 24 * time.Hour
	defaultBefore = time.Hour
	defaultTTL    = 3600
)

// A keySet is a zone's keys at the same time.
type keySet struct {
	dnskeys  [][]byte // RDATA, all that are published
	cds      [][]byte // RDATA of CDS and CDNSKEY, those that the zone has itself too
	cdnskeys [][]byte
	forKeys  []*dnssec.Signer // that sign DNSKEY, CDS and CDNSKEY
	forData  []*dnssec.Signer // that sign all else
}

// usesByTimes returns what keys do at a time by the times of their files: those with the SEP flag
// sign the keys and the others the data, or all of an algorithm both if it has keys of one kind
// alone.
func usesByTimes(keys []*Key, now time.Time) map[*Key]use {
	var kinds [256][2]bool // by algorithm: an active key without SEP, and with it
	for _, k := range keys {
		if k.Active(now) && k.Published(now) {
			kinds[k.Algorithm()][btoi(k.SEP())] = true
		}
	}
	uses := map[*Key]use{}
	for _, k := range keys {
		kind, active := kinds[k.Algorithm()], k.Active(now) && k.Published(now)
		both := kind[0] != kind[1]
		uses[k] = use{k.Published(now), active && (both || k.SEP()), active && (both || !k.SEP()), k.synced(now)}
	}
	return uses
}

// newKeySet sorts out which keys are published and sign what, as uses has it.
func newKeySet(z *zone.Zone, keys []*Key, uses map[*Key]use, now time.Time) (*keySet, error) {
	s := &keySet{}
	for _, k := range keys {
		if !wire.EqualFold(k.Zone, z.Apex()) {
			return nil, fmt.Errorf("key %s is of another zone", k)
		}
		u, data := uses[k], k.data(now)
		if u.published {
			s.dnskeys = addRecord(s.dnskeys, data)
			if u.wanted && !k.Revoked(now) {
				ds, _ := k.DS(dnssec.DigestSHA256)
				s.cds = addRecord(s.cds, ds)
				s.cdnskeys = addRecord(s.cdnskeys, k.DNSKEY)
			}
		}
		revoked := u.published && k.Revoked(now)
		if k.Private == nil || !u.signsKeys && !u.signsData && !revoked {
			continue
		}
		made, err := dnssec.NewSigner(k.Zone, k.Algorithm(), binary.BigEndian.Uint16(data), k.Private)
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", k, err)
		}
		if string(made.Key.Data) != string(data) {
			return nil, fmt.Errorf("key %s: the private key does not match the DNSKEY record", k)
		}
		if u.signsKeys || revoked {
			s.forKeys = append(s.forKeys, made)
		}
		if u.signsData && !revoked {
			s.forData = append(s.forData, made)
		}
	}
	if len(s.forData) == 0 {
		return nil, ErrNoKeys
	}
	s.foreign(z, keys)
	return s, s.complete()
}

// ErrNoKeys is why a zone cannot be signed that has no key that signs now.
var ErrNoKeys = errors.New("no key signs the zone now")

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// addRecord adds RDATA to a list that does not have it.
func addRecord(list [][]byte, data []byte) [][]byte {
	if slices.ContainsFunc(list, func(d []byte) bool { return string(d) == string(data) }) {
		return list
	}
	return append(list, data)
}

// foreign adds what the zone itself has of keys of others, as zones with several signers do
// (RFC 8901, section 2.1.2).
func (s *keySet) foreign(z *zone.Zone, keys []*Key) {
	var u zone.Unpacked
	for t, list := range map[wire.Type]*[][]byte{wire.TypeDNSKEY: &s.dnskeys, wire.TypeCDS: &s.cds, wire.TypeCDNSKEY: &s.cdnskeys} {
		if !z.UnpackType(&u, z.Root(), t) {
			continue
		}
		for _, d := range u.Data {
			if !slices.ContainsFunc(keys, func(k *Key) bool { return k.madeOf(t, d) }) {
				*list = addRecord(*list, append([]byte(nil), d...))
			}
		}
	}
}

// ask has the parent asked by CDS and CDNSKEY records for what the keys' life wants. What the zone
// has itself, of others, stays.
func (s *keySet) ask(cds, cdnskeys [][]byte) {
	for _, d := range cds {
		s.cds = addRecord(s.cds, d)
	}
	for _, d := range cdnskeys {
		s.cdnskeys = addRecord(s.cdnskeys, d)
	}
}

// madeOf reports whether a DNSKEY, CDS or CDNSKEY record is of the key.
func (k *Key) madeOf(t wire.Type, data []byte) bool {
	if t == wire.TypeCDS {
		return dnssec.MatchDS(data, k.Zone, k.DNSKEY)
	}
	if len(data) != len(k.DNSKEY) {
		return false
	}
	same := append([]byte(nil), data...)
	same[1] &^= dnssec.FlagRevoke
	return string(same) == string(k.DNSKEY)
}

// complete checks that each algorithm of the DNSKEY set signs all of the zone (RFC 6840,
// section 5.11).
func (s *keySet) complete() error {
	has := func(list []*dnssec.Signer, alg uint8) bool {
		return slices.ContainsFunc(list, func(k *dnssec.Signer) bool { return k.Key.Algorithm == alg && !k.Key.Revoked() })
	}
	for _, d := range s.dnskeys {
		k, ok := dnssec.ParseKey(d)
		switch {
		case !ok || !k.Zone() || k.Revoked():
		case !has(s.forData, k.Algorithm):
			return fmt.Errorf(
				"key %d of algorithm %s is in the DNSKEY RRset, but no key of that algorithm signs the zone (RFC 6840, section 5.11)",
				k.Tag,
				wire.AlgorithmName(k.Algorithm),
			)
		case !has(s.forKeys, k.Algorithm):
			return fmt.Errorf("no key of algorithm %s signs the DNSKEY RRset", wire.AlgorithmName(k.Algorithm))
		}
	}
	return nil
}

// signers returns the keys that sign a type.
func (s *keySet) signers(t wire.Type, apex bool) []*dnssec.Signer {
	if apex && (t == wire.TypeDNSKEY || t == wire.TypeCDS || t == wire.TypeCDNSKEY) {
		return s.forKeys
	}
	return s.forData
}
