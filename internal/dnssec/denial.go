package dnssec

import (
	"port53/internal/wire"
)

// A Denial is the verified NSEC or NSEC3 records of one reply, and answers what they
// prove (RFC 4035, section 5.4; RFC 5155, section 8). Zone is the zone that signed
// them, in lower case: of names outside of it they prove nothing. The zero value with a
// Zone is ready. A Denial is one goroutine's.
//
// Records that were made from a wildcard must not be added (Verified.Wildcard): their
// owner is not the one that was signed. Those that cannot be of the zone are left out.
type Denial struct {
	Zone []byte

	nsec   []nsec
	nsec3  []nsec3
	chains []chain3 // that these are of: one, but while a zone changes its parameters
	most   int      // iterations of a chain that is looked at
}

// A Proof is what was proven.
type Proof struct {
	ClosestEncloser []byte // the longest existing ancestor, where one was needed; part of the name asked for
	OptOut          bool   // unsigned delegations may be there all the same (RFC 5155, section 6)
	Delegation      bool   // the name is a delegation
	NXName          bool   // the name does not exist, though it is answered for as if it did (RFC 9824, section 2)
	Insecure        bool   // the zone has too many iterations to look (RFC 9276, section 3.2)
}

// NXDomain proves that a name does not exist, nor a wildcard that it could be made
// from.
func (d *Denial) NXDomain(name []byte, w *Work) (Proof, Reason) {
	if p, why, done := d.begin(name, w); done {
		return p, why
	}
	if len(name) == len(d.Zone) {
		return Proof{}, BadProof // the apex exists
	}
	if len(d.nsec) > 0 {
		return d.nxdomain(name)
	}
	return d.nxdomain3(name, w)
}

// NoData proves that a name exists and has no records of a type, itself or by the
// wildcard that it is made from. If t is ANY, it has none at all.
func (d *Denial) NoData(name []byte, t wire.Type, w *Work) (Proof, Reason) {
	if p, why, done := d.begin(name, w); done {
		return p, why
	}
	if t == wire.TypeDS && len(name) == len(d.Zone) && len(name) > 1 {
		return Proof{}, BadProof // the parent has DS records, and the zone no say (RFC 4035, section 3.1.4.1)
	}
	if len(d.nsec) > 0 {
		return d.nodata(name, t)
	}
	return d.nodata3(name, t, w)
}

// NoDS proves that a name has no DS records: Delegation reports whether it is one all the
// same, and OptOut that it may be (RFC 6840, section 4.4; RFC 5155, section 8.9). With
// neither there is no zone cut at the name.
func (d *Denial) NoDS(name []byte, w *Work) (Proof, Reason) { return d.NoData(name, wire.TypeDS, w) }

// Wildcard proves that a name, which was answered for by a wildcard whose parent has so
// many labels, does not exist itself, nor anything closer than that wildcard (RFC 4035,
// section 5.3.4; RFC 5155, section 8.8).
func (d *Denial) Wildcard(name []byte, labels int, w *Work) (Proof, Reason) {
	if p, why, done := d.begin(name, w); done {
		return p, why
	}
	n := wire.LabelCount(name)
	if labels < wire.LabelCount(d.Zone) || labels >= n {
		return Proof{}, BadProof
	}
	ce, next := name, name
	for ; n > labels; n-- {
		next, ce = ce, wire.Parent(ce)
	}
	if len(d.nsec) > 0 {
		return d.expansion(name, ce)
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

// begin reports whether the records can be used for a name at all: without any there is
// no proof, of other zones' names they say nothing, and with too many iterations they
// are not looked at.
func (d *Denial) begin(name []byte, w *Work) (p Proof, why Reason, done bool) {
	most := w.Iterations
	if most == 0 {
		most = maxSecureIterations
	}
	switch {
	case len(d.nsec) == 0 && len(d.nsec3) == 0:
		return p, NoProof, true
	case !wire.Subdomain(name, d.Zone):
		return p, BadProof, true // else a hash of any name would do as an owner in any zone
	case len(d.nsec) > 0:
		return p, 0, false
	}
	least := d.chains[0].iterations
	for _, c := range d.chains[1:] {
		least = min(least, c.iterations)
	}
	switch {
	case least > maxIterations:
		return p, TooManyIterations, true
	case least > most:
		return Proof{Insecure: true}, 0, true
	}
	d.most = most
	return p, 0, false
}

// lacks reports whether a bit map proves that there is no set of a type, and no alias. The
// record must be of the side of the cut that the type is on (RFC 6840, section 4.1;
// CVE-2026-10723): DS of the parent's, anything else of the child's.
func lacks(types []byte, t wire.Type, belowRoot bool) bool {
	if wire.BitmapHas(types, t) || wire.BitmapHas(types, wire.TypeCNAME) {
		return false
	}
	switch t {
	case wire.TypeDS:
		return !belowRoot || !wire.BitmapHas(types, wire.TypeSOA)
	case wire.TypeANY:
		return bare(types)
	}
	return !delegation(types)
}

// bare reports whether a bit map has nothing but what the proof itself is made of.
func bare(types []byte) bool {
	for len(types) >= 2 {
		window, n := types[0], int(types[1])
		if len(types) < 2+n {
			return false
		}
		for i, octet := range types[2 : 2+n] {
			for bit := range 8 {
				if octet>>(7-bit)&1 == 0 {
					continue
				}
				switch wire.Type(window)<<8 | wire.Type(i*8+bit) {
				case wire.TypeRRSIG, wire.TypeNSEC, wire.TypeNXNAME:
				default:
					return false
				}
			}
		}
		types = types[2+n:]
	}
	return true
}

// nxname reports whether a bit map is that of a name that does not exist (RFC 9824,
// section 2).
func nxname(types []byte) bool { return wire.BitmapHas(types, wire.TypeNXNAME) && bare(types) }

// delegation reports whether a bit map is that of the parent's side of a cut.
func delegation(types []byte) bool {
	return wire.BitmapHas(types, wire.TypeNS) && !wire.BitmapHas(types, wire.TypeSOA)
}

// deadEnd reports whether a bit map is that of a name below which the zone has nothing: a
// delegation's (RFC 6840, section 4.1) or a DNAME's (RFC 6672, section 5.3.4.1).
func deadEnd(types []byte) bool {
	return delegation(types) || wire.BitmapHas(types, wire.TypeDNAME)
}

// wildcard returns the name of the wildcard below ce. It is no longer than a name below ce
// that was asked for.
func wildcard(ce []byte) []byte { return append([]byte{1, '*'}, ce...) }
