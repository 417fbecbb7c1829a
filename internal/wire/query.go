package wire

import (
	"encoding/binary"
)

// Header bits, in the second 16-bit word of a message (RFC 1035, section 4.1.1;
// RFC 4035, section 3.2).
const (
	FlagQR uint16 = 1 << 15 // response
	FlagAA uint16 = 1 << 10 // authoritative answer
	FlagTC uint16 = 1 << 9  // truncated
	FlagRD uint16 = 1 << 8  // recursion desired
	FlagRA uint16 = 1 << 7  // recursion available
	FlagAD uint16 = 1 << 5  // authentic data
	FlagCD uint16 = 1 << 4  // checking disabled
)

// EDNS option codes.
const (
	OptionNSID      = 3  // RFC 5001
	OptionSubnet    = 8  // RFC 7871; never sent
	OptionExpire    = 9  // RFC 7314
	OptionCookie    = 10 // RFC 7873
	OptionKeepalive = 11 // RFC 7828
	OptionPadding   = 12 // RFC 7830
	OptionEDE       = 15 // RFC 8914
)

// A Query is one query read in place. It is large and meant to be reused: a
// worker has one, and parses each packet into it. Its slices belong to the
// packet and end with it.
//
// In one piece: it is read by every query, and lies in as few cache lines as it can.
type Query struct {
	Msg    []byte // the whole message
	ID     uint16
	Flags  uint16 // the header's second word
	Opcode Opcode
	Type   Type
	Class  Class

	// HasQuestion reports whether the question could be read, and may be repeated in
	// an answer.
	HasQuestion bool

	// Name is the question's name in lower case.
	Name SplitName

	// EDNS, where the query has an OPT record (RFC 6891, section 6.1.2).
	EDNS      bool
	DO        bool
	CO        bool // NXDOMAIN may stand beside a proof that is one of no data (RFC 9824, section 5.1)
	Version   uint8
	UDPSize   uint16 // as sent; below 512 means 512
	NSID      bool   // asked for
	Expire    bool   // asked for
	Keepalive bool   // asked for
	Padding   bool   // asked for
	Cookie    []byte // client cookie and, where the client has one, server cookie; nil if none was sent

	// TSIG is the name, type, class, TTL, length and data of the TSIG record, or nil.
	TSIG     []byte
	tsigName int
}

// Question returns the octets of the question as the client sent it: name, type
// and class. It is empty without one.
func (q *Query) Question() []byte { return q.Msg[HeaderLen : HeaderLen+q.QuestionLen()] }

// QuestionLen returns the octets of the question, or 0 without one.
func (q *Query) QuestionLen() int {
	if !q.HasQuestion {
		return 0
	}
	return q.Name.n + 4
}

// Parse reads the query in msg and returns 0, or why it cannot be answered as a
// query. What was read until then stands: header, and the question if
// HasQuestion. Octets behind the last record are ignored, and so are records
// other than OPT and TSIG.
func (q *Query) Parse(msg []byte) Malformed {
	q.Msg = msg
	q.HasQuestion = false
	q.EDNS, q.DO, q.CO, q.NSID, q.Expire, q.Keepalive, q.Padding = false, false, false, false, false, false, false
	q.Version, q.UDPSize = 0, 0
	q.Cookie, q.TSIG = nil, nil
	q.Name.n, q.Name.Labels = 0, 0
	if len(msg) < HeaderLen {
		return ShortHeader
	}
	h := msg[:HeaderLen]
	q.ID = binary.BigEndian.Uint16(h)
	q.Flags = binary.BigEndian.Uint16(h[2:])
	if q.Flags&FlagQR != 0 {
		return IsResponse
	}
	q.Opcode = Opcode(q.Flags >> 11 & 15)
	counts := binary.BigEndian.Uint64(h[4:])
	pos := HeaderLen
	switch counts >> 48 {
	case 1:
		// The name: walk the labels, then copy and lower it in words.
		labels := 0
		for {
			if pos >= len(msg) {
				return ShortName
			}
			l := int(msg[pos])
			q.Name.starts[labels] = uint8(pos - HeaderLen)
			if l == 0 {
				pos++
				break
			}
			if l > MaxLabel {
				return BadLabel
			}
			pos += l + 1
			labels++
			if pos-HeaderLen >= MaxName {
				return LongName
			}
		}
		if pos+4 > len(msg) {
			return ShortQuestion
		}
		q.Name.Labels = labels
		q.Name.n = copy(q.Name.buf[:MaxName], msg[HeaderLen:pos])
		lowerWords(q.Name.buf[:], q.Name.n)
		q.Type = Type(binary.BigEndian.Uint16(msg[pos:]))
		q.Class = Class(binary.BigEndian.Uint16(msg[pos+2:]))
		q.HasQuestion = true
		pos += 4
	case 0:
		// RFC 7873, section 5.4: a cookie may be asked for without a question.
		q.Type, q.Class = 0, 0
	default:
		return QuestionCount
	}
	if counts&0xFFFFFFFFFFFF != 0 {
		if bad := q.parseRecords(pos, int(counts>>32&0xFFFF), int(counts>>16&0xFFFF), int(counts&0xFFFF)); bad != 0 {
			return bad
		}
	}
	if counts>>48 == 0 && q.Cookie == nil {
		return QuestionCount
	}
	return 0
}

// parseRecords walks the records behind the question for OPT and TSIG. An update may have
// as many as a message holds, and its signature is behind them: each takes eleven octets at
// least, and the walk looks at each once.
func (q *Query) parseRecords(pos, answers, authorities, additionals int) Malformed {
	msg := q.Msg
	total := answers + authorities + additionals
	for i := range total {
		if i == maxQueryRecords && q.Opcode != OpcodeUpdate {
			return TooManyRecords
		}
		start := pos
		rooted := pos < len(msg) && msg[pos] == 0
		if rooted {
			pos++
		} else if pos = skipName(msg, pos); pos < 0 {
			return ShortRecord
		}
		if pos+10 > len(msg) {
			return ShortRecord
		}
		t := Type(binary.BigEndian.Uint16(msg[pos:]))
		class := binary.BigEndian.Uint16(msg[pos+2:])
		ttl := binary.BigEndian.Uint32(msg[pos+4:])
		n := int(binary.BigEndian.Uint16(msg[pos+8:]))
		data := pos + 10
		if data+n > len(msg) {
			return ShortRecord
		}
		pos = data + n
		switch t {
		case TypeOPT:
			if q.EDNS || !rooted || i < answers+authorities {
				return BadOPT
			}
			q.EDNS = true
			q.UDPSize = class
			q.Version = uint8(ttl >> 16)
			q.DO = ttl&0x8000 != 0
			q.CO = ttl&0x4000 != 0
			if n > 0 && !q.parseOptions(msg[data:pos]) {
				return BadOPT
			}
		case TypeTSIG:
			// RFC 8945, section 5.1: once, as the last record of the additional section.
			if q.TSIG != nil || i != total-1 || additionals == 0 || Class(class) != ClassANY {
				return BadTSIG
			}
			// A key's name cut short by a pointer could not be repeated.
			if n, _, bad := scanName(msg[start:]); bad != 0 || start+n != data-10 || !goodTSIG(msg[data:pos]) {
				return BadTSIG
			}
			q.TSIG, q.tsigName = msg[start:pos], data-10-start
		}
	}
	return 0
}

// parseOptions reads the options of OPT; repeats are ignored. It returns false if
// they do not add up.
func (q *Query) parseOptions(b []byte) bool {
	for i := 0; len(b) > 0; i++ {
		if len(b) < 4 {
			return false
		}
		code, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if 4+n > len(b) {
			return false
		}
		if i < maxOptions {
			switch code {
			case OptionCookie:
				if q.Cookie == nil {
					q.Cookie = b[4 : 4+n : 4+n]
				}
			case OptionNSID:
				q.NSID = true
			case OptionExpire:
				q.Expire = true
			case OptionKeepalive:
				q.Keepalive = true
			case OptionPadding:
				q.Padding = true
			}
		}
		b = b[4+n:]
	}
	return true
}

// CookieLenOK reports whether the cookie has a length that RFC 7873, section 5.2.2
// allows: a client cookie of 8 octets, alone or with 8 to 32 octets of the server's.
func (q *Query) CookieLenOK() bool {
	n := len(q.Cookie)
	return n == 8 || n >= 16 && n <= 40
}

// goodTSIG reports whether the RDATA of a TSIG record is whole and its MAC at least
// ten octets (RFC 8945, section 5.2.2.1).
func goodTSIG(b []byte) bool {
	n, _, bad := scanName(b)
	if bad != 0 || n+10 > len(b) {
		return false
	}
	mac := int(binary.BigEndian.Uint16(b[n+8:]))
	rest := n + 10 + mac
	if mac < 10 || rest+6 > len(b) {
		return false
	}
	return rest+6+int(binary.BigEndian.Uint16(b[rest+4:])) == len(b)
}

// TSIGErrorLen returns the octets of a TSIG record without code and other data that
// answers the query's own.
func (q *Query) TSIGErrorLen() int { return q.tsigName + 10 + len(q.TSIGAlgorithm()) + 16 }

// TSIGAlgorithm returns the name of the TSIG record's algorithm as it was sent. There is a
// TSIG record.
func (q *Query) TSIGAlgorithm() []byte {
	data := q.TSIG[q.tsigName+10:]
	n, _, _ := scanName(data)
	return data[:n]
}

// AskedName returns the question's name as it was sent. It is empty without a question.
func (q *Query) AskedName() []byte {
	if !q.HasQuestion {
		return nil
	}
	return q.Msg[HeaderLen : HeaderLen+q.Name.n]
}

// skipName returns the offset behind the possibly compressed name at pos, or -1.
// Pointers are not followed, but they must point backwards.
func skipName(msg []byte, pos int) int {
	start := pos
	for pos < len(msg) {
		l := int(msg[pos])
		switch {
		case l == 0:
			return pos + 1
		case l >= 0xC0:
			if pos+2 > len(msg) || int(binary.BigEndian.Uint16(msg[pos:])&MaxPointer) >= start {
				return -1
			}
			return pos + 2
		case l > MaxLabel:
			return -1
		}
		if pos += l + 1; pos-start >= MaxName {
			return -1
		}
	}
	return -1
}
