package conformance_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"port53/conformance/netns"
	"port53/conformance/peers"
)

const viewSecret = "c2VjcmV0IG9mIHRoZSB0ZXN0cyBvZiB2aWV3cw=="

// The same views for BIND and for port53: by key, by network without a part of it, by key or network, by
// listener, and a last one for everybody.
const bindViews = `options {
	directory "%[1]s"; pid-file none; session-keyfile none; listen-on port 5301 { 127.0.0.1; 127.0.0.9; }; listen-on-v6 { none; };
	recursion no; notify no; allow-transfer { none; }; dnssec-validation no; minimal-responses yes;
};
controls {};
key k1 { algorithm hmac-sha256; secret "%[2]s"; };
key k2 { algorithm hmac-sha256; secret "%[2]s"; };
key k3 { algorithm hmac-sha256; secret "%[2]s"; };
view signed { match-clients { key k1; };
	zone "test" { type primary; file "signed.zone"; allow-transfer { key k1; }; allow-update { key k1; }; };
	zone "shared.test" { type primary; file "shared.zone"; };
};
view near { match-clients { !127.0.1.8/29; 127.0.1.0/24; };
	zone "test" { type primary; file "near.zone"; allow-transfer { 127.0.1.0/24; }; };
	zone "shared.test" { in-view signed; };
};
view either { match-clients { !key k3; key k2; 127.0.2.0/24; };
	zone "test" { type primary; file "either.zone"; };
};
view ninth { match-clients { 127.0.3.0/24; 127.0.1.0/24; }; match-destinations { 127.0.0.9; };
	zone "test" { type primary; file "ninth.zone"; };
	zone "hidden.test" { type primary; file "hidden.zone"; };
};
view rest { match-clients { any; };
	zone "test" { type primary; file "rest.zone"; };
	zone "shared.test" { in-view signed; };
};
`

const port53Views = `role: authoritative
listen: ["127.0.0.1:5302", "127.0.0.9:5302"]
state_dir: state
metrics: {listen: off}
policy: {rate_limit: {enabled: false}}
keys: [{name: k1, secret: "%[2]s"}, {name: k2, secret: "%[2]s"}, {name: k3, secret: "%[2]s"}]
views:
  - {name: signed, match: {key: k1}}
  - {name: near, match: {clients: [127.0.1.0/24], except: [127.0.1.8/29]}}
  - {name: either, match: {clients: [127.0.2.0/24, {key: k2}], except: [{key: k3}]}}
  - {name: ninth, match: {clients: [127.0.3.0/24, 127.0.1.0/24], listen: 127.0.0.9}}
zones:
  - {name: test, file: signed.zone, views: signed, allow_transfer: [{key: k1}], updates: [{key: k1, names: ["*"]}]}
  - {name: test, file: near.zone, views: near, allow_transfer: [{address: 127.0.1.0/24}]}
  - {name: test, file: either.zone, views: either}
  - {name: test, file: ninth.zone, views: ninth}
  - {name: test, file: rest.zone, views: default}
  - {name: shared.test, file: shared.zone, views: [signed, near, default]}
  - {name: hidden.test, file: hidden.zone, views: ninth}
`

// TestViews asks BIND and port53 with the same views, as clients of every kind, over UDP and TCP: questions,
// transfers and updates come to the same.
func TestViews(t *testing.T) {
	compareViews(t, func(_, dir, _ string) string { return fmt.Sprintf(port53Views, dir, viewSecret) })
}

// TestImportViews does the same with what port53 makes of BIND's configuration.
func TestImportViews(t *testing.T) {
	compareViews(t, func(bin, _, conf string) string {
		out, err := exec.Command(bin, "import", conf).Output()
		if len(out) == 0 {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(out), ":5301", ":5302")
		return text + "state_dir: state\nmetrics: {listen: off}\npolicy: {rate_limit: {enabled: false}}\n"
	})
}

// compareViews asks BIND, and port53 with a configuration that is made for a folder, with BIND's at hand.
func compareViews(t *testing.T, configuration func(bin, dir, bind string) string) {
	t.Helper()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	named, err := peers.Find("named")
	if err != nil {
		missing(t, err)
	}
	ns, err := netns.New()
	if err != nil {
		missing(t, err)
	}
	defer ns.Close()
	if err := ns.Do(exec.Command("ip", "addr", "add", "127.0.0.9/8", "dev", "lo").Run); err != nil { // BIND listens on what an interface has
		t.Fatal(err)
	}
	dirs := [2]string{t.TempDir(), t.TempDir()}
	for i, dir := range dirs {
		for _, name := range []string{"signed", "near", "either", "ninth", "rest", "shared", "hidden"} {
			writeViews(t, dir, name+".zone", fmt.Sprintf("$TTL 60\n@ SOA ns.example. h.example. 1 2 3 4 5\n@ NS ns.example.\nwww TXT %q\n", name))
		}
		text := fmt.Sprintf(bindViews, dir, viewSecret)
		if i == 1 {
			text = configuration(bin, dir, filepath.Join(dirs[0], "conf"))
		}
		writeViews(t, dir, "conf", text)
	}
	for i, args := range [][]string{{named, "-g", "-n", "1", "-c", filepath.Join(dirs[0], "conf")}, {bin, "serve", "--config", filepath.Join(dirs[1], "conf")}} {
		cmd := exec.Command(args[0], args[1:]...)
		log, err := os.Create(filepath.Join(dirs[i], "log"))
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, dirs[i]
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
	for port := 5301; port <= 5302; port++ {
		for end := time.Now().Add(time.Minute); v.ask("udp", "127.0.0.1", "127.0.0.1", port, "", v.question("www.test.", dns.TypeTXT)) == "silent"; {
			if time.Now().After(end) {
				t.Fatalf("port %d does not answer", port)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	update := new(dns.Msg)
	update.SetUpdate("test.")
	rr, err := dns.NewRR("added.test. 60 TXT added")
	if err != nil {
		t.Fatal(err)
	}
	update.Insert([]dns.RR{rr})
	messages := []*dns.Msg{
		v.question("www.test.", dns.TypeTXT), v.question("www.shared.test.", dns.TypeTXT), v.question("www.hidden.test.", dns.TypeTXT),
		v.question("test.", dns.TypeAXFR), update, v.question("added.test.", dns.TypeTXT),
	}
	cases := 0
	for _, m := range messages {
		for _, from := range []string{"127.0.0.1", "127.0.1.1", "127.0.1.9", "127.0.2.1", "127.0.3.1"} {
			for _, at := range []string{"127.0.0.1", "127.0.0.9"} {
				for _, key := range []string{"", "k1.", "k2.", "k3."} {
					for _, network := range []string{"udp", "tcp"} {
						if network == "udp" && len(m.Question) > 0 && m.Question[0].Qtype == dns.TypeAXFR {
							continue
						}
						cases++
						bind, ours := v.ask(network, from, at, 5301, key, m), v.ask(network, from, at, 5302, key, m)
						if bind != ours {
							t.Errorf("%s %s from %s at %s with key %q: BIND %s, port53 %s", network, m.Question[0].String(), from, at, key, bind, ours)
						}
					}
				}
			}
		}
	}
	t.Logf("%d cases", cases)
	if cases < 400 {
		t.Error("too few cases")
	}
}

func writeViews(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A viewsClient asks from many addresses.
type viewsClient struct {
	*testing.T
	ns *netns.Namespace
}

func (v *viewsClient) question(name string, typ uint16) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(name, typ)
	m.RecursionDesired = false
	return m
}

// ask returns what a message comes to: the rcode and what its records say, or "silent".
func (v *viewsClient) ask(network, from, at string, port int, key string, m *dns.Msg) string {
	m = m.Copy()
	m.Id = dns.Id()
	if key != "" {
		m.SetTsig(key, dns.HmacSHA256, 300, time.Now().Unix())
	}
	var local net.Addr = &net.UDPAddr{IP: net.ParseIP(from)}
	if network == "tcp" {
		local = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	secrets := map[string]string{"k1.": viewSecret, "k2.": viewSecret, "k3.": viewSecret}
	says := "silent"
	for range 3 {
		_ = v.ns.Do(func() error {
			c := &dns.Client{Net: network, Dialer: &net.Dialer{LocalAddr: local, Timeout: 2 * time.Second}, Timeout: 2 * time.Second, TsigSecret: secrets}
			reply, _, err := c.Exchange(m, net.JoinHostPort(at, fmt.Sprint(port)))
			if reply == nil {
				return err
			}
			var texts []string
			for _, rr := range reply.Answer {
				if txt, ok := rr.(*dns.TXT); ok {
					texts = append(texts, txt.Txt...)
				}
			}
			slices.Sort(texts)
			says = dns.RcodeToString[reply.Rcode] + " " + strings.Join(texts, ",")
			return nil
		})
		if says != "silent" {
			break
		}
	}
	return says
}
