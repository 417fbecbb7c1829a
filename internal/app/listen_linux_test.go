package app_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"port53/internal/app"
	"port53/internal/config"
	"port53/internal/lab"
)

// ownNetwork runs the test of this name in a child that has a network of its own, with lo up.
// It reports whether this is the child.
func ownNetwork(t *testing.T) bool {
	t.Helper()
	needRoot(t)
	if os.Getenv("PORT53_TEST_CHILD") == "" {
		tmp := t.TempDir()
		for _, err := range []error{os.Chmod(tmp, 0o777), os.Chmod(tmp+"/..", 0o755)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command(os.Args[0], "-test.run=^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$", "-test.v")
		cmd.Env = append(os.Environ(), "PORT53_TEST_CHILD=1", "TMPDIR="+tmp)
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return false
	}
	ip(t, "link", "set", "lo", "up")
	return true
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v %s", args, err, out)
	}
}

// TestAddressComesLater serves, as a user who may not bind port 53, addresses that no
// interface has at the start: one that is there is served at once, and the others as soon as
// they come; the log and the metrics say so.
func TestAddressComesLater(t *testing.T) {
	if !ownNetwork(t) {
		return
	}
	h := newHome(t)
	// Root adds the addresses: a shell that was started before this process gives up root.
	sh := exec.Command("sh")
	in, err := sh.StdinPipe()
	h.must(err, sh.Start())
	defer func() { in.Close(); _ = sh.Wait() }()
	text := "role: authoritative\nzones: [{name: test, file: test.zone}]\nstate_dir: state\ncontrol: {socket: off}\nuser: nobody\n" +
		"listen: [127.0.0.1, 192.0.2.10, \"2001:db8::10\"]\nmetrics: {listen: \"127.0.0.1:9153\"}\n"
	h.must(os.WriteFile(h.path("port53.yaml"), []byte(text), 0o644))
	c, err := config.Load(h.path("port53.yaml"))
	h.must(err)
	checked, err := app.Check(t.Context(), c, false)
	if err != nil || len(checked.Notes) != 2 || !strings.Contains(checked.Notes[0], "192.0.2.10") {
		t.Errorf("config check: %+v %v", checked, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	a, err := app.New(ctx, app.Options{Config: c, Confine: true})
	h.must(err)
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, nil) }()
	r := &running{T: t, App: a}
	r.want("ns.test. A", "192.0.2.1")
	up := func(addr string, want int) {
		t.Helper()
		line := fmt.Sprintf("port53_listener_up{address=%q} %d\n", addr, want)
		until(t, line, func() string { return metrics(t, r) }, func() bool { return strings.Contains(metrics(t, r), line) })
	}
	up("127.0.0.1:53", 1)
	for _, addr := range []string{"192.0.2.10:53", "[2001:db8::10]:53"} {
		host := strings.Trim(strings.TrimSuffix(addr, ":53"), "[]")
		up(addr, 0)
		fmt.Fprintf(in, "ip addr add %s dev lo\n", host)
		up(addr, 1)
		if got := r.askAt("udp", addr, "ns.test. A") + r.askAt("tcp", addr, "ns.test. A"); strings.Count(got, "192.0.2.1") < 2 {
			t.Errorf("at %s: %q", addr, got)
		}
		fmt.Fprintf(in, "ip addr del %s dev lo\n", host)
		up(addr, 0)
	}
	r.want("ns.test. A", "192.0.2.1")
	cancel()
	h.must(<-done)
}

// TestWithoutIPv6 starts what has no configuration on a machine whose IPv6 is switched off.
func TestWithoutIPv6(t *testing.T) {
	if !ownNetwork(t) {
		return
	}
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0); err != nil {
		t.Skip(err)
	}
	c := config.Default()
	c.StateDir = filepath.Join(t.TempDir(), "state")
	c.Control.Socket = ""
	ctx, cancel := context.WithCancel(t.Context())
	a, err := app.New(ctx, app.Options{Config: c, Network: lab.NewNet(lab.Options{Seed: 53})})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, nil) }()
	r := &running{T: t, App: a}
	r.want("localhost. A", "REFUSED") // it was not asked to resolve
	if resp, err := http.Get("http://127.0.0.1:9153/healthz"); err != nil {
		t.Error(err)
	} else {
		resp.Body.Close()
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
