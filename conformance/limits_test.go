package conformance_test

import (
	"testing"

	"golang.org/x/sys/unix"
)

// moreFiles lets this process, and what it starts, have so many files open.
func moreFiles(t *testing.T, n uint64) {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur >= n {
		return
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: max(n, limit.Max)}); err != nil {
		t.Skipf("missing: the right to open %d files: %v", n, err)
	}
}
