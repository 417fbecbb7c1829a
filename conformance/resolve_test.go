package conformance_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"port53/conformance/netns"
	"port53/conformance/peers"
	"port53/conformance/probe"
	"port53/conformance/zonegen"
)

// TestResolve has port53 resolve in a small internet whose servers are NSD, Knot and
// BIND, beside Unbound and BIND as resolvers, and compares what the three of them say:
// RCODE, AD, and the answer. Where the two others agree, port53 has to agree as well.
func TestResolve(t *testing.T) {
	if os.Getuid() != 0 {
		missing(t, errors.New("root, for a network namespace"))
	}
	if _, err := zonegen.Signer(); err != nil {
		missing(t, err)
	}
	ns, err := netns.New()
	if err != nil {
		missing(t, err)
	}
	defer ns.Close()
	net := newInternet(t, ns)
	subject := net.resolver(t, "port53", netip.MustParseAddrPort("10.53.1.1:53"))
	others := []*probe.Client{
		net.resolver(t, "unbound", netip.MustParseAddrPort("10.53.1.2:53")),
		net.resolver(t, "named", netip.MustParseAddrPort("10.53.1.3:53")),
	}
	asked, compared, wrong := 0, 0, 0
	secure, bogus := 0, 0
	for _, q := range net.questions {
		asked++
		got := resolved(t, subject, q)
		a, b := resolved(t, others[0], q), resolved(t, others[1], q)
		if strings.HasPrefix(got, "NOERROR AD") || strings.HasPrefix(got, "NXDOMAIN AD") {
			secure++
		}
		if strings.HasPrefix(got, "SERVFAIL") {
			bogus++
		}
		if a != b {
			if got != a && got != b {
				t.Logf("three opinions of %v:\nport53: %s\nunbound: %s\nnamed: %s", q, got, a, b)
			}
			continue
		}
		compared++
		if got != a {
			if wrong++; wrong <= 20 {
				t.Errorf("%v:\nport53: %s\nothers: %s", q, got, a)
			}
		}
	}
	t.Logf("%d questions, %d on which the others agree, %d wrong; %d secure, %d failed", asked, compared, wrong, secure, bogus)
	if compared < asked*8/10 || secure < asked/4 || bogus == 0 {
		t.Errorf("the laboratory is not what it should be")
	}
}

// resolved asks over UDP, and over TCP where that is needed, and returns what matters of
// the reply as text.
func resolved(t *testing.T, c *probe.Client, q probe.Question) string {
	t.Helper()
	return saidTo(c, q)
}

func saidTo(c *probe.Client, q probe.Question) string {
	m, err := c.Ask(&q)
	if err == nil && m.TC {
		q.TCP = true
		m, err = c.Ask(&q)
	}
	if err != nil {
		return err.Error()
	}
	text := probe.RcodeText(m.Rcode)
	if m.AD {
		text += " AD"
	}
	if m.Rcode == probe.ServFail {
		return text
	}
	var lines []string
	for _, r := range m.Answer {
		if r.Type == probe.TypeRRSIG {
			continue
		}
		lines = append(lines, fmt.Sprintf("%x %s %x", r.Owner, probe.TypeText(r.Type), r.Data))
	}
	slices.Sort(lines)
	return strings.Join(append([]string{text}, slices.Compact(lines)...), "\n  ")
}

// An internet is zones on real servers.
type internet struct {
	ns        *netns.Namespace
	dir       string
	hints     string
	anchor    string
	dns64     string // the prefix with which resolvers make addresses; empty: none are made
	policies  []policyZone
	limited   bool // resolvers have a gigabyte of memory at most
	questions []probe.Question
}

// A place is a zone of the internet and who serves it.
type place struct {
	zone   *zonegen.Zone
	server string // of servers
	ds     string // how the parent vouches: good, wrong, none
}

// internetServers are the hosts, by what they run.
var internetServers = map[string]struct{ kind, addr string }{
	"one":   {peers.Knot, "10.53.0.1"},
	"two":   {peers.NSD, "10.53.0.2"},
	"three": {peers.BIND, "10.53.0.3"},
}

// newInternet writes and signs the zones, from the leaves up, and starts the servers.
func newInternet(t *testing.T, ns *netns.Namespace) *internet {
	t.Helper()
	in := &internet{ns: ns, dir: t.TempDir()}
	// BIND listens on what interfaces have, and not on what merely is local.
	for _, addr := range []string{internetServers["three"].addr, "10.53.1.3"} {
		if err := ns.Do(exec.Command("ip", "address", "add", addr+"/32", "dev", "lo").Run); err != nil {
			t.Fatal(err)
		}
	}
	places := []place{{zonegen.New(".", zonegen.NSEC), "one", ""}}
	tops := []struct {
		name, server string
		mode         zonegen.Mode
		ds           string
	}{
		{"one.", "two", zonegen.NSEC, "good"},
		{"two.", "three", zonegen.NSEC3, "good"},
		{"three.", "one", zonegen.OptOut, "good"},
		{"plain.", "two", zonegen.Plain, "none"},
	}
	for _, top := range tops {
		places = append(places, place{zonegen.New(top.name, top.mode), top.server, top.ds})
		for i, leaf := range []struct {
			name string
			mode zonegen.Mode
			ds   string
		}{
			{"nsec", zonegen.NSEC, "good"},
			{"nsec3", zonegen.NSEC3, "good"},
			{"salted", zonegen.Salted, "good"},
			{"unsigned", zonegen.Plain, "none"},
			{"island", zonegen.NSEC, "none"},
			{"broken", zonegen.NSEC, "wrong"},
		} {
			servers := []string{"one", "two", "three"}
			z := zonegen.New(leaf.name+"."+top.name, leaf.mode)
			fillLeaf(z, top.name)
			places = append(places, place{z, servers[i%3], leaf.ds})
		}
	}
	byServer := map[string][]peers.Zone{}
	for i := len(places) - 1; i >= 0; i-- {
		p := &places[i]
		ownServers(p.zone, internetServers[p.server].addr)
		for _, child := range places {
			if child.zone != p.zone && parentOf(child.zone.Origin) == p.zone.Origin {
				delegate(t, p.zone, child)
			}
		}
		if err := p.zone.Write(in.dir); err != nil {
			t.Fatal(err)
		}
		byServer[p.server] = append(byServer[p.server], peers.Zone{Name: p.zone.Origin, File: p.zone.File})
		in.ask(p.zone)
	}
	in.hints = filepath.Join(in.dir, "hints")
	write(t, in.hints, ". 3600 NS ns1.\nns1. 3600 A "+internetServers["one"].addr+"\n")
	in.anchor = filepath.Join(in.dir, "anchor")
	write(t, in.anchor, dsOf(t, places[0].zone.File, ".")+"\n")
	for name, s := range internetServers {
		start(t, s.kind, peers.Options{Addr: netip.AddrPortFrom(netip.MustParseAddr(s.addr), 53), Zones: byServer[name], Run: ns.Do, Dir: t.TempDir()})
	}
	return in
}

// fillLeaf gives a zone what resolvers stumble over.
func fillLeaf(z *zonegen.Zone, top string) {
	z.Add("www", "A", "192.0.2.80")
	z.Add("www", "AAAA", "2001:db8::80")
	z.Add("@", "MX", "10 www.@")
	z.Add("alias", "CNAME", "www.@")
	z.Add("far", "CNAME", "www.nsec."+top)
	z.Add("plain", "CNAME", "www.unsigned."+top)
	z.Add("broken", "CNAME", "www.broken."+top)
	z.Add("nowhere", "CNAME", "nothing.nsec3."+top)
	z.Add("loop", "CNAME", "pool.@")
	z.Add("pool", "CNAME", "loop.@")
	z.Add("*.wild", "TXT", `"any"`)
	z.Add("*.walias", "CNAME", "www.@")
	z.Add("leaf.ent", "A", "192.0.2.81")
	z.Add("old", "DNAME", "nsec."+top)
	z.Add("away", "DNAME", "unsigned."+top)
	for i := range 30 {
		z.Add("large", "TXT", fmt.Sprintf("\"%0100d\"", i))
	}
}

// ownServers replaces the zone's name servers by the one that serves it.
func ownServers(z *zonegen.Zone, addr string) {
	z.Records = slices.DeleteFunc(z.Records, func(r zonegen.Record) bool {
		return r.Owner == z.Origin && r.Type == "NS" || (r.Type == "A" || r.Type == "AAAA") && strings.HasPrefix(r.Owner, "ns")
	})
	z.Add("@", "NS", "ns1.@")
	z.Add("ns1", "A", addr)
}

// delegate adds a delegation with its glue, and DS records as p.ds says.
func delegate(t *testing.T, parent *zonegen.Zone, p place) {
	t.Helper()
	name := p.zone.Origin
	parent.Add(name, "NS", "ns1."+name)
	parent.Add("ns1."+name, "A", internetServers[p.server].addr)
	switch p.ds {
	case "good":
		_, data, _ := strings.Cut(dsOf(t, p.zone.File, name), " DS ")
		parent.Add(name, "DS", data)
	case "wrong":
		parent.Add(name, "DS", "12345 13 2 "+strings.Repeat("AB", 32))
	}
}

// dsOf returns the DS record of the key that signs the keys of a signed zone file.
func dsOf(t *testing.T, file, origin string) string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zp := dns.NewZoneParser(f, origin, file)
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		if key, ok := rr.(*dns.DNSKEY); ok && key.Flags&dns.SEP != 0 {
			ds := key.ToDS(dns.SHA256)
			return fmt.Sprintf("%s 3600 DS %d %d %d %s", origin, ds.KeyTag, ds.Algorithm, ds.DigestType, ds.Digest)
		}
	}
	t.Fatalf("%s: no key: %v", file, zp.Err())
	return ""
}

func parentOf(name string) string {
	if name == "." {
		return ""
	}
	_, up, _ := strings.Cut(name, ".")
	if up == "" {
		return "."
	}
	return up
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// ask adds the questions of one zone.
func (in *internet) ask(z *zonegen.Zone) {
	add := func(name string, types ...uint16) {
		if strings.HasPrefix(name, "*") {
			return
		}
		for _, typ := range types {
			q := probe.Question{Name: probe.MustName(name), Type: typ, ID: uint16(len(in.questions) + 1), RD: true, EDNS: true, DO: len(in.questions)%3 != 0, AD: true, Size: 1232}
			in.questions = append(in.questions, q)
		}
	}
	add(z.Origin, probe.TypeSOA, probe.TypeNS, probe.TypeDNSKEY, probe.TypeA)
	if z.Origin != "." {
		add(z.Origin, probe.TypeDS)
	}
	add(z.Abs("nothing"), probe.TypeA, probe.TypeTXT)
	add(z.Abs("deep.in.nothing"), probe.TypeA)
	if !slices.ContainsFunc(z.Records, func(r zonegen.Record) bool { return strings.HasPrefix(r.Owner, "www.") }) {
		return
	}
	for _, n := range []string{"www", "alias", "far", "plain", "broken", "nowhere", "any.wild", "a.b.wild", "any.walias", "leaf.ent", "ent", "www.old", "alias.old", "nothing.old", "www.away", "large"} {
		add(z.Abs(n), probe.TypeA, probe.TypeTXT)
	}
	add(z.Abs("www"), probe.TypeAAAA, probe.TypeMX)
	add(z.Abs("old"), probe.TypeDNAME)
	add(z.Abs("alias"), probe.TypeCNAME)
}

// resolver starts a resolver in the internet and returns a client of it.
func (in *internet) resolver(t *testing.T, program string, at netip.AddrPort) *probe.Client {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "conf")
	var command []string
	host := at.Addr().String()
	six := map[string]string{}
	if in.dns64 != "" {
		six = map[string]string{
			"port53":  fmt.Sprintf("  dns64: {prefix: %q}\n", in.dns64),
			"unbound": fmt.Sprintf(" dns64-prefix: %s\n module-config: \"dns64 validator iterator\"\n", in.dns64),
			"named":   fmt.Sprintf(" dns64 %s { break-dnssec yes; };\n", in.dns64),
		}
	}
	options, rest := in.policyConfig(program)
	switch program {
	case "port53":
		bin, err := build()
		if err != nil {
			t.Fatal(err)
		}
		write(t, conf, fmt.Sprintf(`role: internal-resolver
listen: ["%s"]
state_dir: %s
metrics: {listen: off}
resolver:
  allow: [10.0.0.0/8]
  root_hints: %s
  trust_anchors: %s
%s%s`, at, dir, in.hints, in.anchor, six[program], rest))
		command = []string{bin, "serve", "--config", conf}
	case "unbound":
		bin := found(t, program)
		write(t, conf, fmt.Sprintf(`server:
 interface: %s
 access-control: 0.0.0.0/0 allow
 root-hints: "%s"
 trust-anchor-file: "%s"
 username: ""
 chroot: ""
 pidfile: ""
 directory: "%s"
 use-syslog: no
 do-ip6: no
 num-threads: 1
 module-config: "validator iterator"
%s%sremote-control:
 control-enable: no
%s`, host, in.hints, in.anchor, dir, six[program], options, rest))
		command = []string{bin, "-d", "-c", conf}
	case "named":
		bin := found(t, peers.BIND)
		anchor, err := os.ReadFile(in.anchor)
		if err != nil {
			t.Fatal(err)
		}
		f := strings.Fields(string(anchor))
		write(t, conf, fmt.Sprintf(`options {
 directory "%s"; pid-file none; listen-on port 53 { %s; }; listen-on-v6 { none; };
 query-source address %[2]s; recursion yes; allow-recursion { any; }; dnssec-validation yes; empty-zones-enable no;
%[8]s%[9]s};
controls { };
zone "." { type hint; file "%[3]s"; };
trust-anchors { "." static-ds %[4]s %[5]s %[6]s "%[7]s"; };
%[10]s`, dir, host, in.hints, f[3], f[4], f[5], f[6], six[program], options, rest))
		command = []string{bin, "-f", "-4", "-c", conf}
	default:
		command = in.otherResolver(t, program, dir, host)
	}
	if in.limited {
		command = append([]string{found(t, "prlimit"), "--data=1073741824"}, command...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	s, err := peers.Start(ctx, peers.Port53, peers.Options{Dir: dir, Addr: at, Command: command, Run: in.ns.Do, Unready: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Stop()
		if t.Failed() {
			t.Logf("%s printed:\n%s", program, s.Tail())
		}
	})
	c := &probe.Client{Server: at, Tries: 10, Source: netip.MustParseAddr("10.53.9.9"), Run: in.ns.Do}
	t.Cleanup(c.Close)
	q := probe.Question{Name: probe.MustName("."), Type: probe.TypeSOA, ID: 1, RD: true}
	for ctx.Err() == nil {
		if m, err := c.Ask(&q); err == nil && m.Rcode == probe.NoError {
			return c
		}
		select {
		case <-s.Ended():
			t.Fatalf("%s ended: %s", program, s.Tail())
		default:
		}
	}
	t.Fatalf("%s did not answer for the root: %s", program, s.Tail())
	return nil
}

// found returns the path of a program, or skips the test.
func found(t *testing.T, program string) string {
	t.Helper()
	path, err := peers.Find(program)
	if err != nil {
		missing(t, err)
	}
	return path
}
