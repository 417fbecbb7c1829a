//go:build !linux

package keeper

// lower does nothing: only Linux has priorities of threads.
func lower() {}
