package app_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"port53/internal/console"
	"port53/internal/wire"
)

// status returns the values of a line of /proc/self/task/*/status, of every thread.
func threads(t *testing.T, key string) (values []string) {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil || len(tasks) < 2 {
		t.Fatal(tasks, err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(text), "\n"+key+":")
		line, _, _ := strings.Cut(rest, "\n")
		values = append(values, strings.Join(strings.Fields(line), " "))
	}
	return values
}

// tried is what became of an attempt.
type tried struct {
	what    string
	err     error
	allowed bool
}

// landlocked reports whether the kernel confines files.
func landlocked() bool {
	abi, _, errno := syscall.Syscall(444, 0, 0, 1)
	return errno == 0 && abi > 0
}

// attempts tries what a server has no business with, and what it has.
func (h *home) attempts() []tried {
	write := func(name string) error {
		err := os.WriteFile(h.path(name), []byte("x\n"), 0o600)
		if err == nil {
			err = os.Remove(h.path(name))
		}
		return err
	}
	read := func(path string) error {
		_, err := os.ReadFile(path)
		return err
	}
	return []tried{
		{"write beside the configuration", write("new"), false},
		{"write where everybody may", write("../open/new"), false},
		{"make a directory where everybody may", os.Mkdir(h.path("../open/dir"), 0o700), false},
		{"make a link where everybody may", os.Symlink("x", h.path("../open/link")), false},
		{"truncate what everybody may write", os.Truncate(h.path("../open/file"), 0), false},
		{"remove what everybody may write", os.Remove(h.path("../open/file")), false},
		{"rename out of the state directory", func() error {
			if err := os.WriteFile(h.path("state/mine"), nil, 0o600); err != nil {
				return nil
			}
			return os.Rename(h.path("state/mine"), h.path("../open/mine"))
		}(), false},
		{"read what everybody may elsewhere", read(h.path("../open/file")), false},
		{"read the machine's passwords", read("/etc/shadow"), false},
		{"list a directory elsewhere", func() error { _, err := os.ReadDir(h.path("../open")); return err }(), false},
		{"start a program", exec.Command("/bin/true").Run(), false},
		{"become root", syscall.Setuid(0), false},
		{"trace a process", called(unix.SYS_PTRACE, unix.PTRACE_CONT, uintptr(os.Getppid())), false},
		{"mount", unix.Mount("none", h.path("state"), "tmpfs", 0, ""), false},
		{"have a user's namespace", unix.Unshare(unix.CLONE_NEWUSER), false},
		{"fork into a namespace", forked(unix.CLONE_NEWUSER), false},
		{"have another root", unix.Chroot(h.path("state")), false},
		{"look for keys of the kernel", func() error { _, err := unix.KeyctlSearch(unix.KEY_SPEC_SESSION_KEYRING, "user", "x", 0); return err }(), false},
		{"load a program into the kernel", called(unix.SYS_BPF), false},
		{"have a ring of system calls", called(unix.SYS_IO_URING_SETUP), false},
		{"make a device", unix.Mknod(h.path("state/device"), unix.S_IFIFO|0o600, 0), false},
		{"set the clock", called(unix.SYS_CLOCK_SETTIME), false},
		{"bind a port of root's", func() error {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return nil
			}
			defer unix.Close(fd)
			return unix.Bind(fd, &unix.SockaddrInet4{Port: 81, Addr: [4]byte{127, 0, 0, 1}})
		}(), false},
		{"write to the state directory", write("state/new"), true},
		{"write to the query log's directory", write("theirs/new"), true},
		{"read the configuration", read(h.path("port53.yaml")), true},
		{"read a zone", read(h.path("test.zone")), true},
		{"read its own memory", read("/proc/self/status"), true},
	}
}

// called is what becomes of a system call whose other arguments are nothing: who may make it is told
// something else than that it may not.
func called(number uintptr, args ...uintptr) error {
	args = append(args, 0, 0)
	if _, _, errno := syscall.Syscall6(number, args[0], args[1], 0, 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// forked makes a child with flags, which waits for nothing.
func forked(flags uintptr) error {
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	return cmd.Run()
}

// TestConfined has a server become nobody and try for what it has no need of; what it has need
// of works as before: updates, reloads, the query log, the control socket, sync and stop.
func TestConfined(t *testing.T) {
	needRoot(t)
	if os.Getenv("PORT53_TEST_CHILD") == "" {
		runChild(t, "TestConfined")
		return
	}
	h := newHome(t)
	h.must(
		os.Mkdir(h.path("../open"), 0o777), os.Chmod(h.path("../open"), 0o777),
		os.WriteFile(h.path("../open/file"), []byte("x\n"), 0o666), os.Chmod(h.path("../open/file"), 0o666),
		os.WriteFile(h.path("../open/far.zone"), []byte(zoneText), 0o644),
		os.Mkdir(h.path("zones"), 0o755), os.WriteFile(h.path("zones/up.zone"), []byte("$TTL 60\n@ SOA ns admin 1 7200 3600 1209600 300\n@ NS ns\nns A 192.0.2.1\n"), 0o644),
		os.Chown(h.path("zones"), nobody, nobody), os.Chown(h.path("zones/up.zone"), nobody, nobody),
	)
	text := "role: authoritative\nstate_dir: state\ncontrol: {socket: theirs/s}\nlog: {queries: text, queries_file: theirs/q}\n" + keysYAML +
		"zones:\n  - {name: test, file: test.zone}\n  - {name: up, file: zones/up.zone, updates: [{key: ddns, names: [\"*\"]}]}\n"
	primary := &running{T: t, dir: h.path("primary"), reload: make(chan os.Signal, 1)} // whose directory the parent removes
	h.must(os.Mkdir(primary.dir, 0o755))
	primary.write("test.zone", fmt.Sprintf(zoneText, 1, 1))
	primary.configure("state", "  - {name: second, file: test.zone, allow_transfer: [127.0.0.1], insecure: true}\n")
	h.must(primary.serve(io.Discard))
	text += fmt.Sprintf("  - {name: second, primaries: [%q], insecure: true}\n", primary.Addrs()[0])
	h.must(h.start(text))
	for key, want := range map[string]string{
		"CapBnd": "0000000000000000", "CapEff": "0000000000000000", "CapPrm": "0000000000000000", "CapInh": "0000000000000000", "CapAmb": "0000000000000000",
		"NoNewPrivs": "1", "Seccomp": "2", "Uid": "65534 65534 65534 65534",
	} {
		for _, got := range threads(t, key) {
			if got != want {
				t.Errorf("a thread has %s %s, want %s", key, got, want)
			}
		}
	}
	if !landlocked() {
		t.Log("this kernel has no Landlock")
	} else {
		for _, a := range h.attempts() {
			if (a.err == nil) != a.allowed || a.err != nil && !errors.Is(a.err, fs.ErrPermission) && !errors.Is(a.err, unix.EXDEV) {
				t.Errorf("%s: %v, want allowed %v", a.what, a.err, a.allowed)
			}
		}
	}

	r := &running{T: t, App: h.app}
	r.want("ns.test. A", "192.0.2.1")
	if rcode := wire.Rcode(r.exchange("127.0.0.1:0", sign(&ddns, updateOf([]byte("\x02up\x00"), 1, "one"), time.Now()))[3] & 15); rcode != wire.NoError {
		t.Errorf("an update: %s\n%s", rcode, h.logs.String())
	}
	until(t, "the secondary zone", h.logs.String, func() bool { return strings.Contains(r.ask("udp", "ns.second. A"), "192.0.2.1") })
	if kept, err := os.ReadDir(h.path("state/zones/second")); err != nil || len(kept) == 0 {
		t.Errorf("the secondary zone is not kept: %v %v", kept, err)
	}
	_, err := h.app.Zone("sync", "up.", "")
	h.must(err)
	if synced, err := os.ReadFile(h.path("zones/up.zone")); err != nil || !strings.Contains(string(synced), "one") {
		t.Errorf("the file is %q, %v", synced, err)
	}
	h.must(console.Call(t.Context(), h.path("theirs/s"), "POST", "/reload", nil), os.Rename(h.path("theirs/q"), h.path("theirs/q.1")))
	h.must(console.Call(t.Context(), h.path("theirs/s"), "POST", "/reload", nil))
	r.want("ns.test. A", "192.0.2.1")
	if _, err := os.Stat(h.path("theirs/q")); err != nil {
		t.Error(err)
	}
	h.stop()
	if _, err := os.Lstat(h.path("theirs/s")); err == nil {
		t.Error("the control socket is still there")
	}
}
