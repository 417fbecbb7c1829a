package app

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestOnlyBinds: what a unit of systemd may leave is the right to bind low ports, and nothing else is passed over.
func TestOnlyBinds(t *testing.T) {
	const binds, reads = 1 << unix.CAP_NET_BIND_SERVICE, 1 << unix.CAP_DAC_READ_SEARCH
	for _, c := range []struct {
		have [2]unix.CapUserData
		want bool
	}{
		{[2]unix.CapUserData{}, true},
		{[2]unix.CapUserData{{Effective: binds, Permitted: binds, Inheritable: binds}}, true},
		{[2]unix.CapUserData{{Effective: binds | reads, Permitted: binds | reads}}, false},
		{[2]unix.CapUserData{{Permitted: reads}}, false},
		{[2]unix.CapUserData{{Inheritable: reads}}, false},
		{[2]unix.CapUserData{{}, {Permitted: 1}}, false},
	} {
		if got := onlyBinds(&c.have); got != c.want {
			t.Errorf("%+v: %v", c.have, got)
		}
	}
}
