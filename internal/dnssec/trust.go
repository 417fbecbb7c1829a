package dnssec

import (
	"bytes"
	"slices"
	"time"

	"port53/internal/wire"
)

// The judgement of one step of trust: a trust point, which the zone above gave or an operator
// configured, proves the keys of a zone (TrustPoint.Keys), and those prove what the zone says
// of the one below it (Zone.VerifyNegative and Proof.Unsigned, or Verify for its DS records).
// Whoever walks from an anchor down takes these steps: the resolver on its way to an
// answer, and a person's tools, each link said.

// Bounds of one step.
const (
	// maxDS is how many DS records of one delegation are compared with keys: each costs a
	// hash for every key with its tag (HashTrap, CVE-2023-50387).
	maxDS = 8
	// maxProofs is how many NSEC and NSEC3 records of one reply are looked at (padded
	// denials, CVE-2026-11605).
	maxProofs = 8
)

// RootDS returns the RDATA of the DS records of the root's key signing keys of 2017 and
// 2024 (RFC 9718, section 2; the second signs from 2026-10). They are the caller's.
func RootDS() [][]byte {
	return [][]byte{
		[]byte(
			"\x4F\x66\x08\x02\xE0\x6D\x44\xB8\x0B\x8F\x1D\x39\xA9\x5C\x0B\x0D\x7C\x65\xD0\x84\x58\xE8\x80\x40\x9B\xBC" +
				"\x68\x34\x57\x10\x42\x37\xC7\xF8\xEC\x8D",
		),
		[]byte(
			"\x97\x28\x08\x02\x68\x3D\x2D\x0A\xCB\x8C\x9B\x71\x2A\x19\x48\xB2\x7F\x74\x12\x19\x29\x8D\x0A\x45\x0D\x61" +
				"\x2C\x48\x3A\xF4\x44\xA4\xC0\xFB\x2B\x16",
		),
	}
}

// A TrustPoint is what the keys of a zone are trusted by: DS records, of the parent or of an
// anchor, and an anchor's keys (RFC 4035, section 4.4). Do not modify.
type TrustPoint struct {
	DS      [][]byte // RDATA of DS
	DNSKEYs [][]byte // RDATA of DNSKEY
}

// Unsupported returns why nothing in the trust point can be used, or 0 if something can. The
// zone counts as unsigned then (RFC 4035, section 5.2; RFC 6840, section 5.2).
func (v *TrustPoint) Unsupported() Reason {
	usable := func(data []byte) bool {
		k, ok := ParseKey(data)
		return ok && SupportedAlgorithm(k.Algorithm) && !k.beyond
	}
	digest := func(ds []byte) bool { return len(ds) > 4 && SupportedDigest(ds[3]) }
	switch {
	case len(usableDS(v.DS)) > 0 || slices.ContainsFunc(v.DNSKEYs, usable):
		return 0
	case len(v.DS) > 0 && !slices.ContainsFunc(v.DS, digest):
		return UnsupportedDigest
	}
	return UnsupportedAlgorithm
}

// Keys judges the DNSKEY set of a zone: a key that the trust point stands for has signed it
// (RFC 4035, section 5.2). set is in lower case, as a zone's servers gave it, or nil if
// they gave none. The keys returned, copies, are those that may sign the zone's data.
//
// UnsupportedKey means that all that the trust point stands for are keys beyond our bounds: the
// zone counts as unsigned. Keys that it does not stand for have no part in that, nor can the
// zone's servers leave one out to that end.
func (v *TrustPoint) Keys(set *wire.RRset, now time.Time, w *Work) ([]Key, Verified, Reason) {
	if set == nil {
		return nil, Verified{}, NoKey
	}
	why := NoKey
	ds := usableDS(v.DS)
	all := make([]Key, 0, len(set.Data))
	var entry []Key
	small := 0 // of entry, those that are within our bounds
	for _, data := range set.Data {
		k, ok := ParseKey(bytes.Clone(data))
		if !ok || k.Revoked() {
			continue
		}
		trusted := v.trusts(ds, set.Owner, data)
		switch {
		case !k.Zone() && trusted:
			why = NoZoneKey
		case k.Zone():
			if all = append(all, k); trusted {
				entry = append(entry, k)
				if !k.beyond {
					small++
				}
			}
		}
	}
	switch {
	case len(entry) == 0:
		return nil, Verified{}, why
	case small == 0 && v.standsForNoOther(set.Owner, entry):
		return nil, Verified{}, UnsupportedKey
	}
	good, why := Verify(set, set.Owner, entry, now, w)
	if why != 0 {
		return nil, Verified{}, why
	}
	return all, good, 0
}

// Trusts reports whether the trust point stands for a key of a zone, by its RDATA.
func (v *TrustPoint) Trusts(zone, dnskey []byte) bool { return v.trusts(usableDS(v.DS), zone, dnskey) }

// trusts is Trusts, ds being the DS records that can be used.
func (v *TrustPoint) trusts(ds [][]byte, zone, dnskey []byte) bool {
	return slices.ContainsFunc(ds, func(d []byte) bool { return MatchDS(d, zone, dnskey) }) ||
		slices.ContainsFunc(v.DNSKEYs, func(d []byte) bool { return bytes.Equal(d, dnskey) })
}

// standsForNoOther reports whether each DS record and each key of the trust point that could be used
// is for one of keys.
func (v *TrustPoint) standsForNoOther(zone []byte, keys []Key) bool {
	for _, ds := range v.DS {
		if len(usableDS([][]byte{ds})) > 0 && !slices.ContainsFunc(keys, func(k Key) bool { return MatchDS(ds, zone, k.Data) }) {
			return false
		}
	}
	return !slices.ContainsFunc(v.DNSKEYs, func(data []byte) bool {
		k, ok := ParseKey(data)
		return ok && SupportedAlgorithm(k.Algorithm) && !k.beyond
	})
}

// usableDS returns the DS records whose algorithm and digest are supported, without
// SHA-1 digests where there is a better one (RFC 4509, section 3).
func usableDS(ds [][]byte) [][]byte {
	usable := slices.DeleteFunc(slices.Clone(ds), func(d []byte) bool {
		return len(d) < 5 || !SupportedAlgorithm(d[2]) || !SupportedDigest(d[3])
	})
	weak := func(d []byte) bool { return d[3] == DigestSHA1 }
	if kept := slices.DeleteFunc(slices.Clone(usable), weak); len(kept) > 0 {
		usable = kept
	}
	return usable[:min(len(usable), maxDS)]
}

// A Zone is one whose keys are trusted. Do not modify.
type Zone struct {
	Name []byte // in lower case
	Keys []Key
}

// VerifyNegative judges a reply that says that a name has no records of a type or, with nxdomain,
// that it does not exist. sets are those of its authority section. It returns those that
// it believed, the SOA record first, their TTLs lowered to what the signatures allow.
//
// The SOA record, where there is one, is the zone's and signed; one proof that does not
// hold spoils all. NoProof means that nothing in the reply is of the zone: the name may
// lie in another one, which nobody told of.
func (z *Zone) VerifyNegative(
	name []byte, t wire.Type, nxdomain bool, sets []*wire.RRset, now time.Time, w *Work,
) ([]*wire.RRset, Proof, Reason) {
	var good []*wire.RRset
	if at := slices.IndexFunc(sets, func(s *wire.RRset) bool { return s.Type == wire.TypeSOA }); at >= 0 {
		soa := sets[at]
		if !bytes.Equal(soa.Owner, z.Name) {
			return nil, Proof{}, NoProof
		}
		v, why := Verify(soa, z.Name, z.Keys, now, w)
		if why != 0 {
			return nil, Proof{}, why
		}
		soa.TTL = min(soa.TTL, v.TTL)
		good = append(good, soa)
	}
	proofs, why := z.proofs(sets, now, w)
	if why != 0 {
		return nil, Proof{}, why
	}
	var p Proof
	d := NewDenial(z.Name, proofs)
	if nxdomain {
		p, why = d.NXDomain(name, w)
	} else {
		p, why = d.NoData(name, t, w)
	}
	if why != 0 {
		return nil, Proof{}, why
	}
	return append(good, proofs...), p, 0
}

// VerifyWildcard judges whether a name, whose records were made from a wildcard with so many
// labels above it, may be answered for by it: sets, those of the authority section, have
// to prove that nothing closer exists (RFC 4035, section 5.3.4). It returns those that it
// believed.
func (z *Zone) VerifyWildcard(name []byte, labels int, sets []*wire.RRset, now time.Time, w *Work) ([]*wire.RRset, Proof, Reason) {
	proofs, why := z.proofs(sets, now, w)
	if why != 0 {
		return nil, Proof{}, why
	}
	p, why := NewDenial(z.Name, proofs).Wildcard(name, labels, w)
	return proofs, p, why
}

// proofs returns the NSEC and NSEC3 records of the zone among sets, verified.
func (z *Zone) proofs(sets []*wire.RRset, now time.Time, w *Work) (good []*wire.RRset, why Reason) {
	seen := 0
	for _, s := range sets {
		if s.Type != wire.TypeNSEC && s.Type != wire.TypeNSEC3 || len(s.Data) != 1 || !z.signed(s) {
			continue
		}
		if seen++; seen > maxProofs {
			break
		}
		v, why := Verify(s, z.Name, z.Keys, now, w)
		if why != 0 {
			return nil, why
		}
		s.TTL = min(s.TTL, v.TTL)
		if !v.Wildcard { // no proof is made from a wildcard
			good = append(good, s)
		}
	}
	if len(good) == 0 {
		return nil, NoProof
	}
	return good, 0
}

// signed reports whether a set lies in the zone and names it as a signer.
func (z *Zone) signed(s *wire.RRset) bool {
	return wire.Subdomain(s.Owner, z.Name) && slices.ContainsFunc(s.Sigs, func(sig []byte) bool {
		return wire.EqualFold(SignerName(sig), z.Name)
	})
}

// NewDenial returns what the NSEC and NSEC3 records of a zone among sets, each verified
// before, prove.
func NewDenial(zone []byte, sets []*wire.RRset) *Denial {
	d := &Denial{Zone: zone}
	for _, s := range sets {
		switch s.Type {
		case wire.TypeNSEC:
			d.AddNSEC(s.Owner, s.Data[0])
		case wire.TypeNSEC3:
			d.AddNSEC3(s.Owner, s.Data[0])
		}
	}
	return d
}

// Unsigned tells of a proof that a name has no DS records whether what is at and below the
// name is insecure: there is a delegation, or may be one (RFC 4035, section 5.2; RFC 5155,
// section 8.9; RFC 9276, section 3.2). Else there is no zone cut at the name.
func (p *Proof) Unsigned() bool { return p.Delegation || p.OptOut || p.Insecure }

// SignerOf returns the zone that speaks for the name at, in lower case: the closest at or
// above it that signed one of sets, or nil. Whoever would not hold the name has no say
// (RFC 4035, section 5.3.1).
func SignerOf(at []byte, sets ...*wire.RRset) []byte {
	var best []byte
	for _, s := range sets {
		for _, sig := range s.Sigs {
			if name := SignerName(sig); len(name) > len(best) && wire.Subdomain(at, name) {
				best = name
			}
		}
	}
	if best == nil {
		return nil
	}
	return wire.Lower(nil, best)
}

// SignerName returns the signer's name in the RDATA of an RRSIG record (RFC 4034, section
// 3.1), or nil.
func SignerName(sig []byte) []byte {
	if len(sig) <= sigHead {
		return nil
	}
	n, err := wire.CheckName(sig[sigHead:])
	if err != nil {
		return nil
	}
	return sig[sigHead : sigHead+n]
}

// ParentSide returns the name whose zone has the records of a type for name: DS records
// are on the parent's side of a cut (RFC 4035, section 3.1.4.1).
func ParentSide(name []byte, t wire.Type) []byte {
	if t == wire.TypeDS && len(name) > 1 {
		return wire.Parent(name)
	}
	return name
}
