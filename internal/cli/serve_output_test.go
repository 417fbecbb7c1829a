package cli_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"port53/internal/app"
	"port53/internal/console"
	"port53/internal/dnstest"
)

// patience is how long a busy machine may take for what is quick.
const patience = 60 * time.Second

// A served is a server in a process of its own, with the metrics and the control socket on.
type served struct {
	*testing.T
	dir, port, metrics string
	cmd                *exec.Cmd
	ended              chan error
}

// testZone is a zone whose serial is to be filled in.
const testZone = "$TTL 60\n@ SOA ns admin %d 7200 3600 1209600 300\n@ NS ns\nns A 192.0.2.1\n"

// serveWith starts a server with more in its configuration and the files that are given as
// its standard output and error, and waits until it answers. It is killed when the test ends.
func serveWith(t *testing.T, more string, prepare func(cmd *exec.Cmd)) *served {
	t.Helper()
	dir, err := os.MkdirTemp("", "port53")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &served{T: t, dir: dir, port: unused(t), metrics: unused(t), ended: make(chan error, 1)}
	s.write("test.zone", fmt.Sprintf(testZone, 1))
	s.write("port53.yaml", fmt.Sprintf("role: authoritative\nlisten: [\"127.0.0.1:%s\"]\nmetrics: {listen: \"127.0.0.1:%s\"}\nstate_dir: state\ncontrol: {socket: s}\nzones: [{name: test, file: test.zone}]\npolicy: {rate_limit: {enabled: false}}\n%s", s.port, s.metrics, more))
	s.cmd = exec.Command("port53", "serve", "--config", filepath.Join(dir, "port53.yaml"))
	if prepare(s.cmd); s.cmd.Stderr == nil {
		log, err := os.Create(filepath.Join(dir, "log"))
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		s.cmd.Stderr = log
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.ended <- s.cmd.Wait() }()
	t.Cleanup(func() { _ = s.cmd.Process.Kill() })
	s.asked(1)
	return s
}

func (s *served) write(name, text string) {
	s.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o644); err != nil {
		s.Fatal(err)
	}
}

// unused returns a port that nobody has for UDP and TCP.
func unused(t *testing.T) string {
	t.Helper()
	port, err := dnstest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// asked asks so many questions, each of which has to be answered.
func (s *served) asked(n int) {
	s.Helper()
	for i := range n {
		if text, err := exchange(s.port, fmt.Sprintf("n%d.test", i), "A", patience); err != nil || !strings.Contains(text, "NXDOMAIN") {
			s.alive()
			s.Fatalf("question %d of %d: %v\n%s", i, n, err, text)
		}
	}
}

// alive fails if the process has ended.
func (s *served) alive() {
	s.Helper()
	select {
	case err := <-s.ended:
		log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
		s.Fatalf("the server has ended: %v\n%s", err, log)
	default:
	}
}

// metric returns the sum of a metric's samples.
func (s *served) metric(name string) (sum float64) {
	s.Helper()
	client := http.Client{Timeout: patience}
	resp, err := client.Get("http://127.0.0.1:" + s.metrics + "/metrics")
	if err != nil {
		s.alive()
		s.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^`+name+`(?:\{.*\})? (.*)$`).FindAllSubmatch(text, -1) {
		v, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			s.Fatal(err)
		}
		sum += v
	}
	return sum
}

// await waits until a metric is at least what is wanted, doing something between.
func (s *served) await(name string, least float64, between func()) {
	s.Helper()
	for end := time.Now().Add(patience); ; {
		got := s.metric(name)
		if got >= least {
			return
		}
		if time.Now().After(end) {
			s.Fatalf("%s is %v, want %v", name, got, least)
		}
		between()
	}
}

// status asks the server over its control socket.
func (s *served) status() app.Status {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	var st app.Status
	if err := console.Call(ctx, filepath.Join(s.dir, "s"), "GET", "/status", &st); err != nil {
		s.alive()
		s.Fatal(err)
	}
	return st
}

// refused has a reload fail, which is logged.
func (s *served) refused() {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	s.write("port53.yaml", "role: nonsense\n")
	if err := console.Call(ctx, filepath.Join(s.dir, "s"), "POST", "/reload", nil); !errors.Is(err, console.ErrRefused) {
		s.alive()
		s.Fatalf("a reload of nonsense: %v", err)
	}
}

// terminate has the server end by itself.
func (s *served) terminate() {
	s.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.Fatal(err)
	}
	select {
	case err := <-s.ended:
		if err != nil {
			s.Errorf("it ended with %v", err)
		}
	case <-time.After(patience):
		s.Error("it does not end")
	}
}

// pipe returns the ends of a pipe. The reading one is closed when the test ends.
func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// gone returns something to write to that nobody reads any more: a pipe, or a socket as the
// service manager's journal has it.
func gone(t *testing.T, socket bool) *os.File {
	t.Helper()
	if !socket {
		r, w := pipe(t)
		r.Close()
		return w
	}
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	syscall.Close(fds[0])
	f := os.NewFile(uintptr(fds[1]), "socket")
	t.Cleanup(func() { f.Close() })
	return f
}

const logQueries = "log: {queries: text}\n"

// TestReaderGoes is serve | head -n 1: the reader of the query log reads a line and goes. The
// server serves on, and counts the lines that it could not write.
func TestReaderGoes(t *testing.T) {
	r, w := pipe(t)
	s := serveWith(t, logQueries, func(cmd *exec.Cmd) { cmd.Stdout = w })
	w.Close()
	line := make([]byte, 1)
	for line[0] != '\n' {
		if _, err := r.Read(line); err != nil {
			t.Fatal(err)
		}
	}
	r.Close()
	s.await("port53_query_log_dropped_total", 5, func() { s.asked(1) })
	s.asked(20)
	s.status()
	s.terminate()
}

// TestLogReaderIsGone has nobody read standard error, from the start or from some time on.
func TestLogReaderIsGone(t *testing.T) {
	for name, open := range map[string]func() *os.File{
		"a pipe":   func() *os.File { return gone(t, false) },
		"a socket": func() *os.File { return gone(t, true) },
	} {
		t.Run(name, func(t *testing.T) {
			s := serveWith(t, logQueries, func(cmd *exec.Cmd) { cmd.Stdout, cmd.Stderr = open(), open() })
			s.await("port53_log_lost_total", 3, s.refused)
			s.await("port53_query_log_dropped_total", 3, func() { s.asked(1) })
			s.status()
			s.terminate()
		})
	}
	t.Run("after a line", func(t *testing.T) {
		r, w := pipe(t)
		s := serveWith(t, "", func(cmd *exec.Cmd) { cmd.Stderr = w })
		w.Close()
		s.refused()
		if _, err := r.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		r.Close()
		s.await("port53_log_lost_total", 1, s.refused)
		s.asked(20)
		s.terminate()
	})
}

// TestClosedOutput starts the server without standard output and error.
func TestClosedOutput(t *testing.T) {
	s := serveWith(t, logQueries, func(cmd *exec.Cmd) {
		cmd.Args = append([]string{"sh", "-c", `exec "$@" >&- 2>&-`, "sh", cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/bin/sh"
	})
	for range 3 {
		s.refused()
		s.asked(5)
	}
	s.status()
	s.terminate()
}

// full returns a pipe that is full and that nobody reads.
func full(t *testing.T) *os.File {
	t.Helper()
	r, w := pipe(t)
	_ = r // it stays open
	raw, err := w.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	junk := bytes.Repeat([]byte("junk\n"), 1000)
	// The process that gets it writes to it as it is: blocking.
	err = raw.Control(func(fd uintptr) {
		for {
			if _, err := syscall.Write(int(fd), junk); err != nil && len(junk) == 1 {
				break
			} else if err != nil {
				junk = junk[:1]
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// TestGreetingIsNotRead starts a laboratory, which prints what to try, with a pipe that is
// full as standard output.
func TestGreetingIsNotRead(t *testing.T) {
	port := unused(t)
	cmd := exec.Command("port53", "lab", "--listen", "127.0.0.1:"+port)
	cmd.Stdout = full(t)
	s := &served{T: t, cmd: cmd, ended: make(chan error, 1)}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	if _, err := exchange(port, "www.secure.test", "A", patience); err != nil {
		s.alive()
		t.Fatal(err)
	}
	s.terminate()
}

// TestNobodyReads has standard output and error be pipes that are full: nothing waits for
// them, from the start until the end.
func TestNobodyReads(t *testing.T) {
	for what, queries := range map[string]string{"log": "", "queries": logQueries} {
		t.Run(what, func(t *testing.T) {
			s := serveWith(t, queries, func(cmd *exec.Cmd) {
				cmd.Stdout, cmd.Stderr = full(t), full(t)
			})
			for range 5 {
				s.refused()
				s.asked(20)
				s.status()
			}
			s.terminate()
		})
	}
}
