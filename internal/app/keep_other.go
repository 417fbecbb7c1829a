//go:build !unix

package app

// keepSockets does nothing: there is no service manager that keeps sockets.
func (a *App) keepSockets() error { return nil }

// releaseSockets does nothing either.
func releaseSockets() error { return nil }
