// Package authority is the answer of one zone version to one question: which
// RRsets, in which sections, with which proofs (RFC 1034, section 4.3.2;
// RFC 4035, section 3.1; RFC 5155, section 7.2). It is pure: bytes of the query
// and a zone in, records into the message that it is lent, nothing else touched.
//
// Every RRset goes out whole, with its signatures if the client wants DNSSEC, or
// the reply is cut to its question with TC set (RFC 2181, section 9). The
// additional section alone may lose whole sets for want of room, except the glue
// that a referral cannot do without (RFC 9471, section 2.1).
package authority

import (
	"port53/internal/wire"
	"port53/internal/zone"
)

// Bounds of one answer.
const (
	// maxChain is how many CNAME and DNAME links are followed within the zone
	// (SECURITY: chains; others: 5 to 30).
	maxChain = 16

	// maxProofs is how many NSEC or NSEC3 records one answer can need: three for the
	// end of the chain, and one for each wildcard on the way.
	maxProofs = maxChain + 4

	// maxAdditional is for how many targets of a set addresses are looked up, glue
	// that a referral must have aside.
	maxAdditional = 32
)

// Kind is what an answer is, for whoever limits rates or counts.
type Kind uint8

// The kinds of answers.
const (
	Positive Kind = iota
	NoData
	NXDomain
	Referral
	Failure // YXDOMAIN
)

// A Result describes the answer that was written.
type Result struct {
	Kind Kind
	Node zone.Node // what answered: the name, the wildcard it was made from, or the cut

	// Truncated is set if the answer did not fit.
	Truncated bool

	// Away is set if the answer ends with an alias for a name outside of the zone.
	Away bool

	// Busy is set if the answer would have to be signed now, and too much is: it is truncated.
	Busy bool
}

// A Responder writes answers. It is scratch space of one worker, reused from query
// to query; the zero value is ready.
//
// In one piece: it is scratch space, and a query that had to find its way through several
// parts of it would pay for that.
type Responder struct {
	// Verified says of the queries to come that their clients' addresses are not forged: what is left
	// of the signatures that may be made now is for them.
	Verified bool

	z     *zone.Zone
	b     *wire.Builder
	query *wire.Query
	do    bool // send signatures and proofs

	// The name that is being answered: the question's, then each alias's target.
	name    *wire.SplitName
	at      zone.Owner // where it stands in the message
	target  wire.SplitName
	visited [maxChain + 1]wire.Seed
	links   int
	dnames  [maxChain + 1]writtenDNAME
	ndnames int
	apexPos int // where the apex stands in the message
	away    bool

	where zone.Relocation // of the set whose names are looked at next

	proofs  [maxProofs]zone.Node
	nproofs int
	spelled [maxProofs]spelledOwner // owners written in the authority section
	nspelt  int
	owner   [wire.MaxName + 2]byte
	full    [wire.MaxName + 1]byte
	alias   [2 * wire.MaxName]byte

	compact compact
}

// Answer writes z's answer to q into b, which holds the header and the question.
// The question's name is at or below z's apex and its class is IN.
func (r *Responder) Answer(z *zone.Zone, q *wire.Query, b *wire.Builder) Result {
	r.z, r.b, r.query, r.name = z, b, q, &q.Name
	r.do = q.DO && z.SignsDenial()
	r.compact.signer, r.compact.denied, r.compact.busy = nil, nil, false
	if r.do {
		r.compact.signer = z.Online()
	}
	r.at, r.away = zone.At(wire.HeaderLen), false
	r.links, r.ndnames, r.nproofs, r.nspelt = 0, 0, 0, 0
	r.apexPos = wire.HeaderLen + q.Name.Start(q.Name.Labels-z.ApexLabels())
	b.SetFlags(wire.FlagAA)
	for {
		p := z.Search(r.name)
		switch {
		case p.Cut && !(p.Exact && q.Type == wire.TypeDS):
			return r.referral(p)
		case p.DNAME:
			if done, result := r.dname(p); done {
				return result
			}
			continue
		}
		node, at := p.Node, r.at
		if !p.Exact {
			node = z.Wildcard(p.Node)
			if node == 0 {
				return r.nxdomain(p)
			}
			at = r.expanded(p)
		}
		if z.HasCNAME(node) && followed(q.Type) {
			set, _ := z.RRset(node, wire.TypeCNAME)
			if !r.appendMade(p, node, &set, at, &r.where) {
				return r.truncate(Result{Kind: Positive, Node: node})
			}
			if !r.follow(node, &set) {
				return r.finish(Result{Kind: Positive, Node: node})
			}
			continue
		}
		return r.data(p, node, at)
	}
}

// followed reports whether a question of type t follows a CNAME (RFC 1034, section
// 3.6.2; RFC 4035, section 2.5 for the types that may stand beside one).
func followed(t wire.Type) bool {
	switch t {
	case wire.TypeCNAME, wire.TypeANY, wire.TypeRRSIG, wire.TypeNSEC, wire.TypeKEY:
		return false
	}
	return true
}

// expanded returns where the owner of a wildcard that answers for the present name
// stands: the name itself, of which the part from the closest encloser on is also
// the wildcard's, there two octets from its start.
func (r *Responder) expanded(p zone.Place) zone.Owner {
	at := r.at
	at.Suffix += r.name.Start(p.Depth) - 2
	if at.Scattered {
		at.Suffix = r.name.Start(p.Depth) - 2
	}
	return at
}

// data answers from node, which has no alias to follow.
func (r *Responder) data(p zone.Place, node zone.Node, at zone.Owner) Result {
	z, t := r.z, r.query.Type
	var set zone.RRset
	var ok bool
	switch t {
	case wire.TypeANY: // one RRset will do (RFC 8482, section 4.1)
		set, ok = z.First(node)
	case wire.TypeRRSIG:
		if set, ok = z.First(node); ok && set.Sigs > 0 {
			if r.compact.signer != nil && !p.Exact {
				ok = r.appendExpansion(&set, node, at, false, nil)
			} else if ok = set.AppendSigs(r.b, wire.Answer, at); ok && !p.Exact {
				r.proveExpansion(p)
			}
			if !ok {
				return r.truncate(Result{Kind: Positive, Node: node})
			}
			return r.finish(Result{Kind: Positive, Node: node})
		}
		ok = false
	default:
		set, ok = z.RRset(node, t)
	}
	if !ok {
		return r.nodata(p, node)
	}
	var where *zone.Relocation
	if set.Targets() > 0 {
		where = &r.where
	}
	result := Result{Kind: Positive, Node: node}
	if set.Type == wire.TypeDNAME && r.targetOf(node) != 0 {
		return r.finish(result) // a chain that it made ends at it
	}
	if !r.appendMade(p, node, &set, at, where) || !r.writeProofs() {
		return r.truncate(result)
	}
	if where != nil {
		r.additional(&set, at.Pos)
	}
	return result
}

// appendMade writes a set of the present name, or of the wildcard that stands for it, and what proves
// that it may.
func (r *Responder) appendMade(p zone.Place, node zone.Node, set *zone.RRset, at zone.Owner, where *zone.Relocation) bool {
	switch {
	case p.Exact:
		return set.Append(r.b, wire.Answer, at, r.do, where)
	case r.compact.signer != nil:
		return r.appendExpansion(set, node, at, true, where)
	}
	r.proveExpansion(p)
	return set.Append(r.b, wire.Answer, at, r.do, where)
}

// finish ends an answer whose records are all in the answer section.
func (r *Responder) finish(result Result) Result {
	result.Away = r.away
	if !r.writeProofs() {
		return r.truncate(result)
	}
	return result
}

func (r *Responder) truncate(result Result) Result {
	r.b.Truncate()
	result.Truncated, result.Busy = true, r.compact.busy
	return result
}

// follow makes the CNAME's target the present name. It returns false where the
// chain ends for us: outside the zone, in a loop, or after maxChain links. Each
// record stands in the answer once, and the client goes on by itself.
func (r *Responder) follow(node zone.Node, set *zone.RRset) bool {
	owner := r.z.AppendName(r.full[:0], node)
	name := set.AppendTarget(r.alias[:0], owner, 0)
	return r.moveTo(name, set.DataAt(&r.where))
}

func (r *Responder) moveTo(name []byte, pos int) bool {
	if r.links == 0 {
		r.visited[0] = wire.Seed(0).Hash(r.name.Name())
	}
	if !wire.Subdomain(name, r.z.Apex()) {
		r.away = true
		return false
	}
	if r.links++; r.links > maxChain {
		return false
	}
	r.target.Set(name)
	h := wire.Seed(0).Hash(r.target.Name())
	for _, v := range r.visited[:r.links] {
		if v == h {
			return false
		}
	}
	if r.links <= maxChain {
		r.visited[r.links] = h
	}
	r.name = &r.target
	r.at = zone.Owner{Pos: pos, Scattered: true}
	return true
}

// A writtenDNAME is a DNAME in the answer section, and where its target stands.
type writtenDNAME struct {
	node   zone.Node
	target int
}

// targetOf returns where the target of a DNAME that is in the answer stands, or 0.
func (r *Responder) targetOf(node zone.Node) int {
	for _, d := range r.dnames[:r.ndnames] {
		if d.node == node {
			return d.target
		}
	}
	return 0
}

// dname answers with the DNAME above the present name and the CNAME made from it
// (RFC 6672, section 3.1), and moves on to its target. It returns true, and the
// result, if the answer ends there.
func (r *Responder) dname(p zone.Place) (bool, Result) {
	set, _ := r.z.RRset(p.Node, wire.TypeDNAME)
	result := Result{Kind: Positive, Node: p.Node}
	from := r.name.Start(p.Depth)
	at := zone.Owner{Pos: r.at.Pos + from, Suffix: r.at.Pos + from}
	if r.at.Scattered {
		at = zone.Owner{Pos: zone.LabelAt(r.b.Bytes(), r.at.Pos, from), Scattered: true}
	}
	// A chain may come by more than once; the DNAME stands in the answer once.
	target := r.targetOf(p.Node)
	if target == 0 {
		if !set.Append(r.b, wire.Answer, at, r.do, &r.where) {
			return true, r.truncate(result)
		}
		target = set.DataAt(&r.where)
		r.dnames[r.ndnames] = writtenDNAME{p.Node, target}
		r.ndnames++
	}
	name := set.Data()
	if from+len(name) > wire.MaxName {
		r.b.SetRcode(wire.YXDomain) // RFC 6672, section 2.2
		result.Kind = Failure
		return true, r.finish(result)
	}
	alias := append(append(r.alias[:0], r.name.Name()[:from]...), name...)
	// The CNAME's data is the labels of the present name, and the target as the DNAME's
	// data has it.
	var ownerForm, targetForm [wire.MaxName]byte
	owner := r.b.AppendReference(ownerForm[:0], r.at.Pos)
	end := r.b.AppendReference(targetForm[:0], target)
	rr := r.b.Grow(wire.Answer, len(owner)+10+from+len(end), 1)
	if rr == nil {
		return true, r.truncate(result)
	}
	rr = rr[copy(rr, owner):]
	put16(rr, int(wire.TypeCNAME))
	put16(rr[2:], int(wire.ClassIN))
	ttl := set.TTL()
	rr[4], rr[5], rr[6], rr[7] = byte(ttl>>24), byte(ttl>>16), byte(ttl>>8), byte(ttl)
	put16(rr[8:], from+len(end))
	r.spell(rr[10 : 10+from])
	copy(rr[10+from:], end)
	if r.query.Type == wire.TypeCNAME || !r.moveTo(alias, r.b.Len()-from-len(end)) {
		return true, r.finish(result)
	}
	return false, Result{}
}

// spell copies the first labels of the present name in the case in which the
// message has them.
func (r *Responder) spell(dst []byte) {
	msg := r.b.Bytes()
	for i := 0; i < len(dst); {
		pos := r.at.Pos + i
		if r.at.Scattered {
			pos = zone.LabelAt(msg, r.at.Pos, i)
		}
		i += copy(dst[i:], msg[pos:pos+int(msg[pos])+1])
	}
}

func put16(b []byte, v int) { b[0], b[1] = byte(v>>8), byte(v) }

// referral sends the client on to the servers of the zone below (RFC 1034,
// section 4.3.2, step 3b).
func (r *Responder) referral(p zone.Place) Result {
	result := Result{Kind: Referral, Node: p.Node}
	if r.links == 0 {
		r.b.ClearFlags(wire.FlagAA)
	}
	set, _ := r.z.RRset(p.Node, wire.TypeNS)
	from := r.name.Start(p.Depth)
	at := zone.Owner{Pos: r.at.Pos + from, Suffix: r.at.Pos + from}
	if r.at.Scattered {
		at = zone.Owner{Pos: zone.LabelAt(r.b.Bytes(), r.at.Pos, from), Scattered: true}
	}
	if !r.appendCut(p, &set, at) {
		return r.truncate(result)
	}
	if r.do {
		if ds, ok := r.z.RRset(p.Node, wire.TypeDS); ok {
			if !ds.Append(r.b, wire.Authority, at, true, nil) {
				return r.truncate(result)
			}
		} else if r.compact.signer != nil {
			r.deny(r.name.Name()[from:], at.Pos, p.Node)
		} else {
			r.proveNoDS(p)
		}
	}
	if !r.writeProofs() || !r.glue(&set) {
		return r.truncate(result)
	}
	return result
}

// appendCut writes the NS set of a delegation, whose names may stand in the question, or in what
// an alias led to.
func (r *Responder) appendCut(p zone.Place, set *zone.RRset, at zone.Owner) bool {
	if p.Depth > 0 {
		q := r.question(p.Depth)
		if r.links > 0 {
			q = zone.Question{
				Name: r.name.Name(), Pos: r.at.Pos, Owner: r.name.Start(p.Depth), Left: r.name.Start(p.Depth - 1), Scattered: true,
			}
		}
		if set.Shares(q) {
			return set.AppendShared(r.b, wire.Authority, at, false, q, &r.where)
		}
	}
	return set.Append(r.b, wire.Authority, at, false, &r.where)
}

// question returns the question as sets whose owner is its name without the first
// labels see it.
func (r *Responder) question(labels int) zone.Question {
	name := &r.query.Name
	return zone.Question{Name: name.Name(), Pos: wire.HeaderLen, Owner: name.Start(labels), Left: name.Start(labels - 1)}
}

// glue adds the addresses of a delegation's name servers: those in the delegated
// domain must all be there (RFC 9471, section 2.1), others as they fit.
func (r *Responder) glue(set *zone.RRset) bool {
	if !set.AppendGlue(r.b, &r.where) {
		return false
	}
	n := set.Targets()
	for _, inDomain := range [2]bool{true, false} {
		for i := range n {
			t := set.Target(i)
			if t.Node = r.z.Current(t.Node); t.Node == 0 || t.InDomain != inDomain {
				continue
			}
			if !inDomain && i >= maxAdditional {
				return true
			}
			sigs := r.do && !r.z.Occluded(t.Node) && !r.z.IsCut(t.Node)
			if !r.addresses(t.Node, set.TargetAt(&r.where, t), sigs) && inDomain {
				return false
			}
		}
	}
	return true
}

// additional adds the addresses of targets that the zone is authoritative for:
// MX, SRV, NS, SVCB and HTTPS (RFC 1035, section 3.3; RFC 2782; RFC 9460,
// section 4.1). The name of the set's owner is at owner.
func (r *Responder) additional(set *zone.RRset, owner int) {
	var done [maxAdditional]zone.Node
	n := min(set.Targets(), maxAdditional)
next:
	for i := range n {
		t := set.Target(i)
		if t.Node = r.z.Current(t.Node); t.Node == 0 {
			continue
		}
		done[i] = t.Node
		for _, d := range done[:i] {
			if d == t.Node {
				continue next
			}
		}
		hidden := r.z.Occluded(t.Node) || r.z.IsCut(t.Node)
		if hidden && set.Type != wire.TypeNS {
			continue // glue, which belongs to referrals: but name servers are useless without it
		}
		at := owner
		if t.Offset >= 0 {
			at = set.TargetAt(&r.where, t)
		}
		r.addresses(t.Node, at, r.do && !hidden)
	}
}

// addresses adds the A and AAAA sets of node, whose name stands at pos. It returns
// false if one of them did not fit.
func (r *Responder) addresses(node zone.Node, pos int, sigs bool) bool {
	fits := true
	for _, t := range [2]wire.Type{wire.TypeA, wire.TypeAAAA} {
		if set, ok := r.z.RRset(node, t); ok && !set.Append(r.b, wire.Additional, zone.At(pos), sigs, nil) {
			fits = false
		}
	}
	return fits
}
