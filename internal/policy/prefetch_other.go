//go:build !amd64 && !arm64

package policy

func prefetch(*rateSet) {}
