package conformance_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"port53/conformance/netns"
)

// firstMinute is how long make run may take, in a tree that is built, until it answers.
const firstMinute = 10 * time.Second

// What the documents' command lines find.
const (
	namedConf = "options { recursion no; };\nzone \"example.com\" { type primary; file \"zones/example.com.zone\"; };\n"
	smallZone = "$TTL 1h\n@ SOA ns1 h 1 2h 1h 2w 5m\n@ NS ns1\nns1 A 192.0.2.53\n"
)

// A shell runs command lines in a network namespace without the Internet.
type shell struct {
	t   *testing.T
	net *netns.Namespace
	env []string
}

func newShell(t *testing.T, env ...string) *shell {
	t.Helper()
	if os.Getuid() != 0 {
		missing(t, errors.New("root, for a network without the Internet"))
	}
	n, err := netns.New()
	if err != nil {
		missing(t, err)
	}
	t.Cleanup(n.Close)
	return &shell{t, n, append(os.Environ(), env...)}
}

// start starts a command line in dir as a group of processes that ends with the test, and
// returns what it prints.
func (s *shell) start(dir, line string) *lockedBuffer {
	s.t.Helper()
	out := &lockedBuffer{}
	cmd := exec.Command("sh", "-c", "exec "+line)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, s.env, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.net.Do(cmd.Start); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		_ = cmd.Wait()
	})
	return out
}

// run runs a command line in dir and returns what it prints, and its exit code.
func (s *shell) run(dir, line string) (string, int) {
	s.t.Helper()
	return s.runFor(dir, line, 2*time.Minute)
}

// runFor is run, for what may take so long.
func (s *shell) runFor(dir, line string, patience time.Duration) (string, int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	out := &lockedBuffer{}
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, s.env, out, out
	if err := s.net.Do(cmd.Start); err != nil {
		s.t.Fatal(err)
	}
	_ = cmd.Wait()
	return out.String(), cmd.ProcessState.ExitCode()
}

// until waits until the text is printed.
func (s *shell) until(p *lockedBuffer, text string, patience time.Duration) {
	s.t.Helper()
	for end := time.Now().Add(patience); !strings.Contains(p.String(), text); {
		if time.Now().After(end) {
			s.t.Fatalf("%q is not printed after %v:\n%s", text, patience, p)
		}
		time.Sleep(10 * time.Millisecond) // between looks
	}
}

// commandLines returns the lines of the sh blocks of a document, without their comments.
func commandLines(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, block := range regexp.MustCompile("(?s)```(?:sh|console)\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		for line := range strings.Lines(block[1]) {
			line, _, _ = strings.Cut(line, "  #")
			line, _, _ = strings.Cut(line, " # ")
			if line = strings.TrimPrefix(strings.TrimSpace(line), "$ "); line != "" && line[0] != '#' {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

// TestReadme runs each command line of README.md, without the Internet: make run answers within
// ten seconds, prints four questions, and their answers are the ones that it says.
func TestReadme(t *testing.T) {
	root := t.TempDir()
	s := newShell(t, "PATH="+filepath.Join(root, "usr/local/bin")+":"+os.Getenv("PATH"))
	tree, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	if out, code := s.run(tree, "make build"); code != 0 {
		t.Fatalf("make build: %s", out)
	}
	work, etc := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{"named.conf": namedConf, "zones/example.com.zone": smallZone} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(etc, name)), 0o755), os.WriteFile(filepath.Join(etc, name), []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	// What is in the way of running a line as it stands, and how it ends without the Internet.
	stands := strings.NewReplacer("sudo make install", "make install DESTDIR="+root, "/etc/bind/", etc+"/")
	codes := map[string]int{
		"bin/port53 query @127.0.0.1 -p 5353 www.example.com --validate": 1,
		"bin/port53 query www.example.com --trace":                       1,
		"bin/port53 check 127.0.0.1:5353":                                3, // what takes a resolver's answers cannot be measured
	}
	for _, line := range commandLines(t, "../README.md") {
		if line == "make test" {
			continue // which runs this
		}
		dir := work
		if line == "make run" {
			begun := time.Now()
			out := s.start(tree, line)
			s.until(out, "Ctrl-C stops it", firstMinute)
			greetingQuestions(t, s, out.String())
			if took := time.Since(begun); took > firstMinute {
				t.Errorf("make run answers after %v, want less than %v", took, firstMinute)
			}
			continue
		}
		if strings.HasPrefix(line, "bin/") || strings.Contains(line, "make ") {
			dir = tree
		}
		out, code := s.run(dir, stands.Replace(line))
		if code != codes[line] {
			t.Errorf("%s: exit code %d, want %d:\n%s", line, code, codes[line], out)
		}
	}
	for _, file := range []string{
		"bin/port53", "lib/systemd/system/port53.service", "lib/sysusers.d/port53.conf", "share/bash-completion/completions/port53",
		"share/zsh/site-functions/_port53", "share/fish/vendor_completions.d/port53.fish",
	} {
		if info, err := os.Stat(filepath.Join(root, "usr/local", file)); err != nil || info.Size() == 0 {
			t.Errorf("make install does not install %s: %v", file, err)
		}
	}
	unit, err := os.ReadFile(filepath.Join(root, "usr/local/lib/systemd/system/port53.service"))
	if err != nil || !strings.Contains(string(unit), "ExecStart=/usr/local/bin/port53 serve") {
		t.Errorf("the unit does not start what was installed: %v\n%s", err, unit)
	}
}

// greetingQuestions asks what a greeting says, and wants the answers that it says.
func greetingQuestions(t *testing.T, s *shell, greeting string) {
	t.Helper()
	asked := 0
	for _, m := range regexp.MustCompile(`(?m)^  dig (@\S+ -p \d+ (?:\S+ )*\S+) {2,}(.+)$`).FindAllStringSubmatch(greeting, -1) {
		for _, program := range []string{"dig", "bin/port53 query"} {
			out, code := s.run("..", program+" "+m[1])
			if code != 0 || !strings.Contains(out, m[2]) {
				t.Errorf("%s %s: exit code %d, want %q in\n%s", program, m[1], code, m[2], out)
			}
		}
		asked++
	}
	if asked != 4 {
		t.Errorf("%d questions in\n%s", asked, greeting)
	}
}

// TestExamplePort starts the example where multicast DNS has its port already, and two of them.
func TestExamplePort(t *testing.T) {
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	s := newShell(t)
	for _, port := range []string{"5353", "5354", "5355"} {
		out := s.start(t.TempDir(), bin+" serve --example")
		s.until(out, "on 127.0.0.1:"+port+",", startTimeout)
		greetingQuestions(t, s, out.String())
	}
}

// TestGuide runs each command line of docs/GUIDE.md beside a server that runs.
func TestGuide(t *testing.T) {
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	s := newShell(t, "PATH="+filepath.Dir(bin)+":"+os.Getenv("PATH"))
	if err := os.Mkdir(filepath.Join(work, "zones"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"zones/example.com.zone": smallZone,
		"named.conf":             namedConf,
		"port53.yaml":            "role: internal-resolver\nlisten: [127.0.0.1]\nstate_dir: " + work + "\nmetrics: {listen: off}\ncontrol: {socket: control.sock}\n",
	} {
		if err := os.WriteFile(filepath.Join(work, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// The words that the command line leaves to the default of an installed server.
	stands := strings.NewReplacer("/etc/bind/", "", "cache flush", "cache flush --config port53.yaml", "zone list", "zone list --config port53.yaml",
		"check --self", "check --self --config port53.yaml", "--confirm 60s", "--backend nftables")
	for _, line := range commandLines(t, "../docs/GUIDE.md") {
		if strings.HasPrefix(line, "port53 serve --config") {
			s.until(s.start(work, line), "msg=listening", startTimeout)
			continue
		}
		out, code := s.run(work, stands.Replace(line))
		usage := code == 2 || code == 4 || code < 0
		if usage || code != 0 && !strings.HasPrefix(line, "port53 check") && !strings.HasPrefix(line, "port53 doctor") {
			t.Errorf("%s: exit code %d:\n%s", line, code, out)
		}
	}
}
