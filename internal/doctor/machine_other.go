//go:build !linux

package doctor

import (
	"context"
	"errors"
	"net/netip"
)

func (p *patient) unsynchronized() bool { return false }

func unitOf(int) string { return "" }

var errPath = errors.New("the path is looked at on Linux only")

func (p *patient) largest(context.Context, netip.AddrPort) (int, error) { return 0, errPath }
