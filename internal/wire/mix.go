package wire

import "math/bits"

// mix multiplies to 128 bits and folds: every bit of the result depends on every
// bit of both factors. b is odd, so that no bit of a is lost on the way.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo ^ a
}
