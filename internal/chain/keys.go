package chain

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"

	"port53/internal/dnssec"
	"port53/internal/wire"
)

// ZoneKeys are the keys of a zone on the chain of trust, and what they were seen to do.
type ZoneKeys struct {
	Zone    []byte
	Keys    []ObservedKey
	DS      []ObservedDS // at the parent, or of the trust anchor
	Answers bool         // the answer, or a proof that there is none, is the zone's
}

// An ObservedKey is a key of a DNSKEY set.
type ObservedKey struct {
	Flags     uint16
	Algorithm uint8
	Tag       uint16
	Trusted   bool // a DS record or a trust anchor is of it
	Signs     []ObservedSignature
}

// An ObservedSignature is a signature by a key, of a set that was asked for on the way.
type ObservedSignature struct {
	Type    wire.Type
	Good    bool
	Expires time.Time
}

// An ObservedDS is a DS record.
type ObservedDS struct {
	Tag               uint16
	Algorithm, Digest uint8
	Key               bool // a key of the zone is that which it is of
}

// Kind tells what a key is for, as far as it was seen: KSK with the SEP flag, CSK if it signs data as well,
// and ZSK without.
func (k *ObservedKey) Kind() string {
	switch {
	case k.Flags&dnssec.FlagSEP == 0:
		return "ZSK"
	case slices.ContainsFunc(k.Signs, func(s ObservedSignature) bool { return !ofKeys(s.Type) }):
		return "CSK"
	}
	return "KSK"
}

// ofKeys reports whether a type is one that a KSK signs.
func ofKeys(t wire.Type) bool {
	return t == wire.TypeDNSKEY || t == wire.TypeCDS || t == wire.TypeCDNSKEY
}

// State says what a key does, in the words of key management: active, published (it signs nothing that was
// seen), revoked.
func (k *ObservedKey) State() string {
	switch {
	case k.Flags&dnssec.FlagRevoke != 0:
		return "revoked"
	case len(k.Signs) > 0:
		return "active"
	}
	return "published"
}

// seeKeys notes the keys of a zone, and what vouches for them.
func (r *run) seeKeys(zone []byte, set *wire.RRset, point *dnssec.TrustPoint) {
	z := &ZoneKeys{Zone: zone}
	for _, data := range set.Data {
		if k, ok := dnssec.ParseKey(data); ok {
			z.Keys = append(z.Keys, ObservedKey{
				Flags: binary.BigEndian.Uint16(data), Algorithm: k.Algorithm, Tag: k.Tag,
				Trusted: k.Zone() && !k.Revoked() && point.Trusts(zone, data),
			})
		}
	}
	for _, ds := range point.DS {
		if len(ds) < 5 {
			continue
		}
		z.DS = append(z.DS, ObservedDS{
			Tag: binary.BigEndian.Uint16(ds), Algorithm: ds[2], Digest: ds[3],
			Key: slices.ContainsFunc(set.Data, func(key []byte) bool { return dnssec.MatchDS(ds, zone, key) }),
		})
	}
	r.done.Zones = append(r.done.Zones, z)
	var keys []dnssec.Key
	for _, data := range set.Data {
		if k, ok := dnssec.ParseKey(data); ok {
			keys = append(keys, k)
		}
	}
	r.seeSignatures(set, zone, keys)
}

// seeSignatures notes who signed a set of a zone.
func (r *run) seeSignatures(set *wire.RRset, zone []byte, keys []dnssec.Key) {
	at := slices.IndexFunc(r.done.Zones, func(z *ZoneKeys) bool { return bytes.Equal(z.Zone, zone) })
	if at < 0 {
		return
	}
	z := r.done.Zones[at]
	for _, sig := range set.Sigs[:min(len(set.Sigs), maxSigsShown)] {
		if len(sig) < 18 {
			continue
		}
		one := *set
		one.Sigs = [][]byte{sig}
		_, why := dnssec.Verify(&one, zone, keys, r.Now, &r.told)
		expires := int32(binary.BigEndian.Uint32(sig[8:]) - uint32(r.Now.Unix())) // RFC 4034, section 3.1.5: serial arithmetic
		seen := ObservedSignature{set.Type, why == 0, r.Now.Add(time.Duration(expires) * time.Second).UTC().Truncate(time.Second)}
		for i := range z.Keys {
			k := &z.Keys[i]
			if k.Tag != binary.BigEndian.Uint16(sig[16:]) || k.Algorithm != sig[2] {
				continue
			}
			switch have := slices.IndexFunc(k.Signs, func(s ObservedSignature) bool { return s.Type == set.Type }); {
			case have < 0:
				k.Signs = append(k.Signs, seen)
			case seen.Expires.Before(k.Signs[have].Expires) || !seen.Good:
				k.Signs[have] = seen // the worst of a type counts
			}
		}
	}
}

// answering notes that a zone's data is what was asked for.
func (r *run) answering(zone []byte) {
	for _, z := range r.done.Zones {
		z.Answers = z.Answers || bytes.Equal(z.Zone, zone)
	}
}
