package app_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"port53/internal/app"
	"port53/internal/certs/certtest"
	"port53/internal/lab"
	"port53/internal/server"
)

// discoverable starts a resolver that serves everything over TLS with a certificate for names, and
// forwards what it does not know to a server that answers everything.
func discoverable(t *testing.T, keys string, names ...string) (*running, *certtest.Authority, string) {
	t.Helper()
	ca, dir := certtest.New(t), t.TempDir()
	certificate, key := ca.Issue(dir, "own", names...)
	net := lab.NewNet(lab.Options{Seed: 53})
	net.Handle(netip.MustParseAddrPort("192.0.2.1:53"), forwarder(1))
	r := startResolver(t, net, fmt.Sprintf(resolverYAML, "", 1)+
		"encrypted:\n  name: dns.example\n  certificate: "+certificate+"\n  key: "+key+"\n  dot: \"127.0.0.1:0\"\n"+
		"  doq: \"127.0.0.1:0\"\n  doh: {listen: \"127.0.0.1:0\", http3: true}\n"+keys)
	return r, ca, dir
}

const ddrQuestion = "_dns.resolver.arpa. SVCB +rd"

// TestDDR asks for the encrypted transports of a resolver: what is told is what listens, with a
// certificate that proves the address that was asked, for as long as it does.
func TestDDR(t *testing.T) {
	r, ca, dir := discoverable(t, "", "dns.example", "127.0.0.1")
	port := func(over server.Transport) string {
		_, port, err := net.SplitHostPort(r.at(over))
		if err != nil {
			t.Fatal(err)
		}
		return port
	}
	told := func() string { t.Helper(); return r.ask("udp", ddrQuestion) }
	first := told()
	for _, want := range []string{
		"_dns.resolver.arpa. 300 SVCB 1 dns.example. alpn=dot port=" + port(server.DoT) + " ipv4hint=127.0.0.1",
		"_dns.resolver.arpa. 300 SVCB 2 dns.example. alpn=h2,h3 port=" + port(server.DoH) + " ipv4hint=127.0.0.1 dohpath=/dns-query{?dns}",
		"_dns.resolver.arpa. 300 SVCB 3 dns.example. alpn=doq port=" + port(server.DoQ) + " ipv4hint=127.0.0.1",
	} {
		if !strings.Contains(strings.ReplaceAll(first, `"`, ""), want) {
			t.Errorf("no %q in\n%s", want, first)
		}
	}
	if strings.Count(first, "SVCB") != 3 {
		t.Errorf("more is told than there is:\n%s", first)
	}

	// Nothing below resolver.arpa is asked of others, or has other data (RFC 9462, section 6.4).
	for _, question := range []string{"_dns.resolver.arpa. A +rd", "resolver.arpa. SVCB +rd", "a.b.resolver.arpa. SVCB +rd"} {
		if got := r.ask("udp", question); strings.Contains(got, "ANSWER\n") || !strings.Contains(got, "NOERROR") || !strings.Contains(got, "SOA localhost.") {
			t.Errorf("%s: %s", question, got)
		}
	}

	silent := func(why string) {
		t.Helper()
		if got := told(); strings.Contains(got, "alpn") || !strings.Contains(got, "NOERROR") || !strings.Contains(got, "SOA localhost.") {
			t.Errorf("%s: %s", why, got)
		}
	}
	later := time.Now()
	renew := func(l certtest.Leaf) {
		t.Helper()
		later = later.Add(time.Minute)
		certificate, _ := ca.IssueLeaf(dir, "own", l)
		if err := os.Chtimes(certificate, later, later); err != nil {
			t.Fatal(err)
		}
		r.Certificates(time.Now())
	}
	good := []string{"dns.example", "127.0.0.1"}
	renew(certtest.Leaf{Names: []string{"dns.example", "127.0.0.2"}})
	silent("the certificate has another address")
	renew(certtest.Leaf{Names: []string{"other.example", "127.0.0.1"}})
	silent("the certificate has another name")
	renew(certtest.Leaf{Names: good, Until: time.Now().Add(4 * time.Minute)})
	silent("the certificate ends before clients forget what they are told")
	renew(certtest.Leaf{Names: good, From: time.Now().Add(time.Hour)})
	silent("the certificate is not valid yet")
	renew(certtest.Leaf{Names: good})
	if got := told(); got != first {
		t.Errorf("with a good certificate again:\n%s", got)
	}
	r.Certificates(time.Now().Add(90*24*time.Hour - time.Minute))
	silent("the certificate is about to expire")
	r.Certificates(time.Now())

	// A reload may turn it off, and change the name.
	text := r.read("port53.yaml")
	reload := func(text string) {
		t.Helper()
		r.write("port53.yaml", text)
		if result, err := r.Reload(context.Background()); err != nil || len(result.(*app.Reloaded).Restart) > 0 {
			t.Fatalf("reload: %+v %v", result, err)
		}
	}
	reload(text + "  ddr: false\n")
	silent("ddr: false")
	reload(strings.Replace(text, "name: dns.example", "name: other.example", 1))
	silent("another name, which the certificate does not have")
	reload(text)
	if got := told(); got != first {
		t.Errorf("as configured at first:\n%s", got)
	}
}

// TestDDRBuiltIn has resolver.arpa answered here where other special names are not.
func TestDDRBuiltIn(t *testing.T) {
	net := lab.NewNet(lab.Options{Seed: 53})
	net.Handle(netip.MustParseAddrPort("192.0.2.1:53"), forwarder(1))
	r := startResolver(t, net, fmt.Sprintf(resolverYAML, "", 1)+"  special_names: false\n")
	if got := r.ask("udp", "x.onion. A +rd"); !strings.Contains(got, "198.51.100.1") {
		t.Errorf("special names are answered: %s", got)
	}
	for _, question := range []string{"x.resolver.arpa. A +rd", ddrQuestion} {
		if got := r.ask("udp", question); !strings.Contains(got, "NOERROR") || !strings.Contains(got, "SOA localhost.") {
			t.Errorf("%s: %s", question, got)
		}
	}
}

// TestRESINFO asks resolvers what they can do (RFC 9606): what they say is what they are configured for.
func TestRESINFO(t *testing.T) {
	r, _, _ := discoverable(t, "", "dns.example", "127.0.0.1")
	for _, name := range []string{"resolver.arpa.", "dns.example.", "DNS.example."} {
		got := r.ask("udp", name+" RESINFO +rd")
		if !strings.Contains(got, `3600 RESINFO "exterr=0,3,14,17-24,30"`) {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := r.ask("udp", "other.example. RESINFO +rd"); strings.Contains(got, "exterr") {
		t.Errorf("another name: %s", got)
	}
	if got := r.ask("udp", "dns.example. A +rd"); !strings.Contains(got, "198.51.100.1") {
		t.Errorf("another type at its name: %s", got)
	}
	net := lab.NewNet(lab.Options{Seed: 53})
	list := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(list, []byte("bad.example\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for keys, want := range map[string]string{
		"":                                `"qnamemin" "exterr=0-3,5-12,14,17-25,27,29-30"`,
		"  qname_minimization: off\n":     `RESINFO "exterr=0-3,5-12,14,17-25,27,29-30"`,
		"  cache: {serve_stale: false}\n": `"qnamemin" "exterr=0-2,5-12,14,17-18,20-25,27,29-30"`,
		"  info_url: https://dns.example/about\n  rebinding: off\n  validation: false\n  cache: {serve_stale: false}\n": `"qnamemin" "exterr=0,14,18,20-24,30" "infourl=https://dns.example/about"`,
		"  aggressive_nsec: false\n": `"qnamemin" "exterr=0-3,5-12,14,17-25,27,30"`,
		"policy: {lists: [{name: l, file: " + list + "}], block: [{list: l}]}\n": `"qnamemin" "exterr=0-3,5-12,14-25,27,29-30"`,
	} {
		text, _, _ := strings.Cut(fmt.Sprintf(resolverYAML, "", 1), "  validation")
		r := startResolver(t, net, text+"  allow: [127.0.0.0/8]\n"+keys)
		if got := r.ask("udp", "resolver.arpa. RESINFO +rd"); !strings.Contains(got, want) {
			t.Errorf("%q: want %s in\n%s", keys, want, got)
		}
	}
}
