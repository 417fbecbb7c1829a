package resolver

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// TestRefusals goes through what is remembered of a server that refuses names.
func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r refusals
		key := func(n byte) lameKey {
			return lameKey{netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, n}), 53), uint64(n)}
		}
		refuse := func(k lameKey, names ...uint64) {
			for _, n := range names {
				r.refused(k, n)
			}
		}
		k, other := key(1), key(2)
		for range 10 * refusedNames {
			refuse(k, 7)
		}
		refuse(other, 1, 2)
		if r.suspected(k) || r.suspected(other) {
			t.Error("one name, or two, make a server suspected")
		}
		refuse(k, 8, 9)
		if r.suspected(k) {
			t.Errorf("%d names make a server suspected", refusedNames-1)
		}
		refuse(k, 10)
		if !r.suspected(k) || r.suspected(k) || r.alone(k) {
			t.Errorf("%d names: it is to be asked once, and not left alone before", refusedNames)
		}
		r.leave(k)
		if !r.alone(k) || r.alone(other) {
			t.Error("the wrong server is left alone")
		}
		time.Sleep(refusedTime)
		if r.alone(k) || r.suspected(k) {
			t.Error("it is left alone for too long")
		}
		if refuse(k, 11); !r.suspected(k) {
			t.Error("the next name does not make it suspected again")
		}
		r.answered(k)
		if refuse(k, 12, 13, 14, 15, 16); r.suspected(k) {
			t.Error("a server that has answered is suspected")
		}
		time.Sleep(servesTime + 1)
		if refuse(k, 12, 13, 14, 15); !r.suspected(k) {
			t.Error("an answer protects it for ever")
		}
		for i := range maxRefusals + 100 {
			r.refused(lameKey{k.server, uint64(i)}, 1)
		}
		if len(r.m) > maxRefusals {
			t.Errorf("%d entries", len(r.m))
		}
	})
}
