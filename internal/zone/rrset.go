package zone

import (
	"encoding/binary"

	"port53/internal/wire"
)

// An RRset is one RRset of a node, with its signatures, as it lies in the zone.
// It is a view: cheap to copy, and good as long as the zone.
//
// Its block holds the records in wire form, compressed as if the owner name
// stood at offset 0 and the block at offset [blockBase] of a message; then the
// signature records; then the offsets of all compression pointers, those of the
// records first; then the targets; then, at delegations, glue (see glue.go).
type RRset struct {
	Type    wire.Type
	Records int
	Sigs    int // signature records

	big          bool
	root         bool   // the owner is the root: its name is shorter than a pointer to it
	block        []byte // begins with it, and goes on
	length       int    // octets of the records
	sigLen       int    // octets of the signatures
	fix, targets int
}

// blockBase is where a block seems to stand: behind the longest owner name.
const blockBase = 256

const (
	targetSize     = 8
	targetInDomain = 1 << 31 // the target is at or below the owner: its addresses are in-domain glue
	targetSelf     = 1 << 30 // the target is the owner itself
)

// recordHeader is the octets of a record before its data: a pointer for the
// owner, type, class, TTL and length.
const recordHeader = 12

// An Owner tells where in a message the owner name of an RRset stands.
type Owner struct {
	Pos int // offset of the name

	// Suffix plus an offset in the owner's name, as the zone has it, gives the same
	// label's offset in the message, but for the name's very first label, which is
	// at Pos. It equals Pos where the name stands in one piece; a name made from a
	// wildcard differs in its first label.
	Suffix int

	// Scattered is set where the name in the message is itself compressed, so that
	// its labels must be looked for: the label of offset n in the owner's name is
	// then n plus Suffix octets of labels behind Pos.
	Scattered bool
}

// At returns the Owner of a name that stands in one piece at pos.
func At(pos int) Owner { return Owner{Pos: pos, Suffix: pos} }

// Len returns the octets that Append will write.
func (s *RRset) Len(sigs bool) int {
	if sigs {
		return s.length + s.sigLen
	}
	return s.length
}

// Append writes the whole RRset, with its signatures if sigs, whose owner's name
// is already in the message. It reports whether it fits: if not, nothing was written.
// where then knows the places of the names in the data; it may be nil if nobody asks.
func (s *RRset) Append(b *wire.Builder, sec wire.Section, owner Owner, sigs bool, where *Relocation) bool {
	n, records, fix := s.length, s.Records, s.fix
	if sigs {
		n, records, fix = n+s.sigLen, records+s.Sigs, fix+s.Sigs
	}
	at := b.Len()
	if at+n > wire.MaxPointer || s.big || owner.Scattered && !s.root || s.root && records > maxRootRecords {
		return s.relocate(b, sec, owner, 0, sigs, nil, Question{}, where)
	}
	if where != nil {
		where.at = at
	}
	if s.root {
		return s.appendRoot(b, sec, n, records, fix)
	}
	room := b.Grow(sec, n, records)
	if room == nil {
		return false
	}
	copy(room, s.block[:n])
	suffix, base := owner.Suffix|0xC000, at-blockBase
	table := s.block[s.length+s.sigLen:]
	table = table[:2*fix]
	for ; len(table) >= 2; table = table[2:] {
		p := room[load16(table):]
		_ = p[1]
		v := pointerAt(p)
		switch {
		case v == 0:
			v = owner.Pos | 0xC000
		case v < blockBase:
			v += suffix
		default:
			v = v + base | 0xC000
		}
		binary.BigEndian.PutUint16(p, uint16(v))
	}
	return true
}

// maxRootRecords is up to how many records a set of the root is written with its
// pointers moved: finding out how far costs their number each.
const maxRootRecords = 64

// appendRoot is Append for sets of the root, whose name takes one octet where the
// block has a pointer: each record, and what pointers mean, moves up by one octet
// more than the record before.
func (s *RRset) appendRoot(b *wire.Builder, sec wire.Section, n, records, fix int) bool {
	at := b.Len()
	room := b.Grow(sec, n-records, records)
	if room == nil {
		return false
	}
	table := s.block[s.length+s.sigLen:]
	next, out := 0, 0
	for i, from := 0, 0; i < records; i++ {
		to := from + recordHeader + int(binary.BigEndian.Uint16(s.block[from+10:]))
		room[out] = 0
		copy(room[out+1:], s.block[from+2:to])
		// The first fix-up is the record's owner, the others are within its data and
		// point at earlier data: nothing can point at the root's name.
		for next++; next < fix; next++ {
			p := load16(table[2*next:])
			if p >= to {
				break
			}
			v := at + s.moved(pointerAt(s.block[p:])-blockBase)
			binary.BigEndian.PutUint16(room[out+p-from-1:], uint16(0xC000|v))
		}
		out += to - from - 1
		from = to
	}
	return true
}

// moved returns where offset of the block stands behind the start of the records in
// a message.
func (s *RRset) moved(offset int) int {
	if !s.root {
		return offset
	}
	before := 0
	for from := 0; from <= offset; before++ {
		from += recordHeader + int(binary.BigEndian.Uint16(s.block[from+10:]))
	}
	return offset - before
}

// AppendSigs writes the signatures of the RRset alone, as Append does.
func (s *RRset) AppendSigs(b *wire.Builder, sec wire.Section, owner Owner) bool {
	return s.relocate(b, sec, owner, s.Records, true, nil, Question{}, nil)
}

// AppendNamed writes the whole RRset under a name that is not yet in the message:
// name is its form there, perhaps ending in a pointer. It returns where the name
// stands, or 0 if it does not fit. It is for sets whose data has no compressed
// names, such as NSEC.
func (s *RRset) AppendNamed(b *wire.Builder, sec wire.Section, name []byte, sigs bool) int {
	at := b.Len()
	if s.fix == s.Records && !s.big && !s.root && at <= wire.MaxPointer {
		// No pointers but the owners: the records move as one piece.
		n, records := s.length, s.Records
		if sigs {
			n, records = n+s.sigLen, records+s.Sigs
		}
		room := b.Grow(sec, len(name)+n-2, records)
		if room == nil {
			return 0
		}
		copy(room, name)
		copy(room[len(name):], s.block[2:n])
		table := s.block[s.length+s.sigLen:]
		for i := 1; i < records; i++ {
			binary.BigEndian.PutUint16(room[load16(table[2*i:])+len(name)-2:], uint16(0xC000|at))
		}
		return at
	}
	if !s.relocate(b, sec, At(at), 0, sigs, name, Question{}, nil) {
		return 0
	}
	return at
}

// A Question is the name in a message's question, or the one that an alias led to, which an
// RRset's owner may be the end of: names in its data may share more with it than the owner.
type Question struct {
	Name      []byte // in lower case
	Pos       int    // where it stands in the message
	Owner     int    // offset in Name at which the owner begins
	Left      int    // offset of the label to the left of that
	Scattered bool   // it goes on at pointers, as an alias's target does
}

// offset returns the offset in the name of what stands at a place of a message, or -1.
func (q *Question) offset(msg []byte, place int) int {
	if !q.Scattered {
		return place - q.Pos
	}
	for i := 0; i <= q.Owner; i += int(q.Name[i]) + 1 {
		if LabelAt(msg, q.Pos, i) == place {
			return i
		}
		if q.Name[i] == 0 {
			break
		}
	}
	return -1
}

// place returns where in a message the label at an offset of the name stands.
func (q *Question) place(msg []byte, offset int) int {
	if !q.Scattered {
		return q.Pos + offset
	}
	return LabelAt(msg, q.Pos, offset)
}

// Shares reports whether a name in the data of s, which is not the root's, ends in the
// owner and the question's label to its left: then AppendShared writes it shorter
// than Append. It may say so without cause, which costs time alone.
func (s *RRset) Shares(q Question) bool {
	if s.big || s.root || q.Owner == 0 {
		return false
	}
	label := q.Name[q.Left:q.Owner]
	table := s.block[s.length+s.sigLen:]
	for i := range s.fix {
		p := load16(table[2*i:])
		if p > len(label) && s.block[p] == 0xC0 && s.block[p+1] == 0 && wire.EqualFold(s.block[p-len(label):p], label) {
			return true
		}
	}
	return false
}

// AppendShared is Append for a set whose names share labels with the question.
func (s *RRset) AppendShared(b *wire.Builder, sec wire.Section, owner Owner, sigs bool, q Question, where *Relocation) bool {
	return s.relocate(b, sec, owner, 0, sigs, nil, q, where)
}

// A Relocation knows where in a message the names of the set stand that was written
// last with it. It is scratch space, to be used again: the zero value is ready.
//
// A set is written in one piece where that can be, and its names then stand as far from
// its start as in the block. Else it is written record by record: large sets, messages
// that pass the reach of pointers, owners that lie scattered, names that are shortened
// by the question. Pieces of the block move by different distances then; they are noted
// in their order, all of them, so that the place of each name is known.
type Relocation struct {
	at int // where a set in one piece begins, or 0

	set      RRset
	b        *wire.Builder
	sec      wire.Section
	owner    Owner
	question Question // names are shortened by it, if it has one
	next     int      // fix-ups used so far
	keep     bool     // pieces are asked for
	pieces   []piece
}

// A piece of labels: block[from:to] is at offset at of the message.
type piece struct{ from, to, at uint32 }

// relocate does what Append does, record by record: without the records before first,
// the first of them under name unless that is nil.
func (s *RRset) relocate(
	b *wire.Builder,
	sec wire.Section,
	owner Owner,
	first int,
	sigs bool,
	name []byte,
	q Question,
	where *Relocation,
) bool {
	var local Relocation
	r := where
	if r == nil {
		r = &local
	}
	r.at, r.set, r.b, r.sec, r.owner, r.question = 0, *s, b, sec, owner, q
	r.next, r.pieces, r.keep = 0, r.pieces[:0], where != nil || s.fix > s.Records
	mark := b.Mark()
	records := s.Records
	if sigs {
		records += s.Sigs
	}
	// Records are named by a pointer to their owner, where that is within reach.
	again := name
	switch {
	case s.root:
		name, again = wire.Root, wire.Root
	case owner.Pos <= wire.MaxPointer:
		again = nil
	case name == nil:
		var form [wire.MaxName]byte
		name = b.AppendReference(form[:0], owner.Pos)
		again = name
	}
	for i, from := 0, 0; i < records; i++ {
		to := from + recordHeader + int(binary.BigEndian.Uint16(s.block[from+10:]))
		if i < first {
			r.skip(to)
		} else {
			if !r.record(from, to, name) {
				b.Rewind(mark)
				return false
			}
			name = again
		}
		from = to
	}
	return true
}

func (r *Relocation) fixup(i int) int {
	table := r.set.block[r.set.length+r.set.sigLen:]
	if r.set.big {
		return load32(table[4*i:])
	}
	return load16(table[2*i:])
}

// skip leaves out the records up to block[:to].
func (r *Relocation) skip(to int) {
	for total := r.set.fix + r.set.Sigs; r.next < total && r.fixup(r.next) < to; {
		r.next++
	}
}

// record writes the record at block[from:to], under name unless that is nil. The
// first fix-up of a record is its owner.
func (r *Relocation) record(from, to int, name []byte) bool {
	r.next++
	n := 2
	if name != nil {
		n = len(name)
	}
	head := r.b.Grow(r.sec, n+recordHeader-2, 1)
	if head == nil {
		return false
	}
	if name != nil {
		copy(head, name)
	} else {
		binary.BigEndian.PutUint16(head, uint16(0xC000|r.owner.Pos))
	}
	block := r.set.block
	copy(head[n:], block[from+2:from+recordHeader])
	data := r.b.Len()
	at := from + recordHeader
	for total := r.set.fix + r.set.Sigs; r.next < total; r.next++ {
		p := r.fixup(r.next)
		if p >= to {
			break
		}
		v := pointerAt(block[p:])
		shared, place := r.shared(at, p, v)
		if !r.copy(at, shared) {
			return false
		}
		if shared < p {
			r.note(shared, p, place)
		} else {
			place = r.place(v)
		}
		if !r.reference(place) {
			return false
		}
		at = p + 2
	}
	if !r.copy(at, to) {
		return false
	}
	binary.BigEndian.PutUint16(head[n+recordHeader-4:], uint16(r.b.Len()-data))
	return true
}

// shared returns from where on the labels of block[at:p], which go on at the pointer
// v, stand in the question in front of what v means there, and their place in the
// message; p if none does. Data before the name is passed over: it has the form of no
// label that would fit.
func (r *Relocation) shared(at, p, v int) (from, place int) {
	q := &r.question
	if q.Name == nil || v >= blockBase+at {
		return p, 0 // the name at v is about to be written
	}
	end := q.offset(r.b.Bytes(), r.place(v)) // where in the question stands what v means
	if end <= 0 || end > q.Owner {
		return p, 0
	}
	if r.set.Type == wire.TypeMX {
		at = min(at+2, p)
	}
	for i := at; i < p; i += int(r.set.block[i]) + 1 {
		n := p - i
		if from := end - n; from >= 0 && labelStart(q.Name, from) && wire.EqualFold(r.set.block[i:p], q.Name[from:end]) {
			return i, q.place(r.b.Bytes(), from)
		}
	}
	return p, 0
}

func labelStart(name []byte, at int) bool {
	i := 0
	for i < at {
		i += int(name[i]) + 1
	}
	return i == at
}

// copy writes block[from:to].
func (r *Relocation) copy(from, to int) bool {
	if from == to {
		return true
	}
	at := r.b.Len()
	room := r.b.Grow(r.sec, to-from, 0)
	if room == nil {
		return false
	}
	copy(room, r.set.block[from:to])
	r.note(from, to, at)
	return true
}

// note remembers that block[from:to] stands at offset at of the message.
func (r *Relocation) note(from, to, at int) {
	if r.keep {
		r.pieces = append(r.pieces, piece{uint32(from), uint32(to), uint32(at)})
	}
}

// reference writes the name that stands at offset at of the message once more.
func (r *Relocation) reference(at int) bool {
	if at <= wire.MaxPointer {
		room := r.b.Grow(r.sec, 2, 0)
		if room == nil {
			return false
		}
		binary.BigEndian.PutUint16(room, uint16(0xC000|at))
		return true
	}
	var form [wire.MaxName]byte
	name := r.b.AppendReference(form[:0], at)
	room := r.b.Grow(r.sec, len(name), 0)
	copy(room, name)
	return room != nil
}

// place returns the offset in the message of the name that a pointer v of the block
// means: of the owner's, where v is below blockBase, else of one that was written.
func (r *Relocation) place(v int) int {
	for v >= blockBase {
		v -= blockBase
		// The last piece that begins at v or before.
		i, end := 0, len(r.pieces)
		for i < end {
			if half := (i + end) / 2; int(r.pieces[half].from) <= v {
				i = half + 1
			} else {
				end = half
			}
		}
		if i > 0 {
			if p := r.pieces[i-1]; v < int(p.to) {
				return int(p.at) + v - int(p.from)
			}
		}
		v = pointerAt(r.set.block[v:]) // not among the labels: a name that is a pointer alone
	}
	switch {
	case v == 0:
		return r.owner.Pos
	case !r.owner.Scattered:
		return r.owner.Suffix + v
	}
	return LabelAt(r.b.Bytes(), r.owner.Pos, v+r.owner.Suffix)
}

// DataAt returns where the name stands in the message that the first record's data is,
// once s was written with where.
func (s *RRset) DataAt(where *Relocation) int { return s.placeOf(where, recordHeader) }

// TargetAt returns where a target's name stands in the message, once s was written with
// where; its offset is not negative.
func (s *RRset) TargetAt(where *Relocation, t Target) int { return s.placeOf(where, t.Offset) }

func (s *RRset) placeOf(where *Relocation, offset int) int {
	if where.at > 0 {
		return where.at + s.moved(offset)
	}
	return where.place(blockBase + offset)
}

// LabelAt returns where in msg the label stands that begins n octets of labels
// behind the start of the name at pos, which may be compressed.
func LabelAt(msg []byte, pos, n int) int {
	for {
		for msg[pos] >= 0xC0 {
			pos = pointerAt(msg[pos:])
		}
		if n == 0 {
			return pos
		}
		l := int(msg[pos]) + 1
		n -= l
		pos += l
	}
}

func pointerAt(b []byte) int { return int(binary.BigEndian.Uint16(b)) & wire.MaxPointer }

// each calls f with each record of the set and its signatures, uncompressed.
func (s *RRset) each(owner []byte, f func([]byte, wire.Type, uint32, []byte) bool) bool {
	msg := make([]byte, blockBase+s.length+s.sigLen)
	copy(msg, owner)
	copy(msg[blockBase:], s.block[:s.length+s.sigLen])
	var data []byte
	for at := blockBase; at < len(msg); {
		t := wire.Type(binary.BigEndian.Uint16(msg[at+2:]))
		ttl := binary.BigEndian.Uint32(msg[at+6:])
		n := int(binary.BigEndian.Uint16(msg[at+10:]))
		at += recordHeader
		var err error
		if data, err = wire.Expand(msg, at, n, t, data[:0]); err != nil {
			panic("zone: stored record cannot be read: " + err.Error())
		}
		if !f(owner, t, ttl, data) {
			return false
		}
		at += n
	}
	return true
}

// A Target is a name in the data of an RRset whose addresses belong into the
// additional section.
type Target struct {
	Node     Node // the target's node, 0 if it is not in this zone
	Offset   int  // of the target's name from the start of the records, or -1: the owner's own name
	InDomain bool // at or below the owner's name
}

// Targets returns the number of targets that are in the zone.
func (s *RRset) Targets() int { return s.targets }

// Target returns target i.
func (s *RRset) Target(i int) Target {
	size := 2
	if s.big {
		size = 4
	}
	b := s.block[s.length+s.sigLen+size*(s.fix+s.Sigs)+targetSize*i:]
	at := uint32(load32(b))
	t := Target{Node: Node(load32(b[4:])), Offset: int(at &^ (targetInDomain | targetSelf)), InDomain: at&targetInDomain != 0}
	if at&targetSelf != 0 {
		t.Offset = -1
	}
	return t
}

// TTL returns the set's TTL in seconds.
func (s *RRset) TTL() uint32 { return binary.BigEndian.Uint32(s.block[6:]) }

// Data returns the RDATA of the set's first record as it lies in the block: for
// types without compressed names this is the data itself.
func (s *RRset) Data() []byte {
	n := int(binary.BigEndian.Uint16(s.block[10:]))
	return s.block[recordHeader : recordHeader+n]
}

// AppendTarget appends the uncompressed name that begins at offset in the data of
// the set's first record: the target of a CNAME or DNAME. owner is the set's owner.
func (s *RRset) AppendTarget(dst, owner []byte, offset int) []byte {
	return s.appendNameAt(dst, owner, blockBase+recordHeader+offset)
}

// appendNameAt appends the uncompressed name that the pointer v of the block means.
func (s *RRset) appendNameAt(dst, owner []byte, v int) []byte {
	for {
		if v < blockBase {
			return append(dst, owner[v:]...)
		}
		b := s.block[v-blockBase:]
		l := int(b[0])
		switch {
		case l == 0:
			return append(dst, 0)
		case l >= 0xC0:
			v = pointerAt(b)
		default:
			dst = append(dst, b[:l+1]...)
			v += l + 1
		}
	}
}

// SigData returns the RDATA of the set's first signature, or nil.
func (s *RRset) SigData() []byte {
	if s.Sigs == 0 {
		return nil
	}
	b := s.block[s.length:]
	return b[recordHeader : recordHeader+int(binary.BigEndian.Uint16(b[10:]))]
}
