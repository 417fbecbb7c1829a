//go:build !linux

package fwrun

import (
	"context"
	"errors"

	"port53/internal/firewall"
)

type namespace struct{}

var errLinux = errors.New("rules are loaded and tried on Linux only; port53 firewall show writes them everywhere")

func newNamespace() (*namespace, error) { return nil, errLinux }

func (*namespace) do(func() error) error { return errLinux }
func (*namespace) close()                {}

func (*System) loadUFW(context.Context, *firewall.Rules) error { return errLinux }
