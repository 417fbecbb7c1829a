//go:build race || !(amd64 || arm64 || loong64 || mips64 || mips64le || ppc64 || ppc64le || riscv64 || s390x)

package telemetry

import "sync/atomic"

// A counter is what counter.go has, for processors whose words are shorter than a
// counter, and in a way that the race detector accepts: it then finds a counter that
// has two writers.
type counter struct{ n atomic.Uint64 }

func (c *counter) add(n uint64) { c.n.Store(c.n.Load() + n) }

func (c *counter) load() uint64 { return c.n.Load() }
