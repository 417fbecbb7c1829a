package store_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"port53/internal/store"
)

// TestMain runs as another server when a test wants one: it locks a directory, says so, and
// waits for the end of its input.
func TestMain(m *testing.M) {
	if dir := os.Getenv("PORT53_TEST_LOCK"); dir != "" {
		_, err := store.TakeLock(dir)
		fmt.Println("locked:", err)
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// otherServer starts a process that locks a directory. release ends it, kill as kill -9 does.
func otherServer(t *testing.T, dir string) (pid int, release, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "PORT53_TEST_LOCK="+dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	line := make([]byte, 256)
	if n, err := out.Read(line); err != nil || string(line[:n]) != "locked: <nil>\n" {
		t.Fatalf("%s %v", line[:n], err)
	}
	release = func() { in.Close(); _ = cmd.Wait() }
	kill = func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	return cmd.Process.Pid, release, kill
}

// refused returns why a directory cannot be locked, in fake time.
func refused(t *testing.T, dir string) (err error) {
	t.Helper()
	synctest.Test(t, func(*testing.T) { _, err = store.TakeLock(dir) })
	return err
}

func lock(t *testing.T, dir string) *store.Lock {
	t.Helper()
	l, err := store.TakeLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestLock has two servers take one directory, by whatever name: the second is told whose it
// is, and has it when the first has ended, in an orderly way or not.
func TestLock(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	relative, err := filepath.Rel(here, dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, killed := range []bool{false, true} {
		pid, release, kill := otherServer(t, dir)
		for _, name := range []string{dir, link, relative, dir + "/."} {
			err := refused(t, name)
			if want := fmt.Sprintf("process %d", pid); !errors.Is(err, store.ErrLocked) || !strings.HasSuffix(err.Error(), want) {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
		if killed {
			kill()
		} else {
			release()
		}
		l := lock(t, link)
		if err := refused(t, dir); !errors.Is(err, store.ErrLocked) || !strings.HasSuffix(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
			t.Errorf("the same process twice: %v", err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		lock(t, dir).Close()
	}
}

// TestLockIsSomethingElse has something else in the lock's place: it is neither followed,
// waited for, written to nor taken for a lock.
func TestLockIsSomethingElse(t *testing.T) {
	dir := t.TempDir()
	name, victim := filepath.Join(dir, "lock"), filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("untouched"), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, put := range map[string]func() error{
		"a link":            func() error { return os.Symlink(victim, name) },
		"a link to nothing": func() error { return os.Symlink(victim+"x", name) },
		"a pipe":            func() error { return syscall.Mkfifo(name, 0o600) },
		"a directory":       func() error { return os.Mkdir(name, 0o700) },
	} {
		if err := errors.Join(os.RemoveAll(name), put()); err != nil {
			t.Fatal(err)
		}
		err := refused(t, dir)
		if err == nil || errors.Is(err, store.ErrLocked) || errors.Is(err, store.ErrUnwritable) || !strings.Contains(err.Error(), "it is not a regular file: remove it") {
			t.Errorf("%s: %v", what, err)
		}
		if text, err := os.ReadFile(victim); err != nil || string(text) != "untouched" {
			t.Fatalf("%s: the file has %q, %v", what, text, err)
		}
		if _, err := os.Lstat(victim + "x"); err == nil {
			t.Errorf("%s: it was made", what)
		}
	}
}

// TestLockWithASecondName has a second name of another file in the lock's place: it is
// locked, and not written to.
func TestLockWithASecondName(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	if err := errors.Join(os.WriteFile(victim, []byte("untouched"), 0o600), os.Link(victim, filepath.Join(dir, "lock"))); err != nil {
		t.Fatal(err)
	}
	l := lock(t, dir)
	defer l.Close()
	if text, err := os.ReadFile(victim); err != nil || string(text) != "untouched" {
		t.Errorf("the file has %q, %v", text, err)
	}
	if err := refused(t, dir); err == nil || err.Error() != store.ErrLocked.Error() {
		t.Errorf("%v", err)
	}
}

// TestNoRoomForALock has no directory that could be written to.
func TestNoRoomForALock(t *testing.T) {
	for what, dir := range map[string]string{"missing": filepath.Join(t.TempDir(), "missing"), "no place to write": "/proc"} {
		if err := refused(t, dir); !errors.Is(err, store.ErrUnwritable) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestLockBelowAFile has a file in the place of the directory, which is neither locked nor
// such that the advice to remove the lock would help.
func TestLockBelowAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := refused(t, file); !errors.Is(err, syscall.ENOTDIR) || errors.Is(err, store.ErrLocked) || strings.Contains(err.Error(), "remove it") {
		t.Error(err)
	}
}

// TestRefusedLocksAreClosed tries for a lock in vain, again and again: no file stays open.
func TestRefusedLocksAreClosed(t *testing.T) {
	dir := t.TempDir()
	defer lock(t, dir).Close()
	open := func() int {
		files, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("there is no /proc to count open files")
		}
		return len(files)
	}
	before := open()
	if err := refused(t, dir); !errors.Is(err, store.ErrLocked) {
		t.Error(err)
	}
	if after := open(); after > before {
		t.Errorf("%d files are open, %d before", after, before)
	}
}

// TestLockOfALongGoneProcess has a file that says nothing, or nonsense, of who has it.
func TestLockOfALongGoneProcess(t *testing.T) {
	dir := t.TempDir()
	for _, text := range []string{"", "1 elsewhere\n", "nonsense", strings.Repeat("9", 5000)} {
		if err := os.WriteFile(filepath.Join(dir, "lock"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l := lock(t, dir)
		if err := os.WriteFile(filepath.Join(dir, "lock"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := refused(t, dir)
		want := store.ErrLocked.Error()
		if text == "1 elsewhere\n" {
			want += `: process 1 on host "elsewhere"`
		}
		if err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
		l.Close()
	}
}

// TestLockThatIsRemoved has somebody remove the file, or put another in its place, between
// the moment that it is opened and that it is locked: the lock is of what is there now.
func TestLockThatIsRemoved(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	for what, c := range map[string]struct {
		replace func() error
		want    error
	}{
		"as it was": {func() error { return nil }, nil},
		"removed":   {func() error { return os.Remove(name) }, store.ErrLocked},
		"replaced":  {func() error { return errors.Join(os.Remove(name), os.WriteFile(name, []byte("another's"), 0o600)) }, store.ErrLocked},
	} {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := c.replace(); err != nil {
			t.Fatal(err)
		}
		if err := store.Claim(f, name); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
		if text, _ := os.ReadFile(name); what == "replaced" && string(text) != "another's" {
			t.Errorf("%s: the file has %q", what, text)
		}
		_ = os.Remove(name)
	}
}
