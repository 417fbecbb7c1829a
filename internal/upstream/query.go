package upstream

import (
	"bytes"
	"encoding/binary"

	"port53/internal/wire"
)

// build writes the query with a new ID and a new case.
func (a *attempt) build() {
	flags := uint16(0)
	if a.q.RD {
		flags |= wire.FlagRD
	}
	if a.q.CD {
		flags |= wire.FlagCD
	}
	a.id = uint16(a.c.random.Uint64())
	b := wire.AppendQuery(a.room[:2], a.id, flags, a.q.Name, a.q.Type)
	if a.mixed {
		a.c.random.mixCase(b[2+wire.HeaderLen:], a.q.Name)
	}
	if a.edns {
		var room [4 + 40]byte
		options := room[:0]
		if a.cookies {
			cookie := a.known.cookie[:a.known.cookieLen]
			options = append(options, 0, wire.OptionCookie, 0, byte(8+len(cookie)))
			options = append(options, a.known.client[:]...)
			options = append(options, cookie...)
		}
		b = wire.AppendOPT(b, uint16(a.c.o.UDPSize), a.q.DO, options)
		b[2+11] = 1
	}
	binary.BigEndian.PutUint16(b, uint16(len(b)-2))
	a.query = b
}

// setID gives the query another ID, for a connection on which the first is taken.
func (a *attempt) setID(id uint16) {
	a.id = id
	binary.BigEndian.PutUint16(a.query[2:], id)
}

// A fit is how a message fits the question.
type fit uint8

const (
	not     fit = iota // it is not a reply to anything like it
	nearly             // the question is right and the ID is not, or the other way
	bare               // an error that has the ID and no question
	refolds            // all is right but the case of the name
	fits
)

// matches compares a reply with the question: ID, QR, opcode, name, type and class
// (RFC 5452, section 9.1). An error without a question can be that of a server which did
// not read so far.
func (a *attempt) matches(msg []byte) fit {
	query := a.query[2:]
	end := wire.HeaderLen + len(a.q.Name) + 4
	if len(msg) < wire.HeaderLen || msg[2]&0x80 == 0 || msg[2]&0x78 != 0 {
		return not
	}
	id := binary.BigEndian.Uint16(msg) == a.id
	if id && isBare(msg) {
		return bare
	}
	if binary.BigEndian.Uint16(msg[4:]) != 1 || len(msg) < end {
		if id {
			return nearly
		}
		return not
	}
	same := bytes.Equal(msg[wire.HeaderLen:end], query[wire.HeaderLen:end])
	folded := same || bytes.Equal(msg[end-4:end], query[end-4:end]) && wire.EqualFold(msg[wire.HeaderLen:end-4], query[wire.HeaderLen:end-4])
	switch {
	case id && same:
		return fits
	case id && folded && a.mixed:
		return refolds
	case id && folded:
		return fits
	case id || folded:
		return nearly
	}
	return not
}

// isBare tells whether a message is an error without a question.
func isBare(msg []byte) bool {
	return binary.BigEndian.Uint16(msg[4:]) == 0 && msg[3]&15 != 0
}

// findOPT returns the OPT record of a message, from its type on, or nil. Only the
// additional section may have it (RFC 6891, section 6.1.1); what is not whole ends the
// walk.
func findOPT(msg []byte) []byte {
	pos := wire.HeaderLen
	skip := func() bool {
		for pos < len(msg) {
			l := int(msg[pos])
			switch {
			case l == 0:
				pos++
				return true
			case l >= 0xC0:
				pos += 2
				return pos <= len(msg)
			case l > wire.MaxLabel:
				return false
			}
			pos += l + 1
		}
		return false
	}
	for range int(binary.BigEndian.Uint16(msg[4:])) {
		if !skip() {
			return nil
		}
		pos += 4
	}
	before := int(binary.BigEndian.Uint16(msg[6:])) + int(binary.BigEndian.Uint16(msg[8:]))
	for i := range before + int(binary.BigEndian.Uint16(msg[10:])) {
		rooted := pos < len(msg) && msg[pos] == 0
		if !skip() || pos+10 > len(msg) {
			return nil
		}
		start := pos
		pos += 10 + int(binary.BigEndian.Uint16(msg[pos+8:]))
		if pos > len(msg) {
			return nil
		}
		if i >= before && rooted && binary.BigEndian.Uint16(msg[start:]) == uint16(wire.TypeOPT) {
			return msg[start:pos]
		}
	}
	return nil
}
