package hugepage

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// size is that of a large page on the processors where it matters most. Elsewhere the advice is refused or
// does less.
const size = 2 << 20

// Advise asks for large pages under memory that was just allocated and is not yet written.
func Advise[T any](s []T) {
	s = s[:cap(s)]
	if len(s) == 0 {
		return
	}
	start := uintptr(unsafe.Pointer(unsafe.SliceData(s)))
	end := start + uintptr(len(s))*unsafe.Sizeof(s[0])
	from := (start + size - 1) &^ (size - 1)
	if to := end &^ (size - 1); from < to {
		b := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(s)), from-start)), to-from)
		_ = unix.Madvise(b, unix.MADV_HUGEPAGE)
	}
}
