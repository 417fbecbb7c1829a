package zone

import (
	"bytes"
	"encoding/binary"
	"math"

	"port53/internal/wire"
)

// At a delegation, the addresses of its name servers that are glue (below this cut
// or another) lie behind the NS set once more, ready to be copied: a referral then
// touches one node, not thirteen. The area is
//
//	records in-domain 2, octets in-domain 2, records 2, octets 2, data
//
// with the in-domain ones first; each record's owner is a pointer into the NS
// set's block. Its targets are not listed as targets.
const glueHeader = 8

// maxSharedGlue bounds the octets that a zone spends on copies of glue that is not
// in-domain: one host can serve a million delegations. Beyond it, such targets
// are listed, and their nodes visited.
const maxSharedGlue = 16 << 20

// maxGlued is the most records of an NS set that has a glue area behind it: as many as
// a short header can count. The targets of larger ones are listed.
const maxGlued = math.MaxUint8

// copyGlue moves what it can of the targets of d, an NS set below the apex, into a
// glue area. Every NS set there ends in one, an empty one perhaps.
func (c *compiler) copyGlue(d *setDraft) {
	from := len(c.glue)
	c.glue = append(c.glue, make([]byte, glueHeader)...)
	all := c.targets[d.targetsFrom:]
	kept := all[:0]
	var rest []target
	records, inDomain, octets := 0, 0, 0
	for _, t := range all {
		if t.offset&targetInDomain == 0 {
			rest = append(rest, t)
			continue
		}
		n, ok := c.appendGlue(t)
		records += n
		if !ok {
			kept = append(kept, t)
		}
	}
	inDomain, octets = records, len(c.glue)-from-glueHeader
	for _, t := range rest {
		before := len(c.glue)
		if c.shared > maxSharedGlue {
			kept = append(kept, t)
			continue
		}
		n, ok := c.appendGlue(t)
		records += n
		c.shared += len(c.glue) - before
		if !ok {
			kept = append(kept, t)
		}
	}
	c.targets = c.targets[:d.targetsFrom+len(kept)]
	h := c.glue[from:]
	binary.LittleEndian.PutUint16(h, uint16(inDomain))
	binary.LittleEndian.PutUint16(h[2:], uint16(octets))
	binary.LittleEndian.PutUint16(h[4:], uint16(records))
	binary.LittleEndian.PutUint16(h[6:], uint16(len(c.glue)-from-glueHeader))
}

// appendGlue appends the addresses of t. It returns false, having done nothing, if
// they are authoritative data, which may have signatures, or too many to copy.
func (c *compiler) appendGlue(t target) (records int, ok bool) {
	o := c.b.owners.at(t.owner)
	if o.flags&(flagCut|flagOccluded) == 0 {
		return 0, false
	}
	const maxAddresses = 8 // of one server; more are rare, and searched for duplicates here
	start := len(c.glue)
	pointer := 0xC000 | uint16(t.offset&0x3FFF+blockBase)
	if t.offset&^targetInDomain+blockBase > wire.MaxPointer {
		return 0, false
	}
	for _, want := range [2]wire.Type{wire.TypeA, wire.TypeAAAA} {
		set, ttl, of := len(c.glue), uint32(0), 0
	next:
		for ref := o.head; ref != 0; {
			h := c.b.raw(ref)
			ref = recordRef(binary.LittleEndian.Uint64(h))
			if wire.Type(load16(h[8:])) != want {
				continue
			}
			data := h[rawHeader : rawHeader+load16(h[10:])]
			if of == 0 {
				ttl = binary.LittleEndian.Uint32(h[12:])
			}
			for at := set; at < len(c.glue); at += recordHeader + len(data) {
				if bytes.Equal(c.glue[at+recordHeader:at+recordHeader+len(data)], data) {
					continue next
				}
			}
			if of++; of > maxAddresses {
				c.glue = c.glue[:start]
				return 0, false
			}
			at := len(c.glue)
			c.glue = append(appendHeader(c.glue, want, ttl, len(data)), data...)
			binary.BigEndian.PutUint16(c.glue[at:], pointer)
		}
		records += of
	}
	return records, true
}

// glueArea returns the set's glue area.
func (s *RRset) glueArea() []byte {
	size := 2
	if s.big {
		size = 4
	}
	return s.block[s.length+s.sigLen+size*(s.fix+s.Sigs)+targetSize*s.targets:]
}

// AppendGlue writes the glue that lies behind s, the NS set of a delegation, into
// the additional section: all of what is in-domain, or nothing and false; the rest
// set by set as it fits. s was written with where.
func (s *RRset) AppendGlue(b *wire.Builder, where *Relocation) bool {
	if s.Records > maxGlued {
		return true
	}
	area := s.glueArea()
	inDomain, inOctets := load16(area), load16(area[2:])
	records, octets := load16(area[4:]), load16(area[6:])
	if records == 0 {
		return true
	}
	data := area[glueHeader : glueHeader+octets]
	if where.at == 0 {
		return s.appendGlueSets(b, data, inOctets, where)
	}
	if room := b.Grow(wire.Additional, octets, records); room != nil {
		copyGlueRecords(room, data, where.at)
		return true
	}
	room := b.Grow(wire.Additional, inOctets, inDomain)
	if room == nil {
		return false
	}
	copyGlueRecords(room, data[:inOctets], where.at)
	for data = data[inOctets:]; len(data) > 0; {
		n, of := glueSet(data)
		if room := b.Grow(wire.Additional, n, of); room != nil {
			copyGlueRecords(room, data[:n], where.at)
		}
		data = data[n:]
	}
	return true
}

// appendGlueSets is AppendGlue for a set that was written record by record: of the glue
// in data, the first inOctets are in-domain.
func (s *RRset) appendGlueSets(b *wire.Builder, data []byte, inOctets int, where *Relocation) bool {
	mark := b.Mark()
	var form [wire.MaxName]byte
	for from := 0; from < len(data); {
		n, records := glueSet(data[from:])
		name := b.AppendReference(form[:0], s.placeOf(where, pointerAt(data[from:])-blockBase))
		room := b.Grow(wire.Additional, n+records*(len(name)-2), records)
		if room == nil && from < inOctets {
			b.Rewind(mark)
			return false
		}
		for of := data[from : from+n]; room != nil && len(of) > 0; {
			size := recordHeader + int(of[11])
			room = room[copy(room, name):]
			room = room[copy(room, of[2:size]):]
			of = of[size:]
		}
		from += n
	}
	return true
}

// copyGlueRecords copies glue records for an NS set that begins at at.
func copyGlueRecords(room, data []byte, at int) {
	copy(room, data)
	for len(room) >= recordHeader {
		v := int(room[0])<<8 | int(room[1]) // a pointer already: its top bits are set
		v += at - blockBase
		room[0], room[1] = byte(v>>8), byte(v)
		room = room[recordHeader+int(room[11]):] // an address: its length is one octet
	}
}

// glueSet returns the octets and records of the first set in glue data: those of
// one owner and type.
func glueSet(data []byte) (n, records int) {
	for n < len(data) && bytes.Equal(data[n:n+4], data[:4]) {
		n += recordHeader + int(data[11])
		records++
	}
	return n, records
}
