package conformance_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"port53/conformance/netns"
	"port53/conformance/peers"
)

// envPrints names a file that the fingerprints of all servers are written to, as the
// table of the checks has them.
const envPrints = "CONFORMANCE_PRINTS"

// coreDNS is no package of Debian: it is named where it is installed.
const coreDNS = "coredns"

// A disguise is a server with a configuration that it is to be known in.
type disguise struct {
	product, program string
	setting          string // default, or hidden as far as it can be, and the role
	args             string // of the program; DIR is its folder
	file, conf       string // the name and text of its configuration
}

// disguises are the servers as Debian installs them, and with all hidden that can be.
// DIR is the server's folder, IP its address; ZONE a file with a zone example.test.
func disguises() []disguise {
	const (
		bind = `options { directory "DIR"; pid-file none; session-keyfile none; listen-on { IP; }; listen-on-v6 { none; }; %s };
controls {};
`
		bindZone = `zone "example.test" { type primary; file "ZONE"; };` + "\n"
		nsd      = "server:\n  ip-address: IP\n  username: \"\"\n  chroot: \"\"\n  pidfile: \"\"\n  database: \"\"\n  zonesdir: \"/\"\n" +
			"  xfrdfile: \"DIR/xfrd\"\n  xfrdir: \"DIR\"\n  zonelistfile: \"DIR/zl\"\n%s\nremote-control:\n  control-enable: no\n"
		nsdZone  = "zone:\n  name: example.test\n  zonefile: ZONE\n"
		knot     = "server:\n  listen: IP\n  rundir: DIR\n%s\ndatabase:\n  storage: DIR\n"
		knotZone = "zone:\n  - domain: example.test\n    file: ZONE\n"
		unbound  = "server:\n  interface: IP\n  username: \"\"\n  chroot: \"\"\n  pidfile: \"\"\n  directory: \"DIR\"\n  use-syslog: no\n  do-ip6: no\n%s\nremote-control:\n  control-enable: no\n"
		pdns     = "launch=bind\nbind-config=DIR/named\nlocal-address=IP\nsocket-dir=DIR\nsetuid=\nsetgid=\ndaemon=no\nguardian=no\nsecurity-poll-suffix=\n%s\n"
		recursor = "local-address=IP\nsocket-dir=DIR\nsetuid=\nsetgid=\ndaemon=no\nsecurity-poll-suffix=\nthreads=1\n%s\n"
		kresd    = "net.listen('IP', 53, { kind = 'dns' })\ncache.size = 10 * MB\n%s\n"
		dnsmasq  = "port=53\nlisten-address=IP\nbind-interfaces\nuser=root\npid-file=DIR/pid\nno-hosts\n%s\n"
		coredns  = "ZONES:53 {\n bind IP\n errors\n%s\n}\n"
		port53   = "listen: [\"IP\"]\nstate_dir: DIR/state\nmetrics: {listen: off}\n%s\n"
		own      = "zones:\n  - {name: example.test, file: ZONE}\n"
	)
	f := fmt.Sprintf
	return []disguise{
		{"bind", "named", "default", "-f -n 1 -c CONF", "c", f(bind, "")},
		{"bind", "named", "default, authoritative", "-f -n 1 -c CONF", "c", f(bind, "recursion no;") + bindZone},
		{"bind", "named", "hidden, authoritative", "-f -n 1 -c CONF", "c", f(bind, "recursion no; version none; hostname none; server-id none; minimal-responses yes; minimal-any yes; allow-transfer { none; };") + bindZone},
		{"bind", "named", "hidden, resolver", "-f -n 1 -c CONF", "c", f(bind, "version none; hostname none; server-id none; allow-recursion { any; };")},
		{"bind", "named", "hidden, refusing", "-f -n 1 -c CONF", "c", f(bind, "version none; hostname none; server-id none; allow-query { none; };")},
		{"nsd", "nsd", "default", "-d -c CONF", "c", f(nsd, "") + nsdZone},
		{"nsd", "nsd", "hidden", "-d -c CONF", "c", f(nsd, "  hide-version: yes\n  hide-identity: yes\n  refuse-any: yes\n  minimal-responses: yes") + nsdZone},
		{"nsd", "nsd", "hidden, without zones", "-d -c CONF", "c", f(nsd, "  hide-version: yes\n  hide-identity: yes")},
		{"knot", "knotd", "default", "-c CONF", "c", f(knot, "") + knotZone},
		{"knot", "knotd", "told", "-c CONF", "c", f(knot, "  version: \"Knot DNS 3.2.6\"\n  identity: ns1") + knotZone},
		{"knot", "knotd", "hidden, without zones", "-c CONF", "c", f(knot, "  identity: \"\"\n  version: \"\"")},
		{"unbound", "unbound", "default", "-d -c CONF", "c", f(unbound, "")},
		{"unbound", "unbound", "hidden", "-d -c CONF", "c", f(unbound, "  hide-version: yes\n  hide-identity: yes\n  hide-trustanchor: yes\n  access-control: 0.0.0.0/0 allow")},
		{"unbound", "unbound", "hidden, refusing", "-d -c CONF", "c", f(unbound, "  hide-version: yes\n  hide-identity: yes\n  hide-trustanchor: yes\n  access-control: 172.31.0.0/16 refuse")},
		{"pdns", "pdns_server", "default", "--config-dir=DIR", "pdns.conf", f(pdns, "")},
		{"pdns", "pdns_server", "hidden", "--config-dir=DIR", "pdns.conf", f(pdns, "version-string=anonymous\nserver-id=disabled")},
		{"pdns-recursor", "pdns_recursor", "default", "--config-dir=DIR", "recursor.conf", f(recursor, "allow-from=0.0.0.0/0")},
		{"pdns-recursor", "pdns_recursor", "hidden", "--config-dir=DIR", "recursor.conf", f(recursor, "allow-from=0.0.0.0/0\nversion-string=\nserver-id=disabled")},
		{"knot-resolver", "kresd", "default", "-n -q -c CONF DIR", "c", f(kresd, "modules.load('view')")},
		{"knot-resolver", "kresd", "hidden, refusing", "-n -q -c CONF DIR", "c", f(kresd, "policy.add(policy.all(policy.REFUSE))")},
		{"dnsmasq", "dnsmasq", "default", "-k -C CONF", "c", f(dnsmasq, "server=172.31.53.99\nno-resolv")},
		{"dnsmasq", "dnsmasq", "default, without upstream", "-k -C CONF", "c", f(dnsmasq, "no-resolv")},
		{"dnsmasq", "dnsmasq", "hidden", "-k -C CONF", "c", f(dnsmasq, "no-resolv\nno-ident")},
		{"coredns", coreDNS, "told, whoami", "-conf CONF", "c", strings.Replace(f(coredns, " chaos CoreDNS-1.11.3\n whoami"), "ZONES", ".", 1)},
		{"coredns", coreDNS, "hidden, resolver", "-conf CONF", "c", strings.Replace(f(coredns, " cache\n forward . 172.31.53.99"), "ZONES", ".", 1)},
		{"coredns", coreDNS, "hidden, authoritative", "-conf CONF", "c", strings.Replace(f(coredns, " file ZONE"), "ZONES", "example.test", 1)},
		{"port53", "", "told, authoritative", "serve --config CONF", "c", f(port53, "role: authoritative\nidentity: {version: \"port53 1\", nsid: ns1}\n"+own)},
		{"port53", "", "hidden, authoritative", "serve --config CONF", "c", f(port53, "role: authoritative\n"+own)},
		{"port53", "", "hidden, resolver", "serve --config CONF", "c", f(port53, "role: internal-resolver\nresolver: {allow: [172.31.0.0/16]}\n")},
	}
}

// told is the product that each server says it is, where its setting lets it.
func (d *disguise) told() bool {
	return d.setting == "told" || strings.HasPrefix(d.setting, "told,") || strings.HasPrefix(d.setting, "default") &&
		// These tell strangers nothing by default, or nothing at all.
		d.product != "unbound" && d.product != "knot-resolver"
}

// A known is what was said of one server.
type known struct {
	behaviour string // the product that it behaves like
	sure      string // how sure that is
	marks     string
	says      string // the finding of its version
	flaws     string
	nmap      string
}

// TestIdentify has `port53 check` name each real server, in its default configuration
// and with all hidden that can be, with what `nmap -sV` says beside it.
func TestIdentify(t *testing.T) {
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	list := disguises()
	all := make([]*known, len(list))
	slots := make(chan struct{}, 30)
	var wg sync.WaitGroup
	for i, d := range list {
		path := bin
		if d.program != "" {
			if path, err = peers.Find(d.program); err != nil {
				t.Run("without_"+d.program, func(t *testing.T) {
					if d.program == coreDNS {
						t.Skip("missing: coredns")
					}
					missing(t, err)
				})
				continue
			}
		}
		n := namespace(t)
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			all[i] = identify(t, n, bin, path, &d)
		})
	}
	wg.Wait()
	var table, prints strings.Builder
	rows := map[string]bool{}
	for i, d := range list {
		if all[i] == nil {
			continue
		}
		t.Run(strings.NewReplacer(" ", "_", ",", "").Replace(d.product+" "+d.setting), func(t *testing.T) {
			k := all[i]
			if k.behaviour != d.product {
				t.Errorf("named %q by its behaviour", k.behaviour)
			}
			if told := strings.Contains(k.says, ": "+d.product+" "); told != d.told() {
				t.Errorf("named by what it says: %t, want %t: %s", told, d.told(), k.says)
			} else if told && !strings.Contains(k.says, "by txt, confidence 10 of 10") {
				t.Errorf("not sure: %s", k.says)
			}
			if k.flaws == "pass" && !d.told() {
				t.Error("flaws are ruled out without a version")
			}
			fmt.Fprintf(&table, "%-14s %-24s by behaviour: %-13s (%s)  nmap -sV: %-45s  says: %s\n", d.product, d.setting, k.behaviour, k.sure, k.nmap, k.says)
			if row := d.product + k.marks; !rows[row] {
				rows[row] = true
				fmt.Fprintf(&prints, "%s\t%s\t%s\t%s\n", d.product, versionOf(&d), d.setting, k.marks)
			}
		})
	}
	t.Logf("named:\n%s", table.String())
	if file := os.Getenv(envPrints); file != "" {
		if err := os.WriteFile(file, []byte(prints.String()), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// start starts a server in a namespace and waits until it answers.
func (d *disguise) start(t *testing.T, n *netns.Namespace, path string) (*peers.Server, error) {
	dir := t.TempDir()
	at := netip.AddrPortFrom(netns.Server, 53)
	put := strings.NewReplacer("DIR", dir, "IP", netns.Server.String(), "ZONE", filepath.Join(dir, "zone"), "CONF", filepath.Join(dir, d.file))
	for name, text := range map[string]string{
		d.file:  put.Replace(d.conf),
		"zone":  "$ORIGIN example.test.\n$TTL 3600\n@ SOA ns1 host 1 14400 3600 604800 3600\n@ NS ns1\nns1 A 192.0.2.1\n",
		"named": put.Replace("zone \"example.test\" { type native; file \"ZONE\"; };\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	s, err := peers.Start(context.Background(), d.product, peers.Options{
		Dir: dir, Addr: at, Run: n.Do, Unready: true, Command: append([]string{path}, strings.Fields(put.Replace(d.args))...),
	})
	if err != nil {
		return nil, err
	}
	if !answers(n, at) {
		s.Stop()
		return nil, fmt.Errorf("%s, %s: does not answer: %s", d.product, d.setting, s.Tail())
	}
	return s, nil
}

// identify starts a server in a namespace and has it named.
func identify(t *testing.T, n *netns.Namespace, bin, path string, d *disguise) *known {
	s, err := d.start(t, n, path)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer s.Stop()
	at := s.Addr
	k := new(known)
	out := run(t, n, "", bin, "check", at.String(), "--only", "ID-BEHAVE,ID-VERSION", "--json")
	var x struct {
		Checks []struct{ ID, State, Title, Detail string }
	}
	if err := readReport(out, &x); err != nil {
		t.Errorf("%v: %s", err, out)
		return k
	}
	for _, c := range x.Checks {
		switch c.ID {
		case "ID-BEHAVE":
			k.behaviour, _, _ = strings.Cut(c.Detail, ",")
			rest, marks, _ := strings.Cut(c.Detail, "; ")
			k.marks = marks
			_, k.sure, _ = strings.Cut(rest, "confidence ")
		case "ID-VERSION":
			k.says = c.Detail
		case "ID-CVE":
			k.flaws = c.State
		}
	}
	k.nmap = "not installed"
	if _, err := peers.Find("nmap"); err == nil {
		k.nmap = "nothing"
		out := run(t, n, "", "nmap", "-sV", "--version-intensity", "3", "--max-retries", "2", "--host-timeout", "12s", "-n", "-Pn", "-p", "53", at.Addr().String())
		for line := range strings.Lines(string(out)) {
			if f := strings.Fields(line); len(f) > 2 && strings.HasPrefix(f[0], "53/") {
				k.nmap = strings.Join(f[1:], " ")
			}
		}
	}
	return k
}

// TestControlPorts has servers whose control and statistics strangers reach, and one
// whose they do not.
func TestControlPorts(t *testing.T) {
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	const bind = `options { directory "DIR"; pid-file none; session-keyfile none; listen-on { IP; }; listen-on-v6 { none; }; };
controls {};
statistics-channels { inet %s port 8053 allow { any; }; };
`
	const unbound = "server:\n  interface: IP\n  username: \"\"\n  chroot: \"\"\n  pidfile: \"\"\n  directory: \"DIR\"\n  use-syslog: no\n  do-ip6: no\n" +
		"remote-control:\n  control-enable: yes\n  control-interface: %s\n  control-use-cert: no\n"
	for _, x := range []struct {
		disguise
		want, title string
	}{
		{disguise{"bind", "named", "statistics for all", "-f -n 1 -c CONF", "c", fmt.Sprintf(bind, "*")}, "warn", "strangers reach BIND's statistics"},
		{disguise{"bind", "named", "statistics on loopback", "-f -n 1 -c CONF", "c", fmt.Sprintf(bind, "127.0.0.1")}, "pass", "no control port is reachable"},
		{disguise{"unbound", "unbound", "control for all", "-d -c CONF", "c", fmt.Sprintf(unbound, "0.0.0.0")}, "fail", "strangers reach Unbound's control channel"},
		{disguise{"unbound", "unbound", "control on loopback", "-d -c CONF", "c", fmt.Sprintf(unbound, "127.0.0.1")}, "pass", "no control port is reachable"},
	} {
		t.Run(strings.ReplaceAll(x.product+" "+x.setting, " ", "_"), func(t *testing.T) {
			path, err := peers.Find(x.program)
			if err != nil {
				missing(t, err)
			}
			n := namespace(t)
			s, err := x.start(t, n, path)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Stop()
			out := run(t, n, "", bin, "check", s.Addr.String(), "--only", "PORT-NEIGH", "--json")
			var got struct {
				Ports  []struct{ Port uint16 }
				Checks []struct{ State, Title string }
			}
			if err := readReport(out, &got); err != nil {
				t.Fatal(err)
			}
			if len(got.Checks) != 1 || got.Checks[0].State != x.want || got.Checks[0].Title != x.title {
				t.Errorf("%+v", got.Checks)
			}
			if open := len(got.Ports) > 2; open != (x.want != "pass") {
				t.Errorf("ports: %+v", got.Ports)
			}
		})
	}
}

// answers waits until a server answers anything.
func answers(n *netns.Namespace, at netip.AddrPort) bool {
	var c net.Conn
	if err := n.Do(func() (err error) { c, err = net.Dial("udp", at.String()); return err }); err != nil {
		return false
	}
	defer c.Close()
	q := []byte("\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x06\x00\x01") // . SOA
	for range 200 {
		c.Write(q)
		c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err := c.Read(make([]byte, 512)); err == nil {
			return true
		}
		time.Sleep(20 * time.Millisecond)
	}
	return false
}

// versionOf asks a program for its version.
func versionOf(d *disguise) string {
	flag := map[string]string{"named": "-v", "nsd": "-v", "dnsmasq": "-v", "knotd": "-V", "unbound": "-V", coreDNS: "-version"}[d.program]
	if flag == "" {
		flag = "--version"
	}
	path, err := peers.Find(d.program)
	if err != nil {
		return "1" // port53's own
	}
	out, _ := exec.Command(path, flag).CombinedOutput() // some end with an error
	return regexp.MustCompile(`[0-9]+\.[0-9]+(\.[0-9]+)?`).FindString(string(out))
}
