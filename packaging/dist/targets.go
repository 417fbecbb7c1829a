package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A target is a system that programs are built for.
type target struct {
	name             string // as in linux/arm/7
	system, arch     string // of Go
	variant          string // of arm: 7
	deb, rpm, alpine string // names of the architecture there, or "" if there is no package
	image            bool   // part of the image
}

// targets are all systems. The others that Go knows can be built for, and were not tried.
var targets = []target{
	{name: "linux/amd64", system: "linux", arch: "amd64", deb: "amd64", rpm: "x86_64", alpine: "x86_64", image: true},
	{name: "linux/arm64", system: "linux", arch: "arm64", deb: "arm64", rpm: "aarch64", alpine: "aarch64", image: true},
	{name: "linux/arm/7", system: "linux", arch: "arm", variant: "7", deb: "armhf", rpm: "armv7hl", alpine: "armv7", image: true},
	{name: "linux/riscv64", system: "linux", arch: "riscv64", deb: "riscv64", rpm: "riscv64", alpine: "riscv64", image: true},
	{name: "linux/s390x", system: "linux", arch: "s390x", deb: "s390x", rpm: "s390x", alpine: "s390x"},
	{name: "linux/mipsle", system: "linux", arch: "mipsle"},
	{name: "freebsd/amd64", system: "freebsd", arch: "amd64"},
	{name: "openbsd/amd64", system: "openbsd", arch: "amd64"},
	{name: "darwin/arm64", system: "darwin", arch: "arm64"},
	{name: "darwin/amd64", system: "darwin", arch: "amd64"},
	{name: "windows/amd64", system: "windows", arch: "amd64"},
}

func allTargets() []string {
	var names []string
	for _, t := range targets {
		names = append(names, t.name)
	}
	return names
}

func parseTarget(name string) (target, error) {
	i := slices.IndexFunc(targets, func(t target) bool { return t.name == name })
	if i < 0 {
		return target{}, fmt.Errorf("%q is none of the systems: %s", name, strings.Join(allTargets(), ", "))
	}
	return targets[i], nil
}

// file returns the part of file names that tells the target.
func (t target) file() string {
	return strings.ReplaceAll(strings.ReplaceAll(t.name, "/7", "v7"), "/", "_")
}

// program builds port53 for a target and returns the path. Paths, the linker's build identity
// and the state of the working tree stay out of it.
func (b *build) program(t target) (string, error) {
	path := filepath.Join(b.out, "bin", t.file(), "port53")
	if t.system == "windows" {
		path += ".exe"
	}
	const cli = "port53/internal/cli."
	flags := []string{"-s", "-w", "-buildid=", "-X", cli + "release=" + b.version, "-X", cli + "commit=" + b.commit, "-X", cli + "date=" + b.date.Format("2006-01-02")}
	if b.key != nil {
		flags = append(flags, "-X", cli+"releaseKey="+fmt.Sprint(b.key.Public()))
	}
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", strings.Join(flags, " "), "-o", path, "./cmd/port53")
	cmd.Dir, cmd.Stdout, cmd.Stderr = b.root, b.log, b.log
	cmd.Env = append(clean(os.Environ()), "GOOS="+t.system, "GOARCH="+t.arch, "GOARM="+t.variant, "GOMIPS=softfloat", "CGO_ENABLED=0")
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("build for %s: %w", t.name, err)
	}
	return path, os.Chmod(path, 0o755)
}

// clean leaves out what would make another program: settings of this machine or user for Go.
func clean(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		switch name {
		case "GOFLAGS", "GOAMD64", "GOARM64", "GOARM", "GOMIPS", "GORISCV64", "GOEXPERIMENT", "GOFIPS140", "GO386", "GOWORK":
			return true
		}
		return false
	})
}
