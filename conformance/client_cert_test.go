package conformance_test

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"port53/conformance/peers"
)

// bindTLS is BIND as a secondary that shows a certificate: <WHO> is whose.
const bindTLS = `options { directory "<DIR>/bind"; listen-on port 5301 { 127.0.0.1; }; listen-on-v6 { none; }; recursion no; dnssec-validation no;
  pid-file "<DIR>/bind/pid"; session-keyfile none; };
controls { };
tls "p53" { cert-file "<DIR>/<WHO>.pem"; key-file "<DIR>/<WHO>.key"; ca-file "<DIR>/ca.pem"; remote-hostname "dns.test"; };
zone "test" { type secondary; primaries { 127.0.0.1 port 853 tls p53; }; file "test.db"; };
`

// nsdTLS is the same of NSD.
const nsdTLS = `server:
  ip-address: 127.0.0.1@5302
  username: ""
  chroot: ""
  pidfile: ""
  database: ""
  zonesdir: "<DIR>/nsd"
  xfrdfile: "<DIR>/nsd/xfrd.state"
  xfrdir: "<DIR>/nsd"
  zonelistfile: "<DIR>/nsd/zone.list"
  tls-cert-bundle: "<DIR>/ca.pem"
  verbosity: 2
remote-control:
  control-enable: no
tls-auth:
  name: "p53"
  auth-domain-name: "dns.test"
  client-cert: "<DIR>/<WHO>.pem"
  client-key: "<DIR>/<WHO>.key"
zone:
  name: "test"
  zonefile: "test.zone"
  request-xfr: AXFR 127.0.0.1@853 NOKEY p53
`

// TestClientCertificates has the clients that Debian has show certificates: kdig and dig transfer a zone,
// curl asks the API, BIND and NSD follow the zone, each with a certificate that has the grant, and none of them
// with another, or without.
func TestClientCertificates(t *testing.T) {
	room := newRoom(t, "openssl", "kdig", "dig", "curl")
	n, dir, shell, bin, write := room.net, room.dir, room.shell, room.bin, room.write
	const request = "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
	for _, ca := range []string{"ca", "evil"} {
		shell(request+"-x509 -days 30 -subj /CN=%[1]s -keyout %[1]s.key -out %[1]s.pem", ca)
	}
	issue := func(ca, file, names, days string) {
		write(file+".ext", "subjectAltName="+names+"\nextendedKeyUsage=clientAuth,serverAuth\n")
		shell(request+"-subj /CN=%[1]s -keyout %[1]s.key -out %[1]s.csr && openssl x509 -req -in %[1]s.csr -CA %[2]s.pem -CAkey %[2]s.key "+
			"-CAcreateserial %[3]s -extfile %[1]s.ext -out %[1]s.pem", file, ca, days)
	}
	issue("ca", "server", "DNS:dns.test,IP:127.0.0.1", "-days 30")
	issue("ca", "ns2", "DNS:ns2.test", "-days 30")
	issue("ca", "other", "DNS:other.test", "-days 30")
	issue("ca", "wild", "DNS:*.test", "-days 30")
	issue("evil", "fake", "DNS:ns2.test", "-days 30")
	shell(request + "-x509 -days 30 -subj /CN=pinned -keyout pinned.key -out pinned.pem; chmod 600 *.key; mkdir bind")
	pin, _, _ := strings.Cut(shell("%s grant new --cert pinned.pem", bin), "\n")
	write("test.zone", "$TTL 60\n@ SOA ns admin 1 7200 3600 1209600 300\n@ NS ns\nns A 192.0.2.1\n")
	write("port53.yaml", "role: authoritative\nlisten: [\"127.0.0.1:5300\"]\nstate_dir: state\ncontrol: {socket: control.sock}\n"+
		"metrics: {listen: off}\nsandbox: off\nzones: [{name: test, file: test.zone}]\n"+
		"encrypted: {name: dns.test, certificate: server.pem, key: server.key, dot: 127.0.0.1}\n"+
		"api: {listen: 127.0.0.1, certificate: server.pem, key: server.key}\nclient_certificates:\n"+
		"  - {name: ns2, hostname: ns2.test, ca: ca.pem, grants: [{zone: test, verbs: [read]}]}\n"+
		"  - {name: pinned, pins: \""+pin+"\", grants: [{zone: test, verbs: [read]}]}\n")
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	s, err := peers.Start(ctx, peers.Port53, peers.Options{
		Dir: t.TempDir(), Addr: netip.MustParseAddrPort("127.0.0.1:5300"), Zones: []peers.Zone{{Name: "test."}}, Run: n.Do,
		Command: []string{bin, "serve", "--config", filepath.Join(dir, "port53.yaml")},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	const good, known = "192.0.2.1", "+tls +tls-ca=ca.pem +tls-hostname=dns.test "
	for who, may := range map[string]bool{"ns2": true, "pinned": true, "other": false, "wild": false, "fake": false, "": false} {
		with, api := "", ""
		if who != "" {
			with = fmt.Sprintf("+tls-certfile=%[1]s.pem +tls-keyfile=%[1]s.key", who)
			api = fmt.Sprintf("--cert %[1]s.pem --key %[1]s.key", who)
		}
		for _, line := range []string{
			"kdig +retry=0 +time=5 @127.0.0.1 test AXFR " + known + with, "dig +tries=1 +time=5 @127.0.0.1 test AXFR " + known + with,
		} {
			if got := shell("%s", line); strings.Contains(got, good) != may {
				t.Errorf("%s: %.600q, want the zone: %v", line, got, may)
			}
		}
		for _, version := range []string{"1.2", "1.3"} {
			line := "curl -s --max-time 5 --tlsv" + version + " --tls-max " + version + " --cacert ca.pem " + api + " https://127.0.0.1:8053/v1/zones"
			if got := shell("%s", line); strings.Contains(got, `"zone":"test."`) != may || !may && !strings.Contains(got, "401") {
				t.Errorf("%s: %.600q, want the zone: %v", line, got, may)
			}
		}
	}
	for _, secondary := range []struct {
		name, dir, config, run string
		port                   int
		refused                string // what its log says then
	}{
		{"named", "bind", bindTLS, "named -g -c bind/conf", 5301, "test/IN.*refused\\|responses: refused"},
		{"nsd", "nsd", nsdTLS, "nsd -d -c nsd/conf", 5302, "xfrd: zone test, from 127.0.0.1: REFUSED\\|error code REFUSED\\|received.*REFUSED"},
	} {
		if _, err := exec.LookPath(secondary.name); err != nil {
			t.Logf("missing: %s", secondary.name)
			continue
		}
		for who, may := range map[string]bool{"ns2": true, "other": false} {
			shell("rm -rf %[1]s; mkdir %[1]s", secondary.dir)
			write(secondary.dir+"/conf", strings.NewReplacer("<DIR>", dir, "<WHO>", who).Replace(secondary.config))
			// It is asked until it has the zone, or its log says that it was refused.
			refused := secondary.refused
			if may && secondary.name == "nsd" {
				refused = "nothing of this" // NSD 4.6 loads the certificate for its second connection
			}
			got := shell("%s >%s/log 2>&1 & p=$!; for i in $(seq 600); do "+
				"dig +short +time=1 +tries=1 -p %d @127.0.0.1 ns.test | grep %s && break; "+
				"grep -i '%s' %[2]s/log >/dev/null && break; sleep 0.1; done; kill $p; wait $p",
				secondary.run, secondary.dir, secondary.port, good, refused)
			denied := shell("grep -i '%s' %s/log; true", secondary.refused, secondary.dir)
			if strings.Contains(got, good) != may || !may && denied == "" {
				t.Errorf("%s as %s: %q, want the zone: %v\n%s", secondary.name, who, got, may, shell("tail -40 %s/log", secondary.dir))
			}
		}
	}
}
