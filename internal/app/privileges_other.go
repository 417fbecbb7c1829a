//go:build !unix

package app

import (
	"io/fs"
	"os"

	"port53/internal/config"
	"port53/internal/console"
)

// An account is what there is not without Unix users.
type account struct{}

func accountOf(*config.Config) (*account, error) { return nil, nil }

func (*account) owner() console.Owner { return console.KeepOwner }

func (a *App) makeState(c *config.Config, _ *account) {
	if err := os.MkdirAll(c.StateDir, stateMode); err != nil {
		a.log.Warn("nothing is stored across restarts: no state directory", "error", err.Error())
	}
}

func (a *App) checkState(*config.Config, *account) {}

func lookUp(*config.Config) (*account, error) { return nil, nil }

func (*account) mayWrite(dir string, _ fs.FileInfo) bool { return writable(dir) == nil }

func writable(string) error { return nil }

func (*account) mayRead(*config.Config) error { return nil }

func (a *App) become(*account) error { return nil }
