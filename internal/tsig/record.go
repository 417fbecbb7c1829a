package tsig

import (
	"encoding/binary"
	"errors"
	"time"

	"port53/internal/wire"
)

// A record is a TSIG record, read in place.
type record struct {
	start     int    // where it begins in the message
	name      []byte // of the key, as it came
	algorithm []byte // its name, as it came
	signed    uint64 // seconds since 1970
	fudge     uint16 // seconds
	mac       []byte
	id        uint16 // of the message when it was signed
	err       wire.Rcode
	other     []byte
}

var (
	errShort  = errors.New("tsig: the message is malformed")
	errPlace  = errors.New("tsig: TSIG is not the last record of the message")
	errRecord = errors.New("tsig: the TSIG record is malformed")
)

// minMAC is the shortest code that may be sent (RFC 8945, section 5.2.2.1).
const minMAC = 10

// find reads the TSIG record of a message. The record is nil without an error if there
// is none.
func find(msg []byte) (*record, error) {
	if len(msg) < wire.HeaderLen {
		return nil, errShort
	}
	questions := int(binary.BigEndian.Uint16(msg[4:]))
	records := 0
	for at := 6; at < 12; at += 2 {
		records += int(binary.BigEndian.Uint16(msg[at:]))
	}
	pos := wire.HeaderLen
	for range questions {
		if pos = skip(msg, pos); pos < 0 || pos+4 > len(msg) {
			return nil, errShort
		}
		pos += 4
	}
	for i := range records {
		start := pos
		if pos = skip(msg, pos); pos < 0 || pos+10 > len(msg) {
			return nil, errShort
		}
		head := pos
		if pos += 10 + int(binary.BigEndian.Uint16(msg[head+8:])); pos > len(msg) {
			return nil, errShort
		}
		if wire.Type(binary.BigEndian.Uint16(msg[head:])) != wire.TypeTSIG {
			continue
		}
		if i != records-1 || pos != len(msg) || binary.BigEndian.Uint16(msg[10:]) == 0 {
			return nil, errPlace
		}
		return parse(msg, start, head)
	}
	return nil, nil // an unsigned message is no error
}

func parse(msg []byte, start, head int) (*record, error) {
	n, err := wire.CheckName(msg[start:head])
	if err != nil || start+n != head {
		return nil, errRecord // a name cut short by a pointer is not the canonical form that is signed
	}
	if wire.Class(binary.BigEndian.Uint16(msg[head+2:])) != wire.ClassANY || binary.BigEndian.Uint32(msg[head+4:]) != 0 {
		return nil, errRecord
	}
	b := msg[head+10:]
	a, err := wire.CheckName(b)
	if err != nil || a+16 > len(b) {
		return nil, errRecord
	}
	r := &record{start: start, name: msg[start:head], algorithm: b[:a]}
	b = b[a:]
	r.signed = uint64(binary.BigEndian.Uint16(b))<<32 | uint64(binary.BigEndian.Uint32(b[2:]))
	r.fudge = binary.BigEndian.Uint16(b[6:])
	size := int(binary.BigEndian.Uint16(b[8:]))
	if b = b[10:]; size+6 > len(b) {
		return nil, errRecord
	}
	r.mac = b[:size]
	b = b[size:]
	r.id, r.err = binary.BigEndian.Uint16(b), wire.Rcode(binary.BigEndian.Uint16(b[2:]))
	if int(binary.BigEndian.Uint16(b[4:])) != len(b)-6 {
		return nil, errRecord
	}
	r.other = b[6:]
	return r, nil
}

// skip returns the offset behind the possibly compressed name at pos, or -1.
func skip(msg []byte, pos int) int {
	for pos < len(msg) {
		n := int(msg[pos])
		switch {
		case n == 0:
			return pos + 1
		case n >= 0xC0:
			return pos + 2
		case n > wire.MaxLabel:
			return -1
		}
		pos += 1 + n
	}
	return -1
}

func appendTime(dst []byte, seconds uint64) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(seconds>>32))
	return binary.BigEndian.AppendUint32(dst, uint32(seconds))
}

// appendVariables appends what is signed beside the message (RFC 8945, section 4.3.3).
func (r *record) appendVariables(dst []byte) []byte {
	dst = wire.Lower(dst, r.name)
	dst = append(dst, 0, byte(wire.ClassANY), 0, 0, 0, 0) // class and TTL
	dst = wire.Lower(dst, r.algorithm)
	dst = r.appendTimers(dst)
	dst = binary.BigEndian.AppendUint16(dst, uint16(r.err))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(r.other)))
	return append(dst, r.other...)
}

// appendTimers appends what is signed beside the later messages of a stream (RFC 8945,
// section 5.3.1).
func (r *record) appendTimers(dst []byte) []byte {
	return binary.BigEndian.AppendUint16(appendTime(dst, r.signed), r.fudge)
}

// append appends the record to a message and counts it.
func (r *record) append(msg []byte) []byte {
	binary.BigEndian.PutUint16(msg[10:], binary.BigEndian.Uint16(msg[10:])+1)
	msg = append(msg, r.name...)
	msg = binary.BigEndian.AppendUint16(msg, uint16(wire.TypeTSIG))
	msg = append(msg, 0, byte(wire.ClassANY), 0, 0, 0, 0)
	msg = binary.BigEndian.AppendUint16(msg, uint16(len(r.algorithm)+16+len(r.mac)+len(r.other)))
	msg = append(msg, r.algorithm...)
	msg = r.appendTimers(msg)
	msg = binary.BigEndian.AppendUint16(msg, uint16(len(r.mac)))
	msg = append(msg, r.mac...)
	msg = binary.BigEndian.AppendUint16(msg, r.id)
	msg = binary.BigEndian.AppendUint16(msg, uint16(r.err))
	msg = binary.BigEndian.AppendUint16(msg, uint16(len(r.other)))
	return append(msg, r.other...)
}

// bare returns the header and the rest of a message as they were before it was signed
// (RFC 8945, section 4.3.2).
func (r *record) bare(msg []byte) (head [wire.HeaderLen]byte, rest []byte) {
	copy(head[:], msg)
	binary.BigEndian.PutUint16(head[:], r.id)
	binary.BigEndian.PutUint16(head[10:], binary.BigEndian.Uint16(msg[10:])-1)
	return head, msg[wire.HeaderLen:r.start]
}

// apart returns by how many seconds the signer's clock and ours differ: as a Duration, the
// largest times that can be signed would come round to small ones.
func (r *record) apart(now time.Time) int64 {
	d := now.Unix() - int64(r.signed)
	return max(d, -d)
}
