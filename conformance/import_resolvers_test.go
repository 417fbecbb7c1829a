package conformance_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"port53/conformance/netns"
	"port53/conformance/peers"
	"port53/conformance/probe"
)

// Addresses of the network in which a server and what port53 made of its configuration stand
// side by side: clients from inside and from outside, and the servers that are forwarded to.
var (
	importInside  = netip.MustParseAddr("10.1.0.7")
	importOutside = netip.MustParseAddr("10.200.0.7")
)

const (
	importUpstream = "10.9.0.53"
	importCorp     = "10.9.0.54"
)

// An importCase is a configuration of another server that resolves, forwards, or serves zones
// to some.
type importCase struct {
	name, program string
	args          func(dir, file string) []string
	write         func(t *testing.T, dir string, port int) (file string)
	ask           []string // NAME TYPE
	// differs are questions that are answered otherwise, from where, and why.
	differs map[string]string
}

// upstreams starts the servers that are forwarded to: resolvers that know few names.
func importUpstreams(t *testing.T, ns *netns.Namespace) {
	t.Helper()
	for addr, data := range map[string]string{
		importUpstream: `local-data: "www.example.com. 300 IN A 192.0.2.80"
  local-data: "example.com. 300 IN MX 10 mail.example.com."
  local-data: "dc.corp.lan. 300 IN A 192.0.2.200"
  local-data: "leak.split.test. 300 IN A 192.0.2.201"`,
		importCorp: `local-data: "dc.corp.lan. 300 IN A 10.0.0.5"
  local-data: "_ldap._tcp.corp.lan. 300 IN SRV 0 0 389 dc.corp.lan."`,
	} {
		dir := t.TempDir()
		file := put(t, dir+"/unbound.conf", "server:\n  interface: %s\n  port: 53\n  username: \"\"\n  chroot: \"\"\n  directory: %q\n  pidfile: \"\"\n  use-syslog: no\n  do-daemonize: no\n  module-config: \"iterator\"\n  access-control: 0.0.0.0/0 allow\n  local-zone: \".\" static\n  local-data: \". 60 IN SOA a. b. 1 2 3 4 60\"\n  %s\nremote-control:\n  control-enable: no\n", addr, dir, data)
		startIn(t, ns, "unbound", netip.AddrPortFrom(netip.MustParseAddr(addr), 53), dir, "unbound", "-d", "-c", file)
	}
}

// startIn starts a program in the namespace and waits until it answers anything at all.
func startIn(t *testing.T, ns *netns.Namespace, kind string, addr netip.AddrPort, dir string, command ...string) *peers.Server {
	t.Helper()
	if !filepath.IsAbs(command[0]) {
		path, err := peers.Find(command[0])
		if err != nil {
			missing(t, err)
		}
		command[0] = path
	}
	s, err := peers.Start(context.Background(), kind, peers.Options{Dir: dir, Addr: addr, Command: command, Unready: true, Run: ns.Do})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	c := &probe.Client{Server: addr, Timeout: 200 * time.Millisecond, Tries: 1, Run: ns.Do, Source: importInside}
	defer c.Close()
	deadline := time.After(20 * time.Second)
	for {
		if _, err := c.Ask(&probe.Question{Name: probe.MustName("ready.invalid."), Type: probe.TypeA, ID: 53}); err == nil {
			return s
		}
		select {
		case <-s.Ended():
			t.Fatalf("%s has ended:\n%s", kind, s.Tail())
		case <-deadline:
			t.Fatalf("%s answers nothing:\n%s", kind, s.Tail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// importZone is a zone of a few names.
const importZone = "$TTL 300\n@ SOA ns hostmaster 7 3600 600 86400 60\n@ NS ns\nns A 192.0.2.1\nwww A 192.0.2.7\n*.wild TXT x\n"

func importCases() []importCase {
	named := func(_, file string) []string { return []string{"-f", "-n", "1", "-c", file} }
	basics := func(dir string, port int) string {
		return fmt.Sprintf("directory %q; managed-keys-directory %[1]q; key-directory %[1]q; pid-file none; session-keyfile none; listen-on port %d { %s; }; listen-on-v6 { none; }; notify no; minimal-responses yes; dnssec-validation no; empty-zones-enable no; ", dir, port, netns.Server)
	}
	zone := func(t *testing.T, dir, name string) string {
		return put(t, dir+"/"+name+".zone", "%s", importZone)
	}
	outward := []string{"www.example.com A", "example.com MX", "none.example.com A", "www.example.com TXT"}
	corp := []string{"dc.corp.lan A", "_ldap._tcp.corp.lan SRV", "none.corp.lan A"}
	open := []string{"open.test SOA", "www.open.test A", "a.wild.open.test TXT", "none.open.test A"}
	split := []string{"split.test SOA", "www.split.test A", "leak.split.test A"}
	cases := []importCase{
		{
			name: "bind mixed", program: "named", args: named,
			write: func(t *testing.T, dir string, port int) string {
				return put(t, dir+"/named.conf", "acl inside { !10.1.0.66; 10.1.0.0/16; };\noptions { %srecursion yes; allow-recursion { inside; }; allow-query { any; }; forward only; forwarders { %s; }; };\ncontrols { };\nzone \"open.test\" { type primary; file %q; };\nzone \"split.test\" { type primary; file %q; allow-query { inside; }; };\nzone \"corp.lan\" { type forward; forward only; forwarders { %s; }; };\n",
					basics(dir, port), importUpstream, zone(t, dir, "open.test"), zone(t, dir, "split.test"), importCorp)
			},
			ask: slices.Concat(outward, corp, open, split),
		},
		{
			name: "bind for inside", program: "named", args: named,
			write: func(t *testing.T, dir string, port int) string {
				return put(t, dir+"/named.conf", "options { %sallow-query { 10.1.0.0/16; }; forward only; forwarders { %s; }; };\ncontrols { };\nzone \"open.test\" { type primary; file %q; allow-query { any; }; };\nzone \"split.test\" { type primary; file %q; };\n",
					basics(dir, port), importUpstream, zone(t, dir, "open.test"), zone(t, dir, "split.test"))
			},
			ask: slices.Concat(outward, open, split),
		},
		{
			name: "bind with a view and 200 zones", program: "named", args: named,
			write: func(t *testing.T, dir string, port int) string {
				var zones strings.Builder
				for i := range 200 {
					name := fmt.Sprintf("z%d.test", i)
					fmt.Fprintf(&zones, "zone %q { type primary; file %q; %s};\n", name, zone(t, dir, name), []string{"", "allow-query { 10.1.0.0/16; }; "}[i%2])
				}
				return put(t, dir+"/named.conf", "options { %srecursion no; };\ncontrols { };\nview \"all\" { match-clients { any; };\n%s};\n", basics(dir, port), zones.String())
			},
			ask: func() (q []string) {
				for i := range 200 {
					q = append(q, fmt.Sprintf("www.z%d.test A", i))
				}
				return append(q, "www.example.com A")
			}(),
		},
		{
			name: "bind with a signed zone", program: "named", args: named,
			write: func(t *testing.T, dir string, port int) string {
				return put(t, dir+"/named.conf", "options { %srecursion no; blackhole { 10.200.0.0/16; }; };\ncontrols { };\nzone \"open.test\" { type primary; file %q; };\nzone \"signed.test\" { type primary; file %q; dnssec-policy default; inline-signing yes; };\n",
					basics(dir, port), zone(t, dir, "open.test"), zone(t, dir, "signed.test"))
			},
			ask:     append([]string{"www.signed.test A"}, open...),
			differs: map[string]string{"www.signed.test A": "the zone is left out, since it would be served without signatures"},
		},
		{
			name: "unbound", program: "unbound", args: func(_, file string) []string { return []string{"-d", "-c", file} },
			write: func(t *testing.T, dir string, port int) string {
				return put(t, dir+"/unbound.conf", `server:
  interface: %s
  port: %d
  username: ""
  chroot: ""
  directory: %q
  pidfile: ""
  use-syslog: no
  do-daemonize: no
  module-config: "iterator"
  access-control: 10.0.0.0/8 refuse
  access-control: 10.1.0.0/16 allow
  local-zone: "home.lan." static
  local-data: "nas.home.lan. IN A 192.168.1.5"
  local-data: 'nas.home.lan. IN TXT "the box"'
  local-data-ptr: "192.168.1.5 nas.home.lan"
  local-zone: "star.lan." redirect
  local-data: "star.lan. A 192.168.1.9"
  local-data: "single.example.com. A 192.168.1.10"
  local-zone: "ads.example." always_nxdomain
forward-zone:
  name: "corp.lan"
  forward-addr: %s
forward-zone:
  name: "."
  forward-addr: %s
remote-control:
  control-enable: no
`, netns.Server, port, dir, importCorp, importUpstream)
			},
			ask: slices.Concat(outward, corp, []string{"nas.home.lan A", "nas.home.lan TXT", "nas.home.lan AAAA", "none.home.lan A", "5.1.168.192.in-addr.arpa PTR", "star.lan A", "a.b.star.lan A", "star.lan AAAA", "single.example.com A", "single.example.com AAAA"}),
		},
		{
			name: "dnsmasq", program: "dnsmasq", args: func(_, file string) []string { return []string{"-k", "-C", file, "--log-facility=-"} },
			write: func(t *testing.T, dir string, port int) string {
				hosts := put(t, dir+"/hosts", "192.168.1.20 printer printer2\n")
				return put(t, dir+"/dnsmasq.conf", "port=%d\nlisten-address=%s\nbind-interfaces\nuser=root\ngroup=root\npid-file=\nno-resolv\nno-hosts\naddn-hosts=%s\nserver=%s\nserver=/corp.lan/%s\nlocal=/home.lan/\ndomain=home.lan\nexpand-hosts\nhost-record=nas.home.lan,192.168.1.5,fd00::5\ncname=files.home.lan,nas.home.lan\naddress=/lab.lan/192.168.1.9\nbogus-priv\ncache-size=100\n", port, netns.Server, hosts, importUpstream, importCorp)
			},
			ask: slices.Concat(outward, corp, []string{"nas.home.lan A", "nas.home.lan AAAA", "files.home.lan A", "none.home.lan A", "lab.lan A", "x.lab.lan A", "printer.home.lan A", "printer A", "5.1.168.192.in-addr.arpa PTR", "20.1.168.192.in-addr.arpa PTR", "99.1.168.192.in-addr.arpa PTR"}),
			differs: map[string]string{
				"outside": "dnsmasq answers whoever reaches it: port53 the networks of its interfaces",
			},
		},
		{
			name: "pdns with the bind backend", program: "pdns_server",
			args: func(dir, _ string) []string { return []string{"--config-dir=" + dir} },
			write: func(t *testing.T, dir string, port int) string {
				var zones strings.Builder
				for i := range 100 {
					name := fmt.Sprintf("z%d.test", i)
					fmt.Fprintf(&zones, "zone %q { type native; file %q; };\n", name, zone(t, dir, name))
				}
				return put(t, dir+"/pdns.conf", "launch=bind\nbind-config=%s\nlocal-address=%s\nlocal-port=%d\nsocket-dir=%s\nsetuid=\nsetgid=\ndaemon=no\nguardian=no\nsecurity-poll-suffix=\n", put(t, dir+"/named.conf", "%s", zones.String()), netns.Server, port, dir)
			},
			ask: func() (q []string) {
				for i := range 100 {
					q = append(q, fmt.Sprintf("www.z%d.test A", i), fmt.Sprintf("a.wild.z%d.test TXT", i), fmt.Sprintf("none.z%d.test A", i))
				}
				return append(q, "www.example.com A")
			}(),
		},
		{
			name: "pdns recursor", program: "pdns_recursor",
			args: func(dir, _ string) []string { return []string{"--config-dir=" + dir} },
			write: func(t *testing.T, dir string, port int) string {
				return put(t, dir+"/recursor.conf", "local-address=%s\nlocal-port=%d\nallow-from=10.1.0.0/16, !10.1.0.66\nforward-zones-recurse=.=%s, corp.lan=%s\nauth-zones=open.test=%s\ndnssec=off\nroot-nx-trust=no\nsocket-dir=%s\nsecurity-poll-suffix=\ndaemon=no\nsetuid=\nsetgid=\nwrite-pid=no\nquiet=yes\n", netns.Server, port, importUpstream, importCorp, zone(t, dir, "open.test"), dir)
			},
			ask: slices.Concat(outward, corp, open),
		},
	}
	return cases
}

// answerOf returns what counts of an answer: whether there is one, its code, and its records
// without the time that they live. No answer and REFUSED are one.
func answerOf(c *probe.Client, question string) string {
	name, typ, _ := strings.Cut(question, " ")
	types := map[string]uint16{"A": 1, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33}
	// Recursion is desired, as every client's is.
	m, err := c.Ask(&probe.Question{Name: probe.MustName(name + "."), Type: types[typ], ID: 53, RD: true})
	if err != nil || m.Rcode == probe.Refused {
		return "nothing"
	}
	set := slices.Clone(m.Answer)
	for i := range set {
		set[i].TTL = 0
	}
	return probe.RcodeText(m.Rcode) + " " + probe.Set(set)
}

// TestImportResolvers runs a server and port53 with its imported configuration side by side,
// and asks both from inside and from outside.
func TestImportResolvers(t *testing.T) {
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	ns := namespace(t)
	if err := ns.Do(exec.Command("ip", "addr", "add", "10.1.0.1/16", "dev", "lo").Run); err != nil { // the inside is its own network
		t.Fatal(err)
	}
	importUpstreams(t, ns)
	for i, c := range importCases() {
		t.Run(c.name, func(t *testing.T) {
			dir, state := t.TempDir(), t.TempDir()
			if err := os.Chmod(dir, 0o777); err != nil {
				t.Fatal(err)
			}
			addr := netip.AddrPortFrom(netns.Server, uint16(5400+2*i))
			file := c.write(t, dir, int(addr.Port()))
			startIn(t, ns, c.program, addr, dir, append([]string{c.program}, c.args(dir, file)...)...)
			conf := filepath.Join(state, "port53.yaml")
			var told []byte
			err := ns.Do(func() (err error) {
				told, err = exec.Command(bin, "import", "--output", conf, file).CombinedOutput()
				return err
			})
			text, err2 := os.ReadFile(conf)
			if err2 != nil {
				t.Fatalf("%v %v\n%s", err, err2, told)
			}
			free := netip.AddrPortFrom(netns.Server, addr.Port()+1)
			made := importedListen.ReplaceAllString(string(text), fmt.Sprintf("listen: [%q]", free.String()))
			if err := os.WriteFile(conf, []byte(fmt.Sprintf("%s\nstate_dir: %q\nmetrics: {listen: off}\n", made, state)), 0o600); err != nil {
				t.Fatal(err)
			}
			startIn(t, ns, peers.Port53, free, state, bin, "serve", "--config", conf)
			asked, other := 0, 0
			for where, from := range map[string]netip.Addr{"inside": importInside, "excepted": netip.MustParseAddr("10.1.0.66"), "outside": importOutside} {
				theirs := &probe.Client{Server: addr, Source: from, Run: ns.Do, Timeout: time.Second, Tries: 2}
				ours := &probe.Client{Server: free, Source: from, Run: ns.Do, Timeout: time.Second, Tries: 2}
				silent := 0
				for _, q := range c.ask {
					if silent > 3 {
						break // they answer nobody from there
					}
					want, got := answerOf(theirs, q), answerOf(ours, q)
					asked++
					if want == "nothing" && got == "nothing" {
						silent++
					} else {
						silent = 0
					}
					if want == got {
						continue
					}
					why := c.differs[q] + c.differs[where]
					if why == "" {
						t.Errorf("%s asks %s: %q, there %q", where, q, got, want)
					}
					other++
				}
				theirs.Close()
				ours.Close()
			}
			t.Logf("%d questions, %d answered otherwise for reasons that are told", asked, other)
			if t.Failed() {
				t.Logf("%s\n%s", made, told)
			}
		})
	}
}

// TestImportShipped imports what packages ship, as it is and with all that their examples
// have commented out.
func TestImportShipped(t *testing.T) {
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	comment := regexp.MustCompile(`(?m)^[ \t]*#[ \t]?([ \t]*[a-z][a-z0-9-]*[:=].*)$`)
	for _, file := range []string{
		"/etc/bind/named.conf", "/etc/bind/named.conf.default-zones", "/etc/nsd/nsd.conf", "/etc/knot/knot.conf", "/etc/unbound/unbound.conf",
		"/etc/powerdns/pdns.conf", "/etc/powerdns/recursor.conf", "/usr/share/doc/unbound/examples/unbound.conf", "/usr/share/doc/nsd/examples/nsd.conf.sample",
		"/usr/share/doc/dnsmasq-base/examples/dnsmasq.conf.example", "/etc/hosts",
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Logf("missing: %v", err)
			continue
		}
		for how, path := range map[string]string{"as it is": file, "uncommented": put(t, t.TempDir()+"/"+filepath.Base(file), "%s", comment.ReplaceAllString(string(text), "$1"))} {
			out, err := exec.Command(bin, "import", "--output", t.TempDir()+"/port53.yaml", path).CombinedOutput()
			if code := exitCode(err); code > 1 {
				// Examples contradict each other, or name files that are not there: that is said with its place.
				if how == "as it is" || !regexp.MustCompile(`port53: error: \S+:\d+:\d+: `).Match(out) {
					t.Errorf("%s, %s: %v\n%.2000s", file, how, err, out)
				}
			}
		}
	}
}

func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}
