package zone

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"
	"runtime"
	"slices"
	"unsafe"

	"port53/internal/hugepage"
	"port53/internal/wire"
)

// A Record is one record on its way into a zone. The builder keeps none of its
// slices.
type Record struct {
	Owner     []byte // in wire form, case as spelled
	SameOwner bool   // the owner is that of the record added before
	Type      wire.Type
	TTL       uint32
	Data      []byte // uncompressed, known to be well formed
	Pos       Pos
}

// A Pos is where a record came from, for messages about it: the caller knows
// which file has which number.
type Pos struct {
	File uint16
	Col  uint16
	Line uint32
}

// noOwner is no owner's number.
const noOwner = ^uint32(0)

// smallZone is up to how many octets a zone's data is moved when it is done, to give
// back what the estimate was too large. That of larger ones was never touched.
const smallZone = 1 << 20

// Limits of one zone.
const (
	maxRecordsOfSet = 65535 // what the count of a message section can say
)

// A Builder collects the records of one version of a zone. It is for one
// goroutine, and spent after Build.
//
// In one piece: it is what the records of one version are collected in, and has no part
// that anybody uses alone.
type Builder struct {
	apexName []byte
	apex     []byte
	labels   int
	base     wire.Seed

	// Owners, by their number; names lie in one buffer: relative to the apex, in
	// lower case, then as spelled where that differs.
	owners owners
	names  names
	table  []uint64 // hash table: half of the hash, and the owner's number plus one
	hidden map[string]uint32

	// Records lie in chunks, linked per owner.
	chunks  [][]byte
	records int
	signed  bool // one of them is a signature
	altered bool // one of them is not in the zone as it was given

	split      wire.SplitName
	lastValid  bool   // split is the owner of the record added last, and in the zone
	last       uint32 // its number, or noOwner if it has none yet
	lastHidden uint32 // its number among the owners of NSEC3, or noOwner
	estimate   int    // at most so many octets will the compiled nodes take
	problems   []Problem
	errors     int // of the problems
	warnings   int
	most       int // bytes of memory that building may take; 0: any
}

type owner struct {
	hash       wire.Seed
	name       uint32 // its place in names
	parent     uint32 // owner number of the name above, once there is one for each
	head, tail recordRef
	below      uint32 // number plus one of an owner whose name ends with this one; 0: it has a name of its own
	flags      uint16
	length     uint8 // of the name
	labels     uint8
}

// Owner flags of the builder, beside those of nodes.
const (
	ownerNSEC3 = 1 << 15 // only NSEC3 and its signatures, or nothing that counts: not a name of the zone's tree
)

// owners are the owners by number, in chunks, so that growing copies nothing. The
// first chunk grows by itself: most zones are small.
type owners struct {
	chunks [][]owner
	n      int
}

const ownersPerChunk = 1 << 14

func (t *owners) at(id uint32) *owner { return &t.chunks[id/ownersPerChunk][id%ownersPerChunk] }

func (t *owners) push(o owner) {
	last := t.n / ownersPerChunk
	if last == len(t.chunks) {
		size := ownersPerChunk
		if last == 0 {
			size = 8
		}
		t.chunks = append(t.chunks, make([]owner, 0, size))
	}
	t.chunks[last] = append(t.chunks[last], o)
	t.n++
}

// names are octets in chunks; a name with its spelling lies within one.
type names struct {
	chunks [][]byte
}

const nameChunk = 1 << 18

func (t *names) at(ref uint32, n int) []byte {
	at := ref % nameChunk
	return t.chunks[ref/nameChunk][at : int(at)+n : int(at)+n]
}

func (t *names) push(rel, spelled []byte) uint32 {
	last := len(t.chunks) - 1
	if last < 0 || len(t.chunks[last])+len(rel)+len(spelled) > nameChunk {
		size := nameChunk
		if last++; last == 0 {
			size = 256
		}
		t.chunks = append(t.chunks, make([]byte, 0, size))
	}
	at := len(t.chunks[last])
	t.chunks[last] = append(append(t.chunks[last], rel...), spelled...)
	return uint32(last*nameChunk + at)
}

// A recordRef is a record's place: chunk and offset, plus one; 0 is none.
type recordRef uint64

const chunkSize = 4 << 20

// Raw records:
//
//	next 8, type 2, length 2, ttl 4, line 4, column 2, file 2, data
const rawHeader = 24

// NewBuilder returns a builder for the zone named apex, a wire-form name. seed
// must be the seed of the [Set] that will publish it.
func NewBuilder(apex []byte, seed wire.Seed) *Builder {
	return newBuilder(apex, seed.Hash(wire.Lower(nil, apex)))
}

// newBuilder is NewBuilder with the hash of the apex.
func newBuilder(apex []byte, base wire.Seed) *Builder {
	b := &Builder{
		apexName: bytes.Clone(apex),
		apex:     wire.Lower(nil, apex),
		labels:   wire.LabelCount(apex),
		table:    make([]uint64, 64),
		hidden:   map[string]uint32{},
	}
	b.base = base
	apexOwner := owner{hash: b.base, name: b.names.push(nil, nil)}
	if b.labels == 0 {
		apexOwner.flags = flagRoot
	}
	b.owners.push(apexOwner)
	b.insert(0)
	return b
}

// Expect tells about how many names will come, so that less has to be moved while
// they do.
func (b *Builder) Expect(names int) {
	size := len(b.table)
	for size*3 < names*4 && size < 1<<28 {
		size *= 2
	}
	b.rehash(size)
}

func (b *Builder) rehash(size int) {
	b.table = make([]uint64, size)
	for i := range uint32(b.owners.n) {
		if b.owners.at(i).flags&ownerNSEC3 == 0 {
			b.insert(i)
		}
	}
}

// Limit bounds the bytes of memory that building may take: Build fails beyond it.
func (b *Builder) Limit(octets int) { b.most = octets }

// Size returns about how many bytes of memory the builder holds, and with them building
// would take that many more.
func (b *Builder) Size() (held, more int) {
	held = b.owners.n*int(unsafe.Sizeof(owner{})) + len(b.names.chunks)*nameChunk + len(b.table)*8
	for _, c := range b.chunks {
		held += cap(c)
	}
	const index = 12 // octets of a name in a zone's index, and 4 in the compiler's list of nodes
	return held, b.estimate + b.owners.n*(index+4)
}

// tooLarge reports whether building takes more memory than it may, and makes that a problem.
func (b *Builder) tooLarge() bool {
	held, more := b.Size()
	if b.most == 0 || held+more <= b.most {
		return false
	}
	b.fail(Pos{}, "building the zone takes more than %d bytes of memory", b.most)
	return true
}

// Add takes one record. A record outside the zone is left out and reported as a
// warning by Build.
func (b *Builder) Add(r *Record) {
	if !r.SameOwner || !b.lastValid {
		b.split.Set(r.Owner)
		b.last, b.lastHidden = noOwner, noOwner
		if b.lastValid = b.inZone(); !b.lastValid {
			b.altered = true
			b.warn(r.Pos, "owner %s is outside the zone %s: record left out", text(r.Owner), text(b.apexName))
			return
		}
	}
	b.signed = b.signed || r.Type == wire.TypeRRSIG
	// NSEC3 records do not make their owners exist (RFC 5155, section 7.2.8): they are
	// kept apart from the tree of names.
	if r.Type == wire.TypeNSEC3 || r.Type == wire.TypeRRSIG && wire.Type(binary.BigEndian.Uint16(r.Data)) == wire.TypeNSEC3 {
		if b.lastHidden == noOwner {
			b.lastHidden = b.hiddenOwner(r.Owner)
		}
		b.append(b.lastHidden, r)
		return
	}
	if b.last == noOwner {
		b.last = b.ownerOf(r.Owner)
	}
	b.append(b.last, r)
}

// inZone reports whether b.split is at or below the apex.
func (b *Builder) inZone() bool {
	i := b.split.Labels - b.labels
	return i >= 0 && bytes.Equal(b.split.Name()[b.split.Start(i):], b.apex)
}

// ownerOf returns the number of the owner b.split, spelled name. Names above it
// are made when the zone is compiled.
func (b *Builder) ownerOf(name []byte) uint32 {
	i := b.split.Labels - b.labels
	end := b.split.Start(i)
	h := b.base
	for k := i - 1; k >= 0; k-- {
		h = h.Label(b.split.From(b.split.Start(k)))
	}
	rel := b.split.Name()[:end]
	if id, ok := b.search(h, rel); ok {
		return id
	}
	return b.newOwner(h, rel, name[:end], i)
}

func (b *Builder) newOwner(h wire.Seed, rel, spelled []byte, labels int) uint32 {
	o := owner{hash: h, length: uint8(len(rel)), labels: uint8(labels)}
	if bytes.Equal(rel, spelled) {
		spelled = nil
	} else {
		o.flags |= flagMixedCase
	}
	o.name = b.names.push(rel, spelled)
	b.estimate += 2 * len(rel)
	return b.enter(o, rel)
}

// enter gives an owner a number.
func (b *Builder) enter(o owner, rel []byte) uint32 {
	if len(rel) > 1 && rel[0] == 1 && rel[1] == '*' {
		o.flags |= flagWildcard
	}
	id := uint32(b.owners.n)
	b.owners.push(o)
	b.estimate += nodeHeader + refLen + nodeAlign
	if b.owners.n*4 > len(b.table)*3 {
		b.rehash(2 * len(b.table))
	} else {
		b.insert(id)
	}
	return id
}

// hiddenOwner returns the number of the owner b.split, spelled name, among those
// that have NSEC3 records.
func (b *Builder) hiddenOwner(name []byte) uint32 {
	end := b.split.Start(b.split.Labels - b.labels)
	rel, spelled := b.split.Name()[:end], name[:end]
	if id, ok := b.hidden[string(rel)]; ok {
		return id
	}
	o := owner{length: uint8(len(rel)), labels: uint8(b.split.Labels - b.labels), flags: ownerNSEC3}
	if bytes.Equal(rel, spelled) {
		spelled = nil
	} else {
		o.flags |= flagMixedCase
	}
	o.name = b.names.push(rel, spelled)
	id := uint32(b.owners.n)
	b.owners.push(o)
	b.estimate += nodeHeader + 2*len(rel) + nodeAlign
	b.hidden[string(rel)] = id
	return id
}

func (b *Builder) rel(o *owner) []byte {
	return b.names.at(o.name, int(o.length))
}

func (b *Builder) search(h wire.Seed, rel []byte) (uint32, bool) {
	mask := uint64(len(b.table) - 1)
	tag := uint64(h) &^ 0xFFFFFFFF
	for slot := uint64(h) & mask; b.table[slot] != 0; slot = (slot + 1) & mask {
		if e := b.table[slot]; e&^0xFFFFFFFF == tag {
			id := uint32(e) - 1
			if bytes.Equal(b.rel(b.owners.at(id)), rel) {
				return id, true
			}
		}
	}
	return 0, false
}

func (b *Builder) insert(id uint32) {
	mask := uint64(len(b.table) - 1)
	h := uint64(b.owners.at(id).hash)
	slot := h & mask
	for b.table[slot] != 0 {
		slot = (slot + 1) & mask
	}
	b.table[slot] = h&^0xFFFFFFFF | uint64(id+1)
}

func (b *Builder) append(id uint32, r *Record) {
	n := rawHeader + len(r.Data)
	last := len(b.chunks) - 1
	if last < 0 || len(b.chunks[last])+n > cap(b.chunks[last]) {
		size := chunkSize
		if last < 0 {
			size = 4096 // most zones are small
		} else if last < 10 {
			size = 4096 << last
		}
		b.chunks = append(b.chunks, make([]byte, 0, max(size, n)))
		last++
	}
	c := b.chunks[last]
	at := len(c)
	c = c[:at+n]
	h := c[at : at+rawHeader]
	binary.LittleEndian.PutUint64(h, 0)
	binary.LittleEndian.PutUint16(h[8:], uint16(r.Type))
	binary.LittleEndian.PutUint16(h[10:], uint16(len(r.Data)))
	binary.LittleEndian.PutUint32(h[12:], r.TTL)
	binary.LittleEndian.PutUint32(h[16:], r.Pos.Line)
	binary.LittleEndian.PutUint16(h[20:], r.Pos.Col)
	binary.LittleEndian.PutUint16(h[22:], r.Pos.File)
	copy(c[at+rawHeader:], r.Data)
	b.chunks[last] = c
	ref := recordRef(last)<<32 | recordRef(at+1)
	o := b.owners.at(id)
	if o.head == 0 {
		o.head = ref
	} else {
		binary.LittleEndian.PutUint64(b.raw(o.tail), uint64(ref))
	}
	o.tail = ref
	b.records++
	b.estimate += bigSetHeader + recordHeader + len(r.Data) + 4 + 2*targetSize
}

func (b *Builder) raw(ref recordRef) []byte { return b.chunks[ref>>32][uint32(ref)-1:] }

// A rawRecord is a record as the builder keeps it.
type rawRecord struct {
	t    wire.Type
	ttl  uint32
	pos  Pos
	data []byte
}

func (b *Builder) recordsOf(o *owner, dst []rawRecord) []rawRecord {
	for ref := o.head; ref != 0; {
		h := b.raw(ref)
		n := load16(h[10:])
		dst = append(dst, rawRecord{
			t:    wire.Type(load16(h[8:])),
			ttl:  binary.LittleEndian.Uint32(h[12:]),
			pos:  Pos{Line: binary.LittleEndian.Uint32(h[16:]), Col: uint16(load16(h[20:])), File: uint16(load16(h[22:]))},
			data: h[rawHeader : rawHeader+n : rawHeader+n],
		})
		ref = recordRef(binary.LittleEndian.Uint64(h))
	}
	return dst
}

// Build checks the records and compiles the zone. The zone is nil if a problem
// is an error; warnings alone do not prevent it.
func (b *Builder) Build() (*Zone, []Problem) {
	b.leaveOut()
	b.addAncestors()
	if b.tooLarge() {
		return nil, b.problems
	}
	b.mark()
	b.collect()
	z := &Zone{apexName: b.apexName, apex: b.apex, labels: b.labels, base: b.base}
	c := compiler{b: b, z: z, nodes: make([]Node, b.owners.n)}
	if n := len(b.apex) - 1; n > 0 && 2*n+1 <= wire.MaxName {
		c.twice = append(append(c.twice, b.apex[:n]...), b.apex...)
	}
	z.data = make([]byte, firstNode, firstNode+b.estimate+2048)
	hugepage.Advise(z.data)
	for id := range uint32(b.owners.n) {
		if o := b.owners.at(id); o.head == 0 && o.flags&ownerNSEC3 != 0 {
			continue // left out
		}
		c.compile(id)
		for i := range c.sets {
			z.records += c.sets[i].records + c.sets[i].sigs
		}
		if b.errors >= maxProblems {
			break
		}
	}
	c.checkApex()
	if b.failed() {
		return nil, b.problems
	}
	b.chunks, b.table = nil, nil
	b.collect()
	c.link()
	c.resolve()
	c.denial()
	c.negative()
	if b.failed() {
		return nil, b.problems
	}
	z.altered = b.altered
	if z.names >= minPatched && !z.HasNSEC3() && len(c.missing) < maxMissing && len(b.hidden) == 0 {
		z.line = &line{last: z, missing: c.missing}
	}
	if cap(z.data) <= smallZone {
		z.data = bytes.Clone(z.data) // exactly as large as it is: there may be very many of these
	}
	return z, b.problems
}

// manyNames is from how many names on memory is collected that is not needed any more before
// much is taken again: it has no pointers, so that this takes milliseconds.
const manyNames = 4 << 20

func (b *Builder) collect() {
	if b.owners.n >= manyNames {
		runtime.GC()
	}
}

// leaveOut takes names out of the tree that have signatures alone, of sets that are not
// there: they do not make a name exist.
func (b *Builder) leaveOut() {
	if !b.signed {
		return
	}
	var records []rawRecord
	left := false
	for id := uint32(1); id < uint32(b.owners.n); id++ {
		o := b.owners.at(id)
		if o.flags&ownerNSEC3 != 0 || !b.onlySignatures(o) {
			continue
		}
		records = b.recordsOf(o, records[:0])
		for _, r := range records {
			b.warnSignature(
				r.pos,
				nothingSigned,
				text(append(bytes.Clone(b.rel(o)), b.apex...)),
				wire.Type(binary.BigEndian.Uint16(r.data)),
			)
		}
		o.flags |= ownerNSEC3
		o.head, left, b.altered = 0, true, true
	}
	if left {
		b.rehash(len(b.table))
	}
}

// nothingSigned is the problem of a signature without records.
const nothingSigned = "%s: RRSIG covers %s, but there is no such record: left out"

func (b *Builder) onlySignatures(o *owner) bool {
	for ref := o.head; ref != 0; {
		h := b.raw(ref)
		if wire.Type(load16(h[8:])) != wire.TypeRRSIG {
			return false
		}
		ref = recordRef(binary.LittleEndian.Uint64(h))
	}
	return o.head != 0
}

// sizeEvery is after how many names the memory is looked at.
const sizeEvery = 1 << 13

// addAncestors makes the names between each owner and the apex exist
// (RFC 4592, section 2.2.2), links each name to the one above, and tells parents
// of their wildcards.
func (b *Builder) addAncestors() {
	guess := uint32(0)
	given := uint32(b.owners.n)
	for id := range given {
		if id%sizeEvery == 0 && b.tooLarge() {
			return
		}
		o := b.owners.at(id)
		if o.labels == 0 || o.flags&ownerNSEC3 != 0 {
			continue
		}
		parent := uint32(0)
		if o.labels > 1 {
			var ok bool
			if parent, ok = b.nearby(wire.Parent(b.rel(o)), id-1, guess); !ok {
				parent = b.ancestors(id)
			}
			guess = parent
		}
		b.link(id, parent)
	}
}

// link tells an owner which one is above it, and that one of a wildcard.
func (b *Builder) link(id, parent uint32) {
	o := b.owners.at(id)
	o.parent = parent
	if o.flags&flagWildcard != 0 {
		b.owners.at(parent).flags |= flagWildcardChild
	}
}

// ancestors makes those names above an owner that are not there, up to the first that is,
// and returns the number of the nearest.
func (b *Builder) ancestors(id uint32) (parent uint32) {
	var split wire.SplitName
	var buf [wire.MaxName + 1]byte
	o := *b.owners.at(id)
	rel := b.rel(&o)
	split.Set(append(append(buf[:0], rel...), 0))
	labels := int(o.labels)
	var hashes [wire.MaxLabels + 1]wire.Seed
	h := b.base
	for k := labels - 1; k > 0; k-- {
		h = h.Label(split.From(split.Start(k)))
		hashes[k] = h
	}
	child := id
	for k := 1; k < labels; k++ {
		at := split.Start(k)
		above, ok := b.search(hashes[k], rel[at:])
		if !ok {
			above = b.newAncestor(&o, id, hashes[k], at, labels-k)
		}
		if child == id {
			parent = above
		} else {
			b.link(child, above)
		}
		if ok {
			return parent
		}
		child = above
	}
	b.link(child, 0)
	return parent
}

// newAncestor makes the name that begins at an offset of the name of owner id, which is o.
func (b *Builder) newAncestor(o *owner, id uint32, h wire.Seed, at, labels int) uint32 {
	rel := b.rel(o)[at:]
	if o.flags&flagMixedCase != 0 {
		spelled := b.names.at(o.name, 2*int(o.length))[int(o.length)+at:]
		return b.newOwner(h, rel, spelled, labels)
	}
	a := owner{hash: h, name: o.name + uint32(at), length: uint8(len(rel)), labels: uint8(labels), below: id + 1}
	return b.enter(a, rel)
}

// nearby returns the first of the owners ids that is named rel: records tend to
// come in an order where it is close by, and then no table is searched.
func (b *Builder) nearby(rel []byte, ids ...uint32) (uint32, bool) {
	for _, id := range ids {
		if id >= uint32(b.owners.n) {
			continue
		}
		if o := b.owners.at(id); o.flags&ownerNSEC3 == 0 && bytes.Equal(b.rel(o), rel) {
			return id, true
		}
	}
	return 0, false
}

// mark sets the flags that depend on which types an owner has, and then those
// that depend on the owners above.
func (b *Builder) mark() {
	occluders := false
	for id := range uint32(b.owners.n) {
		o := b.owners.at(id)
		for ref := o.head; ref != 0; {
			h := b.raw(ref)
			switch wire.Type(load16(h[8:])) {
			case wire.TypeNS:
				if id != 0 {
					o.flags |= flagCut
					occluders = true
				}
			case wire.TypeDNAME:
				o.flags |= flagDNAME
				occluders = true
			case wire.TypeCNAME:
				o.flags |= flagCNAME
			}
			ref = recordRef(binary.LittleEndian.Uint64(h))
		}
	}
	if !occluders {
		return
	}
	for id := range uint32(b.owners.n) {
		if o := b.owners.at(id); o.flags&ownerNSEC3 == 0 && b.hiddenBy(o) != 0 {
			o.flags |= flagOccluded
		}
	}
}

// hiddenBy returns flagCut or flagDNAME if there is such a name above o, whichever
// is the nearest, or 0.
func (b *Builder) hiddenBy(o *owner) uint16 {
	for o.labels > 0 {
		o = b.owners.at(o.parent)
		if f := o.flags & (flagCut | flagDNAME); f != 0 {
			return f
		}
	}
	return 0
}

// link makes the index, and turns owner numbers in targets into nodes.
func (c *compiler) link() {
	z, b := c.z, c.b
	names := 0
	for id := range uint32(b.owners.n) {
		if b.owners.at(id).flags&ownerNSEC3 == 0 {
			names++
		}
	}
	z.names = names
	z.index = make([]uint64, names+names*2/5+1) // load 0.71
	hugepage.Advise(z.index)
	for id := range uint32(b.owners.n) {
		o := b.owners.at(id)
		if o.flags&ownerNSEC3 != 0 {
			continue
		}
		slot, _ := bits.Mul64(uint64(o.hash), uint64(len(z.index)))
		for z.index[slot] != 0 {
			if slot++; slot == uint64(len(z.index)) {
				slot = 0
			}
		}
		z.index[slot] = uint64(o.hash)<<32 | uint64(c.nodes[id])
	}
	z.root = c.nodes[0]
}

// sortSets orders an owner's records by type, DNSSEC's own types last, keeping the
// order of the file within a type; signatures go with the type they cover.
func sortSets(records []rawRecord) {
	slices.SortStableFunc(records, func(x, y rawRecord) int {
		return cmp.Or(cmp.Compare(setOrder(x), setOrder(y)))
	})
}

// setOrder returns the sort key of a record: its type's or the covered type's,
// then records before signatures.
func setOrder(r rawRecord) uint32 {
	t, sig := r.t, uint32(0)
	if t == wire.TypeRRSIG {
		t, sig = wire.Type(binary.BigEndian.Uint16(r.data)), 1
	}
	key := uint32(t)<<1 | sig
	if t == wire.TypeNSEC || t == wire.TypeNSEC3 {
		key |= 1 << 20
	}
	return key
}

func text(name []byte) string { return string(wire.AppendName(nil, name)) }

func (b *Builder) warn(pos Pos, format string, args ...any) {
	b.problem(Problem{Warning: true, Pos: pos, Text: fmt.Sprintf(format, args...)})
}

func (b *Builder) fail(pos Pos, format string, args ...any) {
	b.problem(Problem{Pos: pos, Text: fmt.Sprintf(format, args...)})
}
