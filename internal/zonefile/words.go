package zonefile

import (
	"encoding/binary"
	"math/bits"
)

// Most of a zone file is short words, and a loop over their octets ends where the
// processor does not expect it. So words are looked at eight octets at a time, the
// first in the lowest bits.

// slack is how many octets lie behind what is in memory of a file, so that eight can
// be read at any place of it.
const slack = 8

const (
	ones  = 0x0101010101010101
	highs = 0x80 * ones
)

func word(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

// firstN returns a word without all but its first n octets.
func firstN(w uint64, n int) uint64 { return w & (1<<(8*uint(n)) - 1) }

// octetAt returns which octet the lowest set bit of m is in.
func octetAt(m uint64) int { return bits.TrailingZeros64(m) >> 3 }

// notPlain marks the first octet of w that may end or escape a word: its lowest set
// bit is in it. What it marks may be plain after all; see classes.
func notPlain(w uint64) uint64 {
	low := (w - ('"'+1)*ones) &^ w
	parenthesis := (w | ones) ^ (')' * ones) // ( is ) less one
	semicolon := w ^ (';' * ones)
	escape := w ^ ('\\' * ones)
	del := w ^ (0x7F * ones)
	return (low | (parenthesis-ones)&^parenthesis | (semicolon-ones)&^semicolon | (escape-ones)&^escape | (del-ones)&^del) & highs
}

// notQuoted marks the first octet of w that may end or escape a quoted string.
func notQuoted(w uint64) uint64 {
	quote := w ^ ('"' * ones)
	escape := w ^ ('\\' * ones)
	newline := w ^ ('\n' * ones)
	return ((quote-ones)&^quote | (escape-ones)&^escape | (newline-ones)&^newline) & highs
}

// equal marks each octet of w that is c.
func equal(w uint64, c byte) uint64 {
	const sevens = 0x7F * ones
	x := w ^ uint64(c)*ones
	return ^((x&sevens + sevens) | x | sevens)
}

// decimal reads n digits, 1 to 8.
func decimal(w uint64, n int) (v uint32, ok bool) {
	w = w<<(64-8*uint(n)) | '0'*ones>>(8*uint(n))
	if w&(0xF0*ones) != 0x30*ones || (w+0x06*ones)&(0xF0*ones) != 0x30*ones {
		return 0, false
	}
	w = w & (0x0F * ones) * (10<<8 + 1) >> 8
	w = w & 0x00FF00FF00FF00FF * (100<<16 + 1) >> 16
	w = w & 0x0000FFFF0000FFFF * (10000<<32 + 1) >> 32
	return uint32(w), true
}
