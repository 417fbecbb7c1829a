package exchange

import (
	"bytes"
	"encoding/binary"

	"port53/internal/wire"
)

// A Fit is how a message fits a query.
type Fit uint8

// The fits, the worst first.
const (
	Unrelated   Fit = iota // not a reply to anything like it
	NearMiss               // the question is right and the ID is not, or the other way
	NoQuestion             // right but without its question, as servers send errors that kept them from reading it
	CaseDiffers            // all is right but the case of the name
	Exact
)

// Match compares a message with the query that it should answer: QR, opcode, ID and
// question (RFC 5452, section 9.1). query is one of ours, whole and with its question,
// if it has one, uncompressed; msg may be anything.
func Match(query, msg []byte) Fit {
	if len(msg) < wire.HeaderLen || msg[2]&0x80 == 0 || (msg[2]^query[2])&0x78 != 0 {
		return Unrelated
	}
	id := msg[0] == query[0] && msg[1] == query[1]
	asked, got := questions(query), questions(msg)
	switch {
	case id && got == 0 && asked == 0:
		return Exact
	case id && got == 0 && (opcode(query) == wire.OpcodeUpdate || rcode(msg) != wire.NoError):
		return NoQuestion // an update's zone may be left out of any reply (RFC 2136, section 3.8)
	}
	end := questionEnd(query)
	if got != asked || len(msg) < end {
		return nearMiss(id)
	}
	name := end - 4
	switch {
	case bytes.Equal(msg[wire.HeaderLen:end], query[wire.HeaderLen:end]):
		if id {
			return Exact
		}
	case bytes.Equal(msg[name:end], query[name:end]) && wire.EqualFold(msg[wire.HeaderLen:name], query[wire.HeaderLen:name]):
		if id {
			return CaseDiffers
		}
	default:
		return nearMiss(id)
	}
	return NearMiss
}

// ReplyTo reports whether a message is a reply with the ID of a query, and nothing more.
func ReplyTo(query, msg []byte) bool {
	return len(msg) >= wire.HeaderLen && msg[2]&0x80 != 0 && bytes.Equal(msg[:2], query[:2])
}

// Continues reports whether a message goes on with the reply to a query whose first
// message matched: it may leave the question out (RFC 5936, section 2.2.2).
func Continues(query, msg []byte) bool {
	if fit := Match(query, msg); fit != NearMiss {
		return fit >= NoQuestion
	}
	return msg[0] == query[0] && msg[1] == query[1] && questions(msg) == 0
}

func nearMiss(id bool) Fit {
	if id {
		return NearMiss
	}
	return Unrelated
}

func opcode(msg []byte) wire.Opcode { return wire.Opcode(msg[2] >> 3 & 15) }

func questions(msg []byte) int { return int(binary.BigEndian.Uint16(msg[4:])) }

// questionEnd returns where the question of a query ends.
func questionEnd(query []byte) int {
	at := wire.HeaderLen
	if questions(query) == 0 {
		return at
	}
	for at < len(query) && query[at] != 0 {
		at += 1 + int(query[at])
	}
	return min(at+5, len(query))
}

// rcode returns the response code of a message without a question: that of the header,
// with the upper bits that an OPT record at its beginning has.
func rcode(msg []byte) wire.Rcode {
	r := wire.Rcode(msg[3] & 15)
	const opt = wire.HeaderLen // a root name, the type, the class, and the bits
	if len(msg) > opt+5 && msg[opt] == 0 && wire.Type(binary.BigEndian.Uint16(msg[opt+1:])) == wire.TypeOPT {
		r |= wire.Rcode(msg[opt+5]) << 4
	}
	return r
}
