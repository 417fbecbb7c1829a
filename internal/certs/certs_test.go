package certs_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"port53/internal/certs"
	"port53/internal/certs/certtest"
)

// meet has a client and a server shake hands, and returns what both see.
func meet(t *testing.T, client, server *tls.Config) (c, s tls.ConnectionState, err error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan tls.ConnectionState, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			done <- tls.ConnectionState{}
			return
		}
		defer conn.Close()
		tc := tls.Server(conn, server)
		if tc.Handshake() == nil {
			_, _ = tc.Write([]byte{1})
			_, _ = tc.Read(make([]byte, 1))
		}
		done <- tc.ConnectionState()
	}()
	conn, err := tls.Dial("tcp", l.Addr().String(), client)
	if err == nil {
		// The session of TLS 1.3 comes behind the handshake.
		if _, err = conn.Read(make([]byte, 1)); err == nil {
			c = conn.ConnectionState()
		}
		conn.Close()
	}
	return c, <-done, err
}

func TestServerNames(t *testing.T) {
	ca, dir := certtest.New(t), t.TempDir()
	pair := func(name string, names ...string) certs.Pair {
		c, k := ca.Issue(dir, name, names...)
		return certs.Pair{Certificate: c, Key: k}
	}
	k, err := certs.NewManager([]certs.Pair{pair("first", "one.test", "192.0.2.1"), pair("second", "two.test"), pair("wild", "*.three.test")})
	if err != nil {
		t.Fatal(err)
	}
	server := k.Server(nil, certs.DoT)
	for name, want := range map[string]string{
		"one.test": "first", "two.test": "second", "TWO.test.": "second", "a.three.test": "wild", "three.test": "first", "a.b.three.test": "first",
		"elsewhere.test": "first", "192.0.2.7": "first",
	} {
		c, _, err := meet(t, &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: []string{"dot"}}, server)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := c.PeerCertificates[0].Subject.CommonName; got != want || c.NegotiatedProtocol != "dot" {
			t.Errorf("%s gets %q and protocol %q, want %q", name, got, c.NegotiatedProtocol, want)
		}
	}
	if n := k.Unknown(); n != 3 {
		t.Errorf("%d clients asked for unknown names, want 3", n)
	}
	if _, _, err := meet(t, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}, server); err == nil {
		t.Error("a client of another protocol is served")
	}
	if _, _, err := meet(t, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}, server); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	if err := k.Covers("192.0.2.1", ca.Pool, time.Now()); err != nil {
		t.Error("the address is not covered:", err)
	}
	for name, why := range map[string]error{
		"another address": k.Covers("192.0.2.2", ca.Pool, time.Now()),
		"no authority":    k.Covers("one.test", x509.NewCertPool(), time.Now()),
		"later":           k.Covers("one.test", ca.Pool, time.Now().Add(100*24*time.Hour)),
	} {
		if why == nil {
			t.Errorf("%s: covered", name)
		}
	}
}

func TestRefresh(t *testing.T) {
	ca, dir := certtest.New(t), t.TempDir()
	c, key := ca.Issue(dir, "own", "a.test")
	k, err := certs.NewManager([]certs.Pair{{Certificate: c, Key: key}})
	if err != nil {
		t.Fatal(err)
	}
	refresh := func(want bool, wrong string) {
		t.Helper()
		changed, err := k.Refresh()
		if changed != want || (err == nil) != (wrong == "") || err != nil && !strings.Contains(err.Error(), wrong) {
			t.Errorf("changed is %v and the error %v, want %v and %q", changed, err, want, wrong)
		}
	}
	later := func(d time.Duration) {
		for _, path := range []string{c, key} {
			if err := os.Chtimes(path, time.Now().Add(d), time.Now().Add(d)); err != nil {
				t.Fatal(err)
			}
		}
	}
	refresh(false, "")
	later(time.Hour)
	refresh(false, "") // touched, and the same
	ca.Issue(dir, "own", "b.test")
	later(2 * time.Hour)
	refresh(true, "")
	if got := k.Certificates(); len(got) != 1 || got[0].Names[0] != "b.test" {
		t.Errorf("shown is %v", got)
	}
	if err := os.WriteFile(c, []byte("rubbish"), 0o644); err != nil {
		t.Fatal(err)
	}
	refresh(false, "no certificate in PEM")
	refresh(false, "no certificate in PEM") // again, until it is mended
	if got := k.Certificates(); got[0].Names[0] != "b.test" {
		t.Errorf("shown is %v: the one before is to stay", got)
	}
	ca.Issue(dir, "own", "c.test")
	later(3 * time.Hour)
	refresh(true, "")
	if err := k.Replace(nil); err == nil {
		t.Error("nothing at all is shown")
	}
}

func TestCheck(t *testing.T) {
	ca, dir, now := certtest.New(t), t.TempDir(), time.Now()
	good, key := ca.Issue(dir, "good", "ns.test", "2001:db8::1")
	other, otherKey := ca.Issue(dir, "other", "ns.test")
	old, oldKey := ca.IssueLeaf(dir, "old", certtest.Leaf{Names: []string{"ns.test"}, Until: now.Add(-time.Minute)})
	young, youngKey := ca.IssueLeaf(dir, "young", certtest.Leaf{Names: []string{"ns.test"}, From: now.Add(time.Hour)})
	read := func(paths ...string) (all []byte) {
		for _, p := range paths {
			text, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, text...)
		}
		return all
	}
	file := func(name string, mode os.FileMode, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tt := range []struct {
		name, certificate, key string
		names                  []string
		want                   string // of the first problem; "": none
		grave                  bool
	}{
		{"good", good, key, []string{"ns.test", "ns.test.", "2001:db8::1"}, "", false},
		{"chain", file("chain.pem", 0o644, read(good, ca.File)), key, nil, "", false},
		{"one file", file("both.pem", 0o600, read(good, key)), filepath.Join(dir, "both.pem"), nil, "", false},
		{"missing", filepath.Join(dir, "none.pem"), key, nil, "does not exist", true},
		{"missing key", good, filepath.Join(dir, "none.key"), nil, "does not exist", true},
		{"folder", dir, key, nil, "is not a regular file", true},
		{"another's key", good, otherKey, nil, "does not fit the certificate", true},
		{"another's certificate", other, key, nil, "does not fit the certificate", true},
		{"open key", good, file("open.key", 0o604, read(key)), nil, "is readable by every user", true},
		{"key in the place of the certificate", key, key, nil, "has no certificate in PEM", true},
		{"certificate in the place of the key", good, file("no.key", 0o600, read(good)), nil, "has no private key in PEM", true},
		{"encrypted", good, file("enc.key", 0o600, []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")), nil, "is encrypted", true},
		{"torn", file("torn.pem", 0o644, []byte("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")), key, nil, "cannot be read", true},
		{"authority first", file("turned.pem", 0o644, read(ca.File, good)), key, nil, "in the wrong order: that of the private key is certificate 2", true},
		{"stranger behind", file("stray.pem", 0o644, read(good, other)), key, nil, "in the wrong order: certificate 1 (good)", false},
		{"expired", old, oldKey, nil, "expired on ", false},
		{"not yet", young, youngKey, nil, "is not valid before ", false},
		{"another name", good, key, []string{"dns.test"}, "does not cover dns.test: it has ns.test, 2001:db8::1", false},
	} {
		problems := certs.Check(certs.Pair{Certificate: tt.certificate, Key: tt.key}, tt.names, now)
		switch {
		case tt.want == "" && len(problems) > 0:
			t.Errorf("%s: %+v", tt.name, problems)
		case tt.want != "" && (len(problems) == 0 || !strings.Contains(problems[0].Text, tt.want) || problems[0].Fatal != tt.grave):
			t.Errorf("%s: %+v, want %q, grave %v", tt.name, problems, tt.want, tt.grave)
		}
		_, err := certs.Load([]certs.Pair{{Certificate: tt.certificate, Key: tt.key}})
		if (err != nil) != tt.grave {
			t.Errorf("%s: loaded with error %v", tt.name, err)
		}
	}
}

// resumes reports whether a client that was at one server before goes on with its session at
// another.
func resumes(t *testing.T, ca *certtest.Authority, first, second *tls.Config) bool {
	t.Helper()
	p := certs.Peer{Name: "ns.test", Roots: ca.Pool}
	client := p.Client(certs.DoT)
	if _, _, err := meet(t, client, first); err != nil {
		t.Fatal(err)
	}
	_, s, err := meet(t, client, second)
	if err != nil {
		t.Fatal(err)
	}
	return s.DidResume
}

func TestTickets(t *testing.T) {
	ca, dir := certtest.New(t), t.TempDir()
	c, key := ca.Issue(dir, "own", "ns.test")
	k, err := certs.NewManager([]certs.Pair{{Certificate: c, Key: key}})
	if err != nil {
		t.Fatal(err)
	}
	secret := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a, b := strings.Repeat("ab", 32), strings.Repeat("cd", 32)
	now := time.Unix(1_800_000_000, 0)
	server := func(file string, days ...int) *tls.Config {
		tickets, err := certs.NewTickets(file)
		if err != nil {
			t.Fatal(err)
		}
		config := k.Server(nil, certs.DoT)
		tickets.Attach(config)
		for _, d := range days {
			if err := tickets.Rotate(now.AddDate(0, 0, d)); err != nil {
				t.Fatal(err)
			}
		}
		return config
	}
	shared, turned, alone := secret("a", a), secret("ab", b+"\n"+a), secret("b", b)
	own := server("", 0)
	for _, tt := range []struct {
		name          string
		first, second *tls.Config
		want          bool
	}{
		{"one server", own, own, true},
		{"two servers", server("", 0), server("", 0), false},
		{"two servers that share", server(shared, 0), server(shared, 0), true},
		{"a day later", server(shared, 0), server(shared, 1), true},
		{"a clock a day behind", server(shared, 1), server(shared, 0), true},
		{"two days later", server(shared, 0), server(shared, 2), false},
		{"a new secret, and the old one", server(shared, 0), server(turned, 0), true},
		{"a new secret alone", server(shared, 0), server(alone, 0), false},
	} {
		if got := resumes(t, ca, tt.first, tt.second); got != tt.want {
			t.Errorf("%s: resumed is %v, want %v", tt.name, got, tt.want)
		}
	}

	// The keys of one server that shares nothing change daily, and one day's are good the next.
	tickets, _ := certs.NewTickets("")
	config := k.Server(nil, certs.DoT)
	tickets.Attach(config)
	for days, want := range map[int]bool{1: true, 2: false} {
		_ = tickets.Rotate(now)
		client := (&certs.Peer{Name: "ns.test", Roots: ca.Pool}).Client(certs.DoT)
		if _, _, err := meet(t, client, config); err != nil {
			t.Fatal(err)
		}
		for d := range days {
			_ = tickets.Rotate(now.AddDate(0, 0, d+1))
		}
		if _, s, err := meet(t, client, config); err != nil || s.DidResume != want {
			t.Errorf("after %d days resumed is %v (%v), want %v", days, s.DidResume, err, want)
		}
		now = now.AddDate(0, 0, 10)
	}

	for name, text := range map[string]string{"empty": "", "short": "abcd", "three": a + "\n" + a + "\n" + a, "letters": strings.Repeat("zz", 32)} {
		if _, err := certs.NewTickets(secret(name, text)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	open := secret("open", a)
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := certs.NewTickets(open); err == nil {
		t.Error("a secret that everybody may read is taken")
	}
}

func TestPeer(t *testing.T) {
	ca, other, dir := certtest.New(t), certtest.New(t), t.TempDir()
	pair := func(a *certtest.Authority, l certtest.Leaf) (*certs.Manager, certs.Pin) {
		c, key := a.IssueLeaf(dir, "own", l)
		text, err := os.ReadFile(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(c, append(text, must(os.ReadFile(a.File))...), 0o644); err != nil {
			t.Fatal(err)
		}
		k, err := certs.NewManager([]certs.Pair{{Certificate: c, Key: key}})
		if err != nil {
			t.Fatal(err)
		}
		leaf := must(tls.LoadX509KeyPair(c, key)).Leaf
		return k, certs.PinOf(leaf)
	}
	good, pin := pair(ca, certtest.Leaf{Names: []string{"ns.test", "192.0.2.1"}})
	old, oldPin := pair(ca, certtest.Leaf{Names: []string{"ns.test"}, Until: time.Now().Add(-time.Minute)})
	foreign, _ := pair(other, certtest.Leaf{Names: []string{"ns.test"}})
	for _, tt := range []struct {
		name string
		k    *certs.Manager
		p    certs.Peer
		want bool
	}{
		{"name", good, certs.Peer{Name: "ns.test", Roots: ca.Pool}, true},
		{"name with a dot", good, certs.Peer{Name: "ns.test.", Roots: ca.Pool}, true},
		{"address", good, certs.Peer{Name: "192.0.2.1", Roots: ca.Pool}, true},
		{"another name", good, certs.Peer{Name: "dns.test", Roots: ca.Pool}, false},
		{"another address", good, certs.Peer{Name: "192.0.2.2", Roots: ca.Pool}, false},
		{"the system's authorities", good, certs.Peer{Name: "ns.test"}, false},
		{"another authority", foreign, certs.Peer{Name: "ns.test", Roots: ca.Pool}, false},
		{"expired", old, certs.Peer{Name: "ns.test", Roots: ca.Pool}, false},
		{"pin", good, certs.Peer{Pins: []certs.Pin{pin}}, true},
		{"pin of an expired one", old, certs.Peer{Pins: []certs.Pin{oldPin}}, true},
		{"pin and name", good, certs.Peer{Name: "ns.test", Pins: []certs.Pin{{1}, pin}}, true},
		{"pin and another name", good, certs.Peer{Name: "dns.test", Pins: []certs.Pin{pin}}, false},
		{"pin of the authority", good, certs.Peer{Pins: []certs.Pin{certs.PinOf(ca.Cert)}}, true},
		{"pin of the authority, and expired", old, certs.Peer{Pins: []certs.Pin{certs.PinOf(ca.Cert)}}, false},
		{"another pin", good, certs.Peer{Name: "ns.test", Roots: ca.Pool, Pins: []certs.Pin{{1}}}, false},
		{"pin and another authority", good, certs.Peer{Pins: []certs.Pin{pin}, Roots: other.Pool}, false},
		{"nothing", good, certs.Peer{Roots: ca.Pool}, false},
	} {
		client := tt.p.Client(certs.DoT)
		server := tt.k.Server(nil, certs.DoT)
		_, _, err := meet(t, client, server)
		if (err == nil) != tt.want {
			t.Errorf("%s: error %v, want good %v", tt.name, err, tt.want)
		}
	}
	if p, err := certs.ParsePin("sha256/" + pin.String()); err != nil || p != pin {
		t.Errorf("a pin is read as %v, error %v", p, err)
	}
	for _, text := range []string{"", "AAAA", "?"} {
		if _, err := certs.ParsePin(text); err == nil {
			t.Errorf("%q is a pin", text)
		}
	}
}

// A session that was begun while a client was trusted does not outlive that trust: the chain is
// there to be judged in each connection.
func TestMutual(t *testing.T) {
	ca, dir := certtest.New(t), t.TempDir()
	keeper := func(name string) *certs.Manager {
		c, key := ca.Issue(dir, name, name)
		k, err := certs.NewManager([]certs.Pair{{Certificate: c, Key: key}})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	ask := true
	server := keeper("ns.test").Server(func() bool { return ask }, certs.DoT)
	client := (&certs.Peer{Name: "ns.test", Roots: ca.Pool, Own: keeper("secondary.test")}).Client(certs.DoT)
	for i := range 2 {
		_, s, err := meet(t, client, server)
		if err != nil {
			t.Fatal(err)
		}
		if s.DidResume != (i > 0) {
			t.Errorf("connection %d: resumed is %v", i, s.DidResume)
		}
		for name, want := range map[string]bool{"secondary.test": true, "stranger.test": false} {
			p := certs.Peer{Name: name, Roots: ca.Pool}
			if err := p.Verify(s.PeerCertificates, true, time.Now()); (err == nil) != want {
				t.Errorf("connection %d: as %s: %v", i, name, err)
			}
		}
	}
	ask = false
	if _, s, err := meet(t, (&certs.Peer{Name: "ns.test", Roots: ca.Pool, Own: keeper("x.test")}).Client(certs.DoT), server); err != nil || len(s.PeerCertificates) > 0 {
		t.Errorf("unasked, %d certificates are shown, error %v", len(s.PeerCertificates), err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A certificate that has been ordered is shown from when it is there; what is shown stays when the file is
// lost, or damaged. Until then who asks is turned away.
func TestComing(t *testing.T) {
	ca, dir := certtest.New(t), t.TempDir()
	other, otherKey := ca.Issue(dir, "other", "other.test")
	pair := certs.Pair{Certificate: filepath.Join(dir, "own.pem"), Key: filepath.Join(dir, "own.key"), Ordered: true}
	k, err := certs.NewManager([]certs.Pair{pair})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Server(nil, certs.DoT).GetCertificate(&tls.ClientHelloInfo{}); !errors.Is(err, certs.ErrNone) {
		t.Errorf("%v, want %v", err, certs.ErrNone)
	}
	if err := k.Covers("own.test", ca.Pool, time.Now()); !errors.Is(err, certs.ErrNone) || len(k.Certificates()) != 0 {
		t.Errorf("%v, %v", err, k.Certificates())
	}
	ca.Issue(dir, "own", "own.test")
	if changed, err := k.Refresh(); !changed || err != nil {
		t.Fatalf("%v %v", changed, err)
	}
	for name, spoil := range map[string]func() error{
		"damaged": func() error { return os.WriteFile(pair.Certificate, []byte("damaged"), 0o600) },
		"lost":    func() error { return os.Remove(pair.Certificate) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if changed, err := k.Refresh(); changed || err == nil || k.Covers("own.test", ca.Pool, time.Now()) != nil {
			t.Errorf("%s: %v %v %v", name, changed, err, k.Certificates())
		}
	}
	// Others are shown meanwhile.
	if k, err = certs.NewManager([]certs.Pair{pair, {Certificate: other, Key: otherKey}}); err != nil || len(k.Certificates()) != 1 {
		t.Error(err)
	}
}

// TestProves asks which addresses clients can verify: those of each certificate that they may be shown,
// as long as the certificates are valid and have the name.
func TestProves(t *testing.T) {
	ca, dir, now := certtest.New(t), t.TempDir(), time.Now()
	pair := func(file string, l certtest.Leaf) certs.Pair {
		c, k := ca.IssueLeaf(dir, file, l)
		return certs.Pair{Certificate: c, Key: k}
	}
	both := certtest.Leaf{Names: []string{"dns.test", "192.0.2.1", "2001:db8::1"}}
	for name, tt := range map[string]struct {
		pairs []certs.Pair
		want  string
	}{
		"both":           {[]certs.Pair{pair("a", both)}, "[192.0.2.1 2001:db8::1]"},
		"no address":     {[]certs.Pair{pair("b", certtest.Leaf{Names: []string{"dns.test"}})}, "[]"},
		"another name":   {[]certs.Pair{pair("c", certtest.Leaf{Names: []string{"a.test", "192.0.2.1"}})}, "[]"},
		"a wildcard":     {[]certs.Pair{pair("d", certtest.Leaf{Names: []string{"*.test", "192.0.2.1"}})}, "[192.0.2.1]"},
		"one of two":     {[]certs.Pair{pair("e", both), pair("f", certtest.Leaf{Names: []string{"dns.test", "192.0.2.1"}})}, "[192.0.2.1]"},
		"not yet":        {[]certs.Pair{pair("g", certtest.Leaf{Names: both.Names, From: now.Add(time.Minute)})}, "[]"},
		"not long":       {[]certs.Pair{pair("h", certtest.Leaf{Names: both.Names, Until: now.Add(time.Minute)})}, "[]"},
		"not there":      {[]certs.Pair{{Certificate: dir + "/none", Key: dir + "/none", Ordered: true}}, "[]"},
		"of other names": {[]certs.Pair{pair("i", both), pair("j", certtest.Leaf{Names: []string{"a.test"}})}, "[192.0.2.1 2001:db8::1]"},
	} {
		m, err := certs.NewManager(tt.pairs)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(m.VerifiableAddrs("dns.test", now, now.Add(5*time.Minute))); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

// TestReadMACKey reads keys as authorities show them, and says what is wrong with others.
func TestReadMACKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hmac")
	for text, want := range map[string]string{
		"AAECAwQFBgcICQoLDA0ODw": "", "AAECAwQFBgcICQoLDA0ODw==\n": "", "_-8CAwQFBgcICQoLDA0ODw": "", "/+8CAwQFBgcICQoLDA0ODw==": "",
		"": "at least 16 octets", "AAEC": "at least 16 octets", "a key!": "base64url", "AAECAwQFBgcICQoLDA0ODw AAECAwQFBgcICQoLDA0ODw": "expected a line",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		key, err := certs.ReadMACKey(file)
		if want == "" && (err != nil || len(key) != 16) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %d octets, %v", text, len(key), err)
		}
	}
	if err := os.Chmod(file, 0o604); err != nil {
		t.Fatal(err)
	}
	if _, err := certs.ReadMACKey(file); err == nil || !strings.Contains(err.Error(), "readable by every user") {
		t.Errorf("a file for all: %v", err)
	}
}
