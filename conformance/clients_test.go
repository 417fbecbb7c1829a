package conformance_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"port53/conformance/netns"
	"port53/conformance/peers"
)

// TestClients starts the example as README tells to, has real clients ask it,
// and stops it as Ctrl-C does.
func TestClients(t *testing.T) {
	if subjectKind() != peers.Port53 {
		t.Skip("the example is port53's own")
	}
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	// The port is fixed, so root has the example run in a network of its own.
	run := func(f func() error) error { return f() }
	if os.Getuid() == 0 {
		if n, err := netns.New(); err == nil {
			defer n.Close()
			run = n.Do
		}
	}
	addr := netip.MustParseAddrPort("127.0.0.1:5353")
	if err := run(func() error {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
		if err == nil {
			c.Close()
		}
		return err
	}); err != nil {
		t.Skipf("missing: a free port: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	s, err := peers.Start(ctx, peers.Port53, peers.Options{
		Dir: t.TempDir(), Addr: addr, Command: []string{bin, "serve", "--example"}, Zones: []peers.Zone{{Name: "example.test."}}, Run: run,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	for _, c := range []struct {
		name, question string
		want           []string
	}{
		{"SOA", "example.test SOA", []string{"NOERROR", "aa", "ns1.example.test. hostmaster.example.test. 2026010101"}},
		{"A", "www.example.test A", []string{"NOERROR", "aa", "192.0.2.80"}},
		{"wildcard", "anything.wild.example.test TXT", []string{"NOERROR", "aa", "made from a wildcard"}},
		{"delegation", "host.sub.example.test A", []string{"NOERROR", "ns.sub.example.test.", "203.0.113.53"}},
		{"missing", "missing.example.test A", []string{"NXDOMAIN", "aa", "hostmaster.example.test."}},
		{"elsewhere", "www.example.com A", []string{"REFUSED"}},
	} {
		for _, client := range []struct{ program, tcp, args string }{
			{"dig", "+tcp", "@127.0.0.1 -p 5353 +norec +tries=1 +time=5"},
			{"kdig", "+tcp", "@127.0.0.1 -p 5353 +norec +retry=0 +time=5"},
			{"drill", "-t", "-p 5353 -o rd"},
		} {
			for _, transport := range []string{"UDP", "TCP"} {
				t.Run(strings.Join([]string{c.name, client.program, transport}, "/"), func(t *testing.T) {
					program, err := peers.Find(client.program)
					if err != nil {
						missing(t, err)
					}
					args := strings.Fields(client.args)
					if transport == "TCP" {
						args = append(args, client.tcp)
					}
					if client.program == "drill" { // its server stands between name and type
						name, typ, _ := strings.Cut(c.question, " ")
						args = append(args, name, "@127.0.0.1", typ)
					} else {
						args = append(args, strings.Fields(c.question)...)
					}
					cmd := exec.Command(program, args...)
					var out strings.Builder
					cmd.Stdout, cmd.Stderr = &out, &out
					if err := run(cmd.Start); err != nil {
						t.Fatal(err)
					}
					if err := cmd.Wait(); err != nil {
						t.Errorf("%s: %v", cmd, err)
					}
					for _, want := range c.want {
						if !strings.Contains(out.String(), want) {
							t.Errorf("%s: want %q in\n%s", cmd, want, &out)
						}
					}
				})
			}
		}
	}
	if !strings.Contains(s.Tail(), "dig @127.0.0.1 -p 5353") {
		t.Errorf("it does not say how to ask it:\n%s", s.Tail())
	}
	if err := s.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Ended():
		if code := s.ExitCode(); code != 0 {
			t.Errorf("Ctrl-C: exit code %d, want 0\n%s", code, s.Tail())
		}
	case <-time.After(10 * time.Second):
		t.Error("Ctrl-C: it is still there")
	}
}
