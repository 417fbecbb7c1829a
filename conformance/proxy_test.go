package conformance_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"port53/conformance/netns"
)

// Both proxies ask port53 from addresses of their own.
const dnsdistProxy = `setLocal("127.0.0.20:5300")
setACL({"127.0.0.0/8"})
newServer({address="127.0.0.1:5302", source="127.0.0.30", useProxyProtocol=true, checkName="www.test.", name="behind"})
setMaxUDPOutstanding(100)
`

const haproxyProxy = `global
  maxconn 100
defaults
  mode tcp
  timeout connect 2s
  timeout client 10s
  timeout server 10s
listen dns
  bind 127.0.0.21:5300
  server behind 127.0.0.1:5302 source 127.0.0.31 send-proxy-v2 check
listen stranger
  bind 127.0.0.22:5300
  server behind 127.0.0.1:5302 source 127.0.0.32 send-proxy-v2
listen silent
  bind 127.0.0.23:5300
  server behind 127.0.0.1:5302 source 127.0.0.31
`

const port53Proxied = `role: authoritative
listen: ["127.0.0.1:5302", "127.0.0.1:5303"]
proxies: [{listen: "127.0.0.1:5302", from: [127.0.0.30, 127.0.0.31]}]
state_dir: state
metrics: {listen: off}
policy: {rate_limit: {enabled: false}, allow: [127.0.0.0/22]}
views:
  - {name: near, match: {clients: [127.0.1.0/24]}}
  - {name: proxies, match: {clients: [127.0.0.0/24]}}
zones:
  - {name: test, file: near.zone, views: near, allow_transfer: [{address: 127.0.1.0/24}]}
  - {name: test, file: proxies.zone, views: proxies}
  - {name: test, file: rest.zone, views: default}
`

// TestProxyProtocol has dnsdist and HAProxy ask for their clients: each client sees its view, is refused what
// is not for it, and transfers what it may, as if it had asked itself.
func TestProxyProtocol(t *testing.T) {
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	commands := [][]string{nil, nil, {bin, "serve", "--config", "port53.yaml"}}
	for i, c := range [][]string{{"dnsdist", "--supervised", "--disable-syslog", "-C", "dnsdist.conf"}, {"haproxy", "-db", "-f", "haproxy.cfg"}} {
		path, err := exec.LookPath(c[0])
		if err != nil {
			if path, err = exec.LookPath("/usr/sbin/" + c[0]); err != nil {
				missing(t, err)
			}
		}
		commands[i] = append([]string{path}, c[1:]...)
	}
	ns, err := netns.New()
	if err != nil {
		missing(t, err)
	}
	defer ns.Close()
	dir := t.TempDir()
	for _, name := range []string{"near", "proxies", "rest"} {
		writeViews(t, dir, name+".zone", fmt.Sprintf("$TTL 60\n@ SOA ns.example. h.example. 1 2 3 4 5\n@ NS ns.example.\nwww TXT %q\n", name))
	}
	writeViews(t, dir, "dnsdist.conf", dnsdistProxy)
	writeViews(t, dir, "haproxy.cfg", haproxyProxy)
	writeViews(t, dir, "port53.yaml", port53Proxied)
	for _, args := range commands {
		cmd := exec.Command(args[0], args[1:]...)
		log, err := os.Create(filepath.Join(dir, filepath.Base(args[0])+".log"))
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, dir
		if err := ns.Do(cmd.Start); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
				t.Logf("%s:\n%.4000s", args[0], text)
			}
		})
	}
	v := &viewsClient{T: t, ns: ns}
	www, axfr := v.question("www.test.", dns.TypeTXT), v.question("test.", dns.TypeAXFR)
	for _, at := range []struct{ network, host string }{{"udp", "127.0.0.20"}, {"tcp", "127.0.0.20"}, {"tcp", "127.0.0.21"}} {
		answers := func() string { return v.ask(at.network, "127.0.3.1", at.host, 5300, "", www) }
		for end := time.Now().Add(30 * time.Second); !strings.Contains(answers(), "rest"); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s over %s gets %s", at.host, at.network, answers())
			}
		}
		for _, from := range []string{"127.0.1.1", "127.0.3.1", "127.0.4.1", "127.0.1.77", "127.0.0.9"} {
			for _, m := range []*dns.Msg{www, axfr} {
				if at.network == "udp" && m == axfr || at.host == "127.0.0.20" && m == axfr {
					continue // dnsdist takes one message for an answer
				}
				direct, behind := v.ask(at.network, from, "127.0.0.1", 5303, "", m), v.ask(at.network, from, at.host, 5300, "", m)
				if direct != behind {
					t.Errorf("%s from %s: %s asked directly, %s through %s over %s", m.Question[0].String(), from, direct, behind, at.host, at.network)
				}
			}
		}
	}
	for what, host := range map[string]string{"no proxy": "127.0.0.22", "a proxy without a header": "127.0.0.23"} {
		if got := v.ask("tcp", "127.0.1.1", host, 5300, "", www); got != "silent" {
			t.Errorf("%s gets %s", what, got)
		}
	}
	for _, network := range []string{"udp", "tcp"} {
		if got := v.ask(network, "127.0.1.1", "127.0.0.1", 5302, "", www); got != "silent" {
			t.Errorf("a client that comes by itself over %s gets %s", network, got)
		}
	}
}
