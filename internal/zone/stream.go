package zone

import (
	"encoding/binary"

	"port53/internal/wire"
)

// EachSet calls f with every RRset of the zone and its node, the SOA first, until f returns
// false. The set is good until then.
func (z *Zone) EachSet(f func(n Node, set *RRset) bool) {
	var set RRset // of f's, which keeps nothing of it
	for _, soa := range [2]bool{true, false} {
		for i := range z.sets(z.root) {
			if set = z.setAt(z.root, i); (set.Type == wire.TypeSOA) == soa && !f(z.root, &set) {
				return
			}
		}
	}
	for at := firstNode; at < len(z.data); {
		n := Node(at / nodeAlign)
		at += z.nodeSize(n)
		if n == z.root || n == z.negative || !z.live(n) {
			continue
		}
		for i := range z.sets(n) {
			if set = z.setAt(n, i); !f(n, &set) {
				return
			}
		}
	}
}

// EachRecord calls f with each record of a set, as Each does.
func (z *Zone) EachRecord(n Node, set *RRset, f func(owner []byte, t wire.Type, ttl uint32, data []byte) bool) bool {
	return set.each(z.AppendName(nil, n), f)
}

// An AppendResult is how AppendSet ended.
type AppendResult uint8

// The ends of AppendSet.
const (
	Appended        AppendResult = iota
	NeedsNewMessage              // it fits at the beginning of another message, perhaps
	NeedsRecords                 // its records have to be written one by one
)

// AppendSet appends a whole set with its signatures to a message of no more than limit
// octets, as it is stored. apexAt is where the zone's name stands in the message, or 0: it
// is returned where it does from now on. Unless the set fits, nothing is appended.
func (z *Zone) AppendSet(msg []byte, n Node, set *RRset, apexAt, limit int) (out []byte, apex int, fit AppendResult) {
	if set.big || set.root {
		return msg, apexAt, NeedsRecords
	}
	b := z.at(n)
	length := int(b[8])
	rel := b[nodeHeader : nodeHeader+length]
	if load16(b)&flagMixedCase != 0 {
		rel = b[nodeHeader+length : nodeHeader+2*length]
	}
	start, octets, records := len(msg), set.length+set.sigLen, set.Records+set.Sigs
	owner := length + 2
	if apexAt == 0 {
		owner = length + len(z.apexName)
	}
	switch {
	case start+owner-2+octets <= min(limit, wire.MaxPointer):
	case start+octets+records*owner > limit:
		return msg, apexAt, NeedsNewMessage
	case set.fix == set.Records:
		return z.appendFar(msg, rel, set, apexAt)
	default:
		return z.appendFarNames(msg, rel, set, apexAt, limit)
	}
	msg, apex = z.appendOwner(msg, rel, apexAt)
	shift := len(msg) - 2 // where the block's first octet would stand
	msg = append(msg, set.block[2:octets]...)
	table := set.block[octets:]
	for i := 1; i < set.fix+set.Sigs; i++ { // the first is the first record's owner
		p := msg[load16(table[2*i:])+shift:]
		switch v := pointerAt(p); {
		case v >= blockBase:
			v += shift - blockBase
			binary.BigEndian.PutUint16(p, uint16(0xC000|v))
		case v >= length:
			binary.BigEndian.PutUint16(p, uint16(0xC000|(apex+v-length)))
		default:
			binary.BigEndian.PutUint16(p, uint16(0xC000|(start+v)))
		}
	}
	return msg, apex, Appended
}

func (z *Zone) appendOwner(msg, rel []byte, apexAt int) (out []byte, apex int) {
	msg = append(msg, rel...)
	if apexAt == 0 {
		apexAt = len(msg)
		return append(msg, z.apexName...), apexAt
	}
	return append(msg, 0xC0|byte(apexAt>>8), byte(apexAt)), apexAt
}

// appendFar appends records without names in their data where no pointer reaches the
// owner: each has it spelled.
func (z *Zone) appendFar(msg, rel []byte, set *RRset, apexAt int) (out []byte, apex int, fit AppendResult) {
	if apexAt == 0 {
		return msg, apexAt, NeedsNewMessage
	}
	for at := 0; at < set.length+set.sigLen; {
		end := at + recordHeader + int(binary.BigEndian.Uint16(set.block[at+10:]))
		msg, _ = z.appendOwner(msg, rel, apexAt)
		msg = append(msg, set.block[at+2:end]...)
		at = end
	}
	return msg, apexAt, Appended
}

// appendFarNames is appendFar for sets with names in their data, which are spelled as far
// as they are not the zone's. It wants another message for names that point to each other:
// there they do in a few octets.
func (z *Zone) appendFarNames(msg, rel []byte, set *RRset, apexAt, limit int) (out []byte, apex int, fit AppendResult) {
	start := len(msg)
	if apexAt == 0 {
		return msg, apexAt, NeedsNewMessage
	}
	octets := set.length + set.sigLen
	table := set.block[octets:]
	next := 0
	for at := 0; at < octets; {
		end := at + recordHeader + int(binary.BigEndian.Uint16(set.block[at+10:]))
		next++ // the record's owner
		msg, _ = z.appendOwner(msg, rel, apexAt)
		data := len(msg) + recordHeader - 2
		at += 2
		for ; next < set.fix+set.Sigs && load16(table[2*next:]) < end; next++ {
			p := load16(table[2*next:])
			msg = append(msg, set.block[at:p]...)
			at = p + 2
			v := pointerAt(set.block[p:])
			switch {
			case v >= blockBase:
				return msg[:start], apexAt, NeedsNewMessage
			case v < len(rel):
				msg, _ = z.appendOwner(msg, rel[v:], apexAt)
			default:
				v += apexAt - len(rel)
				msg = append(msg, 0xC0|byte(v>>8), byte(v))
			}
		}
		msg = append(msg, set.block[at:end]...)
		binary.BigEndian.PutUint16(msg[data-2:], uint16(len(msg)-data))
		at = end
	}
	if len(msg) > limit {
		return msg[:start], apexAt, NeedsNewMessage
	}
	return msg, apexAt, Appended
}
