package app_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
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

// TestFirewallForeignLater has rules of others come and go while the server runs: a translation and a
// drop in tables of nftables, and a redirection by iptables. Each is told of, and where UDP is
// translated it is tracked from then on.
func TestFirewallForeignLater(t *testing.T) {
	for _, program := range []string{"nft", "iptables-nft"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("PORT53_REQUIRE_PEERS") == "1" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	if !ownNetwork(t) {
		return
	}
	if err := os.Chmod(os.TempDir(), 0o755); err != nil { // nobody else can put anything on the way
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "port53.yaml")
	text := fmt.Sprintf("role: internal-resolver\nresolver: {allow: [10.0.0.0/8]}\nlisten: [0.0.0.0]\nstate_dir: state\ncontrol: {socket: off}\nmetrics: {listen: off}\nfirewall: {manage: true, state_dir: %s/fw}\n", dir)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	var logs buffer
	ctx, cancel := context.WithCancel(t.Context())
	a, err := app.New(ctx, app.Options{Config: c, Network: lab.NewNet(lab.Options{Seed: 53}), Log: slog.New(slog.NewTextHandler(&logs, nil))})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, nil) }()
	sh := func(line string) string {
		out, err := exec.Command("sh", "-c", line).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", line, err, out)
		}
		return string(out)
	}
	untracked := func() bool { return strings.Contains(sh("nft list table inet port53"), "notrack") }
	if !untracked() {
		t.Fatalf("UDP is tracked without a reason:\n%s", sh("nft list table inet port53"))
	}
	for _, rule := range []struct {
		what, add, del string
		tracked        bool
	}{
		{"redirect {port: 5353}", "nft add table inet docker && nft 'add chain inet docker pre { type nat hook prerouting priority -100; }' && nft add rule inet docker pre udp dport 53 redirect to :5353", "nft delete table inet docker", true},
		{"table inet other", "nft add table inet other && nft 'add chain inet other input { type filter hook input priority 0; }' && nft add rule inet other input udp dport 53 drop", "nft delete table inet other", false},
		{"--dport 53 -j REDIRECT", "iptables-nft -t nat -A PREROUTING -p udp --dport 53 -j REDIRECT --to-ports 5353", "iptables-nft -t nat -F PREROUTING", true},
	} {
		mark := len(logs.String())
		said := func() string { return logs.String()[mark:] }
		sh(rule.add)
		until(t, rule.what, said, func() bool {
			return strings.Contains(said(), "the firewall has foreign rules") && strings.Contains(said(), rule.what) && untracked() != rule.tracked
		})
		sh(rule.del)
		until(t, "no "+rule.what, said, func() bool {
			return strings.Contains(said(), "a foreign firewall rule for port 53 was removed") && untracked()
		})
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A buffer is what was logged, read while more comes.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
