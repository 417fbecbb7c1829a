//go:build !linux

package cli_test

import "os"

func lowPorts() bool { return false }

func unprivileged() { os.Exit(3) }
