//go:build lean

package app

import (
	"context"
	"errors"
	"net"

	"port53/internal/config"
	"port53/internal/console"
)

// A webConsole is the console of a server; this program was built without.
type webConsole struct{ listener net.Listener }

// UsersFile is the file in the state directory with those who may sign in to the console.
const UsersFile = "users"

var errNoConsole = errors.New("console: this binary was built without the console (go build -tags lean)")

func (a *App) listenConsole(c *config.Config) error {
	if c.Console.Listen.IsValid() {
		return errNoConsole
	}
	return nil
}

func (a *App) openConsole(*config.Config) error { return nil }

func (a *App) serveConsole(context.Context) {}

// ConsoleLink returns a link that signs in to the console, if there is one.
func (a *App) ConsoleLink(string) (string, error) { return "", errNoConsole }

// Console implements [console.Admin].
func (a *App) Console(console.Caller, string, []byte) (any, error) { return nil, errNoConsole }
