package cli_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestFirewallIsConfined has a server keep the rules of nftables, at its start and at a reload,
// and look after its files alone: a zone elsewhere is not read.
func TestFirewallIsConfined(t *testing.T) {
	needRoot(t, "nft", "ip")
	if abi, _, errno := syscall.Syscall(444, 0, 0, 1); errno != 0 || abi == 0 {
		t.Skip("this kernel has no Landlock")
	}
	if !apart(t) {
		return
	}
	command(t, "ip", "link", "set", "lo", "up")
	elsewhere := t.TempDir()
	if err := os.WriteFile(filepath.Join(elsewhere, "far.zone"), []byte("$TTL 60\n@ SOA ns a 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join("/var/lib", filepath.Base(elsewhere)+"-firewall-test") // root's alone, on the way too
	t.Cleanup(func() { os.RemoveAll(state) })
	firewall := "listen: [0.0.0.0]\nfirewall: {manage: true, state_dir: " + state + "}\n"
	dir := t.TempDir()
	write := func(allow, more string) {
		t.Helper()
		text := "role: authoritative\nstate_dir: state\ncontrol: {socket: s}\nmetrics: {listen: off}\npolicy: {allow: [" + allow + ", 127.0.0.0/8]}\n" + firewall + "zones: [{name: test, file: test.zone}" + more + "]\n"
		for name, text := range map[string]string{"port53.yaml": text, "test.zone": "$TTL 60\n@ SOA ns a 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	write("10.0.0.0/8", "")
	cmd := exec.Command("port53", "serve", "--config", filepath.Join(dir, "port53.yaml"))
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	for deadline := time.Now().Add(patience); rcodeFrom("127.0.0.1", "test.") != "NOERROR"; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not answer")
		}
	}
	rules := func(want string) {
		t.Helper()
		if got := command(t, "nft", "list", "ruleset"); !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	rules("10.0.0.0/8")
	write("172.16.0.0/12", "")
	command(t, "port53", "reload", "--config", filepath.Join(dir, "port53.yaml"))
	rules("172.16.0.0/12")
	write("172.16.0.0/12", ", {name: far, file: "+elsewhere+"/far.zone}")
	if out, err := exec.Command("port53", "reload", "--config", filepath.Join(dir, "port53.yaml")).CombinedOutput(); err == nil || !strings.Contains(string(out), "permission denied") {
		t.Errorf("a zone elsewhere: %v: %s", err, out)
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	<-ended
	if !strings.Contains(log.String(), "files are confined") {
		t.Errorf("it is not confined:\n%s", log.String())
	}
}
