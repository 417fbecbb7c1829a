package app

import (
	"fmt"

	landlocksys "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// confinement tells whether the kernel confines files.
func confinement() (have bool, how string) {
	abi, err := landlocksys.LandlockGetABIVersion()
	return err == nil && abi > 0, fmt.Sprintf("files are confined (Landlock, version %d)", abi)
}
