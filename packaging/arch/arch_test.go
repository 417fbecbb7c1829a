// Package arch_test runs the unit tests of what reads and writes octets on the architectures that port53 is released for: there
// the order of octets, the size of an int and the alignment of atomics are others.
package arch_test

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// An architecture is one of Go's, and the program that runs its programs here; none: this machine does.
type architecture struct {
	name, qemu string
	env        []string
	always     bool // tested with everything else
}

var architectures = []architecture{
	{name: "386", always: true},                              // 32 bits, and runs natively
	{name: "s390x", qemu: "qemu-s390x-static", always: true}, // the order of octets is that of the network
	{name: "arm", qemu: "qemu-arm-static", env: []string{"GOARM=7"}},
	{name: "arm64", qemu: "qemu-aarch64-static"},
	{name: "riscv64", qemu: "qemu-riscv64-static"},
	{name: "mipsle", qemu: "qemu-mipsel-static", env: []string{"GOMIPS=softfloat"}},
}

// The packages, and the tests among theirs that play long histories: some minutes in an emulator.
var (
	packages  = []string{"wire", "zonefile", "zone", "policy", "tsig", "dnssec", "store"}
	histories = []string{"SignedIsCompiled", "PatchedIsCompiled", "Patch", "PatchedFamily"}
	// The lock of a directory is tested with a second process, which a kernel starts that knows of the emulator, and no other.
	processes = []string{"Lock"}
)

// TestArchitectures runs the tests of one architecture of each kind without the long ones, and with PORT53_ARCHITECTURES=all
// those of all architectures, whole but for what -short leaves out.
func TestArchitectures(t *testing.T) {
	all := os.Getenv("PORT53_ARCHITECTURES") == "all"
	for _, a := range architectures {
		if !a.always && !all {
			continue
		}
		t.Run(a.name, func(t *testing.T) {
			var skipped []string
			args := []string{"test", "-short", "-vet=off", "-timeout=40m"}
			switch {
			case a.qemu != "":
				if _, err := exec.LookPath(a.qemu); err != nil {
					missing(t, err)
				}
				args = append(args, "-exec", a.qemu)
				skipped = append(skipped, processes...)
			case runtime.GOARCH != "amd64" && runtime.GOARCH != a.name:
				missing(t, errors.New("a processor that runs "+a.name))
			}
			if !all {
				skipped = append(skipped, histories...)
			}
			if skipped != nil {
				args = append(args, "-skip", "^Test("+strings.Join(skipped, "|")+")$")
			}
			for _, p := range packages {
				args = append(args, "./internal/"+p)
			}
			cmd := exec.CommandContext(t.Context(), "go", args...)
			cmd.Dir = "../.."
			cmd.Env = append(slices.Clone(os.Environ()), "GOOS=linux", "GOARCH="+a.name, "CGO_ENABLED=0")
			cmd.Env = append(cmd.Env, a.env...)
			said, err := cmd.CombinedOutput()
			t.Logf("%s", said)
			if err != nil || strings.Count(string(said), "ok  \t") != len(packages) {
				t.Errorf("%v", err)
			}
		})
	}
}

func missing(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("PORT53_REQUIRE_PEERS") != "" {
		t.Fatalf("missing: %v", err)
	}
	t.Skipf("missing: %v", err)
}
