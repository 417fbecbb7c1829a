package catalogue_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	bignum "math/big"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"port53/internal/catalogue"
	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/wire"
)

// answered returns the good server's answer to a question in octets.
func answered(q []byte) []byte {
	var m wire.Message
	if m.Parse(q) != 0 || !m.HasQuestion {
		return nil
	}
	return encode(&m, good(&m, 1, true))
}

// streamTrials are servers that do something wrong, and right, with connections and
// datagrams themselves.
func streamTrials() map[string][2]func(t *testing.T) netip.AddrPort {
	datagrams := func(q []byte, send func([]byte)) {
		if len(q) > 2 && q[2]&0x80 != 0 {
			return
		}
		if m := answered(q); m != nil {
			send(m)
		}
	}
	each := func(c net.Conn, most int) {
		for range most {
			q := readQuestion(c)
			if q == nil {
				return
			}
			if _, err := c.Write(framed(answered(q))); err != nil {
				return
			}
		}
	}
	server := func(udp func([]byte, func([]byte)), tcp func(net.Conn)) func(*testing.T) netip.AddrPort {
		return func(t *testing.T) netip.AddrPort { return raw(t, udp, tcp) }
	}
	all := func(c net.Conn) { each(c, 1<<20) }
	// One that takes ten connections and then no more, whoever asks.
	few := func(t *testing.T) netip.AddrPort {
		var mu sync.Mutex
		n := 0
		return raw(t, datagrams, func(c net.Conn) {
			mu.Lock()
			n++
			ok := n <= 10
			mu.Unlock()
			if ok {
				all(c)
			} else {
				_, _ = io.Copy(io.Discard, c)
			}
		})
	}
	return map[string][2]func(t *testing.T) netip.AddrPort{
		"SRV-TCP-PIPE": {server(datagrams, func(c net.Conn) { each(c, 1) }), server(datagrams, all)},
		"SRV-TCP-IDLE": {server(datagrams, func(c net.Conn) { each(c, 1) }), server(datagrams, func(c net.Conn) {
			_ = c.SetDeadline(time.Now().Add(time.Second))
			all(c)
		})},
		"SRV-TCP-CAP": {few, server(datagrams, all)},
		"SRV-TCP-SLOW": {server(datagrams, all), server(datagrams, func(c net.Conn) {
			_ = c.SetDeadline(time.Now().Add(300 * time.Millisecond))
			all(c)
		})},
		"SRV-BADPKT": {server(func(q []byte, send func([]byte)) {
			if m := reply(q, 0, nil); m != nil {
				send(m)
			}
		}, all), server(datagrams, all)},
	}
}

func TestStreams(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	defer all.Wait()
	for id, pair := range streamTrials() {
		c, bad, right := find(t, id), pair[0](t), pair[1](t)
		// Beside each other, for most of it is waiting.
		all.Go(func() {
			if got := states(runOne(t, c, nil, bad)); !slices.Contains(got, finding.Warn) && !slices.Contains(got, finding.Fail) {
				t.Errorf("%s: bad server: %v", id, got)
			}
		})
		all.Go(func() {
			for _, f := range runOne(t, c, nil, right) {
				if f.State != finding.Pass {
					t.Errorf("%s: good server: %v %s", id, f.State, f.Detail)
				}
			}
		})
	}
}

// TestFloods has servers that limit nothing, that limit, that limit equal questions
// only, and that leave their victims without an answer.
func TestFloods(t *testing.T) {
	t.Parallel()
	slipping, silent := limited(true), limited(false)
	equal := limited(true)
	var all sync.WaitGroup
	defer all.Wait()
	for what, x := range map[string]struct {
		s         script
		rrl, slip finding.State
	}{
		"none":      {good, finding.Fail, finding.Skipped},
		"truncates": {slipping, finding.Pass, finding.Pass},
		"is silent": {silent, finding.Pass, finding.Warn},
		"equal only": {func(m *wire.Message, server int, tcp bool) answer {
			if m.Type == wire.TypeA {
				return good(m, server, tcp)
			}
			return equal(m, server, tcp)
		}, finding.Warn, finding.Pass},
	} {
		at, rrl, slip := serve(t, 2, x.s), find(t, "SRV-RRL"), find(t, "SRV-RRLSLIP")
		all.Go(func() {
			r := &check.Run{Server: finding.Server{Addr: at[1]}, Zone: zone, Options: &check.Options{Timeout: 4 * time.Second}, Facts: new(check.Facts)}
			if got := rrl.Run(t.Context(), r); got[0].State != x.rrl {
				t.Errorf("%s: SRV-RRL %v %s, want %v", what, got[0].State, got[0].Detail, x.rrl)
			}
			if got := slip.Run(t.Context(), r); got[0].State != x.slip {
				t.Errorf("%s: SRV-RRLSLIP %v %s, want %v", what, got[0].State, got[0].Detail, x.slip)
			}
		})
	}
}

// limited is good, and answers over UDP little after the first questions: truncated, or
// not at all.
func limited(slip bool) script {
	var mu sync.Mutex
	n := 0
	return func(m *wire.Message, server int, tcp bool) answer {
		a := good(m, server, tcp)
		mu.Lock()
		defer mu.Unlock()
		if n++; n > 30 && !tcp {
			a.silent = n%2 == 0 || !slip
			a.flags, a.rr = a.flags|wire.FlagTC, nil
		}
		return a
	}
}

func find(t *testing.T, id string) *check.Check {
	t.Helper()
	for _, c := range catalogue.All() {
		if c.ID == id {
			return c
		}
	}
	t.Fatalf("no check %s", id)
	return nil
}

// certificate returns one of ns1.example.test, and the pool that trusts it.
func certificate(t *testing.T, valid time.Duration) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: bignum.NewInt(1), Subject: pkix.Name{CommonName: "port53 test"}, DNSNames: []string{"ns1.example.test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(valid), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func tlsOptions(at netip.AddrPort, pool *x509.CertPool) *check.Options {
	return &check.Options{Timeout: time.Second, PortDoT: at.Port(), PortDoH: at.Port(), Lab: check.Lab{TLSRoots: pool}}
}

func TestDoT(t *testing.T) {
	c := find(t, "DOT-CERT")
	for _, x := range []struct {
		name  string
		valid time.Duration
		trust bool
		host  string
		proto string
		want  finding.State
	}{
		{"good", 90 * 24 * time.Hour, true, "ns1.example.test", "dot", finding.Pass},
		{"expired", -time.Hour, true, "ns1.example.test", "dot", finding.Fail},
		{"soon", 48 * time.Hour, true, "ns1.example.test", "dot", finding.Warn},
		{"untrusted", 90 * 24 * time.Hour, false, "ns1.example.test", "dot", finding.Warn},
		{"another's", 90 * 24 * time.Hour, true, "ns2.example.test", "dot", finding.Warn},
		{"without ALPN", 90 * 24 * time.Hour, true, "ns1.example.test", "", finding.Warn},
	} {
		t.Run(x.name, func(t *testing.T) {
			cert, pool := certificate(t, x.valid)
			conf := &tls.Config{Certificates: []tls.Certificate{cert}}
			if x.proto != "" {
				conf.NextProtos = []string{x.proto}
			}
			l, err := tls.Listen("tcp4", "127.0.0.1:0", conf)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go func() {
						defer c.Close()
						_, _ = io.Copy(io.Discard, c) // the handshake, and the end
					}()
				}
			}()
			at := l.Addr().(*net.TCPAddr).AddrPort()
			if !x.trust {
				pool = x509.NewCertPool()
			}
			got := c.Run(t.Context(), &check.Run{Check: c, Server: finding.Server{Addr: at, Name: name(x.host)}, Options: tlsOptions(at, pool)})
			if len(got) != 1 || got[0].State != x.want {
				t.Errorf("got %v, want %v", got, x.want)
			}
		})
	}
}

func TestDoH(t *testing.T) {
	cert, pool := certificate(t, 90*24*time.Hour)
	serveHTTP := func(t *testing.T, h http.HandlerFunc) netip.AddrPort {
		l, err := tls.Listen("tcp4", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}})
		if err != nil {
			t.Fatal(err)
		}
		s := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
		t.Cleanup(func() { s.Close() })
		go func() { _ = s.Serve(l) }()
		return l.Addr().(*net.TCPAddr).AddrPort()
	}
	bad := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		http.SetCookie(w, &http.Cookie{Name: "who", Value: "you"})
	}
	right := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 4096))
		switch {
		case len(r.URL.RawQuery) > 4096:
			w.WriteHeader(http.StatusRequestURITooLong)
		case r.Method == http.MethodPost && r.Header.Get("Content-Type") != "application/dns-message":
			w.WriteHeader(http.StatusUnsupportedMediaType)
		case err != nil:
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		case len(body) < wire.HeaderLen:
			w.WriteHeader(http.StatusBadRequest)
		}
	}
	n := 0
	for _, c := range catalogue.All() {
		if !strings.HasPrefix(c.ID, "DOH-") {
			continue
		}
		n++
		t.Run(c.ID, func(t *testing.T) {
			for _, x := range []struct {
				h    http.HandlerFunc
				want finding.State
			}{{bad, finding.Warn}, {right, finding.Pass}, {http.NotFound, finding.Skipped}} {
				at := serveHTTP(t, x.h)
				got := c.Run(t.Context(), &check.Run{Check: c, Server: finding.Server{Addr: at}, Options: tlsOptions(at, pool)})
				if len(got) != 1 || got[0].State != x.want {
					t.Errorf("got %v, want %v", got, x.want)
				}
			}
		})
	}
	if n != 4 {
		t.Errorf("%d checks", n)
	}
}
