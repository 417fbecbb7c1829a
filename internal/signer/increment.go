package signer

import (
	"bytes"
	"slices"
	"time"

	"port53/internal/dnssec"
	"port53/internal/wire"
	"port53/internal/zone"
)

// A version that differs in a few names from the one before is signed in those names alone: they, and
// with NSEC the names before them, are made again, and what is served shares all else with the version
// before. Where a change reaches further (delegations, NSEC3, a digest, other keys) all of the zone is
// gone through, and so it is whenever signatures are due to be renewed.

// maxChanged is how many names of a change are signed by themselves.
const maxChanged = 1000

// A lastVersion is what a Stage knows of the version that it made last.
type lastVersion struct {
	zone   *zone.Zone
	keys   *keySet
	policy StagePolicy
	signed Signed
	again  time.Time
}

// remembers has the Stage know a version.
func (s *Stage) remembers(v *Version, set *keySet) {
	s.made = lastVersion{v.Zone, set, s.Policy, v.Signed, v.Resign}
}

// An increment makes the records that the names of a change have in the next version.
//
// In one piece: its steps share what is known of both versions.
type increment struct {
	*signWorker
	have, plain *zone.Zone
	changed     []string // names that changed, in lower case
	comes       []sortedName
	goes        map[string]bool
	touched     map[string]bool
	piece       piece
	before      map[string]bool // records
	delta       *zone.Delta
}

// A sortedName is a name, and what it is sorted by.
type sortedName struct {
	key  []byte
	name string
}

// increment makes the version that changes lead to, which are those of the plain zone since have was
// made. It reports false if all of the zone has to be gone through.
func (s *Stage) increment(
	v *Version,
	have, plain *zone.Zone,
	changes []*zone.Delta,
	set *keySet,
	serial uint32,
	now time.Time,
) (bool, error) {
	last := &s.made
	if have == nil || have != last.zone || len(changes) == 0 || changes[len(changes)-1].To != plain.Serial() ||
		last.policy != s.Policy || !set.same(last.keys) || !now.Before(last.again) ||
		s.Policy.Denial.hashes() || s.Policy.Digest || s.From != "" || last.signed.stripped || plain.Names() <= fewSignatures {
		return false, nil
	}
	inc := &increment{have: have, plain: plain, goes: map[string]bool{}, touched: map[string]bool{string(plain.Apex()): true}}
	if !inc.take(changes) {
		return false, nil
	}
	if serial == have.Serial() {
		serial++
	}
	sg := &signing{z: plain, policy: s.policy(&serial), o: SignOptions{Now: now, Prior: have}, keys: set}
	sg.defaults()
	sg.apexSets()
	inc.signWorker = newSignWorker(sg)
	inc.few = true // each signature is verified
	if s.Policy.Denial == NSEC {
		if proof, ok := have.RRset(have.Root(), wire.TypeNSEC); !ok || proof.TTL() != sg.negative {
			return false, nil // all proofs have another TTL
		}
		inc.chain()
	}
	inc.delta = &zone.Delta{From: have.Serial(), To: serial}
	for _, owner := range inc.order() {
		if err := inc.name(owner); err != nil {
			return false, err
		}
	}
	next, _ := have.Apply(inc.delta)
	if next == nil {
		return false, nil
	}
	signed := last.signed
	signed.Serial, signed.Made, signed.Kept = serial, inc.made, signed.Made+signed.Kept
	signed.Records, signed.part = next.Records(), true
	if first := stampTime(inc.earliest, now); first.Before(signed.Expires) {
		signed.Expires = first
	}
	signed.TTL = max(signed.TTL, inc.longest)
	v.Zone, v.Deltas, v.Signed = next, []*zone.Delta{inc.delta}, signed
	return true, nil
}

// same reports whether both sets publish and sign with the same keys.
func (s *keySet) same(o *keySet) bool {
	signer := func(a, b *dnssec.Signer) bool { return bytes.Equal(a.Key.Data, b.Key.Data) }
	return o != nil && slices.EqualFunc(s.dnskeys, o.dnskeys, bytes.Equal) && slices.EqualFunc(s.cds, o.cds, bytes.Equal) &&
		slices.EqualFunc(s.cdnskeys, o.cdnskeys, bytes.Equal) && slices.EqualFunc(s.forKeys, o.forKeys, signer) &&
		slices.EqualFunc(s.forData, o.forData, signer)
}

// take finds the names of the changes. It returns false if more changes than those.
func (inc *increment) take(changes []*zone.Delta) bool {
	apex := inc.plain.Apex()
	names := map[string]bool{}
	ok := true
	each := func(owner []byte, t wire.Type, _ uint32, _ []byte) bool {
		top := wire.EqualFold(owner, apex)
		switch t {
		case wire.TypeNS, wire.TypeDNAME:
			ok = ok && top && t == wire.TypeNS
		case wire.TypeDNSKEY, wire.TypeCDS, wire.TypeCDNSKEY, wire.TypeZONEMD:
			ok = ok && !top
		default:
			ok = ok && !made(t)
		}
		names[string(wire.Lower(nil, owner))] = true
		return ok && len(names) <= maxChanged
	}
	for _, d := range changes {
		if zone.EachRecord(d.Removed, each) != nil || zone.EachRecord(d.Added, each) != nil || !ok || len(names) > maxChanged {
			return false
		}
	}
	if _, digest := inc.plain.RRset(inc.plain.Root(), wire.TypeZONEMD); digest {
		return false
	}
	for owner := range names {
		if !wire.Subdomain([]byte(owner), apex) || hiddenOrCut(inc.have, owner) || hiddenOrCut(inc.plain, owner) {
			return false
		}
		inc.changed = append(inc.changed, owner)
		inc.touched[owner] = true
	}
	return true
}

// hiddenOrCut reports whether a name is a delegation, or below one or a DNAME.
func hiddenOrCut(z *zone.Zone, owner string) bool {
	var split wire.SplitName
	split.Set([]byte(owner))
	p := z.Search(&split)
	return p.Cut || p.DNAME
}

// node returns the node of a name that has records, or 0.
func nodeOf(z *zone.Zone, owner string) zone.Node {
	var split wire.SplitName
	split.Set([]byte(owner))
	n := z.Lookup(&split)
	if n != 0 && z.Empty(n) {
		return 0
	}
	return n
}

// chain finds the names whose NSEC records name another one next: those before names that come or go.
func (inc *increment) chain() {
	for _, owner := range inc.changed {
		was, is := nodeOf(inc.have, owner) != 0, nodeOf(inc.plain, owner) != 0
		switch {
		case is && !was:
			inc.comes = append(inc.comes, sortedName{inc.sortKey(owner), owner})
		case was && !is:
			inc.goes[owner] = true
		}
	}
	slices.SortFunc(inc.comes, func(a, b sortedName) int { return bytes.Compare(a.key, b.key) })
	before := func(owner string) {
		i, match := inc.have.NSECIndex([]byte(owner))
		if match {
			i--
		}
		for inc.goes[inc.at(i)] {
			i-- // the apex stays
		}
		inc.touched[inc.at(i)] = true
	}
	for _, c := range inc.comes {
		before(c.name)
	}
	for owner := range inc.goes {
		before(owner)
	}
}

func (inc *increment) sortKey(owner string) []byte {
	return wire.AppendSortKey(nil, []byte(owner), inc.plain.ApexLabels())
}

// at returns the name at a place in the chain of the version before.
func (inc *increment) at(i int) string {
	return string(wire.Lower(nil, inc.have.AppendName(nil, inc.have.NSECNode(i))))
}

// next returns the name that follows another in the chain of the next version.
func (inc *increment) next(owner string) string {
	i, _ := inc.have.NSECIndex([]byte(owner))
	for i++; inc.goes[inc.at(i)]; i++ {
		continue
	}
	next, key := inc.at(i), inc.sortKey(owner)
	around := next == string(inc.plain.Apex())
	nextKey := inc.sortKey(next)
	for _, c := range inc.comes { // few, and in order
		if bytes.Compare(c.key, key) > 0 {
			if around || bytes.Compare(c.key, nextKey) < 0 {
				return c.name
			}
			break
		}
	}
	return next
}

// order returns the names that are made again, the apex first: the SOA record stands before all.
func (inc *increment) order() (list []string) {
	for owner := range inc.touched {
		list = append(list, owner)
	}
	slices.SortFunc(list, func(a, b string) int { return bytes.Compare(inc.sortKey(a), inc.sortKey(b)) })
	return list
}

// name adds what changes at a name to the difference.
func (inc *increment) name(owner string) error {
	p := &inc.piece
	p.out = p.out[:0]
	if n := nodeOf(inc.plain, owner); n != 0 {
		if inc.sets(p, n); p.err == nil && inc.policy.Denial == NSEC {
			inc.proof(p, n, []byte(inc.next(owner)))
		}
		if p.err != nil {
			return p.err
		}
	}
	inc.before = map[string]bool{}
	var removed, added, soa []byte
	inc.have.EachAt([]byte(owner), func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		inc.before[string(zone.AppendRecord(nil, owner, t, ttl, data))] = true
		return true
	})
	put := func(list []byte, record []byte, t wire.Type) []byte {
		if t == wire.TypeSOA {
			soa = record
			return list
		}
		return append(list, record...)
	}
	err := zone.EachRecord(p.out, func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		record := zone.AppendRecord(nil, owner, t, ttl, data)
		if inc.before[string(record)] {
			delete(inc.before, string(record))
			return true
		}
		added = put(added, record, t)
		return true
	})
	inc.delta.Added = append(append(inc.delta.Added, soa...), added...)
	soa = nil
	if err != nil {
		return err
	}
	for _, record := range sortedRecords(inc.before) {
		err = zone.EachRecord([]byte(record), func(_ []byte, t wire.Type, _ uint32, _ []byte) bool {
			removed = put(removed, []byte(record), t)
			return true
		})
		if err != nil {
			return err
		}
	}
	inc.delta.Removed = append(append(inc.delta.Removed, soa...), removed...)
	return nil
}

func sortedRecords(records map[string]bool) (list []string) {
	for r := range records {
		list = append(list, r)
	}
	slices.Sort(list)
	return list
}
