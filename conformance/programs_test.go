package conformance_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// A foreignProgram is built of a module of its own, in the directory of its name, once.
type foreignProgram struct {
	name, pkg string
	once      sync.Once
	dir       string // where it is; TestMain removes that
	err       error
}

var (
	coredns    = &foreignProgram{name: "coredns", pkg: "."}
	dnscontrol = &foreignProgram{name: "dnscontrol", pkg: "github.com/StackExchange/dnscontrol/v4"}
	dnsproxy   = &foreignProgram{name: "dnsproxy", pkg: "github.com/AdguardTeam/dnsproxy"} // AdGuard's, which speaks every transport
	h2spec     = &foreignProgram{name: "h2spec", pkg: "github.com/summerwind/h2spec/cmd/h2spec"}
	pebble     = &foreignProgram{name: "pebble", pkg: "github.com/letsencrypt/pebble/v2/cmd/pebble"} // Let's Encrypt's ACME server for tests
)

// built returns the program.
func (f *foreignProgram) built() (string, error) {
	f.once.Do(func() {
		if f.dir, f.err = os.MkdirTemp("", "port53-"+f.name); f.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(f.dir, f.name), f.pkg)
		cmd.Dir = f.name
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			f.err = fmt.Errorf("building %s: %w\n%s", f.name, err, out)
		}
	})
	return filepath.Join(f.dir, f.name), f.err
}
