package app

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

const (
	// collectEach is how many octets are allocated between two collections of garbage at the
	// least. A resolver has a few MiB that are collected, for its cache is none of them, and
	// allocates more than that many times a second: with the runtime's own pace one question
	// in ten is answered while a collection is under way, with this one in fifty.
	collectEach = 16 << 20
	// collectShare is the growth at which the runtime collects, in percent of what lives, unless told.
	collectShare = 100
	// collectMost bounds the growth, for heaps of next to nothing.
	collectMost = 1600
)

// paceCollections has the garbage of a small heap collected less often, until stop is called.
// Whoever sets GOGC is left alone, and GOMEMLIMIT holds as ever.
func paceCollections() (stop func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	p := &collectPace{percent: collectShare}
	p.watch()
	return func() {
		p.stopped.Store(true)
		debug.SetGCPercent(collectShare)
	}
}

// A collectPace sets the growth again whenever there was a collection.
type collectPace struct {
	stopped atomic.Bool
	percent int // that was set last
}

// watch sets the pace, and does so again behind the next collection.
func (p *collectPace) watch() {
	if p.stopped.Load() {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}
	metrics.Read(live)
	total := uint64(1)
	for i := range live {
		total += live[i].Value.Uint64()
	}
	percent := int(min(max(collectEach*100/total, collectShare), collectMost))
	if off := percent - p.percent; off > p.percent/4 || off < -p.percent/4 { // setting it stops the world for a moment
		p.percent = percent
		debug.SetGCPercent(percent)
	}
	tick := new([16]byte) // too large to share its place with what lives longer
	runtime.AddCleanup(tick, func(p *collectPace) { p.watch() }, p)
}
