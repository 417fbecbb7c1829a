package app_test

import (
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"port53/internal/dnstest"
	"port53/internal/tsig"
	"port53/internal/why"
)

// whyHere is a server that has all by which it refuses, changes or leaves out answers itself.
const whyHere = `role: internal-resolver
listen: ["127.0.0.1:0"]
resolver:
  validation: false
  allow: [127.0.0.1, 127.0.2.0/24]
  forward: [{zone: ., to: [192.0.2.1], only: true}]
keys: [{name: xfr, secret: MDEyMzQ1Njc4OWFiY2RlZg==}]
networks: [{name: all, list: [127.0.0.0/8]}]
zones:
  - {name: test, file: test.zone, allow_transfer: [{key: xfr}], updates: [{key: xfr, names: ["*"]}]}
  - {name: closed.test, file: test.zone, allow_query: [127.0.0.9]}
  - {name: broken.test, file: broken.zone}
  - {name: drop.rpz, file: rpz.zone}
policy:
  allow: [127.0.0.0/16, 127.0.2.0/24]
  rate_limit: {enabled: true, per_second: 1/s, burst: 1, slip: 2, exempt: [127.0.0.0/24]}
  lists: [{name: ads, file: ads.txt}, {name: quiet, file: quiet.txt}]
  block: [{list: ads}, {list: quiet, answer: drop}]
  rpz: [{zone: drop.rpz}]
`

// TestWhyHere plants what makes the server itself refuse, change or leave out answers: of each it is told which
// list and line, rule, limit, key, zone or client it is.
func TestWhyHere(t *testing.T) {
	r := &running{T: t, dir: t.TempDir(), reload: make(chan os.Signal, 1), done: make(chan error, 1)}
	r.write("ads.txt", "! a comment\n||first.example^\n||ads.example^\n")
	r.write("quiet.txt", "||silent.example^\n")
	r.write("test.zone", "$TTL 300\n@ SOA ns h 1 2h 1h 2w 5m\n@ NS ns\nns A 192.0.2.53\n")
	r.write("broken.zone", "@ NX ns\n")
	r.write("rpz.zone", soaOf("1")+"nx CNAME .\n*.gone CNAME rpz-drop.\nalias CNAME www.else.example.\n32.1.2.0.127.rpz-client-ip CNAME *.\n")
	if err := os.Mkdir(r.dir+"/state", 0o755); err != nil {
		t.Fatal(err)
	}
	r.run(filterNet(), whyHere+apiConfig(map[string]string{"admin": `{zone: "*", verbs: [admin]}`}))
	good := &tsig.Key{Name: dnstest.Name(t, "xfr."), Algorithm: tsig.HMACSHA256, Secret: []byte("0123456789abcdef")}
	wrong, unknown := *good, *good
	wrong.Secret, unknown.Name = []byte("another secret!!"), dnstest.Name(t, "nobody.")
	signed := func(k *tsig.Key, off time.Duration) func([]byte) []byte {
		return func(m []byte) []byte { return sign(k, m, time.Now().Add(off)) }
	}
	for _, c := range []struct {
		from, network, ask string
		change             func([]byte) []byte
		times              int // that it is asked, without waiting for replies; 0: once
		code, says         string
	}{
		{"127.0.0.1", "udp", "www.ads.example. A +rd", nil, 0, "blocked", "line 3 of the list ads"},
		{"127.0.0.1", "udp", "first.example. A +rd", nil, 0, "blocked", "line 2 of the list ads"},
		{"127.0.0.1", "udp", "x.silent.example. A +rd", nil, 1, "blocked", "no reply, as a rule says: line 1 of the list quiet"},
		{"127.0.0.1", "udp", "nx. A +rd", nil, 0, "blocked", "policy zone drop.rpz., rule nx.drop.rpz. (qname)"},
		{"127.0.0.1", "udp", "www.gone. A +rd", nil, 1, "blocked", "policy zone drop.rpz., rule *.gone.drop.rpz. (qname)"},
		{"127.0.0.1", "udp", "alias. A +rd", nil, 0, "blocked", "policy zone drop.rpz., rule alias.drop.rpz. (qname), www.else.example."},
		{"127.0.2.1", "udp", "any.example. A +rd", nil, 0, "blocked", "rule 32.1.2.0.127.rpz-client-ip.drop.rpz. (client-ip)"},
		{"127.0.2.2", "udp", "ns.test. A", nil, 6, "rate-limited", "for positive replies to 127.0.2.0/24, zone test."},
		{"127.0.2.2", "udp", "none.test. A", nil, 6, "rate-limited", "for nxdomain replies to 127.0.2.0/24, zone test."},
		{"127.0.0.1", "tcp", "test. SOA", signed(&unknown, 0), 0, "tsig", "key nobody.: BADKEY"},
		{"127.0.0.1", "tcp", "test. SOA", signed(&wrong, 0), 0, "tsig", "key xfr.: BADSIG"},
		{"127.0.0.1", "tcp", "test. SOA", signed(good, -time.Hour), 0, "tsig", "key xfr.: BADTIME"},
		{"127.0.0.1", "tcp", "test. AXFR", signed(&wrong, 0), 0, "tsig", "key xfr.: BADSIG"},
		{"127.0.0.1", "tcp", "test. AXFR", nil, 0, "client-not-allowed", "notify the zone: test.: it has no TSIG signature"},
		{"127.1.0.1", "tcp", "ns.test. A", nil, 0, "client-not-allowed", "client 127.1.0.1 is not among those that may ask here (policy.allow)"},
		{"127.0.0.7", "tcp", "www.example. A +rd", nil, 0, "recursion-not-allowed", "client 127.0.0.7 is not among"},
		{"127.0.0.7", "tcp", "ns.closed.test. A", nil, 0, "zone-not-allowed", "client 127.0.0.7 is not among those that may ask for this zone (allow_query): closed.test."},
		{"127.0.0.1", "tcp", "ns.broken.test. A", nil, 0, "zone-not-loaded", "broken.test."},
	} {
		msg := dnstest.ParseQuestion(t, c.ask).Message()
		if c.change != nil {
			msg = c.change(msg)
		}
		if c.times == 0 {
			r.as(c.network, netip.MustParseAddr(c.from), r.Addrs()[0], msg)
		}
		for range c.times {
			d := net.Dialer{LocalAddr: &net.UDPAddr{IP: netip.MustParseAddr(c.from).AsSlice()}}
			conn, err := d.Dial("udp", r.Addrs()[0].String())
			if err != nil {
				t.Fatal(err)
			}
			_, _ = conn.Write(msg)
			conn.Close()
		}
		words := strings.Fields(c.ask)
		var got []why.Report
		told := func(rep *why.Report) bool {
			return rep.Code == c.code && strings.Contains(rep.Cause, c.says) && len(rep.Advice) > 0
		}
		until(t, c.ask, func() string {
			if len(got) == 0 {
				return "nothing is told"
			}
			return got[0].Code + ": " + got[0].Cause
		}, func() bool {
			got = r.whys("/v1/why/" + words[0] + "?type=" + words[1] + "&client=" + c.from)
			return len(got) > 0 && told(&got[0])
		})
		if c.code != "blocked" {
			continue
		}
		advice, want := got[0].Advice[len(got[0].Advice)-1].Text, "policy.allow_names"
		if strings.Contains(c.says, "drop.rpz.") {
			want = "CNAME rpz-passthru."
		}
		if !strings.Contains(advice, want) || strings.Contains(advice, "allow_names of") {
			t.Errorf("%s: %q, want %s", c.ask, advice, want)
		}
	}
}
