//go:build amd64 || arm64

package policy

// prefetch has the processor load a set into its caches, and waits for nothing. A load would be waited for:
// atomic operations on amd64 begin after all loads before them, and looking an answer up has one.
//
//go:noescape
func prefetch(p *rateSet)
