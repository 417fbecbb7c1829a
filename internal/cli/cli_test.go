package cli_test

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"port53/internal/cli"
	"port53/internal/hangup"
)

// A parent runs the tests, and has the processes that it starts not inherit that SIGHUP is
// ignored.
type parent struct{ *testing.M }

func (p parent) Run() int {
	hangup.Release()
	return p.M.Run()
}

func TestMain(m *testing.M) {
	testscript.Main(parent{m}, map[string]func(){
		"port53": func() {
			os.Exit(cli.Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
		},
		"unprivileged": unprivileged,
	})
}

// Each script runs the commands as a user would and looks at what they print and
// how they end.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exit": exitCode, "freeport": freePort, "waitfor": waitFor, "busy": busyPort,
			"ask": ask, "resolve": resolve, "until": until, "sighup": signalReload, "sigterm": signalTerm,
		},
		Condition: func(name string) (bool, error) {
			if name != "lowports" {
				return false, errors.New("no such condition")
			}
			return lowPorts(), nil
		},
	})
}
