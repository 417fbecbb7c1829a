package zones

import (
	"testing"

	"port53/internal/dnstest"
	"port53/internal/zone"
)

// TestHistoryBound fills a history to the byte: the oldest differences go when it has one
// more, and those that others were given are not written over.
func TestHistoryBound(t *testing.T) {
	z := dnstest.Zone(t, "test.", "@ 60 SOA ns admin 1 7200 3600 86400 300\n@ 60 NS ns\n")
	if z.Size() > 64<<10 {
		t.Fatalf("a zone of %d bytes", z.Size())
	}
	delta := func(from uint32, removed, added int) *zone.Delta {
		return &zone.Delta{From: from, To: from + 1, Removed: make([]byte, removed), Added: make([]byte, added)}
	}
	froms := func(h *history) (list []uint32) {
		for _, d := range h.deltas {
			list = append(list, d.From)
		}
		return list
	}
	for _, c := range []struct {
		what  string
		last  *zone.Delta
		want  int
		first uint32
	}{
		{"as much as may be", delta(3, 1<<14, 1<<14), 3, 1},
		{"a byte more", delta(3, 1<<14, 1<<14+1), 2, 2},
		{"all of it at the same time", delta(3, 0, 64<<10), 1, 3},
		{"too much at the same time", delta(3, 1, 64<<10), 0, 0},
		{"what leads on from elsewhere", delta(9, 1, 1), 1, 9},
	} {
		var h history
		h.add(z, delta(1, 1<<14, 0), delta(2, 0, 1<<14))
		given := h.deltas
		h.add(z, c.last)
		if got := froms(&h); len(got) != c.want || c.want > 0 && got[0] != c.first {
			t.Errorf("%s: %v, want %d from %d on", c.what, got, c.want, c.first)
		}
		sum := 0
		for _, d := range h.deltas {
			sum += len(d.Removed) + len(d.Added)
		}
		if h.bytes != sum || given[0].From != 1 || given[1].From != 2 {
			t.Errorf("%s: %d bytes of %d, and the others have %d and %d", c.what, h.bytes, sum, given[0].From, given[1].From)
		}
	}
	p := &past{z, []*zone.Delta{delta(1, 1, 1), delta(2, 1, 1)}}
	if got := p.since(2); len(got) != 1 || cap(got) != 1 || p.since(3) != nil || len(p.since(1)) != 2 {
		t.Errorf("since 2: %v", got)
	}
}
