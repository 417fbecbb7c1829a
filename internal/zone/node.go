package zone

import (
	"encoding/binary"

	"port53/internal/wire"
)

// A Node is a name of a zone, or 0 for none: its place in the zone's data, in
// units of nodeAlign octets, so that 32 bits reach 16 GiB.
//
// A node is laid out as
//
//	0  flags      2 octets, see below
//	2  sets       2 octets, the number of RRsets
//	4  size       4 octets, of the whole node, a multiple of nodeAlign
//	8  length     1 octet, of the name left of the apex, without a root label
//	9  labels     1 octet, of the same
//	10 name       in lower case; then once more as spelled, if flagMixedCase; with
//	              flagWithin 4 octets instead, the number of a node below it whose
//	              name ends with this one
//	   sets       headers of setHeader octets, or bigSetHeader if flagBig
//	   blocks     of the RRsets, see rrset.go
//
// with all numbers little-endian.
type Node uint32

const (
	nodeAlign  = 4
	nodeHeader = 10
	firstNode  = nodeAlign // so that no node is 0
)

// Node flags.
const (
	flagCut           = 1 << iota // NS below the apex: a delegation
	flagDNAME                     // a DNAME
	flagCNAME                     // a CNAME
	flagWildcardChild             // the name *.this exists
	flagOccluded                  // below a cut or a DNAME: glue at best
	flagMixedCase                 // the name is spelled with capitals
	flagBig                       // sets have long headers
	flagWildcard                  // the first label is *
	flagRoot                      // the root's own node
	flagGone                      // the name is no more, see patch.go
	flagWithin                    // its name is within another's: only of one without sets
)

func (z *Zone) at(n Node) []byte { return z.data[int(n)*nodeAlign:] }

func (z *Zone) flags(n Node) int    { return load16(z.at(n)) }
func (z *Zone) sets(n Node) int     { return load16(z.at(n)[2:]) }
func (z *Zone) nodeSize(n Node) int { return load32(z.at(n)[4:]) }

// relName returns the node's name left of the apex, in lower case.
func (z *Zone) relName(n Node) []byte {
	b := z.at(n)
	l := int(b[8])
	if load16(b)&flagWithin != 0 {
		b = z.at(Node(load32(b[nodeHeader:])))
		below := int(b[8])
		return b[nodeHeader+below-l : nodeHeader+below]
	}
	return b[nodeHeader : nodeHeader+l]
}

// RelName returns the node's name left of the apex, in lower case, without a root
// label: empty for the apex. Do not modify.
func (z *Zone) RelName(n Node) []byte { return z.relName(n) }

// Labels returns how many labels the node has left of the apex.
func (z *Zone) Labels(n Node) int { return int(z.at(n)[9]) }

// IsCut reports whether the node is a delegation.
func (z *Zone) IsCut(n Node) bool { return z.flags(n)&flagCut != 0 }

// HasCNAME reports whether the node has a CNAME.
func (z *Zone) HasCNAME(n Node) bool { return z.flags(n)&flagCNAME != 0 }

// Occluded reports whether the node is below a delegation or a DNAME, and so has
// no data of this zone but glue.
func (z *Zone) Occluded(n Node) bool { return z.flags(n)&flagOccluded != 0 }

// Empty reports whether the node has no records: an empty non-terminal.
func (z *Zone) Empty(n Node) bool { return z.sets(n) == 0 }

// AppendName appends the node's name as the zone spells it.
func (z *Zone) AppendName(dst []byte, n Node) []byte {
	b := z.at(n)
	if load16(b)&flagMixedCase == 0 {
		return append(append(dst, z.relName(n)...), z.apexName...)
	}
	l := int(b[8])
	from := nodeHeader + l
	return append(append(dst, b[from:from+l]...), z.apexName...)
}

// headers returns where the set headers begin, within the node.
func headersAt(b []byte) int {
	l := int(b[8])
	if load16(b)&flagMixedCase != 0 {
		l *= 2
	}
	return nodeHeader + l
}

// Set headers:
//
//	type 2, offset 2, length 2, signatures 2, records 1, fix-ups 1, signature records 1, targets 1
//
// or, where a number does not fit,
//
//	type 2, records 2, offset 4, length 4, signatures 4, fix-ups 4, signature records 2, targets 2
//
// offset is of the block within the node, length and signatures are octets.
const (
	setHeader    = 12
	bigSetHeader = 24
)

// RRset returns the RRset of type t at the node.
func (z *Zone) RRset(n Node, t wire.Type) (RRset, bool) {
	b := z.at(n)
	sets := load16(b[2:])
	at, step := headersAt(b), setHeader
	if load16(b)&flagBig != 0 {
		step = bigSetHeader
	}
	for range sets {
		if wire.Type(binary.LittleEndian.Uint16(b[at:])) == t {
			return readSet(b, at, step), true
		}
		at += step
	}
	return RRset{}, false
}

// First returns the node's first RRset: the lowest type that is not a
// DNSSEC record, if there is such a one.
func (z *Zone) First(n Node) (RRset, bool) {
	if z.sets(n) == 0 {
		return RRset{}, false
	}
	return z.setAt(n, 0), true
}

func (z *Zone) setAt(n Node, i int) RRset {
	b := z.at(n)
	step := setHeader
	if load16(b)&flagBig != 0 {
		step = bigSetHeader
	}
	return readSet(b, headersAt(b)+i*step, step)
}

func readSet(b []byte, at, step int) RRset {
	h := b[at : at+step]
	t := wire.Type(binary.LittleEndian.Uint16(h))
	if step == setHeader {
		off, n, sigs := load16(h[2:]), load16(h[4:]), load16(h[6:])
		fix, targets := int(h[9]), int(h[11])
		return RRset{
			Type: t, Records: int(h[8]), Sigs: int(h[10]),
			length: n, sigLen: sigs, fix: fix, targets: targets,
			block: b[off:], root: load16(b)&flagRoot != 0,
		}
	}
	off, n, sigs := load32(h[4:]), load32(h[8:]), load32(h[12:])
	fix, sigRecords, targets := load32(h[16:]), load16(h[20:]), load16(h[22:])
	return RRset{
		Type: t, Records: load16(h[2:]), Sigs: sigRecords, big: true,
		length: n, sigLen: sigs, fix: fix, targets: targets,
		block: b[off:], root: load16(b)&flagRoot != 0,
	}
}
