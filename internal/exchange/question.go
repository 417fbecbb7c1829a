package exchange

import (
	"crypto/rand"
	"encoding/binary"

	"port53/internal/wire"
)

// Sizes of what is sent.
const (
	// UDPSize is the EDNS size that is sent unless told otherwise: what crosses most
	// paths unfragmented, IPv6's least MTU less the headers (RFC 9715, section 3.2).
	UDPSize = 1232
	// CookieLen is the octets of a client cookie (RFC 7873, section 4).
	CookieLen = 8
	optHeader = 11 // octets of an OPT record without options
	optionLen = 4  // octets of an option's code and length
)

// An Option is one EDNS option (RFC 6891, section 6.1.2).
type Option struct {
	Code uint16
	Data []byte
}

// A Question is a query as it goes on the wire.
//
// In one piece: it has a field for each part of a query.
type Question struct {
	Name   []byte
	Type   wire.Type
	Class  wire.Class
	Opcode wire.Opcode
	Flags  uint16 // of the header's second word, without the opcode
	Serial uint32 // of the SOA record that a question for IXFR brings (RFC 1995, section 3)

	NoQuestion bool    // the header alone, with EDNS if that is set
	ID         *uint16 // nil: a random one for each query

	EDNS      bool
	Version   uint8
	DO        bool
	EDNSFlags uint16 // the others, of the low 15 bits
	UDPSize   uint16
	Options   []Option
	Cookie    bool // send a client cookie, fresh for each exchange, and learn the server's
	Padding   int  // pad to a multiple of so many octets (RFC 7830); 0: no
}

// id returns the ID to send q with.
func (q *Question) id() uint16 {
	if q.ID != nil {
		return *q.ID
	}
	var id [2]byte
	_, _ = rand.Read(id[:]) // never fails
	return binary.BigEndian.Uint16(id[:])
}

// Append appends the query with this ID and cookie, if there is one, to dst.
func (q *Question) Append(dst []byte, id uint16, cookie []byte) []byte {
	start := len(dst)
	count := func(at int) {
		binary.BigEndian.PutUint16(dst[start+at:], binary.BigEndian.Uint16(dst[start+at:])+1)
	}
	dst = binary.BigEndian.AppendUint16(dst, id)
	dst = binary.BigEndian.AppendUint16(dst, q.Flags|uint16(q.Opcode)<<11)
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
	if !q.NoQuestion {
		count(4)
		dst = append(dst, q.Name...)
		dst = binary.BigEndian.AppendUint16(dst, uint16(q.Type))
		dst = binary.BigEndian.AppendUint16(dst, uint16(q.Class))
		if q.Type == wire.TypeIXFR {
			count(8)
			dst = append(dst, q.Name...)
			dst = binary.BigEndian.AppendUint16(dst, uint16(wire.TypeSOA))
			dst = binary.BigEndian.AppendUint16(dst, uint16(q.Class))
			dst = append(dst, 0, 0, 0, 0, 0, 22, 0, 0) // TTL, length, two names of the root
			dst = binary.BigEndian.AppendUint32(dst, q.Serial)
			dst = append(dst, make([]byte, 16)...)
		}
	}
	if !q.EDNS {
		return dst
	}
	var options []byte
	for _, o := range q.Options {
		options = appendOption(options, o.Code, o.Data)
	}
	if q.Cookie && cookie != nil {
		options = appendOption(options, wire.OptionCookie, cookie)
	}
	if q.Padding > 0 {
		over := (len(dst) - start + optHeader + len(options) + optionLen) % q.Padding
		options = appendOption(options, wire.OptionPadding, make([]byte, (q.Padding-over)%q.Padding))
	}
	count(10)
	at := len(dst)
	dst = wire.AppendOPT(dst, q.UDPSize, q.DO, options)
	dst[at+6] = q.Version
	dst[at+7] |= byte(q.EDNSFlags >> 8 & 0x7F)
	dst[at+8] |= byte(q.EDNSFlags)
	return dst
}

func appendOption(dst []byte, code uint16, data []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, code)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(data)))
	return append(dst, data...)
}

// Options returns the EDNS options of m, at most maxOptions of them.
func Options(m *wire.Message) []Option {
	var list []Option
	b := m.Options
	for len(b) >= optionLen && len(list) < maxOptions {
		n := int(binary.BigEndian.Uint16(b[2:]))
		if optionLen+n > len(b) {
			break
		}
		list = append(list, Option{binary.BigEndian.Uint16(b), b[optionLen : optionLen+n]})
		b = b[optionLen+n:]
	}
	return list
}

// maxOptions is how many options of a reply are looked at: servers send a handful, and
// 16,383 fit into a message (CVE-2026-41292).
const maxOptions = 64
