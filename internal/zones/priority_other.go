//go:build !linux

package zones

// lower does nothing: only Linux has priorities of threads.
func lower() {}
