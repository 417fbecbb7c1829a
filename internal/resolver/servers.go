package resolver

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"port53/internal/cache"
	"port53/internal/wire"
)

// Servers take what a [NSFinder] finds. They keep no slice that they are given.
type Servers interface {
	AddServer(name []byte)   // in lower case
	AddHost(addr netip.Addr) // of the server before

	// Unknown tells that the cache does not know the servers of a zone at this place, or with addresses those
	// of the server before; or, if it is stale, that what was told has expired.
	Unknown(addresses, stale bool)
}

// A NSFinder looks up in a cache the name servers of the zones that a name is in. It is memory that is used
// again; the zero value is ready.
type NSFinder struct {
	config    *Config
	from      *cache.Cache
	name      []byte
	typ       wire.Type
	now       int64
	addresses bool
	into      Servers // nil: only what is not known is looked for

	apex    int  // octets of the name of the zone that the name at hand is known to be in; 0: it is not known
	lacks   bool // something is not known, or stale
	pending bool // it is not looked up yet
	tried   bool // whether that was asked for lately

	asked []question // what was asked for
	gap   question   // the first thing that is not known, and was not asked for

	entries [2]cache.Entry
	lower   [wire.MaxName]byte
}

// Find tells into of the servers of the zones that name is in, the closest zone first, and if addresses is
// set of their addresses. Servers of the root and of top-level domains are not among them, nor are those of
// zones that are local. typ is what a client has asked of the name, and now the cache's time.
//
// A zone's servers are those that its parent named, and those that it names itself where that is known. A
// parent may name more than are kept of it: then those that the zone names have to be known as well. Which
// names are zones is told by these, by the SOA records of negative answers, and by who made signatures that
// are good. What has expired is told of as well, for as long as the cache has it. What was asked for lately in
// vain is taken for known.
func (v *NSFinder) Find(c *Config, from *cache.Cache, name []byte, typ wire.Type, now int64, addresses bool, into Servers) {
	v.config, v.from, v.name, v.typ, v.now, v.addresses, v.into = c, from, name, typ, now, addresses, into
	v.pending, v.tried, v.asked = true, false, nil
	v.walk()
	v.into, v.name = nil, nil
}

// walk goes from the name up to below the top-level domain.
func (v *NSFinder) walk() {
	v.apex, v.lacks, v.gap = 0, false, question{}
	for n := v.name; len(n) > 1 && len(wire.Parent(n)) > 1; n = wire.Parent(n) {
		if v.apex != 0 && len(n) > v.apex {
			continue // it is no zone
		}
		v.apex = 0
		_, partition := v.config.place(n, wire.TypeNS)
		if partition.Route() == routeLocal {
			return
		}
		known, stale := v.zone(partition, n)
		switch {
		case stale:
			v.lack(n, wire.TypeNS, true)
		case !known && !v.within(partition, n):
			v.lack(n, wire.TypeNS, false)
		}
	}
}

// zone tells of the servers of a zone, if it is known that the name is one. A name that is known to be none
// is known as well.
func (v *NSFinder) zone(partition cache.Partition, n []byte) (known, stale bool) {
	e, fresh := &v.entries[0], false
	if v.from.Delegation(partition, n, v.now, e) {
		// Of more servers than are kept, the others are known from the zone itself.
		known, fresh = len(e.Data) < v.config.Limits.NameServers, !e.Stale
		for _, d := range e.Data {
			if size, err := wire.CheckName(d); err == nil {
				v.server(d[:size], d[size:])
			}
		}
	}
	if v.from.RRset(partition, n, wire.TypeNS, v.now, e) {
		known, fresh = true, fresh || !e.Stale
		if e.Negative {
			v.denied(e)
		} else {
			for _, d := range e.Data {
				v.server(wire.Lower(v.lower[:0], d), nil)
			}
		}
	}
	return known, known && !fresh
}

// within reports whether a name whose servers are not known is known to be no zone.
func (v *NSFinder) within(partition cache.Partition, n []byte) bool {
	e := &v.entries[0]
	for _, t := range [...]wire.Type{v.typ, wire.TypeCNAME, wire.TypeA} {
		if t == v.typ && len(n) != len(v.name) || !v.from.RRset(partition, n, t, v.now, e) {
			continue
		}
		switch {
		case e.Negative && v.denied(e), !e.Negative && v.signed(n, e):
			return v.apex < len(n)
		case t == wire.TypeCNAME && !e.Negative:
			return true
		}
	}
	if v.from.Denial(partition, n, v.now, e) {
		v.denied(e)
		return true
	}
	return false
}

// denied takes the zone of a name from the SOA record of a negative answer. It reports whether there is one.
func (v *NSFinder) denied(e *cache.Entry) bool {
	soa := soaOwner(e.Proof)
	v.apex = len(soa)
	return soa != nil
}

// signed takes the zone of a name from who signed records of it, if these were validated.
func (v *NSFinder) signed(n []byte, e *cache.Entry) bool {
	if e.Security != secSecure || len(e.Sigs) == 0 || len(e.Sigs[0]) < signerAt {
		return false
	}
	signer := e.Sigs[0][signerAt:]
	size, err := wire.CheckName(signer)
	if err != nil || !wire.Subdomain(n, signer[:size]) {
		return false
	}
	v.apex = size
	return true
}

// signerAt is where in a signature the name of the zone stands that made it (RFC 4034, section 3.1).
const signerAt = 18

// server tells of a server, with the addresses that a delegation has for it.
func (v *NSFinder) server(name, glue []byte) {
	if len(name) == 1 {
		return // there is none
	}
	if v.into != nil {
		v.into.AddServer(name)
	}
	if !v.addresses {
		return
	}
	var four, six bool
	for len(glue) > 0 {
		size := int(glue[0] &^ spareAddr)
		if size+1 > len(glue) {
			break
		}
		if a, ok := netip.AddrFromSlice(glue[1 : 1+size]); ok {
			four, six = four || a.Is4(), six || a.Is6()
			v.host(a)
		}
		glue = glue[1+size:]
	}
	if v.config.IPv4 {
		v.hosts(name, wire.TypeA, four)
	}
	if v.config.IPv6 {
		v.hosts(name, wire.TypeAAAA, six)
	}
}

// hosts tells of the addresses of a server that are of one type. has says that a delegation has some.
func (v *NSFinder) hosts(name []byte, t wire.Type, has bool) {
	e := &v.entries[1]
	_, partition := v.config.place(name, t)
	if v.from.RRset(partition, name, t, v.now, e) {
		for _, d := range e.Data {
			if a, ok := netip.AddrFromSlice(d); ok {
				v.host(a)
			}
		}
		if e.Stale && !has {
			v.lack(name, t, true)
		}
		return
	}
	// The name of a server must be no alias (RFC 2181, section 10.3), and one that is has no address.
	if !has && !v.from.Denial(partition, name, v.now, e) && !v.from.RRset(partition, name, wire.TypeCNAME, v.now, e) {
		v.lack(name, t, false)
	}
}

func (v *NSFinder) host(a netip.Addr) {
	if v.into != nil {
		v.into.AddHost(a)
	}
}

// lack tells of what is not known, or stale.
func (v *NSFinder) lack(name []byte, typ wire.Type, stale bool) {
	v.lacks = true
	if v.into == nil {
		if v.gap.name == "" && !slices.ContainsFunc(v.asked, func(q question) bool { return q.typ == typ && q.name == string(name) }) {
			v.gap = question{string(name), typ}
		}
		return
	}
	if v.pending {
		v.pending = false
		_, v.tried = v.from.Failure(v.config.triedKey(v.name, v.addresses), v.now)
	}
	if !v.tried {
		v.into.Unknown(typ != wire.TypeNS, stale)
	}
}

// triedKey is what stands in the cache for that not all servers of the zones that a name is in were found.
// Nobody can ask for its type, which is of those that no records have (RFC 6895, section 3.1).
func (s *Config) triedKey(name []byte, addresses bool) cache.Key {
	typ := wire.Type(200)
	if addresses {
		typ++
	}
	return cache.MakeKey(name, typ, 0, s.part(routeIteration))
}

// soaOwner returns the owner of the SOA record among the RRsets that encodeSets wrote, or nil.
func soaOwner(b []byte) []byte {
	for len(b) > 0 {
		n, err := wire.CheckName(b)
		if err != nil || len(b) < n+8 {
			return nil
		}
		if wire.Type(binary.BigEndian.Uint16(b[n:])) == wire.TypeSOA {
			return b[:n]
		}
		records := int(b[n+6]) + int(b[n+7])
		for b = b[n+8:]; records > 0; records-- {
			if len(b) < 2 || len(b) < 2+int(binary.BigEndian.Uint16(b)) {
				return nil
			}
			b = b[2+int(binary.BigEndian.Uint16(b)):]
		}
	}
	return nil
}
