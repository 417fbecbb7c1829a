package authority

import (
	"bytes"
	"cmp"
	"errors"
	"slices"

	"port53/internal/wire"
	"port53/internal/zone"
)

// An Updater changes one zone version by update messages (RFC 2136), one after the
// other: each sees what those before it did. It is pure: what comes of it is
// differences. It is for one goroutine.
//
// The work for a message grows as its records do and as the names that it touches have
// records, and not as the one times the other: a message has up to 6,000 records, and its
// sender is only known to have a key.
type Updater struct {
	SignedHere bool // this server signs the zone

	zone   *zone.Zone
	serial uint32
	names  map[string]*updated // as they are now, of those names that were looked at
	apex   *updated
	dirty  []*updatedSet // that the message in hand has changed
}

// NewUpdater returns an updater of z.
func NewUpdater(z *zone.Zone) *Updater {
	u := &Updater{zone: z, serial: z.Serial(), names: map[string]*updated{}}
	u.apex = u.at(z.Apex())
	return u
}

// Serial returns the serial that the updates so far lead to.
func (u *Updater) Serial() uint32 { return u.serial }

// at returns the records of a name.
func (u *Updater) at(name []byte) *updated {
	key := string(wire.Lower(nil, name))
	n := u.names[key]
	if n == nil {
		n = &updated{name: key, sets: map[wire.Type]*updatedSet{}}
		u.zone.EachAt([]byte(key), func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
			n.owner = owner
			n.set(t).put(ttl, data)
			return true
		})
		n.owner = bytes.Clone(n.owner)
		u.names[key] = n
	}
	return n
}

// Update carries out a message, all of it or nothing. may reports whether its sender may
// change the records of a type at a name in lower case; type ANY is all of them. next
// gives the serial that follows one. Without changes the difference is nil. If rcode is
// not NoError nothing was done, and why says the reason.
func (u *Updater) Update(
	m *wire.Message,
	may func(owner []byte, t wire.Type) bool,
	next func(serial uint32) uint32,
) (d *zone.Delta, rcode wire.Rcode, why string) {
	if m.Type != wire.TypeSOA {
		return nil, wire.FormErr, "the zone section does not ask for SOA" // RFC 2136, section 3.1.1
	}
	if rcode, why = u.prerequisites(m); rcode != wire.NoError {
		return nil, rcode, why
	}
	if rcode, why = u.prescan(m, may); rcode != wire.NoError {
		return nil, rcode, why
	}
	soa := u.apex.first(wire.TypeSOA)
	for i := range m.Records {
		if rr := &m.Records[i]; rr.Section == wire.Authority {
			u.change(u.at(rr.Owner), rr)
		}
	}
	return u.delta(soa, next), wire.NoError, ""
}

func (u *Updater) inZone(name []byte) bool { return wire.Subdomain(name, u.zone.Apex()) }

// prerequisites checks the first section (RFC 2136, section 3.2).
func (u *Updater) prerequisites(m *wire.Message) (wire.Rcode, string) {
	exact := map[*updated]map[wire.Type]map[string]struct{}{} // the sets that are to be just so
	for i := range m.Records {
		rr := &m.Records[i]
		if rr.Section != wire.Answer {
			continue
		}
		text := string(wire.AppendName(nil, rr.Owner))
		switch {
		case rr.TTL != 0:
			return wire.FormErr, "a prerequisite has a TTL"
		case !u.inZone(rr.Owner):
			return wire.NotZone, text + " is not in the zone"
		}
		here := u.at(rr.Owner)
		size := here.size(rr.Type)
		switch rr.Class {
		case wire.ClassANY, wire.ClassNONE:
			if len(rr.Data) > 0 {
				return wire.FormErr, "a prerequisite that has no use for data has some"
			}
			wanted := rr.Class == wire.ClassANY
			switch {
			case rr.Type == wire.TypeANY && wanted && here.live == 0:
				return wire.NXDomain, text + " does not exist"
			case rr.Type == wire.TypeANY && !wanted && here.live > 0:
				return wire.YXDomain, text + " exists"
			case rr.Type == wire.TypeANY:
			case wanted && size == 0:
				return wire.NXRRSet, text + " has no " + rr.Type.String()
			case !wanted && size > 0:
				return wire.YXRRSet, text + " has " + rr.Type.String()
			}
		case wire.ClassIN:
			if rr.Type.IsMeta() {
				return wire.FormErr, "a prerequisite has a type without data"
			}
			if exact[here] == nil {
				exact[here] = map[wire.Type]map[string]struct{}{}
			}
			if exact[here][rr.Type] == nil {
				exact[here][rr.Type] = map[string]struct{}{}
			}
			exact[here][rr.Type][canonical(rr.Type, rr.Data)] = struct{}{}
		default:
			return wire.FormErr, "a prerequisite has another class"
		}
	}
	// Such a set has to be that of the prerequisites, no more and no less (RFC 2136, section
	// 3.2.3).
	for here, sets := range exact {
		for t, wanted := range sets {
			if !here.has(t, wanted) {
				return wire.NXRRSet, string(wire.AppendName(nil, []byte(here.name))) + " has other records of " + t.String()
			}
		}
	}
	return wire.NoError, ""
}

// prescan checks the form of the updates (RFC 2136, section 3.4.1), and whether their
// sender may make them.
func (u *Updater) prescan(m *wire.Message, may func([]byte, wire.Type) bool) (wire.Rcode, string) {
	for i := range m.Records {
		rr := &m.Records[i]
		if rr.Section != wire.Authority {
			continue
		}
		bad := false
		switch rr.Class {
		case wire.ClassIN:
			bad = rr.Type.IsMeta()
		case wire.ClassANY:
			bad = rr.TTL != 0 || len(rr.Data) > 0 || rr.Type.IsMeta() && rr.Type != wire.TypeANY
		case wire.ClassNONE:
			bad = rr.TTL != 0 || rr.Type.IsMeta() || wire.CheckRdata(rr.Type, rr.Data) != nil
		default:
			bad = true
		}
		text := string(wire.AppendName(nil, rr.Owner))
		switch {
		case !u.inZone(rr.Owner):
			return wire.NotZone, text + " is not in the zone"
		case bad:
			return wire.FormErr, "the update of " + text + " is malformed"
		case Unwritable(rr.Type, u.SignedHere) != nil:
			return wire.Refused, Unwritable(rr.Type, u.SignedHere).Error()
		case rr.Class == wire.ClassANY && rr.Type == wire.TypeANY:
			if t, ok := u.mayEmpty(rr.Owner, may); !ok {
				return wire.Refused, "the key may not change " + t.String() + " of " + text
			}
		case !may(wire.Lower(nil, rr.Owner), rr.Type):
			return wire.Refused, "the key may not change " + rr.Type.String() + " of " + text
		}
	}
	return wire.NoError, ""
}

// mayEmpty reports whether the sender may take away all that a name has: each set of it, whatever
// types it may not have there (as BIND; a DHCP server takes names away so). If not, it returns the
// type of a set that stays.
func (u *Updater) mayEmpty(name []byte, may func([]byte, wire.Type) bool) (wire.Type, bool) {
	n, lower := u.at(name), wire.Lower(nil, name)
	for t, s := range n.sets {
		kept := n == u.apex && (t == wire.TypeSOA || t == wire.TypeNS)
		if s.live > 0 && !kept && !may(lower, t) {
			return t, false
		}
	}
	return 0, true
}

// Unwritable returns why a change may not have records of a type, or nil; signedHere says whether this server
// signs the zone. It is the one rule for all who change a zone by its records: update messages, both APIs, and
// the commands that use these.
//
// What says of the whole zone which records it has comes of signing alone ([Proof]). NSEC3PARAM says of a zone that
// is signed here how that is done, which its policy decides. DNSKEY, CDS and CDNSKEY records are those of
// another signer, of a zone that has several (RFC 8901), and a ZONEMD record has one made.
func Unwritable(t wire.Type, signedHere bool) error {
	switch {
	case Proof(t):
		return errors.New(t.String() + " records are made by whoever signs the zone, and not by updates")
	case t == wire.TypeNSEC3PARAM && signedHere:
		return errors.New("this server makes the zone's NSEC3PARAM record: its DNSSEC policy says how absence is proven")
	}
	return nil
}

// Proof reports whether records of a type come of signing a zone. They say what the whole
// zone has, so that no change may bring or take them by itself (RFC 3007, section 3.1.1,
// which has SIG and NXT; RFC 4035, section 2).
func Proof(t wire.Type) bool {
	switch t {
	case wire.TypeNSEC, wire.TypeNSEC3, wire.TypeRRSIG, wire.TypeNXT, wire.TypeSIG:
		return true
	}
	return false
}

// change carries out one update (RFC 2136, section 3.4.2).
func (u *Updater) change(n *updated, rr *wire.Record) {
	switch rr.Class {
	case wire.ClassIN:
		u.add(n, rr)
	case wire.ClassANY:
		for t, s := range n.sets {
			kept := n == u.apex && (t == wire.TypeSOA || t == wire.TypeNS)
			if s.live > 0 && !kept && (rr.Type == wire.TypeANY || t == rr.Type) {
				u.touch(s)
				s.clear()
			}
		}
	case wire.ClassNONE:
		s := n.sets[rr.Type]
		if s == nil || rr.Type == wire.TypeSOA || n == u.apex && rr.Type == wire.TypeNS && s.live == 1 {
			return
		}
		if key := canonical(rr.Type, rr.Data); s.holds(key) {
			u.touch(s)
			s.remove(key)
		}
	}
}

// add adds a record, unless it may not stand beside what is there: such are left out in
// silence (RFC 2136, section 3.4.2.2).
func (u *Updater) add(n *updated, rr *wire.Record) {
	alias := n.size(wire.TypeCNAME) > 0
	switch {
	case rr.Type == wire.TypeCNAME && !alias && n.live > 0, rr.Type != wire.TypeCNAME && alias:
		return
	case rr.Type == wire.TypeSOA && (n != u.apex || !zone.Newer(zone.SerialOf(rr.Data), u.serial)):
		return
	}
	if n.live == 0 {
		n.owner = bytes.Clone(rr.Owner) // a name that has records is spelled as it was
	}
	s := n.set(rr.Type)
	u.touch(s)
	switch rr.Type {
	case wire.TypeSOA, wire.TypeCNAME, wire.TypeDNAME:
		s.clear()
	}
	s.put(rr.TTL, rr.Data)
	s.ttl, s.one = rr.TTL, true // one TTL for a set (RFC 2181, section 5.2)
}

// touch remembers how a set was before the message in hand.
func (u *Updater) touch(s *updatedSet) {
	if s.touched {
		return
	}
	s.touched = true
	s.before, s.owner = slices.Clone(s.records()), s.of.owner
	u.dirty = append(u.dirty, s)
}

// delta makes the difference of the sets that were touched, with the serial that it leads
// to. soa is the SOA record until now.
func (u *Updater) delta(soa updatedRecord, next func(uint32) uint32) *zone.Delta {
	d := &zone.Delta{From: u.serial}
	slices.SortFunc(u.dirty, func(a, b *updatedSet) int {
		return cmp.Or(cmp.Compare(a.of.name, b.of.name), cmp.Compare(a.t, b.t))
	})
	var removed, added []byte
	for _, s := range u.dirty {
		if s.t != wire.TypeSOA {
			removed, added = s.difference(removed, added)
		}
		s.touched, s.before = false, nil
	}
	u.dirty = u.dirty[:0]
	fresh := u.apex.first(wire.TypeSOA)
	given := !bytes.Equal(fresh.data, soa.data) || fresh.ttl != soa.ttl
	if len(removed)+len(added) == 0 && !given {
		return nil
	}
	if !given {
		fresh.data = zone.WithSerial(soa.data, next(u.serial))
		s := u.apex.set(wire.TypeSOA)
		s.clear()
		s.put(fresh.ttl, fresh.data)
	}
	d.To = zone.SerialOf(fresh.data)
	d.Removed = append(zone.AppendRecord(nil, u.apex.owner, wire.TypeSOA, soa.ttl, soa.data), removed...)
	d.Added = append(zone.AppendRecord(nil, u.apex.owner, wire.TypeSOA, fresh.ttl, fresh.data), added...)
	u.serial = d.To
	return d
}

// A Set is all records of a type at a name. Without data there are none.
type Set struct {
	Owner []byte // in wire form, as it is spelled
	Type  wire.Type
	TTL   uint32
	Data  [][]byte
}

// Set returns the records of a type at a name as all so far has left them.
func (u *Updater) Set(name []byte, t wire.Type) Set {
	n := u.at(name)
	s := Set{Owner: n.owner, Type: t}
	if n.size(t) == 0 {
		return s
	}
	for i, r := range n.sets[t].records() {
		if i == 0 || r.ttl < s.TTL {
			s.TTL = r.ttl
		}
		s.Data = append(s.Data, r.data)
	}
	return s
}

// Types returns the types that a name has records of, in their order.
func (u *Updater) Types(name []byte) []wire.Type {
	var list []wire.Type
	for t, s := range u.at(name).sets {
		if s.live > 0 {
			list = append(list, t)
		}
	}
	slices.Sort(list)
	return list
}

// Replace puts sets in the place of those that there are, whatever these are, and gives the zone a
// serial. If that is the serial which it has, no set may change: the difference is one for notes. What
// comes of it may be a zone that cannot be served.
func (u *Updater) Replace(sets []Set, serial uint32) *zone.Delta {
	soa := u.apex.first(wire.TypeSOA)
	fresh := soa
	for i := range sets {
		s := &sets[i]
		if s.Type == wire.TypeSOA {
			if len(s.Data) == 1 {
				fresh = updatedRecord{s.TTL, s.Data[0]}
			}
			continue
		}
		n := u.at(s.Owner)
		if n.live == 0 {
			n.owner = bytes.Clone(s.Owner)
		}
		set := n.set(s.Type)
		u.touch(set)
		set.clear()
		for _, data := range s.Data {
			set.put(s.TTL, data)
		}
		set.ttl, set.one = s.TTL, len(s.Data) > 0
	}
	set := u.apex.set(wire.TypeSOA)
	set.clear()
	set.put(fresh.ttl, zone.WithSerial(fresh.data, serial))
	if d := u.delta(soa, nil); d != nil {
		return d
	}
	head := zone.AppendRecord(nil, u.apex.owner, wire.TypeSOA, soa.ttl, soa.data)
	return &zone.Delta{From: u.serial, To: u.serial, Removed: head, Added: head}
}
