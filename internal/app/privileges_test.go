package app_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"port53/internal/app"
	"port53/internal/config"
	"port53/internal/console"
	"port53/internal/lab"
	"port53/internal/wire"
)

// nobody is the user that the servers of these tests become.
const nobody = 65534

// A home is a directory of a server that root starts and that becomes nobody: theirs
// belongs to nobody, roots to root, with a victim in it.
type home struct {
	*testing.T
	dir  string
	logs bytes.Buffer
	app  *app.App
	stop func()
}

func newHome(t *testing.T) *home {
	t.Helper()
	// Whoever started this process cleans up: nobody could not.
	tmp := os.TempDir()
	h := &home{T: t, dir: filepath.Join(tmp, "home")}
	h.must(
		os.Chmod(tmp, 0o755),
		os.Mkdir(h.dir, 0o755),
		os.Mkdir(h.path("theirs"), 0o755), os.Chown(h.path("theirs"), nobody, nobody),
		os.Mkdir(h.path("roots"), 0o755), os.WriteFile(h.path("roots/victim"), []byte("root's\n"), 0o600),
		os.WriteFile(h.path("test.zone"), fmt.Appendf(nil, zoneText, 1, 1), 0o644),
	)
	return h
}

func (h *home) path(name string) string { return filepath.Join(h.dir, name) }

func (h *home) must(errs ...error) {
	h.Helper()
	if err := errors.Join(errs...); err != nil {
		h.Fatal(err)
	}
}

// link makes a link of nobody.
func (h *home) link(target, name string) {
	h.Helper()
	h.must(os.Symlink(target, h.path(name)), os.Lchown(h.path(name), nobody, nobody))
}

// start starts a server that becomes nobody with more in its configuration.
func (h *home) start(more string) error {
	h.Helper()
	text := "listen: [\"127.0.0.1:0\"]\nuser: nobody\nmetrics: {listen: off}\n" + more
	if !strings.Contains(more, "role:") {
		text = "role: authoritative\nzones: [{name: test, file: test.zone}]\n" + text
	}
	if !strings.Contains(more, "control:") {
		text += "control: {socket: off}\n"
	}
	if os.Geteuid() == 0 { // else it is started again
		h.must(os.WriteFile(h.path("port53.yaml"), []byte(text), 0o644))
	}
	c, err := config.Load(h.path("port53.yaml"))
	h.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	a, err := app.New(ctx, app.Options{Config: c, Network: lab.NewNet(lab.Options{Seed: 53}), Confine: true, Log: slog.New(slog.NewTextHandler(&h.logs, nil))})
	if err != nil {
		cancel()
		return err
	}
	h.app = a
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, nil) }()
	h.stop = func() {
		cancel()
		h.must(<-done)
	}
	return nil
}

// owner returns who owns a file, without following a link.
func (h *home) owner(name string) (uid uint32, mode fs.FileMode) {
	h.Helper()
	info, err := os.Lstat(h.path(name))
	h.must(err)
	return info.Sys().(*syscall.Stat_t).Uid, info.Mode()
}

// untouched fails if anything of root has changed. It is called as nobody: what the victim
// has in it is looked at by the parent.
func (h *home) untouched(victim fs.FileMode) {
	h.Helper()
	if uid, mode := h.owner("roots/victim"); uid != 0 || mode.Perm() != victim {
		h.Errorf("the victim belongs to %d with mode %v", uid, mode)
	}
	if info, err := os.Stat(h.path("roots/victim")); err != nil || info.Size() != int64(len("root's\n")) {
		h.Errorf("the victim has %d bytes, %v", info.Size(), err)
	}
	if uid, mode := h.owner("roots"); uid != 0 || mode.Perm() != 0o755 {
		h.Errorf("root's directory belongs to %d with mode %v", uid, mode)
	}
	if names, err := os.ReadDir(h.path("roots")); err != nil || len(names) != 1 {
		h.Errorf("root's directory has %v, %v", names, err)
	}
}

// TestRootLendsNothing starts servers as root that become nobody, where nobody has put
// something that leads to what is root's. Each is a process of its own.
func TestRootLendsNothing(t *testing.T) {
	needRoot(t)
	for _, s := range []struct {
		what string
		run  func(h *home)
	}{
		{"query log, a link", func(h *home) {
			h.link("../roots/victim", "theirs/q")
			if err := h.start("state_dir: state\nlog: {queries: text, queries_file: theirs/q}\n"); err == nil || !strings.Contains(err.Error(), "theirs/q: is a symbolic link") {
				h.Errorf("started: %v", err)
			}
			h.untouched(0o600)
		}},
		{"query log, a link to what everybody may write", func(h *home) {
			h.must(os.Chmod(h.path("roots/victim"), 0o666))
			h.link("../roots/victim", "theirs/q")
			if err := h.start("state_dir: state\nlog: {queries: text, queries_file: theirs/q}\n"); err == nil {
				h.Error("started")
			}
			h.untouched(0o666)
		}},
		{"query log, a second name", func(h *home) {
			h.must(os.Link(h.path("roots/victim"), h.path("theirs/q")))
			if err := h.start("state_dir: state\nlog: {queries: text, queries_file: theirs/q}\n"); err == nil {
				h.Error("started")
			}
			h.untouched(0o600)
		}},
		{"query log, a link on the way", func(h *home) {
			h.link("../roots", "theirs/way")
			if err := h.start("state_dir: state\nlog: {queries: text, queries_file: theirs/way/q}\n"); err == nil {
				h.Error("started")
			}
			h.untouched(0o600)
		}},
		{"query log, a FIFO", func(h *home) {
			h.must(unix.Mkfifo(h.path("theirs/q"), 0o666), os.Chown(h.path("theirs/q"), nobody, nobody))
			h.must(h.start("state_dir: state\nlog: {queries: text, queries_file: theirs/q}\n"))
			h.stop()
		}},
		{"query log, where only root can write", func(h *home) {
			if err := h.start("state_dir: state\nlog: {queries: text, queries_file: roots/q}\n"); err == nil || !strings.Contains(err.Error(), "permission denied") {
				h.Errorf("started: %v", err)
			}
			h.untouched(0o600)
		}},
		{"control socket, a link in its place", func(h *home) {
			h.link("../roots/victim", "theirs/s")
			h.must(h.start("state_dir: state\ncontrol: {socket: theirs/s}\n"))
			h.stop()
			h.untouched(0o600)
		}},
		{"control socket, a second name in its place", func(h *home) {
			h.must(os.Link(h.path("roots/victim"), h.path("theirs/s")))
			h.must(h.start("state_dir: state\ncontrol: {socket: theirs/s}\n"))
			h.stop()
			h.untouched(0o600)
		}},
		{"control socket, a link on the way", func(h *home) {
			h.link("../roots", "theirs/way")
			h.must(h.start("state_dir: state\ncontrol: {socket: theirs/way/s}\n"))
			h.stop()
			h.untouched(0o600)
			if !strings.Contains(h.logs.String(), "theirs/way: is a symbolic link") {
				h.Errorf("not told: %s", h.logs.String())
			}
		}},
		{"control socket, in a directory of nobody", func(h *home) {
			h.must(h.start("state_dir: state\ncontrol: {socket: theirs/s}\n"))
			if uid, mode := h.owner("theirs/s"); uid != nobody || mode.Perm() != 0o660 {
				h.Errorf("owner %d, mode %v", uid, mode)
			}
			h.must(console.Call(h.Context(), h.path("theirs/s"), "GET", "/status", nil))
			h.stop()
			if _, err := os.Lstat(h.path("theirs/s")); err == nil {
				h.Error("it is still there")
			}
		}},
		{"control socket, in a directory of root", func(h *home) {
			h.must(h.start("state_dir: state\ncontrol: {socket: run/port53/s}\n"))
			if uid, mode := h.owner("run/port53/s"); uid != nobody || mode.Perm() != 0o660 {
				h.Errorf("owner %d, mode %v", uid, mode)
			}
			if uid, _ := h.owner("run/port53"); uid != 0 {
				h.Errorf("the directory belongs to %d", uid)
			}
			h.must(console.Call(h.Context(), h.path("run/port53/s"), "GET", "/status", nil))
			h.stop()
		}},
		{"control socket, in the state directory", func(h *home) {
			h.must(h.start("state_dir: a/state\ncontrol: {socket: a/state/control.sock}\n"))
			if uid, _ := h.owner("a/state/control.sock"); uid != nobody {
				h.Errorf("the socket belongs to %d", uid)
			}
			h.stop()
		}},
		{"state directory, a link", func(h *home) {
			h.link("../roots", "theirs/state")
			h.must(h.start("state_dir: theirs/state\n"))
			h.stop()
			h.untouched(0o600)
		}},
		{"state directory, a link on the way", func(h *home) {
			h.link("../roots", "theirs/way")
			h.must(h.start("role: internal-resolver\nstate_dir: theirs/way/state\nresolver: {allow: [127.0.0.0/8]}\n"))
			h.stop()
			h.untouched(0o600)
		}},
		{"state directory, a link to nothing", func(h *home) {
			h.link("../roots/new", "theirs/state")
			h.must(h.start("role: internal-resolver\nstate_dir: theirs/state\nresolver: {allow: [127.0.0.0/8]}\n"))
			h.stop()
			h.untouched(0o600)
		}},
		{"state directory, with something of root in it", func(h *home) {
			h.must(h.start("state_dir: roots\n"))
			h.stop()
			h.untouched(0o600)
			if want := "chown -R nobody: " + h.path("roots"); !strings.Contains(h.logs.String(), want) {
				h.Errorf("no %q in %s", want, h.logs.String())
			}
		}},
		{"state directory, empty", func(h *home) {
			h.must(os.Mkdir(h.path("state"), 0o700))
			h.must(h.start("state_dir: state\n"))
			h.stop()
			if uid, mode := h.owner("state"); uid != nobody || mode.Perm() != 0o700 {
				h.Errorf("it belongs to %d, mode %v", uid, mode)
			}
		}},
		{"state directory, somebody else's", func(h *home) {
			h.must(os.Mkdir(h.path("state"), 0o700), os.Chown(h.path("state"), 1, 1))
			h.must(h.start("state_dir: state\n"))
			h.stop()
			if uid, _ := h.owner("state"); uid != 1 {
				h.Errorf("it belongs to %d", uid)
			}
		}},
		{"cache dump, a link", func(h *home) {
			h.must(os.Mkdir(h.path("state"), 0o700), os.Chown(h.path("state"), nobody, nobody))
			h.link("../roots/victim", "theirs/dump")
			h.link("../roots/victim", "state/trust-anchors.json")
			err := h.start("role: internal-resolver\nstate_dir: state\nresolver: {allow: [127.0.0.0/8]}\n")
			if err == nil || !strings.Contains(err.Error(), "permission denied") || strings.Contains(err.Error()+h.logs.String(), "root's") {
				h.Errorf("%v\n%s", err, h.logs.String())
			}
			h.untouched(0o600)
		}},
	} {
		t.Run(strings.NewReplacer(", ", "_", " ", "_").Replace(s.what), func(t *testing.T) {
			if os.Getenv("PORT53_TEST_CHILD") == "" {
				runChild(t, t.Name())
				return
			}
			s.run(newHome(t))
		})
	}
}

// TestStateIsMade starts a primary as root that becomes nobody, with a state directory that
// is not there yet: updates are taken, and are there after a restart.
func TestStateIsMade(t *testing.T) {
	needRoot(t)
	if os.Getenv("PORT53_TEST_CHILD") == "" {
		runChild(t, "TestStateIsMade")
		return
	}
	h := newHome(t)
	more := "role: authoritative\nstate_dir: var/lib/state\n" + keysYAML + "zones: [{name: test, file: test.zone, updates: [{key: ddns, names: [\"*\"]}]}]\n"
	h.must(h.start(more))
	if uid, mode := h.owner("var/lib/state"); uid != nobody || mode.Perm() != 0o750 {
		h.Errorf("it belongs to %d, mode %v", uid, mode)
	}
	r := &running{T: t, App: h.app}
	if rcode := wire.Rcode(r.exchange("127.0.0.1:0", sign(&ddns, update(1, "one"), time.Now()))[3] & 15); rcode != wire.NoError {
		t.Errorf("an update: %s\n%s", rcode, h.logs.String())
	}
	h.stop()
	h.must(h.start(more))
	r.App = h.app
	r.want("one.test. A", "192.0.2.7")
	h.stop()
}
