package conformance_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"port53/conformance/netns"
	"port53/conformance/peers"
)

// envNetwork is how often TestNetwork looks at a /24 with thirteen hosts; unset: twice, at two hosts alone.
const envNetwork = "PORT53_NETWORK"

// networkHosts are the hosts of a network by address, with the arguments that their programs are started with.
func networkHosts(t *testing.T, dir, bin, zone string) map[string][]string {
	t.Helper()
	file := func(name, format string, args ...any) string {
		t.Helper()
		own := filepath.Join(dir, name+".d")
		if err := os.MkdirAll(own, 0o777); err != nil {
			t.Fatal(err)
		}
		return put(t, filepath.Join(own, name), format, args...)
	}
	named := func(addr, more, zoned string) []string {
		own := filepath.Join(dir, "named-"+addr+".d")
		return []string{"named", "-f", "-c", file("named-"+addr, `options { directory %q; managed-keys-directory %[1]q; listen-on { %s; }; listen-on-v6 { none; }; pid-file none; session-keyfile none; recursion no; %s };
controls {};
zone "." { type hint; file "/dev/null"; };
zone "good.test" { type primary; file %q; %s };
`, own, addr, more, zone, zoned)}
	}
	port53 := func(addr, more string) []string {
		return []string{bin, "serve", "--config", file("port53-"+addr, "listen: [%s]\nmetrics: {listen: off}\ncontrol: {socket: control.sock}\nstate_dir: state\n%s\n", addr, more)}
	}
	hints := file("hints", ". 3600 NS a.root.\na.root. 3600 A 10.44.0.5\n")
	return map[string][]string{
		"10.44.0.1":  named("10.44.0.1", "allow-transfer { any; };", ""),
		"10.44.0.2":  named("10.44.0.2", "rate-limit { responses-per-second 5; slip 2; window 15; };", ""),
		"10.44.0.3":  named("10.44.0.3", "", "allow-update { any; };"),
		"10.44.0.4":  {"unbound", "-d", "-c", file("unbound", "server:\n  interface: 10.44.0.4\n  access-control: 0.0.0.0/0 allow\n  username: \"\"\n  chroot: \"\"\n  pidfile: \"\"\n  directory: %q\n  root-hints: %q\n  module-config: iterator\nremote-control:\n  control-enable: no\n", filepath.Join(dir, "unbound.d"), hints)},
		"10.44.0.5":  {"nsd", "-d", "-c", file("nsd", "server:\n  ip-address: 10.44.0.5\n  username: \"\"\n  chroot: \"\"\n  pidfile: \"\"\n  zonesdir: \"/\"\n  xfrdfile: \"%s/xfrd\"\n  xfrdir: \"%[1]s\"\n  zonelistfile: \"%[1]s/list\"\nzone:\n  name: good.test\n  zonefile: %s\n", filepath.Join(dir, "nsd.d"), zone)},
		"10.44.0.6":  {"knotd", "-c", file("knot", "server:\n  listen: 10.44.0.6@53\n  rundir: %s\ndatabase:\n  storage: %[1]s\nzone:\n  - domain: good.test\n    file: %s\n    zonefile-load: whole\n", filepath.Join(dir, "knot.d"), zone)},
		"10.44.0.7":  {"pdns_server", "--config-dir=" + filepath.Dir(file("pdns.conf", "launch=bind\nbind-config=%s\nlocal-address=10.44.0.7\nsocket-dir=%s\nsetuid=\nsetgid=\ndaemon=no\nguardian=no\n", file("bind.conf", "zone \"good.test\" { type native; file %q; };\n", zone), filepath.Join(dir, "pdns.conf.d")))},
		"10.44.0.8":  {"dnsmasq", "-k", "-C", file("dnsmasq", "\n"), "--listen-address=10.44.0.8", "--bind-interfaces", "--no-resolv", "--no-hosts", "-u", "root", "-x", filepath.Join(dir, "dnsmasq.d", "pid")},
		"10.44.0.9":  port53("10.44.0.9", fmt.Sprintf("role: authoritative\nzones: [{name: good.test, file: %s}]", zone)),
		"10.44.0.10": port53("10.44.0.10", fmt.Sprintf("role: internal-resolver\nresolver: {root_hints: %s, allow: [10.0.0.0/8]}", hints)),
	}
}

// TestNetwork has a network looked at again and again: what is said of each host is the same each time, in a minute at most,
// of servers that limit their rates, that are silent, that are none, and of addresses that nobody has.
func TestNetwork(t *testing.T) {
	runs := numberFrom(t, envNetwork, 2)
	whole := os.Getenv(envNetwork) != ""
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	ns, err := netns.New()
	if err != nil {
		missing(t, err)
	}
	t.Cleanup(ns.Close)
	// Two ends of one cable: who is asked for here and is not there stays without an answer, as on a LAN.
	for _, args := range []string{"link add v0 type veth peer name v1", "address add 10.44.0.254/24 dev v0", "link set v0 up", "link set v1 up"} {
		output(t, ns.Do, "ip", strings.Fields(args)...)
	}
	for i := 1; i <= 13; i++ {
		output(t, ns.Do, "ip", "address", "add", fmt.Sprintf("10.44.0.%d/32", i), "dev", "lo")
	}
	dir := t.TempDir()
	zone := put(t, filepath.Join(dir, "good.zone"), "%s", "$ORIGIN good.test.\n"+strings.NewReplacer("10.1.0.1", "10.44.0.1", "10.2.0.1", "10.44.0.5").Replace(goodZone))
	hosts := networkHosts(t, dir, bin, zone)
	target := "10.44.0.0/24"
	if !whole {
		target = "10.44.0.2,10.44.0.6"
		maps.DeleteFunc(hosts, func(addr string, _ []string) bool { return !slices.Contains(strings.Split(target, ","), addr) })
	}
	for addr, args := range hosts {
		startHost(t, ns, addr, args)
	}
	if whole {
		// One drops all, one has a program that says nothing, one a Web server.
		if path, err := peers.Find("nft"); err == nil {
			output(t, ns.Do, path, "add table inet t; add chain inet t c { type filter hook input priority 0; }; add rule inet t c ip daddr 10.44.0.11 drop")
		}
		for addr, serve := range map[string]func(net.Listener){
			"10.44.0.12": func(l net.Listener) {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					t.Cleanup(func() { c.Close() })
				}
			},
			"10.44.0.13": func(l net.Listener) { _ = http.Serve(l, http.NotFoundHandler()) },
		} {
			var l net.Listener
			if err := ns.Do(func() (err error) { l, err = net.Listen("tcp", addr+":53"); return err }); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			go serve(l)
		}
	}
	var first map[string]string
	for run := range runs {
		said, took := lookAt(t, ns, bin, target)
		t.Logf("run %d: %d targets in %v", run+1, len(said), took.Round(100*time.Millisecond))
		if first == nil {
			first = said
			continue
		}
		for _, addr := range slices.Sorted(maps.Keys(first)) {
			if d := firstUnlike(first[addr], said[addr]); d != "" {
				t.Errorf("run %d: %s: %s", run+1, addr, d)
			}
		}
	}
	if len(first) < len(hosts) {
		t.Errorf("%d targets", len(first))
	}
}

// startHost starts a server, and waits until it answers over TCP, which no rate limit counts.
func startHost(t *testing.T, ns *netns.Namespace, addr string, args []string) {
	t.Helper()
	path, err := peers.Find(args[0])
	if err != nil && args[0][0] != '/' {
		missing(t, err)
	} else if args[0][0] == '/' {
		path = args[0]
	}
	cmd := exec.Command(path, args[1:]...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := ns.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%.2000s", addr, said.String())
		}
	})
	for end := time.Now().Add(startTimeout); ; time.Sleep(50 * time.Millisecond) {
		err := ns.Do(func() error {
			c, err := net.DialTimeout("tcp", netip.AddrPortFrom(netip.MustParseAddr(addr), 53).String(), time.Second)
			if err == nil {
				c.Close()
			}
			return err
		})
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not listen: %v", addr, err)
		}
	}
}

// lookAt checks a network, and returns what is said of each address: its verdict and the states of its checks.
func lookAt(t *testing.T, ns *netns.Namespace, bin, target string) (said map[string]string, took time.Duration) {
	t.Helper()
	began := time.Now()
	args := append([]string{"check", "--json", "--zone", "good.test", "--resolver", "10.44.0.4"}, strings.Split(target, ",")...)
	text := output(t, ns.Do, bin, args...)
	took = time.Since(began)
	var d struct {
		Reports []struct {
			Target  string
			Verdict string
			Problem string
			Checks  []finding
		}
	}
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	said = map[string]string{}
	for _, r := range d.Reports {
		lines := []string{"verdict " + r.Verdict + r.Problem}
		for _, f := range r.Checks {
			if f.State != "skipped" {
				lines = append(lines, f.ID+" "+f.State+" "+f.Severity+" ("+f.Detail+")")
			}
		}
		said[r.Target] = strings.Join(lines, "\n")
	}
	return said, took
}

// firstUnlike returns the first line in which two texts differ, whatever stands in brackets; "" is that there is none.
func firstUnlike(a, b string) string {
	one, two := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range max(len(one), len(two)) {
		x, y := "", ""
		if i < len(one) {
			x = one[i]
		}
		if i < len(two) {
			y = two[i]
		}
		before, _, _ := strings.Cut(x, " (")
		after, _, _ := strings.Cut(y, " (")
		if before != after {
			return fmt.Sprintf("%q, and the first time %q", y, x)
		}
	}
	return ""
}
