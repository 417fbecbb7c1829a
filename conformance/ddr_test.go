package conformance_test

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"port53/conformance/peers"
)

// TestDDRClients has Debian's clients ask for the encrypted transports of a resolver, and use what
// they are told: the address, the port and the path, with a certificate that proves the address asked.
func TestDDRClients(t *testing.T) {
	t.Parallel()
	room := newRoom(t, "openssl", "kdig", "dig")
	n, dir, shell, bin := room.net, room.dir, room.shell, room.bin
	shell("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=dns.example " +
		"-addext subjectAltName=DNS:dns.example,IP:127.0.0.1,IP:::1 -keyout key.pem -out cert.pem")
	for name, text := range map[string]string{
		"test.zone": "$TTL 60\n@ SOA ns admin 1 7200 3600 1209600 300\n@ NS ns\nns A 192.0.2.1\n",
		"port53.yaml": "role: internal-resolver\nlisten: [\"127.0.0.1:5300\", \"127.0.0.2:5300\", \"[::1]:5300\"]\nstate_dir: state\n" +
			"metrics: {listen: off}\nsandbox: off\nresolver: {validation: false}\nzones: [{name: test, file: test.zone}]\n" +
			"encrypted: {name: dns.example, certificate: cert.pem, key: key.pem, dot: [\"127.0.0.1:8530\", \"[::]:8530\"], " +
			"doh: {listen: \"0.0.0.0:8443\", path: /q}}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
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
	quotes := strings.NewReplacer(`"`, "", "\t", " ")
	for at, want := range map[string][]string{
		"127.0.0.1": {
			"1 dns.example. alpn=dot port=8530 ipv4hint=127.0.0.1", "2 dns.example. alpn=h2 port=8443 ipv4hint=127.0.0.1 (dohpath|key7)=/q{\\?dns}",
		},
		"127.0.0.2": nil, // no certificate has it
		"::1":       {"1 dns.example. alpn=dot port=8530 ipv6hint=::1"},
	} {
		for _, client := range []string{"kdig +retry=0 +time=5", "dig +tries=1 +time=5"} {
			got := quotes.Replace(shell("%s @%s -p 5300 +short _dns.resolver.arpa TYPE64", client, at))
			if plain := quotes.Replace(shell("%s @%s -p 5300 +noall +answer _dns.resolver.arpa SVCB", client, at)); strings.Contains(plain, "SVCB") {
				got = plain
			}
			if n := strings.Count(got, "dns.example."); n != len(want) {
				t.Errorf("%s at %s: %d services, want %d: %q", client, at, n, len(want), got)
			}
			for _, w := range want {
				if !regexp.MustCompile(w).MatchString(got) {
					t.Errorf("%s at %s: no %q in %q", client, at, w, got)
				}
			}
		}
	}
	const known = "+tls-ca=cert.pem +tls-hostname=dns.example ns.test"
	for _, line := range []string{
		"kdig +retry=0 +time=5 @127.0.0.1 -p 8530 +tls " + known, "kdig +retry=0 +time=5 @::1 -p 8530 +tls " + known,
		"kdig +retry=0 +time=5 @127.0.0.1 -p 8443 +https=/q " + known,
	} {
		if got := shell("%s", line); !strings.Contains(got, "192.0.2.1") {
			t.Errorf("%s: %s", line, got)
		}
	}
	if got := shell("kdig +retry=0 +time=5 @127.0.0.1 -p 5300 +short resolver.arpa TYPE261"); !strings.Contains(got, "qnamemin") && !strings.Contains(got, "716E616D656D696E") {
		t.Errorf("RESINFO: %s", got)
	}
}
