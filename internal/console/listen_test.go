package console_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"port53/internal/console"
	"port53/internal/securepath"
)

// nobody is a user who is not root.
var nobody = console.Owner{UID: 65534, GID: 65534}

// needRoot skips the test if it is not run by root, unless all must be run.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("PORT53_REQUIRE_PEERS") == "1" {
		t.Fatal("required: root")
	}
	t.Skip("only root gives sockets away")
}

// state returns the mode and the owner of a file.
func state(t *testing.T, path string) (mode os.FileMode, uid, gid int) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	return info.Mode(), int(st.Uid), int(st.Gid)
}

// shortDir returns a directory whose path leaves room for a socket's name.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "console")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// accepts reports whether somebody takes connections at path.
func accepts(path string) bool {
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
	}
	return err == nil
}

// TestListen makes a socket that its owner and group may use, in a directory that is made,
// and removes it.
func TestListen(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	dir := shortDir(t)
	path := filepath.Join(dir, "a/b/s")
	l, err := console.Listen(path, console.KeepOwner)
	if err != nil {
		t.Fatal(err)
	}
	if mode, uid, _ := state(t, path); mode != 0o660|os.ModeSocket || uid != os.Geteuid() {
		t.Errorf("mode %v, owner %d", mode, uid)
	}
	if mode, _, _ := state(t, filepath.Dir(path)); mode.Perm() != 0o755 {
		t.Errorf("its directory has mode %v", mode)
	}
	if !accepts(path) {
		t.Error("nobody listens")
	}
	if err := errors.Join(l.Close(), os.Remove(filepath.Join(dir, "a/b"))); err != nil {
		t.Error(err)
	}
}

// TestListenForAnother gives the socket away in a directory of root, and leaves it to the
// other one to make it in a directory of his.
func TestListenForAnother(t *testing.T) {
	needRoot(t)
	dir := shortDir(t)
	if err := os.Mkdir(filepath.Join(dir, "theirs"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(filepath.Join(dir, "theirs"), nobody.UID, nobody.GID); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	l, err := console.Listen(path, nobody)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if mode, uid, gid := state(t, path); mode.Perm() != 0o660 || uid != nobody.UID || gid != nobody.GID {
		t.Errorf("mode %v, owner %d, group %d", mode, uid, gid)
	}
	for _, name := range []string{"theirs/s", "theirs/new/s"} {
		path := filepath.Join(dir, name)
		if l, err := console.Listen(path, nobody); !errors.Is(err, securepath.ErrShared) {
			t.Errorf("%s: %v", name, err)
			if err == nil {
				l.Close()
			}
		}
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s: root has made a socket there", name)
		}
		if _, uid, _ := state(t, filepath.Dir(path)); uid != nobody.UID {
			t.Errorf("%s: its directory is user %d's", name, uid)
		}
	}
	// Root that stays root may use it, without lending its rights.
	own, err := console.Listen(filepath.Join(dir, "theirs/s"), console.KeepOwner)
	if err != nil {
		t.Fatal(err)
	}
	if mode, uid, _ := state(t, filepath.Join(dir, "theirs/s")); mode.Perm() != 0o660 || uid != 0 {
		t.Errorf("mode %v, owner %d", mode, uid)
	}
	own.Close()
	if _, err := os.Lstat(filepath.Join(dir, "theirs/s")); err == nil {
		t.Error("the socket is still there")
	}
}

// TestListenThroughLinks has links of others on the way and in its place.
func TestListenThroughLinks(t *testing.T) {
	needRoot(t)
	dir := shortDir(t)
	for _, name := range []string{"theirs", "roots"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	victim := filepath.Join(dir, "roots/victim")
	err := errors.Join(
		os.WriteFile(victim, nil, 0o600),
		os.Chown(filepath.Join(dir, "theirs"), nobody.UID, nobody.GID),
		os.Symlink("../roots", filepath.Join(dir, "theirs/way")),
		os.Symlink("../roots/victim", filepath.Join(dir, "theirs/link")),
		os.Symlink("../roots/new", filepath.Join(dir, "theirs/dangling")),
		os.Link(victim, filepath.Join(dir, "theirs/hard")),
		unix.Mkfifo(filepath.Join(dir, "theirs/fifo"), 0o600),
		os.Mkdir(filepath.Join(dir, "theirs/dir"), 0o755),
		os.Symlink("roots", filepath.Join(dir, "mine")),
	)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"theirs/way/s", "theirs/link", "theirs/dangling", "theirs/hard", "theirs/fifo", "theirs/dir"} {
		if l, err := console.Listen(filepath.Join(dir, name), console.KeepOwner); err == nil {
			l.Close()
			t.Errorf("%s: made", name)
		} else if !strings.HasPrefix(err.Error(), "control socket "+filepath.Join(dir, name)+": ") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Lstat(filepath.Join(dir, name)); (err == nil) != (name != "theirs/way/s") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if mode, uid, _ := state(t, victim); mode != 0o600 || uid != 0 {
		t.Errorf("the victim has mode %v and owner %d", mode, uid)
	}
	if names, err := os.ReadDir(filepath.Join(dir, "roots")); err != nil || len(names) != 1 {
		t.Errorf("root's directory has %v, %v", names, err)
	}
	l, err := console.Listen(filepath.Join(dir, "mine/s"), console.KeepOwner)
	if err != nil {
		t.Fatalf("through a link of root: %v", err)
	}
	l.Close()
}

// TestListenInPlace takes the place of a socket that nobody serves any more, and of nothing
// else.
func TestListenInPlace(t *testing.T) {
	dir := shortDir(t)
	path := filepath.Join(dir, "s")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	l, err := console.Listen(path, console.KeepOwner)
	if err != nil {
		t.Fatal(err)
	}
	if !accepts(path) {
		t.Error("nobody listens")
	}
	if _, err := console.Listen(path, console.KeepOwner); err == nil || !strings.Contains(err.Error(), "another port53 is using it") {
		t.Errorf("a socket that is served: %v", err)
	}
	if !accepts(path) {
		t.Error("the socket that was served is gone")
	}
	// Whoever took its place meanwhile keeps it.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second, err := console.Listen(path, console.KeepOwner)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if !accepts(path) {
		t.Error("the first took the socket of the second away")
	}
	second.Close()

	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := console.Listen(path, console.KeepOwner); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("a file in its place: %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "precious" {
		t.Errorf("the file is %q, %v", text, err)
	}
}

// TestListenBusy has a server whose queue of connections is full: it keeps its socket.
func TestListenBusy(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	for {
		c, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(c)
		if unix.Connect(c, &unix.SockaddrUnix{Name: path}) != nil {
			break // it is full
		}
	}
	if _, err := console.Listen(path, console.KeepOwner); err == nil || !strings.Contains(err.Error(), "another port53 is using it") {
		t.Errorf("%v", err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
}

// TestListenPath has paths that cannot be a socket's.
func TestListenPath(t *testing.T) {
	dir := shortDir(t)
	if err := os.WriteFile(filepath.Join(dir, "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"f/s", strings.Repeat("long", 40)} {
		if l, err := console.Listen(filepath.Join(dir, name), console.KeepOwner); err == nil {
			l.Close()
			t.Errorf("%s: made", name)
		}
	}
}

// TestListenAtOnce has many servers start at the same time where a socket is left that nobody
// serves: one has it, and it is there.
func TestListenAtOnce(t *testing.T) {
	const servers, rounds = 8, 100
	dir := shortDir(t)
	path := filepath.Join(dir, "s")
	for round := range rounds {
		stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		stale.SetUnlinkOnClose(false)
		stale.Close()
		have, start := make(chan net.Listener, servers), make(chan struct{})
		var all sync.WaitGroup
		for range servers {
			all.Go(func() {
				<-start
				if l, err := console.Listen(path, console.KeepOwner); err == nil {
					have <- l
				} else if !strings.Contains(err.Error(), "another port53 is using it") {
					t.Error(err)
				}
			})
		}
		close(start)
		all.Wait()
		close(have)
		if len(have) != 1 || !accepts(path) {
			t.Fatalf("round %d: %d servers have the socket, and it answers: %v", round, len(have), accepts(path))
		}
		for l := range have {
			l.Close()
		}
		if _, err := os.Lstat(path); err == nil {
			t.Fatal("it is still there")
		}
	}
}

// TestListenBesideALock has a directory that somebody else has locked for good: there is no
// socket, and what lies in its place is left there.
func TestListenBesideALock(t *testing.T) {
	dir := shortDir(t)
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	if l, err := console.Listen(filepath.Join(dir, "s"), console.KeepOwner); err == nil {
		l.Close()
		t.Error("it has listened")
	}
	f.Close()
	l, err := console.Listen(filepath.Join(dir, "s"), console.KeepOwner)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}
