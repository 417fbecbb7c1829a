package conformance_test

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"port53/conformance/netns"
	"port53/conformance/peers"
)

// TestEncryptedClients has the clients that Debian has ask over TLS and HTTPS: short answers and
// the longest, with and without a name, a pin and an authority that fit; zones go over TLS.
func TestEncryptedClients(t *testing.T) {
	if subjectKind() != peers.Port53 || os.Getuid() != 0 {
		t.Skip("it is about port53 in a network of its own, so for root")
	}
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	n, err := netns.New()
	if err != nil {
		t.Skip("missing: ", err)
	}
	defer n.Close()
	dir := t.TempDir()
	shell := func(format string, args ...any) string {
		t.Helper()
		var out []byte
		_ = n.Do(func() error {
			cmd := exec.Command("sh", "-c", fmt.Sprintf(format, args...))
			cmd.Dir = dir
			out, _ = cmd.CombinedOutput() // what it says is looked at
			return nil
		})
		return string(out)
	}
	for _, tool := range []string{"openssl", "kdig", "dig", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("missing: ", tool)
		}
	}
	shell("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=dns.test " +
		"-addext subjectAltName=DNS:dns.test,IP:127.0.0.1 -keyout key.pem -out cert.pem")
	block, _ := pem.Decode(must(os.ReadFile(filepath.Join(dir, "cert.pem"))))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	pin := base64.StdEncoding.EncodeToString(digest[:])
	long := strings.Repeat(" \""+strings.Repeat("x", 250)+"\"", 255)
	for name, text := range map[string]string{
		"test.zone": "$TTL 60\n@ SOA ns admin 1 7200 3600 1209600 300\n@ NS ns\nns A 192.0.2.1\nlong TXT" + long + "\n",
		"port53.yaml": "role: authoritative\nlisten: [\"127.0.0.1:5300\"]\nstate_dir: state\nmetrics: {listen: off}\nsandbox: off\n" +
			"zones: [{name: test, file: test.zone, allow_transfer: [{address: 127.0.0.1}]}]\n" +
			"encrypted: {name: dns.test, certificate: cert.pem, key: key.pem, dot: 127.0.0.1, doh: {listen: 127.0.0.1}}\n",
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
	const good, known = "192.0.2.1", "+tls-ca=cert.pem +tls-hostname=dns.test"
	for _, tt := range []struct{ line, want, not string }{
		{"kdig +retry=0 +time=5 @127.0.0.1 ns.test +tls " + known, good, ""},
		{"kdig +retry=0 +time=5 @127.0.0.1 ns.test +tls +tls-pin=" + pin, good, ""},
		{"kdig +retry=0 +time=5 @127.0.0.1 ns.test +tls +padding " + known, "PADDING: ", ""},
		{"kdig +retry=0 +time=5 @127.0.0.1 ns.test +tls +tls-ca=cert.pem +tls-hostname=other.test", "", good},
		{"kdig +retry=0 +time=5 @127.0.0.1 ns.test +https " + known, good, ""},
		{"kdig +retry=0 +time=5 @127.0.0.1 ns.test +https-get " + known, good, ""},
		{"kdig +retry=0 +time=5 @127.0.0.1 test AXFR +tls " + known, good, ""},
		{"dig +tries=1 +time=5 @127.0.0.1 ns.test +tls " + known, good, ""},
		{"dig +tries=1 +time=5 @127.0.0.1 ns.test +https " + known, good, ""},
		{"dig +tries=1 +time=5 @127.0.0.1 ns.test +https-get", good, ""},
		{"dig +tries=1 +time=5 @127.0.0.1 ns.test +tls +tls-ca=cert.pem +tls-hostname=other.test", "", good},
		{"dig +tries=1 +time=5 @127.0.0.1 test AXFR +tls", good, ""},
		{"dig +tries=1 +time=5 @127.0.0.1 test AXFR +https", "", good},
		{"curl -sv --max-time 5 --cacert cert.pem --doh-url https://127.0.0.1/dns-query --connect-timeout 1 http://ns.test:1/", good, ""},
		{"curl -sv --max-time 5 --doh-url https://127.0.0.1/dns-query --connect-timeout 1 http://ns.test:1/", "", good},
		{bin + " query @127.0.0.1 ns.test +tls " + known, "(TLS)", ""},
		{bin + " query @127.0.0.1 ns.test +tls +tls-pin=" + pin, good, ""},
		{bin + " query @127.0.0.1 ns.test +tls +tls-ca=cert.pem +tls-hostname=other.test", "not other.test", good},
		{bin + " query @127.0.0.1 ns.test +https " + known, "(HTTPS)", ""},
		{bin + " query @127.0.0.1 ns.test +https-get", good, ""},
		{bin + " query @127.0.0.1 ns.test +https=/other", "status 404", good},
		{bin + " query @127.0.0.1 test AXFR +tls", good, ""},
		{bin + " query @127.0.0.1 test AXFR +https", "a zone is not asked for over HTTPS", good},
	} {
		if got := shell("%s", tt.line); !strings.Contains(got, tt.want) || tt.not != "" && strings.Contains(got, tt.not) {
			t.Errorf("%s: %.600q, want %q and not %q", tt.line, got, tt.want, tt.not)
		}
	}
	for _, line := range []string{"kdig +retry=0 +time=5 @127.0.0.1 long.test TXT +short +tls", "kdig +retry=0 +time=5 @127.0.0.1 long.test TXT +short +https", "dig +tries=1 +time=5 @127.0.0.1 long.test TXT +short +tls", "dig +tries=1 +time=5 @127.0.0.1 long.test TXT +short +https", bin + " query @127.0.0.1 long.test TXT +short +tls", bin + " query @127.0.0.1 long.test TXT +short +https-post"} {
		if got := strings.Count(shell("%s", line), "x"); got != 255*250 {
			t.Errorf("%s: %d octets of data, want %d", line, got, 255*250)
		}
	}
}
