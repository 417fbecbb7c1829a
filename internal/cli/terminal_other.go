//go:build !linux

package cli

import (
	"errors"
	"io"
	"os"
)

// A terminal there is only on Linux.
type terminal struct{}

func openTerminal(io.Reader, io.Writer) (*terminal, error) {
	return nil, errors.New("the live screen is for Linux")
}

func (*terminal) restore() {}

func (*terminal) resized() <-chan os.Signal { return nil }

func (*terminal) size() (width, height int) { return 80, 24 }
