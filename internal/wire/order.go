package wire

import (
	"encoding/binary"
	"slices"
)

// An Order is in which order the records of an RRset are sent.
type Order uint8

// The orders.
const (
	OrderFixed  Order = iota // as the zone or the cache has them
	OrderCyclic              // from another record on each time, in turn
	OrderRandom              // another each time
)

// ParseOrder returns the order of a name: fixed, cyclic or random.
func ParseOrder(text string) (Order, bool) {
	i := slices.Index([]string{"fixed", "cyclic", "random"}, text)
	return Order(max(i, 0)), i >= 0
}

// turns is how many sets a worker keeps apart whose records take turns. Two that fall on
// one counter skip some of each other's turns.
const turns = 512

// An Orderer puts the records of replies into order. It is scratch space of one worker: what
// the workers of a server do is not coordinated, so that each has turns of its own.
type Orderer struct {
	next [turns]uint16
	seed uint64
}

// NewOrderer returns an orderer that begins anywhere, as seed says.
func NewOrderer(seed uint64) *Orderer {
	o := &Orderer{seed: seed | 1}
	for i := range o.next {
		o.next[i] = uint16(o.random())
	}
	return o
}

// random returns the next of a sequence that nobody has to be unable to foretell (xorshift64).
func (o *Orderer) random() uint32 {
	o.seed ^= o.seed << 13
	o.seed ^= o.seed >> 7
	o.seed ^= o.seed << 17
	return uint32(o.seed >> 32)
}

// below returns a number from 0 to n-1.
func (o *Orderer) below(n int) int { return int(uint64(o.random()) * uint64(n) >> 32) }

// Apply puts the records of each RRset of the reply in b into order, where they lie: signatures
// stay behind their set. key stands for what answers, so that sets take turns each for itself.
//
// Sets whose data has names are left as they are: other names of the message may end in them.
// So are sets whose owner is not written as a pointer.
func (o *Orderer) Apply(b *Builder, order Order, key uint64) {
	msg := b.buf[:b.n]
	left := int(b.counts[Answer]) + int(b.counts[Authority]) + int(b.counts[Additional])
	for at, set := b.body, uint64(0); left > 1; set++ {
		end, data := recordEnd(msg, at)
		if end == 0 {
			return
		}
		from, n, mid, size := at, 1, 0, end-at
		at, left = end, left-1
		if data-from != recordHead || msg[from] < 0xC0 {
			continue
		}
		for ; left > 0; n, left = n+1, left-1 { // the other records of the set
			if len(msg) < at+6 || string(msg[at:at+6]) != string(msg[from:from+6]) {
				break
			}
			if end, _ = recordEnd(msg, at); end == 0 {
				return
			}
			if end-at != size {
				size = 0
			}
			at = end
		}
		if n == 1 || hasNames(Type(binary.BigEndian.Uint16(msg[from+2:]))) {
			continue
		}
		records := msg[from:at]
		if order == OrderRandom && size > 0 {
			o.shuffle(records, size)
			continue
		}
		turn := 0
		if order == OrderCyclic {
			next := &o.next[mix(key+set<<17+uint64(msg[from+3]), 0x9E3779B97F4A7C15)%turns]
			turn = int(*next) % n
			*next++
		} else {
			turn = o.below(n)
		}
		for range turn {
			mid += recordHead + int(binary.BigEndian.Uint16(records[mid+10:]))
		}
		slices.Reverse(records[:mid])
		slices.Reverse(records[mid:])
		slices.Reverse(records)
	}
}

// recordHead is the octets of a record before its data, if its owner is a pointer.
const recordHead = 12

// shuffle puts records of one size into any order (Fisher and Yates).
func (o *Orderer) shuffle(records []byte, size int) {
	for i := len(records)/size - 1; i > 0; i-- {
		a, b := records[i*size:][:size], records[o.below(i+1)*size:][:size]
		for j := range a {
			a[j], b[j] = b[j], a[j]
		}
	}
}

// recordEnd returns where the record at at ends in msg, and where its data begins; 0 if it is
// cut off.
func recordEnd(msg []byte, at int) (end, data int) {
	for {
		switch {
		case at >= len(msg):
			return 0, 0
		case msg[at] >= 0xC0:
			at += 2
		case msg[at] == 0:
			at++
		default:
			at += int(msg[at]) + 1
			continue
		}
		break
	}
	if at+10 > len(msg) {
		return 0, 0
	}
	data = at + 10
	if end = data + int(binary.BigEndian.Uint16(msg[at+8:])); end > len(msg) {
		return 0, 0
	}
	return end, data
}

// hasNames reports whether the data of a type has names, to which others of a message may point.
func hasNames(t Type) bool {
	switch t {
	case TypeA, TypeAAAA:
		return false
	}
	return slices.ContainsFunc(t.info().fields, func(f Field) bool {
		switch f {
		case FieldName, FieldNames, FieldGateway, FieldRelay, FieldHIP:
			return true
		}
		return false
	})
}
