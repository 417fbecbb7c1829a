//go:build !linux

package hugepage

// Advise does nothing: only Linux takes the advice.
func Advise[T any]([]T) {}
