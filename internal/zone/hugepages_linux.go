package zone

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePage is the size of a large page on the processors where it matters most.
// Elsewhere the advice is refused or does less.
const hugePage = 2 << 20

// adviseHuge asks for large pages under memory that was just allocated and is not
// yet written. Looking up one name in a large zone touches two or three places at
// random, and with small pages each costs a walk of the page tables as well.
// Nothing depends on it.
func adviseHuge[T byte | uint64](s []T) {
	s = s[:cap(s)]
	if len(s) == 0 {
		return
	}
	start := uintptr(unsafe.Pointer(unsafe.SliceData(s)))
	size := uintptr(len(s)) * unsafe.Sizeof(s[0])
	from := (start + hugePage - 1) &^ (hugePage - 1)
	if to := (start + size) &^ (hugePage - 1); from < to {
		b := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(s)), from-start)), to-from)
		_ = unix.Madvise(b, unix.MADV_HUGEPAGE)
	}
}
