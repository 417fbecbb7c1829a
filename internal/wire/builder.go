package wire

import "encoding/binary"

// A Section is one of the three that hold records.
type Section uint8

// The sections.
const (
	Answer Section = iota
	Authority
	Additional
)

// A Builder writes one reply into a buffer that it is lent. Sections come in
// order. What would pass the limit is not written, and whoever appends whole
// RRsets can go back to a [Mark]: a reply never holds half a set (RFC 2181,
// section 9). The zero value is ready for Start.
type Builder struct {
	buf    []byte // lent; len is the most that may be written in all
	n      int    // octets written
	limit  int    // where records must end: len(buf) less what OPT will need
	body   int    // where the records begin
	counts [3]uint16
}

// A Mark is a state of a Builder to go back to.
type Mark struct {
	n      int
	counts [3]uint16
}

// Start begins the reply to q in buf, of at most limit octets, reserve of which
// are kept for what Finish is given. It copies ID, opcode, RD and, where it could
// be read, the question as the client spelled it (RFC 1035, section 4.1.1).
func (b *Builder) Start(buf []byte, limit, reserve int, q *Query) {
	b.buf = buf[:min(limit, len(buf))]
	b.limit = len(b.buf) - reserve
	b.counts = [3]uint16{}
	h := b.buf[:HeaderLen]
	binary.BigEndian.PutUint16(h, q.ID)
	binary.BigEndian.PutUint16(h[2:], FlagQR|q.Flags&(15<<11|FlagRD))
	b.n = HeaderLen
	if q.HasQuestion {
		b.n += copy(b.buf[HeaderLen:], q.Question())
	}
	b.body = b.n
	questions := uint16(0)
	if q.HasQuestion {
		questions = 1
	}
	binary.BigEndian.PutUint16(h[4:], questions)
}

// SetFlags sets bits of the header's second word.
func (b *Builder) SetFlags(flags uint16) {
	h := b.buf[2:4]
	binary.BigEndian.PutUint16(h, binary.BigEndian.Uint16(h)|flags)
}

// ClearFlags clears bits of the header's second word.
func (b *Builder) ClearFlags(flags uint16) {
	h := b.buf[2:4]
	binary.BigEndian.PutUint16(h, binary.BigEndian.Uint16(h)&^flags)
}

// Flags returns the header's second word.
func (b *Builder) Flags() uint16 { return binary.BigEndian.Uint16(b.buf[2:]) }

// SetRcode sets the low four bits of the response code; Finish writes the rest.
func (b *Builder) SetRcode(r Rcode) { b.buf[3] = b.buf[3]&0xF0 | byte(r&15) }

// Rcode returns the low four bits of the response code.
func (b *Builder) Rcode() Rcode { return Rcode(b.buf[3] & 15) }

// Len returns the octets written so far: the offset of what comes next.
func (b *Builder) Len() int { return b.n }

// Room returns how many octets the buffer has left, those kept for Finish included.
func (b *Builder) Room() int { return len(b.buf) - b.n }

// Bytes returns the octets written so far.
func (b *Builder) Bytes() []byte { return b.buf[:b.n] }

// Count returns the number of records in a section.
func (b *Builder) Count(s Section) int { return int(b.counts[s]) }

// Mark returns the present state.
func (b *Builder) Mark() Mark { return Mark{b.n, b.counts} }

// Rewind goes back to m: what was written since is gone.
func (b *Builder) Rewind(m Mark) { b.n, b.counts = m.n, m.counts }

// Truncate drops all records and sets TC: the client asks again over TCP.
func (b *Builder) Truncate() {
	b.n, b.counts = b.body, [3]uint16{}
	b.SetFlags(FlagTC)
}

// Reset drops all records.
func (b *Builder) Reset() { b.n, b.counts = b.body, [3]uint16{} }

// Grow returns room for n octets at the end and counts records of section s
// there, or nil if they would pass the limit or the section's count; then
// nothing has changed.
func (b *Builder) Grow(s Section, n, records int) []byte {
	if b.n+n > b.limit || int(b.counts[s])+records > 0xFFFF {
		return nil
	}
	room := b.buf[b.n : b.n+n : b.n+n]
	b.n += n
	b.counts[s] += uint16(records)
	return room
}

// AppendReference appends the name that stands at offset at of the reply, as it may be
// written once more: a pointer where one reaches, else labels and, from where on one
// does, a pointer.
func (b *Builder) AppendReference(dst []byte, at int) []byte {
	msg := b.buf[:b.n]
	for {
		l := int(msg[at])
		switch {
		case l == 0:
			return append(dst, 0) // shorter than a pointer to it
		case l >= 0xC0:
			at = int(binary.BigEndian.Uint16(msg[at:])) & MaxPointer
		case at <= MaxPointer:
			return append(dst, 0xC0|byte(at>>8), byte(at))
		default:
			dst = append(dst, msg[at:at+l+1]...)
			at += l + 1
		}
	}
}

// Rest returns the room that records may still take, for records that are copied as
// one piece, which Take then counts.
func (b *Builder) Rest() []byte { return b.buf[b.n:b.limit] }

// Take makes the first n octets of Rest part of the reply, with as many records in
// each section.
func (b *Builder) Take(n int, counts [3]uint16) {
	b.n += n
	for i, c := range counts {
		b.counts[i] += c
	}
}

// Finish appends tail, records complete in themselves for the additional section
// such as OPT, within the octets reserved for it, writes the counts, and returns
// the reply.
func (b *Builder) Finish(tail []byte, records int) []byte {
	b.n += copy(b.buf[b.n:], tail)
	h := b.buf[:HeaderLen]
	binary.BigEndian.PutUint16(h[6:], b.counts[Answer])
	binary.BigEndian.PutUint16(h[8:], b.counts[Authority])
	binary.BigEndian.PutUint16(h[10:], b.counts[Additional]+uint16(records))
	return b.buf[:b.n]
}
