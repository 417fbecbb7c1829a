package conformance_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"port53/conformance/peers"
)

// TestCaseIsKept has port53 send servers the letters that the client wrote where it does not mix their case, as Unbound and BIND do:
// the whole name, and the part of it that a minimised question shows.
func TestCaseIsKept(t *testing.T) {
	t.Parallel()
	const asked = "WwW.MiXeD.CaSe.CoM."
	for _, x := range []struct {
		name  string
		start func(n *hostileNet, at netip.Addr)
	}{
		{"port53", func(n *hostileNet, at netip.Addr) {
			n.resolverWith(at, "validation: false, case_randomization: false")
		}},
		{"Unbound", startUnbound},
		{"BIND", startBIND},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			n := newHostileNet(t)
			var mu sync.Mutex
			seen := map[string]bool{}
			n.delegate("case.com.", attackedBy)
			n.serve(attackedBy, func(q *dns.Msg, _ bool, _ func(*dns.Msg)) *dns.Msg {
				mu.Lock()
				defer mu.Unlock()
				name := q.Question[0].Name
				seen[name] = true
				if q.Question[0].Qtype != dns.TypeA || !strings.EqualFold(name, asked) {
					return reply(q, dns.RcodeSuccess, "", "case.com. 60 SOA a. b. 1 2 3 4 60")
				}
				return reply(q, dns.RcodeSuccess, name+" 60 A 192.0.2.1", "")
			})
			x.start(n, drilledAt)
			r, _, err := n.ask(drilledAt, asked, dns.TypeA, 10*time.Second)
			if err != nil || len(r.Answer) != 1 || r.Question[0].Name != asked {
				t.Fatalf("%v %v", r, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if !seen[asked] {
				t.Errorf("the server was asked for %v, want %s", seen, asked)
			}
			for name := range seen {
				if part := asked[max(len(asked)-len(name), 0):]; x.name == "port53" && strings.EqualFold(part, name) && part != name {
					t.Errorf("the server was asked for %s, want %s", name, part)
				}
			}
		})
	}
}

// startUnbound starts Unbound as a resolver from the root of an internet, with its own settings.
func startUnbound(n *hostileNet, at netip.Addr) {
	n.t.Helper()
	dir := n.t.TempDir()
	conf := filepath.Join(dir, "unbound.conf")
	write(n.t, conf, fmt.Sprintf(`server:
 directory: %q
 interface: %s
 outgoing-interface: %[2]s
 access-control: 10.0.0.0/8 allow
 root-hints: %[3]s
 module-config: "iterator"
 chroot: ""
 username: ""
 pidfile: ""
 use-syslog: no
remote-control:
 control-enable: no
`, dir, at, n.hints))
	n.startOther(at, "unbound", "-d", "-c", conf)
}

// startBIND starts BIND in the same way.
func startBIND(n *hostileNet, at netip.Addr) {
	n.t.Helper()
	dir := n.t.TempDir()
	conf := filepath.Join(dir, "named.conf")
	write(n.t, conf, fmt.Sprintf(`options {
 directory %q;
 listen-on { %s; };
 listen-on-v6 { none; };
 query-source address %[2]s;
 allow-query { any; };
 allow-recursion { any; };
 dnssec-validation no;
 pid-file none;
 session-keyfile none;
};
controls { };
zone "." { type hint; file %[3]q; };
`, dir, at, n.hints))
	// It listens at addresses of interfaces, and at no others.
	add := exec.Command("ip", "addr", "add", at.String()+"/32", "dev", "lo")
	if err := n.ns.Do(add.Start); err != nil {
		n.t.Fatal(err)
	}
	if err := add.Wait(); err != nil {
		n.t.Fatal(err)
	}
	n.startOther(at, "named", "-g", "-c", conf)
}

// startOther starts another resolver, and waits until it resolves.
func (n *hostileNet) startOther(at netip.Addr, program string, args ...string) {
	n.t.Helper()
	path, err := peers.Find(program)
	if err != nil {
		missing(n.t, err)
	}
	log, err := os.Create(filepath.Join(n.t.TempDir(), "log"))
	if err != nil {
		n.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := n.ns.Do(cmd.Start); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for end := time.Now().Add(startTimeout); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if r, _, err := n.ask(at, "nothing.", dns.TypeA, time.Second); err == nil && r.Rcode == dns.RcodeNameError {
			return
		}
	}
	text, _ := os.ReadFile(log.Name())
	n.t.Fatalf("%s does not resolve: %s", program, text)
}
