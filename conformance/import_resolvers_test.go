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
	"sync/atomic"
	"testing"
	"text/template"
	"time"

	"port53/conformance/netns"
	"port53/conformance/peers"
	"port53/conformance/probe"
)

// Addresses of the network in which a server and what port53 made of its configuration stand
// side by side: clients from inside, one that is excepted there, and from outside, and the servers
// that are forwarded to and fetched from.
var (
	importInside   = netip.MustParseAddr("10.1.0.7")
	importExcepted = netip.MustParseAddr("10.1.0.66")
	importOutside  = netip.MustParseAddr("10.200.0.7")
)

const (
	importUpstream = "10.9.0.53"
	importCorp     = "10.9.0.54"
	importPrimary  = "10.9.0.55" // has sec0.test and sec1.test for whoever signs, plain.test for all
)

// importGroups are questions that many configurations are asked.
var importGroups = map[string][]string{
	"outward": {"www.example.com A", "example.com MX", "none.example.com A", "www.example.com TXT"},
	"corp":    {"dc.corp.lan A", "_ldap._tcp.corp.lan SRV", "none.corp.lan A"},
	"open":    {"open.test SOA", "www.open.test A", "www.open.test AAAA", "a.wild.open.test TXT", "none.open.test A"},
	"split":   {"split.test SOA", "www.split.test A", "leak.split.test A"},
	"sec":     {"sec0.test SOA", "www.sec0.test A", "none.sec0.test A", "sec1.test SOA"},
	"signed":  {"www.signed.test A do", "signed.test DNSKEY do", "none.signed.test A do", "signed.test SOA"},
}

// An importFamily is a kind of server: how it is started with a configuration.
type importFamily struct {
	program string
	args    func(dir, file string) []string
}

// importFamilies returns the servers by the folders of their configurations. Where there is no
// such server, another one stands in for it whose configuration the case has: peer.
func importFamilies() map[string]importFamily {
	configDir := func(dir, _ string) []string { return []string{"--config-dir=" + dir} }
	dnsmasq := importFamily{"dnsmasq", func(_, file string) []string { return []string{"-k", "-C", file, "--log-facility=-"} }}
	unbound := importFamily{"unbound", func(_, file string) []string { return []string{"-d", "-c", file} }}
	return map[string]importFamily{
		"bind":          {"named", func(_, file string) []string { return []string{"-f", "-n", "1", "-c", file} }},
		"nsd":           {"nsd", func(_, file string) []string { return []string{"-d", "-c", file} }},
		"knot":          {"knotd", func(_, file string) []string { return []string{"-c", file} }},
		"unbound":       unbound,
		"dnsmasq":       dnsmasq,
		"pihole":        dnsmasq,
		"adguard":       unbound,
		"pdns":          {"pdns_server", configDir},
		"recursor":      {"pdns_recursor", configDir},
		"recursor-yaml": {"pdns_recursor", configDir},
		"corefile":      {"coredns", func(_, file string) []string { return []string{"-conf", file} }},
	}
}

// An importCase is a configuration of another server, as a file of testdata/import has it: a head
// of lines that say how it is tried, and files, each behind a line -- NAME --, in which
// text/template writes the addresses and the paths.
type importCase struct {
	family, name string
	files        []struct{ name, text string }
	main, peer   string   // of the files: what is imported, and what the server is started with
	ask, axfr    []string // questions, zones
	await        []string // zones that are fetched first
	report       []string // what the report has to say
	run          []string // command lines before the start
	// differs are "WHERE NAME TYPE" with stars, and the part of the report that says so.
	differs map[string]string
}

// readImportCase reads a case. Lines of the head are "key: value", or comments.
func readImportCase(t *testing.T, path string) *importCase {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c := &importCase{family: filepath.Base(filepath.Dir(path)), name: strings.TrimSuffix(filepath.Base(path), ".txt"), differs: map[string]string{}}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(strings.TrimSuffix(line, " --\n"), "-- "); ok && name != strings.TrimPrefix(line, "-- ") {
			c.files = append(c.files, struct{ name, text string }{name: name})
			continue
		}
		if n := len(c.files); n > 0 {
			c.files[n-1].text += line
			continue
		}
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "ask":
			if group := strings.Fields(value); importGroups[group[0]] != nil {
				for _, g := range group {
					c.ask = append(c.ask, importGroups[g]...)
				}
				continue
			}
			for q := range strings.SplitSeq(value, ", ") {
				c.ask = append(c.ask, q)
			}
		case "many": // NAME with %d, TYPE, how many
			var n int
			if _, err := fmt.Sscan(value[strings.LastIndexByte(value, ' ')+1:], &n); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			for i := range n {
				c.ask = append(c.ask, fmt.Sprintf(value[:strings.LastIndexByte(value, ' ')], i))
			}
		case "axfr":
			c.axfr = append(c.axfr, strings.Fields(value)...)
		case "await":
			c.await = append(c.await, strings.Fields(value)...)
		case "report":
			c.report = append(c.report, value)
		case "run":
			c.run = append(c.run, value)
		case "main":
			c.main = value
		case "peer":
			c.peer = value
		case "differs":
			what, why, ok := strings.Cut(value, ": ")
			if !ok {
				t.Fatalf("%s: differs: WHERE NAME TYPE: what the report says", path)
			}
			c.differs[what] = why
		default:
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				t.Fatalf("%s: what is %q?", path, line)
			}
		}
	}
	if c.main == "" {
		c.main = c.files[0].name
	}
	if c.peer == "" {
		c.peer = c.main
	}
	return c
}

// write writes the files of a case into a folder.
func (c *importCase) write(t *testing.T, dir string, addr netip.AddrPort) {
	t.Helper()
	zone := func(name string) string {
		file := filepath.Join(dir, "zones", name+".zone")
		if _, err := os.Stat(file); err != nil {
			put(t, file, "%s", importZone)
		}
		return file
	}
	funcs := template.FuncMap{
		"zone":    zone,
		"half":    func(i int) bool { return i%2 == 1 },
		"printfn": fmt.Sprintf,
		"signed": func(name string) string {
			put(t, filepath.Join(dir, "zones", name+".zone"), "$ORIGIN %s.\n%s", name, importZone)
			signer, err := peers.Find("dnssec-signzone")
			if err != nil {
				missing(t, err)
			}
			for _, args := range [][]string{
				{filepath.Join(filepath.Dir(signer), "dnssec-keygen"), "-q", "-a", "13", "-f", "KSK", name},
				{filepath.Join(filepath.Dir(signer), "dnssec-keygen"), "-q", "-a", "13", name},
				{signer, "-S", "-q", "-o", name, name + ".zone"},
			} {
				if _, err := os.Stat(args[0]); err != nil {
					args[0], _ = peers.Find(filepath.Base(args[0]))
				}
				cmd := exec.Command(args[0], args[1:]...)
				cmd.Dir = filepath.Join(dir, "zones")
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%v: %v\n%s", args, err, out)
				}
			}
			return filepath.Join(dir, "zones", name+".zone.signed")
		},
	}
	data := map[string]any{
		"Dir": dir, "Addr": addr.Addr().String(), "Port": addr.Port(), "Upstream": importUpstream, "Corp": importCorp, "Primary": importPrimary, "Secret": xferSecret,
	}
	for _, f := range c.files {
		tmpl, err := template.New(f.name).Funcs(funcs).Delims("<", ">").Parse(f.text)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if err := tmpl.Execute(&b, data); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(dir, f.name), "%s", b.String())
	}
	for _, line := range c.run {
		cmd := exec.Command("sh", "-c", line)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
}

// importServers starts the servers that are forwarded to, which are resolvers that know few names,
// and the one that secondaries fetch from.
func importServers(t *testing.T, ns *netns.Namespace) {
	t.Helper()
	for addr, data := range map[string]string{
		importUpstream: `local-data: "www.example.com. 300 IN A 192.0.2.80"
  local-data: "example.com. 300 IN MX 10 mail.example.com."
  local-data: "dc.corp.lan. 300 IN A 192.0.2.200"
  local-data: "www.open.test. 300 IN A 192.0.2.203"
  local-data: "printer.home.lan. 300 IN A 192.0.2.202"
  local-data: "leak.split.test. 300 IN A 192.0.2.201"`,
		importCorp: `local-data: "dc.corp.lan. 300 IN A 10.0.0.5"
  local-data: "_ldap._tcp.corp.lan. 300 IN SRV 0 0 389 dc.corp.lan."`,
	} {
		dir := t.TempDir()
		file := put(t, dir+"/unbound.conf", "server:\n  interface: %s\n  port: 53\n  username: \"\"\n  chroot: \"\"\n  directory: %q\n  pidfile: \"\"\n  use-syslog: no\n  do-daemonize: no\n  module-config: \"iterator\"\n  access-control: 0.0.0.0/0 allow\n  local-zone: \".\" static\n  local-data: \". 60 IN SOA a. b. 1 2 3 4 60\"\n  %s\nremote-control:\n  control-enable: no\n", addr, dir, data)
		startIn(t, ns, "unbound", netip.AddrPortFrom(netip.MustParseAddr(addr), 53), dir, "unbound", "-d", "-c", file)
	}
	dir := t.TempDir()
	primary := netip.AddrPortFrom(netip.MustParseAddr(importPrimary), 53)
	var zones strings.Builder
	for _, name := range []string{"sec0.test", "sec1.test", "plain.test"} {
		key := "xfr"
		if name == "plain.test" {
			key = "NOKEY"
		}
		put(t, dir+"/"+name, "%s", importZone)
		fmt.Fprintf(&zones, "zone:\n  name: %s\n  zonefile: %[1]s\n  provide-xfr: 0.0.0.0/0 %s\n", name, key)
	}
	file := put(t, dir+"/nsd.conf", "server:\n%sremote-control:\n  control-enable: no\nkey:\n  name: xfr\n  algorithm: hmac-sha256\n  secret: %q\n%s", nsdBasics(dir, primary), xferSecret, zones.String())
	startIn(t, ns, peers.NSD, primary, dir, "nsd", "-d", "-c", file)
}

// startIn starts a program in the namespace and waits until it answers anything at all.
func startIn(t *testing.T, ns *netns.Namespace, kind string, addr netip.AddrPort, dir string, command ...string) *peers.Server {
	t.Helper()
	if command[0] == "coredns" {
		bin, err := coredns.built()
		if err != nil {
			missing(t, err)
		}
		command[0] = bin
	}
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
	deadline := time.After(startTimeout)
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

// answerOf returns what counts of an answer: whether there is one, its code, and its records
// without the time that they live: "nothing" for REFUSED, "silence" for no answer, which counts as
// the same.
func answerOf(c *probe.Client, question string) string {
	f := strings.Fields(question)
	types := map[string]uint16{"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33, "DNSKEY": 48}
	// Recursion is desired, as every client's is.
	q := &probe.Question{Name: probe.MustName(strings.TrimSuffix(f[0], ".") + "."), Type: types[f[1]], ID: 53, RD: true}
	if len(f) > 2 {
		q.EDNS, q.DO, q.Size, q.TCP = true, true, 1232, true
	}
	m, err := c.Ask(q)
	switch {
	case err != nil:
		return "silence"
	case m.Rcode == probe.Refused:
		return "nothing"
	}
	set := slices.Clone(m.Answer)
	for i := range set {
		set[i].TTL = 0
	}
	return probe.RcodeText(m.Rcode) + " " + probe.Set(set)
}

// importPort is the next port of a server in the namespace.
var importPort atomic.Uint32

// startBoth starts the server of a case and port53 with what it makes of the configuration, and
// returns their addresses and what import said.
func (c *importCase) startBoth(t *testing.T, ns *netns.Namespace, bin string) (theirs, ours netip.AddrPort, made, told string) {
	t.Helper()
	dir, state := t.TempDir(), t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	port := uint16(5400 + 2*importPort.Add(1))
	theirs, ours = netip.AddrPortFrom(netns.Server, port), netip.AddrPortFrom(netns.Server, port+1)
	c.write(t, dir, theirs)
	family := importFamilies()[c.family]
	startIn(t, ns, family.program, theirs, dir, append([]string{family.program}, family.args(dir, filepath.Join(dir, c.peer))...)...)
	conf := filepath.Join(state, "port53.yaml")
	var out []byte
	err := ns.Do(func() (err error) {
		out, err = exec.Command(bin, "import", "--output", conf, filepath.Join(dir, c.main)).CombinedOutput()
		return err
	})
	told = string(out)
	text, err2 := os.ReadFile(conf)
	if err2 != nil {
		t.Fatalf("%v %v\n%s", err, err2, told)
	}
	if kind := regexp.MustCompile(`\((\S+)\)\.`).FindStringSubmatch(string(text)); kind == nil || kind[1] != c.family {
		t.Errorf("it is taken for the configuration of %v", kind)
	}
	made = importedListen.ReplaceAllString(string(text), fmt.Sprintf("listen: [%q]", ours.String()))
	if err := os.WriteFile(conf, fmt.Appendf(nil, "%s\nstate_dir: %q\nmetrics: {listen: off}\n", made, state), 0o600); err != nil {
		t.Fatal(err)
	}
	startIn(t, ns, peers.Port53, ours, state, bin, "serve", "--config", conf)
	return theirs, ours, made, told
}

// excuse returns what the report says of a question that is answered otherwise, "" for nothing.
func (c *importCase) excuse(where, question, told string) (why string, said bool) {
	for what, text := range c.differs {
		f, q := strings.Fields(what), strings.Fields(where+" "+question)
		fits := true
		for i := range min(len(f), len(q)) {
			ok, _ := filepath.Match(f[i], q[i])
			fits = fits && (ok || f[i] == "*")
		}
		if fits {
			return text, strings.Contains(told, text)
		}
	}
	return "", false
}

// transferred returns how many records a client gets of a zone.
func transferred(ns *netns.Namespace, dig, zone string, server netip.AddrPort, from netip.Addr, key string) int {
	args := []string{"@" + server.Addr().String(), "-p", fmt.Sprint(server.Port()), "-b", from.String(), zone, "AXFR", "+noall", "+answer", "+time=3", "+tries=1"}
	if key != "" {
		args = append(args, "-y", "hmac-sha256:"+key)
	}
	var out []byte
	_ = ns.Do(func() error {
		out, _ = exec.Command(dig, args...).Output()
		return nil
	})
	n := 0
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) > 4 && f[0][0] != ';' {
			n++
		}
	}
	return n
}

// TestImportResolvers runs a server and port53 with its imported configuration side by side, and
// asks both from inside and from outside: the answers are equal, or the report says why not.
// Transfers are given to the same clients.
func TestImportResolvers(t *testing.T) {
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	dig, err := peers.Find("dig")
	if err != nil {
		missing(t, err)
	}
	ns := namespace(t)
	if err := ns.Do(exec.Command("ip", "addr", "add", "10.1.0.1/16", "dev", "lo").Run); err != nil { // the inside is its own network
		t.Fatal(err)
	}
	importServers(t, ns)
	const enough = 8 // configurations of each family
	for family := range importFamilies() {
		files, _ := filepath.Glob("testdata/import/" + family + "/*.txt")
		if len(files) < enough {
			t.Errorf("%s: %d configurations, want %d", family, len(files), enough)
		}
		for _, file := range files {
			c := readImportCase(t, file)
			t.Run(c.family+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				c.try(t, ns, bin, dig)
			})
		}
	}
}

// try asks the server of a case and port53 the same.
func (c *importCase) try(t *testing.T, ns *netns.Namespace, bin, dig string) {
	theirs, ours, made, told := c.startBoth(t, ns, bin)
	defer func() {
		if t.Failed() {
			t.Logf("%s\n%s", made, told)
		}
	}()
	for _, text := range c.report {
		if !strings.Contains(told, text) {
			t.Errorf("the report does not say %q", text)
		}
	}
	c.fetched(t, ns, theirs, ours)
	asked, other, answered := 0, 0, 0
	used := map[string]bool{}
	for where, from := range map[string]netip.Addr{"inside": importInside, "excepted": importExcepted, "outside": importOutside} {
		clients := [2]*probe.Client{}
		for i, addr := range []netip.AddrPort{theirs, ours} {
			clients[i] = &probe.Client{Server: addr, Source: from, Run: ns.Do, Timeout: time.Second, Tries: 3}
			defer clients[i].Close()
		}
		silent := 0
		for _, q := range c.ask {
			if silent > 1 {
				break // they answer nobody from there, not even with a refusal: each question takes its time
			}
			want, got := answerOf(clients[0], q), answerOf(clients[1], q)
			asked++
			if silent++; want != "silence" || got != "nothing" && got != "silence" {
				silent = 0
			}
			want, got = strings.Replace(want, "silence", "nothing", 1), strings.Replace(got, "silence", "nothing", 1)
			if want != "nothing" || got != "nothing" {
				answered++
			}
			if want == got {
				continue
			}
			other++
			if why, said := c.excuse(where, q, told); why == "" {
				t.Errorf("%s asks %s: %q, there %q", where, q, got, want)
			} else if used[why] = true; !said {
				t.Errorf("%s asks %s: %q, there %q, and the report does not say %q", where, q, got, want, why)
			}
		}
		for _, zone := range c.axfr {
			open := false // without a signature
			keys := []string{""}
			if strings.Contains(c.files[0].text, "xfr") || strings.Contains(c.files[len(c.files)-1].text, "xfr") {
				keys = append(keys, "xfr:"+xferSecret)
			}
			for _, key := range keys {
				want, got := transferred(ns, dig, zone, theirs, from, key), transferred(ns, dig, zone, ours, from, key)
				asked++
				if open = open || want > 0; (want > 0) == (got > 0) || open && got > 0 {
					continue
				}
				other++
				if why, said := c.excuse(where, zone+" AXFR", told); !said {
					t.Errorf("%s transfers %s, key %v: %d records, there %d %s", where, zone, key != "", got, want, why)
				}
			}
		}
	}
	if answered == 0 {
		t.Error("nobody is answered at all")
	}
	t.Logf("%d questions, %d answered otherwise for reasons that are told", asked, other)
}

// fetched waits until both have the zones that they fetch.
func (c *importCase) fetched(t *testing.T, ns *netns.Namespace, servers ...netip.AddrPort) {
	t.Helper()
	for _, zone := range c.await {
		for _, addr := range servers {
			client := &probe.Client{Server: addr, Source: importInside, Run: ns.Do, Timeout: time.Second, Tries: 1}
			end := time.Now().Add(startTimeout)
			for answer := ""; !strings.HasPrefix(answer, "NOERROR ") || len(answer) < len("NOERROR ")+10; {
				if answer = answerOf(client, zone+" SOA"); time.Now().After(end) {
					t.Errorf("%s does not have %s: %q", addr, zone, answer)
					break
				}
				time.Sleep(20 * time.Millisecond) // between looks
			}
			client.Close()
		}
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
