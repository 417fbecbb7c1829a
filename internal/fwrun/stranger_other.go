//go:build !linux

package fwrun

import (
	"context"
	"errors"
	"net/netip"
)

// A Stranger is a host that nobody knows; there is none on this system.
type Stranger struct {
	Four, Six         netip.Addr
	HereFour, HereSix netip.Addr
	Device, NoSix     string
}

// NewStranger makes one.
func NewStranger(context.Context) (*Stranger, error) {
	return nil, errors.New("network namespaces are of Linux")
}

// Do runs f.
func (s *Stranger) Do(f func() error) error { return f() }

// Close does nothing.
func (s *Stranger) Close() {}
