package app_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"port53/internal/app"
	"port53/internal/config"
	"port53/internal/lab"
)

// TestFirewallFollowsInterfaces has the server keep the rules of nftables in step with the
// networks of an interface: those that come are let in, and those that go are not.
func TestFirewallFollowsInterfaces(t *testing.T) {
	if _, err := exec.LookPath("nft"); err != nil {
		if os.Getenv("PORT53_REQUIRE_PEERS") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	if !ownNetwork(t) {
		return
	}
	if err := os.Chmod(os.TempDir(), 0o755); err != nil { // nobody else can put anything on the way
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "port53.yaml")
	text := fmt.Sprintf("role: internal-resolver\nresolver: {allow: [{interface: lan0}]}\nlisten: [0.0.0.0]\nstate_dir: state\ncontrol: {socket: off}\nmetrics: {listen: off}\nfirewall: {manage: true, state_dir: %s/fw}\n", dir)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	ip(t, "link", "add", "lan0", "type", "veth", "peer", "name", "peer0")
	ip(t, "link", "set", "lan0", "up")
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	a, err := app.New(ctx, app.Options{Config: c, Network: lab.NewNet(lab.Options{Seed: 53})})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, nil) }()
	rules := func() string {
		out, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	for _, prefix := range []string{"198.51.100.1/24", "10.5.0.1/24"} {
		network := strings.Replace(prefix, ".1/", ".0/", 1)
		if strings.Contains(rules(), network) {
			t.Errorf("%s is let in before it is there", network)
		}
		ip(t, "addr", "add", prefix, "dev", "lan0")
		until(t, network, rules, func() bool { return strings.Contains(rules(), network) })
		ip(t, "addr", "del", prefix, "dev", "lan0")
		until(t, "no "+network, rules, func() bool { return !strings.Contains(rules(), network) })
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
