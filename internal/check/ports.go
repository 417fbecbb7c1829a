package check

import (
	"context"

	"port53/internal/scan"
)

// Scanner returns a scanner for one host.
func (r *Run) Scanner() *scan.Scanner {
	return scan.New(scan.Options{Timeout: r.Options.Timeout, Connect: r.Options.Connect})
}

// A portStates is what was found at a server's port.
type portStates struct{ udp, tcp scan.Port }

// Ports returns the states of the server's port over UDP and TCP, which are looked
// at once for all checks of a target.
func (r *Run) Ports(ctx context.Context) (udp, tcp scan.Port) {
	p := Once(r, Fact[portStates]{Server: r.Server.Addr}, func() (p portStates) {
		p.udp, p.tcp = r.Scanner().Ports(ctx, r.Server.Addr)
		return p
	})
	return p.udp, p.tcp
}
