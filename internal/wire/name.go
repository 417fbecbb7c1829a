package wire

import "encoding/binary"

// Root is the root's name. Do not modify.
var Root = []byte{0}

// CheckName returns the length in octets, the root's included, of the
// uncompressed name at the start of b. The error is a [Malformed].
func CheckName(b []byte) (int, error) {
	n, _, bad := scanName(b)
	if bad != 0 {
		return 0, bad
	}
	return n, nil
}

// scanName returns the length and the number of labels, the root's excluded, of
// the uncompressed name at the start of b.
func scanName(b []byte) (n, labels int, bad Malformed) {
	for {
		if n >= len(b) {
			return 0, 0, ShortName
		}
		l := int(b[n])
		if l == 0 {
			return n + 1, labels, 0
		}
		if l > MaxLabel {
			return 0, 0, BadLabel
		}
		n += l + 1
		labels++
		if n >= MaxName {
			return 0, 0, LongName
		}
	}
}

// LabelCount returns the number of labels of name, the root's excluded. The
// name is known to be good.
func LabelCount(name []byte) int {
	labels := 0
	for i := 0; name[i] != 0; i += int(name[i]) + 1 {
		labels++
	}
	return labels
}

// Parent returns name without its first label, of which it must have one: the root has
// no parent. The name may be relative, without the root's label.
func Parent(name []byte) []byte { return name[1+int(name[0]):] }

// EqualFold reports whether two names are equal without regard to ASCII case
// (RFC 4343, section 3).
func EqualFold(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i, c := range a {
		if c != b[i] && lower(c) != lower(b[i]) {
			return false
		}
	}
	return true
}

// Lower appends name to dst with its ASCII letters in lower case. Length octets
// are below 'A', so that the whole name can be treated alike.
func Lower(dst, name []byte) []byte {
	n := len(dst)
	dst = append(dst, name...)
	for i, c := range dst[n:] {
		dst[n+i] = lower(c)
	}
	return dst
}

func lower(c byte) byte {
	if c-'A' < 26 {
		c += 'a' - 'A'
	}
	return c
}

// lowerWords puts n octets of b, a multiple of 8 rounded up, into lower case,
// eight at a time: b must have room for the rounding.
func lowerWords(b []byte, n int) {
	const ones = 0x0101010101010101
	for i := 0; i < n; i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		seven := w & (0x7f * ones)
		aboveZ := seven + (0x7f-'Z')*ones
		fromA := seven + (0x80-'A')*ones
		upper := (fromA ^ aboveZ) & ^w & (0x80 * ones)
		binary.LittleEndian.PutUint64(b[i:], w|upper>>2)
	}
}

// Subdomain reports whether name is at or below apex, without regard to case.
func Subdomain(name, apex []byte) bool {
	for i := 0; ; i += int(name[i]) + 1 {
		if len(name)-i == len(apex) {
			return EqualFold(name[i:], apex)
		}
		if len(name)-i < len(apex) || name[i] == 0 {
			return false
		}
	}
}

// AppendSortKey appends a key to dst such that bytes.Compare of two keys orders
// the names canonically (RFC 4034, section 6.1): labels from the right, in lower
// case, each ended by a zero octet; octets 0 and 1 are escaped. skip labels at
// the right, those of an apex, are left out.
func AppendSortKey(dst, name []byte, skip int) []byte {
	var starts [MaxLabels]uint8
	n := 0
	for i := 0; name[i] != 0; i += int(name[i]) + 1 {
		starts[n] = uint8(i)
		n++
	}
	for n -= skip; n > 0; n-- {
		i := int(starts[n-1])
		for _, c := range name[i+1 : i+1+int(name[i])] {
			if c <= 1 {
				dst = append(dst, 1, c+1)
			} else {
				dst = append(dst, lower(c))
			}
		}
		dst = append(dst, 0)
	}
	return dst
}

// A Seed starts the hash of names. A random one keeps others from choosing
// names that collide.
type Seed uint64

const (
	mixA = 0x9E3779B97F4A7C15 // 2^64 / golden ratio
	mixB = 0xD6E8FEB86659FD93
)

// Label continues the hash h, of the name to the right of a label, to the name
// that begins with it. padded starts at the label's length octet, is in lower
// case, and has at least 8 octets more than the label.
func (h Seed) Label(padded []byte) Seed {
	n := int(padded[0])
	x := uint64(h) ^ uint64(n+1)*mixA
	p := padded[1:]
	for ; n > 8; n -= 8 {
		x = mix(x^binary.LittleEndian.Uint64(p), mixB)
		p = p[8:]
	}
	x = mix(x^binary.LittleEndian.Uint64(p)&(^uint64(0)>>(64-8*uint(n))), mixA)
	return Seed(x)
}

// Hash returns the hash of a whole name in lower case.
func (h Seed) Hash(name []byte) Seed {
	var padded [MaxName + 9]byte
	copy(padded[:], name)
	var starts [MaxLabels]uint8
	n := 0
	for i := 0; padded[i] != 0; i += int(padded[i]) + 1 {
		starts[n] = uint8(i)
		n++
	}
	for n--; n >= 0; n-- {
		h = h.Label(padded[starts[n]:])
	}
	return h
}
