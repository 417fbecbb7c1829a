package conformance_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"port53/conformance/netns"
	"port53/conformance/peers"
	"port53/conformance/probe"
)

// otherResolver writes the configuration of a resolver, and returns how it is started.
func (in *internet) otherResolver(t *testing.T, program, dir, host string) []string {
	t.Helper()
	path := found(t, program)
	anchor, err := os.ReadFile(in.anchor)
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(anchor))
	switch program {
	case "kresd":
		conf := filepath.Join(dir, "conf")
		write(t, conf, fmt.Sprintf("net.listen('%s', 53, { kind = 'dns' })\nnet.ipv6 = false\ncache.size = 10 * MB\nmodules.load('hints')\nhints.root_file('%s')\n"+
			"modules.unload('priming')\nmodules.unload('ta_signal_query')\ntrust_anchors.remove('.')\ntrust_anchors.add('. IN DS %s %s %s %s')\n", host, in.hints, f[3], f[4], f[5], f[6]))
		return []string{path, "-n", "-q", "-c", conf, dir}
	case "pdns_recursor":
		write(t, filepath.Join(dir, "ta.lua"), fmt.Sprintf("clearTA('.')\naddTA('.', '%s %s %s %s')\n", f[3], f[4], f[5], f[6]))
		write(t, filepath.Join(dir, "recursor.conf"), fmt.Sprintf("local-address=%s\nallow-from=0.0.0.0/0\nsocket-dir=%s\nsetuid=\nsetgid=\ndaemon=no\nsecurity-poll-suffix=\nthreads=1\nhint-file=%s\n"+
			"dnssec=validate\nlua-config-file=%[2]s/ta.lua\nquery-local-address=%[1]s\nserve-rfc1918=no\ndont-query=\naggressive-nsec-cache-size=0\n", host, dir, in.hints))
		return []string{path, "--config-dir=" + dir}
	}
	t.Fatalf("%s is no resolver that is known here", program)
	return nil
}

// signedHere are zones that port53 signs, by the policies that it signs them by.
var signedHere = map[string]string{
	"default": "", "split": "keys: split, algorithm: ed25519", "large": "algorithm: ecdsap384sha384, denial: nsec3, zonemd: true",
	"hashed": "denial: nsec3", "optout": "denial: nsec3-opt-out, keys: split", "rsa": "algorithm: rsasha256, denial: nsec3", "compact": "denial: compact",
}

// signedHereText is what is in each of them.
const signedHereText = `$TTL 300
@ SOA ns1 admin 1 7200 3600 1209600 300
@ NS ns1
@ MX 10 www
ns1 A %s
www A 192.0.2.80
www AAAA 2001:db8::80
alias CNAME www
old DNAME ent
*.wild TXT "any"
*.walias CNAME www
a.leaf.ent A 192.0.2.81
plain NS ns.plain
ns.plain A 192.0.2.82
sub.in.deep NS ns.plain
secure NS ns.plain
secure DS 4711 13 2 5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A
odd TYPE65280 \# 3 010203
`

// TestSignedAnswers has port53 sign the root and zones below it, by every policy, and five
// resolvers validate answers of every kind from there.
func TestSignedAnswers(t *testing.T) {
	if os.Getuid() != 0 {
		missing(t, errors.New("root, for a network namespace"))
	}
	ns, err := netns.New()
	if err != nil {
		missing(t, err)
	}
	defer ns.Close()
	for _, addr := range []string{"10.53.2.1", "10.53.1.3"} {
		if err := ns.Do(exec.Command("ip", "address", "add", addr+"/32", "dev", "lo").Run); err != nil {
			t.Fatal(err)
		}
	}
	in := signedInternet(t, ns)
	for i, program := range []string{"unbound", "named", "kresd", "pdns_recursor", "port53"} {
		t.Run(program, func(t *testing.T) {
			c := in.resolver(t, program, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 53, 1, byte(2 + i)}), 53))
			for name := range signedHere {
				for _, q := range signedQuestions(name) {
					m, err := c.Ask(&probe.Question{Name: probe.MustName(q.name), Type: q.typ, ID: 7, RD: true, EDNS: true, DO: true, AD: true, Size: 1232, TCP: true})
					switch {
					case err != nil:
						t.Errorf("%s %s: %v", q.name, probe.TypeText(q.typ), err)
					case m.Rcode != q.rcode || m.AD != q.secure:
						t.Errorf("%s %s: %v, AD %v; want %v, AD %v", q.name, probe.TypeText(q.typ), m.Rcode, m.AD, q.rcode, q.secure)
					}
				}
			}
		})
	}
}

// A signedQuestion is a question, and what a validator says.
type signedQuestion struct {
	name   string
	typ    uint16
	rcode  int
	secure bool
}

// signedQuestions are questions for what is in a zone, and what is not.
func signedQuestions(zone string) []signedQuestion {
	optOut := zone == "optout" // there may be unsigned delegations where nothing is
	list := []signedQuestion{
		{"", probe.TypeSOA, probe.NoError, true},
		{"", probe.TypeDNSKEY, probe.NoError, true},
		{"", probe.TypeMX, probe.NoError, true},
		{"", probe.TypeDS, probe.NoError, true},
		{"", probe.TypeTXT, probe.NoError, true},
		{"www.", probe.TypeA, probe.NoError, true},
		{"www.", probe.TypeTXT, probe.NoError, true},
		{"alias.", probe.TypeA, probe.NoError, true},
		{"a.leaf.ent.", probe.TypeA, probe.NoError, true},
		{"ent.", probe.TypeA, probe.NoError, true},
		{"leaf.ent.", probe.TypeTXT, probe.NoError, true},
		{"a.leaf.old.", probe.TypeA, probe.NoError, true},
		{"secure.", probe.TypeDS, probe.NoError, true},
		{"plain.", probe.TypeDS, probe.NoError, !optOut},
		{"sub.in.deep.", probe.TypeDS, probe.NoError, !optOut},
		{"odd.", 65280, probe.NoError, true},
		{"nothing.", probe.TypeA, probe.NXDomain, !optOut},
		{"a.b.nothing.", probe.TypeTXT, probe.NXDomain, !optOut},
		{"x.leaf.ent.", probe.TypeA, probe.NXDomain, !optOut},
		{"any.wild.", probe.TypeTXT, probe.NoError, !optOut},
		{"a.b.wild.", probe.TypeTXT, probe.NoError, !optOut},
		{"any.wild.", probe.TypeA, probe.NoError, !optOut},
	}
	if !optOut { // PowerDNS Recursor sets AD there
		list = append(list, signedQuestion{"any.walias.", probe.TypeA, probe.NoError, true})
	}
	for i := range list {
		if zone == "compact" && list[i].rcode == probe.NXDomain {
			list[i].rcode = probe.NoError // the proof says that the name is there, and nothing at it
		}
		list[i].name += zone + "."
	}
	return list
}

// signedInternet starts port53 with the zones and, once it has their keys, the root.
func signedInternet(t *testing.T, ns *netns.Namespace) *internet {
	t.Helper()
	const addr = "10.53.2.1"
	in := &internet{ns: ns, dir: t.TempDir()}
	in.hints, in.anchor = filepath.Join(in.dir, "hints"), filepath.Join(in.dir, "anchor")
	write(t, in.hints, ". 3600 NS ns1.\nns1. 3600 A "+addr+"\n")
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	policies, zones := "", ""
	for name, policy := range signedHere {
		file := filepath.Join(in.dir, name+".zone")
		write(t, file, fmt.Sprintf(signedHereText, addr))
		if name == "default" {
			zones += fmt.Sprintf("  - {name: %s, file: %s, dnssec: {sign: true}}\n", name, file)
			continue
		}
		policies += fmt.Sprintf("  - {name: %s, %s}\n", name, policy)
		zones += fmt.Sprintf("  - {name: %s, file: %s, dnssec: {policy: %[1]s}}\n", name, file)
	}
	config := func(root string) string { return "dnssec_policies:\n" + policies + "zones:\n" + zones + root }
	s := start(t, peers.Port53, peers.Options{Addr: netip.MustParseAddrPort(addr + ":53"), Config: config(""), Run: ns.Do, Binary: bin, Unready: true})
	file := s.Conf
	ds := func(zone string) string {
		out := ""
		for deadline := time.Now().Add(startTimeout); out == ""; {
			b, err := exec.Command(bin, "zone", "ds", "--config", file, zone).Output() // that it is early goes to stderr
			switch {
			case err == nil:
				out = string(b)
			case time.Now().After(deadline):
				t.Fatalf("no keys of %s: %s", zone, b)
			default:
				time.Sleep(20 * time.Millisecond) // a key file is what tells that it is there
			}
		}
		return out
	}
	root := ". 300 IN SOA ns1. admin. 1 7200 3600 1209600 300\n. 300 IN NS ns1.\nns1. 300 IN A " + addr + "\n"
	for name := range signedHere {
		root += fmt.Sprintf("%s. 300 IN NS ns1.%[1]s.\nns1.%[1]s. 300 IN A %s\n", name, addr) + strings.ReplaceAll(ds(name), " IN DS ", " 300 IN DS ")
	}
	write(t, filepath.Join(in.dir, "root.zone"), root)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, string(text)+fmt.Sprintf("  - {name: ., file: %s, dnssec: {sign: true}}\n", filepath.Join(in.dir, "root.zone")))
	if err := s.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	write(t, in.anchor, strings.Replace(ds("."), ". IN DS ", ". 3600 DS ", 1))
	return in
}
