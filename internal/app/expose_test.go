package app_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"port53/internal/app"
	"port53/internal/config"
	"port53/internal/tsig"
	"port53/internal/wire"
)

// TestContract has a server keep to its contract whatever a grant of the running server says: who is let
// in by the one and not by the other is refused.
func TestContract(t *testing.T) {
	// The zone says nothing of transfers: it is for whom the contract has.
	r := startZones(t, "  - {name: test, file: test.zone}\nexpose: {transfer: {key: xfr}, update: {key: ddns}, notify: nobody}\n")
	rcode := func(msg []byte) string {
		t.Helper()
		return wire.Rcode(r.exchange("127.0.0.1:0", msg)[3] & 15).String()
	}
	axfr, now := func() []byte { return message(1, wire.OpcodeQuery, wire.TypeAXFR) }, time.Now()
	if got := rcode(sign(&xfr, axfr(), now)); got != "NOERROR" {
		t.Errorf("a transfer by the key of the contract: %s", got)
	}
	if got := rcode(axfr()); got != "REFUSED" {
		t.Errorf("a transfer without a key: %s", got)
	}
	if got := rcode(sign(&xfr, update(3, "one"), now)); got != "REFUSED" {
		t.Errorf("an update by a key that no grant has: %s", got)
	}
	made, err := r.Grant([]byte(`{"name":"late","kind":"key","grants":[{"zones":["test"],"names":["*"],"verbs":["read","change"]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	secret := []byte(nil)
	for _, k := range r.Configured().Keys {
		if strings.Contains(string(k.Name), "late") {
			secret = k.Octets
		}
	}
	if secret == nil {
		t.Fatalf("no key was made: %+v", made)
	}
	late := tsig.Key{Name: []byte("\x04late\x00"), Algorithm: tsig.HMACSHA256, Secret: secret}
	if got := rcode(sign(&late, axfr(), now)); got != "REFUSED" {
		t.Errorf("a transfer by a grant beyond the contract: %s", got)
	}
	if got := rcode(sign(&late, update(4, "one"), now)); got != "REFUSED" {
		t.Errorf("an update by a grant beyond the contract: %s", got)
	}
}

// TestContractNobodyAsks has a hidden primary answer its secondaries alone.
func TestContractNobodyAsks(t *testing.T) {
	r := startZones(t, "  - {name: test, file: test.zone, secondaries: [127.0.0.2], insecure: true}\nexpose: {ask: nobody}\n")
	soa := message(1, wire.OpcodeQuery, wire.TypeSOA)
	for from, want := range map[string]wire.Rcode{"127.0.0.1:0": wire.Refused, "127.0.0.2:0": wire.NoError} {
		if got := wire.Rcode(r.exchange(from, soa)[3] & 15); got != want {
			t.Errorf("%s: %s, want %s", from, got, want)
		}
	}
	c := config.Config{}
	if c.DeniesQueries() {
		t.Error("a configuration without a contract lets nobody ask")
	}
}

// TestContractDoors has metrics cut off whom the contract does not name, and a reload let them in.
func TestContractDoors(t *testing.T) {
	r := start(t, "metrics: {listen: \"127.0.0.1:0\"}\nexpose: {scrape: 127.0.0.2}\n")
	get := func() error {
		resp, err := (&http.Client{Timeout: patience}).Get("http://" + r.Metrics().String() + "/metrics")
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	if get() == nil {
		t.Error("metrics were read by who may not")
	}
	r.write("port53.yaml", strings.Replace(r.read("port53.yaml"), "scrape: 127.0.0.2", "scrape: 127.0.0.0/8", 1))
	if _, err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := get(); err != nil {
		t.Errorf("metrics were not read by who may: %v", err)
	}
}

// TestTerms has the contract in words, said by expose and by other keys.
func TestTerms(t *testing.T) {
	const keys = "keys: [{name: k, secret: MDEyMzQ1Njc4OWFiY2RlZg==}]\n"
	for _, c := range []struct{ text, want string }{
		{"role: authoritative\nzones: [{name: test, file: z}]\n", "ask everybody|recurse nobody|transfer nobody|update nobody|notify nobody|" +
			"control the owner of /run/port53/control.sock, its group and root|scrape this machine, at 127.0.0.1:9153"},
		{
			"role: authoritative\n" + keys + "zones: [{name: test, file: z, secondaries: [192.0.2.1], tsig: k, updates: [{key: k, names: [\"*\"]}]}, {name: b, primaries: [192.0.2.3], insecure: true}]\npolicy: {allow: [10.0.0.0/8]}\n" +
				"expose: {ask: [10.0.0.0/8, 192.0.2.9], control: nobody, scrape: nobody}\n",
			"ask 10.0.0.0/8, and the servers that zones are exchanged with (expose, port53.yaml:5:15)|recurse nobody|transfer 192.0.2.1 with key k|update key k|notify 192.0.2.3|" +
				"control nobody (expose, port53.yaml:5:49)|scrape nobody (expose, port53.yaml:5:65)",
		},
		{"role: internal-resolver\nresolver: {allow: [10.0.0.0/8]}\n", "ask 10.0.0.0/8|recurse 10.0.0.0/8|transfer nobody|update nobody|notify nobody|" +
			"control the owner of /run/port53/control.sock, its group and root|scrape this machine, at 127.0.0.1:9153"},
	} {
		conf, err := config.Parse("port53.yaml", []byte(c.text))
		if err != nil {
			t.Fatal(err)
		}
		terms, err := app.Terms(conf)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for i := range terms {
			got = append(got, strings.Join(strings.Fields(terms[i].String()), " "))
		}
		if strings.Join(got, "|") != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.text, strings.Join(got, "|"), c.want)
		}
	}
}

// TestContractFirewall has the rules of a firewall be those of the contract.
func TestContractFirewall(t *testing.T) {
	conf, err := config.Parse("port53.yaml", []byte("role: authoritative\nzones: [{name: test, file: z}]\nlisten: [192.0.2.53]\n"+
		"expose: {ask: [10.0.0.0/8], scrape: [10.9.9.9]}\nmetrics: {listen: 192.0.2.53}\n"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := app.FirewallPlan(conf)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Allow) != 1 || p.Allow[0].String() != "10.0.0.0/8" || p.Everybody || len(p.Monitors) != 1 || p.Monitors[0].String() != "10.9.9.9/32" {
		t.Errorf("%+v", p)
	}
	if conf, err = config.Parse("port53.yaml", []byte("role: authoritative\nzones: [{name: test, file: z}]\nlisten: [192.0.2.53]\nexpose: {ask: nobody}\n")); err != nil {
		t.Fatal(err)
	}
	if p, err = app.FirewallPlan(conf); err != nil || p.Everybody || len(p.Allow) > 0 {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestProxiesInPlans has the firewall let proxies in besides the clients, and the proof ask the listeners alone that
// clients ask themselves.
func TestProxiesInPlans(t *testing.T) {
	conf, err := config.Parse("port53.yaml", []byte(`role: authoritative
zones: [{name: test, file: z}]
listen: [192.0.2.53, "192.0.2.53:5353"]
proxies: [{listen: "192.0.2.53:5353", from: [203.0.113.5]}]
expose: {ask: [10.0.0.0/8]}
`))
	if err != nil {
		t.Fatal(err)
	}
	p, err := app.FirewallPlan(conf)
	if err != nil || len(p.Allow) != 2 || p.Allow[1].String() != "203.0.113.5/32" || p.Everybody {
		t.Errorf("%+v, %v", p, err)
	}
	s, err := app.ProofOf(conf)
	if err != nil || len(s.Listen) != 1 || s.Listen[0].Port() != 53 {
		t.Errorf("%+v, %v", s.Listen, err)
	}
	if conf, err = config.Parse("port53.yaml", []byte("role: authoritative\nzones: [{name: test, file: z}]\nlisten: [192.0.2.53]\n"+
		"proxies: [{listen: 192.0.2.53, from: [203.0.113.5]}]\n")); err != nil {
		t.Fatal(err)
	}
	if p, err = app.FirewallPlan(conf); err != nil || !p.Everybody || len(p.Allow) > 0 {
		t.Errorf("open to everybody: %+v, %v", p, err)
	}
}
