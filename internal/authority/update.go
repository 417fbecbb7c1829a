package authority

import (
	"bytes"
	"slices"

	"port53/internal/wire"
	"port53/internal/zone"
)

// An Updater changes one zone version by update messages (RFC 2136), one after the
// other: each sees what those before it did. It is pure: what comes of it is
// differences. It is for one goroutine.
type Updater struct {
	zone   *zone.Zone
	serial uint32
	soa    record
	names  map[string]*records // as they are now, of those names that were looked at
}

type record struct {
	owner []byte // as spelled
	t     wire.Type
	ttl   uint32
	data  []byte
}

// records are those of one name.
type records struct {
	before, now []record
}

// NewUpdater returns an updater of z.
func NewUpdater(z *zone.Zone) *Updater {
	u := &Updater{zone: z, serial: z.Serial(), names: map[string]*records{}}
	u.soa.owner, u.soa.t = z.Apex(), wire.TypeSOA
	u.soa.ttl, u.soa.data = z.SOA()
	return u
}

// at returns the records of a name.
func (u *Updater) at(name []byte) *records {
	key := string(wire.Lower(nil, name))
	r := u.names[key]
	if r == nil {
		r = &records{}
		u.zone.EachAt([]byte(key), func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
			r.now = append(r.now, record{bytes.Clone(owner), t, ttl, bytes.Clone(data)})
			return true
		})
		u.names[key] = r
	}
	return r
}

func (r *records) set(t wire.Type) (list []record) {
	for _, x := range r.now {
		if x.t == t {
			list = append(list, x)
		}
	}
	return list
}

// same tells whether two records have the same data, names in it without regard to
// case where comparing DNSSEC records would (RFC 2136, section 1.1.1).
func same(t wire.Type, a, b []byte) bool {
	return bytes.Equal(a, b) || bytes.Equal(wire.AppendCanonical(nil, t, a), wire.AppendCanonical(nil, t, b))
}

// meta tells whether a type stands for no data (RFC 6895, section 3.1).
func meta(t wire.Type) bool { return t == wire.TypeOPT || t >= 128 && t <= 255 }

// Update carries out a message, all of it or nothing. may tells whether its sender may
// change the records of a type at a name in lower case; type ANY is all of them. next
// gives the serial that follows one. Without changes the difference is nil. If rcode is
// not NoError nothing was done, and why says the reason.
func (u *Updater) Update(m *wire.Message, may func(owner []byte, t wire.Type) bool, next func(serial uint32) uint32) (d *zone.Delta, rcode wire.Rcode, why string) {
	if m.Type != wire.TypeSOA {
		return nil, wire.FormErr, "the zone section does not ask for SOA" // RFC 2136, section 3.1.1
	}
	if rcode, why = u.prerequisites(m); rcode != wire.NoError {
		return nil, rcode, why
	}
	if rcode, why = u.prescan(m, may); rcode != wire.NoError {
		return nil, rcode, why
	}
	touched := map[string]*records{}
	soa := u.soa
	for i := range m.Records {
		if rr := &m.Records[i]; rr.Section == wire.Authority {
			r := u.at(rr.Owner)
			key := string(wire.Lower(nil, rr.Owner))
			if touched[key] == nil {
				touched[key] = r
				r.before = slices.Clone(r.now)
			}
			u.change(r, rr)
		}
	}
	return u.delta(touched, soa, next), wire.NoError, ""
}

func (u *Updater) inZone(name []byte) bool { return wire.Subdomain(name, u.zone.Apex()) }

// prerequisites checks the first section (RFC 2136, section 3.2).
func (u *Updater) prerequisites(m *wire.Message) (wire.Rcode, string) {
	var exact []*wire.Record
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
		set := here.set(rr.Type)
		switch rr.Class {
		case wire.ClassANY, wire.ClassNONE:
			if len(rr.Data) > 0 {
				return wire.FormErr, "a prerequisite that has no use for data has some"
			}
			wanted := rr.Class == wire.ClassANY
			switch {
			case rr.Type == wire.TypeANY && wanted && len(here.now) == 0:
				return wire.NXDomain, text + " does not exist"
			case rr.Type == wire.TypeANY && !wanted && len(here.now) > 0:
				return wire.YXDomain, text + " exists"
			case rr.Type == wire.TypeANY:
			case wanted && len(set) == 0:
				return wire.NXRRSet, text + " has no " + rr.Type.String()
			case !wanted && len(set) > 0:
				return wire.YXRRSet, text + " has " + rr.Type.String()
			}
		case wire.ClassIN:
			if meta(rr.Type) {
				return wire.FormErr, "a prerequisite has a type without data"
			}
			exact = append(exact, rr)
		default:
			return wire.FormErr, "a prerequisite has another class"
		}
	}
	for _, rr := range exact {
		// The set has to be that of the prerequisites, no more and no less (RFC 2136,
		// section 3.2.3).
		set := u.at(rr.Owner).set(rr.Type)
		wanted := 0
		for i, other := range exact {
			if other.Type != rr.Type || !wire.EqualFold(other.Owner, rr.Owner) {
				continue
			}
			first := !slices.ContainsFunc(exact[:i], func(x *wire.Record) bool {
				return x.Type == other.Type && wire.EqualFold(x.Owner, other.Owner) && same(x.Type, x.Data, other.Data)
			})
			if first {
				wanted++
			}
			if !slices.ContainsFunc(set, func(x record) bool { return same(x.t, x.data, other.Data) }) {
				return wire.NXRRSet, string(wire.AppendName(nil, rr.Owner)) + " has other records of " + rr.Type.String()
			}
		}
		if wanted != len(set) {
			return wire.NXRRSet, string(wire.AppendName(nil, rr.Owner)) + " has other records of " + rr.Type.String()
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
			bad = meta(rr.Type)
		case wire.ClassANY:
			bad = rr.TTL != 0 || len(rr.Data) > 0 || meta(rr.Type) && rr.Type != wire.TypeANY
		case wire.ClassNONE:
			bad = rr.TTL != 0 || meta(rr.Type) || len(rr.Data) == 0
		default:
			bad = true
		}
		text := string(wire.AppendName(nil, rr.Owner))
		switch {
		case !u.inZone(rr.Owner):
			return wire.NotZone, text + " is not in the zone"
		case bad:
			return wire.FormErr, "the update of " + text + " is malformed"
		case !may(wire.Lower(nil, rr.Owner), rr.Type):
			return wire.Refused, "the key may not change " + rr.Type.String() + " of " + text
		}
	}
	return wire.NoError, ""
}

// change carries out one update (RFC 2136, section 3.4.2).
func (u *Updater) change(r *records, rr *wire.Record) {
	apex := wire.EqualFold(rr.Owner, u.zone.Apex())
	switch rr.Class {
	case wire.ClassIN:
		u.add(r, rr, apex)
	case wire.ClassANY:
		r.now = slices.DeleteFunc(r.now, func(x record) bool {
			keep := apex && (x.t == wire.TypeSOA || x.t == wire.TypeNS)
			return !keep && (rr.Type == wire.TypeANY || x.t == rr.Type)
		})
	case wire.ClassNONE:
		if rr.Type == wire.TypeSOA || apex && rr.Type == wire.TypeNS && len(r.set(wire.TypeNS)) == 1 {
			return
		}
		r.now = slices.DeleteFunc(r.now, func(x record) bool { return x.t == rr.Type && same(x.t, x.data, rr.Data) })
	}
}

// add adds a record, unless it may not stand beside what is there: such are left out in
// silence (RFC 2136, section 3.4.2.2).
func (u *Updater) add(r *records, rr *wire.Record, apex bool) {
	alias := len(r.set(wire.TypeCNAME)) > 0
	switch {
	case rr.Type == wire.TypeCNAME && !alias && len(r.now) > 0, rr.Type != wire.TypeCNAME && alias:
		return
	case rr.Type == wire.TypeSOA && (!apex || !zone.Newer(zone.SerialOf(rr.Data), u.serial)):
		return
	}
	single := rr.Type == wire.TypeSOA || rr.Type == wire.TypeCNAME || rr.Type == wire.TypeDNAME
	owner := bytes.Clone(rr.Owner)
	if len(r.now) > 0 {
		owner = r.now[0].owner // a name is spelled as it was
	}
	r.now = slices.DeleteFunc(r.now, func(x record) bool {
		return x.t == rr.Type && (single || same(x.t, x.data, rr.Data))
	})
	for i := range r.now {
		if r.now[i].t == rr.Type {
			r.now[i].ttl = rr.TTL // one TTL for a set (RFC 2181, section 5.2)
		}
	}
	r.now = append(r.now, record{owner, rr.Type, rr.TTL, bytes.Clone(rr.Data)})
}

// delta makes the difference of the names that were touched, with the serial that it
// leads to, and makes it the state that the next update sees.
func (u *Updater) delta(touched map[string]*records, soa record, next func(uint32) uint32) *zone.Delta {
	d := &zone.Delta{From: u.serial}
	missing := func(list []record, x *record) bool {
		return !slices.ContainsFunc(list, func(y record) bool {
			return y.t == x.t && y.ttl == x.ttl && bytes.Equal(y.data, x.data) && bytes.Equal(y.owner, x.owner)
		})
	}
	names := make([]string, 0, len(touched))
	for name := range touched {
		names = append(names, name)
	}
	slices.Sort(names)
	var removed, added []byte
	fresh := soa
	for _, name := range names {
		r := touched[name]
		for i := range r.before {
			if x := &r.before[i]; x.t != wire.TypeSOA && missing(r.now, x) {
				removed = zone.AppendRecord(removed, x.owner, x.t, x.ttl, x.data)
			}
		}
		for i := range r.now {
			x := &r.now[i]
			switch {
			case x.t == wire.TypeSOA:
				fresh = *x
			case missing(r.before, x):
				added = zone.AppendRecord(added, x.owner, x.t, x.ttl, x.data)
			}
		}
	}
	given := !bytes.Equal(fresh.data, soa.data) || fresh.ttl != soa.ttl
	if len(removed)+len(added) == 0 && !given {
		return nil
	}
	if !given {
		fresh.data = zone.WithSerial(soa.data, next(u.serial))
	}
	apex := u.at(u.zone.Apex())
	for i := range apex.now {
		if apex.now[i].t == wire.TypeSOA {
			apex.now[i] = fresh
		}
	}
	d.To = zone.SerialOf(fresh.data)
	d.Removed = append(zone.AppendRecord(nil, soa.owner, wire.TypeSOA, soa.ttl, soa.data), removed...)
	d.Added = append(zone.AppendRecord(nil, fresh.owner, wire.TypeSOA, fresh.ttl, fresh.data), added...)
	u.serial, u.soa = d.To, fresh
	return d
}
