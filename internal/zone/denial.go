package zone

import (
	"bytes"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"slices"
	"sort"

	"port53/internal/wire"
)

// An nsecChain is the nodes that have an NSEC record, in canonical order
// (RFC 4034, section 6.1). Names are compared by the first eight octets of their
// sort keys, and by the whole key where these are equal.
type nsecChain struct {
	prefix []uint64
	node   []Node
}

func (c *nsecChain) any() bool { return len(c.node) > 0 }
func (c *nsecChain) size() int { return 12 * len(c.node) }

// HasNSEC reports whether the zone denies existence by NSEC.
func (z *Zone) HasNSEC() bool { return z.nsec.any() }

// HasNSEC3 reports whether the zone denies existence by NSEC3.
func (z *Zone) HasNSEC3() bool { return z.nsec3.any() }

// maxSortKey is the longest sort key: every octet of a name escaped, and an end
// for each label.
const maxSortKey = 2 * wire.MaxName

func keyPrefix(key []byte) uint64 {
	var b [8]byte
	copy(b[:], key)
	return binary.BigEndian.Uint64(b[:])
}

// NSECBefore returns the node whose NSEC matches name or covers it: the last in
// canonical order that is not behind name. name is at or below the apex.
func (z *Zone) NSECBefore(name []byte) Node {
	i, _ := z.NSECIndex(name)
	return z.nsec.node[i]
}

// NSECIndex returns the place in the chain of the node that NSECBefore returns, and whether it is that
// of name itself.
func (z *Zone) NSECIndex(name []byte) (i int, match bool) {
	var buf [maxSortKey]byte
	i, match = z.nsecPlace(wire.AppendSortKey(buf[:0], name, z.labels))
	if i == 0 {
		i = len(z.nsec.node) // before the first: the last one's NSEC goes around
	}
	return i - 1, match
}

// NSECNode returns the node at a place in the chain, which goes around.
func (z *Zone) NSECNode(i int) Node {
	n := len(z.nsec.node)
	return z.nsec.node[(i%n+n)%n]
}

// nsecPlace returns the place of the first node behind the name with a sort key, and whether the one
// before it is that name's.
func (z *Zone) nsecPlace(key []byte) (place int, match bool) {
	var keyBuf [maxSortKey]byte
	var other [wire.MaxName + 1]byte
	want := keyPrefix(key)
	c := &z.nsec
	lo, hi := 0, len(c.node) // the first node behind name is in [lo, hi]
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		order := -1
		switch {
		case c.prefix[mid] > want:
			order = 1
		case c.prefix[mid] == want:
			b := z.at(c.node[mid])
			rel := append(other[:0], b[nodeHeader:nodeHeader+int(b[8])]...)
			order = bytes.Compare(wire.AppendSortKey(keyBuf[:0], append(rel, 0), 0), key)
		}
		if order > 0 {
			hi = mid
		} else {
			lo, match = mid+1, order == 0
		}
	}
	return lo, match
}

// An nsecEdit is a name whose NSEC record comes, goes, or is in another node.
type nsecEdit struct {
	key  []byte // to sort by
	node Node   // 0: it has none any more
}

// editNSEC returns the chain with edits.
func (z *Zone) editNSEC(edits []nsecEdit) nsecChain {
	if len(edits) == 0 {
		return z.nsec
	}
	slices.SortFunc(edits, func(a, b nsecEdit) int { return bytes.Compare(a.key, b.key) })
	c := &z.nsec
	next := nsecChain{make([]uint64, 0, len(c.prefix)+len(edits)), make([]Node, 0, len(c.node)+len(edits))}
	from := 0
	for _, e := range edits {
		at, match := z.nsecPlace(e.key)
		to := at
		if match {
			to--
		}
		next.prefix, next.node = append(next.prefix, c.prefix[from:to]...), append(next.node, c.node[from:to]...)
		if e.node != 0 {
			next.prefix, next.node = append(next.prefix, keyPrefix(e.key)), append(next.node, e.node)
		}
		from = at
	}
	next.prefix, next.node = append(next.prefix, c.prefix[from:]...), append(next.node, c.node[from:]...)
	return next
}

// sortNSEC makes the chain of the nodes with NSEC.
func (z *Zone) sortNSEC(nodes []Node) {
	type entry struct {
		prefix uint64
		from   uint32
		node   Node
	}
	entries := make([]entry, 0, len(nodes))
	var keys []byte // each: length, key
	for _, n := range nodes {
		from := len(keys)
		keys = append(keys, 0, 0)
		keys = wire.AppendSortKey(keys, append(bytes.Clone(z.relName(n)), 0), 0)
		binary.LittleEndian.PutUint16(keys[from:], uint16(len(keys)-from-2))
		entries = append(entries, entry{keyPrefix(keys[from+2:]), uint32(from), n})
	}
	key := func(e entry) []byte {
		b := keys[e.from:]
		return b[2 : 2+load16(b)]
	}
	slices.SortFunc(entries, func(a, b entry) int {
		if a.prefix != b.prefix {
			if a.prefix < b.prefix {
				return -1
			}
			return 1
		}
		return bytes.Compare(key(a), key(b))
	})
	z.nsec.prefix = make([]uint64, len(entries))
	z.nsec.node = make([]Node, len(entries))
	for i, e := range entries {
		z.nsec.prefix[i], z.nsec.node[i] = e.prefix, e.node
	}
}

// hashLen is the octets of a SHA-1 hash, the only one of NSEC3 (RFC 5155,
// section 11).
const hashLen = sha1.Size

// A Hash is the NSEC3 hash of a name.
type Hash [hashLen]byte

// An nsec3Chain is the NSEC3 records of one set of parameters, ordered by hash.
type nsec3Chain struct {
	hash       []Hash
	node       []Node // NSEC3 nodes are not in the zone's index: their names do not exist
	salt       []byte
	iterations int
}

func (c *nsec3Chain) any() bool { return len(c.node) > 0 }
func (c *nsec3Chain) size() int { return (hashLen + 4) * len(c.node) }

// NSEC3Hash returns the hash of name, which is in lower case, with the parameters
// of the zone (RFC 5155, section 5).
func (z *Zone) NSEC3Hash(name []byte) Hash {
	var buf [wire.MaxName + 255]byte
	h := Hash(sha1.Sum(append(append(buf[:0], name...), z.nsec3.salt...)))
	for range z.nsec3.iterations {
		h = Hash(sha1.Sum(append(append(buf[:0], h[:]...), z.nsec3.salt...)))
	}
	return h
}

// NSEC3For returns the node whose NSEC3 matches the hash, or the one that covers
// it, and which of both it is.
func (z *Zone) NSEC3For(h Hash) (n Node, match bool) {
	c := &z.nsec3
	i := sort.Search(len(c.hash), func(i int) bool { return bytes.Compare(c.hash[i][:], h[:]) > 0 })
	if i == 0 {
		return c.node[len(c.node)-1], false
	}
	return c.node[i-1], c.hash[i-1] == h
}

// nsec3Label is the form of a hash in an owner name (RFC 5155, section 3).
var nsec3Label = base32.HexEncoding.WithPadding(base32.NoPadding)

// nsec3Owner returns the hash in the first label of an owner name.
func nsec3Owner(rel []byte) (Hash, bool) {
	var h Hash
	if len(rel) != 33 || rel[0] != 32 {
		return h, false
	}
	n, err := nsec3Label.Decode(h[:], bytes.ToUpper(rel[1:]))
	return h, err == nil && n == hashLen
}

// sortNSEC3 makes the chain of the nodes with NSEC3, all of one set of parameters.
func (z *Zone) sortNSEC3(nodes []Node) {
	type entry struct {
		hash Hash
		node Node
	}
	entries := make([]entry, 0, len(nodes))
	for _, n := range nodes {
		if h, ok := nsec3Owner(z.relName(n)); ok {
			entries = append(entries, entry{h, n})
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return bytes.Compare(a.hash[:], b.hash[:]) })
	z.nsec3.hash = make([]Hash, len(entries))
	z.nsec3.node = make([]Node, len(entries))
	for i, e := range entries {
		z.nsec3.hash[i], z.nsec3.node[i] = e.hash, e.node
	}
}
