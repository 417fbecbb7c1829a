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

// answerSizes are octets of answers without EDNS for which the laboratory has names: around the bounds of UDP, of a record of TLS
// and of a frame, up to the longest that leaves room for the OPT record of a forwarder's question, and the longest that there is.
var answerSizes = []int{64, 512, 1232, 4096, 16382, 16384, 65000, longestEDNS, 65535}

const longestEDNS = 65535 - 11

// sized returns the name whose TXT record makes an answer of so many octets.
func sized(octets int) string { return fmt.Sprintf("s%d.zone.example", octets) }

// sizedRecord returns the record, for the file of zone.example.
func sizedRecord(octets int) string {
	name, _, _ := strings.Cut(sized(octets), ".")
	const header, question, record = 12, 4, 12 // beside names; the record's is a pointer
	text := name + " TXT"
	for left := octets - header - (len(sized(octets)) + 2 + question) - record; left > 0; left -= 256 {
		text += fmt.Sprintf(" %q", strings.Repeat("x", min(left, 256)-1))
	}
	return text + "\n"
}

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

// write writes a file of the room's directory.
func (r *room) write(name, text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
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
	var long strings.Builder
	for _, n := range answerSizes {
		long.WriteString(sizedRecord(n))
	}
	for name, text := range map[string]string{
		"example.zone": "$TTL 60\n@ SOA ns admin 1 7200 3600 1209600 300\n@ NS ns\nns A 192.0.2.1\n" + long.String(),
		"test.zone":    "$TTL 60\n@ SOA dns admin 1 7200 3600 1209600 300\n@ NS dns\ndns A 127.0.0.1\nother A 127.0.0.1\n",
		"queries":      "ns.zone.example A\n", // for dnsperf
		"port53.yaml": "role: authoritative\nlisten: [\"127.0.0.1:5300\"]\nstate_dir: state\nmetrics: {listen: off}\nsandbox: off\n" +
			"zones: [{name: zone.example, file: example.zone, allow_transfer: [{address: 127.0.0.1}]}, {name: test, file: test.zone}]\n" +
			"encrypted: {name: dns.test, certificate: cert.pem, key: key.pem, dot: 127.0.0.1, doq: 127.0.0.1, " +
			"doh: {listen: 127.0.0.1, http3: true}}\n",
	} {
		l.write(name, text)
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

// TestEncryptedClients has the clients that Debian has ask over TLS, HTTPS and QUIC: with and without a name, a pin and an authority that fit; zones go over TLS.
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
}

// TestEncryptedSizes has clients ask for answers of 20 to 65,535 octets, and read from them how many came.
func TestEncryptedSizes(t *testing.T) {
	lab := newEncryptedLab(t, "kdig", "dig", "curl", "dnsperf")
	const known = " +tls-ca=cert.pem +tls-hostname=dns.test"
	const kdig, dig = "kdig +noedns +nopadding +retry=0 +time=5 @127.0.0.1 NAME ", "dig +noedns +tries=1 +time=5 @127.0.0.1 NAME "
	query := lab.bin + " query +noedns @127.0.0.1 NAME "
	const curl = "curl -s --max-time 5 --cacert cert.pem -H 'Content-Type: application/dns-message' --data-binary @FILE -o /dev/null " +
		"-w 'HTTP/%{http_version}, %{size_download} octets\n' https://127.0.0.1/dns-query "
	clients := []struct {
		line, want string // <N> stands for the octets
		most       int    // that it takes
	}{
		{kdig + "+tls" + known, ";; Received <N> B", 65535},
		{kdig + "+https" + known, ";; Received <N> B", 65535},
		{kdig + "+https-get" + known, ";; Received <N> B", 65535},
		{kdig + "+quic", ";; Received <N> B", 65535}, // kdig 3.2 ends in a fault of its own with +tls-ca
		{dig + "+tls" + known, "MSG SIZE  rcvd: <N>\n", 65535},
		{dig + "+https" + known, "MSG SIZE  rcvd: <N>\n", 65535},
		{dig + "+https-get" + known, "MSG SIZE  rcvd: <N>\n", 65535},
		{query + "+tls" + known, "MSG SIZE  rcvd: <N>\n", 65535},
		{query + "+https" + known, "MSG SIZE  rcvd: <N>\n", 65535},
		{query + "+https-post" + known, "MSG SIZE  rcvd: <N>\n", 65535},
		{query + "+https3" + known, "MSG SIZE  rcvd: <N>\n", 65535}, // by quic-go
		{query + "+quic" + known, "MSG SIZE  rcvd: <N>\n", 65535},   // by quic-go
		{curl + "--http2", "HTTP/2, <N> octets\n", 65535},
		{curl + "--http1.1", "HTTP/1.1, <N> octets\n", 65535},
		// dnsperf 2.10 has room for 4,096 octets, and verifies nobody.
		{"dnsperf -m dot -s 127.0.0.1 -p 853 -d FILE.txt -n 20 -c 2 -q 1", "response <N>\n", 4096},
		{"dnsperf -m doh -s 127.0.0.1 -p 443 -d FILE.txt -n 20 -c 2 -q 1 -O doh-uri=https://127.0.0.1/dns-query", "response <N>\n", 4096},
	}
	for _, size := range append([]int{20}, answerSizes...) {
		name := sized(size)
		if size == 20 {
			name = "ab" // is refused: the header and the question
		}
		file := fmt.Sprintf("query%d", size)
		q := []byte("\x00\x00\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00")
		for label := range strings.SplitSeq(name, ".") {
			q = append(append(q, byte(len(label))), label...)
		}
		lab.write(file, string(append(q, 0, 0, 16, 0, 1)))
		lab.write(file+".txt", name+" TXT\n")
		for _, c := range clients {
			if size > c.most {
				continue
			}
			line := strings.NewReplacer("NAME", name+" TXT", "FILE", file).Replace(c.line)
			if got, want := lab.shell("%s", line), strings.ReplaceAll(c.want, "<N>", fmt.Sprint(size)); !strings.Contains(got, want) {
				t.Errorf("%s: %q, want %q", line, got[max(0, len(got)-300):], want)
			}
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
