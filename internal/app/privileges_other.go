//go:build !unix

package app

import "port53/internal/config"

// become does nothing where there are no Unix users.
func (a *App) become(*config.Config) error { return nil }
