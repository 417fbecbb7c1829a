package conformance_test

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"port53/conformance/netns"
	"port53/conformance/peers"
)

// longData is how many octets of text the longest answer of the laboratory has.
const longData = 255 * 250

// A room is a network and a directory of their own, for port53 and for programs that a shell starts.
type room struct {
	t   *testing.T
	net *netns.Namespace
	dir string
	bin string // of port53
}

// newRoom makes a room for a test that needs some tools.
func newRoom(t *testing.T, tools ...string) *room {
	t.Helper()
	if subjectKind() != peers.Port53 || os.Getuid() != 0 {
		t.Skip("it is about port53 in a network of its own, so for root")
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			missing(t, err)
		}
	}
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	n, err := netns.New()
	if err != nil {
		missing(t, err)
	}
	t.Cleanup(n.Close)
	return &room{t: t, net: n, dir: t.TempDir(), bin: bin}
}

// shell runs a command in the room, and returns what it printed.
func (r *room) shell(format string, args ...any) string {
	r.t.Helper()
	var out []byte
	_ = r.net.Do(func() error {
		cmd := exec.Command("sh", "-c", fmt.Sprintf(format, args...))
		cmd.Dir = r.dir
		out, _ = cmd.CombinedOutput() // what it says is looked at
		return nil
	})
	return string(out)
}

// An encryptedLab is a server in a room that has an answer of each length: at 127.0.0.1 over every transport,
// with a certificate for dns.test in its directory, and in the clear on port 5300.
type encryptedLab struct {
	*room
	pin string // of the certificate's key
}

// newEncryptedLab starts the server.
func newEncryptedLab(t *testing.T, tools ...string) *encryptedLab {
	t.Helper()
	l := &encryptedLab{room: newRoom(t, append(tools, "openssl")...)}
	l.shell("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=dns.test " +
		"-addext subjectAltName=DNS:dns.test,IP:127.0.0.1 -keyout key.pem -out cert.pem")
	block, _ := pem.Decode(must(os.ReadFile(filepath.Join(l.dir, "cert.pem"))))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	l.pin = base64.StdEncoding.EncodeToString(digest[:])
	long := strings.Repeat(" \""+strings.Repeat("x", 250)+"\"", longData/250)
	for name, text := range map[string]string{
		"example.zone": "$TTL 60\n@ SOA ns admin 1 7200 3600 1209600 300\n@ NS ns\nns A 192.0.2.1\nlong TXT" + long + "\n",
		"test.zone":    "$TTL 60\n@ SOA dns admin 1 7200 3600 1209600 300\n@ NS dns\ndns A 127.0.0.1\nother A 127.0.0.1\n",
		"queries":      "ns.zone.example A\n", // for dnsperf
		"port53.yaml": "role: authoritative\nlisten: [\"127.0.0.1:5300\"]\nstate_dir: state\nmetrics: {listen: off}\nsandbox: off\n" +
			"zones: [{name: zone.example, file: example.zone, allow_transfer: [{address: 127.0.0.1}]}, {name: test, file: test.zone}]\n" +
			"encrypted: {name: dns.test, certificate: cert.pem, key: key.pem, dot: 127.0.0.1, doq: 127.0.0.1, " +
			"doh: {listen: 127.0.0.1, http3: true}}\n",
	} {
		if err := os.WriteFile(filepath.Join(l.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	s, err := peers.Start(ctx, peers.Port53, peers.Options{
		Dir: t.TempDir(), Addr: netip.MustParseAddrPort("127.0.0.1:5300"), Zones: []peers.Zone{{Name: "zone.example."}}, Run: l.net.Do,
		Command: []string{l.bin, "serve", "--config", filepath.Join(l.dir, "port53.yaml")},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return l
}

// TestEncryptedClients has the clients that Debian has ask over TLS, HTTPS and QUIC: short answers and
// the longest, with and without a name, a pin and an authority that fit; zones go over TLS.
func TestEncryptedClients(t *testing.T) {
	lab := newEncryptedLab(t, "kdig", "dig", "curl", "dnsperf")
	shell, bin, pin := lab.shell, lab.bin, lab.pin
	const good, known = "192.0.2.1", "+tls-ca=cert.pem +tls-hostname=dns.test"
	for _, tt := range []struct{ line, want, not string }{
		{"kdig +retry=0 +time=5 @127.0.0.1 ns.zone.example +tls " + known, good, ""},
		{"kdig +retry=0 +time=5 @127.0.0.1 ns.zone.example +tls +tls-pin=" + pin, good, ""},
		{"kdig +retry=0 +time=5 @127.0.0.1 ns.zone.example +tls +padding " + known, "PADDING: ", ""},
		{"kdig +retry=0 +time=5 @127.0.0.1 ns.zone.example +tls +tls-ca=cert.pem +tls-hostname=other.test", "", good},
		{"kdig +retry=0 +time=5 @127.0.0.1 ns.zone.example +https " + known, good, ""},
		{"kdig +retry=0 +time=5 @127.0.0.1 ns.zone.example +https-get " + known, good, ""},
		{"kdig +retry=0 +time=5 @127.0.0.1 zone.example AXFR +tls " + known, good, ""},
		{"kdig +retry=0 +time=5 @127.0.0.1 ns.zone.example +quic", good, ""}, // kdig 3.2 ends in a fault of its own with +tls-ca
		{"kdig +retry=0 +time=5 @127.0.0.1 zone.example AXFR +quic", good, ""},
		{"dnsperf -m dot -s 127.0.0.1 -p 853 -d queries -n 1000 -c 4", "completed:    1000 (100.00%)", ""},
		// Its HTTP/2 loses replies, of any server, when more than one is awaited.
		{"dnsperf -m doh -s 127.0.0.1 -p 443 -d queries -n 1000 -c 4 -q 1 -O doh-uri=https://127.0.0.1/dns-query", "completed:    1000 (100.00%)", ""},
		{"dig +tries=1 +time=5 @127.0.0.1 ns.zone.example +tls " + known, good, ""},
		{"dig +tries=1 +time=5 @127.0.0.1 ns.zone.example +https " + known, good, ""},
		{"dig +tries=1 +time=5 @127.0.0.1 ns.zone.example +https-get", good, ""},
		{"dig +tries=1 +time=5 @127.0.0.1 ns.zone.example +tls +tls-ca=cert.pem +tls-hostname=other.test", "", good},
		{"dig +tries=1 +time=5 @127.0.0.1 zone.example AXFR +tls", good, ""},
		{"dig +tries=1 +time=5 @127.0.0.1 zone.example AXFR +https", "", good},
		{"curl -sv --max-time 5 --cacert cert.pem --doh-url https://127.0.0.1/dns-query --connect-timeout 1 http://ns.zone.example:1/", good, ""},
		{"curl -sv --max-time 5 --doh-url https://127.0.0.1/dns-query --connect-timeout 1 http://ns.zone.example:1/", "", good},
		{bin + " query @127.0.0.1 ns.zone.example +tls " + known, "(TLS)", ""},
		{bin + " query @127.0.0.1 ns.zone.example +tls +tls-pin=" + pin, good, ""},
		{bin + " query @127.0.0.1 ns.zone.example +tls +tls-ca=cert.pem +tls-hostname=other.test", "not other.test", good},
		{bin + " query @127.0.0.1 ns.zone.example +https " + known, "(HTTPS)", ""},
		{bin + " query @127.0.0.1 ns.zone.example +https-get", good, ""},
		{bin + " query @127.0.0.1 ns.zone.example +https=/other", "status 404", good},
		{bin + " query @127.0.0.1 zone.example AXFR +tls", good, ""},
		{bin + " query @127.0.0.1 zone.example AXFR +https", "a zone is not asked for over HTTPS", good},
	} {
		if got := shell("%s", tt.line); !strings.Contains(got, tt.want) || tt.not != "" && strings.Contains(got, tt.not) {
			t.Errorf("%s: %.600q, want %q and not %q", tt.line, got, tt.want, tt.not)
		}
	}
	for _, line := range []string{"kdig +retry=0 +time=5 @127.0.0.1 long.zone.example TXT +short +tls", "kdig +retry=0 +time=5 @127.0.0.1 long.zone.example TXT +short +https", "kdig +retry=0 +time=5 @127.0.0.1 long.zone.example TXT +short +quic", "dig +tries=1 +time=5 @127.0.0.1 long.zone.example TXT +short +tls", "dig +tries=1 +time=5 @127.0.0.1 long.zone.example TXT +short +https", bin + " query @127.0.0.1 long.zone.example TXT +short +tls", bin + " query @127.0.0.1 long.zone.example TXT +short +https-post"} {
		if got := strings.Count(shell("%s", line), "x"); got != longData {
			t.Errorf("%s: %d octets of data, want %d", line, got, longData)
		}
	}
}

// TestBrowser has Chromium look a page's host up by DNS over HTTPS, which nobody else in its network knows: it draws the
// page, and does not if the certificate is another.
func TestBrowser(t *testing.T) {
	browser, err := peers.Find("chromium")
	if err != nil {
		missing(t, err)
	}
	lab := newEncryptedLab(t)
	const text = "the page itself"
	page := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, "<p>%s</p>", text) })}
	var l net.Listener
	if err := lab.net.Do(func() (err error) { l, err = net.Listen("tcp", "127.0.0.1:8088"); return err }); err != nil {
		t.Fatal(err)
	}
	go page.Serve(l)
	defer page.Close()
	for pin, may := range map[string]bool{lab.pin: true, "ijYYJhalHfZsn50UumCbtprZp6HkwQaUM4JzGl6ICbA=": false} {
		profile := t.TempDir()
		secure := `{"dns_over_https": {"mode": "secure", "templates": "https://127.0.0.1/dns-query"}}`
		if err := os.WriteFile(filepath.Join(profile, "Local State"), []byte(secure), 0o600); err != nil {
			t.Fatal(err)
		}
		got := lab.shell("timeout 120 %s --headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update "+
			"--disable-sync --no-first-run --user-data-dir=%s --ignore-certificate-errors-spki-list=%s --dump-dom http://other.test:8088/",
			browser, profile, pin)
		if strings.Contains(got, text) != may {
			t.Errorf("with the pin %s: %.2000q, want the page: %v", pin, got, may)
		}
	}
}
