package zone

import (
	"bytes"
	"encoding/binary"
	"math"

	"port53/internal/wire"
)

// A compiler turns the owners and records of a builder into nodes.
//
// In one piece: it is scratch space that one pass over the owners shares.
type compiler struct {
	b     *Builder
	z     *Zone
	base  *Zone  // of a version that is patched, the one before
	twice []byte // the zone's name below itself; nil: there is no such name
	nodes []Node // by owner number

	missing map[uint64]struct{} // hashes of targets in the zone that are not there

	// Scratch, kept from node to node.
	records []rawRecord
	sets    []setDraft
	block   []byte   // the blocks of the node's sets, one behind the other
	fix     []uint32 // offsets within each block
	targets []target
	glue    []byte // the glue areas of the node's sets
	owner   []byte // the present owner's absolute name, in lower case
	names   []wire.NameAt
	split   wire.SplitName
	dict    dictionary
	seen    map[string]struct{}
	form    []byte // canonical forms that are compared

	// Where in the zone's data a target's owner number waits to become a node.
	pending []int

	withNSEC, withNSEC3 []Node
	signed              bool // some set is
	shared              int  // octets of glue that is not in-domain, copied so far
	apexTypes           []rawRecord
}

// A setDraft is an RRset on its way into a node.
type setDraft struct {
	t              wire.Type
	records, sigs  int
	from           int // in compiler.block
	length, sigLen int
	fixFrom, fix   int // in compiler.fix, those of signatures too
	targetsFrom    int // in compiler.targets
	targets        int
	glueFrom, glue int // in compiler.glue
}

type target struct {
	offset uint32
	owner  uint32 // its number
	node   Node   // instead, of a name of the version that is patched
}

// compile makes the node of owner id.
func (c *compiler) compile(id uint32) {
	o := c.b.owners.at(id)
	c.records = c.b.recordsOf(o, c.records[:0])
	rel := c.b.rel(o)
	c.owner = append(append(c.owner[:0], rel...), c.z.apex...)
	sortSets(c.records)
	if id == 0 {
		for _, r := range c.records {
			r.data = bytes.Clone(r.data) // outlives the chunks
			c.apexTypes = append(c.apexTypes, r)
		}
	}
	c.checkOwner(id)

	c.clear()
	for i := 0; i < len(c.records); {
		j := i + 1
		for j < len(c.records) && setOrder(c.records[j])>>1 == setOrder(c.records[i])>>1 {
			j++
		}
		c.draft(id, c.records[i:j])
		i = j
	}
	c.emit(id)
}

// within makes a short node of a name that stands within the name of another: of one that
// exists since there are names below it, of which deep names have very many. It reports
// false, and does nothing, if the name is not such a one.
func (c *compiler) within(o *owner, id uint32) bool {
	if o.below == 0 || len(c.sets) > 0 || o.flags&flagMixedCase != 0 || o.length <= refLen {
		return false
	}
	holder := c.nodes[o.below-1]
	if holder == 0 || o.below-1 >= id {
		return false
	}
	if c.z.flags(holder)&flagWithin != 0 {
		holder = Node(load32(c.z.at(holder)[nodeHeader:]))
	}
	at := len(c.z.data)
	data := binary.LittleEndian.AppendUint16(c.z.data, o.flags|flagWithin)
	data = append(data, 0, 0, 0, 0, 0, 0, o.length, o.labels)
	data = binary.LittleEndian.AppendUint32(data, uint32(holder))
	for len(data)%nodeAlign != 0 {
		data = append(data, 0)
	}
	binary.LittleEndian.PutUint32(data[at+4:], uint32(len(data)-at))
	c.z.data = data
	return true
}

// refLen is the octets of a node's number.
const refLen = 4

func (c *compiler) clear() {
	c.sets, c.block, c.fix, c.targets, c.glue = c.sets[:0], c.block[:0], c.fix[:0], c.targets[:0], c.glue[:0]
}

// draft compiles the records and signatures of one type.
func (c *compiler) draft(id uint32, group []rawRecord) {
	n := 0
	for n < len(group) && group[n].t != wire.TypeRRSIG {
		n++
	}
	if n == 0 {
		c.b.altered = true
		c.b.warnSignature(group[0].pos, nothingSigned, text(c.owner), wire.Type(binary.BigEndian.Uint16(group[0].data)))
		return
	}
	t := group[0].t
	d := setDraft{t: t, from: len(c.block), fixFrom: len(c.fix), targetsFrom: len(c.targets)}
	c.dict.reset()
	ttl := group[0].ttl
	c.startDistinct(n)
	for i := range n {
		r := &group[i]
		if !c.distinct(t, group[:i], r) {
			c.b.altered = true
			continue
		}
		if r.ttl != ttl {
			c.b.altered = true
			c.b.warn(r.pos, "%s %s: TTL %d differs from the first record's, %d, which is used for the whole RRset (RFC 2181, section 5.2)",
				text(c.owner), t, r.ttl, ttl)
		}
		c.record(id, &d, t, ttl, r)
		d.records++
	}
	d.length = len(c.block) - d.from
	c.startDistinct(len(group) - n)
	for i := n; i < len(group); i++ {
		r := &group[i]
		if !c.distinct(wire.TypeRRSIG, group[n:i], r) {
			c.b.altered = true
			continue
		}
		if r.ttl != ttl {
			c.b.altered = true
			c.b.warnSignature(
				r.pos,
				"%s: TTL %d of the RRSIG over %s differs from the RRset's, %d, which is used for both (RFC 4034, section 3)",
				text(c.owner),
				r.ttl,
				t,
				ttl,
			)
		}
		c.fix = append(c.fix, uint32(len(c.block)-d.from))
		c.block = appendHeader(c.block, wire.TypeRRSIG, ttl, len(r.data))
		c.block = append(c.block, r.data...)
		d.sigs++
		c.signed = true
	}
	d.sigLen = len(c.block) - d.from - d.length
	d.fix = len(c.fix) - d.fixFrom
	d.glueFrom = len(c.glue)
	if t == wire.TypeNS && id != 0 && d.records <= maxGlued {
		c.copyGlue(&d)
	}
	d.glue = len(c.glue) - d.glueFrom
	d.targets = len(c.targets) - d.targetsFrom
	if d.records > maxRecordsOfSet || d.sigs > maxRecordsOfSet {
		c.b.fail(group[0].pos, "%s %s: more than %d records in one set", text(c.owner), t, maxRecordsOfSet)
		return
	}
	c.sets = append(c.sets, d)
}

func appendHeader(b []byte, t wire.Type, ttl uint32, n int) []byte {
	b = append(b, 0xC0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(t))
	b = binary.BigEndian.AppendUint16(b, uint16(wire.ClassIN))
	b = binary.BigEndian.AppendUint32(b, ttl)
	return binary.BigEndian.AppendUint16(b, uint16(n))
}

// fewRecords is up to how many a set is searched for duplicates without a map.
const fewRecords = 16

func (c *compiler) startDistinct(n int) {
	c.seen = nil
	if n > fewRecords {
		c.seen = make(map[string]struct{}, n)
	}
}

// distinct reports whether r is none of the records of type t before it: duplicates are
// suppressed (RFC 2181, section 5). Names in data are equal without regard to case
// (RFC 4343, section 3; RFC 4034, section 6.2).
func (c *compiler) distinct(t wire.Type, before []rawRecord, r *rawRecord) bool {
	if c.seen != nil {
		c.form = wire.AppendCanonical(c.form[:0], t, r.data)
		if _, ok := c.seen[string(c.form)]; ok {
			return false
		}
		c.seen[string(c.form)] = struct{}{}
		return true
	}
	for i := range before {
		if c.equal(t, before[i].data, r.data) {
			return false
		}
	}
	return true
}

// equal reports whether a and b are data of the same record of type t.
func (c *compiler) equal(t wire.Type, a, b []byte) bool {
	if len(a) != len(b) || bytes.Equal(a, b) {
		return len(a) == len(b)
	}
	c.form = wire.AppendCanonical(c.form[:0], t, a)
	n := len(c.form)
	c.form = wire.AppendCanonical(c.form, t, b)
	return bytes.Equal(c.form[:n], c.form[n:])
}

// record appends one record to the block, its names compressed, its targets noted.
func (c *compiler) record(id uint32, d *setDraft, t wire.Type, ttl uint32, r *rawRecord) {
	base := d.from
	c.fix = append(c.fix, uint32(len(c.block)-base))
	c.block = appendHeader(c.block, t, ttl, len(r.data))
	start := len(c.block)
	c.names = wire.NamesIn(t, r.data, c.names[:0])
	from := 0
	for _, n := range c.names {
		if !n.Compress {
			continue
		}
		off, end := int(n.Off), int(n.Off)+int(n.Len)
		c.block = append(c.block, r.data[from:off]...)
		from = end
		c.compress(base, r.data[off:end])
	}
	c.block = append(c.block, r.data[from:]...)
	binary.BigEndian.PutUint16(c.block[start-2:], uint16(len(c.block)-start))
	c.target(id, t, r, uint32(start-base))
	if c.base == nil {
		c.checkDot(t, r)
	}
}

// compress appends name to the block, with a pointer for as much of its end as
// stands in the owner's name or in the block already (RFC 1035, section 4.1.4).
func (c *compiler) compress(base int, name []byte) {
	if !c.dict.started {
		c.dict.start(c.owner, c.b.base)
	}
	c.split.Set(name)
	s := &c.split
	var hashes [wire.MaxLabels + 1]wire.Seed
	h := c.b.base
	for k := s.Labels - 1; k >= 0; k-- {
		h = h.Label(s.From(s.Start(k)))
		hashes[k] = h
	}
	for k := range s.Labels {
		at := s.Start(k)
		if v, ok := c.dict.find(hashes[k], s.Name()[at:], c.owner, c.block[base:]); ok {
			c.fix = append(c.fix, uint32(len(c.block)-base))
			c.block = binary.BigEndian.AppendUint16(c.block, 0xC000|v)
			return
		}
		c.dict.add(hashes[k], len(c.block)-base+blockBase)
		c.block = append(c.block, name[at:at+int(name[at])+1]...)
	}
	c.block = append(c.block, 0)
}

// A dictionary knows which names a block may point at. Most sets have a handful,
// so that the table is only searched through a small index.
type dictionary struct {
	started bool
	entries []dictEntry
	table   map[wire.Seed]uint16 // where there are more than a few
}

type dictEntry struct {
	hash wire.Seed
	v    uint16 // as a pointer of the block
}

const fewNames = 24

func (d *dictionary) reset() {
	d.started, d.entries, d.table = false, d.entries[:0], nil
}

// start enters the owner's own name and those above it. A wildcard's first label
// is not in the messages that are made from it.
func (d *dictionary) start(owner []byte, seed wire.Seed) {
	d.started = true
	var s wire.SplitName
	s.Set(owner)
	h := seed
	for k := s.Labels - 1; k >= 0; k-- {
		at := s.Start(k)
		h = h.Label(s.From(at))
		if k == 0 && owner[0] == 1 && owner[1] == '*' {
			break
		}
		d.add(h, at)
	}
}

func (d *dictionary) add(h wire.Seed, v int) {
	if v > wire.MaxPointer {
		return
	}
	if d.table == nil && len(d.entries) == fewNames {
		d.table = make(map[wire.Seed]uint16, 4*fewNames)
		for _, e := range d.entries {
			d.table[e.hash] = e.v
		}
	}
	if d.table != nil {
		d.table[h] = uint16(v)
		return
	}
	d.entries = append(d.entries, dictEntry{h, uint16(v)})
}

func (d *dictionary) find(h wire.Seed, name, owner, block []byte) (uint16, bool) {
	if d.table != nil {
		v, ok := d.table[h]
		return v, ok && stands(int(v), name, owner, block)
	}
	for _, e := range d.entries {
		if e.hash == h && stands(int(e.v), name, owner, block) {
			return e.v, true
		}
	}
	return 0, false
}

// stands reports whether name is what the pointer v of a block means.
func stands(v int, name, owner, block []byte) bool {
	for {
		b := owner[min(v, len(owner)):]
		if v >= blockBase {
			b = block[v-blockBase:]
		}
		l := int(b[0])
		if l >= 0xC0 {
			v = pointerAt(b)
			continue
		}
		if int(name[0]) != l || !wire.EqualFold(name[1:l+1], b[1:l+1]) {
			return false
		}
		if l == 0 {
			return true
		}
		name = name[l+1:]
		v += l + 1
	}
}

// target notes the name in r whose addresses go into the additional section:
// that of NS, MX, SRV (RFC 1035, section 3.3; RFC 2782) and SVCB (RFC 9460,
// section 4.1). at is where the data begins in the block.
func (c *compiler) target(id uint32, t wire.Type, r *rawRecord, at uint32) {
	off := 0
	switch t {
	case wire.TypeNS:
	case wire.TypeMX:
		off = 2
	case wire.TypeSRV:
		off = 6
	case wire.TypeSVCB, wire.TypeHTTPS:
		off = 2
		if r.data[2] == 0 {
			// The owner itself in ServiceMode; nothing in AliasMode (RFC 9460, section 2.5).
			if binary.BigEndian.Uint16(r.data) != 0 {
				c.targets = append(c.targets, target{offset: targetSelf, owner: id})
			}
			return
		}
	default:
		return
	}
	name := r.data[off:]
	c.b.split.Set(name[:nameLen(name)])
	if !c.b.inZone() {
		return
	}
	i := c.b.split.Labels - c.b.labels
	rel := c.b.split.Name()[:c.b.split.Start(i)]
	offset := at + uint32(off)
	if wire.Subdomain(c.b.split.Name(), c.owner) {
		offset |= targetInDomain
	}
	found, ok := c.b.nearby(rel, id+1, id)
	if !ok {
		h := c.b.base
		for k := i - 1; k >= 0; k-- {
			h = h.Label(c.b.split.From(c.b.split.Start(k)))
		}
		if found, ok = c.b.search(h, rel); !ok && c.base != nil {
			if n := c.base.find(h, rel); n != 0 {
				c.targets = append(c.targets, target{offset: offset, node: n})
				return
			}
		}
		if !ok {
			c.miss(h)
		}
	}
	if c.base == nil {
		c.checkTarget(id, t, r, found, ok)
	}
	if ok {
		c.targets = append(c.targets, target{offset: offset, owner: found})
	}
}

// miss remembers a target that is not there.
func (c *compiler) miss(h wire.Seed) {
	missing := &c.missing
	if c.base != nil {
		missing = &c.base.line.missing
	}
	if *missing == nil {
		*missing = map[uint64]struct{}{}
	}
	if len(*missing) < maxMissing {
		(*missing)[uint64(h)] = struct{}{}
	}
}

func nameLen(name []byte) int {
	i := 0
	for name[i] != 0 {
		i += int(name[i]) + 1
	}
	return i + 1
}

// emit writes the node of owner id from the drafts.
//
// In one piece: it writes a node from its first octet to its last, and each step needs
// where the one before ended.
func (c *compiler) emit(id uint32) {
	o := c.b.owners.at(id)
	at := len(c.z.data)
	node := Node(at / nodeAlign)
	c.nodes[id] = node
	if c.within(o, id) {
		return
	}
	length := int(o.length)
	if o.flags&flagMixedCase != 0 {
		length *= 2
	}
	small := nodeHeader + length + setHeader*len(c.sets)
	big := small > math.MaxUint16 || len(c.block)+small+2*len(c.fix)+targetSize*len(c.targets)+len(c.glue) > math.MaxUint16
	for _, d := range c.sets {
		if d.records > math.MaxUint8 || d.fix > math.MaxUint8 || d.sigs > math.MaxUint8 || d.targets > math.MaxUint8 {
			big = true
		}
	}
	flags := o.flags &^ ownerNSEC3
	step, fixSize := setHeader, 2
	if big {
		flags |= flagBig
		step, fixSize = bigSetHeader, 4
	}
	data := c.z.data
	data = binary.LittleEndian.AppendUint16(data, flags)
	data = binary.LittleEndian.AppendUint16(data, uint16(len(c.sets)))
	data = append(data, 0, 0, 0, 0, o.length, o.labels)
	data = append(data, c.b.names.at(o.name, length)...)
	off := nodeHeader + length + step*len(c.sets)
	for _, d := range c.sets {
		fix := d.fix - d.sigs
		if big {
			data = binary.LittleEndian.AppendUint16(data, uint16(d.t))
			data = binary.LittleEndian.AppendUint16(data, uint16(d.records))
			data = binary.LittleEndian.AppendUint32(data, uint32(off))
			data = binary.LittleEndian.AppendUint32(data, uint32(d.length))
			data = binary.LittleEndian.AppendUint32(data, uint32(d.sigLen))
			data = binary.LittleEndian.AppendUint32(data, uint32(fix))
			data = binary.LittleEndian.AppendUint16(data, uint16(d.sigs))
			data = binary.LittleEndian.AppendUint16(data, uint16(d.targets))
		} else {
			data = binary.LittleEndian.AppendUint16(data, uint16(d.t))
			data = binary.LittleEndian.AppendUint16(data, uint16(off))
			data = binary.LittleEndian.AppendUint16(data, uint16(d.length))
			data = binary.LittleEndian.AppendUint16(data, uint16(d.sigLen))
			data = append(data, uint8(d.records), uint8(fix), uint8(d.sigs), uint8(d.targets))
		}
		off += d.length + d.sigLen + fixSize*d.fix + targetSize*d.targets + d.glue
	}
	for _, d := range c.sets {
		data = append(data, c.block[d.from:d.from+d.length+d.sigLen]...)
		for _, f := range c.fix[d.fixFrom : d.fixFrom+d.fix] {
			if big {
				data = binary.LittleEndian.AppendUint32(data, f)
			} else {
				data = binary.LittleEndian.AppendUint16(data, uint16(f))
			}
		}
		for _, t := range c.targets[d.targetsFrom : d.targetsFrom+d.targets] {
			data = binary.LittleEndian.AppendUint32(data, t.offset)
			if t.node != 0 {
				data = binary.LittleEndian.AppendUint32(data, uint32(t.node))
				continue
			}
			c.pending = append(c.pending, len(data))
			data = binary.LittleEndian.AppendUint32(data, t.owner)
		}
		data = append(data, c.glue[d.glueFrom:d.glueFrom+d.glue]...)
	}
	for len(data)%nodeAlign != 0 {
		data = append(data, 0)
	}
	binary.LittleEndian.PutUint32(data[at+4:], uint32(len(data)-at))
	c.z.data = data
	for _, d := range c.sets {
		switch {
		case d.t == wire.TypeNSEC && o.flags&flagOccluded == 0:
			c.withNSEC = append(c.withNSEC, node)
		case d.t == wire.TypeNSEC3:
			c.withNSEC3 = append(c.withNSEC3, node)
		}
	}
}

// resolve turns the owner numbers in targets into nodes.
func (c *compiler) resolve() {
	for _, at := range c.pending {
		id := binary.LittleEndian.Uint32(c.z.data[at:])
		binary.LittleEndian.PutUint32(c.z.data[at:], uint32(c.nodes[id]))
	}
	c.pending = nil
}

// denial makes the chain by which the zone proves what does not exist. Where nothing is
// signed, a proof that strayed here is a record like any other.
func (c *compiler) denial() {
	if !c.signed {
		return
	}
	if len(c.withNSEC3) > 0 {
		c.nsec3()
	}
	if !c.z.nsec3.any() && len(c.withNSEC) > 0 {
		c.z.sortNSEC(c.withNSEC)
	}
}

// nsec3 takes the NSEC3 records that agree with the first usable NSEC3PARAM of the
// apex (RFC 5155, section 7.1): those of another chain, half made or half removed,
// are not used.
func (c *compiler) nsec3() {
	for _, p := range c.apexTypes {
		// NSEC3PARAM and NSEC3 begin alike: algorithm, flags, iterations, salt.
		if p.t != wire.TypeNSEC3PARAM || p.data[0] != 1 || p.data[1] != 0 {
			continue
		}
		var nodes []Node
		for _, n := range c.withNSEC3 {
			set, _ := c.z.RRset(n, wire.TypeNSEC3)
			d := set.Data()
			if len(d) >= len(p.data) && d[0] == p.data[0] && bytes.Equal(d[2:len(p.data)], p.data[2:]) {
				nodes = append(nodes, n)
			}
		}
		if len(nodes) > 0 {
			c.z.nsec3.iterations = int(binary.BigEndian.Uint16(p.data[2:]))
			c.z.nsec3.salt = p.data[5:]
			c.z.sortNSEC3(nodes)
			return
		}
	}
}

// negative makes the node whose SOA negative answers carry, and reads the serial.
func (c *compiler) negative() {
	var group []rawRecord
	for _, r := range c.apexTypes {
		if setOrder(r)>>1 == uint32(wire.TypeSOA) {
			group = append(group, r)
		}
	}
	soa := group[0].data
	c.z.serial = binary.BigEndian.Uint32(soa[len(soa)-20:])
	c.z.negativeTTL = min(group[0].ttl, binary.BigEndian.Uint32(soa[len(soa)-4:]))
	for i := range group {
		group[i].ttl = c.z.negativeTTL
	}
	c.owner = append(c.owner[:0], c.z.apex...)
	c.clear()
	c.draft(0, group)
	apex := c.nodes[0]
	c.emit(0)
	c.z.negative, c.nodes[0] = c.nodes[0], apex
}
