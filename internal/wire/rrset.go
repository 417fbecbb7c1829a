package wire

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// An RRset is all records of one owner, class IN and one type, outside of any
// message: nothing in it is compressed (RFC 2181, section 5).
type RRset struct {
	Owner []byte // in lower case
	Type  Type
	TTL   uint32   // seconds
	Data  [][]byte // the RDATA of each record, with the case of its sender
	Sigs  [][]byte // the RDATA of the RRSIG records that cover it
}

// Covered returns the type that an RRSIG record's RDATA covers (RFC 4034, section
// 3.1.1), or 0 if it is too short to say.
func Covered(rrsig []byte) Type {
	if len(rrsig) < 2 {
		return 0
	}
	return Type(binary.BigEndian.Uint16(rrsig))
}

// Has reports whether a record of s has exactly this RDATA.
func (s *RRset) Has(rdata []byte) bool {
	return slices.ContainsFunc(s.Data, func(d []byte) bool { return bytes.Equal(d, rdata) })
}

// Clone returns a copy of s that shares no memory with it.
func (s *RRset) Clone() *RRset {
	n := len(s.Owner)
	for _, d := range s.Data {
		n += len(d)
	}
	for _, d := range s.Sigs {
		n += len(d)
	}
	buf := make([]byte, 0, n)
	keep := func(b []byte) []byte {
		start := len(buf)
		buf = append(buf, b...)
		return buf[start:len(buf):len(buf)]
	}
	c := &RRset{Type: s.Type, TTL: s.TTL, Owner: keep(s.Owner)}
	for _, d := range s.Data {
		c.Data = append(c.Data, keep(d))
	}
	for _, d := range s.Sigs {
		c.Sigs = append(c.Sigs, keep(d))
	}
	return c
}

// AppendBitmap appends the type bit map that has the types, which are in rising order, each
// once (RFC 4034, section 4.1.2).
func AppendBitmap(dst []byte, types []Type) []byte {
	for len(types) > 0 {
		window := types[0] >> 8
		at := len(dst)
		dst = append(dst, byte(window), 0)
		for len(types) > 0 && types[0]>>8 == window {
			bit := int(types[0] & 0xFF)
			for len(dst) < at+3+bit/8 {
				dst = append(dst, 0)
			}
			dst[at+2+bit/8] |= 0x80 >> (bit & 7)
			types = types[1:]
		}
		dst[at+1] = byte(len(dst) - at - 2)
	}
	return dst
}

// BitmapTypes appends the types of a good type bit map to dst, in rising order.
func BitmapTypes(dst []Type, bitmap []byte) []Type {
	bitmapTypes(bitmap, func(t Type) { dst = append(dst, t) })
	return dst
}

// BitmapHas reports whether the type bit map of an NSEC, NSEC3 or CSYNC record has t
// (RFC 4034, section 4.1.2).
func BitmapHas(bitmap []byte, t Type) bool {
	for len(bitmap) >= 2 {
		window, n := bitmap[0], int(bitmap[1])
		if len(bitmap) < 2+n {
			return false
		}
		if window == byte(t>>8) {
			i := int(t&0xFF) / 8
			return i < n && bitmap[2+i]>>(7-t&7)&1 != 0
		}
		bitmap = bitmap[2+n:]
	}
	return false
}
