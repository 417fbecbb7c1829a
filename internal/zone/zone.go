// Package zone holds the zones port53 is authoritative for, compiled for
// answering.
//
// A [Zone] is one version of one zone: immutable, found by hash, without a Go
// pointer per name or record, so that ten million names cost the garbage
// collector nothing. An RRset lies there as it goes on the wire, compressed
// against its owner name, with its signatures behind it: answering is copying
// and moving a few compression pointers. It allocates nothing and takes no lock.
//
// A zone changes by replacement. A [Builder] takes records, checks the whole
// (RFC 1034, section 4.2.1; RFC 2181, sections 5 and 10.1) and yields the next
// version. A [View] is the zones that are served; queries in flight finish on the version
// they began with.
//
// Package zone reads no files and knows no clock.
package zone

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"sync/atomic"

	"port53/internal/wire"
)

// A Zone is one version of one zone. All methods may be called concurrently.
//
// In one piece: it is read by every query, and each field is one of the few pointers into
// the version's memory.
type Zone struct {
	apexName []byte // as spelled in the zone
	apex     []byte // in lower case
	labels   int    // of the apex
	base     wire.Seed
	root     Node // the apex's node

	data  []byte   // nodes, see node.go
	index []uint64 // hash table of nodes: tag<<32 | node; 0 is free
	names int      // names that exist

	// Qualifier versions that were patched, see patch.go.
	over     []uint64 // hash table of the nodes that are not in the index, or not those there
	overlaid int      // entries of it
	waste    int      // octets of nodes that count no more
	line     *line

	nsec  nsecChain
	nsec3 nsec3Chain

	serial      uint32
	negativeTTL uint32
	negative    Node // a node of its own with the SOA as negative answers carry it (RFC 2308, section 3)
	records     int
	altered     bool // see Exact

	notes *Notes // see notes.go

	online *atomic.Pointer[OnlineSigner] // see online.go; nil: all is signed already
}

// Apex returns the zone's name in lower case. Do not modify.
func (z *Zone) Apex() []byte { return z.apex }

// Name returns the zone's name as it spells it. Do not modify.
func (z *Zone) Name() []byte { return z.apexName }

// ApexLabels returns the number of labels of the zone's name, the root's excluded.
func (z *Zone) ApexLabels() int { return z.labels }

// Serial returns the SOA's serial number.
func (z *Zone) Serial() uint32 { return z.serial }

// Names returns the number of names, empty non-terminals included.
func (z *Zone) Names() int { return z.names }

// Records returns the number of records.
func (z *Zone) Records() int { return z.records }

// Size returns the octets that the compiled zone takes in memory.
func (z *Zone) Size() int {
	return len(z.data) + 8*len(z.index) + 8*len(z.over) + z.nsec.size() + z.nsec3.size()
}

// Signed reports whether the zone has NSEC or NSEC3 records.
func (z *Zone) Signed() bool { return z.nsec.any() || z.nsec3.any() }

// ComesSigned reports whether the zone has what no signed zone lacks: keys, a signature over its SOA record,
// and proofs of what there is not. A stray record of these does not make it a signed zone.
func (z *Zone) ComesSigned() bool {
	if !z.Signed() {
		return false
	}
	var soa Unpacked
	_, keys := z.RRset(z.root, wire.TypeDNSKEY)
	return keys && z.UnpackType(&soa, z.root, wire.TypeSOA) && len(soa.Sigs) > 0
}

// Root returns the apex's node.
func (z *Zone) Root() Node { return z.root }

// NegativeSOA returns the SOA RRset for the authority section of a negative
// answer: its TTL is the lesser of the SOA's own and its MINIMUM field.
func (z *Zone) NegativeSOA() RRset {
	set, _ := z.RRset(z.negative, wire.TypeSOA)
	return set
}

// find returns the node of the name whose hash is h and whose octets left of the
// apex are rel, in lower case, or 0.
func (z *Zone) find(h wire.Seed, rel []byte) Node {
	if z.over != nil {
		if n := z.findOver(h, rel); n != 0 {
			if z.flags(n)&flagGone != 0 {
				return 0
			}
			return n
		}
	}
	slot, _ := bits.Mul64(uint64(h), uint64(len(z.index)))
	tag := uint64(h) & 0xFFFFFFFF << 32
	for {
		e := z.index[slot]
		if e == 0 {
			return 0
		}
		if e&^0xFFFFFFFF == tag {
			n := Node(e)
			if bytes.Equal(z.relName(n), rel) {
				return n
			}
		}
		if slot++; slot == uint64(len(z.index)) {
			slot = 0
		}
	}
}

// A Place is where a search in the zone's tree ended.
type Place struct {
	Node Node // the name itself where Exact, else its closest encloser or the cut above it

	// Depth is the label index, from the left of the name asked for, at which Node's
	// own name begins.
	Depth int

	Exact bool // the name exists, perhaps as an empty non-terminal
	Cut   bool // Node is a delegation at or above the name
	DNAME bool // Node has a DNAME and is above the name
}

// Search walks from the apex down to name, which is at or below the apex, and
// stops at the name itself, at a delegation, at a DNAME above the name, or at
// the last name that exists (RFC 1034, section 4.3.2; RFC 6672, section 3.2).
func (z *Zone) Search(name *wire.SplitName) Place {
	i := name.Labels - z.labels
	node, h := z.root, z.base
	if i == 0 {
		return Place{Node: node, Exact: true}
	}
	end := name.Start(i)
	padded := name.From(0)
	flags := z.flags(node) &^ flagCut // NS at the apex is no delegation
	for {
		if flags&(flagCut|flagDNAME) != 0 {
			return Place{Node: node, Depth: i, Cut: flags&flagCut != 0, DNAME: flags&flagCut == 0}
		}
		from := name.Start(i - 1)
		h = h.Label(padded[from:])
		next := z.find(h, padded[from:end])
		if next == 0 {
			return Place{Node: node, Depth: i}
		}
		node = next
		flags = z.flags(node)
		if i--; i == 0 {
			return Place{Node: node, Exact: true, Cut: flags&flagCut != 0}
		}
	}
}

// Wildcard returns the wildcard child of node, a closest encloser, or 0
// (RFC 4592, section 3.3.1).
func (z *Zone) Wildcard(node Node) Node {
	if z.flags(node)&flagWildcardChild == 0 {
		return 0
	}
	var buf [wire.MaxName + 9]byte
	rel := append(append(buf[:0], 1, '*'), z.relName(node)...)
	h := z.base
	// The hash goes by labels from the right: split the relative name once.
	var starts [wire.MaxLabels + 1]uint8
	n := 0
	for i := 0; i < len(rel); i += int(rel[i]) + 1 {
		starts[n] = uint8(i)
		n++
	}
	for n--; n >= 0; n-- {
		h = h.Label(buf[starts[n]:])
	}
	return z.find(h, rel)
}

// Lookup returns the node of name, wherever in the zone it is, below a cut too,
// or 0. It is for glue and for whoever writes zones, not for answers.
func (z *Zone) Lookup(name *wire.SplitName) Node {
	i := name.Labels - z.labels
	if i < 0 || !bytes.Equal(name.Name()[name.Start(i):], z.apex) {
		return 0
	}
	if i == 0 {
		return z.root
	}
	h := z.base
	end := name.Start(i)
	for i--; i >= 0; i-- {
		h = h.Label(name.From(name.Start(i)))
	}
	return z.find(h, name.Name()[:end])
}

// Each calls f with every record of the zone: owner and data are uncompressed,
// in the case of the zone file, and valid until f returns. The SOA comes first;
// signatures follow their set. It stops when f returns false.
func (z *Zone) Each(f func(owner []byte, t wire.Type, ttl uint32, data []byte) bool) {
	more := z.eachAt(z.root, func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		return t != wire.TypeSOA || f(owner, t, ttl, data)
	}) && z.eachAt(z.root, func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		return t == wire.TypeSOA || f(owner, t, ttl, data)
	})
	if !more {
		return
	}
	for at := firstNode; at < len(z.data); {
		n := Node(at / nodeAlign)
		if n != z.root && n != z.negative && z.live(n) && !z.eachAt(n, f) {
			return
		}
		at += z.nodeSize(n)
	}
}

// A Fingerprint stands for the records of a version, in whatever order they came.
type Fingerprint [16]byte

// Fingerprint returns that of the zone: equal for equal records, their spelling too, in every
// run. It is no defence against who chooses records.
func (z *Zone) Fingerprint() Fingerprint {
	var sum [2]uint64
	var room []byte
	z.Each(func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		room = AppendRecord(room[:0], owner, t, ttl, data)
		h := sha256.Sum256(room)
		sum[0] += binary.LittleEndian.Uint64(h[:])
		sum[1] += binary.LittleEndian.Uint64(h[8:])
		return true
	})
	var f Fingerprint
	binary.LittleEndian.PutUint64(f[:], sum[0])
	binary.LittleEndian.PutUint64(f[8:], sum[1])
	return f
}

// EachAt calls f with every record of a name, as Each does, wherever in the zone it is.
func (z *Zone) EachAt(name []byte, f func(owner []byte, t wire.Type, ttl uint32, data []byte) bool) {
	var split wire.SplitName
	split.Set(name)
	if n := z.Lookup(&split); n != 0 {
		z.eachAt(n, f)
	}
}

func (z *Zone) eachAt(n Node, f func([]byte, wire.Type, uint32, []byte) bool) bool {
	owner := z.AppendName(nil, n)
	for i := range z.sets(n) {
		set := z.setAt(n, i)
		if !set.each(owner, f) {
			return false
		}
	}
	return true
}

func load16(b []byte) int { return int(binary.LittleEndian.Uint16(b)) }
func load32(b []byte) int { return int(binary.LittleEndian.Uint32(b)) }
