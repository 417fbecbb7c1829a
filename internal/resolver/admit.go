package resolver

import (
	"bytes"
	"hash/maphash"
	"math/bits"
	"net/netip"
	"slices"

	"port53/internal/wire"
)

// What a reply tells.
const (
	foundNothing  = iota // no use: ask another server
	foundAnswer          // set is of the type that was asked
	foundAlias           // set is a CNAME at the name, or dname a DNAME above it
	foundNoData          // the name has no records of the type
	foundNXDomain        // the name does not exist
	foundReferral        // child knows more
	foundTooLong         // a DNAME makes a name of more than 255 octets (RFC 6672, section 2.2)
)

// A finding is what of a reply may be used.
//
// In one piece: it has a field for each thing that a reply can say.
type finding struct {
	kind   int
	set    *wire.RRset   // the answer, or the alias
	dname  *wire.RRset   // what set was made from
	target []byte        // where an alias leads, in lower case
	all    []*wire.RRset // for type ANY: every set of the name
	chain  []*wire.RRset // sets of the same zone that continue an alias
	proof  []*wire.RRset // SOA, NSEC and NSEC3 of the zone, from the authority section
	child  *cut          // of a referral
	ttl    uint32        // of the referral's NS records
	ds     *wire.RRset   // of a referral
	aa     bool
	ra     bool
	rcode  wire.Rcode
	why    string // of foundNothing, and of what is lame
	lame   bool   // the server does not serve the zone at all, it seems
	wrong  bool   // the reply contradicts itself
	below  bool   // it is of the zone below the cut, where DS records were asked for
	zone   *cut   // whose servers said so
	glue   []wire.Record
	server netip.AddrPort // that said so
}

// addresses returns the addresses of name in the additional section.
func (f *finding) addresses(name []byte) []netip.Addr {
	var addrs []netip.Addr
	for i := range f.glue {
		r := &f.glue[i]
		if (r.Type == wire.TypeA || r.Type == wire.TypeAAAA) && len(addrs) < maxPerName && bytes.Equal(r.Owner, name) {
			if a, ok := netip.AddrFromSlice(r.Data); ok {
				addrs = append(addrs, a)
			}
		}
	}
	return addrs
}

// admit decides what of a reply may be used and kept; nothing of a reply gets past
// it otherwise. m answers the question name, typ that was sent to a server of c.
//
//   - Records of another class, and records outside of c's zone, are not there.
//   - From the answer section comes the set that was asked for, or the alias at its
//     name, and what continues an alias within the zone. Nothing else.
//   - From the authority section come SOA, NSEC and NSEC3 records for a name that
//     does not have what was asked; or, where there is no answer, the NS and DS
//     records of one delegation between the zone and the name (RFC 2181, section
//     5.4.1; CVE-2025-40778, CVE-2025-11411: NS records beside an answer are not
//     used at all).
//   - From the additional section come addresses of the servers of that delegation,
//     which are used to reach it and for nothing else.
//
// Names of m's records are put into lower case in place.
func (t *task) admit(m *reading, c *cut, name []byte, typ wire.Type) *finding {
	f := &m.finding
	*f = finding{glue: m.Records, aa: m.Flags&wire.FlagAA != 0, ra: m.Flags&wire.FlagRA != 0, rcode: m.Rcode, zone: c}
	switch m.Rcode {
	case wire.NoError, wire.NXDomain, wire.YXDomain:
	default:
		f.why = m.Rcode.String()
		f.lame = m.Rcode == wire.Refused || m.Rcode == wire.NotAuth
		return f
	}
	sets := m.group(c.zone, t.r.seed)
	if sets.many {
		f.why, f.wrong = "more sets of records than can be", true
		return f
	}
	at := name
	for range defaultAliases + 1 {
		set, dname, target := step(sets, at, typ)
		if set == nil {
			break
		}
		switch {
		case f.kind != foundNothing && dname != nil:
			f.chain = append(f.chain, dname)
		case f.kind != foundNothing:
			f.chain = append(f.chain, set)
		default:
			f.set, f.dname, f.target = set, dname, target
			f.kind = foundAnswer
			if target != nil {
				f.kind = foundAlias
			}
		}
		if target == nil || wantsAlias(typ) || !wire.Subdomain(target, c.zone) {
			break
		}
		at = target
	}
	switch {
	case typ == wire.TypeANY && f.dname == nil:
		for _, s := range sets.answer {
			if bytes.Equal(s.Owner, name) {
				f.all = append(f.all, s)
			}
		}
		if len(f.all) > 0 {
			f.kind, f.set, f.target = foundAnswer, f.all[0], nil
		}
	case typ == wire.TypeRRSIG && f.kind == foundNothing:
		if f.set = signatures(&m.Message, name); f.set != nil {
			f.kind = foundAnswer
		}
	case f.kind == foundNothing: // whatever the response code: some say NXDOMAIN
		if f.set = tooLong(sets, name); f.set != nil {
			f.kind = foundTooLong
			return f
		}
	}
	if f.kind == foundAnswer || f.kind == foundAlias {
		for _, s := range sets.authority {
			if s.Type == wire.TypeNSEC || s.Type == wire.TypeNSEC3 {
				f.proof = append(f.proof, s)
			}
		}
		return f
	}
	if sets.dropped && typ != wire.TypeDNSKEY { // too many keys are no keys, to validation
		f.why, f.wrong = "records that cannot be", true // which is not that there are none
		return f
	}
	t.negative(f, sets, c, name, typ)
	return f
}

// negative finds out what a reply without an answer means.
func (t *task) negative(f *finding, sets *sections, c *cut, name []byte, typ wire.Type) {
	var soa, ns *wire.RRset
	upward := false
	for _, s := range sets.authority {
		switch s.Type {
		case wire.TypeSOA:
			if soa == nil && wire.Subdomain(name, s.Owner) {
				soa = s
			}
		case wire.TypeNS:
			switch {
			case len(s.Owner) > len(c.zone) && wire.Subdomain(name, s.Owner) && (typ != wire.TypeDS || len(s.Owner) < len(name)):
				if ns == nil || len(s.Owner) > len(ns.Owner) {
					ns = s
				}
			default:
				upward = true
			}
		}
	}
	forward := c.route != nil && c.route.Forward
	if forward && f.rcode == wire.NoError && soa == nil && (ns != nil || upward || sets.above && !f.aa || sets.outside && !f.ra && !f.aa) {
		f.why = "a referral" // NS without SOA is not "no data" (RFC 2308, section 2.2.1)
		return
	}
	if typ == wire.TypeDS && f.rcode == wire.NoError && soa == nil && f.delegated(sets, name) {
		return
	}
	upward = upward || sets.outside
	if f.rcode == wire.NoError && soa == nil && ns != nil && !forward {
		t.referral(f, sets, c, ns)
		return
	}
	switch {
	case soa == nil && !f.aa && !forward && upward:
		f.why, f.lame = "lame: a referral upwards", true
		return
	case soa == nil && !f.aa && !forward:
		f.why, f.lame = "lame: neither an answer nor a referral", true
		if empty := !sets.spoke && !t.stale && f.rcode != wire.YXDomain; !empty && !sets.proves() {
			return
		}
		// Without any record it is a denial by its form (RFC 2308, sections 2.1 and 2.2), though
		// many who say so know nothing of the zone. It counts if nobody says more.
	case typ == wire.TypeDS && soa != nil && len(name) > 1 && len(soa.Owner) == len(name):
		// The child's side of the cut cannot speak for the parent's.
		f.why, f.below = "the child zone answered for DS", true
		return
	}
	f.kind = foundNoData
	if f.rcode == wire.NXDomain {
		f.kind = foundNXDomain
	}
	for _, s := range sets.authority {
		if s == soa || s.Type == wire.TypeNSEC || s.Type == wire.TypeNSEC3 {
			f.proof = append(f.proof, s)
		}
	}
}

// proves reports whether the authority section has a signed NSEC or NSEC3 record.
func (g *sections) proves() bool {
	return slices.ContainsFunc(g.authority, func(s *wire.RRset) bool {
		return (s.Type == wire.TypeNSEC || s.Type == wire.TypeNSEC3) && len(s.Sigs) > 0
	})
}

// delegated reads the delegation of name where its DS records were asked for: some answer so,
// and it says the same (RFC 4035, section 3.1.4).
func (f *finding) delegated(sets *sections, name []byte) bool {
	delegation := false
	for _, s := range sets.authority {
		switch own := bytes.Equal(s.Owner, name); {
		case s.Type == wire.TypeNS && own:
			delegation = true
		case s.Type == wire.TypeDS && own:
			f.set = s
		case s.Type == wire.TypeNSEC, s.Type == wire.TypeNSEC3:
			f.proof = append(f.proof, s)
		}
	}
	switch {
	case !delegation || f.set == nil && len(f.proof) == 0:
		f.set, f.proof = nil, nil
		return false
	case f.set != nil:
		f.kind, f.proof = foundAnswer, nil
	default:
		f.kind = foundNoData
	}
	return true
}

// referral reads a delegation: its servers, at most as many as are allowed, taken
// from a random place on, and their addresses. Those of names that do not lie within the
// zone that gave them are kept apart, to be tried when nothing else is left.
func (t *task) referral(f *finding, sets *sections, c *cut, ns *wire.RRset) {
	maxServers := t.s.Limits.NameServers
	f.kind, f.ttl = foundReferral, ns.TTL
	f.child = &cut{zone: ns.Owner, partition: c.partition}
	from := 0
	if len(ns.Data) > maxServers {
		from = int(t.r.random.Below(uint32(len(ns.Data))))
	}
	total := 0
	for i := range min(len(ns.Data), maxServers) {
		name := wire.Lower(nil, ns.Data[(from+i)%len(ns.Data)])
		g := target{name: name}
		if total < maxAddresses {
			addrs := f.addresses(name)
			total += len(addrs)
			if wire.Subdomain(name, c.zone) {
				g.addrs = addrs
			} else {
				g.spare = addrs
			}
		}
		f.child.targets = append(f.child.targets, g)
	}
	for _, s := range sets.authority {
		switch s.Type {
		case wire.TypeDS:
			if bytes.Equal(s.Owner, ns.Owner) {
				f.ds = s
			}
		case wire.TypeNSEC, wire.TypeNSEC3:
			f.proof = append(f.proof, s)
		}
	}
}

// wantsAlias reports whether a question is answered by an alias itself (RFC 1034, section
// 3.6.2).
func wantsAlias(typ wire.Type) bool { return typ == wire.TypeCNAME || typ == wire.TypeANY }

// step finds what the answer section has for name: the set of type typ, or an
// alias with its target. A CNAME record that stands beside a DNAME record above it was made
// from that, whoever asks for it (RFC 6672, section 3.1).
func step(sets *sections, name []byte, typ wire.Type) (set, dname *wire.RRset, target []byte) {
	var cname *wire.RRset
	for _, s := range sets.answer {
		if bytes.Equal(s.Owner, name) {
			if s.Type == typ && typ != wire.TypeCNAME {
				return s, nil, nil
			}
			if s.Type == wire.TypeCNAME {
				cname = s
			}
		}
	}
	for _, s := range sets.answer {
		if s.Type == wire.TypeDNAME && len(s.Owner) < len(name) && wire.Subdomain(name, s.Owner) {
			made, ok := substitute(name, s)
			if !ok {
				return nil, nil, nil
			}
			return made, s, made.Data[0]
		}
	}
	switch {
	case cname == nil || typ == wire.TypeANY:
		return nil, nil, nil
	case typ == wire.TypeCNAME:
		return cname, nil, nil
	}
	return cname, nil, wire.Lower(nil, cname.Data[0])
}

// substitute returns the CNAME that a DNAME makes of a name below it (RFC 6672,
// section 2.2), or false if the result is too long.
func substitute(name []byte, dname *wire.RRset) (*wire.RRset, bool) {
	keep := len(name) - len(dname.Owner)
	to := wire.Lower(nil, dname.Data[0])
	if keep+len(to) > wire.MaxName {
		return nil, false
	}
	target := append(append(make([]byte, 0, keep+len(to)), name[:keep]...), to...)
	return &wire.RRset{Owner: name, Type: wire.TypeCNAME, TTL: dname.TTL, Data: [][]byte{target}}, true
}

// tooLong returns the DNAME set that makes a name of more than 255 octets of name, or nil.
func tooLong(sets *sections, name []byte) *wire.RRset {
	for _, s := range sets.answer {
		if s.Type == wire.TypeDNAME && len(s.Owner) < len(name) && wire.Subdomain(name, s.Owner) {
			if _, ok := substitute(name, s); !ok {
				return s
			}
		}
	}
	return nil
}

// sections are the RRsets of a reply that lie in the zone asked.
type sections struct {
	answer    []*wire.RRset
	authority []*wire.RRset
	outside   bool // the authority section has something from outside of the zone
	above     bool // it has NS records of a zone above this one
	spoke     bool // it has something at all
	dropped   bool // the answer section had sets that are too large, or two aliases
	many      bool // there are more sets than can be; what is here is not all

	seed     maphash.Seed
	gathered []gathered
	table    table // of gathered, if there are many
	tabled   bool
	compared int // sets and records that were looked at to find their equals
	room     [roomSets]wire.RRset
}

// A gathered set is one that records of a reply belong to.
type gathered struct {
	set     *wire.RRset
	section wire.Section
	records int    // in the reply, equal ones too
	table   *table // of the set's records, if there are many
}

// roomSets is how many sets a reply has room for without asking for memory.
const roomSets = 12

// few is how many sets, or records of a set, are looked at one by one. More than these
// have a table.
const few = 12

// A table finds numbers below 128 by hashes that nobody can foresee.
type table [256]uint8 // one more than the number, or 0

// find returns the number with this hash that is the one, or -1.
func (t *table) find(hash uint64, is func(n int) bool) int {
	for at := hash; ; at++ {
		if n := int(t[at%uint64(len(t))]) - 1; n < 0 || is(n) {
			return n
		}
	}
}

// put puts in a number that is not there.
func (t *table) put(hash uint64, n int) {
	at := hash
	for t[at%uint64(len(t))] != 0 {
		at++
	}
	t[at%uint64(len(t))] = uint8(n + 1)
}

// A reading is a reply as it is read. Tasks use it again when they end; what lasts
// longer is copied.
type reading struct {
	wire.Message
	sections sections
	finding  finding
}

// group makes RRsets of the answer and authority sections, with their signatures.
// Equal records count once (RFC 2181, section 5.2), and a set's TTL is its
// smallest.
//
// The work is linear in the records of the reply: sets are found by hash, and records of
// a set as well, while these are no more than maxSetRecords. With more than maxSets sets
// nothing of the reply is used.
func (m *reading) group(zone []byte, seed maphash.Seed) *sections {
	g := &m.sections
	g.answer, g.authority, g.gathered = g.answer[:0], g.authority[:0], g.gathered[:0]
	g.outside, g.above, g.spoke, g.dropped, g.many, g.tabled, g.compared = false, false, false, false, false, false, 0
	g.seed = seed
	last := -1
	for i := range m.Records {
		r := &m.Records[i]
		lowerInPlace(r.Owner)
		if r.Section == wire.Authority {
			g.spoke = true
			g.above = g.above || r.Type == wire.TypeNS && len(r.Owner) < len(zone) && wire.Subdomain(zone, r.Owner)
		}
		if r.Class != wire.ClassIN || r.Section == wire.Additional {
			continue
		}
		if !wire.Subdomain(r.Owner, zone) {
			g.outside = g.outside || r.Section == wire.Authority
			continue
		}
		typ := r.Type
		if typ == wire.TypeRRSIG {
			if typ = wire.Covered(r.Data); typ == 0 {
				continue
			}
		}
		// Records of one set stand together, as a rule.
		if last < 0 || !g.is(last, r, typ) {
			if last = g.place(r, typ); last < 0 {
				g.many = true
				return g
			}
		}
		g.add(&g.gathered[last], r)
	}
	g.stray(m.Records, zone)
	g.sort()
	return g
}

// stray gives sets the signatures that stand in another section: what makes them good is the
// key, not the place (RFC 4035, section 5.3.1).
func (g *sections) stray(records []wire.Record, zone []byte) {
	for i := range records {
		r := &records[i]
		if r.Type != wire.TypeRRSIG || r.Class != wire.ClassIN || !wire.Subdomain(r.Owner, zone) {
			continue
		}
		for _, section := range [...]wire.Section{wire.Answer, wire.Authority} {
			at := wire.Record{Owner: r.Owner, Section: section}
			n := -1
			if section != r.Section {
				n = g.find(&at, wire.Covered(r.Data))
			}
			if n >= 0 && !slices.ContainsFunc(g.gathered[n].set.Sigs, func(sig []byte) bool { return bytes.Equal(sig, r.Data) }) {
				g.add(&g.gathered[n], r)
			}
		}
	}
}

// find returns the number of the set that a record belongs to, whose type or covered type is
// typ, or -1.
func (g *sections) find(r *wire.Record, typ wire.Type) int {
	if g.tabled {
		return g.table.find(g.hash(r.Owner, typ, r.Section), func(i int) bool { return g.is(i, r, typ) })
	}
	for i := range g.gathered {
		if g.is(i, r, typ) {
			return i
		}
	}
	return -1
}

// is reports whether set n is the one of a record, whose type or covered type is typ.
func (g *sections) is(n int, r *wire.Record, typ wire.Type) bool {
	g.compared++
	c := &g.gathered[n]
	return c.set.Type == typ && c.section == r.Section && bytes.Equal(c.set.Owner, r.Owner)
}

// place returns the number of the set that a record belongs to, which is made if it is
// not there, or -1 if there are too many.
func (g *sections) place(r *wire.Record, typ wire.Type) int {
	n := len(g.gathered)
	if n >= few && !g.tabled {
		g.tabled, g.table = true, table{}
		for i := range g.gathered {
			c := &g.gathered[i]
			g.table.put(g.hash(c.set.Owner, c.set.Type, c.section), i)
		}
	}
	if i := g.find(r, typ); i >= 0 {
		return i
	}
	if n == maxSets {
		return -1
	}
	if g.tabled {
		g.table.put(g.hash(r.Owner, typ, r.Section), n)
	}
	var set *wire.RRset
	if n < len(g.room) {
		set = &g.room[n]
	} else {
		set = &wire.RRset{}
	}
	*set = wire.RRset{Owner: r.Owner, Type: typ, TTL: r.TTL, Data: set.Data[:0], Sigs: set.Sigs[:0]}
	g.gathered = append(g.gathered, gathered{set: set, section: r.Section})
	return n
}

// hash returns the hash of a set.
func (g *sections) hash(owner []byte, typ wire.Type, section wire.Section) uint64 {
	hi, lo := bits.Mul64(maphash.Bytes(g.seed, owner)^uint64(typ)<<8^uint64(section), 0x9FB21C651E98DF25)
	return hi ^ lo
}

// add adds a record to its set, unless an equal one is there.
func (g *sections) add(c *gathered, r *wire.Record) {
	s := c.set
	s.TTL = min(s.TTL, r.TTL)
	if r.Type == wire.TypeRRSIG {
		if len(s.Sigs) < maxSigs {
			s.Sigs = append(s.Sigs, r.Data)
		}
		return
	}
	if c.records++; c.records > maxSetRecords {
		return // the set is too large to be true
	}
	if len(s.Data) < few {
		if g.compared += len(s.Data); !s.Has(r.Data) {
			s.Data = append(s.Data, r.Data)
		}
		return
	}
	if c.table == nil {
		c.table = &table{}
		for n, d := range s.Data {
			c.table.put(maphash.Bytes(g.seed, d), n)
		}
	}
	hash := maphash.Bytes(g.seed, r.Data)
	if c.table.find(hash, func(n int) bool { g.compared++; return bytes.Equal(s.Data[n], r.Data) }) < 0 {
		c.table.put(hash, len(s.Data))
		s.Data = append(s.Data, r.Data)
	}
}

// maxSigs is how many signatures of one set are kept: more algorithms and key rolls
// at the same time than any zone has.
const maxSigs = 16

// sort puts the sets into their sections, but for those that have no records, or cannot
// be: for their size, or since there is one such record of a name and no more.
func (g *sections) sort() {
	for i := range g.gathered {
		c := &g.gathered[i]
		s := c.set
		single := s.Type == wire.TypeCNAME || s.Type == wire.TypeDNAME || s.Type == wire.TypeSOA
		switch n := len(s.Data); {
		case n == 0 || c.records > maxSetRecords || n > 1 && single:
			g.dropped = g.dropped || c.section == wire.Answer
		case c.section == wire.Answer:
			g.answer = append(g.answer, s)
		default:
			g.authority = append(g.authority, s)
		}
	}
}

// signatures returns the RRSIG records of a name as a set of their own, for those who
// ask for them, or nil. They are signed by nothing.
func signatures(m *wire.Message, name []byte) *wire.RRset {
	set := &wire.RRset{Owner: name, Type: wire.TypeRRSIG}
	for i := range m.Records {
		r := &m.Records[i]
		if r.Section != wire.Answer || r.Type != wire.TypeRRSIG || !bytes.Equal(r.Owner, name) {
			continue
		}
		if len(set.Data) == 0 {
			set.TTL = r.TTL
		}
		set.TTL = min(set.TTL, r.TTL)
		set.Data = append(set.Data, r.Data)
	}
	if len(set.Data) == 0 {
		return nil
	}
	return set
}

func lowerInPlace(name []byte) {
	for i, c := range name {
		if c-'A' < 26 {
			name[i] = c + 'a' - 'A'
		}
	}
}
