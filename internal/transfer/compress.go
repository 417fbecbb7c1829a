package transfer

import (
	"bytes"

	"port53/internal/wire"
)

// A compressor knows where in a message names stand, so that later ones can point to
// them (RFC 1035, section 4.1.4). Case is kept: only names that are spelled alike share
// labels (RFC 5936, section 3.4).
type compressor struct {
	slots [1 << slotBits]slot
	turn  uint32  // of the present message: slots of others are free
	used  []int32 // slots taken in this message, in order
}

const (
	slotBits  = 13   // twice as many as are taken at most
	mostNames = 4096 // suffixes that are remembered of one message
)

type slot struct {
	hash uint32
	turn uint32
	at   uint16
}

func (c *compressor) reset() {
	c.turn++
	c.used = c.used[:0]
}

// mark and rewind let go of what was entered since.
func (c *compressor) mark() int { return len(c.used) }

func (c *compressor) rewind(mark int) {
	for _, i := range c.used[mark:] {
		c.slots[i].turn = 0
	}
	c.used = c.used[:mark]
}

// append appends a name to a message, as short as may be.
func (c *compressor) append(msg, name []byte) []byte {
	var starts [wire.MaxLabels]uint8
	var hashes [wire.MaxLabels]uint32
	n := 0
	for at := 0; name[at] != 0 && n < len(starts); at += 1 + int(name[at]) {
		starts[n] = uint8(at)
		n++
	}
	h := uint32(2166136261) // FNV-1a, from the right
	for i := n - 1; i >= 0; i-- {
		from := int(starts[i])
		for _, b := range name[from : from+1+int(name[from])] {
			h = (h ^ uint32(b)) * 16777619
		}
		hashes[i] = h
	}
	for i := range n {
		from := int(starts[i])
		if at, ok := c.find(msg, hashes[i], name[from:]); ok {
			base := len(msg)
			msg = append(msg, name[:from]...)
			msg = append(msg, 0xC0|byte(at>>8), byte(at))
			c.enter(base, starts[:i], hashes[:i])
			return msg
		}
	}
	c.enter(len(msg), starts[:n], hashes[:n])
	return append(msg, name...)
}

// enter remembers suffixes of the name that stands at base.
func (c *compressor) enter(base int, starts []uint8, hashes []uint32) {
	for i, start := range starts {
		at := base + int(start)
		if at > wire.MaxPointer || len(c.used) >= mostNames {
			return
		}
		for j := hashes[i] >> (32 - slotBits); ; j = (j + 1) & (1<<slotBits - 1) {
			if s := &c.slots[j]; s.turn != c.turn {
				*s = slot{hashes[i], c.turn, uint16(at)}
				c.used = append(c.used, int32(j))
				break
			}
		}
	}
}

func (c *compressor) find(msg []byte, hash uint32, name []byte) (at int, ok bool) {
	for j := hash >> (32 - slotBits); ; j = (j + 1) & (1<<slotBits - 1) {
		s := &c.slots[j]
		if s.turn != c.turn {
			return 0, false
		}
		if s.hash == hash && same(msg, int(s.at), name) {
			return int(s.at), true
		}
	}
}

// same reports whether the name at pos, which we wrote, is name.
func same(msg []byte, pos int, name []byte) bool {
	for {
		n := int(msg[pos])
		if n >= 0xC0 {
			pos = (n&0x3F)<<8 | int(msg[pos+1])
			continue
		}
		if !bytes.Equal(msg[pos:pos+1+n], name[:1+n]) {
			return false
		}
		if n == 0 {
			return true
		}
		pos, name = pos+1+n, name[1+n:]
	}
}
