package lab

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"port53/internal/dnssec"
	"port53/internal/wire"
)

// A Signing says how a zone is signed, and how badly.
type Signing struct {
	KSKs, ZSKs []*Key // those of the DNSKEY RRset and of all others; one key may be in both
	Published  []*Key // in the DNSKEY RRset without signing anything

	NSEC3      bool // else NSEC
	OptOut     bool // unsigned delegations have no NSEC3 (RFC 5155, section 6)
	Iterations uint16
	Salt       []byte

	Inception, Expiration time.Time

	// Faults are made in their order: those of data and signatures before signing,
	// the others behind.
	Faults []Fault

	now     time.Time
	ds      [][]byte // for the zone above
	anchors [][]byte // DS of the KSKs
}

// An rrset is the records of one owner and type, with how they are to be signed.
type rrset struct {
	owner   []byte // in lower case
	spelled []byte
	typ     wire.Type
	ttl     uint32
	data    [][]byte
	sigs    [][]byte

	signed bool // it is to be signed at all
	keys   []*Key
	how    sigFields
}

// sigFields are the fields of RRSIG that a fault may change.
type sigFields struct {
	signer                []byte
	labels                int // negative: as it should be
	inception, expiration uint32
	algorithm             int // negative: the key's
}

// Sign returns the records of a zone with DNSKEY, NSEC or NSEC3, and RRSIG records
// (RFC 4035, section 2; RFC 5155, section 7.1). records have one SOA, and no
// record twice. What is below a delegation is neither signed nor denied.
func Sign(apex []byte, records []Record, s *Signing) ([]Record, error) {
	apex = wire.Lower(nil, apex)
	z := signer{apex: apex, s: s}
	z.group(records)
	soa := z.find(apex, wire.TypeSOA)
	if soa == nil || len(soa.data) != 1 {
		return nil, fmt.Errorf("a zone needs one SOA record to be signed")
	}
	minimum := binary.BigEndian.Uint32(soa.data[0][len(soa.data[0])-4:])
	z.negative = min(soa.ttl, minimum) // RFC 9077, section 3
	z.addKeys()
	z.classify()
	if s.NSEC3 {
		z.addNSEC3()
	} else {
		z.addNSEC()
	}
	for i := range z.sets {
		set := &z.sets[i]
		set.keys = s.ZSKs
		if set.typ == wire.TypeDNSKEY {
			set.keys = s.KSKs
		}
		set.how = sigFields{apex, -1, uint32(s.Inception.Unix()), uint32(s.Expiration.Unix()), -1}
	}
	for i := range s.Faults {
		if err := z.before(&s.Faults[i]); err != nil {
			return nil, err
		}
	}
	for i := range z.sets {
		set := &z.sets[i]
		if !set.signed {
			continue
		}
		for _, k := range set.keys {
			sig, err := signSet(set, k)
			if err != nil {
				return nil, err
			}
			set.sigs = append(set.sigs, sig)
		}
	}
	for i := range s.Faults {
		if err := z.behind(&s.Faults[i]); err != nil {
			return nil, err
		}
	}
	var out []Record
	for i := range z.sets {
		set := &z.sets[i]
		for _, d := range set.data {
			out = append(out, Record{set.spelled, set.typ, set.ttl, d})
		}
		for _, d := range set.sigs {
			out = append(out, Record{set.spelled, wire.TypeRRSIG, set.ttl, d})
		}
	}
	return out, nil
}

// A signer is a zone while it is signed.
type signer struct {
	apex     []byte
	s        *Signing
	sets     []rrset
	index    map[string]int // of owner and type
	names    [][]byte       // that exist in this zone, in canonical order
	held     map[string]*holding
	cuts     map[string]bool
	negative uint32 // TTL of NSEC and NSEC3
}

// A holding is what a name has in the zone, as its NSEC or NSEC3 record says.
type holding struct {
	types  []wire.Type
	signed bool // some of it
}

func setKey(owner []byte, t wire.Type) string {
	return string(binary.BigEndian.AppendUint16(bytes.Clone(owner), uint16(t)))
}

func (z *signer) find(owner []byte, t wire.Type) *rrset {
	if i, ok := z.index[setKey(owner, t)]; ok {
		return &z.sets[i]
	}
	return nil
}

func (z *signer) add(r Record) *rrset {
	owner := wire.Lower(nil, r.Owner)
	key := setKey(owner, r.Type)
	i, ok := z.index[key]
	if !ok {
		i = len(z.sets)
		z.index[key] = i
		z.sets = append(z.sets, rrset{owner: owner, spelled: r.Owner, typ: r.Type, ttl: r.TTL})
	}
	z.sets[i].data = append(z.sets[i].data, r.Data)
	return &z.sets[i]
}

func (z *signer) group(records []Record) {
	z.index = make(map[string]int, len(records))
	for _, r := range records {
		z.add(r)
	}
}

func (z *signer) addKeys() {
	seen := map[*Key]bool{}
	for _, list := range [][]*Key{z.s.KSKs, z.s.ZSKs, z.s.Published} {
		for _, k := range list {
			if !seen[k] {
				seen[k] = true
				z.add(Record{z.apex, wire.TypeDNSKEY, defaultTTL, k.DNSKEY})
			}
		}
	}
	if z.s.NSEC3 {
		param := append(binary.BigEndian.AppendUint16([]byte{1, 0}, z.s.Iterations), byte(len(z.s.Salt)))
		z.add(Record{z.apex, wire.TypeNSEC3PARAM, 0, append(param, z.s.Salt...)})
	}
}

// classify finds out which sets are signed, and which names exist in this zone.
func (z *signer) classify() {
	z.cuts = map[string]bool{}
	covers := map[string]bool{} // names with a DNAME
	for i := range z.sets {
		switch set := &z.sets[i]; {
		case set.typ == wire.TypeNS && !bytes.Equal(set.owner, z.apex):
			z.cuts[string(set.owner)] = true
		case set.typ == wire.TypeDNAME:
			covers[string(set.owner)] = true
		}
	}
	z.held = map[string]*holding{}
	for i := range z.sets {
		set := &z.sets[i]
		occluded := false
		for n := set.owner; !bytes.Equal(n, z.apex) && len(n) > 1; {
			n = wire.Parent(n)
			occluded = occluded || z.cuts[string(n)] || covers[string(n)]
		}
		if occluded {
			continue
		}
		cut := z.cuts[string(set.owner)]
		set.signed = !cut || set.typ == wire.TypeDS
		if cut && set.typ != wire.TypeDS && set.typ != wire.TypeNS {
			continue // glue at the cut itself
		}
		h := z.held[string(set.owner)]
		if h == nil {
			h = &holding{}
			z.held[string(set.owner)] = h
			z.names = append(z.names, set.owner)
		}
		h.types = append(h.types, set.typ)
		h.signed = h.signed || set.signed
	}
	z.sortNames()
}

func (z *signer) sortNames() {
	skip := wire.LabelCount(z.apex)
	slices.SortFunc(z.names, func(a, b []byte) int {
		return bytes.Compare(wire.AppendSortKey(nil, a, skip), wire.AppendSortKey(nil, b, skip))
	})
}

// addNSEC adds the chain of NSEC records (RFC 4035, section 2.3).
func (z *signer) addNSEC() {
	for i, name := range z.names {
		types := append(z.held[string(name)].types, wire.TypeRRSIG, wire.TypeNSEC)
		next := z.names[(i+1)%len(z.names)]
		data := appendBitmap(bytes.Clone(next), types)
		z.add(Record{name, wire.TypeNSEC, z.negative, data}).signed = true
	}
}

// addNSEC3 adds the chain of NSEC3 records (RFC 5155, section 7.1).
func (z *signer) addNSEC3() {
	type link struct {
		hash  []byte
		types []wire.Type
	}
	var chain []link
	blank := map[string]bool{} // empty non-terminals
	for _, name := range z.names {
		h := z.held[string(name)]
		if z.s.OptOut && z.cuts[string(name)] && !h.signed {
			continue
		}
		types := h.types
		if h.signed {
			types = append(types, wire.TypeRRSIG)
		}
		chain = append(chain, link{z.hash(name), types})
		for n := name; !bytes.Equal(n, z.apex); {
			n = wire.Parent(n)
			if z.held[string(n)] == nil && !blank[string(n)] {
				blank[string(n)] = true
				chain = append(chain, link{z.hash(n), nil})
			}
		}
	}
	slices.SortFunc(chain, func(a, b link) int { return bytes.Compare(a.hash, b.hash) })
	flags := byte(0)
	if z.s.OptOut {
		flags = 1
	}
	for i, l := range chain {
		data := append(binary.BigEndian.AppendUint16([]byte{1, flags}, z.s.Iterations), byte(len(z.s.Salt)))
		data = append(data, z.s.Salt...)
		next := chain[(i+1)%len(chain)].hash
		data = append(append(data, byte(len(next))), next...)
		z.add(Record{hashName(l.hash, z.apex), wire.TypeNSEC3, z.negative, appendBitmap(data, l.types)}).signed = true
	}
}

func (z *signer) hash(name []byte) []byte {
	return dnssec.HashName(nil, name, z.s.Iterations, z.s.Salt)
}

// hashName returns the owner of an NSEC3 record.
func hashName(hash, apex []byte) []byte {
	label := bytes.ToLower([]byte(wire.Base32Hex.EncodeToString(hash)))
	return child(string(label), apex)
}

// appendBitmap appends the type bit map of NSEC and NSEC3 (RFC 4034, section 4.1.2).
func appendBitmap(dst []byte, types []wire.Type) []byte {
	slices.Sort(types)
	for i := 0; i < len(types); {
		window := types[i] >> 8
		var bits [32]byte
		n := 0
		for ; i < len(types) && types[i]>>8 == window; i++ {
			low := types[i] & 0xFF
			bits[low/8] |= 0x80 >> (low % 8)
			n = int(low/8) + 1
		}
		dst = append(append(dst, byte(window), byte(n)), bits[:n]...)
	}
	return dst
}

// signSet returns the RDATA of one RRSIG over set (RFC 4034, section 3.1). It does
// not use what package dnssec signs with: that would refuse to sign the labels,
// signers and algorithms that a laboratory must lie about.
func signSet(set *rrset, k *Key) ([]byte, error) {
	count := wire.LabelCount(set.owner)
	owner := set.owner
	if owner[0] == 1 && owner[1] == '*' {
		count--
	}
	labels := count
	if set.how.labels >= 0 {
		labels = set.how.labels
		if labels < count { // signed as the wildcard that the name would be made from
			for range wire.LabelCount(owner) - labels {
				owner = wire.Parent(owner)
			}
			owner = child("*", owner)
		}
	}
	sig := binary.BigEndian.AppendUint16(nil, uint16(set.typ))
	sig = append(sig, k.algorithm, byte(labels))
	if set.how.algorithm >= 0 {
		sig[2] = byte(set.how.algorithm)
	}
	sig = binary.BigEndian.AppendUint32(sig, set.ttl)
	sig = binary.BigEndian.AppendUint32(sig, set.how.expiration)
	sig = binary.BigEndian.AppendUint32(sig, set.how.inception)
	sig = binary.BigEndian.AppendUint16(sig, k.Tag)
	sig = append(sig, set.how.signer...)

	data := bytes.Clone(sig)
	var canonical [][]byte
	for _, d := range set.data {
		canonical = append(canonical, wire.AppendCanonical(nil, set.typ, d))
	}
	slices.SortFunc(canonical, bytes.Compare)
	for _, d := range canonical {
		r := Record{owner, set.typ, set.ttl, d}
		data = r.append(data)
	}
	signature, err := k.Sign(data)
	if err != nil {
		return nil, fmt.Errorf("sign %s %s: %w", wire.AppendName(nil, set.owner), set.typ, err)
	}
	return append(sig, signature...), nil
}
