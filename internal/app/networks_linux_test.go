package app_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"port53/internal/app"
	"port53/internal/config"
	"port53/internal/dnstest"
	"port53/internal/lab"
)

// answered reports whether a client at an address of this machine is answered, or refused.
func (r *running) answered(from, line string) bool {
	r.Helper()
	d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}, Timeout: patience}
	to := "127.0.0.1"
	if strings.Contains(from, ":") {
		to = "[::1]"
	}
	for range 20 {
		c, err := d.Dial("udp", to+":53")
		if err != nil {
			r.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Second))
		_, _ = c.Write(dnstest.ParseQuestion(r, line).Message())
		reply := make([]byte, 4096)
		if n, err := c.Read(reply); err == nil && n > 12 {
			return reply[3]&15 != 5
		}
	}
	r.Fatalf("no reply for %s", from)
	return false
}

// TestFollowsInterfaces has an interface get networks and lose them: clients in them are
// answered while it has them, by what the configuration says of the interface, and by the
// default, which is its private networks; the plan of the firewall says the same.
func TestFollowsInterfaces(t *testing.T) {
	for _, s := range []struct {
		name, text      string
		public, private bool // networks that are answered
	}{
		{"resolver.allow", "role: internal-resolver\nresolver: {allow: [{interface: lan0}]}\n", true, true},
		{"policy.allow", "role: authoritative\npolicy: {allow: [192.0.2.0/24, {interface: lan0}]}\nzones: [{name: test, file: test.zone}]\n", true, true},
		{"by default", "role: internal-resolver\n", false, true},
		{"with networks alone", "role: internal-resolver\nresolver: {allow: [127.0.0.0/8, 192.0.2.0/24]}\n", false, false},
	} {
		t.Run(strings.ReplaceAll(s.name, " ", "_"), func(t *testing.T) {
			if !ownNetwork(t) {
				return
			}
			dir := t.TempDir()
			path := filepath.Join(dir, "port53.yaml")
			text := s.text + "listen: [127.0.0.1, \"::1\", 0.0.0.0:5300]\nstate_dir: state\ncontrol: {socket: off}\nmetrics: {listen: off}\n"
			for name, content := range map[string]string{"port53.yaml": text, "test.zone": fmt.Sprintf(zoneText, 1, 1)} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			ip(t, "link", "add", "lan0", "type", "veth", "peer", "name", "peer0")
			ip(t, "link", "set", "lan0", "up")
			ip(t, "link", "set", "peer0", "up")
			ip(t, "addr", "add", "203.0.113.1/24", "dev", "peer0")
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
			r := &running{T: t, App: a}
			line := "localhost. A +rd"
			if strings.Contains(s.text, "authoritative") {
				line = "ns.test. A"
			}
			if !r.answered("127.0.0.1", line) || r.answered("203.0.113.1", line) {
				t.Fatal("at the start loopback is not answered, or strangers are")
			}
			for _, n := range []struct {
				prefix string
				want   bool
			}{{"198.51.100.1/24", s.public}, {"10.5.0.1/24", s.private}, {"2001:db8:5::1/64", s.public}, {"fd00:5::1/64", s.private}, {"2001:db8:6::1/64", s.public}} {
				p := netip.MustParsePrefix(n.prefix)
				planned := func() bool {
					plan, err := app.FirewallPlan(c)
					if err != nil {
						t.Fatal(err)
					}
					return slices.Contains(plan.Allow, p.Masked())
				}
				ip(t, "addr", "add", n.prefix, "dev", "lan0", "nodad")
				until(t, n.prefix, func() string { return "" }, func() bool { return r.answered(p.Addr().String(), line) == n.want })
				if planned() != n.want {
					t.Errorf("%s is in the firewall's plan: %v", n.prefix, planned())
				}
				if r.answered("203.0.113.1", line) {
					t.Errorf("strangers are answered")
				}
				if n.want {
					// The address stays, on an interface that is none of those that are named.
					ip(t, "addr", "del", n.prefix, "dev", "lan0")
					ip(t, "addr", "add", p.Addr().String(), "dev", "lo", "nodad")
					until(t, "no "+n.prefix, func() string { return "" }, func() bool {
						return r.answered(p.Addr().String(), line) == (p.Addr().IsPrivate() && s.name == "by default")
					})
					if planned() {
						t.Errorf("%s is still in the firewall's plan", n.prefix)
					}
				}
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRiskOfNewAddress: a public address that the machine gets while the server runs is told of, as one that it had at
// the start would be.
func TestRiskOfNewAddress(t *testing.T) {
	if !ownNetwork(t) {
		return
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "port53.yaml")
	text := "role: internal-resolver\nlisten: [0.0.0.0]\nstate_dir: state\ncontrol: {socket: off}\nmetrics: {listen: off}\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	ctx, cancel := context.WithCancel(t.Context())
	a, err := app.New(ctx, app.Options{Config: c, Network: lab.NewNet(lab.Options{Seed: 53}), Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, nil) }()
	if r := (&running{T: t, App: a}); !r.answered("127.0.0.1", "localhost. A +rd") {
		t.Fatal("loopback is not answered")
	}
	const risk = "of which the public 198.51.100.1"
	if strings.Contains(log.String(), risk) {
		t.Fatalf("it is told of before it is there: %s", log.String())
	}
	ip(t, "addr", "add", "198.51.100.1/32", "dev", "lo")
	until(t, risk, log.String, func() bool { return strings.Contains(log.String(), risk) })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
