package zone

import (
	"bytes"
	"encoding/binary"
	"slices"

	"port53/internal/wire"
)

// Nodes returns all nodes of the zone in the canonical order of their names (RFC 4034,
// section 6.1), the apex first: names without records, and the owners of NSEC3 records,
// which [Zone.IsHash] tells apart, are among them. It takes 12 octets for each name while it
// sorts. The list is the caller's.
func (z *Zone) Nodes() []Node {
	type entry struct {
		prefix uint64
		node   Node
	}
	list := make([]entry, 0, z.names+len(z.nsec3.node))
	var keyBuf [maxSortKey]byte
	var name [wire.MaxName + 1]byte
	for at := firstNode; at < len(z.data); {
		n := Node(at / nodeAlign)
		at += z.nodeSize(n)
		if n == z.negative || !z.live(n) {
			continue
		}
		key := wire.AppendSortKey(keyBuf[:0], append(append(name[:0], z.relName(n)...), 0), 0)
		list = append(list, entry{keyPrefix(key), n})
	}
	slices.SortFunc(list, func(a, b entry) int {
		switch {
		case a.prefix < b.prefix:
			return -1
		case a.prefix > b.prefix:
			return 1
		}
		if c := compareRel(z.relName(a.node), z.relName(b.node)); c != 0 {
			return c
		}
		return int(a.node) - int(b.node) // a name that is an owner of NSEC3 as well
	})
	nodes := make([]Node, len(list))
	for i, e := range list {
		nodes[i] = e.node
	}
	return nodes
}

// IsHash reports whether a node has NSEC3 records and their signatures alone: its name is a
// hash, and no name of the zone (RFC 5155, section 7.1).
func (z *Zone) IsHash(n Node) bool {
	set, ok := z.First(n)
	return ok && set.Type == wire.TypeNSEC3
}

// compareRel compares two names in lower case, without the zone's labels at their end, in
// canonical order.
func compareRel(a, b []byte) int {
	if len(a) > 0 && len(b) > 0 && int(a[0])+1 == len(a) && int(b[0])+1 == len(b) {
		return bytes.Compare(a[1:], b[1:])
	}
	var x, y [wire.MaxLabels + 1]uint8
	i, j := labelStarts(&x, a), labelStarts(&y, b)
	for i > 0 && j > 0 {
		i--
		j--
		p, q := a[x[i]:], b[y[j]:]
		if c := bytes.Compare(p[1:1+int(p[0])], q[1:1+int(q[0])]); c != 0 {
			return c
		}
	}
	return i - j
}

func labelStarts(starts *[wire.MaxLabels + 1]uint8, rel []byte) (n int) {
	for i := 0; i < len(rel); i += int(rel[i]) + 1 {
		starts[n] = uint8(i)
		n++
	}
	return n
}

// An Unpacked is an RRset taken out of a zone, its names uncompressed. The memory is used
// again for the next one: the zero value is ready.
type Unpacked struct {
	wire.RRset

	msg, data []byte
	ends      []int
}

// Sets returns how many RRsets a node has.
func (z *Zone) Sets(n Node) int { return z.sets(n) }

// Unpack takes the i-th RRset of a node into u, which holds it until the next call. Owner is
// in lower case.
func (z *Zone) Unpack(u *Unpacked, n Node, i int) {
	set := z.setAt(n, i)
	if cap(u.msg) < blockBase {
		u.msg = make([]byte, blockBase, 2*blockBase)
	}
	// Names in the data point at the owner as it is spelled.
	u.msg = z.AppendName(u.msg[:0], n)
	owner := len(u.msg)
	u.msg = append(u.msg[:blockBase], set.block[:set.length+set.sigLen]...)
	u.data = wire.Lower(u.data[:0], u.msg[:owner])
	u.ends = u.ends[:0]
	for at := blockBase; at < len(u.msg); {
		size := int(binary.BigEndian.Uint16(u.msg[at+10:]))
		t := wire.Type(binary.BigEndian.Uint16(u.msg[at+2:]))
		at += recordHeader
		var err error
		if u.data, err = wire.Expand(u.msg, at, size, t, u.data); err != nil {
			panic("zone: stored record cannot be read: " + err.Error())
		}
		u.ends = append(u.ends, len(u.data))
		at += size
	}
	u.Owner, u.Type, u.TTL = u.data[:owner:owner], set.Type, set.TTL()
	u.Data, u.Sigs = u.Data[:0], u.Sigs[:0]
	for k, from := 0, owner; k < len(u.ends); k++ {
		d := u.data[from:u.ends[k]:u.ends[k]]
		from = u.ends[k]
		if k < set.Records {
			u.Data = append(u.Data, d)
		} else {
			u.Sigs = append(u.Sigs, d)
		}
	}
}

// UnpackType takes the RRset of a type of a node into u, and reports whether there is one.
func (z *Zone) UnpackType(u *Unpacked, n Node, t wire.Type) bool {
	for i := range z.sets(n) {
		if z.setAt(n, i).Type == t {
			z.Unpack(u, n, i)
			return true
		}
	}
	return false
}

// EachType calls f with the type of each RRset of a node.
func (z *Zone) EachType(n Node, f func(wire.Type)) {
	for i := range z.sets(n) {
		f(z.setAt(n, i).Type)
	}
}
