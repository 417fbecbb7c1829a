package conformance_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"port53/conformance/netns"
	"port53/conformance/peers"
)

// A fault is one zone with something wrong that a check has to find.
type fault struct {
	name  string
	want  []string            // the checks that warn or fail, and no others
	zone  func(string) string // changes the good zone
	nsd   func(string) string // changes what NSD has of it once more
	keys  []string            // arguments for keys, one each; nil: unsigned
	sign  []string            // arguments for signing, after those for NSEC3 without iterations
	after func(string) string // changes the signed zone
	ds    func(string) string // changes the DS records
	gone  bool                // nobody has the zone
	bare  bool                // NSD, the second server, has the unsigned file
}

const goodZone = `$TTL 3600
@ SOA ns1 host 1 14400 3600 604800 3600
@ NS ns1
@ NS ns2
ns1 A 10.1.0.1
ns2 A 10.2.0.1
@ TXT "v=spf1 -all"
_dmarc TXT "v=DMARC1; p=reject"
@ CAA 0 issue "ca.example.net"
www A 5.0.0.80
`

// plantedFaults are in the order of the catalogue.
func plantedFaults() []fault {
	add := func(lines string) func(string) string {
		return func(z string) string { return z + lines }
	}
	swap := func(old, with string) func(string) string {
		return func(z string) string {
			if !strings.Contains(z, old) {
				panic("no " + old + " in the zone")
			}
			return strings.Replace(z, old, with, 1)
		}
	}
	ecdsa := []string{"-a ECDSAP256SHA256 -f KSK", "-a ECDSAP256SHA256"}
	insecure := func(ids ...string) []string { return append(ids, "DNSSEC-CHAIN warn") }
	return []fault{
		{name: "good", keys: ecdsa},
		{name: "lame", want: insecure("DEL-LAME fail"), gone: true},
		{name: "nssync", want: insecure("DEL-NS-SYNC warn"), zone: add("@ NS ns3\nns3 A 10.3.0.1\n")},
		{name: "nsmissing", want: insecure("DEL-NS-SYNC warn"), zone: swap("@ NS ns2\n", "")},
		{name: "glue", want: insecure("DEL-GLUE fail"), zone: swap("ns2 A 10.2.0.1", "ns2 A 10.2.0.9")},
		{name: "gluemore", want: insecure("DEL-GLUE fail"), zone: add("ns2 A 10.2.0.9\n")},
		{name: "onens", want: insecure("DEL-2NS warn"), zone: swap("@ NS ns2\n", "")},
		{name: "onenet", want: insecure("DEL-2NS warn"), zone: swap("ns2 A 10.2.0.1", "ns2 A 10.1.0.1")},
		{name: "danglens", want: insecure("DEL-2NS warn", "DEL-LAME fail", "DEL-DANGLE-NS fail", "ZONE-DANGLE fail"), zone: swap("@ NS ns2\n", "@ NS ns.not-registered.\n")},
		{name: "noaddress", want: insecure("DEL-2NS warn", "DEL-LAME fail", "DEL-DANGLE-NS fail", "ZONE-DANGLE warn"), zone: swap("@ NS ns2\n", "@ NS noaddress.good.test.\n")},
		{name: "cycleone", want: insecure("DEL-CYCLE fail", "DEL-LAME fail", "DEL-2NS warn"), gone: true},
		{name: "mxalias", want: insecure("DEL-CNAME fail"), zone: add("@ MX 10 mail\nmail CNAME www\n")},
		{name: "serial", want: insecure("ZONE-SERIAL warn"), nsd: swap("host 1 ", "host 2 ")},
		{name: "serialfar", want: insecure("ZONE-SERIAL fail"), nsd: swap("host 1 ", "host 2000000000 ")},
		{name: "secondtext", want: insecure("ZONE-SAME fail"), nsd: swap("v=spf1 -all", "v=spf1 ~all")},
		{name: "secondnone", want: insecure("ZONE-SAME fail"), nsd: swap("www A 5.0.0.80\n", "")},
		{name: "secondaddress", want: insecure("ZONE-SAME warn"), nsd: swap("www A 5.0.0.80", "www A 5.0.0.81")},
		{name: "secondns", want: insecure("ZONE-SAME fail", "DEL-NS-SYNC warn"), nsd: add("@ NS ns3\nns3 A 10.3.0.1\n")},
		{name: "secondwild", want: insecure("ZONE-SAME fail"), nsd: add("* A 5.0.0.9\n")},
		{name: "secondbare", want: []string{"DNSSEC-CHAIN fail", "DNSSEC-NX fail", "ZONE-SAME fail"}, keys: ecdsa, bare: true},
		{name: "keyexpired", want: []string{"DNSSEC-CHAIN fail", "DNSSEC-EXP fail"}, keys: ecdsa, sign: []string{"-s", "now-172800", "-X", "now-3600"}},
		{name: "keysoon", want: []string{"DNSSEC-EXP warn"}, keys: ecdsa, sign: []string{"-X", "now+43200"}},
		{name: "refresh", want: insecure("ZONE-SOA warn"), zone: swap("14400", "60")},
		{name: "retry", want: insecure("ZONE-SOA warn"), zone: swap("3600 604800", "20000 604800")},
		{name: "expire", want: insecure("ZONE-SOA warn"), zone: swap("604800", "3600")},
		{name: "minimum", want: insecure("ZONE-SOA warn"), zone: swap("604800 3600", "604800 864000")},
		{name: "shortttl", want: insecure("ZONE-TTL warn"), zone: swap("@ NS ns1", "@ 5 NS ns1")},
		{name: "longttl", want: insecure("ZONE-TTL warn"), zone: func(z string) string { return strings.ReplaceAll(z, "@ NS", "@ 2000000 NS") }},
		{name: "wildprivate", want: insecure("ZONE-WILD warn"), zone: add("* A 192.168.1.1\n")},
		{name: "private", want: insecure("ZONE-PRIVATE warn"), zone: add("intranet A 192.168.1.1\n")},
		{name: "private6", want: insecure("ZONE-PRIVATE warn"), zone: add("vpn AAAA fd00::1\n")},
		{name: "loopback", want: insecure("ZONE-PRIVATE warn"), zone: add("@ A 127.0.0.1\n")},
		{name: "takeover", want: insecure("ZONE-DANGLE fail"), zone: add("blog CNAME nobody.github.io.\n")},
		{name: "unregistered", want: insecure("ZONE-DANGLE fail"), zone: add("@ MX 10 mail.not-registered.\n")},
		{name: "dangleinside", want: insecure("ZONE-DANGLE warn"), zone: add("@ MX 10 gone\n")},
		{name: "nospf", want: insecure("ZONE-MAIL warn"), zone: swap("v=spf1 -all", "nothing")},
		{name: "spfall", want: insecure("ZONE-MAIL fail"), zone: swap("-all", "+all")},
		{name: "spflong", want: insecure("ZONE-DANGLE warn", "ZONE-MAIL fail"), zone: swap("-all", strings.Repeat("include:a.example ", 11)+"-all")},
		{name: "dmarcnone", want: insecure("ZONE-MAIL warn"), zone: swap("p=reject", "p=none")},
		{name: "nodmarc", want: insecure("ZONE-MAIL warn"), zone: swap("_dmarc", "_other")},
		{name: "nocaa", want: insecure("ZONE-CAA warn"), zone: swap("@ CAA", "www CAA")},
		{name: "secret", want: insecure("ZONE-TXT warn"), zone: add("@ TXT \"aws_secret_access_key=0123456789\"\n")},
		{name: "muchtext", want: insecure("ZONE-TXT warn"), zone: func(z string) string {
			for i := range 8 {
				z += fmt.Sprintf("@ TXT \"%d %s\"\n", i, strings.Repeat("x", 200))
			}
			return z
		}},
		{name: "expired", want: []string{"DNSSEC-EXP fail", "DNSSEC-CHAIN fail", "DNSSEC-NX fail"}, keys: ecdsa, sign: []string{"-s", "20200101000000", "-e", "20200201000000"}},
		{name: "future", want: []string{"DNSSEC-EXP fail", "DNSSEC-CHAIN fail", "DNSSEC-NX fail"}, keys: ecdsa, sign: []string{"-s", "now+86400", "-e", "now+8640000"}},
		{name: "expiressoon", want: []string{"DNSSEC-EXP warn"}, keys: ecdsa, sign: []string{"-e", "now+86400"}},
		{name: "validlong", want: []string{"DNSSEC-EXP warn"}, keys: ecdsa, sign: []string{"-e", "now+31536000"}},
		{name: "nods", want: insecure(), keys: ecdsa, ds: func(string) string { return "" }},
		{name: "wrongds", want: []string{"DNSSEC-CHAIN fail", "DNSSEC-DSMISS fail"}, keys: ecdsa, ds: otherDigest},
		{name: "extrads", want: []string{"DNSSEC-DSMISS warn"}, keys: ecdsa, ds: func(ds string) string { return ds + "\n" + otherDigest(ds) }},
		{name: "sha1ds", want: []string{"DNSSEC-ALG fail"}, keys: ecdsa, ds: func(string) string { return "sha1" }},
		{name: "rsa1024", want: []string{"DNSSEC-ALG warn"}, keys: []string{"-a RSASHA256 -b 2048 -f KSK", "-a RSASHA256 -b 1024"}},
		{name: "ksk1024", want: []string{"DNSSEC-ALG fail"}, keys: []string{"-a RSASHA256 -b 1024 -f KSK", "-a RSASHA256 -b 2048"}},
		{name: "iterations", want: []string{"DNSSEC-NSEC3 warn"}, keys: ecdsa, sign: []string{"-H", "10"}},
		{name: "manyiterations", want: []string{"DNSSEC-NSEC3 fail"}, keys: ecdsa, sign: []string{"-H", "120"}},
		{name: "salt", want: []string{"DNSSEC-NSEC3 warn"}, keys: ecdsa, sign: []string{"-3", "aabbccdd"}},
		{name: "walkable", want: []string{"DNSSEC-WALK warn"}, keys: ecdsa, sign: []string{"nsec"}},
		{name: "broken", want: []string{"DNSSEC-CHAIN fail", "DNSSEC-NX fail"}, keys: ecdsa, after: breakSOA},
		{name: "largekeys", want: []string{"DNSSEC-SIZE warn"}, keys: []string{"-a RSASHA256 -b 3072 -f KSK", "-a RSASHA256 -b 3072", "-a RSASHA256 -b 3072"}},
	}
}

// breakSOA changes the serial of a signed zone, so that its signature does not hold.
func breakSOA(zone string) string {
	return regexp.MustCompile(`(?m)^(\s+)1(\s+; serial)`).ReplaceAllString(zone, "${1}2${2}")
}

// A planted is the zones with faults, served in a namespace.
type planted struct {
	run            func(func() error) error
	bin            string
	hints, anchors string // files
	list           []string
	dnssec         map[string]bool // zones that are signed
	write          func(name, text string) string
}

// plant has BIND and NSD serve zones with one fault each, below a root of their own.
func plant(t *testing.T) *planted {
	t.Helper()
	for _, program := range []string{"ip", "named", "nsd", "dig", "dnssec-keygen", "dnssec-signzone", "dnssec-dsfromkey"} {
		if _, err := peers.Find(program); err != nil {
			missing(t, err)
		}
	}
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	ns, err := netns.New()
	if err != nil {
		missing(t, err)
	}
	t.Cleanup(ns.Close)
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	var served [2][]peers.Zone
	root := ". 3600 SOA a.root. host. 1 14400 3600 604800 3600\n. 3600 NS a.root.\na.root. 3600 A 10.0.0.1\n"
	var list []string
	signed := map[string]bool{}
	for _, f := range plantedFaults() {
		list = append(list, f.name+".test.")
		signed[f.name+".test"] = f.keys != nil
		root += f.delegation()
		if f.gone {
			continue
		}
		ds := ""
		for i, change := range []func(string) string{nil, f.nsd} {
			text := goodZone
			if f.zone != nil {
				text = f.zone(text)
			}
			if change != nil {
				text = change(text)
			}
			file := write(fmt.Sprintf("%s.%d", f.name, i), text)
			if f.keys != nil && (i == 0 || !f.bare) {
				file, ds = f.signed(t, dir, file, i == 0)
			}
			served[i] = append(served[i], peers.Zone{Name: f.name + ".test.", File: file})
		}
		root += ds
	}
	root += "cycletwo.test. 3600 NS ns.cycleone.test.\n"
	signedRoot, anchor := (&fault{name: ".", keys: []string{"-a ECDSAP256SHA256 -f KSK", "-a ECDSAP256SHA256"}}).signed(t, dir, write("root", root), true)
	// BIND listens on the addresses of interfaces only.
	output(t, ns.Do, "ip", "address", "add", "10.1.0.1/32", "dev", "lo")
	for _, s := range []struct {
		kind, addr string
		zones      []peers.Zone
	}{{peers.NSD, "10.0.0.1:53", []peers.Zone{{Name: ".", File: signedRoot}}}, {peers.BIND, "10.1.0.1:53", served[0]}, {peers.NSD, "10.2.0.1:53", served[1]}} {
		start(t, s.kind, peers.Options{Addr: netip.MustParseAddrPort(s.addr), Zones: s.zones, Run: ns.Do})
	}
	hints := write("hints", ". 3600 NS a.root.\na.root. 3600 A 10.0.0.1\n")
	return &planted{run: ns.Do, bin: bin, hints: hints, anchors: write("anchors", anchor), list: list, dnssec: signed, write: write}
}

// otherDigest returns a DS record with a digest that differs in its last octet.
func otherDigest(ds string) string {
	if strings.HasSuffix(ds, "00") {
		return ds[:len(ds)-2] + "01"
	}
	return ds[:len(ds)-2] + "00"
}

// zoneChecks returns the ids of the checks that look at zones.
func zoneChecks(t *testing.T, run func(func() error) error, bin string) string {
	t.Helper()
	var ids []string
	for line := range strings.Lines(output(t, run, bin, "check", "list")) {
		if id := strings.Fields(line)[0]; strings.HasPrefix(id, "DEL-") || strings.HasPrefix(id, "ZONE-") || strings.HasPrefix(id, "DNSSEC-") {
			ids = append(ids, id)
		}
	}
	return strings.Join(ids, ",")
}

// TestPlantedFaults wants check to find the fault of each zone and no other.
func TestPlantedFaults(t *testing.T) {
	p := plant(t)
	run, bin, list := p.run, p.bin, p.list
	began := time.Now()
	reports := output(t, run, bin, "check", "--file", p.write("list", strings.Join(list, "\n")), "--roots", p.hints, "--anchors", p.anchors, "--only", zoneChecks(t, run, bin), "--ndjson", "--timeout", "1s")
	t.Logf("%d zones in %v", len(list), time.Since(began).Round(time.Millisecond))
	found := map[string][]finding{}
	dec := json.NewDecoder(strings.NewReader(reports))
	for dec.More() {
		var r struct {
			Target string
			Checks []finding
		}
		if err := dec.Decode(&r); err != nil {
			t.Fatal(err)
		}
		found[r.Target] = r.Checks
	}
	commands := 0
	for _, f := range plantedFaults() {
		var got []string
		for _, c := range found[f.name+".test."] {
			// Nobody answers for addresses in this laboratory.
			if c.State != "warn" && c.State != "fail" || c.ID == "ZONE-PTR" {
				continue
			}
			got = append(got, c.ID+" "+c.State)
			// What a finding says, its command shows to whoever doubts it.
			if strings.HasPrefix(c.Evidence.Command, "dig @") && !f.gone {
				commands++
				if out := output(t, run, "sh", "-c", c.Evidence.Command); !strings.Contains(out, "status: ") {
					t.Errorf("%s: %s prints\n%s", f.name, c.Evidence.Command, out)
				}
			} else if c.Evidence.Command == "" {
				t.Errorf("%s: %s has no command", f.name, c.ID)
			}
		}
		slices.Sort(got)
		got = slices.Compact(got)
		want := slices.Sorted(slices.Values(f.want))
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", f.name, got, want)
			for _, c := range found[f.name+".test."] {
				if c.State != "pass" {
					t.Logf("  %s %s: %s", c.State, c.ID, c.Detail)
				}
			}
		}
	}
	t.Logf("%d faults, %d commands", len(list)-1, commands)
}

// readReport reads the one report of a document that check --json printed.
func readReport(document []byte, into any) error {
	var d struct{ Reports []json.RawMessage }
	if err := json.Unmarshal(document, &d); err != nil {
		return err
	}
	if len(d.Reports) != 1 {
		return fmt.Errorf("%d reports", len(d.Reports))
	}
	return json.Unmarshal(d.Reports[0], into)
}

type finding struct {
	ID, State, Severity, Detail string
	Evidence                    struct{ Command string }
}

// delegation returns the lines of the root about the zone, without DS.
func (f *fault) delegation() string {
	z := f.name + ".test."
	glue := func(addr1, addr2 string) string {
		return fmt.Sprintf("%s 3600 NS ns1.%[1]s\n%[1]s 3600 NS ns2.%[1]s\nns1.%[1]s 3600 A %[2]s\nns2.%[1]s 3600 A %[3]s\n", z, addr1, addr2)
	}
	switch f.name {
	case "onens":
		return fmt.Sprintf("%s 3600 NS ns1.%[1]s\nns1.%[1]s 3600 A 10.1.0.1\n", z)
	case "onenet":
		return glue("10.1.0.1", "10.1.0.1")
	case "danglens":
		return fmt.Sprintf("%s 3600 NS ns1.%[1]s\nns1.%[1]s 3600 A 10.1.0.1\n%[1]s 3600 NS ns.not-registered.\n", z)
	case "noaddress":
		return fmt.Sprintf("%s 3600 NS ns1.%[1]s\nns1.%[1]s 3600 A 10.1.0.1\n%[1]s 3600 NS noaddress.good.test.\n", z)
	case "cycleone":
		return z + " 3600 NS ns.cycletwo.test.\n"
	}
	return glue("10.1.0.1", "10.2.0.1")
}

// signed signs a zone with new keys, or with those of before, and returns its file and
// the DS records for the parent.
func (f *fault) signed(t *testing.T, dir, file string, fresh bool) (signed, ds string) {
	t.Helper()
	zone := f.name
	if zone != "." {
		zone += ".test."
	}
	keys := filepath.Join(dir, "keys-"+strings.Trim(f.name, ".")+"-")
	here := func(run func() error) error { return run() }
	if fresh {
		if err := os.Mkdir(keys, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, k := range f.keys {
			output(t, here, "dnssec-keygen", append(append([]string{"-q", "-K", keys}, strings.Fields(k)...), zone)...)
		}
	}
	args := []string{"-S", "-K", keys, "-d", keys, "-o", zone, "-f", file + ".signed", "-N", "keep", "-P"}
	switch {
	case slices.Equal(f.sign, []string{"nsec"}) || zone == ".":
	case slices.Contains(f.sign, "-3"):
		args = append(args, slices.Concat([]string{"-H", "0"}, f.sign)...)
	case slices.Contains(f.sign, "-H"):
		args = append(args, slices.Concat([]string{"-3", "-"}, f.sign)...)
	default:
		args = append(args, slices.Concat([]string{"-3", "-", "-H", "0"}, f.sign)...)
	}
	output(t, here, "dnssec-signzone", append(args, file)...)
	signed = file + ".signed"
	if f.after != nil {
		text, err := os.ReadFile(signed)
		if err != nil {
			t.Fatal(err)
		}
		changed := f.after(string(text))
		if changed == string(text) {
			t.Fatalf("%s: nothing was changed", f.name)
		}
		if err := os.WriteFile(signed, []byte(changed), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	digest := "-2"
	if f.ds != nil && f.ds("00") == "sha1" {
		digest = "-1"
	}
	private, err := filepath.Glob(keys + "/K*.key")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range private {
		text, err := os.ReadFile(k)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte("DNSKEY 257")) {
			ds += strings.TrimSpace(strings.Replace(output(t, here, "dnssec-dsfromkey", digest, k), "IN DS", "3600 IN DS", 1))
		}
	}
	if f.ds != nil && digest == "-2" {
		ds = f.ds(ds)
	}
	return signed, ds + "\n"
}

// output runs a command and returns what it prints. What it finds is no failure.
func output(t *testing.T, run func(func() error) error, name string, args ...string) string {
	t.Helper()
	path := name
	if !strings.Contains(name, "/") && name != "sh" {
		var err error
		if path, err = peers.Find(name); err != nil {
			missing(t, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var out, complaints bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := run(cmd.Start); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil && out.Len() == 0 {
		t.Fatalf("%s %v: %v\n%s", name, args, err, complaints.String())
	}
	return out.String()
}

// TestOthersAgree has Zonemaster and DNSViz look at the same zones, where they are
// installed: what they find and do not find in the good zone has to be among what check
// finds, in the same chapter of its catalogue. They look at less, so that the reverse need
// not hold.
func TestOthersAgree(t *testing.T) {
	tools := map[string]func(p *planted, zone string) map[string]bool{}
	if path, err := exec.LookPath("zonemaster-cli"); err == nil {
		tools["Zonemaster"] = func(p *planted, zone string) map[string]bool {
			var said []struct{ TestCase string }
			text := output(t, p.run, path, "--hints", p.hints, "--no-ipv6", "--json", "--level", "WARNING", zone)
			if err := json.Unmarshal([]byte(text), &said); err != nil {
				t.Errorf("%s: %v: %.200s", zone, err, text)
			}
			found := map[string]bool{}
			for _, x := range said {
				if x.TestCase != "UNSPECIFIED" { // that it stops
					found[x.TestCase] = true
				}
			}
			return found
		}
	}
	if path, err := exec.LookPath("dnsviz"); err == nil {
		code := regexp.MustCompile(`"code": "([A-Z0-9_]+)"`)
		tools["DNSViz"] = func(p *planted, zone string) map[string]bool {
			if !strings.HasPrefix(zone, "good") && !p.dnssec[zone] {
				return nil // it takes long, and is about DNSSEC
			}
			found := map[string]bool{}
			text := output(t, p.run, "sh", "-c", fmt.Sprintf("%s probe -4 -A -a . -x .+:a.root=10.0.0.1 %s 2>/dev/null | %[1]s grok -t %[3]s -l warning; echo", path, zone, p.anchors))
			for _, m := range code.FindAllStringSubmatch(text, -1) {
				found["DNSSEC "+m[1]] = true
			}
			return found
		}
	}
	if len(tools) == 0 {
		t.Skip("missing: neither zonemaster-cli nor dnsviz is installed")
	}
	p := plant(t)
	for name, look := range tools {
		t.Run(name, func(t *testing.T) {
			usual := look(p, "good.test")
			var mu sync.Mutex
			agree, cases := 0, 0
			var wg sync.WaitGroup
			slots := make(chan struct{}, 4) // each is a program of its own
			for _, f := range plantedFaults()[1:] {
				slots <- struct{}{}
				wg.Go(func() {
					defer func() { <-slots }()
					for c := range look(p, f.name+".test") {
						if usual[c] {
							continue
						}
						mu.Lock()
						cases++
						signed := strings.HasPrefix(c, "DNSSEC")
						if slices.ContainsFunc(f.want, func(w string) bool { return strings.HasPrefix(w, "DNSSEC") == signed }) {
							agree++
							t.Logf("%s: %s, and check finds %v", f.name, c, f.want)
						} else {
							t.Errorf("%s: it finds %s, and check %v", f.name, c, f.want)
						}
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			t.Logf("check agrees with %d of %d", agree, cases)
			if cases == 0 {
				t.Error("it finds nothing: is it run rightly?")
			}
		})
	}
}

// asTheyCome are the servers that Debian has, with no more configuration than where to
// listen and what to serve.
func asTheyCome(dir, zone string) map[string][]string {
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			panic(err)
		}
		return path
	}
	state := func(name string) string {
		path := filepath.Join(dir, name+".d")
		if err := os.MkdirAll(path, 0o777); err != nil {
			panic(err)
		}
		return path
	}
	pdns := state("pdns")
	named := filepath.Join(pdns, "named.conf")
	text := fmt.Sprintf("zone \"good.test\" { type native; file %q; };\n", zone)
	if err := os.WriteFile(named, []byte(text), 0o644); err != nil {
		panic(err)
	}
	if err := os.WriteFile(filepath.Join(pdns, "pdns.conf"), []byte("launch=bind\nbind-config="+named+"\nlocal-address=10.9.4.1\nsocket-dir="+pdns+"\nsetuid=\nsetgid=\ndaemon=no\nguardian=no\n"), 0o644); err != nil {
		panic(err)
	}
	return map[string][]string{
		"named 10.9.1.1":       {"-f", "-c", file("named.conf", fmt.Sprintf("options { directory %q; managed-keys-directory %[1]q; listen-on { 10.9.1.1; }; listen-on-v6 { none; }; pid-file none; session-keyfile none; };\ncontrols {};\nzone \"good.test\" { type primary; file %q; };\n", state("named"), zone))},
		"nsd 10.9.2.1":         {"-d", "-c", file("nsd.conf", fmt.Sprintf("server:\n  ip-address: 10.9.2.1\n  username: \"\"\n  chroot: \"\"\n  pidfile: \"\"\n  zonesdir: \"/\"\n  xfrdfile: \"%s/xfrd\"\n  xfrdir: \"%[1]s\"\n  zonelistfile: \"%[1]s/list\"\nzone:\n  name: good.test\n  zonefile: %s\n", state("nsd"), zone))},
		"knotd 10.9.3.1":       {"-c", file("knot.conf", fmt.Sprintf("server:\n  listen: 10.9.3.1@53\n  rundir: %s\ndatabase:\n  storage: %[1]s\nzone:\n  - domain: good.test\n    file: %s\n    zonefile-load: whole\n", state("knot"), zone))},
		"pdns_server 10.9.4.1": {"--config-dir=" + pdns},
		"unbound 10.9.5.1":     {"-d", "-c", file("unbound.conf", fmt.Sprintf("server:\n  interface: 10.9.5.1\n  username: \"\"\n  chroot: \"\"\n  pidfile: \"\"\n  directory: %q\nremote-control:\n  control-enable: no\n", state("unbound")))},
		"dnsmasq 10.9.6.1":     {"-k", "-C", file("dnsmasq.conf", "\n"), "--listen-address=10.9.6.1", "--bind-interfaces", "--no-resolv", "--no-hosts", "-u", "root", "-x", filepath.Join(dir, "dnsmasq.pid")},
	}
}

// TestDefaultServers has check look at servers as they come, and does what a reader of
// the report would: give the command of each finding to a shell. dig has to show the
// answer that the finding is about.
func TestDefaultServers(t *testing.T) {
	for _, program := range []string{"ip", "dig"} {
		if _, err := peers.Find(program); err != nil {
			missing(t, err)
		}
	}
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	ns, err := netns.New()
	if err != nil {
		missing(t, err)
	}
	t.Cleanup(ns.Close)
	dir := t.TempDir()
	zone := filepath.Join(dir, "good.zone")
	if err := os.WriteFile(zone, []byte("$ORIGIN good.test.\n"+goodZone), 0o644); err != nil {
		t.Fatal(err)
	}
	for what, args := range asTheyCome(dir, zone) {
		program, addr, _ := strings.Cut(what, " ")
		t.Run(program, func(t *testing.T) {
			path, err := peers.Find(program)
			if err != nil {
				missing(t, err)
			}
			output(t, ns.Do, "ip", "address", "add", addr+"/32", "dev", "lo")
			cmd := exec.Command(path, args...)
			var said bytes.Buffer
			cmd.Stdout, cmd.Stderr = &said, &said
			if err := ns.Do(cmd.Start); err != nil {
				t.Fatal(err)
			}
			defer func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
				if t.Failed() {
					t.Logf("it said:\n%s", said.String())
				}
			}()
			for end := time.Now().Add(startTimeout); ; time.Sleep(50 * time.Millisecond) {
				if text := output(t, ns.Do, bin, "check", addr, "--only", "SRV-AMP", "--plain", "--timeout", "200ms"); strings.Contains(text, "\topen\tudp-response") {
					break
				}
				if time.Now().After(end) {
					t.Fatal("it does not answer")
				}
			}
			var r struct {
				Checks  []finding
				Summary map[string]int
			}
			args := []string{"check", addr, "--json", "--timeout", "1s", "--resolver", addr}
			if program != "unbound" && program != "dnsmasq" {
				args = append(args, "--zone", "good.test")
			}
			if err := readReport([]byte(output(t, ns.Do, bin, args...)), &r); err != nil {
				t.Fatal(err)
			}
			t.Logf("%v", r.Summary)
			for _, f := range r.Checks {
				if f.State == "unknown" {
					t.Logf("%s %s: %s", f.State, f.ID, f.Detail)
				}
				if f.State != "fail" && f.State != "warn" {
					continue
				}
				t.Logf("%s %s %s: %s\n%s", f.State, f.Severity, f.ID, f.Detail, f.Evidence.Command)
				if !strings.HasPrefix(f.Evidence.Command, "dig ") || strings.Contains(f.Detail, "no answer") {
					continue // of other tools, and of silence, there is no more to be seen than that
				}
				if text := output(t, ns.Do, "sh", "-c", f.Evidence.Command+" 2>&1"); !strings.Contains(text, "status: ") && !strings.Contains(text, "XFR size") {
					t.Errorf("%s prints\n%s", f.Evidence.Command, text)
				}
			}
		})
	}
}

// TestChecksItself has check look at port53 in each role, as a stranger with all the time
// there is would: nothing of severity medium or above may be wrong with its defaults.
func TestChecksItself(t *testing.T) {
	for _, program := range []string{"ip", "dnssec-keygen", "dnssec-signzone", "dnssec-dsfromkey"} {
		if _, err := peers.Find(program); err != nil {
			missing(t, err)
		}
	}
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	ns, err := netns.New()
	if err != nil {
		missing(t, err)
	}
	t.Cleanup(ns.Close)
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	// The name that validating resolvers must not answer for is broken here as well.
	own := fault{name: ".", keys: []string{"-a ECDSAP256SHA256 -f KSK", "-a ECDSAP256SHA256"}, after: func(zone string) string {
		return strings.Replace(zone, "192.0.2.66", "192.0.2.67", 1)
	}}
	root, anchor := own.signed(t, dir, write("root.zone", `. 3600 SOA a.root. host. 1 14400 3600 604800 3600
. 3600 NS a.root.
a.root. 3600 A 10.0.0.1
www.example.com. 3600 A 5.0.0.80
dnssec-failed.org. 3600 A 192.0.2.66
`), true)
	hints := write("hints", ". 3600 NS a.root.\na.root. 3600 A 10.0.0.1\n")
	zone := write("good.zone", goodZone)
	anchors := write("anchors", anchor)
	resolver := func(more string) string {
		return fmt.Sprintf("resolver: {root_hints: %s, trust_anchors: %s%s}\n", hints, anchors, more)
	}
	serve := func(name, config string) {
		t.Helper()
		own := filepath.Join(dir, name)
		if err := os.Mkdir(own, 0o755); err != nil {
			t.Fatal(err)
		}
		file := write(name+"/port53.yaml", config+"metrics: {listen: off}\ncontrol: {socket: control.sock}\nstate_dir: state\n")
		cmd := exec.Command(bin, "serve", "--config", file)
		var said bytes.Buffer
		cmd.Stderr = &said
		if err := ns.Do(cmd.Start); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			if t.Failed() {
				t.Logf("%s said:\n%s", name, said.String())
			}
		})
	}
	serve("root", fmt.Sprintf("role: authoritative\nlisten: [10.0.0.1]\nzones: [{name: ., file: %s}]\n", root))
	serve("authoritative", fmt.Sprintf("role: authoritative\nlisten: [10.0.1.1]\nzones: [{name: good.test, file: %s}]\n", zone))
	serve("internal", "role: internal-resolver\nlisten: [10.0.2.1]\n"+resolver(", allow: [10.0.0.0/8]"))
	serve("public", "role: public-resolver\nlisten: [10.0.3.1]\n"+resolver(""))
	serve("controller", fmt.Sprintf("role: domain-controller\nlisten: [10.0.4.1]\nzones: [{name: good.test, file: %s}]\n", zone)+resolver(", allow: [10.0.0.0/8]"))
	for _, c := range []struct {
		role, addr string
		args       []string
	}{
		{"authoritative", "10.0.1.1", []string{"--zone", "good.test"}},
		// The keys of the Internet's root are not those of this one.
		{"internal", "10.0.2.1", []string{"--skip", "RES-TA"}},
		{"controller", "10.0.4.1", []string{"--skip", "RES-TA"}},
		// To resolve for strangers is what it is for.
		{"public", "10.0.3.1", []string{"--as-stranger", "--skip", "RES-OPEN,RES-TA"}},
	} {
		t.Run(c.role, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"check", c.addr, "--active", "--json", "--resolver", "10.0.0.1"}, c.args...)
			var r struct {
				Checks  []finding
				Summary map[string]int
			}
			var text string
			for end := time.Now().Add(startTimeout); ; time.Sleep(50 * time.Millisecond) {
				if text = output(t, ns.Do, bin, "check", c.addr, "--only", "SRV-AMP", "--plain", "--timeout", "200ms"); strings.Contains(text, "\topen\tudp-response") || time.Now().After(end) {
					break
				}
			}
			if err := readReport([]byte(output(t, ns.Do, bin, args...)), &r); err != nil {
				t.Fatal(err)
			}
			for _, f := range r.Checks {
				if (f.State == "fail" || f.State == "warn") && f.Severity != "low" && f.Severity != "info" {
					t.Errorf("%s %s %s: %s", f.State, f.Severity, f.ID, f.Detail)
				} else if f.State == "unknown" {
					t.Logf("%s: %s", f.ID, f.Detail)
				}
			}
			if r.Summary["pass"] < 15 {
				t.Errorf("only %d checks pass: %v", r.Summary["pass"], r.Summary)
			}
			t.Logf("%v", r.Summary)
		})
	}
}
