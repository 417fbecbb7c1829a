// Package arch_test runs the unit tests of what reads and writes octets on the architectures that port53 is released for: there
// the order of octets, the size of an int and the alignment of atomics are others.
package arch_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// An architecture is one of Go's, and the program that runs its programs where the machine does not.
type architecture struct {
	name, qemu string
	env        []string
	always     bool // tested with everything else
}

var architectures = []architecture{
	{name: "386", qemu: "qemu-i386-static", always: true},    // 32 bits, and most kernels for amd64 run it
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
			if !a.runs(t) {
				if _, err := exec.LookPath(a.qemu); err != nil {
					missing(t, err)
				}
				args = append(args, "-exec", a.qemu)
				skipped = append(skipped, processes...)
				t.Setenv("GODEBUG", "asyncpreemptoff=1") // the signals of Go's scheduler end programs in the emulator of 386
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
			said, err := a.tool(t, "../..", args...).CombinedOutput()
			t.Logf("%s", said)
			if err != nil || strings.Count(string(said), "ok  \t") != len(packages) {
				t.Errorf("%v", err)
			}
		})
	}
}

// tool returns the go command for the architecture, in a directory.
func (a *architecture) tool(t *testing.T, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = dir
	cmd.Env = append(slices.Clone(os.Environ()), "GOOS=linux", "GOARCH="+a.name, "CGO_ENABLED=0")
	cmd.Env = append(cmd.Env, a.env...)
	return cmd
}

// runs reports whether the machine itself runs programs of the architecture: a kernel for amd64 may have been built without
// those of 386.
func (a *architecture) runs(t *testing.T) bool {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module none\n", "main.go": "package main\n\nfunc main() {}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if said, err := a.tool(t, dir, "build", "-o", "none", ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	err := exec.CommandContext(t.Context(), filepath.Join(dir, "none")).Run()
	if err != nil && !errors.Is(err, syscall.ENOEXEC) {
		t.Fatal(err)
	}
	return err == nil
}

func missing(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("PORT53_REQUIRE_PEERS") != "" {
		t.Fatalf("missing: %v", err)
	}
	t.Skipf("missing: %v", err)
}
