package wire

import "encoding/binary"

// A SplitName is a name in lower case with the place of each label, ready for
// lookups: what [Query.Parse] makes of the question and [SplitName.Set] of any
// other name. It is meant to be reused.
type SplitName struct {
	Labels int // the root's excluded
	n      int
	buf    [MaxName + 9]byte    // the name, and room to read words beyond it
	starts [MaxLabels + 1]uint8 // where each label begins, the root's too
}

// Set makes s the split form of name, which is known to be good.
func (s *SplitName) Set(name []byte) {
	s.n = copy(s.buf[:MaxName], name)
	lowerWords(s.buf[:], s.n)
	s.split()
}

func (s *SplitName) split() {
	labels, i := 0, 0
	for s.buf[i] != 0 {
		s.starts[labels] = uint8(i)
		labels++
		i += int(s.buf[i]) + 1
	}
	s.starts[labels] = uint8(i)
	s.Labels = labels
}

// Name returns the name in lower case. It ends with the next Set or Parse.
func (s *SplitName) Name() []byte { return s.buf[:s.n] }

// Len returns the octets of the name.
func (s *SplitName) Len() int { return s.n }

// Start returns the offset of label i from the left; i == Labels is the root.
func (s *SplitName) Start(i int) int { return int(s.starts[i]) }

// From returns the name from offset i on, with at least eight octets of room
// behind its end, as [Seed.Label] wants it.
func (s *SplitName) From(i int) []byte { return s.buf[i:] }

// Hash continues the hash h by the labels from label i on, from the right to the left: it is what
// [Seed.Hash] is for that end of the name.
func (s *SplitName) Hash(h Seed, i int) Seed {
	for n := s.Labels - 1; n >= i; n-- {
		h = h.Label(s.From(s.Start(n)))
	}
	return h
}

// Sum returns a hash of the whole name that is made faster than Hash's, and is another.
func (s *SplitName) Sum(h Seed) Seed {
	x, i := uint64(h)^uint64(s.n)*mixA, 0
	for ; s.n-i > 8; i += 8 {
		x = mix(x^binary.LittleEndian.Uint64(s.buf[i:]), mixB)
	}
	return Seed(mix(x^binary.LittleEndian.Uint64(s.buf[i:])&(^uint64(0)>>(64-8*uint(s.n-i))), mixA))
}

// Cut makes s the name without its first n labels.
func (s *SplitName) Cut(n int) {
	from := int(s.starts[n])
	copy(s.buf[:], s.buf[from:s.n])
	s.n -= from
	s.split()
}
