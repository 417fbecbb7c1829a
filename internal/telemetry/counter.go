//go:build !race && (amd64 || arm64 || loong64 || mips64 || mips64le || ppc64 || ppc64le || riscv64 || s390x)

package telemetry

import "sync/atomic"

// A counter is written by one goroutine and read by any.
type counter struct{ n uint64 }

// add adds n with a plain store. There is one writer, and a word is stored whole on
// these processors: a reader may see it late, never torn (The Go Memory Model,
// "Implementation Restrictions for Programs Containing Data Races"). An atomic store
// is an exchange on amd64, and makes recording a query cost 12 ns instead of 3.
func (c *counter) add(n uint64) { c.n += n }

func (c *counter) load() uint64 { return atomic.LoadUint64(&c.n) }
