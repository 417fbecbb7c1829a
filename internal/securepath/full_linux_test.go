package securepath_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"port53/internal/securepath"
)

// TestFullDisk writes where there is no room, and where nothing can be written: what was there
// stays, and nothing else is left.
func TestFullDisk(t *testing.T) {
	needRoot(t)
	if os.Getenv("PORT53_TEST_CHILD") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestFullDisk$")
		cmd.Env = append(os.Environ(), "PORT53_TEST_CHILD=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	root := t.TempDir()
	if err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("none", root, "tmpfs", 0, "size=64k,mode=755")); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(root, unix.MNT_DETACH) }()
	d, err := securepath.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Write("f", []byte("old\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	unchanged := func(what string) {
		t.Helper()
		names, err := os.ReadDir(root)
		text, err2 := os.ReadFile(filepath.Join(root, "f"))
		if err != nil || err2 != nil || len(names) != 1 || string(text) != "old\n" {
			t.Errorf("%s: %v has %q, %v, %v", what, names, text, err, err2)
		}
	}
	if err := d.Write("f", make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("full: %v", err)
	}
	unchanged("full")
	if err := unix.Mount("none", root, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if err := d.Write("f", nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("read-only: %v", err)
	}
	if err := d.Remove("f"); !errors.Is(err, unix.EROFS) {
		t.Errorf("removing: %v", err)
	}
	if err := d.Chown(somebody, somebody); !errors.Is(err, unix.EROFS) {
		t.Errorf("giving away: %v", err)
	}
	if _, _, err := securepath.Make(filepath.Join(root, "a/b"), 0o750); !errors.Is(err, unix.EROFS) {
		t.Errorf("making: %v", err)
	}
	if f, err := securepath.Append(filepath.Join(root, "g"), 0o640); !errors.Is(err, unix.EROFS) {
		t.Errorf("appending: %v %v", f, err)
	}
	unchanged("read-only")
}
