//go:build !race

package cache

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// newArena returns words of zeros outside of Go's heap, and what gives them back. There
// they do not count for when the collector runs: in the heap, which may grow to twice
// what is live, a cache would let as much garbage pile up as it has room itself. A page
// takes memory once it is written to.
func newArena(words int) ([]uint64, func()) {
	m, err := unix.Mmap(-1, 0, words*8, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return make([]uint64, words), nil
	}
	return unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(m))), words), func() { _ = unix.Munmap(m) }
}
