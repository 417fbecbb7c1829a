// Package hosts has the names of machines that an operator writes down beside the zones: single
// names and subtrees of the configuration, files such as /etc/hosts, and the leases of a DHCP
// server.
//
// A [Table] is immutable. It answers for a name as a whole: a name that is in it has the
// addresses that stand there and no other data, whatever others say of it. [Read] makes one of
// its [Sources], and [Sources.Changed] tells when that has to be done again.
//
// Package hosts knows nothing of zones and forwarders. Whose name it is where several have it is
// decided by package engine, by the octets that [Table.Find] returns: the longer owner wins.
package hosts

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"port53/internal/wire"
)

// TTL is the time to live of what a Table says, in seconds: leases and files change.
const TTL = 60

// A Host is what a Table has of a name. The zero Host has no data.
type Host struct {
	a, aaaa []byte // addresses, 4 and 16 octets each
	ptr     []byte // the name of an address; nil: none
}

// A Table is the names of one reading. Its methods take nil for an empty one.
type Table struct {
	names  map[string]*Host // by names in lower case, in wire form
	stars  map[string]*Host // by the name above the star
	inner  map[string]bool  // names below the domain that have names below them
	domain []byte           // names below it that are not here do not exist; nil: none
	bare   bool             // single labels that are not here do not exist
	size   int
}

// Len returns the number of names and subtrees.
func (t *Table) Len() int {
	if t == nil {
		return 0
	}
	return t.size
}

// A Match is whose data a name has.
type Match struct {
	Host     *Host // nil: the name does not exist
	Owner    int   // the octets of the owner's name, at the end of the name that was looked for
	Exact    bool  // the name itself is in the table
	Wildcard bool  // the owner is below a star, whose names end with these octets

	Denied bool // the owner itself does not exist
}

// Find looks for name: the name itself, else the closest subtree that it is in, else the domain.
// It allocates nothing.
func (t *Table) Find(name *wire.SplitName) (m Match, ok bool) {
	if t == nil {
		return m, false
	}
	whole := name.Name()
	if h := t.names[string(whole)]; h != nil {
		return Match{Host: h, Owner: len(whole), Exact: true}, true
	}
	if len(t.stars) > 0 {
		for i := 1; i <= name.Labels; i++ {
			at := whole[name.Start(i):]
			if h := t.stars[string(at)]; h != nil {
				return Match{Host: h, Owner: len(at), Wildcard: true}, true
			}
		}
	}
	if t.domain != nil && wire.Subdomain(whole, t.domain) {
		m.Owner = len(t.domain)
		if t.inner[string(whole)] {
			m.Host = nothing
		}
		return m, true
	}
	return m, false
}

// Bare reports whether name is a single label, which is nobody else's if there is a domain.
func (t *Table) Bare(name *wire.SplitName) bool {
	return t != nil && t.bare && name.Labels == 1
}

// OnlyIPv4 reports whether h has addresses of IPv4 and none of IPv6.
func (h *Host) OnlyIPv4() bool { return h != nil && len(h.a) > 0 && len(h.aaaa) == 0 }

// nothing is a name that exists and has no data.
var nothing = &Host{}

// Append appends the records of type typ that h has to a reply whose question is for their owner,
// and the SOA record of a denial if there are none. apex is the offset of the name that the
// denial is of. It reports false if the reply has no room.
func (h *Host) Append(b *wire.Builder, typ wire.Type, apex int) bool {
	n := 0
	if h != nil {
		for _, s := range [...]struct {
			t    wire.Type
			data []byte
			size int
		}{{wire.TypeA, h.a, 4}, {wire.TypeAAAA, h.aaaa, 16}, {wire.TypePTR, h.ptr, len(h.ptr)}} {
			if typ != s.t && typ != wire.TypeANY || len(s.data) == 0 {
				continue
			}
			for i := 0; i < len(s.data); i += s.size {
				if !appendRecord(b, wire.Answer, 0, s.t, s.data[i:i+s.size]) {
					return false
				}
				n++
			}
		}
	}
	return n > 0 || appendRecord(b, wire.Authority, apex, wire.TypeSOA, soaData)
}

// appendRecord appends a record whose owner is the question's name from an offset on.
func appendRecord(b *wire.Builder, s wire.Section, from int, t wire.Type, data []byte) bool {
	rr := b.Grow(s, 12+len(data), 1)
	if rr == nil {
		return false
	}
	binary.BigEndian.PutUint16(rr, 0xC000|uint16(wire.HeaderLen+from))
	binary.BigEndian.PutUint16(rr[2:], uint16(t))
	binary.BigEndian.PutUint16(rr[4:], uint16(wire.ClassIN))
	binary.BigEndian.PutUint32(rr[6:], TTL)
	binary.BigEndian.PutUint16(rr[10:], uint16(len(data)))
	copy(rr[12:], data)
	return true
}

// soaData is of the SOA record in denials: whoever asked may keep them for TTL (RFC 2308,
// section 5).
var soaData = []byte("\x09localhost\x00\x06nobody\x07invalid\x00" +
	"\x00\x00\x00\x01\x00\x00\x0e\x10\x00\x00\x04\xb0\x00\x09\x3a\x80\x00\x00\x00\x3c")

// A builder makes a Table of names in the order of their rank: what comes first stays.
type builder struct {
	t      *Table
	origin map[string]int // the source that has a name
	left   int            // names that may be added
}

func newBuilder(s *Sources) *builder {
	b := &builder{t: &Table{names: map[string]*Host{}, stars: map[string]*Host{}}, origin: map[string]int{}, left: MaxNames}
	if b.t.bare = len(s.Domain) > 1; b.t.bare && s.Authoritative {
		b.t.domain, b.t.inner = wire.Lower(nil, s.Domain), map[string]bool{}
	}
	return b
}

// above notes that the names above one exist, down from the domain.
func (b *builder) above(name []byte) {
	if b.t.domain == nil || !wire.Subdomain(name, b.t.domain) {
		return
	}
	for len(name) > len(b.t.domain) {
		b.t.inner[string(name)] = true
		name = wire.Parent(name)
	}
}

// add adds an address to a name of a source, unless an earlier source has the name. It reports
// false if there is no room.
func (b *builder) add(source int, name []byte, addr netip.Addr) bool {
	key := string(wire.Lower(nil, name))
	if of, had := b.origin[key]; had && of != source {
		return true
	}
	h := b.t.names[key]
	if h == nil {
		if b.left == 0 {
			return false
		}
		b.left--
		h = &Host{}
		b.t.names[key], b.origin[key] = h, source
		b.t.size++
		b.above([]byte(key))
	}
	h.addAddr(addr)
	return true
}

// addReverse adds the name of an address, unless it has one.
func (b *builder) addReverse(source int, addr netip.Addr, name []byte) {
	if addr = addr.Unmap(); addr.IsUnspecified() || addr.IsLoopback() {
		return
	}
	key := string(wire.ReverseName(addr))
	if _, had := b.origin[key]; had {
		return
	}
	b.t.names[key], b.origin[key] = &Host{ptr: slices.Clone(name)}, source
}

func (b *builder) addStar(above []byte, addrs []netip.Addr) {
	h := &Host{}
	for _, a := range addrs {
		h.addAddr(a)
	}
	above = wire.Lower(nil, above)
	b.t.stars[string(above)] = h
	b.above(above)
	b.t.size++
}

// maxAddrs is the most addresses of one name and family.
const maxAddrs = 32

func (h *Host) addAddr(addr netip.Addr) {
	addr = addr.Unmap()
	list, size := &h.a, 4
	if addr.Is6() {
		list, size = &h.aaaa, 16
	}
	data := addr.AsSlice()
	for i := 0; i < len(*list); i += size {
		if string((*list)[i:i+size]) == string(data) {
			return
		}
	}
	if len(*list) < maxAddrs*size {
		*list = append(*list, data...)
	}
}
