package authority

import (
	"port53/internal/wire"
	"port53/internal/zone"
)

// What a zone with compact denial of existence (RFC 9824) signs while the query waits: one NSEC record
// that matches the name, whether that exists or not, and sets made from wildcards.
//
// In one piece: it is scratch space, as the Responder is.
type compact struct {
	signer zone.OnlineSigner // nil: all that is answered is signed already
	rdata  [2*wire.MaxName + 256 + 32]byte
	types  [maxTypes]wire.Type
	sigs   [maxSignatures]byte
	form   [wire.MaxName]byte

	node   zone.Node // whose types the NSEC record lists
	denied []byte    // its owner in lower case; nil: the answer has none
	at     int       // where that stands in the message
	absent bool      // it does not exist
	busy   bool      // too many signatures are being made
}

// Bounds of what is signed for one answer.
const (
	// maxTypes is how many types a name may have and still need no more memory.
	maxTypes = 64

	// maxSignatures is the octets of the signatures of one set that need no more memory: as two
	// keys of RSA make them.
	maxSignatures = 2 * (wire.MaxName + 18 + 2 + 512)
)

// absentTypes are the types of an NSEC record of a name that does not exist.
var absentTypes = [...]wire.Type{wire.TypeRRSIG, wire.TypeNSEC, wire.TypeNXNAME}

// deny notes that the answer needs the NSEC record of a name, in lower case, which stands at a place in
// the message. node has its types; 0: the name does not exist.
func (r *Responder) deny(name []byte, at int, node zone.Node) {
	r.compact.denied, r.compact.at, r.compact.node, r.compact.absent = name, at, node, node == 0
}

// compactNXDomain answers that the present name does not exist, which the proof says as if it did.
func (r *Responder) compactNXDomain(p zone.Place) Result {
	if r.query.CO {
		r.b.SetRcode(wire.NXDomain) // RFC 9824, section 5.1
	}
	r.deny(r.name.Name(), r.at.Pos, 0)
	return r.compactNegative(Result{Kind: NXDomain, Node: p.Node})
}

// compactNegative answers with the NSEC record that was noted: as a proof or, if that or its signatures
// are what was asked for, as the answer. Were they denied, the proof would contradict itself.
func (r *Responder) compactNegative(result Result) Result {
	t := r.query.Type
	if t != wire.TypeNSEC && t != wire.TypeRRSIG {
		return r.negative(result)
	}
	if !r.appendNSEC(wire.Answer, t == wire.TypeNSEC) {
		return r.truncate(result)
	}
	r.compact.denied = nil
	if result.Kind != NXDomain {
		result.Kind = Positive
	}
	return r.finish(result)
}

// appendNSEC writes the NSEC record that was noted, with its signatures: or these alone.
func (r *Responder) appendNSEC(section wire.Section, record bool) bool {
	c := &r.compact
	types := absentTypes[:]
	if !c.absent {
		types = r.z.AppendTypes(c.types[:0], c.node)
		types = withType(withType(types, wire.TypeRRSIG), wire.TypeNSEC)
	}
	rdata := appendSuccessor(c.rdata[:0], c.denied, len(r.z.Apex()))
	rdata = wire.AppendBitmap(rdata, types)
	soa := r.z.NegativeSOA()
	ttl := soa.TTL()
	sigs, ok := c.signer.SignNSEC(c.sigs[:0], c.denied, ttl, rdata, r.Verified)
	if !ok {
		c.busy = true
		return false
	}
	return (!record || r.appendRecord(section, c.at, wire.TypeNSEC, ttl, rdata)) && r.appendSignatures(section, c.at, ttl, sigs)
}

// appendExpansion writes a set made from a wildcard, with signatures as if it were the present name's
// own, or these alone.
func (r *Responder) appendExpansion(set *zone.RRset, node zone.Node, at zone.Owner, records bool, where *zone.Relocation) bool {
	c := &r.compact
	sigs, ok := c.signer.SignExpansion(c.sigs[:0], r.name.Name(), r.z, node, set.Type, r.Verified)
	if !ok {
		c.busy = true
		return false
	}
	return (!records || set.Append(r.b, wire.Answer, at, false, where)) && r.appendSignatures(wire.Answer, at.Pos, set.TTL(), sigs)
}

// appendSignatures writes signatures as an OnlineSigner gives them.
func (r *Responder) appendSignatures(section wire.Section, at int, ttl uint32, sigs []byte) bool {
	for len(sigs) > 0 {
		n := int(sigs[0])<<8 | int(sigs[1])
		if !r.appendRecord(section, at, wire.TypeRRSIG, ttl, sigs[2:2+n]) {
			return false
		}
		sigs = sigs[2+n:]
	}
	return true
}

// appendRecord writes one record, whose owner stands at a place in the message.
func (r *Responder) appendRecord(section wire.Section, at int, t wire.Type, ttl uint32, rdata []byte) bool {
	owner := r.b.AppendReference(r.compact.form[:0], at)
	rr := r.b.Grow(section, len(owner)+10+len(rdata), 1)
	if rr == nil {
		return false
	}
	rr = rr[copy(rr, owner):]
	put16(rr, int(t))
	put16(rr[2:], int(wire.ClassIN))
	rr[4], rr[5], rr[6], rr[7] = byte(ttl>>24), byte(ttl>>16), byte(ttl>>8), byte(ttl)
	put16(rr[8:], len(rdata))
	copy(rr[10:], rdata)
	return true
}

// withType adds a type to some in rising order.
func withType(types []wire.Type, t wire.Type) []wire.Type {
	i := len(types)
	for i > 0 && types[i-1] >= t {
		if i--; types[i] == t {
			return types
		}
	}
	types = append(types, 0)
	copy(types[i+1:], types[i:])
	types[i] = t
	return types
}

// appendSuccessor appends the name that follows a name, in lower case, in the canonical order of a zone
// whose apex takes so many octets (RFC 4470, section 3.1.2; RFC 4471, section 3.1): nothing can lie
// between the two.
func appendSuccessor(dst, name []byte, apex int) []byte {
	if len(name)+2 <= wire.MaxName {
		return append(append(dst, 1, 0), name...)
	}
	for len(name) > apex {
		label := name[1 : 1+int(name[0])]
		rest := name[1+len(label):]
		if len(label) < wire.MaxLabel && len(name) < wire.MaxName {
			return append(append(append(append(dst, byte(len(label)+1)), label...), 0), rest...)
		}
		for n := len(label); n > 0; n-- {
			if label[n-1] == 0xFF {
				continue
			}
			dst = append(append(append(dst, byte(n)), label[:n]...), rest...)
			if last := &dst[len(dst)-len(rest)-1]; *last == 'A'-1 {
				*last = 'Z' + 1 // capitals are sorted as small letters
			} else {
				*last++
			}
			return dst
		}
		name = rest // nothing comes behind it but names that follow the one above
	}
	return append(dst, name...) // it was the last
}
