package telemetry_test

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"port53/internal/telemetry"
)

// TestFullDisk fills the disk that lines go to, and makes room again: there are whole lines
// alone, and what is lost is counted, and told once.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("PORT53_REQUIRE_PEERS") == "1" {
			t.Fatal("required: root")
		}
		t.Skip("only root can mount a small disk")
	}
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
	if err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("none", root, "tmpfs", 0, "size=64k")); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(root, unix.MNT_DETACH) }()
	junk := filepath.Join(root, "junk")
	open := func(name string, flags int) *os.File {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(root, name), os.O_WRONLY|os.O_CREATE|flags, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	whole := func(name string, line *regexp.Regexp, least int) {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if n := len(line.FindAll(text, -1)); n < least || len(line.ReplaceAll(text, nil)) != 0 {
			t.Errorf("%s has %d whole lines, want %d or more and nothing else:\n%s", name, n, least, text)
		}
	}
	fill := func() {
		if err := os.WriteFile(junk, make([]byte, 48<<10), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	eventually := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("never: " + what)
			}
		}
	}

	fill()
	var told []error
	l := telemetry.NewQueryLog(open("queries", os.O_APPEND), telemetry.QueryLogOptions{PerPrefix: -1, OnError: func(err error) { told = append(told, err) }})
	lost := func() bool { l.Offer(entry("\x01a\x00", "192.0.2.1:1")); return l.Dropped() > 5 }
	eventually("a full disk", lost)
	if err := os.Remove(junk); err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Millisecond)
	for range 10 {
		l.Offer(entry("\x01b\x00", "192.0.2.1:1"))
	}
	l.Close()
	whole("queries", regexp.MustCompile(`(?m)^2026-01-02T03:04:05.006Z 192.0.2.1:1 udp [ab]\. IN A NXDOMAIN 99\n`), 50)
	if len(told) != 2 || !errors.Is(told[0], unix.ENOSPC) || told[1] != nil {
		t.Errorf("told %v, want that the disk is full, and that it is not", told)
	}
	if err := os.Remove(filepath.Join(root, "queries")); err != nil {
		t.Fatal(err)
	}

	// Operation is printed, as serve >file does, without O_APPEND.
	for _, flags := range []int{os.O_APPEND, 0} {
		fill()
		f := open("log", flags)
		o := telemetry.NewOutput(f)
		eventually("a full disk", func() bool { _, _ = io.WriteString(o, "a line of some length\n"); return o.Lost() > 5 })
		if err := os.Remove(junk); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(o, "a line of some length\n")
		o.Close(time.Minute)
		f.Close()
		whole("log", regexp.MustCompile(`(?m)^a line of some length\n`), 50)
		if err := os.Remove(filepath.Join(root, "log")); err != nil {
			t.Fatal(err)
		}
	}
}
