package zone

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"

	"port53/internal/wire"
)

// maxProblems is how many errors, and how many warnings, are collected before a
// zone is given up or further warnings are only counted.
const maxProblems = 20

// A Problem is something wrong with a zone as a whole.
type Problem struct {
	Warning bool // the zone can be served all the same
	Pos     Pos  // the zero value if no record is to blame
	Text    string

	// Signature tells of a warning of a signature that is served otherwise than it was
	// written, or not at all: who verifies the zone as it was written refuses it.
	Signature bool

	// NameServer tells of a warning that clients may not find a server of the zone, or of a delegation in it.
	NameServer bool
}

func (b *Builder) problem(p Problem) {
	count := &b.errors
	if p.Warning {
		count = &b.warnings
	}
	if *count++; *count <= maxProblems {
		b.problems = append(b.problems, p)
	}
}

// warnSignature is warn for what is wrong with a signature.
func (b *Builder) warnSignature(pos Pos, format string, args ...any) {
	b.problem(Problem{Warning: true, Signature: true, Pos: pos, Text: fmt.Sprintf(format, args...)})
}

func (b *Builder) failed() bool { return b.errors > 0 }

// checkApex wants exactly one SOA and at least one NS (RFC 1034, section 4.2.1;
// RFC 2181, section 6.1).
func (c *compiler) checkApex() {
	soa, ns := 0, 0
	var first rawRecord
	for _, r := range c.apexTypes {
		switch r.t {
		case wire.TypeSOA:
			if soa == 0 {
				first = r
			} else if !c.equal(r.t, r.data, first.data) {
				c.b.fail(r.pos, "%s: second SOA record, different from the one in line %d: a zone has one", text(c.z.apexName),
					first.pos.Line)
			}
			soa++
		case wire.TypeNS:
			ns++
		}
	}
	if soa == 0 {
		c.b.fail(Pos{}, "zone %s has no SOA record at its apex", text(c.z.apexName))
	}
	if ns == 0 {
		c.b.fail(Pos{}, "zone %s has no NS record at its apex (RFC 1034, section 4.2.1)", text(c.z.apexName))
	}
}

// checkOwner checks which types stand side by side at c.owner.
func (c *compiler) checkOwner(id uint32) {
	o := c.b.owners.at(id)
	if o.flags&ownerNSEC3 != 0 {
		return
	}
	if c.repeats(c.owner) && c.base == nil && len(c.records) > 0 {
		c.b.warn(c.records[0].pos, "%s repeats the zone's name: is the trailing dot missing?", text(c.owner))
	}
	if id == 0 && c.base == nil {
		c.checkServer()
	}
	const interesting = flagCNAME | flagDNAME | flagCut | flagOccluded
	if o.flags&interesting == 0 {
		for i := range c.records {
			if c.records[i].t == wire.TypeSOA && id != 0 {
				c.b.fail(c.records[i].pos, "%s: SOA record below the apex %s: move that zone to its own file",
					text(c.owner), text(c.z.apexName))
			}
		}
		return
	}
	var cname, dname, ns, other *rawRecord
	for i := range c.records {
		r := &c.records[i]
		switch r.t {
		case wire.TypeCNAME:
			if cname != nil && !c.equal(r.t, cname.data, r.data) {
				c.b.fail(r.pos, "%s: second CNAME record: a name has at most one (RFC 2181, section 10.1)", text(c.owner))
			}
			cname = r
		case wire.TypeDNAME:
			if dname != nil && !c.equal(r.t, dname.data, r.data) {
				c.b.fail(r.pos, "%s: second DNAME record: a name has at most one (RFC 6672, section 2.4)", text(c.owner))
			}
			dname, other = r, r
		case wire.TypeNS:
			ns, other = r, r
		case wire.TypeRRSIG, wire.TypeNSEC, wire.TypeKEY:
			// May stand beside a CNAME (RFC 4034, section 3; RFC 4035, section 2.5).
		case wire.TypeSOA:
			if id != 0 {
				c.b.fail(r.pos, "%s: SOA record below the apex %s: move that zone to its own file",
					text(c.owner), text(c.z.apexName))
			}
			other = r
		default:
			other = r
		}
	}
	switch {
	case cname != nil && other != nil && id == 0:
		c.b.fail(
			cname.pos,
			"%s: CNAME at the apex, beside the zone's SOA and NS (RFC 1034, section 3.6.2): write the addresses of its "+
				"target, or an HTTPS record of priority 0 (RFC 9460, section 2.4.2)",
			text(c.owner),
		)
	case cname != nil && other != nil:
		c.b.fail(
			other.pos,
			"%s: CNAME and %s at the same name: a name with a CNAME must not have other data (RFC 1034, section 3.6.2): "+
				"remove one of them",
			text(c.owner), other.t,
		)
	case dname != nil && ns != nil && id != 0:
		c.b.fail(ns.pos, "%s: NS and DNAME at the same name: allowed only at the apex (RFC 6672, section 2.4)", text(c.owner))
	}
	if o.flags&flagOccluded != 0 && len(c.records) > 0 && c.b.hiddenBy(o) == flagDNAME {
		c.b.fail(c.records[0].pos, "%s: %s below a DNAME: it is never served (RFC 6672, section 2.4)",
			text(c.owner), c.records[0].t)
	}
}

// checkServer warns of the names in the apex's SOA record that seem to lack their last dot. The record
// is compiled twice, for answers and for negative ones, and looked at once.
func (c *compiler) checkServer() {
	for i := range c.records {
		if r := &c.records[i]; r.t == wire.TypeSOA {
			c.checkName(r.t, r, r.data)
			c.checkName(r.t, r, r.data[nameLen(r.data):]) // who is responsible is a name as well
			return
		}
	}
}

// repeats reports whether a name ends in the zone's name twice, as a name in full without its
// last dot does.
func (c *compiler) repeats(name []byte) bool {
	return len(c.twice) > 0 && len(name) >= len(c.twice) && wire.Subdomain(name, c.twice)
}

// checkDot warns of names in a record's data that seem to lack their last dot.
func (c *compiler) checkDot(t wire.Type, r *rawRecord) {
	switch t {
	case wire.TypeNS, wire.TypeCNAME, wire.TypeDNAME, wire.TypePTR:
		c.checkName(t, r, r.data)
	case wire.TypeMX, wire.TypeSVCB, wire.TypeHTTPS:
		c.checkName(t, r, r.data[2:])
	case wire.TypeSRV:
		c.checkName(t, r, r.data[6:])
	}
}

// Names above the zones of addresses.
var (
	inAddr = []byte("\x07in-addr\x04arpa\x00")
	ip6    = []byte("\x03ip6\x04arpa\x00")
)

// checkName warns of the name at the start of data if the zone's name stands in it twice, or an
// address in front of it, or if it is what an address of a reverse zone leads to, and the zone has
// no such name.
func (c *compiler) checkName(t wire.Type, r *rawRecord, data []byte) {
	name := data[:nameLen(data)]
	address, labels := addressOf(name)
	reverse := t == wire.TypePTR && (wire.Subdomain(c.z.apex, inAddr) || wire.Subdomain(c.z.apex, ip6))
	if labels == 0 && !c.repeats(name) && !reverse {
		return
	}
	c.b.split.Set(name)
	if !c.b.inZone() {
		return
	}
	i := c.b.split.Labels - c.b.labels
	h := c.b.base
	for k := i - 1; k >= 0; k-- {
		h = h.Label(c.b.split.From(c.b.split.Start(k)))
	}
	if _, there := c.b.search(h, c.b.split.Name()[:c.b.split.Start(i)]); there {
		return
	}
	switch {
	case labels > 0 && i == labels:
		c.b.warn(r.pos, "%s %s: %s is an address, but a name is required: write a name that has this address", text(c.owner), t, address)
	case c.repeats(name):
		c.b.warn(r.pos, "%s %s: %s repeats the zone's name and does not exist: is the trailing dot missing?", text(c.owner), t, text(name))
	case reverse:
		c.b.warn(r.pos, "%s %s: %s does not exist in the zone: is the trailing dot missing?", text(c.owner), t, text(name))
	}
}

// addressOf returns the address that the first labels of a name are, and how many these are: four
// of IPv4, one of IPv6, or none.
func addressOf(name []byte) (address string, labels int) {
	var b []byte
	for range 4 {
		n := int(name[0])
		if n == 0 || n > len("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff") {
			break
		}
		if len(b) > 0 {
			b = append(b, '.')
		}
		b = append(b, name[1:1+n]...)
		name = name[1+n:]
		if labels++; labels == 1 && bytes.IndexByte(b, ':') >= 0 {
			break
		}
	}
	a, err := netip.ParseAddr(string(b))
	if err != nil || a.Zone() != "" || labels != 1 && labels != 4 {
		return "", 0
	}
	return string(b), labels
}

// checkTarget warns of a target in the zone that cannot be reached by it. found is
// the target's owner number if ok.
func (c *compiler) checkTarget(id uint32, t wire.Type, r *rawRecord, found uint32, ok bool) {
	var flags uint16
	address, alias := false, false
	if ok {
		o := c.b.owners.at(found)
		flags = o.flags
		for ref := o.head; ref != 0; {
			h := c.b.raw(ref)
			switch wire.Type(load16(h[8:])) {
			case wire.TypeA, wire.TypeAAAA:
				address = true
			case wire.TypeCNAME:
				alias = true
			}
			ref = recordRef(binary.LittleEndian.Uint64(h))
		}
	}
	name := c.b.split.Name()
	switch {
	case address:
	case alias:
		c.b.warn(r.pos, "%s %s: target %s is a CNAME: it must have address records (RFC 2181, section 10.3)", text(c.owner), t, text(name))
	case t != wire.TypeNS || id != 0 && !wire.Subdomain(name, c.owner):
		// Only name servers depend on addresses in this zone, and those of other
		// delegations are theirs to warn of.
	case flags&(flagCut|flagOccluded) != 0 || !ok && id != 0:
		c.lost(r.pos, "%s NS: %s has no glue: add its address (RFC 1034, section 4.2.1)", text(c.owner), text(name))
	case c.b.owners.at(0).flags&flagWildcardChild == 0:
		c.lost(r.pos, "%s NS: %s has no address in this zone", text(c.owner), text(name))
	}
}

// lost warns of a name server that clients may not find.
func (c *compiler) lost(pos Pos, format string, args ...any) {
	c.b.problem(Problem{Warning: true, NameServer: true, Pos: pos, Text: fmt.Sprintf(format, args...)})
}

// String returns the problem in words, without its position.
func (p Problem) String() string {
	if p.Warning {
		return fmt.Sprintf("warning: %s", p.Text)
	}
	return p.Text
}
