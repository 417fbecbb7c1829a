package app_test

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"port53/internal/dnstest"
	"port53/internal/lab"
)

// TestDNS64 makes addresses for clients of a view, of other views with other prefixes, and after a
// reload with another one, or none: nobody gets what was made for others, or before.
func TestDNS64(t *testing.T) {
	net := lab.NewNet(lab.Options{Seed: 53})
	net.Handle(netip.MustParseAddrPort("192.0.2.1:53"), forwarder(1))
	const views = `views:
  - name: own
    match: {clients: [127.0.0.2]}
    resolver: {dns64: {prefix: "%s"}}
  - name: none
    match: {clients: [127.0.0.3]}
    resolver: {dns64: {prefix: []}}
`
	text := func(dns64, own string) string {
		return fmt.Sprintf(resolverYAML, "", 1) + dns64 + fmt.Sprintf(views, own)
	}
	r := &running{T: t, dir: t.TempDir(), reload: make(chan os.Signal, 1), done: make(chan error, 1)}
	r.run(net, text("  dns64: {prefix: \"64:ff9b::/96\"}\n", "2001:db8:1::/96"))
	expect := func(when string, wants map[string]string) {
		t.Helper()
		for question, want := range wants {
			from, question, _ := strings.Cut(question, ": ")
			if got := asked(r, from, question+" +rd"); !strings.Contains(got, want) {
				t.Errorf("%s, %s, %s: %q, want %s", when, from, question, got, want)
			}
		}
	}
	expect("at first", map[string]string{
		"127.0.0.1: x.example. AAAA": "64:ff9b::c633:6401", "127.0.0.2: x.example. AAAA": "2001:db8:1::c633:6401", "127.0.0.3: x.example. AAAA": "NOERROR ra\n",
		"127.0.0.1: ipv4only.arpa. AAAA": "64:ff9b::c000:aa", "127.0.0.2: ipv4only.arpa. AAAA": "2001:db8:1::c000:ab", "127.0.0.3: ipv4only.arpa. AAAA": "NOERROR",
		"127.0.0.1: ipv4only.arpa. A": "192.0.0.170", "127.0.0.1: x.ipv4only.arpa. AAAA": "NXDOMAIN",
	})
	change := func(text string) {
		t.Helper()
		r.write("port53.yaml", text)
		if _, err := r.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	change(text("  dns64: {prefix: \"2001:db8:2::/96\", clients: [127.0.0.9]}\n", "2001:db8:3::/96"))
	expect("after a reload", map[string]string{
		"127.0.0.9: x.example. AAAA": "2001:db8:2::c633:6401", "127.0.0.1: x.example. AAAA": "NOERROR ra\n", "127.0.0.2: x.example. AAAA": "2001:db8:3::c633:6401",
	})
	change(text("  special_names: false\n  dns64: {prefix: \"2001:db8:4::/96\"}\n", "2001:db8:3::/96"))
	expect("without special names", map[string]string{
		"127.0.0.1: ipv4only.arpa. AAAA": "2001:db8:4::c000:aa", "127.0.0.1: ipv4only.arpa. A": "192.0.0.171", "127.0.0.1: x.localhost. A": "198.51.100.1",
	})
	change(text("", "2001:db8:3::/96"))
	if got := asked(r, "127.0.0.1", "x.example. AAAA +rd"); strings.Contains(got, "2001:db8") {
		t.Errorf("without a prefix: %q", got)
	}
}

// asked returns the reply to a question from an address of this machine, in words.
func asked(r *running, from, line string) string {
	r.Helper()
	text, err := dnstest.Format(r.exchange(from+":0", dnstest.ParseQuestion(r, line).Message()))
	if err != nil {
		r.Error(err)
	}
	return text
}
