package dnssec

import (
	"bytes"

	"port53/internal/wire"
)

// maxNSEC is how many NSEC records of one reply are looked at: a proof needs two
// (padded denials, CVE-2026-11605).
const maxNSEC = 8

type nsec struct {
	owner, next []byte // in lower case
	key, after  []byte // their sort keys below the zone
	types       []byte
}

// AddNSEC adds a record. It keeps rdata. The next name must lie in the zone as well
// (CVE-2026-13321), and behind the owner or at the apex (RFC 4034, section 4.1.1).
func (d *Denial) AddNSEC(owner, rdata []byte) {
	n, err := wire.CheckName(rdata)
	if err != nil || len(d.nsec) >= maxNSEC || !wire.Subdomain(owner, d.Zone) || !wire.Subdomain(rdata[:n], d.Zone) {
		return
	}
	apex := wire.LabelCount(d.Zone)
	r := nsec{owner: wire.Lower(nil, owner), next: wire.Lower(nil, rdata[:n]), types: rdata[n:]}
	r.key, r.after = wire.AppendSortKey(nil, r.owner, apex), wire.AppendSortKey(nil, r.next, apex)
	if bytes.Compare(r.key, r.after) >= 0 && n != len(d.Zone) {
		return
	}
	d.nsec = append(d.nsec, r)
}

func (d *Denial) nxdomain(name []byte) (Proof, Reason) {
	if r := d.match(name); r != nil {
		if nxname(r.types) {
			return Proof{NXName: true}, 0 // RFC 9824, section 5
		}
		return Proof{}, BadProof
	}
	cover := d.cover(name)
	if cover == nil || wire.Subdomain(cover.next, name) {
		return Proof{}, BadProof // nothing covers it, or it is an empty non-terminal
	}
	ce := cover.encloser(name)
	star := wildcard(ce)
	if other := d.cover(star); other == nil || wire.Subdomain(other.next, star) {
		return Proof{}, BadProof
	}
	return Proof{ClosestEncloser: ce}, 0
}

func (d *Denial) nodata(name []byte, t wire.Type) (Proof, Reason) {
	if r := d.match(name); r != nil {
		if !lacks(r.types, t, len(name) > 1) {
			return Proof{}, BadProof
		}
		return Proof{Delegation: delegation(r.types), NXName: nxname(r.types)}, 0
	}
	cover := d.cover(name)
	if cover == nil {
		return Proof{}, BadProof
	}
	if wire.Subdomain(cover.next, name) {
		return Proof{}, 0 // an empty non-terminal (RFC 4035, section 3.1.3.2)
	}
	ce := cover.encloser(name)
	star := wildcard(ce)
	if r := d.match(star); r != nil && lacks(r.types, t, true) && !delegation(r.types) && !nxname(r.types) {
		return Proof{ClosestEncloser: ce}, 0
	}
	// The wildcard itself can be an empty non-terminal.
	if r := d.cover(star); r != nil && wire.Subdomain(r.next, star) {
		return Proof{ClosestEncloser: ce}, 0
	}
	return Proof{}, BadProof
}

// expansion proves that name may be made from the wildcard below ce.
func (d *Denial) expansion(name, ce []byte) (Proof, Reason) {
	if d.match(name) != nil {
		return Proof{}, BadProof
	}
	cover := d.cover(name)
	if cover == nil || len(cover.encloser(name)) != len(ce) || wire.Subdomain(cover.next, name) {
		return Proof{}, BadProof
	}
	return Proof{ClosestEncloser: ce}, 0
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
// delegation or a DNAME says nothing of what is below it.
func (d *Denial) cover(name []byte) *nsec {
	var room [2 * wire.MaxName]byte
	key := wire.AppendSortKey(room[:0], name, wire.LabelCount(d.Zone))
	for i := range d.nsec {
		r := &d.nsec[i]
		after := bytes.Compare(r.key, key) < 0
		before := bytes.Compare(key, r.after) < 0
		last := len(r.next) == len(d.Zone) // the chain begins again
		if !after || !before && !last {
			continue
		}
		if wire.Subdomain(name, r.owner) && deadEnd(r.types) {
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
		a = wire.Parent(a)
		if wire.Subdomain(r.owner, a) || wire.Subdomain(r.next, a) {
			return a
		}
	}
	return wire.Root
}
