package cli_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// block has a file that cannot be opened, as on a file system that does not answer, until
// release is called (fcntl(2), "Leases": the kernel waits 45 seconds for whoever has one).
// tried is told of an attempt.
func block(t *testing.T, path string) (tried <-chan os.Signal, release func()) {
	t.Helper()
	told := make(chan os.Signal, 8)
	signal.Notify(told, unix.SIGIO)
	t.Cleanup(func() { signal.Stop(told) })
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Skip("no leases here:", err)
	}
	return told, func() { f.Close() }
}

// starting is a server whose start waits for a file of its configuration.
func starting(t *testing.T, file string) (s *served, release func()) {
	t.Helper()
	dir := t.TempDir()
	s = &served{T: t, dir: dir, port: unused(t), ended: make(chan error, 1)}
	s.write("test.zone", fmt.Sprintf(testZone, 1))
	s.write("secret", "MDEyMzQ1Njc4OWFiY2RlZg==\n")
	if err := os.Chmod(filepath.Join(dir, "secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.write("port53.yaml", fmt.Sprintf("role: authoritative\nlisten: [\"127.0.0.1:%s\"]\nmetrics: {listen: off}\nstate_dir: state\ncontrol: {socket: s}\n"+
		"keys: [{name: k, secret_file: secret}]\nzones: [{name: test, file: test.zone}]\n", s.port))
	tried, release := block(t, filepath.Join(dir, file))
	s.cmd = exec.Command("port53", "serve", "--config", filepath.Join(dir, "port53.yaml"))
	var log strings.Builder
	s.cmd.Stdout, s.cmd.Stderr = &log, &log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.ended <- s.cmd.Wait() }()
	t.Cleanup(func() { _ = s.cmd.Process.Kill() })
	select {
	case <-tried:
	case err := <-s.ended:
		t.Fatalf("ended with %v: %s", err, log.String())
	case <-time.After(patience):
		t.Fatal("the file is not opened")
	}
	return s, release
}

// TestSignalsWhileStarting has a start wait for its configuration, for a secret or for a zone:
// SIGHUP does not end it, and it serves once it can; SIGTERM ends it though it waits.
func TestSignalsWhileStarting(t *testing.T) {
	for _, file := range []string{"port53.yaml", "secret", "test.zone"} {
		t.Run(file, func(t *testing.T) {
			s, release := starting(t, file)
			for range 3 {
				if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
					t.Fatal(err)
				}
			}
			release()
			s.asked(1)
			s.terminate()

			s, release = starting(t, file)
			defer release()
			begun := time.Now()
			if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-s.ended:
				var e *exec.ExitError
				if !errors.As(err, &e) || e.ExitCode() != 1 {
					t.Errorf("ended with %v, want exit code 1", err)
				}
			case <-time.After(40 * time.Second): // then the kernel lets it go on
				t.Errorf("it has not ended %v after SIGTERM", time.Since(begun))
			}
		})
	}
}

// ignores reports whether a process ignores SIGHUP.
func ignores(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, mask, _ := strings.Cut(string(text), "\nSigIgn:\t")
	mask, _, _ = strings.Cut(mask, "\n")
	set, bad := strconv.ParseUint(mask, 16, 64)
	return err == nil && bad == nil && set&(1<<(syscall.SIGHUP-1)) != 0
}

// TestHangupBeforeItIsReady sends SIGHUP to processes that are still being made ready, before
// any of their own code runs: they serve all the same, and reload afterwards.
func TestHangupBeforeItIsReady(t *testing.T) {
	s := serveWith(t, "", func(*exec.Cmd) {})
	s.terminate()
	hit := 0
	for try := 0; hit < 3; try++ {
		if try == 200 {
			t.Fatal("SIGHUP is never ignored while a process is made ready")
		}
		s.cmd = exec.Command("port53", "serve", "--config", filepath.Join(s.dir, "port53.yaml"))
		if err := s.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		go func() { s.ended <- s.cmd.Wait() }()
		t.Cleanup(func() { _ = s.cmd.Process.Kill() })
		for begun := time.Now(); time.Since(begun) < 50*time.Millisecond; {
			if ignores(s.cmd.Process.Pid) {
				_ = s.cmd.Process.Signal(syscall.SIGHUP)
				hit++
				break
			}
		}
		s.asked(1)
		if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		s.await("port53_reloads_total", 1, func() { time.Sleep(time.Millisecond) })
		s.terminate()
	}
}

// TestReloadIsKilled kills port53 reload while the server reads a file: the reload is carried
// out, and counts.
func TestReloadIsKilled(t *testing.T) {
	s := serveWith(t, "", func(*exec.Cmd) {})
	s.write("test.zone", fmt.Sprintf(testZone, 2))
	tried, release := block(t, filepath.Join(s.dir, "test.zone"))
	reload := exec.Command("port53", "reload", "--socket", filepath.Join(s.dir, "s"))
	if err := reload.Start(); err != nil {
		t.Fatal(err)
	}
	<-tried
	_ = reload.Process.Kill()
	_ = reload.Wait()
	release()
	s.await("port53_reloads_total", 1, func() { time.Sleep(time.Millisecond) })
	if s.metric("port53_last_reload_success") != 1 || s.status().Zones[0].Serial != 2 {
		t.Errorf("the last reload's success is %v, the serial %d", s.metric("port53_last_reload_success"), s.status().Zones[0].Serial)
	}
	s.terminate()
}
