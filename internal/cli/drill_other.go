//go:build !linux

package cli

import (
	"errors"
	"os/exec"
)

var errNoNamespaces = errors.New("this system has no network namespaces; Linux has")

func inNamespace(*exec.Cmd) error { return errNoNamespaces }

func raiseLoopback() error { return errNoNamespaces }

func sweepDrills(string) {}

func holdDrill(string) func() { return func() {} }
