//go:build !linux

package app

import "port53/internal/config"

func dropBounds() {}

func keepNothing() error { return nil }

func (a *App) confine(*config.Config) error { return nil }
