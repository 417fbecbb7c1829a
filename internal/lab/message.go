package lab

import (
	"encoding/binary"
	"slices"

	"port53/internal/wire"
)

// A message is one reply in pieces, for whoever puts a wrong one together.
type message struct {
	id       uint16
	flags    uint16 // the header's second word without the rcode
	rcode    wire.Rcode
	question []byte // name, type and class; nil: none
	sections [3][]Record
	edns     bool
	do       bool
	version  uint8
	size     uint16
	options  []byte
}

// replyTo returns the reply to q without any record: QR set, and opcode, RD, CD and
// question copied.
func replyTo(q *wire.Query) *message {
	m := &message{
		id: q.ID, flags: wire.FlagQR | q.Flags&(0x7800|wire.FlagRD|wire.FlagCD),
		edns: q.EDNS, do: q.DO, size: ednsSize,
	}
	if q.HasQuestion {
		m.question = append([]byte(nil), q.Question()...)
	}
	return m
}

// split takes a whole message apart.
func split(b []byte) (*message, bool) {
	var p wire.Message
	if p.Parse(b) != 0 {
		return nil, false
	}
	m := &message{
		id: p.ID, flags: p.Flags &^ 15, rcode: p.Rcode,
		edns: p.EDNS, do: p.DO, version: p.Version, size: p.UDPSize, options: append([]byte(nil), p.Options...),
	}
	if p.HasQuestion {
		m.question = append([]byte(nil), p.Name...)
		m.question = binary.BigEndian.AppendUint16(m.question, uint16(p.Type))
		m.question = binary.BigEndian.AppendUint16(m.question, uint16(p.Class))
	}
	for _, r := range p.Records {
		m.sections[r.Section] = append(m.sections[r.Section], Record{
			Owner: append([]byte(nil), r.Owner...), Type: r.Type, TTL: r.TTL, Data: append([]byte(nil), r.Data...),
		})
	}
	return m, true
}

// append writes the message, its names uncompressed.
func (m *message) append(b []byte) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint16(b, m.id)
	b = binary.BigEndian.AppendUint16(b, m.flags|uint16(m.rcode&15))
	questions, additional := uint16(0), len(m.sections[wire.Additional])
	if m.question != nil {
		questions = 1
	}
	if m.edns {
		additional++
	}
	b = binary.BigEndian.AppendUint16(b, questions)
	b = binary.BigEndian.AppendUint16(b, uint16(len(m.sections[wire.Answer])))
	b = binary.BigEndian.AppendUint16(b, uint16(len(m.sections[wire.Authority])))
	b = binary.BigEndian.AppendUint16(b, uint16(additional))
	b = append(b, m.question...)
	for _, records := range m.sections {
		for i := range records {
			b = records[i].append(b)
		}
	}
	if m.edns {
		at := len(b)
		b = wire.AppendOPT(b, m.size, m.do, m.options)
		b[at+5], b[at+6] = byte(m.rcode>>4), m.version
	}
	if len(b)-start > wire.MaxMessage {
		short := *m
		short.flags |= wire.FlagTC
		short.sections = [3][]Record{}
		return short.append(b[:start])
	}
	return b
}

func (r *Record) append(b []byte) []byte {
	b = append(b, r.Owner...)
	b = binary.BigEndian.AppendUint16(b, uint16(r.Type))
	b = binary.BigEndian.AppendUint16(b, uint16(wire.ClassIN))
	b = binary.BigEndian.AppendUint32(b, r.TTL)
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.Data)))
	return append(b, r.Data...)
}

// fit cuts the message to header and question with TC set, if it is longer than a
// datagram may be.
func (m *message) fit(limit int) []byte {
	b := m.append(nil)
	if len(b) <= limit {
		return b
	}
	short := *m
	short.flags |= wire.FlagTC
	short.sections = [3][]Record{}
	return short.append(b[:0])
}

// strip removes records of the types given from all sections; RRSIG records of a
// type go with it.
func (m *message) strip(types []wire.Type) {
	gone := func(t wire.Type) bool {
		for _, x := range types {
			if x == t {
				return true
			}
		}
		return false
	}
	for s := range m.sections {
		kept := m.sections[s][:0]
		for _, r := range m.sections[s] {
			if gone(r.Type) || r.Type == wire.TypeRRSIG && gone(wire.Covered(r.Data)) {
				continue
			}
			kept = append(kept, r)
		}
		m.sections[s] = kept
	}
}

// corrupt makes the signatures of the types given wrong.
func (m *message) corrupt(types []wire.Type) {
	for s := range m.sections {
		for i := range m.sections[s] {
			r := &m.sections[s][i]
			if r.Type == wire.TypeRRSIG && slices.Contains(types, wire.Covered(r.Data)) {
				r.Data[len(r.Data)-1] ^= 1
			}
		}
	}
}
