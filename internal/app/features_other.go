//go:build !linux

package app

// confinement reports whether the kernel confines files.
func confinement() (have bool, how string) { return false, "" }
