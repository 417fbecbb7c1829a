//go:build !linux

package zone

// adviseHuge does nothing: only Linux takes the advice.
func adviseHuge[T byte | uint64]([]T) {}
