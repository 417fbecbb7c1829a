package policy_test

import (
	"testing"

	"port53/internal/policy"
)

func TestReflectorPort(t *testing.T) {
	for _, p := range []uint16{0, 7, 11, 13, 17, 19, 37, 69, 123, 464} {
		if !policy.ReflectorPort(p) {
			t.Errorf("port %d is answered", p)
		}
	}
	// 53: old resolvers; the others: a client's port, or nothing that talks back.
	for _, p := range []uint16{1, 8, 53, 161, 389, 512, 853, 1023, 1024, 1900, 5353, 11211, 65535} {
		if policy.ReflectorPort(p) {
			t.Errorf("port %d is not answered", p)
		}
	}
	n := 0
	for p := range 65536 {
		if policy.ReflectorPort(uint16(p)) {
			n++
		}
	}
	if n != 10 {
		t.Errorf("%d ports are not answered, want 10", n)
	}
}
