package conformance_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"port53/conformance/peers"
)

// recipe returns the n-th configuration of a section of docs/RECIPES.md.
func recipe(t *testing.T, title string, n int) string {
	t.Helper()
	text, err := os.ReadFile("../docs/RECIPES.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## "+title+"\n")
	if !ok {
		t.Fatalf("there is no recipe %q", title)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := regexp.MustCompile("(?s)```(?:yaml|json)\n(.*?)```").FindAllStringSubmatch(section, -1)
	if len(blocks) <= n {
		t.Fatalf("%q has %d blocks", title, len(blocks))
	}
	return blocks[n][1]
}

// awaitText runs a command line until it prints what is wanted.
func (s *shell) awaitText(dir, line, want string, logs ...*lockedBuffer) {
	s.t.Helper()
	for end := time.Now().Add(startTimeout); ; time.Sleep(50 * time.Millisecond) { // between looks
		out, _ := s.run(dir, line)
		if strings.Contains(out, want) {
			return
		}
		if time.Now().After(end) {
			for _, log := range logs {
				s.t.Log(log)
			}
			s.t.Fatalf("%s: %q is not in\n%s", line, want, out)
		}
	}
}

// TestRecipeController follows zones of a server that gives them to addresses alone, as a domain
// controller does.
func TestRecipeController(t *testing.T) {
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	named, err := peers.Find(peers.BIND)
	if err != nil {
		missing(t, err)
	}
	s, dir := newShell(t), t.TempDir()
	if out, code := s.run(dir, "ip addr add 10.0.0.53/32 dev lo && ip addr add 10.0.0.5/32 dev lo && ip addr add 10.0.0.6/32 dev lo"); code != 0 {
		t.Fatal(out)
	}
	zone := func(serial int, more string) string {
		return fmt.Sprintf("$TTL 300\n@ SOA dc1.ad.example.com. hostmaster.ad.example.com. %d 900 600 86400 60\n@ NS dc1.ad.example.com.\n%s", serial, more)
	}
	put(t, dir+"/ad", "%s", zone(1, "dc1 A 10.0.0.5\n_ldap._tcp SRV 0 100 389 dc1\n"))
	put(t, dir+"/msdcs", "%s", zone(1, "gc A 10.0.0.5\n"))
	put(t, dir+"/named.conf", "options { directory %q; managed-keys-directory %[1]q; pid-file \"named.pid\"; session-keyfile none; listen-on { 10.0.0.5; 10.0.0.6; }; listen-on-v6 { none; }; recursion no; notify explicit; also-notify { 10.0.0.53; }; notify-source 10.0.0.5; allow-transfer { 10.0.0.0/24; }; };\ncontrols { };\nzone \"ad.example.com\" { type primary; file \"ad\"; };\nzone \"_msdcs.ad.example.com\" { type primary; file \"msdcs\"; };\n", dir)
	// On one machine a connection comes from the address that it goes to.
	s.start(dir, named+" -g -n 1 -c "+dir+"/named.conf")
	conf := strings.Replace(recipe(t, "Secondary of an Active Directory zone", 0), "user: port53\n", "", 1)
	put(t, dir+"/port53.yaml", "%sstate_dir: %s/state\nmetrics: {listen: off}\n", conf, dir)
	s.awaitText(dir, "dig +short @10.0.0.6 ad.example.com SOA", "hostmaster")
	ours := s.start(dir, bin+" serve --config port53.yaml")
	s.awaitText(dir, "dig +short @10.0.0.53 _ldap._tcp.ad.example.com SRV", "0 100 389 dc1.ad.example.com.", ours)
	s.awaitText(dir, "dig +short @10.0.0.53 gc._msdcs.ad.example.com A", "10.0.0.5")
	// A change comes by NOTIFY, well before the zone's refresh time.
	put(t, dir+"/ad", "%s", zone(2, "dc1 A 10.0.0.5\nnew A 10.0.0.9\n"))
	if out, code := s.run(dir, "kill -HUP $(cat named.pid)"); code != 0 {
		t.Fatal(out)
	}
	s.awaitText(dir, "dig +short @10.0.0.53 new.ad.example.com A", "10.0.0.9")
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// A dhcpClient asks a DHCP server as a relay would, so that everything is unicast (RFC 2131).
type dhcpClient struct {
	conn   *net.UDPConn
	relay  [4]byte
	server *net.UDPAddr
	mac    [6]byte
	name   string
}

// message sends one message and returns the address that the server offers, and what kind its
// reply is.
func (c *dhcpClient) message(kind byte, want [4]byte, id [4]byte) (addr, server [4]byte, reply byte, err error) {
	b := make([]byte, 240)
	b[0], b[1], b[2], b[3] = 1, 1, 6, 1
	binary.BigEndian.PutUint32(b[4:], 0x5353)
	copy(b[24:], c.relay[:])
	copy(b[28:], c.mac[:])
	copy(b[236:], "\x63\x82\x53\x63")
	b = append(b, 53, 1, kind)
	b = append(append(b, 12, byte(len(c.name))), c.name...)
	if kind == 3 {
		b = append(append(b, 50, 4), want[:]...)
		b = append(append(b, 54, 4), id[:]...)
	}
	b = append(b, 255)
	if _, err = c.conn.WriteToUDP(b, c.server); err != nil {
		return
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(time.Second))
	in := make([]byte, 1500)
	n, _, err := c.conn.ReadFromUDP(in)
	if err != nil {
		return
	}
	if n < 240 {
		return addr, server, 0, errors.New("a short reply")
	}
	copy(addr[:], in[16:20])
	for o := in[240:n]; len(o) > 2 && o[0] != 255; o = o[2+int(o[1]):] {
		if len(o) < 2+int(o[1]) {
			break
		}
		switch o[0] {
		case 53:
			reply = o[2]
		case 54:
			copy(server[:], o[2:6])
		}
	}
	return addr, server, reply, nil
}

// TestRecipeKea has Kea give addresses: port53 follows its leases, and its D2 writes the names into
// zones by signed updates.
func TestRecipeKea(t *testing.T) {
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	programs := map[string]string{}
	for _, p := range []string{"kea-dhcp4", "kea-dhcp-ddns", "dig"} {
		if programs[p], err = peers.Find(p); err != nil {
			missing(t, err)
		}
	}
	const secret = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	dir := t.TempDir()
	s := newShell(t, "KEA_PIDFILE_DIR="+dir, "KEA_LOCKFILE_DIR=none", "KEA_LOGGER_DESTINATION=stdout")
	// Three addresses: of the servers here, of the relay, and of the other server that follows leases.
	if out, code := s.run(dir, "for a in 10.0.0.53 10.0.0.1 10.0.0.54; do ip addr add $a/24 dev lo; done"); code != 0 {
		t.Fatal(out)
	}
	put(t, dir+"/zones/office.example.zone", "$TTL 1h\n@ SOA ns h 1 2h 1h 2w 5m\n@ NS ns\nns A 10.0.0.53\n")
	put(t, dir+"/zones/0.0.10.in-addr.arpa.zone", "$TTL 1h\n@ SOA ns.office.example. h.office.example. 1 2h 1h 2w 5m\n@ NS ns.office.example.\n")
	put(t, dir+"/keys/kea", "%s\n", secret)
	if err := os.Chmod(dir+"/keys/kea", 0o600); err != nil {
		t.Fatal(err)
	}
	bare := func(text string) string {
		text = strings.Replace(text, "user: port53\n", "", 1)
		return strings.ReplaceAll(text, "/var/lib/kea/", dir+"/")
	}
	put(t, dir+"/follow.yaml", "%sstate_dir: %s/follow\nmetrics: {listen: off}\n", strings.Replace(bare(recipe(t, "Kea", 0)), "10.0.0.53", "10.0.0.54", 1), dir)
	put(t, dir+"/zones.yaml", "%sstate_dir: %s/state\nmetrics: {listen: off}\n", bare(recipe(t, "Kea", 1)), dir)
	put(t, dir+"/kea-leases4.csv", "")
	put(t, dir+"/kea-leases6.csv", "")
	put(t, dir+"/d2.conf", "%s", strings.Replace(recipe(t, "Kea", 2), "…", secret, 1))
	put(t, dir+"/dhcp4.conf", `{"Dhcp4": {
  "interfaces-config": {"interfaces": ["lo/10.0.0.53"], "dhcp-socket-type": "udp"},
  "lease-database": {"type": "memfile", "name": "%s/kea-leases4.csv", "lfc-interval": 0},
  "dhcp-ddns": {"enable-updates": true},
  "ddns-qualifying-suffix": "office.example.", "ddns-override-client-update": true, "ddns-override-no-update": true,
  "valid-lifetime": 3600,
  "subnet4": [{"id": 1, "subnet": "10.0.0.0/24", "pools": [{"pool": "10.0.0.100 - 10.0.0.150"}]}]
}}
`, dir)
	s.until(s.start(dir, bin+" serve --config follow.yaml"), "msg=listening", startTimeout)
	s.until(s.start(dir, bin+" serve --config zones.yaml"), "msg=listening", startTimeout)
	d2 := s.start(dir, programs["kea-dhcp-ddns"]+" -c d2.conf")
	dhcp := s.start(dir, programs["kea-dhcp4"]+" -c dhcp4.conf")
	client := &dhcpClient{relay: [4]byte{10, 0, 0, 1}, server: &net.UDPAddr{IP: net.IPv4(10, 0, 0, 53), Port: 67}, mac: [6]byte{2, 0, 0, 0, 0, 7}, name: "laptop"}
	if err := s.net.Do(func() (err error) {
		client.conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 67})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer client.conn.Close()
	var got [4]byte
	for end := time.Now().Add(startTimeout); ; {
		offer, server, kind, err := client.message(1, got, got)
		if err == nil && kind == 2 {
			if got, _, kind, err = client.message(3, offer, server); err == nil && kind == 5 {
				break
			}
		}
		if time.Now().After(end) {
			t.Fatalf("no lease: %v, a message of kind %d\n%s\n%s", err, kind, dhcp, d2)
		}
		time.Sleep(50 * time.Millisecond) // between tries
	}
	addr := netip.AddrFrom4(got)
	s.awaitText(dir, "dig +short @10.0.0.54 laptop.office.example A", addr.String())
	s.awaitText(dir, "dig +short @10.0.0.54 -x "+addr.String(), "laptop.office.example.")
	s.awaitText(dir, "dig +short @10.0.0.53 laptop.office.example A", addr.String())
	s.awaitText(dir, "dig +short @10.0.0.53 -x "+addr.String(), "laptop.office.example.")
	s.awaitText(dir, "dig +noall +answer @10.0.0.53 laptop.office.example DHCID", "DHCID")
	// The lease ends: D2 takes the names away.
	if _, _, _, err := client.release(got); err != nil {
		t.Fatal(err)
	}
	s.awaitText(dir, "dig @10.0.0.53 laptop.office.example A", "NXDOMAIN", d2, dhcp)
	s.awaitText(dir, "dig @10.0.0.53 -x "+addr.String(), "NXDOMAIN")
}

// release gives a lease back, which nobody answers.
func (c *dhcpClient) release(addr [4]byte) (_, _ [4]byte, _ byte, err error) {
	b := make([]byte, 240)
	b[0], b[1], b[2], b[3] = 1, 1, 6, 1
	copy(b[12:], addr[:])
	copy(b[24:], c.relay[:])
	copy(b[28:], c.mac[:])
	copy(b[236:], "\x63\x82\x53\x63")
	b = append(b, 53, 1, 7, 54, 4, 10, 0, 0, 53, 255)
	_, err = c.conn.WriteToUDP(b, c.server)
	return
}

// TestRecipePrometheus has Prometheus scrape a server that works, and evaluate each alert and each
// panel of the dashboard.
func TestRecipePrometheus(t *testing.T) {
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	programs := map[string]string{}
	for _, p := range []string{"prometheus", "promtool"} {
		if programs[p], err = peers.Find(p); err != nil {
			missing(t, err)
		}
	}
	alerts, err := filepath.Abs("../docs/prometheus-alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	s, dir := newShell(t), t.TempDir()
	if out, code := s.run(dir, programs["promtool"]+" check rules "+alerts); code != 0 {
		t.Errorf("promtool check rules: %s", out)
	}
	put(t, dir+"/good.zone", "%s", importZone)
	conf := strings.Replace(recipe(t, "Prometheus", 0), "10.0.0.53", "127.0.0.1", 1)
	put(t, dir+"/port53.yaml", "%sstate_dir: %s/state\nzones: [{name: good.test, file: good.zone}]\nresolver: {forward: [{zone: ., to: [127.0.0.9, 127.0.0.10]}], limits: {time: 2s}}\n", conf, dir)
	put(t, dir+"/prometheus.yml", "global: {scrape_interval: 500ms, evaluation_interval: 500ms}\nrule_files: [%q]\nscrape_configs: [{job_name: port53, static_configs: [{targets: [\"127.0.0.1:9153\"]}]}]\n", alerts)
	s.until(s.start(dir, bin+" serve --config port53.yaml"), "msg=listening", startTimeout)
	put(t, dir+"/unbound.conf", "server:\n  interface: 127.0.0.10\n  port: 53\n  username: \"\"\n  chroot: \"\"\n  directory: %q\n  pidfile: \"\"\n  use-syslog: no\n  do-daemonize: no\n  module-config: \"iterator\"\n  local-zone: \".\" static\n  local-data: \"www.example.com. 1 A 192.0.2.7\"\nremote-control:\n  control-enable: no\n", dir)
	if unbound, err := peers.Find("unbound"); err == nil {
		s.start(dir, unbound+" -d -c unbound.conf")
	}
	prometheus := s.start(dir, programs["prometheus"]+" --config.file=prometheus.yml --storage.tsdb.path="+dir+"/tsdb --web.listen-address=127.0.0.1:9090 --log.level=warn")
	web := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
		err = s.net.Do(func() error {
			c, err = (&net.Dialer{}).DialContext(ctx, network, addr)
			return err
		})
		return c, err
	}}}
	get := func(path string, into any) error {
		r, err := web.Get("http://127.0.0.1:" + path)
		if err != nil {
			return err
		}
		defer r.Body.Close()
		text, err := io.ReadAll(r.Body)
		if err != nil || r.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %v %s", r.Status, err, text)
		}
		if s, ok := into.(*string); ok {
			*s = string(text)
			return nil
		}
		return json.Unmarshal(text, into)
	}
	var answer struct {
		Data struct {
			Result []struct{ Value [2]any }
			Groups []struct {
				Rules []struct{ Name, Health, LastError string }
			}
		}
	}
	ask := func(expr string) (int, error) {
		answer.Data.Result = nil
		err := get("9090/api/v1/query?query="+url.QueryEscape(expr), &answer)
		return len(answer.Data.Result), err
	}
	// What it counts is asked for while it is scraped.
	for end := time.Now().Add(startTimeout); ; {
		_, _ = s.run(dir, "for i in 1 2 3; do for n in www.good.test none.good.test www.example.com none.example.com; do dig +tries=1 +time=1 @127.0.0.1 $n A >/dev/null & done; dig +tcp +tries=1 +time=1 @127.0.0.1 www.good.test MX >/dev/null; done; wait")
		if n, err := ask(`count_over_time(up{job="port53"}[5m]) > 5`); err == nil && n == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("it is not scraped:\n%s", prometheus)
		}
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(must(os.ReadFile("../docs/grafana-dashboard.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	panels := 0
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			n, err := ask(strings.ReplaceAll(target.Expr, "$instance", ".*"))
			if err != nil || n == 0 {
				t.Errorf("panel %q: %s has %d series: %v", p.Title, target.Expr, n, err)
			}
			panels++
		}
	}
	if err := get("9090/api/v1/rules", &answer); err != nil {
		t.Fatal(err)
	}
	rules := 0
	for _, g := range answer.Data.Groups {
		for _, r := range g.Rules {
			if rules++; r.Health != "ok" {
				t.Errorf("alert %s is %s: %s", r.Name, r.Health, r.LastError)
			}
		}
	}
	if panels < 15 || rules < 8 {
		t.Errorf("%d panels, %d rules", panels, rules)
	}
	var metrics string
	if err := get("9153/metrics", &metrics); err != nil {
		t.Fatal(err)
	}
	put(t, dir+"/metrics", "%s", metrics)
	if out, code := s.run(dir, programs["promtool"]+" check metrics < metrics"); code != 0 {
		t.Errorf("promtool check metrics: %s", out)
	}
	for path, want := range map[string]string{"/ready": "", "/health": ""} {
		var text string
		if err := get("9153"+path, &text); err != nil || !strings.Contains(text, want) {
			t.Errorf("%s: %v %q", path, err, text)
		}
	}
}
