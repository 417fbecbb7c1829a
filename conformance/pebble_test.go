package conformance_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// pebbleConfig has certificates that are valid for half a minute: what is left of them when they are renewed is ten seconds.
const pebbleConfig = `{"pebble": {"listenAddress": "127.0.0.1:14000", "managementListenAddress": "127.0.0.1:15000",
 "certificate": "ca.pem", "privateKey": "ca.key", "httpPort": 80, "tlsPort": 443, "keyAlgorithm": "ecdsa",
 "retryAfter": {"authz": 1, "order": 1}, "profiles": {"default": {"description": "short", "validityPeriod": 30}}}}`

// TestPebble has certificates ordered from Pebble, which refuses every fifth nonce, by each challenge, and renewed while clients ask
// over TLS and verify: none of their questions fails.
func TestPebble(t *testing.T) {
	bin, err := pebble.built()
	if err != nil {
		t.Fatal(err)
	}
	for challenge, more := range map[string]string{"dns-01": "", "http-01": `, listen: ["192.0.2.53:80"]`, "tls-alpn-01": ""} {
		t.Run(challenge, func(t *testing.T) {
			e := newExposed(t)
			httpsIdentity(t, e.dir)
			e.write("pebble.json", pebbleConfig)
			cmd := exec.Command(bin, "-config", "pebble.json", "-dnsserver", "192.0.2.53:53")
			cmd.Dir = e.dir
			cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=20")
			if err := e.home.Do(cmd.Start); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			})
			e.write("example.com.zone", "$TTL 60\n@ SOA ns admin 1 7200 3600 1209600 300\n@ NS ns\nns A 192.0.2.53\ndns A 192.0.2.53\n")
			e.serve("acme", exposeCommon+"listen: [192.0.2.53]\nmetrics: {listen: off}\n"+exposeServes+
				"encrypted:\n  name: dns.example.com\n  dot: [192.0.2.53]\n  doh: {listen: [\"192.0.2.53:443\"]}\n"+
				"  acme: {challenge: "+challenge+", email: admin@example.com, ca: ca.pem, dns_wait: 0s, directory: \"https://127.0.0.1:14000/dir\""+more+"}\n")
			roots := e.issuers()
			serials, asked := map[string]bool{}, 0
			for began := time.Now(); len(serials) < 2; {
				serial, err := e.askVerified(roots)
				switch {
				case err == nil:
					asked++
					serials[serial] = true
				case len(serials) > 0:
					t.Fatalf("question %d, after %d certificates: %v", asked+1, len(serials), err)
				}
				if time.Since(began) > 2*time.Minute {
					t.Fatalf("%d certificates in two minutes; the last question: %v", len(serials), err)
				}
				time.Sleep(20 * time.Millisecond) // between the questions of a client
			}
			t.Logf("%d questions, two certificates", asked)
		})
	}
}

// httpsIdentity makes what the ACME server shows over HTTPS: ca.pem, which is its own authority, and ca.key.
func httpsIdentity(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(53), Subject: pkix.Name{CommonName: "acme"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"ca.pem": {Type: "CERTIFICATE", Bytes: certificate}, "ca.key": {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// issuers returns the root certificate that Pebble has made for this run.
func (e *exposed) issuers() *x509.CertPool {
	e.Helper()
	pool := x509.NewCertPool()
	for end := time.Now().Add(startTimeout); ; time.Sleep(50 * time.Millisecond) {
		var text []byte
		err := e.home.Do(func() error {
			c, err := net.DialTimeout("tcp", "127.0.0.1:15000", time.Second)
			if err != nil {
				return err
			}
			tc := tls.Client(c, &tls.Config{InsecureSkipVerify: true}) // whose root it is cannot be known before
			defer tc.Close()
			if err := tc.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
				return err
			}
			if _, err := io.WriteString(tc, "GET /roots/0 HTTP/1.0\r\nHost: localhost\r\n\r\n"); err != nil {
				return err
			}
			text, err = io.ReadAll(tc)
			return err
		})
		if len(text) > 0 && pool.AppendCertsFromPEM(text) {
			return pool
		}
		if time.Now().After(end) {
			e.Fatalf("no root certificate: %v\n%s", err, text)
		}
	}
}

// askVerified asks over a new TLS connection, and returns the serial number of the certificate.
func (e *exposed) askVerified(roots *x509.CertPool) (serial string, err error) {
	err = e.home.Do(func() error {
		c, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", "192.0.2.53:853", &tls.Config{RootCAs: roots, ServerName: "dns.example.com"})
		if err != nil {
			return err
		}
		defer c.Close()
		serial = c.ConnectionState().PeerCertificates[0].SerialNumber.String()
		conn := &dns.Conn{Conn: c}
		if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			return err
		}
		if err := conn.WriteMsg(new(dns.Msg).SetQuestion("dns.example.com.", dns.TypeA)); err != nil {
			return err
		}
		m, err := conn.ReadMsg()
		if err == nil && len(m.Answer) != 1 {
			err = fmt.Errorf("%v", m)
		}
		return err
	})
	return serial, err
}
