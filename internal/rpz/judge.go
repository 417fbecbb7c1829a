package rpz

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"port53/internal/wire"
	"port53/internal/zone"
)

// A Searcher is the memory that judging takes. It is used by one goroutine at a time.
//
// It has no room for addresses or servers: each is judged where it stands, since how many there are is for whoever
// is to be blocked to choose.
type Searcher struct {
	q *Question
	v Verdict

	split wire.SplitName // of the name that is looked for
	room  [2 * wire.MaxName]byte

	names  [2]wire.SplitName // that a chain leads to, in turn
	target [2 * wire.MaxName]byte
	owner  [wire.MaxName + 1]byte

	first, many int // where in the reply the first address is, and of how many records from there on; 0: there is none

	settled bool // whatever servers there are, the answer stays
	hunt    hunt
}

// A hunt looks for the rules of one version about the servers of a name's zones, while [NameServers] tells of them.
type hunt struct {
	of   *shape
	wait bool // servers count only before the first that is not known

	name     zone.Node // the rule about the first server whose name has one
	hosts    longest   // about addresses
	gap      bool      // servers are not known
	hostless bool      // addresses are not known
	stale    bool      // some of it has expired
}

// A longest is the rule of the longest prefix that was found so far; the zero value is none.
type longest struct {
	rule zone.Node
	bits int // as long as in IPv6
}

// A place is where in a reply a name of a chain comes from.
type place struct {
	kept, links int
}

// Judge tells what a policy does with a question, or with its answer where there is one. It
// allocates nothing.
func (s *Searcher) Judge(p *Policy, q *Question) Verdict {
	s.q, s.v = q, Verdict{}
	if q.Reply == nil {
		if !q.Local {
			s.step(p, q.Name, true, place{})
		}
		return s.v
	}
	s.settled = q.DO && !p.breaks() && s.signed()
	name, ours, at, end := q.Name, q.Local, q.Body, place{}
	s.many = 0
	for link, records := 0, q.Answers; ; link++ {
		target, next, n := s.alias(at, records)
		if !ours && s.step(p, name, link == 0, end) {
			return s.v
		}
		if target < 0 {
			return s.v
		}
		to, _, bad := wire.AppendExpanded(s.room[:0], q.Reply, target)
		if bad != 0 {
			return s.v
		}
		s.names[link&1].Set(to)
		name, at, records = &s.names[link&1], next, records-n
		ours = q.Own != nil && q.Own.Ours(name, q.Type)
		end = place{kept: next, links: q.Answers - records}
	}
}

// breaks reports whether a zone of the policy replaces signed answers for those who want signatures.
func (p *Policy) breaks() bool {
	return slices.ContainsFunc(p.Zones, func(z *Zone) bool { return z.BreakDNSSEC })
}

// alias looks through the records of the answer from an offset on, to the next alias: where its
// target stands, and where it ends, behind how many records. Without one target is negative, and the
// addresses of the answer are known.
func (s *Searcher) alias(at, records int) (target, next, n int) {
	q := s.q
	follow := q.Type != wire.TypeCNAME && q.Type != wire.TypeANY
	for n = 1; n <= records; n++ {
		owner := skip(q.Reply, at)
		if owner < 0 || owner+10 > len(q.Reply) {
			break
		}
		data, start := owner+10, at
		if at = data + int(binary.BigEndian.Uint16(q.Reply[owner+8:])); at > len(q.Reply) {
			break
		}
		t := wire.Type(binary.BigEndian.Uint16(q.Reply[owner:]))
		switch {
		case s.many > 0:
			s.many++
		case t == wire.TypeA, t == wire.TypeAAAA:
			s.first, s.many = start, 1
		}
		if t == wire.TypeCNAME && follow {
			return data, at, n
		}
	}
	return -1, at, n
}

// skip returns the offset behind the name at pos, or -1.
func skip(msg []byte, pos int) int {
	for pos < len(msg) {
		switch l := int(msg[pos]); {
		case l == 0:
			return pos + 1
		case l >= 0xC0:
			return pos + 2
		default:
			pos += l + 1
		}
	}
	return -1
}

// signed reports whether the answer has signatures.
func (s *Searcher) signed() bool {
	q, at := s.q, s.q.Body
	for range q.Answers + q.Others {
		owner := skip(q.Reply, at)
		if owner < 0 || owner+10 > len(q.Reply) {
			return false
		}
		if wire.Type(binary.BigEndian.Uint16(q.Reply[owner:])) == wire.TypeRRSIG {
			return true
		}
		at = owner + 10 + int(binary.BigEndian.Uint16(q.Reply[owner+8:]))
	}
	return false
}

// step judges one name of a chain. It reports whether that is all there is to know.
func (s *Searcher) step(p *Policy, name *wire.SplitName, first bool, at place) bool {
	for _, z := range p.Zones {
		if z.Served == nil {
			continue
		}
		v := z.Served.Zone()
		if v == nil {
			continue // it has not come yet, or has expired
		}
		has := z.shaped(v)
		node, trigger := s.match(z, v, has, name, first)
		if s.v.Undecided {
			return true
		}
		var action Action
		if node != 0 {
			action = s.decide(z, v, node, name)
		}
		switch {
		case action == Miss:
		case z.Override == Disabled:
			if s.v.Logged == nil {
				s.v.Logged = z
			}
		case s.q.Reply == nil && action != Passthru && (z.Wait || s.q.DO && !z.BreakDNSSEC):
			s.v.Undecided = true
			return true
		case s.q.Reply != nil && action != Passthru && s.q.DO && !z.BreakDNSSEC && s.signed():
			// Whoever checks the signatures would refuse what the policy has in their place.
			return true
		default:
			s.v.Action, s.v.Trigger, s.v.Zone, s.v.Version, s.v.Rule = action, trigger, z, v, node
			s.v.Name, s.v.Kept, s.v.Links = name.Name(), at.kept, at.links
			if action == TCPOnly && !s.q.UDP {
				s.v.Action = Passthru
			}
			return true
		}
		if s.q.Reply == nil && has.later() {
			s.v.Undecided = true // what it says of the answer goes before other zones
			return true
		}
	}
	return false
}

// match returns the rule of a version that counts for a name, and what it looks at; 0: there is none. The
// verdict is undecided if that cannot be told yet.
func (s *Searcher) match(z *Zone, v *zone.Zone, has *shape, name *wire.SplitName, first bool) (zone.Node, Trigger) {
	if first && has.has[ClientIP] {
		if n, _ := s.address(has, ClientIP, s.q.Client.Unmap(), 0); n != 0 {
			return n, ClientIP
		}
	}
	if n := s.find(v, name.Name(), ""); n != 0 {
		return n, QName
	}
	if s.q.Reply == nil {
		return 0, 0
	}
	if has.has[IP] && s.many > 0 {
		if n := s.inAnswer(has); n != 0 {
			return n, IP
		}
	}
	if !has.servers() || s.q.Servers == nil {
		return 0, 0
	}
	return s.matchServers(z, v, has, name.Name())
}

// matchServers is match for rules about the servers of the zones that a name is in. What is known of the
// closest of them counts even if others are not known.
func (s *Searcher) matchServers(z *Zone, v *zone.Zone, has *shape, name []byte) (zone.Node, Trigger) {
	h := &s.hunt
	*h = hunt{of: has, wait: z.WaitServers && z.Override != Disabled && !s.settled && !s.q.Final}
	s.q.Servers.Find(name, has.has[NSIP], s)
	if h.name != 0 {
		return h.name, NSDName
	}
	unknown := h.gap || has.has[NSIP] && h.hostless
	if (unknown || h.stale) && !s.settled && s.v.Unknown == nil {
		s.v.Unknown, s.v.Addresses = name, has.has[NSIP]
	}
	if unknown && h.wait {
		s.v.Unknown, s.v.Addresses, s.v.Undecided = name, has.has[NSIP], true
		return 0, 0
	}
	return h.hosts.rule, NSIP
}

// AddServer takes the name of a server, in lower case, from [NameServers].
func (s *Searcher) AddServer(name []byte) {
	if h := &s.hunt; h.of.has[NSDName] && h.name == 0 && !(h.gap && h.wait) {
		h.name = s.find(h.of.of, name, labels[NSDName])
	}
}

// AddHost takes the address of a server from [NameServers].
func (s *Searcher) AddHost(a netip.Addr) {
	if h := &s.hunt; h.of.has[NSIP] && h.name == 0 {
		s.longer(&h.hosts, h.of, NSIP, a.Unmap())
	}
}

// Unknown takes from [NameServers] that the servers of the next zone are not known, or addresses of the server
// before; or that something has expired.
func (s *Searcher) Unknown(addresses, stale bool) {
	switch h := &s.hunt; {
	case stale:
		h.stale = true
	case addresses:
		h.hostless = true
	default:
		h.gap = true
	}
}

// find returns the rule for a name: its own, or that of the wildcard at its closest encloser. under is
// the label that rules of its kind stand below.
//
// A name that is too long to be one of the policy zone has no rule of its own, but is below wildcards as any other:
// labels that are no part of these are left out.
func (s *Searcher) find(v *zone.Zone, name []byte, under string) zone.Node {
	whole := name[:len(name)-1]
	if len(whole) == 0 || under == "" && reserved(name) {
		return 0
	}
	fits := whole
	for len(fits)+len(under)+len(v.Apex()) > wire.MaxName {
		if len(fits) == 0 {
			return 0
		}
		fits = fits[1+fits[0]:]
	}
	b := append(append(append(s.room[:0], fits...), under...), v.Apex()...)
	s.split.Set(b)
	p := v.Search(&s.split)
	if p.Exact && len(fits) == len(whole) {
		if v.Empty(p.Node) {
			return 0
		}
		return p.Node
	}
	above := s.split.Labels - v.ApexLabels()
	if under != "" {
		above--
	}
	if p.Cut || p.DNAME || p.Depth > above {
		return 0
	}
	if n := v.Wildcard(p.Node); n != 0 && !v.Empty(n) {
		return n
	}
	return 0
}

// reserved reports whether a name ends in a label that policy zones have for other rules than those
// about names.
func reserved(name []byte) bool {
	last := 0
	for i := 0; name[i] != 0; i += 1 + int(name[i]) {
		last = i
	}
	label := name[last : len(name)-1]
	if len(label) < 7 || string(label[1:5]) != "rpz-" {
		return false
	}
	for _, l := range labels {
		if l == string(label) {
			return true
		}
	}
	return false
}

// inAnswer returns the rule of the longest prefix that any address in the answer is in.
func (s *Searcher) inAnswer(of *shape) zone.Node {
	var best longest
	reply, at := s.q.Reply, s.first
	for range s.many {
		owner := skip(reply, at)
		data := owner + 10
		at = data + int(binary.BigEndian.Uint16(reply[owner+8:]))
		switch t := wire.Type(binary.BigEndian.Uint16(reply[owner:])); {
		case t == wire.TypeA && at-data == 4, t == wire.TypeAAAA && at-data == 16:
		default:
			continue
		}
		a, _ := netip.AddrFromSlice(reply[data:at])
		s.longer(&best, of, IP, a)
		if s.q.DNS64 != nil && a.Is6() {
			if v4, ok := s.q.DNS64.Embedded(a); ok {
				s.longer(&best, of, IP, v4)
			}
		}
	}
	return best.rule
}

// longer puts the rule of the longest prefix that an address is in into best, if it is longer than that.
func (s *Searcher) longer(best *longest, of *shape, t Trigger, a netip.Addr) {
	base := 0
	if a.Is4() {
		base = 96
	}
	if n, bits := s.address(of, t, a, max(best.bits-base, 0)); n != 0 {
		best.rule, best.bits = n, bits+base
	}
}

// address returns the rule of the longest prefix that an address is in, of more than least bits.
//
// Prefixes are names whose labels are the address's parts: where one of these is not there, no longer
// prefix with that part is, so that an address of which nothing is known takes a few lookups.
func (s *Searcher) address(of *shape, t Trigger, a netip.Addr, least int) (n zone.Node, bits int) {
	if !a.IsValid() {
		return 0, 0
	}
	part, v := 16, of.of
	if a.Is4() {
		part = 8
	}
	for bits = of.below(t, a.Is6(), a.BitLen()+1); bits > least; {
		masked, err := a.Prefix(bits)
		if err != nil {
			return 0, 0
		}
		b, parts, zz := appendPrefix(s.room[:0], masked)
		if b = append(append(b, labels[t]...), v.Apex()...); len(b) > wire.MaxName {
			bits = of.below(t, a.Is6(), bits) // no rule has so long a name; one for a shorter prefix may
			continue
		}
		s.split.Set(b)
		p := v.Search(&s.split)
		if p.Exact && !v.Empty(p.Node) {
			return p.Node, bits
		}
		known, next := parts+1-p.Depth, bits // parts from the left that are there
		if !p.Exact && known < parts && known < zz && (a.Is4() || !isZero(masked.Addr(), known)) {
			next = min(bits, part*(known+1)) // zeros may be written in another way in shorter prefixes
		}
		bits = of.below(t, a.Is6(), next)
	}
	return 0, 0
}

// isZero reports whether a part of an address of IPv6 is zero.
func isZero(a netip.Addr, part int) bool {
	b := a.As16()
	return b[2*part]|b[2*part+1] == 0
}

// appendPrefix appends the labels of a prefix: its length, and the address's parts in reverse. It
// returns how many parts these are, and which of them, from the address's left, stands for zeros (zz).
func appendPrefix(b []byte, p netip.Prefix) (_ []byte, parts, zz int) {
	b = appendNumber(b, p.Bits(), 10)
	if p.Addr().Is4() {
		a := p.Addr().As4()
		for i := 3; i >= 0; i-- {
			b = appendNumber(b, int(a[i]), 10)
		}
		return b, 4, 4
	}
	a := p.Addr().As16()
	var words [8]int
	from, long := 0, 1 // the longest run of zeros; one alone is written out
	for i, run := 0, 0; i < 8; i++ {
		words[i] = int(binary.BigEndian.Uint16(a[2*i:]))
		if run++; words[i] != 0 {
			run = 0
		}
		if run > long {
			from, long = i-run+1, run
		}
	}
	zz = 8
	for i := 7; i >= 0; i-- {
		parts++
		if long > 1 && i == from+long-1 {
			b = append(b, 2, 'z', 'z')
			i, zz = from, from
			continue
		}
		b = appendNumber(b, words[i], 16)
	}
	return b, parts, zz
}

// appendNumber appends a number as a label.
func appendNumber(b []byte, n, base int) []byte {
	at := len(b)
	b = append(b, 0)
	scale := 1
	for n/scale >= base {
		scale *= base
	}
	for ; scale > 0; scale /= base {
		b = append(b, "0123456789abcdef"[n/scale%base])
	}
	b[at] = byte(len(b) - at - 1)
	return b
}
