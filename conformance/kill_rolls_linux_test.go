package conformance_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"port53/conformance/peers"
)

// TestKilledRolls has a server be killed while it signs and rolls keys, again and again: after each
// start what is served is good, by the DS records that the parent has; no key is lost, and nothing
// that was acknowledged.
//
// In one piece: it is one story, and its steps share the server's directory.
func TestKilledRolls(t *testing.T) {
	kills := 8
	if n, err := strconv.Atoi(os.Getenv(envKills)); err == nil {
		kills = n
	}
	binary := subjectBinary(t, peers.Port53)
	dir, at := t.TempDir(), freeAddr(t)
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("port53.yaml", fmt.Sprintf(`role: authoritative
listen: ["%[1]s"]
control: {socket: control.sock}
metrics: {listen: off}
state_dir: state
user: ""
keys: [{name: up, secret: MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY=}]
dnssec_policies: [{name: quick, watch: self, dnskey_ttl: 1s, propagation: 0s, parent: {check: ["%[1]s"], ds_ttl: 1s, propagation: 0s, push: {to: ["%[1]s"], tsig: up}}}]
zones:
  - {name: test, file: test.zone, updates: [{key: up, names: ["*"], types: [DS]}]}
  - {name: child.test, file: child.zone, dnssec: {policy: quick}, updates: [{key: up, names: ["*"]}]}
`, at))
	write("test.zone", "$TTL 1\n@ SOA ns admin 1 7200 3600 1209600 1\n@ NS ns\nns A 127.0.0.1\nchild NS ns\n")
	write("child.zone", "$TTL 1\n@ SOA ns.test. admin 1 7200 3600 1209600 1\n@ NS ns.test.\n")
	if err := os.Mkdir(filepath.Join(dir, "state"), 0o755); err != nil {
		t.Fatal(err)
	}
	command := func(args ...string) (string, error) {
		c := exec.Command(binary, args...)
		c.Dir = dir
		out, err := c.CombinedOutput()
		return string(out), err
	}
	start := func() (server *exec.Cmd, ended chan struct{}) {
		server, ended = exec.Command(binary, "serve", "--config", "port53.yaml"), make(chan struct{})
		server.Dir = dir
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		go func() {
			defer close(ended)
			_ = server.Wait() // it is killed
		}()
		for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
			if _, err := command("zone", "status", "--config", "port53.yaml", "child.test"); err == nil {
				return server, ended
			}
			if time.Since(began) > 30*time.Second {
				t.Fatal("it does not start")
			}
		}
	}
	good := func(when string, added []string) {
		t.Helper()
		text, err := command("zone", "export", "--config", "port53.yaml", "child.test")
		if err != nil {
			t.Fatalf("%s: %v: %s", when, err, text)
		}
		write("exported", text)
		args := []string{"zone", "verify", "--origin", "child.test"}
		parent, err := command("zone", "export", "--config", "port53.yaml", "test")
		if err != nil {
			t.Fatalf("%s: %v: %s", when, err, parent)
		}
		ds := ""
		for line := range strings.Lines(parent) {
			if strings.Contains(line, "\tDS\t") {
				ds += line
			}
		}
		if write("ds", ds); ds != "" {
			args = append(args, "--ds", "ds")
		}
		if out, err := command(append(args, "exported")...); err != nil {
			t.Errorf("%s: bogus by %q: %s", when, ds, out)
		}
		for _, name := range added {
			if !strings.Contains(text, name+".child.test.\t") {
				t.Errorf("%s: %s is lost, which was acknowledged", when, name)
			}
		}
	}
	var added []string
	rolls := 0
	for kill := range kills {
		server, ended := start()
		good(fmt.Sprintf("start %d", kill), added)
		timer := time.AfterFunc(time.Duration(100+137*kill%900)*time.Millisecond, func() { _ = server.Process.Signal(syscall.SIGKILL) })
		for n, gone := 0, false; !gone; n++ {
			name := fmt.Sprintf("h%d-%d", kill, n)
			if _, err := command("record", "add", "--config", "port53.yaml", "child.test", name, "1", "A", "192.0.2.1"); err == nil {
				added = append(added, name)
			}
			_, _ = command("zone", "keys", "look", "--config", "port53.yaml", "child.test") // or it is killed amid that
			if _, err := command("zone", "keys", "roll", "--force", "--config", "port53.yaml", "child.test"); err == nil {
				rolls++
			}
			select {
			case <-ended:
				gone = true
			default:
			}
		}
		timer.Stop()
	}
	server, ended := start()
	good("at the end", added)
	if rolls == 0 || len(added) == 0 {
		t.Errorf("%d rolls, %d records: nothing was under way", rolls, len(added))
	}
	if text, err := command("zone", "keys", "--config", "port53.yaml", "child.test"); err != nil || strings.Contains(text, "are missing") {
		t.Errorf("keys: %v: %s", err, text)
	}
	_ = server.Process.Signal(syscall.SIGKILL)
	<-ended
	t.Logf("%d kills, %d rolls, %d records", kills, rolls, len(added))
}
