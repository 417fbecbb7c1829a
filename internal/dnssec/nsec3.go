package dnssec

import (
	"bytes"
	"crypto/sha1" // the only hash of NSEC3 (RFC 5155, section 11)
	"encoding/binary"
	"slices"

	"port53/internal/wire"
)

// Bounds of NSEC3 (RFC 9276, section 3.2; CVE-2023-50868).
const (
	maxSecureIterations = 50  // above, the zone is as if it were not signed; BIND, PowerDNS, Knot 50
	maxIterations       = 500 // above, it is not served
	maxNSEC3            = 8   // records of one reply that are looked at; PowerDNS Recursor 10
	// Every so many blocks of SHA-1 that iterations take, a hash counts once more: at 50
	// iterations one with a salt of up to 35 octets, a block each, counts as one hash,
	// and one with the longest salt as three.
	blocksPerHash = 100
)

// hashLabel is the length of the first label of an NSEC3 record's owner: 20 octets in
// base32hex (RFC 5155, section 3.3).
const hashLabel = 32

type nsec3 struct {
	chain  int // its number
	hash   [sha1.Size]byte
	next   []byte
	types  []byte
	optOut bool
}

// A chain3 is the parameters of a chain of NSEC3 records. A zone may have several, and each of its
// records says by its own what there is not; an answer of records that differ may be refused
// (RFC 5155, sections 7.3 and 8.2), and is rather read.
type chain3 struct {
	iterations int
	salt       []byte
}

// AddNSEC3 adds a record. It keeps rdata. Those of another hash or with unknown flags
// are left out (RFC 5155, sections 8.1 and 8.2), and all after the eighth.
func (d *Denial) AddNSEC3(owner, rdata []byte) {
	if len(rdata) < 5 || rdata[0] != 1 || rdata[1]&^1 != 0 || len(d.nsec3) >= maxNSEC3 {
		return
	}
	salt := 5 + int(rdata[4])
	if len(rdata) < salt+1 || len(rdata) < salt+1+int(rdata[salt]) || int(rdata[salt]) != sha1.Size {
		return
	}
	// The owner is right below the apex: records of the parent or of a child do not count.
	if int(owner[0]) != hashLabel || !wire.EqualFold(wire.Parent(owner), d.Zone) {
		return
	}
	r := nsec3{optOut: rdata[1] == 1}
	var label [hashLabel]byte
	for i, c := range owner[1 : 1+hashLabel] {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		label[i] = c
	}
	if _, err := wire.Base32Hex.Decode(r.hash[:], label[:]); err != nil {
		return
	}
	own := chain3{int(binary.BigEndian.Uint16(rdata[2:])), rdata[5:salt]}
	r.chain = slices.IndexFunc(d.chains, func(c chain3) bool { return c.iterations == own.iterations && bytes.Equal(c.salt, own.salt) })
	if r.chain < 0 {
		r.chain = len(d.chains)
		d.chains = append(d.chains, own)
	}
	end := salt + 1 + int(rdata[salt])
	r.next, r.types = rdata[salt+1:end], rdata[end:]
	d.nsec3 = append(d.nsec3, r)
}

// HashName appends the NSEC3 hash of a name (RFC 5155, section 5).
func HashName(dst, name []byte, iterations uint16, salt []byte) []byte {
	var room [wire.MaxName + 255]byte
	sum := sha1.Sum(append(wire.Lower(room[:0], name), salt...)) // as above
	for range iterations {
		sum = sha1.Sum(append(append(room[:0], sum[:]...), salt...)) // as above
	}
	return append(dst, sum[:]...)
}

// hash puts the hash of a name by a chain's parameters into h, charged to w by what
// it costs.
func (c *chain3) hash(h *[sha1.Size]byte, name []byte, w *Work) Reason {
	const padding, block = 9, 64 // of SHA-1
	blocks := c.iterations * ((sha1.Size + len(c.salt) + padding + block - 1) / block)
	cost := 1 + blocks/blocksPerHash
	if w.Hashes < cost {
		return WorkLimit
	}
	w.Hashes -= cost
	HashName(h[:0], name, uint16(c.iterations), c.salt)
	return 0
}

// match3 returns the record of a name, or nil.
func (d *Denial) match3(name []byte, w *Work) (*nsec3, Reason) {
	match, _, why := d.look3(name, w)
	return match, why
}

// cover3 returns a record that a name's hash lies between whose hashes, or nil.
func (d *Denial) cover3(name []byte, w *Work) (*nsec3, Reason) {
	match, cover, why := d.look3(name, w)
	if match != nil {
		return nil, why // records of one reply may be of two versions of the zone
	}
	return cover, why
}

// look3 looks a name up in every chain, but for those with too many iterations.
func (d *Denial) look3(name []byte, w *Work) (match, cover *nsec3, why Reason) {
	for i := range d.chains {
		c := &d.chains[i]
		if c.iterations > d.most {
			continue
		}
		var h [sha1.Size]byte
		if why := c.hash(&h, name, w); why != 0 {
			return nil, nil, why
		}
		for j := range d.nsec3 {
			r := &d.nsec3[j]
			switch {
			case r.chain != i:
			case r.hash == h:
				return r, nil, 0
			case cover == nil && r.covers(&h):
				cover = r
			}
		}
	}
	return nil, cover, 0
}

// covers reports whether a hash lies between the record's.
func (r *nsec3) covers(h *[sha1.Size]byte) bool {
	after, before := bytes.Compare(r.hash[:], h[:]) < 0, bytes.Compare(h[:], r.next) < 0
	last := bytes.Compare(r.hash[:], r.next) >= 0 // the chain begins again
	return after && before || last && (after || before)
}

// encloser3 proves the closest encloser of a name that does not exist (RFC 5155,
// section 8.3): it returns that, and the record that covers the name one label longer.
func (d *Denial) encloser3(name []byte, w *Work) (ce []byte, cover *nsec3, why Reason) {
	if len(name) <= len(d.Zone) {
		return nil, nil, BadProof
	}
	next := name
	for ce = wire.Parent(name); ; next, ce = ce, wire.Parent(ce) {
		r, why := d.match3(ce, w)
		if why != 0 {
			return nil, nil, why
		}
		if r != nil {
			if deadEnd(r.types) || nxname(r.types) {
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
	for i := range d.nsec3 {
		if !nxname(d.nsec3[i].types) {
			continue
		}
		r, why := d.match3(name, w)
		if why != 0 {
			return Proof{}, why
		}
		if r != nil && nxname(r.types) {
			return Proof{NXName: true}, 0 // RFC 9824, section 5
		}
		break
	}
	ce, cover, why := d.encloser3(name, w)
	if why != 0 {
		return Proof{}, why
	}
	switch r, why := d.cover3(wildcard(ce), w); {
	case why != 0:
		return Proof{}, why
	case r == nil:
		return Proof{}, BadProof
	}
	return Proof{ClosestEncloser: ce, OptOut: cover.optOut}, 0
}

func (d *Denial) nodata3(name []byte, t wire.Type, w *Work) (Proof, Reason) {
	r, why := d.match3(name, w)
	switch {
	case why != 0:
		return Proof{}, why
	case r != nil && lacks(r.types, t, len(name) > 1):
		return Proof{Delegation: delegation(r.types), NXName: nxname(r.types)}, 0
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
	r, why = d.match3(wildcard(ce), w) // RFC 5155, section 8.7
	switch {
	case why != 0:
		return Proof{}, why
	case r != nil && lacks(r.types, t, true) && !delegation(r.types) && !nxname(r.types):
		return Proof{ClosestEncloser: ce, OptOut: cover.optOut}, 0
	}
	if r == nil && cover.optOut {
		// An empty non-terminal that only unsigned delegations make has no record.
		return Proof{ClosestEncloser: ce, OptOut: true}, 0
	}
	return Proof{}, BadProof
}
