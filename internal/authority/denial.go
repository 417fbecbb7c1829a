package authority

import (
	"bytes"

	"port53/internal/wire"
	"port53/internal/zone"
)

// nxdomain answers that the present name does not exist.
func (r *Responder) nxdomain(p zone.Place) Result {
	if r.compact.signer != nil {
		return r.compactNXDomain(p)
	}
	r.b.SetRcode(wire.NXDomain) // also at the end of a chain (RFC 6604, section 3)
	result := Result{Kind: NXDomain, Node: p.Node}
	if r.do {
		if r.z.HasNSEC3() {
			r.proveNXDomain3(p)
		} else {
			r.prove(r.z.NSECBefore(r.name.Name()))
			r.prove(r.z.NSECBefore(r.wildcardAt(p.Depth)))
		}
	}
	return r.negative(result)
}

// nodata answers that the name exists without the type: node is the name, or the
// wildcard that stands for it.
func (r *Responder) nodata(p zone.Place, node zone.Node) Result {
	result := Result{Kind: NoData, Node: node}
	if r.compact.signer != nil {
		r.deny(r.name.Name(), r.at.Pos, node)
		return r.compactNegative(result)
	}
	if r.do {
		switch {
		case r.z.HasNSEC3():
			r.proveNoData3(p)
		case p.Exact:
			// The name's own NSEC, or for an empty non-terminal the one that covers it.
			r.prove(r.z.NSECBefore(r.name.Name()))
		default:
			// RFC 4035, section 3.1.3.4: the wildcard's NSEC, and that no closer name exists.
			r.prove(r.z.NSECBefore(r.wildcardAt(p.Depth)))
			r.prove(r.z.NSECBefore(r.name.Name()))
		}
	}
	return r.negative(result)
}

// negative adds the SOA (RFC 2308, section 3) and the proofs.
func (r *Responder) negative(result Result) Result {
	soa := r.z.NegativeSOA()
	if labels := r.query.Name.Labels - r.z.ApexLabels(); labels > 0 {
		if q := r.question(labels); soa.Shares(q) {
			if !soa.AppendShared(r.b, wire.Authority, zone.At(r.apexPos), r.do, q, nil) {
				return r.truncate(result)
			}
			return r.finish(result)
		}
	}
	if !soa.Append(r.b, wire.Authority, zone.At(r.apexPos), r.do, nil) {
		return r.truncate(result)
	}
	return r.finish(result)
}

// wildcardAt returns the name *.E, E being the present name without its first
// labels.
func (r *Responder) wildcardAt(labels int) []byte {
	name := r.name.Name()
	return append(append(r.full[:0], 1, '*'), name[r.name.Start(labels):]...)
}

// proveExpansion adds the proof that the present name, answered from a wildcard,
// does not exist itself (RFC 4035, section 3.1.3.3; RFC 5155, section 7.2.6).
func (r *Responder) proveExpansion(p zone.Place) {
	switch {
	case !r.do:
	case r.z.HasNSEC3():
		r.cover3(p.Depth - 1)
	default:
		r.prove(r.z.NSECBefore(r.name.Name()))
	}
}

// proveNoDS adds the proof that a delegation is not signed (RFC 4035, section
// 3.1.4.1; RFC 5155, section 7.2.7).
func (r *Responder) proveNoDS(p zone.Place) {
	if r.z.HasNSEC3() {
		r.closestEncloser3(p.Depth)
		return
	}
	if _, ok := r.z.RRset(p.Node, wire.TypeNSEC); ok {
		r.prove(p.Node)
	}
}

// hash3 returns the NSEC3 hash of the present name without its first labels.
func (r *Responder) hash3(labels int) zone.Hash {
	return r.z.NSEC3Hash(r.name.Name()[r.name.Start(labels):])
}

// closestEncloser3 adds the closest encloser proof for the present name without
// its first labels: the NSEC3 that matches it; or, where none does, the one that
// matches the closest encloser that can be proven, and the one that covers the
// next closer name (RFC 5155, section 7.2.1). Names below opt-out spans, and
// empty non-terminals that exist only by them, have no NSEC3. It returns the
// label index of the name that was matched.
func (r *Responder) closestEncloser3(labels int) int {
	var closer zone.Node
	for d := labels; ; d++ {
		node, match := r.z.NSEC3For(r.hash3(d))
		if match || d >= r.name.Labels-r.z.ApexLabels() {
			r.prove(node)
			if closer != 0 {
				r.prove(closer)
			}
			return d
		}
		closer = node
	}
}

func (r *Responder) cover3(labels int) {
	node, _ := r.z.NSEC3For(r.hash3(labels))
	r.prove(node)
}

func (r *Responder) proveNXDomain3(p zone.Place) {
	d := r.closestEncloser3From(p.Depth)
	node, _ := r.z.NSEC3For(r.z.NSEC3Hash(r.wildcardAt(d)))
	r.prove(node)
}

// closestEncloser3From is closestEncloser3 for a name that does not exist below
// the encloser at label index depth, which always needs its next closer name
// covered.
func (r *Responder) closestEncloser3From(depth int) int {
	for d := depth; ; d++ {
		node, match := r.z.NSEC3For(r.hash3(d))
		if match || d >= r.name.Labels-r.z.ApexLabels() {
			r.prove(node)
			r.cover3(d - 1)
			return d
		}
	}
}

func (r *Responder) proveNoData3(p zone.Place) {
	if p.Exact {
		r.closestEncloser3(0) // RFC 5155, sections 7.2.3 and 7.2.4
		return
	}
	// RFC 5155, section 7.2.5.
	d := r.closestEncloser3From(p.Depth)
	node, _ := r.z.NSEC3For(r.z.NSEC3Hash(r.wildcardAt(d)))
	r.prove(node)
}

// prove notes that the node's NSEC or NSEC3 belongs into the answer.
func (r *Responder) prove(node zone.Node) {
	for _, n := range r.proofs[:r.nproofs] {
		if n == node {
			return
		}
	}
	if r.nproofs < maxProofs {
		r.proofs[r.nproofs] = node
		r.nproofs++
	}
}

// writeProofs writes what was noted. It returns false if it does not fit.
func (r *Responder) writeProofs() bool {
	if r.compact.denied != nil && !r.appendNSEC(wire.Authority, true) {
		return false
	}
	t := wire.TypeNSEC
	if r.z.HasNSEC3() {
		t = wire.TypeNSEC3
	}
	for _, node := range r.proofs[:r.nproofs] {
		set, ok := r.z.RRset(node, t)
		if !ok {
			continue
		}
		form := r.ownerForm(node)
		at := set.AppendNamed(r.b, wire.Authority, form, true)
		if at == 0 {
			return false
		}
		if r.nspelt < len(r.spelled) {
			r.spelled[r.nspelt] = spelledOwner{pos: at, node: node, octets: len(form) - 2}
			r.nspelt++
		}
	}
	return true
}

// A spelledOwner is an owner name that stands in the authority section, its first
// octets spelled out and the rest a pointer.
type spelledOwner struct {
	pos    int
	node   zone.Node
	octets int
}

// ownerForm returns the node's name as it is shortest in this message: labels, and
// a pointer to where the question or an owner written before has the rest.
func (r *Responder) ownerForm(node zone.Node) []byte {
	rel := r.z.RelName(node)
	question := r.query.Name.Name()
	end := r.query.Name.Start(r.query.Name.Labels - r.z.ApexLabels())
	best, pointer := commonSuffix(rel, question[:end])
	pointer += wire.HeaderLen
	for _, s := range r.spelled[:r.nspelt] {
		other := r.z.RelName(s.node)
		if n, at := commonSuffix(rel, other); n > best && at < s.octets && s.pos+at <= wire.MaxPointer {
			best, pointer = n, s.pos+at
		}
	}
	name := r.z.AppendName(r.owner[:0], node)
	if best == 0 && len(r.z.Apex()) == 1 {
		return name // nothing in common but the root, whose name is shorter than a pointer
	}
	name = name[:len(rel)-best]
	return append(name, byte(pointer>>8)|0xC0, byte(pointer))
}

// commonSuffix returns how many octets of whole labels a and b, relative names in
// lower case, have in common at their ends, and where in b they begin.
func commonSuffix(a, b []byte) (n, at int) {
	for i := 0; ; i += int(a[i]) + 1 {
		rest := len(a) - i
		if rest <= len(b) && bytes.Equal(a[i:], b[len(b)-rest:]) && labelStart(b, len(b)-rest) {
			return rest, len(b) - rest
		}
		if rest == 0 {
			return 0, len(b)
		}
	}
}

func labelStart(name []byte, at int) bool {
	i := 0
	for i < at {
		i += int(name[i]) + 1
	}
	return i == at
}
