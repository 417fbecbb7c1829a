package app_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"port53/internal/app"
	"port53/internal/certs"
	"port53/internal/certs/certtest"
	"port53/internal/dnstest"
	"port53/internal/server"
	"port53/internal/wire"
)

// sealed starts a server that serves DoT and DoH beside the rest, with a certificate for
// dns.test and 127.0.0.1.
func sealed(t *testing.T, extra string) (*running, *certtest.Authority, string) {
	t.Helper()
	ca, dir := certtest.New(t), t.TempDir()
	certificate, key := ca.Issue(dir, "own", "dns.test", "127.0.0.1")
	r := start(t, "encrypted: {name: dns.test, certificate: "+certificate+", key: "+key+", dot: \"127.0.0.1:0\", doq: \"127.0.0.1:0\", doh: {listen: \"127.0.0.1:0\", http3: true, proxies: [127.0.0.9]}}\n"+extra)
	return r, ca, dir
}

// at returns where the server serves over a transport.
func (r *running) at(over server.Transport) string {
	r.Helper()
	for _, l := range r.Encrypted() {
		if l.Transport == over {
			return l.Addr.String()
		}
	}
	r.Fatalf("nothing is served over %v", over)
	return ""
}

// tell sends one message over a connection, and returns the reply.
func (r *running) tell(c net.Conn, msg []byte) []byte {
	r.Helper()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)); err != nil {
		r.Fatal(err)
	}
	var length [2]byte
	if _, err := io.ReadFull(c, length[:]); err != nil {
		r.Fatal(err)
	}
	reply := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(c, reply); err != nil {
		r.Fatal(err)
	}
	return reply
}

func TestDoT(t *testing.T) {
	r, ca, dir := sealed(t, "metrics: {listen: \"127.0.0.1:0\"}\n")
	dial := func(name string) *tls.Conn {
		t.Helper()
		c, err := tls.Dial("tcp", r.at(server.DoT), (&certs.Peer{Name: name, Roots: ca.Pool}).Client(certs.DoT))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	c := dial("127.0.0.1")
	if c.ConnectionState().NegotiatedProtocol != "dot" {
		t.Error("no ALPN")
	}
	if text, err := dnstest.Format(r.tell(c, dnstest.ParseQuestion(t, "ns.test. A").Message())); err != nil || !strings.Contains(text, "192.0.2.1") {
		t.Errorf("%q, %v", text, err)
	}
	// Padding and keepalive for who asks for them (RFC 8467, RFC 7828).
	msg := wire.AppendQuery(nil, 7, 0, []byte("\x02ns\x04test\x00"), wire.TypeA)
	msg = wire.AppendOPT(msg, 1232, false, []byte{0, wire.OptionPadding, 0, 0, 0, wire.OptionKeepalive, 0, 0})
	msg[11] = 1
	reply := r.tell(c, msg)
	if len(reply) != 468 || !bytes.Contains(reply, []byte{0, wire.OptionKeepalive, 0, 2, 0, 100}) {
		t.Errorf("the reply has %d octets, or no keepalive: %x", len(reply), reply)
	}

	// A certificate that is renewed is shown to those who come next.
	certificate, _ := ca.Issue(dir, "own", "dns.test", "127.0.0.1", "new.test")
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(certificate, later, later); err != nil {
		t.Fatal(err)
	}
	r.Certificates(later)
	dial("new.test")
	r.tell(c, msg) // and the others go on

	// So is one that a reload names.
	second, key := ca.Issue(dir, "second", "second.test")
	text := r.read("port53.yaml")
	r.write("port53.yaml", strings.Replace(text, "dot:", "certificates: [{certificate: "+second+", key: "+key+"}], dot:", 1))
	if result, err := r.Reload(context.Background()); err != nil || len(result.(*app.Reloaded).Restart) > 0 {
		t.Fatalf("reload: %+v %v", result, err)
	}
	dial("second.test")
	dial("new.test")
	r.write("port53.yaml", strings.Replace(text, filepath.Base(certificate), "none.pem", 1))
	if _, err := r.Reload(context.Background()); err == nil || !strings.Contains(err.Error(), "none.pem does not exist") {
		t.Errorf("a certificate that is not there: %v", err)
	}
	dial("second.test")
	r.write("port53.yaml", strings.Replace(text, `dot: "127.0.0.1:0"`, `dot: "127.0.0.2:0"`, 1))
	if result, err := r.Reload(context.Background()); err != nil || strings.Join(result.(*app.Reloaded).Restart, " ") != "encrypted" {
		t.Errorf("other listeners: %+v %v", result, err)
	}

	status, err := r.Status("", "")
	if err != nil {
		t.Fatal(err)
	}
	st := status.(app.Status)
	if len(st.Encrypted) != 4 || st.Encrypted[0].Address.String() != r.at(server.DoT) || st.Encrypted[0].Transport != "DNS over TLS" {
		t.Errorf("status tells of %v", st.Encrypted)
	}
	if len(st.Certificates) != 1 || st.Certificates[0].Days != 89 || strings.Join(st.Certificates[0].Names, " ") != "dns.test new.test 127.0.0.1" {
		t.Errorf("status tells of %v", st.Certificates)
	}

	told := metrics(t, r)
	for _, want := range []string{
		`port53_queries_total{transport="dot"} 3`, `port53_received_total{transport="dot"} 3`,
		`port53_tls_handshakes_total{result="full"} 5`, `port53_tls_unknown_names_total 0`,
		`port53_certificate_expiry_timestamp_seconds{names="dns.test new.test 127.0.0.1"}`,
	} {
		if !strings.Contains(told, want) {
			t.Errorf("no line %q", want)
		}
	}
}

// A resolver asks its forwarders over TLS and HTTPS; when one dies, another answers, and one that
// is not who it should be gets no question.
func TestForwardEncrypted(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for a server that is silent")
	}
	one, ca, _ := sealed(t, "metrics: {listen: off}\n")
	liar, _, _ := sealed(t, "metrics: {listen: \"127.0.0.1:0\"}\n")
	hole, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer hole.Close()
	for name, to := range map[string]string{
		"tls":               `"tls://` + one.at(server.DoT) + `#dns.test"`,
		"quic":              `"quic://` + one.at(server.DoQ) + `#dns.test"`,
		"https":             `"https://` + one.at(server.DoH) + `/dns-query#dns.test"`,
		"others are no use": `"tls://` + liar.at(server.DoT) + `#dns.test", "quic://` + liar.at(server.DoQ) + `#dns.test", "tls://` + hole.Addr().String() + `", "https://` + one.at(server.DoH) + `"`,
	} {
		r := &running{T: t, dir: t.TempDir(), reload: make(chan os.Signal, 1), done: make(chan error, 1)}
		r.write("port53.yaml", "role: internal-resolver\nlisten: [\"127.0.0.1:0\"]\ncontrol: {socket: control.sock}\nmetrics: {listen: off}\nstate_dir: state\n"+
			"resolver: {validation: false, forward: [{zone: test, to: ["+to+"], tls: {ca: "+ca.File+"}}]}\n")
		if err := r.serve(io.Discard); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if got := r.ask("tcp", "ns.test. A +rd"); !strings.Contains(got, "192.0.2.1") {
			t.Errorf("%s: %q", name, got)
		}
		t.Logf("%s: %v", name, time.Since(begin))
		r.end()
	}
	if told := metrics(t, liar); !strings.Contains(told, `port53_received_total{transport="dot"} 0`) {
		t.Error("a server that is not who it should be got a question")
	}
}

// follower starts a server that has zone test from a remote, and returns it, or nil if it does
// not start. name is of the certificate that it shows.
func follower(t *testing.T, ca *certtest.Authority, primary, tls string) (*running, *said) {
	t.Helper()
	dir := t.TempDir()
	c, key := ca.Issue(dir, "serve", "second.test", "127.0.0.1")
	r := &running{T: t, dir: dir, reload: make(chan os.Signal, 1), done: make(chan error, 1)}
	r.write("port53.yaml", "role: authoritative\nlisten: [\"127.0.0.1:0\"]\ncontrol: {socket: control.sock}\nmetrics: {listen: off}\nstate_dir: state\n"+
		"encrypted: {certificate: "+c+", key: "+key+", dot: \"127.0.0.1:0\"}\n"+
		"remotes: [{name: first, addresses: \""+primary+"\", tls: {"+tls+"}}]\nzones: [{name: test, primaries: [first]}]\n")
	log := &said{}
	if err := r.serve(log); err != nil {
		t.Fatal(err)
	}
	return r, log
}

// said is a log that is read while it is written.
type said struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *said) has(part string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(s.text.String(), part)
}

// TestTransferOverTLS has zones go over TLS to those whose certificates fit, both ways, and to
// nobody else; and changes told over TLS.
func TestTransferOverTLS(t *testing.T) {
	ca, other, dir := certtest.New(t), certtest.New(t), t.TempDir()
	c, key := ca.Issue(dir, "own", "dns.test", "127.0.0.1")
	first := start(t, "encrypted: {certificate: "+c+", key: "+key+", dot: \"127.0.0.1:0\"}\nmetrics: {listen: off}\nstate_dir: state\n"+
		"remotes: [{name: second, addresses: 127.0.0.1, tls: {name: second.test, ca: "+ca.File+"}}]\n")
	config := strings.Replace(first.read("port53.yaml"), "file: test.zone", "file: test.zone, allow_transfer: [second]", 1)
	first.write("port53.yaml", config)
	if _, err := first.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	at := first.at(server.DoT)
	shows := func(a *certtest.Authority, name string, l certtest.Leaf) string {
		c, key := a.IssueLeaf(dir, name, l)
		return ", certificate: " + c + ", key: " + key
	}
	good := shows(ca, "second", certtest.Leaf{Names: []string{"second.test"}})
	for name, tls := range map[string]string{
		"another name of the primary": "name: ns.test, ca: " + ca.File + good,
		"another authority of it":     "name: dns.test, ca: " + other.File + good,
		"nothing shown":               "name: dns.test, ca: " + ca.File,
		"another name shown":          "name: dns.test, ca: " + ca.File + shows(ca, "third", certtest.Leaf{Names: []string{"third.test"}}),
		"another authority's":         "name: dns.test, ca: " + ca.File + shows(other, "foreign", certtest.Leaf{Names: []string{"second.test"}}),
		"expired":                     "name: dns.test, ca: " + ca.File + shows(ca, "old", certtest.Leaf{Names: []string{"second.test"}, Until: time.Now().Add(-time.Minute)}),
	} {
		r, log := follower(t, ca, at, tls)
		awaited(t, name+": tried in vain", func() bool { return log.has("127.0.0.1:") && log.has("error=") && log.has("zone=test.") })
		if got := r.ask("tcp", "ns.test. A"); !strings.Contains(got, "SERVFAIL") {
			t.Errorf("%s: %q", name, got)
		}
		r.end()
	}
	r, _ := follower(t, ca, at, "name: dns.test, ca: "+ca.File+good)
	awaited(t, "the zone", func() bool { return strings.Contains(r.ask("tcp", "ns.test. A"), "192.0.2.1") })

	// Without a name and keys, a remote has to have its address in the certificate, from the authority.
	first.write("port53.yaml", strings.Replace(config, "name: second.test, ", "", 1))
	if _, err := first.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		shown string
		want  bool
	}{
		"its address":     {shows(ca, "addressed", certtest.Leaf{Names: []string{"127.0.0.1"}}), true},
		"another address": {shows(ca, "elsewhere", certtest.Leaf{Names: []string{"127.0.0.2"}}), false},
		"a name":          {good, false},
	} {
		r, log := follower(t, ca, at, "name: dns.test, ca: "+ca.File+x.shown)
		if x.want {
			awaited(t, name+": the zone", func() bool { return strings.Contains(r.ask("tcp", "ns.test. A"), "192.0.2.1") })
		} else {
			awaited(t, name+": tried in vain", func() bool { return log.has("127.0.0.1:") && log.has("error=") && log.has("zone=test.") })
			if got := r.ask("tcp", "ns.test. A"); !strings.Contains(got, "SERVFAIL") {
				t.Errorf("%s: %q", name, got)
			}
		}
		r.end()
	}
	first.write("port53.yaml", config)

	// The primary tells of a change over TLS.
	text := strings.Replace(config, "remotes: [", "remotes: [{name: told, addresses: \""+r.at(server.DoT)+"\", tls: {name: second.test, ca: "+ca.File+"}}, ", 1)
	first.write("port53.yaml", strings.Replace(text, "allow_transfer: [second]", "allow_transfer: [second], notify: [told]", 1))
	first.write("test.zone", strings.ReplaceAll(first.read("test.zone"), "admin 1 ", "admin 2 ")+"new A 192.0.2.9\n")
	if _, err := first.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaited(t, "the change", func() bool { return strings.Contains(r.ask("tcp", "new.test. A"), "192.0.2.9") })
}

// awaited waits for something that no event tells of.
func awaited(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never happened: " + what)
		}
	}
}
