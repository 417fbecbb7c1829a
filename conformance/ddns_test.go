package conformance_test

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-acme/lego/v5/challenge/dns01"
	"github.com/go-acme/lego/v5/providers/dns/dnsupdate"
	"github.com/miekg/dns"

	"port53/conformance/peers"
)

// ddnsZone is the zone that all clients of TestDynamicClients change; the names that
// certificates are asked for lead into another zone.
const (
	ddnsZone = `$TTL 300
@ SOA ns admin 10 3600 600 86400 300
@ NS ns
ns A 192.0.2.1
www A 192.0.2.80
_acme-challenge.alias CNAME alias.acme.test.
`
	acmeZone = "$TTL 300\n@ SOA ns admin 10 3600 600 86400 300\n@ NS ns.dyn.test.\n"
)

// A ddns is a primary that clients change, with a key for each of them, and its secondary.
type ddns struct {
	t         *testing.T
	dir       string
	addr      netip.AddrPort
	server    *peers.Server
	secondary netip.AddrPort
	keys      map[string]*ddnsKey
}

// A ddnsKey is what port53 key new prints as JSON, as far as clients want it.
type ddnsKey struct {
	Name, Algorithm, Secret, File string
}

// ddnsClients are the names of the keys, and which algorithm each client is run with.
var ddnsClients = map[string]string{
	"xfr": "hmac-sha256", "nsupdate": "hmac-sha512", "knsupdate": "hmac-sha384", "lego": "hmac-sha256",
	"certbot": "hmac-sha512", "externaldns": "hmac-sha256", "octodns": "hmac-sha224",
}

// newDDNS makes keys as the README says, and starts the primary and the secondary.
func newDDNS(t *testing.T) *ddns {
	t.Helper()
	d := &ddns{t: t, dir: t.TempDir(), addr: freeAddr(t), secondary: freeAddr(t), keys: map[string]*ddnsKey{}}
	var list, grants []string
	for name, algorithm := range ddnsClients {
		cmd := exec.Command(subjectBinary(t, peers.Port53), "key", "new", name, "--json",
			"--algorithm", algorithm, "--output", filepath.Join("keys", name))
		cmd.Dir = d.dir
		out, err := cmd.Output()
		k := new(ddnsKey)
		if err = errors.Join(err, json.Unmarshal(out, k)); err != nil {
			t.Fatalf("key new: %v\n%s", err, out)
		}
		k.File = filepath.Join(d.dir, k.File)
		d.keys[name] = k
		list = append(list, fmt.Sprintf("{name: %s, algorithm: %s, secret_file: keys/%[1]s}", name, algorithm))
		if name != "xfr" {
			grants = append(grants, fmt.Sprintf("{key: %s, names: [\"*\"]}", name))
		}
	}
	putFile(t, d.dir, "dyn.zone", ddnsZone)
	putFile(t, d.dir, "acme.zone", acmeZone)
	keys, updates := strings.Join(list, ", "), strings.Join(grants, ", ")
	head := "role: authoritative\nlisten: [%q]\nstate_dir: %s\nmetrics: {listen: off}\ncontrol: {socket: off}\n" +
		"policy: {rate_limit: {enabled: false}}\nkeys: [" + keys + "]\nzones:\n"
	// Secondaries have a key of their own, and whoever lists the zone another.
	putFile(t, d.dir, "primary.yaml", fmt.Sprintf(head, d.addr, "state")+
		fmt.Sprintf("  - {name: dyn.test, file: dyn.zone, secondaries: [%q], tsig: xfr, ", d.secondary)+
		fmt.Sprintf("allow_transfer: [{key: externaldns}, {key: octodns}], updates: [%s]}\n", updates)+
		fmt.Sprintf("  - {name: acme.test, file: acme.zone, tsig: xfr, allow_transfer: [127.0.0.1], updates: [%s]}\n", updates))
	putFile(t, d.dir, "secondary.yaml", fmt.Sprintf(head, d.secondary, "state2")+
		fmt.Sprintf("  - {name: dyn.test, primaries: [%q], tsig: xfr, allow_transfer: [127.0.0.1]}\n", d.addr))
	d.server = d.start("primary", d.addr)
	d.start("secondary", d.secondary)
	return d
}

func (d *ddns) start(name string, addr netip.AddrPort) *peers.Server {
	d.t.Helper()
	dir := filepath.Join(d.dir, "run-"+name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		d.t.Fatal(err)
	}
	s, err := peers.Start(d.t.Context(), peers.Port53, peers.Options{
		Dir: dir, Addr: addr, Zones: []peers.Zone{{Name: "dyn.test."}},
		Command: []string{subjectBinary(d.t, peers.Port53), "serve", "--config", filepath.Join(d.dir, name+".yaml")},
	})
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(s.Stop)
	return s
}

// list returns the records of a zone by AXFR with a key, without the SOA record.
func (d *ddns) list(addr netip.AddrPort, zone, key string) ([]dns.RR, error) {
	k := d.keys[key]
	m := new(dns.Msg).SetAxfr(zone)
	m.SetTsig(k.Name+".", dns.Fqdn(k.Algorithm), 300, time.Now().Unix())
	tr := &dns.Transfer{TsigSecret: map[string]string{k.Name + ".": k.Secret}, ReadTimeout: 10 * time.Second}
	envelopes, err := tr.In(m, addr.String())
	if err != nil {
		return nil, err
	}
	var list []dns.RR
	for e := range envelopes {
		err = errors.Join(err, e.Error)
		for _, rr := range e.RR {
			if rr.Header().Rrtype != dns.TypeSOA {
				list = append(list, rr)
			}
		}
	}
	return list, err
}

// want wants records to be in a zone beside those of its file, and no others; of dyn.test
// the secondary has to have the same.
func (d *ddns) want(zone string, records ...string) {
	d.t.Helper()
	base := map[string]string{"dyn.test.": ddnsZone, "acme.test.": acmeZone}[zone]
	p := dns.NewZoneParser(strings.NewReader(base+"$ORIGIN "+zone+"\n"+strings.Join(records, "\n")+"\n"), zone, "")
	var want []string
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		if rr.Header().Rrtype != dns.TypeSOA {
			want = append(want, rr.String())
		}
	}
	if err := p.Err(); err != nil {
		d.t.Fatal(err)
	}
	slices.Sort(want)
	have := func(addr netip.AddrPort) []string {
		list, err := d.list(addr, zone, "xfr")
		if err != nil {
			return []string{err.Error()}
		}
		var texts []string
		for _, rr := range list {
			texts = append(texts, rr.String())
		}
		slices.Sort(texts)
		return texts
	}
	if got := have(d.addr); !slices.Equal(got, want) {
		d.t.Errorf("%s has\n%s\nand should have\n%s", zone, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if zone != "dyn.test." {
		return
	}
	for end := time.Now().Add(30 * time.Second); !slices.Equal(have(d.secondary), want); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			d.t.Fatalf("the secondary does not have it:\n%s", strings.Join(have(d.secondary), "\n"))
		}
	}
}

// TestDynamicClients has clients that operators use change a zone, each as it does by
// itself and with a key of its own, beside a secondary with another key. What they have
// done is there, on the secondary too, and after the server was killed.
func TestDynamicClients(t *testing.T) {
	d := newDDNS(t)
	for _, program := range []string{"nsupdate", "knsupdate"} {
		t.Run(program, func(t *testing.T) {
			if _, err := exec.LookPath(program); err != nil {
				missing(t, err)
			}
			d.t = t
			d.byHand(program)
		})
	}
	t.Run("lego", func(t *testing.T) { d.t = t; d.lego() })
	t.Run("certbot", func(t *testing.T) { d.t = t; d.certbot() })
	t.Run("external-dns", func(t *testing.T) { d.t = t; d.externalDNS() })
	t.Run("full sync", func(t *testing.T) { d.t = t; d.fullSync() })
	d.t = t
	if _, err := d.list(d.addr, "dyn.test.", "lego"); err == nil {
		t.Error("a key that may only update has transferred the zone")
	}
	d.want("acme.test.")
	before, err := d.list(d.addr, "dyn.test.", "xfr")
	if err != nil {
		t.Fatal(err)
	}
	_ = d.server.Signal(syscall.SIGKILL)
	<-d.server.Ended()
	d.start("primary", d.addr)
	after, err := d.list(d.addr, "dyn.test.", "xfr")
	if err != nil || len(before) != len(after) || len(after) < 1000 {
		t.Errorf("%v: %d records before it was killed, %d after", err, len(before), len(after))
	}
}

// byHand changes records with a program that reads commands, and is told its key as port53
// key new says.
func (d *ddns) byHand(program string) {
	run := func(commands string) {
		d.t.Helper()
		k := d.keys[program]
		with := []string{"-k", k.File}
		if program == "knsupdate" {
			with = []string{"-y", k.Algorithm + ":" + k.Name + ":" + k.Secret}
		}
		cmd := exec.Command(program, with...)
		cmd.Stdin = strings.NewReader(fmt.Sprintf("server %s %d\nzone dyn.test.\n%s\nsend\n", d.addr.Addr(), d.addr.Port(), commands))
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			d.t.Fatalf("%v\n%s", err, out)
		}
	}
	run("update add hand.dyn.test. 60 A 192.0.2.1\nupdate add Hand.dyn.test. 60 AAAA 2001:db8::1\n" +
		"update add _sip._tcp.dyn.test. 60 SRV 1 2 5060 hand.dyn.test.")
	d.want("dyn.test.", "hand 60 A 192.0.2.1", "hand 60 AAAA 2001:db8::1", "_sip._tcp 60 SRV 1 2 5060 hand")
	run("prereq yxrrset hand.dyn.test. A\nupdate delete hand.dyn.test. A\nupdate add hand.dyn.test. 30 A 192.0.2.2")
	d.want("dyn.test.", "hand 30 A 192.0.2.2", "hand 60 AAAA 2001:db8::1", "_sip._tcp 60 SRV 1 2 5060 hand")
	run("update delete hand.dyn.test.\nupdate delete _sip._tcp.dyn.test. SRV")
	d.want("dyn.test.")
}

// lego has lego answer challenges: it finds the zone by asking for SOA records, follows the
// alias that leads into another zone, and reads the key from the file that was made.
func (d *ddns) lego() {
	d.t.Setenv("LEGO_DISABLE_CNAME_SUPPORT", "false")
	o := dns01.NewOptions()
	o.RecursiveNameservers = []string{d.addr.String()}
	before := dns01.DefaultClient()
	dns01.SetDefaultClient(dns01.NewClient(o)) // else it asks whom /etc/resolv.conf names
	defer dns01.SetDefaultClient(before)
	k := d.keys["lego"]
	for _, from := range []string{"file", "environment"} {
		c := dnsupdate.NewDefaultConfig()
		c.Nameserver, c.TSIGFile, c.TTL = d.addr.String(), k.File, 60
		if from == "environment" {
			c.TSIGFile, c.TSIGKey, c.TSIGAlgorithm, c.TSIGSecret = "", k.Name+".", k.Algorithm+".", k.Secret
		}
		p, err := dnsupdate.NewDNSProviderConfig(c)
		if err != nil {
			d.t.Fatal(err)
		}
		domains := []string{"www.dyn.test", "a.b.c.dyn.test", "dyn.test", "alias.dyn.test"}
		for _, domain := range domains {
			if err := p.Present(d.t.Context(), domain, "token", "authorization of "+domain); err != nil {
				d.t.Fatalf("%s: %v", domain, err)
			}
		}
		text := func(name, domain string) string {
			return fmt.Sprintf("%s 60 TXT %q", name, dns01.GetChallengeInfo(d.t.Context(), domain, "authorization of "+domain).Value)
		}
		d.want("dyn.test.", text("_acme-challenge.www", "www.dyn.test"), text("_acme-challenge.a.b.c", "a.b.c.dyn.test"),
			text("_acme-challenge", "dyn.test"))
		d.want("acme.test.", text("alias", "alias.dyn.test"))
		for _, domain := range domains {
			if err := p.CleanUp(d.t.Context(), domain, "token", "authorization of "+domain); err != nil {
				d.t.Fatalf("%s: %v", domain, err)
			}
		}
		d.want("dyn.test.")
		d.want("acme.test.")
	}
}

// python runs a script with Debian's Python, whose modules these are, and returns what it prints.
func (d *ddns) python(script, modules string, args ...string) string {
	d.t.Helper()
	const interpreter = "/usr/bin/python3"
	if out, err := exec.Command(interpreter, "-c", "import "+modules).CombinedOutput(); err != nil {
		missing(d.t, fmt.Errorf("python modules %s: %w\n%s", modules, err, out))
	}
	cmd := exec.Command(interpreter, append([]string{"-c", script}, args...)...)
	cmd.Dir = d.dir
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		d.t.Fatalf("%v\n%s%s", err, out, complaint.String())
	}
	return string(out)
}

//go:embed testdata/certbot.py
var certbotScript string

// certbot has the authenticator of certbot answer challenges: it finds the zone by signed
// questions, of which some are about zones that are not here.
func (d *ddns) certbot() {
	k := d.keys["certbot"]
	credentials := fmt.Sprintf("dns_rfc2136_server = %s\ndns_rfc2136_port = %d\n", d.addr.Addr(), d.addr.Port()) +
		fmt.Sprintf("dns_rfc2136_name = %s\ndns_rfc2136_secret = %s\n", k.Name, k.Secret) +
		fmt.Sprintf("dns_rfc2136_algorithm = %s\n", strings.ToUpper(k.Algorithm))
	if err := os.WriteFile(filepath.Join(d.dir, "certbot.ini"), []byte(credentials), 0o600); err != nil {
		d.t.Fatal(err)
	}
	out := d.python(certbotScript, "certbot_dns_rfc2136", "perform", "certbot.ini", "www.dyn.test", "*.www.dyn.test", "dyn.test")
	var want []string
	for line := range strings.Lines(out) { // a name and its text
		f := strings.Fields(line)
		want = append(want, fmt.Sprintf("%s. 120 TXT %q", f[0], f[1]))
	}
	if len(want) != 3 {
		d.t.Fatalf("it printed %q", out)
	}
	d.want("dyn.test.", want...)
	d.python(certbotScript, "certbot_dns_rfc2136", "cleanup", "certbot.ini", "www.dyn.test", "*.www.dyn.test", "dyn.test")
	d.want("dyn.test.")
}

// An endpoint is a name with its targets, as external-dns keeps one.
type endpoint struct {
	name, typ string
	targets   []string
}

// batches sends changes as external-dns does: 50 endpoints in one message, over UDP; before
// has what each of them was, if anything.
func (d *ddns) batches(before, after []endpoint) {
	d.t.Helper()
	const most = 50
	k := d.keys["externaldns"]
	put := func(change func([]dns.RR), e endpoint) {
		for _, target := range e.targets {
			rr, err := dns.NewRR(fmt.Sprintf("%s 300 %s %s", e.name, e.typ, target))
			if err != nil {
				d.t.Fatal(err)
			}
			change([]dns.RR{rr})
		}
	}
	for at := 0; at < max(len(before), len(after)); at += most {
		m := new(dns.Msg).SetUpdate("dyn.test.")
		for n := at; n < at+most; n++ { // an update takes one away and adds another, endpoint by endpoint
			if n < len(before) {
				put(m.Remove, before[n])
			}
			if n < len(after) {
				put(m.Insert, after[n])
			}
		}
		m.SetTsig(k.Name+".", dns.Fqdn(k.Algorithm), 300, time.Now().Unix())
		c := dns.Client{Timeout: 10 * time.Second, TsigSecret: map[string]string{k.Name + ".": k.Secret}}
		r, _, err := c.Exchange(m, d.addr.String())
		if err != nil || r.Rcode != dns.RcodeSuccess {
			d.t.Fatalf("a batch of %d records: %v %v", len(m.Ns), err, r)
		}
	}
}

// externalDNS does as external-dns does with a registry of TXT records: it lists the zone
// with its own key and sends what has to change, in batches.
func (d *ddns) externalDNS() {
	endpoints := func(round int) (list []endpoint) {
		for n := range 120 {
			name := fmt.Sprintf("app%d.dyn.test", n)
			owner := `"heritage=external-dns,external-dns/owner=default,external-dns/resource=ingress/default/app"`
			e := endpoint{name, "A", []string{fmt.Sprintf("10.%d.0.%d", round, n+1), fmt.Sprintf("10.%d.1.%d", round, n+1)}}
			if n%10 == 0 {
				e = endpoint{name, "CNAME", []string{fmt.Sprintf("lb%d.example.net.", round)}}
			}
			list = append(list, e, endpoint{strings.ToLower(e.typ) + "-" + name, "TXT", []string{owner}})
		}
		return list
	}
	text := func(list []endpoint) (records []string) {
		for _, e := range list {
			for _, target := range e.targets {
				records = append(records, fmt.Sprintf("%s. 300 %s %s", e.name, e.typ, target))
			}
		}
		return records
	}
	first, second := endpoints(1), endpoints(2)
	d.batches(nil, first)
	d.want("dyn.test.", text(first)...)
	listed, err := d.list(d.addr, "dyn.test.", "externaldns")
	if err != nil || len(listed) < len(first) {
		d.t.Fatalf("with its own key it lists %d records: %v", len(listed), err)
	}
	d.batches(first, second)
	d.want("dyn.test.", text(second)...)
	d.batches(second[:100], nil)
	d.want("dyn.test.", text(second[100:])...)
	d.batches(second[100:], nil)
	d.want("dyn.test.")
}

//go:embed testdata/fullsync.py
var fullSyncScript string

// fullSync does as octoDNS does: it lists the zone, and sends all differences from what
// should be there in one message. A second run finds nothing to do.
func (d *ddns) fullSync() {
	k := d.keys["octodns"]
	sync := func(records []string) string {
		d.t.Helper()
		putFile(d.t, d.dir, "wanted.zone", strings.Join(records, "\n")+"\n")
		return strings.TrimSpace(d.python(fullSyncScript, "dns.update",
			d.addr.Addr().String(), fmt.Sprint(d.addr.Port()), "dyn.test.", k.Name, k.Algorithm, k.Secret, "wanted.zone"))
	}
	var want []string
	for n := range 1200 {
		want = append(want, fmt.Sprintf("host%d 300 A 192.0.2.%d", n, n%250))
		if n%7 == 0 {
			want = append(want, fmt.Sprintf("host%d 300 MX 10 host%d.dyn.test.", n, n+1),
				fmt.Sprintf("host%d 300 TXT \"v=spf1 -all\" \"\\\"\\\\;\"", n), fmt.Sprintf("*.w%d 60 CNAME host%[1]d.dyn.test.", n))
		}
	}
	all := func() []string { // as the script leaves what its file does not name
		return append([]string{"ns 300 A 192.0.2.1", "www 300 A 192.0.2.80", "_acme-challenge.alias 300 CNAME alias.acme.test."}, want...)
	}
	if got := sync(all()); got != fmt.Sprintf("%d added, 0 changed, 0 removed", 1200+3*172) {
		d.t.Errorf("the first run: %s", got)
	}
	d.want("dyn.test.", want...)
	before, _ := serialOf(d.addr, "dyn.test.")
	if got := sync(all()); got != "0 added, 0 changed, 0 removed" {
		d.t.Errorf("the second run: %s", got)
	}
	if after, _ := serialOf(d.addr, "dyn.test."); after != before {
		d.t.Errorf("the second run has changed the serial from %d to %d", before, after)
	}
	for n := range want {
		if strings.Contains(want[n], " A ") && n%3 == 0 {
			want[n] = strings.Replace(want[n], " 300 A 192.0.2.", " 600 A 198.51.100.", 1)
		}
	}
	want = want[200:]
	if got := sync(all()); strings.HasPrefix(got, "0 ") && strings.Contains(got, " 0 ") {
		d.t.Errorf("the third run: %s", got)
	}
	d.want("dyn.test.", want...)
}
