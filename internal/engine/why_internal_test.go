package engine

import (
	"testing"

	"port53/internal/event"
	"port53/internal/why"
	"port53/internal/wire"
)

// TestNamedProblems gives ids to problems and to nothing else, no more than so many in a second, and none
// where the configuration wants none.
func TestNamedProblems(t *testing.T) {
	w := &worker{}
	named := func(record why.Record, path event.Path, rcode wire.Rcode, ede int) bool {
		w.gen = &Generation{Why: Why{Record: record}}
		w.course, w.ede, w.named = course{path: path}, ede, 0
		w.name(rcode)
		return w.why != 0
	}
	for _, c := range []struct {
		record why.Record
		path   event.Path
		rcode  wire.Rcode
		ede    int
		want   bool
	}{
		{why.Off, event.Own, wire.Refused, 20, false},
		{why.Problems, event.Cache, wire.NoError, -1, false},
		{why.Problems, event.Cache, wire.NXDomain, -1, false},
		{why.Problems, event.Miss, wire.NoError, -1, false},
		{why.Misses, event.Miss, wire.NoError, -1, true},
		{why.Misses, event.Cache, wire.NoError, -1, false},
		{why.Problems, event.Miss, wire.NoError, 17, true},
		{why.Problems, event.Miss, wire.ServFail, -1, true},
		{why.Problems, event.Cache, wire.ServFail, 22, true},
		{why.Problems, event.Stale, wire.NoError, 3, true},
		{why.Problems, event.Policy, wire.NoError, 15, true},
		{why.Problems, event.Own, wire.Refused, 18, true},
	} {
		if got := named(c.record, c.path, c.rcode, c.ede); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
	w.gen, w.named = &Generation{Why: Why{Record: why.Problems}}, 0
	ids := map[uint64]bool{0: true}
	for range 2 * maxNamed {
		w.course = course{}
		w.name(wire.Refused)
		ids[w.why] = true
	}
	if len(ids) != maxNamed+1 {
		t.Errorf("%d ids in a second, want %d", len(ids)-1, maxNamed)
	}
	for _, rcode := range []wire.Rcode{wire.NoError, wire.Refused} {
		if n := testing.AllocsPerRun(100, func() {
			w.course, w.named = course{path: event.Cache}, 0
			w.name(rcode)
		}); n != 0 {
			t.Errorf("%v: %v allocations", rcode, n)
		}
	}
}
