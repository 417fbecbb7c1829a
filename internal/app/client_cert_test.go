package app_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"port53/internal/certs"
	"port53/internal/certs/certtest"
	"port53/internal/grant"
	"port53/internal/quic"
	"port53/internal/server"
	"port53/internal/tsig"
	"port53/internal/wire"
	"port53/internal/zone"
)

// certified is a server that knows clients by their certificates, and what clients need.
type certified struct {
	*running
	ca  *certtest.Authority
	dir string
}

// certConfig is what a server knows clients by. PIN is that of the certificate pinned.pem.
const certConfig = `client_certificates:
  - {name: writer, hostname: writer.test, ca: CA, grants: [{zone: test, verbs: [read, change]}]}
  - {name: part, hostname: 192.0.2.77, ca: CA, grants: [{zone: test, names: ["*.dyn.test"], types: [A], verbs: [change]}]}
  - {name: pinned, pins: PIN, grants: [{zone: test, verbs: [read]}]}
`

func startCertified(t *testing.T, more string) *certified {
	t.Helper()
	c := &certified{ca: certtest.New(t), dir: t.TempDir()}
	certificate, key := c.ca.Issue(c.dir, "own", "dns.test", "127.0.0.1")
	self, _ := certtest.New(t).Issue(c.dir, "pinned", "whatever.test")
	pin, _, err := certs.ReadPin(self)
	if err != nil {
		t.Fatal(err)
	}
	own := "certificate: " + certificate + ", key: " + key
	c.running = start(t, "state_dir: state\nmetrics: {listen: off}\naudit: {file: audit.json}\n"+
		"encrypted: {"+own+", dot: \"127.0.0.1:0\", doq: \"127.0.0.1:0\", doh: {listen: \"127.0.0.1:0\"}}\n"+
		"api: {listen: \"127.0.0.1:0\", "+own+"}\n"+
		strings.NewReplacer("CA", c.ca.File, "PIN", pin.String()).Replace(certConfig)+more, "state")
	return c
}

// as returns the configuration of a client that shows the certificate of a file; "": none.
func (c *certified) as(file string, protocols ...string) *tls.Config {
	c.Helper()
	config := &tls.Config{ServerName: "dns.test", RootCAs: c.ca.Pool, NextProtos: protocols}
	if file != "" {
		pair, err := tls.LoadX509KeyPair(c.dir+"/"+file+".pem", c.dir+"/"+file+".key")
		if err != nil {
			c.Fatal(err)
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	return config
}

func (c *certified) dial(config *tls.Config) *tls.Conn {
	c.Helper()
	conn, err := tls.Dial("tcp", c.at(server.DoT), config)
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { conn.Close() })
	return conn
}

// rcode is that of a reply.
func rcode(reply []byte) string { return wire.Rcode(reply[3] & 15).String() }

// addressUpdate is an update that adds an address to a name, whose label stands below so many of zone test.
func addressUpdate(name ...string) []byte {
	msg := wire.AppendQuery(nil, 9, uint16(wire.OpcodeUpdate)<<11, zoneName, wire.TypeSOA)
	var owner []byte
	for _, label := range name {
		owner = append(append(owner, byte(len(label))), label...)
	}
	msg = zone.AppendRecord(msg, append(owner, zoneName...), wire.TypeA, 60, []byte{192, 0, 2, 9})
	msg[9] = 1
	return msg
}

func plainNotify() []byte   { return message(9, wire.OpcodeNotify, wire.TypeSOA) }
func plainTransfer() []byte { return message(9, wire.OpcodeQuery, wire.TypeAXFR) }

// TestClientCertificates has those who show a certificate do over TLS what their grants say, and
// nobody else: by TLS 1.2 and 1.3, over QUIC, at the API.
func TestClientCertificates(t *testing.T) {
	c := startCertified(t, "")
	other := certtest.New(t)
	c.ca.Issue(c.dir, "writer", "writer.test")
	c.ca.Issue(c.dir, "part", "192.0.2.77")
	c.ca.Issue(c.dir, "wild", "*.test")
	c.ca.Issue(c.dir, "below", "x.writer.test")
	c.ca.Issue(c.dir, "nobody", "nobody.test")
	c.ca.Issue(c.dir, "named", "192.0.2.78")
	other.Issue(c.dir, "foreign", "writer.test")
	c.ca.IssueLeaf(c.dir, "old", certtest.Leaf{Names: []string{"writer.test"}, From: time.Now().Add(-2 * time.Hour), Until: time.Now().Add(-time.Hour)})
	c.ca.IssueLeaf(c.dir, "early", certtest.Leaf{Names: []string{"writer.test"}, From: time.Now().Add(time.Hour)})
	for file, may := range map[string]string{
		"writer": "read change dyn", "part": "dyn", "pinned": "read", "": "", "wild": "", "below": "", "nobody": "", "named": "", "foreign": "",
		"old": "", "early": "", "own": "",
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			config := c.as(file, certs.DoT)
			config.MinVersion, config.MaxVersion = version, version
			conn := c.dial(config)
			label := strings.ToLower(fmt.Sprintf("n%s%x", file, version))
			for what, msg := range map[string][]byte{
				"read": plainTransfer(), "change": addressUpdate(label), "dyn": addressUpdate(label, "dyn"), "notify": plainNotify(),
			} {
				want := "REFUSED"
				if strings.Contains(" "+may+" ", " "+what+" ") {
					want = "NOERROR"
				}
				if got := rcode(c.tell(conn, msg)); got != want {
					t.Errorf("%q by TLS %x: %s: %s, want %s", file, version, what, got, want)
				}
			}
			conn.Close()
		}
		if got := c.get(file, "", "GET", "/v1/zones"); (got == 200) != (may != "") {
			t.Errorf("%q at the API: %d", file, got)
		}
		want := 401
		switch file {
		case "writer":
			want = 204
		case "part", "pinned":
			want = 403
		}
		if got := c.get(file, "", "PATCH", pdnsZones+"/test."); got != want && (want != 403 || got != 404) {
			t.Errorf("%q changes by the API: %d, want %d", file, got, want)
		}
	}
	// Over QUIC it is the same.
	for file, want := range map[string]string{"writer": "NOERROR", "part": "REFUSED", "foreign": "REFUSED", "": "REFUSED"} {
		if got := rcode(c.overQUIC(c.as(file, certs.DoQ), addressUpdate("quic"))); got != want {
			t.Errorf("%q over QUIC: %s, want %s", file, got, want)
		}
	}
	// Over HTTPS nobody is asked for a certificate.
	asked := false
	config := c.as("writer", certs.H2)
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		asked = true
		return &tls.Certificate{}, nil
	}
	if conn, err := tls.Dial("tcp", c.at(server.DoH), config); err != nil || asked {
		t.Errorf("over HTTPS: asked %v, error %v", asked, err)
	} else {
		conn.Close()
	}
	audit := c.read("audit.json")
	for _, want := range []string{
		`"certificate":"writer"`, `"by":"certificate writer from 127.0.0.1"`, "no grant is for its client certificate, whose pin is",
		"certificate pinned may not, from this address",
	} {
		if !strings.Contains(audit, want) {
			t.Errorf("the audit does not say %s", want)
		}
	}
}

// get asks the API with the certificate of a file and a token, and returns the status. PATCH adds a record.
func (c *certified) get(file, token, method, path string, headers ...string) int {
	c.Helper()
	status, _ := c.say(file, token, method, path, headers...)
	return status
}

func (c *certified) say(file, token, method, path string, headers ...string) (int, string) {
	c.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: c.as(file), DisableKeepAlives: true}}
	body := ""
	if method == "PATCH" {
		body = `{"rrsets":[{"name":"api.test.","type":"TXT","ttl":60,"changetype":"REPLACE","records":[{"content":"\"` + time.Now().String() + `\""}]}]}`
	}
	req, err := http.NewRequest(method, "https://"+c.API().String()+path, strings.NewReader(body))
	if err != nil {
		c.Fatal(err)
	}
	if token != "" {
		req.Header.Set("X-API-Key", token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		c.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text)
}

// overQUIC sends one message over QUIC, and returns the reply.
func (c *certified) overQUIC(config *tls.Config, msg []byte) (reply []byte) {
	c.Helper()
	u, err := net.Dial("udp", c.at(server.DoQ))
	if err != nil {
		c.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(c.Context(), patience)
	defer cancel()
	conn, err := quic.Dial(ctx, u, config)
	if err != nil {
		c.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Ask(ctx, msg, 1, func(m []byte) error { reply = m; return nil }); err != nil || len(reply) < wire.HeaderLen {
		c.Fatal(len(reply), err)
	}
	return reply
}

// TestTokenBesideCertificate: who shows a token as well is who has the token, and nobody if it is not good.
// Signed messages are their key's. Rights of both are never added up.
func TestTokenBesideCertificate(t *testing.T) {
	const token = "reader-secret-of-many-letters"
	c := startCertified(t, fmt.Sprintf("tokens: [{name: reader, hash: \"%x\", grants: [{zone: test, verbs: [read]}]}]\n"+
		"keys: [{name: ddns, secret: MDEyMzQ1Njc4OUFCQ0RFRg==, grants: [{zone: test, verbs: [notify]}]}]\n", grant.Hash(token)))
	c.ca.Issue(c.dir, "writer", "writer.test")
	c.ca.Issue(c.dir, "nobody", "nobody.test")
	for _, tt := range []struct {
		file, token  string
		read, change int
	}{
		{"writer", "", 200, 204},
		{"writer", token, 200, 403},
		{"writer", "wrong", 401, 401},
		{"nobody", token, 200, 403},
		{"", token, 200, 403},
		{"nobody", "", 401, 401},
		{"", "", 401, 401},
	} {
		if got := c.get(tt.file, tt.token, "GET", "/v1/zones"); got != tt.read {
			t.Errorf("%q with token %q reads: %d, want %d", tt.file, tt.token, got, tt.read)
		}
		if got := c.get(tt.file, tt.token, "PATCH", pdnsZones+"/test."); got != tt.change {
			t.Errorf("%q with token %q changes: %d, want %d", tt.file, tt.token, got, tt.change)
		}
	}
	// A browser shows the certificate for whichever page has it ask.
	for _, tt := range []struct {
		headers []string
		want    int
	}{
		{[]string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, 403},
		{[]string{"Sec-Fetch-Site", "same-site"}, 403},
		{[]string{"Origin", "https://evil.example"}, 403},
		{[]string{"Origin", "null"}, 403},
		{[]string{"Origin", "http://" + c.API().String()}, 403},
		{[]string{"Origin", "https://" + c.API().String(), "Sec-Fetch-Site", "same-origin"}, 204},
		{[]string{"Sec-Fetch-Site", "none"}, 204},
	} {
		if got := c.get("writer", "", "PATCH", pdnsZones+"/test.", tt.headers...); got != tt.want {
			t.Errorf("%q: %d, want %d", tt.headers, got, tt.want)
		}
	}
	// What a proxy might say of a certificate says nothing.
	if got := c.get("", "", "GET", "/v1/zones", "X-SSL-Client-Cert", "writer", "X-Client-Cert", "writer", "Forwarded", "for=127.0.0.1"); got != 401 {
		t.Errorf("headers of a proxy: %d", got)
	}
	// A signature that is not good is not made up for by the certificate, and a key has its own rights.
	conn := c.dial(c.as("writer", certs.DoT))
	now := time.Now()
	for what, tt := range map[string]struct {
		key  *tsig.Key
		want string
	}{"a key that may only notify": {&ddns, "REFUSED"}, "a wrong secret": {&wrong, "NOTAUTH"}, "a key that is not known": {&other, "NOTAUTH"}} {
		for _, msg := range [][]byte{addressUpdate("signed"), plainTransfer()} {
			if got := rcode(c.tell(conn, sign(tt.key, msg, now))); got != tt.want {
				t.Errorf("signed by %s: %s, want %s", what, got, tt.want)
			}
		}
	}
	if got := rcode(c.tell(conn, addressUpdate("unsigned"))); got != "NOERROR" {
		t.Errorf("not signed: %s", got)
	}
}

// TestRevokedCertificate: a connection that is open, and a session that is resumed, have the rights of the
// configuration in use, and none once it knows their certificate no more.
func TestRevokedCertificate(t *testing.T) {
	c := startCertified(t, "")
	c.ca.Issue(c.dir, "writer", "writer.test")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		text := c.read("port53.yaml")
		config := c.as("writer", certs.DoT)
		config.MinVersion, config.MaxVersion = version, version
		config.ClientSessionCache = tls.NewLRUClientSessionCache(8)
		open := c.dial(config)
		if got := rcode(c.tell(open, addressUpdate("one"))); got != "NOERROR" {
			t.Fatalf("before: %s", got)
		}
		again := c.dial(config)
		if got := rcode(c.tell(again, addressUpdate("two"))); got != "NOERROR" || !again.ConnectionState().DidResume {
			t.Errorf("%x: resumed %v: %s", version, again.ConnectionState().DidResume, got)
		}
		// The API's connection stays open as well.
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: c.as("writer")}}
		status := func() int {
			resp, err := client.Get("https://" + c.API().String() + "/v1/zones")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			_, _ = io.Copy(io.Discard, resp.Body)
			return resp.StatusCode
		}
		if got := status(); got != 200 {
			t.Errorf("API before: %d", got)
		}
		without := strings.Replace(text, "hostname: writer.test", "hostname: gone.test", 1)
		c.write("port53.yaml", without)
		if _, err := c.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		for what, conn := range map[string]*tls.Conn{"open": open, "resumed": again, "resumed later": c.dial(config)} {
			for _, msg := range [][]byte{addressUpdate("three"), plainTransfer(), plainNotify()} {
				if got := rcode(c.tell(conn, msg)); got != "REFUSED" {
					t.Errorf("%x: %s after it was revoked: %s", version, what, got)
				}
			}
		}
		if got := status(); got != 401 {
			t.Errorf("API after: %d", got)
		}
		// With nobody left to know, nobody is asked, and no session brings a certificate along.
		before, _, _ := strings.Cut(text, "client_certificates:")
		c.write("port53.yaml", before)
		if _, err := c.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := rcode(c.tell(c.dial(config), addressUpdate("four"))); got != "REFUSED" {
			t.Errorf("%x: with nobody to know: %s", version, got)
		}
		c.write("port53.yaml", text)
		if _, err := c.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		// A session from when nobody was asked is not resumed: it has no certificate.
		for what, conn := range map[string]*tls.Conn{"open": open, "new": c.dial(config)} {
			if got := rcode(c.tell(conn, addressUpdate("five"))); got != "NOERROR" {
				t.Errorf("%x: %s, known again: %s", version, what, got)
			}
		}
	}
}

// TestGrantCertificate: a certificate that a command admits counts at once, over restarts, and until it is
// revoked; nobody has the pin of another.
func TestGrantCertificate(t *testing.T) {
	c := startCertified(t, "")
	file, _ := c.ca.Issue(c.dir, "ns2", "ns2.test")
	pin, _, err := certs.ReadPin(file)
	if err != nil {
		t.Fatal(err)
	}
	may := func() string { return rcode(c.tell(c.dial(c.as("ns2", certs.DoT)), plainTransfer())) }
	grantOf := func(name, pin string) error {
		_, err := c.Grant([]byte(`{"name":"` + name + `","kind":"certificate","pins":["` + pin + `"],"grants":[{"zones":["test"],"names":["*"],"verbs":["read"]}]}`))
		return err
	}
	if got := may(); got != "REFUSED" {
		t.Errorf("before: %s", got)
	}
	open := c.dial(c.as("ns2", certs.DoT))
	if err := grantOf("ns2", pin.String()); err != nil {
		t.Fatal(err)
	}
	if got := may(); got != "NOERROR" {
		t.Errorf("granted: %s", got)
	}
	if got := rcode(c.tell(open, plainTransfer())); got != "NOERROR" {
		t.Errorf("granted, on a connection from before: %s", got)
	}
	for name, text := range map[string]string{"ns2": strings.Repeat("A", 43) + "=", "again": pin.String(), "bad": "?", "a b": strings.Repeat("B", 43) + "="} {
		if grantOf(name, text) == nil {
			t.Errorf("certificate %q with pin %s is granted", name, text)
		}
	}
	for _, useless := range []string{
		`{"name":"","kind":"token","grants":[{"zones":["test"],"names":["*"],"verbs":["read"]}]}`,
		`{"name":"t","kind":"token","grants":[{"zones":["test"],"names":["*"],"verbs":["read"],"until":"2020-01-01"}]}`,
		`{"name":"t","kind":"token","grants":[{"zones":["test"],"names":["out.example"],"verbs":["read"]}]}`,
		`{"name":"t","kind":"token","grants":[{"zones":["*.test"],"names":["test"],"verbs":["read"]}]}`,
	} {
		if _, err := c.Grant([]byte(useless)); err == nil {
			t.Errorf("%s is granted", useless)
		}
	}
	if _, err := c.Grant([]byte(`{"name":"u","kind":"token","grants":[{"zones":["*.test"],"names":["*.test","_acme-challenge.*","@","a.b.test"],"verbs":["read"]}]}`)); err != nil {
		t.Error(err)
	}
	list, err := c.Grants()
	if err != nil || !strings.Contains(fmt.Sprintf("%+v", list), "Kind:certificate") || !strings.Contains(fmt.Sprintf("%+v", list), pin.String()) {
		t.Errorf("%+v, %v", list, err)
	}
	c.end()
	if err := c.serve(io.Discard); err != nil {
		t.Fatal(err)
	}
	if got := may(); got != "NOERROR" {
		t.Errorf("after a restart: %s", got)
	}
	open = c.dial(c.as("ns2", certs.DoT))
	if got := rcode(c.tell(open, plainTransfer())); got != "NOERROR" {
		t.Errorf("open: %s", got)
	}
	if _, err := c.Revoke("writer"); err == nil || !strings.Contains(err.Error(), "certificate writer is in the configuration") {
		t.Errorf("%v", err)
	}
	if _, err := c.Revoke("ns2"); err != nil {
		t.Fatal(err)
	}
	if got := rcode(c.tell(open, plainTransfer())); got != "REFUSED" {
		t.Errorf("revoked, open: %s", got)
	}
	if got := may(); got != "REFUSED" {
		t.Errorf("revoked: %s", got)
	}
}

// TestShownChain: a chain that is longer than any that leads to an authority ends the connection.
func TestShownChain(t *testing.T) {
	c := startCertified(t, "")
	c.ca.Issue(c.dir, "writer", "writer.test")
	config := c.as("writer", certs.DoT)
	pair, err := tls.LoadX509KeyPair(c.dir+"/writer.pem", c.dir+"/writer.key")
	if err != nil {
		t.Fatal(err)
	}
	show := func(n int) error {
		long := pair
		for range n {
			long.Certificate = append(long.Certificate[:len(long.Certificate):len(long.Certificate)], c.ca.Cert.Raw)
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &long, nil }
		conn, err := tls.Dial("tcp", c.at(server.DoT), config)
		if err != nil {
			return err
		}
		defer conn.Close()
		msg := plainTransfer()
		if _, err := conn.Write(append([]byte{0, byte(len(msg))}, msg...)); err != nil {
			return err
		}
		_, err = io.ReadFull(conn, make([]byte, 2))
		return err
	}
	if err := show(3); err != nil {
		t.Errorf("a chain of 4: %v", err)
	}
	if err := show(4); err == nil {
		t.Error("a chain of 5 is taken")
	}
	var names []string
	for i := range 1200 {
		names = append(names, fmt.Sprintf("name-%04d.a-long-name-of-a-host.test", i))
	}
	c.ca.Issue(c.dir, "wide", names...)
	if pair, err = tls.LoadX509KeyPair(c.dir+"/wide.pem", c.dir+"/wide.key"); err != nil {
		t.Fatal(err)
	}
	if err := show(0); err == nil {
		t.Errorf("a certificate of %d octets is taken", len(pair.Certificate[0]))
	}
}
