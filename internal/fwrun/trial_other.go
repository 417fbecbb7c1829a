//go:build !linux

package fwrun

import (
	"context"
	"net/netip"

	"port53/internal/firewall"
)

// A Case is one packet of a trial.
type Case struct {
	Proto string           `json:"proto"`
	From  netip.Addr       `json:"from"`
	To    netip.AddrPort   `json:"to"`
	Who   string           `json:"who"`
	Want  firewall.Verdict `json:"want"`
	Got   firewall.Verdict `json:"got"`
}

// Good reports whether the rules did what was wanted.
func (c *Case) Good() bool { return c.Got == c.Want }

// Try needs Linux.
func (*System) Try(context.Context, *firewall.Plan, *firewall.Rules) ([]Case, error) {
	return nil, errLinux
}
