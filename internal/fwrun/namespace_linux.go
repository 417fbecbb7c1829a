package fwrun

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"port53/internal/firewall"
)

// A namespace is a network namespace that is gone when it is closed.
type namespace struct{ home, inside *os.File }

// thisNamespace is the network namespace of the thread that opens it.
const thisNamespace = "/proc/thread-self/ns/net"

func newNamespace() (*namespace, error) {
	runtime.LockOSThread()
	home, err := os.Open(thisNamespace)
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		home.Close()
		return nil, fmt.Errorf("a network namespace to try rules in cannot be made: %w", err)
	}
	inside, err := os.Open(thisNamespace)
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back == nil {
		runtime.UnlockOSThread() // else the thread ends with the goroutine
	}
	if err != nil {
		home.Close()
		return nil, err
	}
	return &namespace{home, inside}, nil
}

// do runs f, and what it starts, within the namespace.
func (n *namespace) do(f func() error) error {
	runtime.LockOSThread()
	if err := unix.Setns(int(n.inside.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer func() {
		if err := unix.Setns(int(n.home.Fd()), unix.CLONE_NEWNET); err == nil {
			runtime.UnlockOSThread()
		}
	}()
	return f()
}

func (n *namespace) close() {
	n.inside.Close()
	n.home.Close()
}

// loadUFW has ufw load its rules with ours among them, from a copy of its files that this
// one command sees alone.
func (s *System) loadUFW(ctx context.Context, r *firewall.Rules) error {
	ufw, err := find("ufw", "ufw")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "port53-ufw")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	script := `set -e
PATH="$2:$PATH"
mount --make-rprivate /
cp -a /etc/ufw "$1/ufw" && mount --bind "$1/ufw" /etc/ufw
cp -a /etc/default/ufw "$1/default" && mount --bind "$1/default" /etc/default/ufw
mkdir "$1/run" && mount --bind "$1/run" /run
sed -i 's/^ENABLED=.*/ENABLED=no/' /etc/ufw/ufw.conf
`
	loaded, err := s.loaded(ctx, firewall.UFW)
	if err != nil {
		return err
	}
	script += deletes(loaded[0])
	for _, c := range r.Commands {
		script += firewall.Shell(c) + "\n"
	}
	script += "ufw --force enable\n"
	_, err = runIn(ctx, &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}, "", "/bin/sh", "-c", script, "sh", dir, filepath.Dir(ufw))
	return err
}
