package zones

import (
	"net/netip"
	"testing"
)

// TestSlotsForget has many addresses come and go: none of them is remembered.
func TestSlotsForget(t *testing.T) {
	var o slots
	o.set(Bounds{}.filled())
	for n := range 1000 {
		a := netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)})
		for range 2 {
			if !o.begin(a) {
				t.Fatalf("no room for the %d. address", n)
			}
		}
		if o.end(a); o.peers[a] != 1 {
			t.Fatalf("%d under way, want 1", o.peers[a])
		}
		o.end(a)
	}
	if len(o.peers) != 0 || o.total != 0 {
		t.Errorf("%d addresses, %d under way", len(o.peers), o.total)
	}
}
