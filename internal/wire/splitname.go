package wire

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

// Cut makes s the name without its first n labels.
func (s *SplitName) Cut(n int) {
	from := int(s.starts[n])
	copy(s.buf[:], s.buf[from:s.n])
	s.n -= from
	s.split()
}
