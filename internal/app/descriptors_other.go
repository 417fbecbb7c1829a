//go:build !unix

package app

func descriptorLimit() (int, bool) { return 0, false }
