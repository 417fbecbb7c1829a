package app

import (
	"fmt"

	landlocksys "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// confinement reports whether the kernel confines files.
func confinement() (have bool, how string) {
	abi, err := landlocksys.LandlockGetABIVersion()
	return err == nil && abi > 0, fmt.Sprintf("file sandbox (Landlock, version %d)", abi)
}
