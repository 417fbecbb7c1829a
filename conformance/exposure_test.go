package conformance_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"port53/conformance/netns"
	"port53/conformance/peers"
)

// An exposed is a machine with a server on port 53 and what its contract is.
type exposed struct {
	*testing.T
	bin, dir string
	home     *netns.Namespace
}

// exposeTries bounds how many machines there are at the same time.
var exposeTries = make(chan struct{}, 12)

func newExposed(t *testing.T) *exposed {
	t.Helper()
	if os.Getuid() != 0 {
		missing(t, fmt.Errorf("root, for network namespaces"))
	}
	for _, program := range []string{"nft", "ip"} {
		if _, err := peers.Find(program); err != nil {
			missing(t, err)
		}
	}
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	t.Parallel()
	exposeTries <- struct{}{}
	t.Cleanup(func() { <-exposeTries })
	e := &exposed{T: t, bin: bin, dir: t.TempDir()}
	if e.home, err = netns.New(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.home.Close)
	e.in("ip route del local 10.0.0.0/8 dev lo; ip link add lan0 type veth peer name lan1; ip link set lan1 up; ip link set lan0 up\n" +
		"for a in 192.0.2.53/24 192.0.2.54/24 10.0.0.53/8; do ip addr add $a dev lan0; done; ip addr add 2001:db8::53/64 dev lan0 nodad")
	e.write("example.com.zone", "$TTL 60\n@ SOA ns admin 1 7200 3600 1209600 300\n@ NS ns\nns A 192.0.2.53\n")
	return e
}

func (e *exposed) in(script string) {
	e.Helper()
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = e.dir
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin", "PORT53="+e.bin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := e.home.Do(cmd.Run); err != nil {
		e.Fatalf("%s: %v\n%s", script, err, out.String())
	}
}

func (e *exposed) write(name, text string) {
	e.Helper()
	if err := os.WriteFile(filepath.Join(e.dir, name), []byte(text), 0o600); err != nil {
		e.Fatal(err)
	}
}

// What configurations here begin with, by role; the rest of a case overrides nothing.
const (
	exposeCommon   = "state_dir: state\nfirewall: {state_dir: fw}\n"
	exposeListen   = "listen: [192.0.2.53, \"2001:db8::53\"]\n"
	exposeServes   = "role: authoritative\nzones: [{name: example.com, file: example.com.zone}]\n"
	exposeResolves = "role: internal-resolver\nresolver: {allow: [10.0.0.0/8]}\n"
	exposeKey      = "keys: [{name: k, secret: MDEyMzQ1Njc4OWFiY2RlZg==}]\n"
)

// serve starts the server and waits until it has its control socket.
func (e *exposed) serve(name, text string) {
	e.Helper()
	e.write(name+".yaml", text)
	cmd := exec.Command(e.bin, "serve", "--config", name+".yaml")
	cmd.Dir = e.dir
	var log lockedBuffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := e.home.Do(cmd.Start); err != nil {
		e.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	e.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
	})
	for end := time.Now().Add(startTimeout); !strings.Contains(log.String(), "msg=listening"); time.Sleep(10 * time.Millisecond) {
		select {
		case <-ended:
			e.Fatalf("%s does not start:\n%s\n%s", name, text, log.String())
		default:
		}
		if time.Now().After(end) {
			e.Fatalf("%s is not ready:\n%s", name, log.String())
		}
	}
}

// A lockedBuffer is written and read by several.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// prove returns the lines that are violated, and how many there are.
func (e *exposed) prove(args ...string) (violated []string, all int) {
	e.Helper()
	cmd := exec.Command(e.bin, append([]string{"prove", "--json", "--timeout", "400ms"}, args...)...)
	cmd.Dir = e.dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	begun := time.Now()
	if err := e.home.Do(cmd.Run); err != nil && cmd.ProcessState.ExitCode() != 1 {
		e.Fatalf("prove: %v\n%s%s", err, out.String(), errs.String())
	}
	if took := time.Since(begun); took > time.Minute {
		e.Errorf("it took %s", took)
	}
	var lines []map[string]string
	if err := json.Unmarshal(out.Bytes(), &lines); err != nil {
		e.Fatalf("%v\n%s", err, out.String())
	}
	for _, l := range lines {
		if l["state"] != "holds" {
			text := l["state"] + " " + l["may"]
			for _, part := range []string{"from", "at", "zone"} {
				if l[part] != "" {
					text += " " + part + " " + l[part]
				}
			}
			violated = append(violated, text+": expected "+l["expected"]+", seen "+l["seen"])
		}
	}
	return violated, len(lines)
}

// A breach is a server that does more than its contract says, or a machine that does.
type breach struct {
	runs  string // the configuration of the server that runs; empty: contract
	holds string // the contract
	then  string // what is done once it runs
	fake  func(e *exposed)
	args  []string
	holes []hole
}

// A hole is one thing that is wrong, and a line that has to be violated.
type hole struct{ name, violate string }

// In one piece: it is a list.
func breaches() []breach {
	const served, resolved = exposeCommon + exposeListen + exposeServes, exposeCommon + exposeListen + exposeResolves
	lone := func(name, violate string) []hole { return []hole{{name, violate}} }
	return []breach{
		{
			runs: strings.Replace(served, "zone}", "zone, allow_transfer: [{address: 0.0.0.0/0}]}", 1) +
				"policy: {rate_limit: {enabled: false}}\nidentity: {version: port53 1}\nmetrics: {listen: 0.0.0.0, expose: true}\napi: {listen: 0.0.0.0, expose: true}\n",
			holds: served + "api: {listen: 127.0.0.1}\n",
			then:  "chmod 666 state/control.sock; chmod 777 state; ip addr add 192.0.2.55/24 dev lan0",
			fake: func(e *exposed) {
				e.fake("192.0.2.54:53", dns.RcodeSuccess, false)
				e.accept("192.0.2.55:53")
			},
			holes: []hole{
				{"a transfer for everybody", `transfer from a stranger .* at 192\.0\.2\.53:53/TCP zone example\.com\.: .* seen the zone, without a key`},
				{"answers without a limit", `amplify from a stranger .*: expected a limit of answers`},
				{"a version", `version from a stranger .*: expected nothing told`},
				{"metrics for everybody", `scrape from a stranger .* at 192\.0\.2\.53:9153/TCP`},
				{"an API for everybody", `control from a stranger .* at 192\.0\.2\.53:8053/TCP`},
				{"a control socket that others write", `control .*control\.sock.*seen mode 0666`},
				{"a state that others write", `files at .*state: .*seen mode 0777`},
				{"a second daemon at another address", `closed from a stranger .* at 192\.0\.2\.54:53/UDP: expected nobody`},
				{"a port of TCP alone", `closed from a stranger .* at 192\.0\.2\.55:53/TCP`},
			},
		},
		{
			holds: served + "keys: [{name: k, secret_file: k.key}]\n", then: "chmod 644 k.key",
			holes: lone("a key that others read", `config at .*k\.key is readable by every user`),
		},
		{
			runs: served, holds: served + "expose: {ask: 10.0.0.0/8}\n",
			holes: lone("an authoritative server that everybody asks", `ask from a stranger \(198\.18\..* at 192\.0\.2\.53:53/UDP zone example\.com`),
		},
		{
			runs: served + "policy: {allow: [10.0.0.0/8, \"::/0\"]}\n", holds: served + "expose: {ask: 10.0.0.0/8}\n",
			holes: lone("over IPv6 alone", `ask from a stranger \(2001:.* at \[2001:db8::53\]:53/TCP`),
		},
		{
			runs: served + "policy: {allow: [\"fd00::/8\", 0.0.0.0/0]}\n", holds: served + "expose: {ask: \"fd00::/8\"}\n",
			holes: lone("over IPv4 alone", `ask from a stranger \(198\.18\..* at 192\.0\.2\.53:53/TCP`),
		},
		{
			runs: exposeCommon + exposeListen + "role: public-resolver\n", holds: resolved,
			holes: lone("a public resolver in place of an internal one", `recurse from a stranger .* at 192\.0\.2\.53:53/UDP: expected no recursion`),
		},
		{
			runs: strings.Replace(resolved, "[10.0.0.0/8]", "[198.18.0.0/15]", 1), holds: resolved,
			holes: lone("an internal resolver for too many", `recurse from a stranger .* at 192\.0\.2\.53:53/TCP`),
		},
		{
			runs:  strings.Replace(strings.Replace(resolved, "[10.0.0.0/8]", "[\"2001::/19\"]", 1), "internal-resolver", "domain-controller", 1),
			holds: strings.Replace(resolved, "internal-resolver", "domain-controller", 1),
			holes: lone("a domain controller for too many", `recurse from a stranger \(2001:.* at \[2001:db8::53\]:53/UDP`),
		},
		{
			runs: served, holds: served + "expose: {ask: nobody}\n",
			holes: lone("a hidden primary that is not hidden", `ask from a stranger`),
		},
		{
			holds: served + "policy: {allow: [10.0.0.0/8]}\n",
			then: "$PORT53 firewall apply --config contract.yaml --backend nftables; nft flush ruleset\n" +
				"iptables-nft -t nat -N DOCKER; iptables-nft -t nat -A PREROUTING -j DOCKER; iptables-nft -t nat -A DOCKER -p tcp --dport 53 -j DNAT --to-destination 172.17.0.2:53",
			holes: []hole{
				{"rules that were flushed", `firewall .*: expected those of the contract, seen no rules: they were flushed`},
				{"a container's port by iptables", `firewall .*: expected none that leads port 53 elsewhere, seen .*DOCKER.*DNAT`},
			},
		},
		{
			holds: served + "policy: {allow: [10.0.0.0/8]}\n",
			then: "$PORT53 firewall apply --config contract.yaml --backend nftables; nft insert rule inet port53 input udp dport 53 accept\n" +
				"nft add table ip nat; nft 'add chain ip nat DOCKER { type nat hook prerouting priority dstnat; }'; nft add rule ip nat DOCKER udp dport 53 dnat to 172.17.0.2:53",
			fake: func(e *exposed) { e.beside("192.0.2.53:53") },
			holes: []hole{
				{"a rule above ours", `firewall .*: expected those of the contract, seen .*udp dport 53 accept`},
				{"a container's port", `firewall .*: expected none that leads port 53 elsewhere, seen .*DOCKER.*dnat`},
				{"a second daemon at the same address", `owner .*: expected this server alone, seen .*192\.0\.2\.53:53/udp`},
			},
		},
		{
			holds: strings.Replace(served, "zone}", "zone, allow_transfer: [{address: \"::/0\"}]}", 1),
			holes: lone("a transfer for everybody that the contract says nothing of", `transfer from a stranger .* at \[2001:db8::53\]:53/TCP`),
		},
		{
			holds: strings.Replace(served, "192.0.2.53, ", "192.0.2.54, ", 1), args: []string{"--config", "fake.yaml"},
			fake: func(e *exposed) { e.fake("192.0.2.53:53", dns.RcodeSuccess, true) },
			holes: []hole{
				{"updates without a key", `update from a stranger .*: expected REFUSED without a key, seen taken without a key`},
				{"an answer that amplifies", `amplify from a stranger .* seen \d{4} octets for`},
			},
		},
		{
			runs:  strings.Replace(served, "file: example.com.zone", "primaries: [127.0.0.9], insecure: true, allow_notify: [0.0.0.0/0]", 1),
			holds: strings.Replace(served, "file: example.com.zone", "primaries: [127.0.0.9], insecure: true", 1),
			holes: lone("notifications of everybody", `notify from a stranger .* at 192\.0\.2\.53:53/UDP`),
		},
		{
			holds: served, args: []string{"--role", "none"},
			holes: lone("a port where there should be none", `closed from a stranger .* at \[2001:db8::53\]:53/TCP`),
		},
		{
			holds: served, runs: strings.Replace(served, exposeListen, "listen: [127.0.0.1]\n", 1),
			holes: lone("no server at all", `ask from this machine .* at 192\.0\.2\.53:53/UDP .*expected an answer`),
		},
	}
}

// TestExposureHoles has the proof name each of many holes. What does not hide another is on one machine.
func TestExposureHoles(t *testing.T) {
	for _, b := range breaches() {
		t.Run(strings.ReplaceAll(b.holes[0].name, " ", "-"), func(t *testing.T) {
			e := newExposed(t)
			e.write("k.key", "MDEyMzQ1Njc4OWFiY2RlZg==\n")
			e.write("contract.yaml", b.holds)
			e.write("fake.yaml", strings.Replace(b.holds, "192.0.2.54, ", "192.0.2.53, ", 1))
			runs := b.runs
			if runs == "" {
				runs = b.holds
			}
			e.serve("runs", runs)
			if b.then != "" {
				e.in(b.then)
			}
			if b.fake != nil {
				b.fake(e)
			}
			args := b.args
			if args == nil {
				args = []string{"--config", "contract.yaml"}
			}
			violated, all := e.prove(args...)
			text := strings.Join(violated, "\n")
			for _, h := range b.holes {
				if !regexp.MustCompile(`(?m)^violated ` + h.violate).MatchString(text) {
					t.Errorf("%s: of %d lines these are violated, want %s:\n%s", h.name, all, h.violate, text)
				}
			}
		})
	}
}

// TestExposureSound has the proof find nothing where there is nothing.
func TestExposureSound(t *testing.T) {
	const served, resolved = exposeCommon + exposeListen + exposeServes, exposeCommon + exposeListen + exposeResolves
	zone := func(more string) string { return strings.Replace(served, "zone}", "zone, "+more+"}", 1) }
	for name, c := range map[string]struct{ text, then string }{
		"everything-said": {served + "expose: {ask: everybody, recurse: nobody, transfer: nobody, update: nobody, notify: nobody, scrape: 192.0.2.0/24}\n" +
			"metrics: {listen: 192.0.2.53}\nidentity: {version: one}\n", ""},
		"with-rules":            {served + "expose: {ask: 10.0.0.0/8}\n", "$PORT53 firewall apply --config sound.yaml --backend nftables"},
		"rules-for-everybody":   {served, "$PORT53 firewall apply --config sound.yaml --backend nftables"},
		"managed":               {served + "expose: {ask: 10.0.0.0/8}\n", ""},
		"hidden-primary":        {zone("secondaries: [192.0.2.9], tsig: k") + exposeKey + "expose: {ask: nobody, transfer: {key: k}}\n", ""},
		"by-key":                {zone("allow_transfer: [{key: k}], updates: [{key: k, names: [\"*\"]}]") + exposeKey + "expose: {update: {key: k}}\n", ""},
		"secondary":             {strings.Replace(served, "file: example.com.zone", "primaries: [127.0.0.9], insecure: true", 1), ""},
		"everywhere":            {strings.Replace(served, exposeListen, "listen: [0.0.0.0, \"::\"]\n", 1), ""},
		"loopback":              {strings.Replace(served, exposeListen, "", 1), ""},
		"four-alone":            {strings.Replace(served, ", \"2001:db8::53\"", "", 1), ""},
		"another-port":          {strings.Replace(served, "192.0.2.53, ", "\"192.0.2.53:5353\", ", 1), ""},
		"resolver-with-zone":    {resolved + "zones: [{name: example.com, file: example.com.zone}]\n", ""},
		"resolver-by-interface": {exposeCommon + exposeListen + "role: internal-resolver\nexpose: {ask: {interface: lan0}, recurse: {interface: lan0}}\n", ""},
		"public":                {exposeCommon + exposeListen + "role: public-resolver\n", ""},
		"domain-controller":     {strings.Replace(resolved, "internal-resolver", "domain-controller", 1), ""},
		"views": {served + "views: [{name: inside, match: {clients: [10.0.0.0/8]}}]\n" +
			"policy: {deny: [198.18.0.0/15]}\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := newExposed(t)
			if name == "managed" {
				c.text = strings.Replace(c.text, "state_dir: fw", "state_dir: fw, manage: true", 1)
			}
			e.serve("sound", c.text)
			if c.then != "" {
				e.in(c.then)
			}
			violated, all := e.prove("--config", "sound.yaml")
			if len(violated) > 0 || all < 10 {
				t.Errorf("%d lines, and of these:\n%s\n%s", all, strings.Join(violated, "\n"), c.text)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		e := newExposed(t)
		if violated, all := e.prove("--role", "none"); len(violated) > 0 || all < 4 {
			t.Errorf("%d lines, and of these:\n%s", all, strings.Join(violated, "\n"))
		}
	})
}

// fake answers all that comes to an address.
func (e *exposed) fake(at string, rcode int, large bool) {
	e.Helper()
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetRcode(q, rcode)
		for i := 0; large && i < 20; i++ {
			m.Answer = append(m.Answer, &dns.TXT{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{strings.Repeat("x", 200)}})
		}
		_ = w.WriteMsg(m)
	})
	var pc net.PacketConn
	var l net.Listener
	if err := e.home.Do(func() (err error) {
		if pc, err = net.ListenPacket("udp", at); err == nil {
			l, err = net.Listen("tcp", at)
		}
		return err
	}); err != nil {
		e.Fatal(err)
	}
	all := func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept }
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: handler, MsgAcceptFunc: all}, {Listener: l, Handler: handler, MsgAcceptFunc: all}} {
		go func() { _ = s.ActivateAndServe() }()
		e.Cleanup(func() { _ = s.Shutdown() })
	}
}

// beside takes a share of the datagrams of an address.
func (e *exposed) beside(at string) {
	e.Helper()
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		_ = c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		return err
	}}
	if err := e.home.Do(func() error {
		c, err := lc.ListenPacket(e.Context(), "udp", at)
		if err == nil {
			e.Cleanup(func() { c.Close() })
		}
		return err
	}); err != nil {
		e.Fatal(err)
	}
}

// accept takes connections, and says nothing.
func (e *exposed) accept(at string) {
	e.Helper()
	var l net.Listener
	if err := e.home.Do(func() (err error) {
		l, err = net.Listen("tcp", at)
		return err
	}); err != nil {
		e.Fatal(err)
	}
	e.Cleanup(func() { l.Close() })
	go accept(l, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
}
