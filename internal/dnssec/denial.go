package dnssec

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // the only hash of NSEC3 (RFC 5155, section 11)
	"encoding/binary"

	"port53/internal/wire"
)

// Bounds of NSEC3 (RFC 9276, section 3.2; CVE-2023-50868).
const (
	maxSecureIterations = 50  // above, the zone is as if it were not signed; BIND, PowerDNS, Knot 50
	maxIterations       = 500 // above, it is not served
	maxNSEC3            = 8   // records of one reply that are looked at; PowerDNS Recursor 10
)

// A Denial is the verified NSEC or NSEC3 records of one reply, and answers what they
// prove (RFC 4035, section 5.4; RFC 5155, section 8). Zone is the zone that signed
// them, in lower case. Records that cannot be of that zone are left out. The zero
// value with a Zone is ready.
type Denial struct {
	Zone []byte

	nsec       []nsec
	nsec3      []nsec3
	iterations int
	salt       []byte
}

type nsec struct {
	owner, next []byte // in lower case
	key, after  []byte // their sort keys below the zone
	types       []byte
}

type nsec3 struct {
	hash, next []byte
	types      []byte
	optOut     bool
}

// A Proof is what was proven.
type Proof struct {
	ClosestEncloser []byte // the longest existing ancestor, where one was needed
	OptOut          bool   // unsigned delegations may be there all the same (RFC 5155, section 6)
	Delegation      bool   // the name is a delegation
	Insecure        bool   // the zone has too many iterations to look (RFC 9276, section 3.2)
}

// AddNSEC adds a record. Its next name must lie in the zone as well (CVE-2026-13321).
func (d *Denial) AddNSEC(owner, rdata []byte) {
	n, err := wire.CheckName(rdata)
	if err != nil || !wire.Subdomain(owner, d.Zone) || !wire.Subdomain(rdata[:n], d.Zone) {
		return
	}
	apex := wire.LabelCount(d.Zone)
	r := nsec{owner: wire.Lower(nil, owner), next: wire.Lower(nil, rdata[:n]), types: rdata[n:]}
	r.key, r.after = wire.AppendSortKey(nil, r.owner, apex), wire.AppendSortKey(nil, r.next, apex)
	d.nsec = append(d.nsec, r)
}

// AddNSEC3 adds a record. Those of another hash or with unknown flags are left out
// (RFC 5155, sections 8.1 and 8.2), and so are those whose parameters differ from the
// first.
func (d *Denial) AddNSEC3(owner, rdata []byte) {
	if len(rdata) < 5 || rdata[0] != 1 || rdata[1]&^1 != 0 || len(d.nsec3) >= maxNSEC3 {
		return
	}
	salt := 5 + int(rdata[4])
	if len(rdata) < salt+1 || len(rdata) < salt+1+int(rdata[salt]) || int(rdata[salt]) != sha1.Size {
		return
	}
	label := int(owner[0])
	if label != 32 || !wire.EqualFold(owner[1+label:], d.Zone) {
		return
	}
	var hash [sha1.Size]byte
	if n, err := wire.Base32Hex.Decode(hash[:], bytes.ToUpper(owner[1:1+label])); err != nil || n != len(hash) {
		return
	}
	iterations := int(binary.BigEndian.Uint16(rdata[2:]))
	if len(d.nsec3) == 0 {
		d.iterations, d.salt = iterations, rdata[5:salt]
	} else if d.iterations != iterations || !bytes.Equal(d.salt, rdata[5:salt]) {
		return
	}
	end := salt + 1 + int(rdata[salt])
	d.nsec3 = append(d.nsec3, nsec3{hash: hash[:], next: rdata[salt+1 : end], types: rdata[end:], optOut: rdata[1] == 1})
}

// HashName appends the NSEC3 hash of a name (RFC 5155, section 5).
func HashName(dst, name []byte, iterations uint16, salt []byte) []byte {
	var room [wire.MaxName + 256]byte
	sum := sha1.Sum(append(wire.Lower(room[:0], name), salt...)) //nolint:gosec // as above
	for range iterations {
		sum = sha1.Sum(append(append(room[:0], sum[:]...), salt...)) //nolint:gosec // as above
	}
	return append(dst, sum[:]...)
}

// begin tells whether the records can be used at all: without any there is no proof,
// and with too many iterations they are not looked at.
func (d *Denial) begin(w *Work) (p Proof, why Reason, done bool) {
	most := w.Iterations
	if most == 0 {
		most = maxSecureIterations
	}
	switch {
	case len(d.nsec) == 0 && len(d.nsec3) == 0:
		return p, NoProof, true
	case len(d.nsec) > 0:
		return p, 0, false
	case d.iterations > maxIterations:
		return p, TooManyIterations, true
	case d.iterations > most:
		return Proof{Insecure: true}, 0, true
	}
	return p, 0, false
}

// NXDomain proves that a name does not exist, nor a wildcard that it could be made
// from.
func (d *Denial) NXDomain(name []byte, w *Work) (Proof, Reason) {
	if p, why, done := d.begin(w); done {
		return p, why
	}
	if len(d.nsec) == 0 {
		return d.nxdomain3(name, w)
	}
	cover := d.cover(name)
	if cover == nil || wire.Subdomain(cover.next, name) {
		return Proof{}, BadProof // nothing covers it, or it is an empty non-terminal
	}
	ce := cover.encloser(name)
	star := wildcard(ce)
	if star == nil {
		return Proof{ClosestEncloser: ce}, 0
	}
	if other := d.cover(star); other == nil || wire.Subdomain(other.next, star) {
		return Proof{}, BadProof
	}
	return Proof{ClosestEncloser: ce}, 0
}

// NoData proves that a name exists and has no records of a type, itself or by the
// wildcard that it is made from.
func (d *Denial) NoData(name []byte, t wire.Type, w *Work) (Proof, Reason) {
	if p, why, done := d.begin(w); done {
		return p, why
	}
	if len(d.nsec) == 0 {
		return d.nodata3(name, t, w)
	}
	if r := d.match(name); r != nil {
		if !lacks(r.types, t, len(name) > 1) {
			return Proof{}, BadProof
		}
		return Proof{Delegation: delegation(r.types)}, 0
	}
	cover := d.cover(name)
	if cover == nil {
		return Proof{}, BadProof
	}
	if wire.Subdomain(cover.next, name) {
		return Proof{}, 0 // an empty non-terminal (RFC 4035, section 3.1.3.1)
	}
	ce := cover.encloser(name)
	star := wildcard(ce)
	if star == nil {
		return Proof{}, BadProof
	}
	if r := d.match(star); r != nil && lacks(r.types, t, true) && !delegation(r.types) {
		return Proof{ClosestEncloser: ce}, 0
	}
	// The wildcard itself can be an empty non-terminal.
	if r := d.cover(star); r != nil && wire.Subdomain(r.next, star) {
		return Proof{ClosestEncloser: ce}, 0
	}
	return Proof{}, BadProof
}

// Wildcard proves that a name, which was answered for by a wildcard whose parent has so
// many labels, does not exist itself, nor anything closer than that wildcard (RFC 4035,
// section 5.3.4; RFC 5155, section 8.8).
func (d *Denial) Wildcard(name []byte, labels int, w *Work) (Proof, Reason) {
	if p, why, done := d.begin(w); done {
		return p, why
	}
	ce := name
	next := name
	for n := wire.LabelCount(name); n > labels; n-- {
		next, ce = ce, ce[1+int(ce[0]):]
	}
	if len(d.nsec) > 0 {
		cover := d.cover(name)
		if cover == nil || len(cover.encloser(name)) != len(ce) || wire.Subdomain(cover.next, name) {
			return Proof{}, BadProof
		}
		return Proof{ClosestEncloser: ce}, 0
	}
	r, why := d.cover3(next, w)
	switch {
	case why != 0:
		return Proof{}, why
	case r == nil:
		return Proof{}, BadProof
	}
	return Proof{ClosestEncloser: ce, OptOut: r.optOut}, 0
}

// NoDS proves that a name has no DS records: Delegation tells whether it is one all the
// same, and OptOut that it may be (RFC 5155, section 8.9).
func (d *Denial) NoDS(name []byte, w *Work) (Proof, Reason) { return d.NoData(name, wire.TypeDS, w) }

// lacks tells whether a bit map proves that there is no set of a type, and no alias. The
// record must be of the side of the cut that the type is on (RFC 6840, section 4.1;
// CVE-2026-10723): DS of the parent's, anything else of the child's.
func lacks(types []byte, t wire.Type, belowRoot bool) bool {
	if wire.BitmapHas(types, t) || wire.BitmapHas(types, wire.TypeCNAME) {
		return false
	}
	if t == wire.TypeDS {
		return !belowRoot || !wire.BitmapHas(types, wire.TypeSOA)
	}
	return !delegation(types)
}

// delegation tells whether a bit map is that of the parent's side of a cut.
func delegation(types []byte) bool {
	return wire.BitmapHas(types, wire.TypeNS) && !wire.BitmapHas(types, wire.TypeSOA)
}

// match returns the record of a name, or nil.
func (d *Denial) match(name []byte) *nsec {
	for i := range d.nsec {
		if wire.EqualFold(d.nsec[i].owner, name) {
			return &d.nsec[i]
		}
	}
	return nil
}

// cover returns a record that a name lies between whose names, or nil. One of a
// delegation or a DNAME says nothing of what is below it (RFC 6840, section 4.1; RFC
// 6672, section 5.3.4.2).
func (d *Denial) cover(name []byte) *nsec {
	if !wire.Subdomain(name, d.Zone) {
		return nil
	}
	var room [2 * wire.MaxName]byte
	key := wire.AppendSortKey(room[:0], name, wire.LabelCount(d.Zone))
	for i := range d.nsec {
		r := &d.nsec[i]
		after := bytes.Compare(r.key, key) < 0
		before := bytes.Compare(key, r.after) < 0
		last := bytes.Compare(r.key, r.after) >= 0 // the next name is the apex
		if !after || !before && !last {
			continue
		}
		if wire.Subdomain(name, r.owner) && (delegation(r.types) || wire.BitmapHas(r.types, wire.TypeDNAME)) {
			continue
		}
		return r
	}
	return nil
}

// encloser returns the longest ancestor of a covered name that the record shows to
// exist: its owner or its next name is at or below it.
func (r *nsec) encloser(name []byte) []byte {
	for a := name; len(a) > 1; {
		a = a[1+int(a[0]):]
		if wire.Subdomain(r.owner, a) || wire.Subdomain(r.next, a) {
			return a
		}
	}
	return wire.Root
}

// wildcard returns the name of the wildcard below ce, or nil if it would be too long to
// exist.
func wildcard(ce []byte) []byte {
	if len(ce)+2 > wire.MaxName {
		return nil
	}
	return append([]byte{1, '*'}, ce...)
}

// hash returns the hash of a name by the records' parameters, charged to w.
func (d *Denial) hash(name []byte, w *Work) ([]byte, Reason) {
	if w.Hashes <= 0 {
		return nil, WorkSpent
	}
	w.Hashes--
	return HashName(nil, name, uint16(d.iterations), d.salt), 0
}

func (d *Denial) match3(name []byte, w *Work) (*nsec3, Reason) {
	h, why := d.hash(name, w)
	if why != 0 {
		return nil, why
	}
	for i := range d.nsec3 {
		if bytes.Equal(d.nsec3[i].hash, h) {
			return &d.nsec3[i], 0
		}
	}
	return nil, 0
}

func (d *Denial) cover3(name []byte, w *Work) (*nsec3, Reason) {
	h, why := d.hash(name, w)
	if why != 0 {
		return nil, why
	}
	for i := range d.nsec3 {
		r := &d.nsec3[i]
		after, before := bytes.Compare(r.hash, h) < 0, bytes.Compare(h, r.next) < 0
		if bytes.Compare(r.hash, r.next) < 0 {
			if after && before {
				return r, 0
			}
		} else if (after || before) && !bytes.Equal(h, r.hash) {
			return r, 0
		}
	}
	return nil, 0
}

// encloser3 proves the closest encloser of a name that does not exist (RFC 5155,
// section 8.3): it returns that, and the record that covers the name one label longer.
func (d *Denial) encloser3(name []byte, w *Work) (ce []byte, cover *nsec3, why Reason) {
	if !wire.Subdomain(name, d.Zone) || len(name) <= len(d.Zone) {
		return nil, nil, BadProof
	}
	next := name
	for ce = name[1+int(name[0]):]; ; next, ce = ce, ce[1+int(ce[0]):] {
		r, why := d.match3(ce, w)
		if why != 0 {
			return nil, nil, why
		}
		if r != nil {
			if delegation(r.types) || wire.BitmapHas(r.types, wire.TypeDNAME) {
				return nil, nil, BadProof
			}
			break
		}
		if len(ce) <= len(d.Zone) {
			return nil, nil, BadProof
		}
	}
	cover, why = d.cover3(next, w)
	if why == 0 && cover == nil {
		why = BadProof
	}
	return ce, cover, why
}

func (d *Denial) nxdomain3(name []byte, w *Work) (Proof, Reason) {
	ce, cover, why := d.encloser3(name, w)
	if why != 0 {
		return Proof{}, why
	}
	if star := wildcard(ce); star != nil {
		r, why := d.cover3(star, w)
		switch {
		case why != 0:
			return Proof{}, why
		case r == nil:
			return Proof{}, BadProof
		}
	}
	return Proof{ClosestEncloser: ce, OptOut: cover.optOut}, 0
}

func (d *Denial) nodata3(name []byte, t wire.Type, w *Work) (Proof, Reason) {
	r, why := d.match3(name, w)
	switch {
	case why != 0:
		return Proof{}, why
	case r != nil && lacks(r.types, t, len(name) > 1):
		return Proof{Delegation: delegation(r.types)}, 0
	case r != nil:
		return Proof{}, BadProof
	}
	ce, cover, why := d.encloser3(name, w)
	if why != 0 {
		return Proof{}, why
	}
	if t == wire.TypeDS && cover.optOut {
		return Proof{ClosestEncloser: ce, OptOut: true}, 0 // RFC 5155, section 8.6
	}
	star := wildcard(ce)
	if star == nil {
		return Proof{}, BadProof
	}
	r, why = d.match3(star, w) // RFC 5155, section 8.7
	switch {
	case why != 0:
		return Proof{}, why
	case r != nil && lacks(r.types, t, true) && !delegation(r.types):
		return Proof{ClosestEncloser: ce, OptOut: cover.optOut}, 0
	}
	if r == nil && cover.optOut {
		// An empty non-terminal that only unsigned delegations make has no record.
		return Proof{ClosestEncloser: ce, OptOut: true}, 0
	}
	return Proof{}, BadProof
}
