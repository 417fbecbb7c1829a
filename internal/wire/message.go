package wire

import "encoding/binary"

// A Record is one record of a [Message].
type Record struct {
	Owner   []byte // uncompressed, with the case of its sender
	Type    Type
	Class   Class
	Section Section
	TTL     uint32 // seconds; what has the top bit set is 0 (RFC 2181, section 8)
	Data    []byte // RDATA, its names uncompressed
}

// A Message is one whole message read for those who must look at each of its
// records: a resolver, a transfer, a person. It is meant to be reused. What it
// holds does not refer to the octets that were read, and is valid until the next
// Parse.
type Message struct {
	ID     uint16
	Flags  uint16 // the header's second word
	Opcode Opcode
	Rcode  Rcode // twelve bits, with those of OPT

	// The question, if there is exactly one.
	HasQuestion bool
	Name        []byte // as spelled
	Type        Type
	Class       Class

	// Records are those of all sections in their order, without OPT.
	Records []Record

	EDNS    bool
	DO      bool
	Version uint8
	UDPSize uint16
	Options []byte // RDATA of OPT

	room []byte // what the slices point into
}

// Bounds of a message that is read.
const (
	// maxExpansion is how many octets the names and data of one message may become
	// without compression. A full message of 64 KiB has a few times that; what makes
	// more is made to cost time (CVE-2024-8508).
	maxExpansion = 8 * MaxMessage
	roomSize     = 2048 // of one piece of memory: a common referral, expanded
)

// Parse reads msg and returns 0, or why it cannot be read. OPT is read only from
// the additional section, and the first one counts. Octets behind the last record
// are ignored. After a fault, header and question stand if they were read.
func (m *Message) Parse(msg []byte) Malformed {
	m.reset()
	if len(msg) < HeaderLen {
		return ShortHeader
	}
	m.ID = binary.BigEndian.Uint16(msg)
	m.Flags = binary.BigEndian.Uint16(msg[2:])
	m.Opcode = Opcode(m.Flags >> 11 & 15)
	m.Rcode = Rcode(m.Flags & 15)
	questions := int(binary.BigEndian.Uint16(msg[4:]))
	pos, spent := HeaderLen, 0
	for i := range questions {
		name, n, bad := m.name(msg, pos)
		if bad != 0 {
			return bad
		}
		pos += n
		if pos+4 > len(msg) {
			return ShortQuestion
		}
		if i == 0 {
			m.Name, m.HasQuestion = name, questions == 1
			m.Type = Type(binary.BigEndian.Uint16(msg[pos:]))
			m.Class = Class(binary.BigEndian.Uint16(msg[pos+2:]))
		}
		pos += 4
		if spent += len(name); spent > maxExpansion {
			return TooManyRecords
		}
	}
	for s := Answer; s <= Additional; s++ {
		for range int(binary.BigEndian.Uint16(msg[6+2*int(s):])) {
			owner, n, bad := m.name(msg, pos)
			if bad != 0 {
				return bad
			}
			pos += n
			if pos+10 > len(msg) {
				return ShortRecord
			}
			r := Record{
				Owner: owner, Section: s,
				Type:  Type(binary.BigEndian.Uint16(msg[pos:])),
				Class: Class(binary.BigEndian.Uint16(msg[pos+2:])),
				TTL:   binary.BigEndian.Uint32(msg[pos+4:]),
			}
			size := int(binary.BigEndian.Uint16(msg[pos+8:]))
			pos += 10
			if pos+size > len(msg) {
				return ShortRecord
			}
			if r.Type == TypeOPT {
				if s == Additional && !m.EDNS {
					m.opt(&r, msg[pos:pos+size])
				}
				pos += size
				continue
			}
			// UPDATE names records and sets without their data (RFC 2136, section 2.4).
			if size > 0 || r.Class != ClassANY && r.Class != ClassNONE {
				if r.Data, bad = m.data(msg, pos, size, r.Type); bad != 0 {
					return bad
				}
			}
			if r.TTL>>31 != 0 {
				r.TTL = 0
			}
			pos += size
			if spent += len(r.Owner) + len(r.Data); spent > maxExpansion {
				return TooManyRecords
			}
			m.Records = append(m.Records, r)
		}
	}
	return 0
}

func (m *Message) reset() {
	*m = Message{Records: m.Records[:0], room: m.room[:0]}
}

func (m *Message) opt(r *Record, data []byte) {
	m.EDNS = true
	m.UDPSize = uint16(r.Class)
	m.Rcode |= Rcode(r.TTL>>24) << 4
	m.Version = uint8(r.TTL >> 16)
	m.DO = r.TTL&0x8000 != 0
	at := len(m.take(len(data)))
	m.room = append(m.room, data...)
	m.Options = m.room[at:len(m.room):len(m.room)]
}

// take makes sure that the room takes n octets more, and returns it. A piece that
// is full is left to those who hold slices of it.
func (m *Message) take(n int) []byte {
	if cap(m.room)-len(m.room) < n {
		m.room = make([]byte, 0, max(roomSize, n))
	}
	return m.room
}

func (m *Message) name(msg []byte, pos int) (name []byte, n int, bad Malformed) {
	at := len(m.take(MaxName + 1))
	m.room, n, bad = AppendExpanded(m.room, msg, pos)
	if bad != 0 {
		return nil, 0, bad
	}
	return m.room[at:len(m.room):len(m.room)], n, 0
}

func (m *Message) data(msg []byte, pos, size int, t Type) ([]byte, Malformed) {
	// Names within data can grow to MaxName each; few types have more than two.
	at := len(m.take(size + 2*MaxName))
	room, err := Expand(msg, pos, size, t, m.room)
	if err != nil {
		bad, ok := err.(Malformed) // Expand returns it as it is
		if !ok {
			bad = ShortRecord
		}
		return nil, bad
	}
	m.room = room
	return m.room[at:len(m.room):len(m.room)], 0
}

// Option returns the data of the first EDNS option with this code, or nil. At most
// as many options are looked at as a query may have.
func (m *Message) Option(code uint16) (data []byte, ok bool) {
	b := m.Options
	for i := 0; i < maxOptions && len(b) >= 4; i++ {
		n := int(binary.BigEndian.Uint16(b[2:]))
		if 4+n > len(b) {
			return nil, false
		}
		if binary.BigEndian.Uint16(b) == code {
			return b[4 : 4+n : 4+n], true
		}
		b = b[4+n:]
	}
	return nil, false
}

// AppendQuery appends a query with one question of class IN, without EDNS.
func AppendQuery(dst []byte, id, flags uint16, name []byte, t Type) []byte {
	dst = binary.BigEndian.AppendUint16(dst, id)
	dst = binary.BigEndian.AppendUint16(dst, flags)
	dst = append(dst, 0, 1, 0, 0, 0, 0, 0, 0)
	dst = append(dst, name...)
	dst = binary.BigEndian.AppendUint16(dst, uint16(t))
	return binary.BigEndian.AppendUint16(dst, uint16(ClassIN))
}

// AppendOption appends one EDNS option in wire form (RFC 6891, section 6.1.2).
func AppendOption(dst []byte, code uint16, data []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, code)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(data)))
	return append(dst, data...)
}

// AppendOPT appends an OPT record with the options given, complete in themselves,
// to a message whose additional count the caller raises (RFC 6891, section 6.1.2).
func AppendOPT(dst []byte, size uint16, do bool, options []byte) []byte {
	dst = append(dst, 0, 0, byte(TypeOPT))
	dst = binary.BigEndian.AppendUint16(dst, size)
	flags := byte(0)
	if do {
		flags = 0x80 // RFC 3225, section 3
	}
	dst = append(dst, 0, 0, flags, 0)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(options)))
	return append(dst, options...)
}
