package zone

import (
	"fmt"
	"testing"

	"port53/internal/wire"
)

// TestPrepare has a version be made ready for its first difference, which then walks the zone no more; the
// difference is what it would be.
func TestPrepare(t *testing.T) {
	m := model{"ns": {"A1": {192, 0, 2, 1}}}
	for i := range 2000 {
		m[fmt.Sprintf("a.b%d", i)] = map[string][]byte{"A1": {10, 0, 0, byte(i)}}
	}
	z := m.build(t, 1)
	z.Prepare()
	if n := testing.AllocsPerRun(1, z.Prepare); n > 0 || len(z.line.children) < 2000 {
		t.Errorf("prepared: %d names above others, and the second time makes %v allocations", len(z.line.children), n)
	}
	ttl, soa := z.SOA()
	d := &Delta{From: 1, To: 2, Removed: AppendRecord(nil, z.Apex(), wire.TypeSOA, ttl, soa)}
	d.Added = AppendRecord(nil, z.Apex(), wire.TypeSOA, ttl, WithSerial(soa, 2))
	d.Removed = AppendRecord(d.Removed, nameOf(t, "a.b7"), wire.TypeA, 60, []byte{10, 0, 0, 7})
	next, problems := z.Apply(d)
	if next == nil || next.Records() != z.Records()-1 {
		t.Error("it cannot be changed afterwards: ", problems)
	}
	z.Prepare() // it is not the last any more
}
