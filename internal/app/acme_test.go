package app_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"port53/internal/acme/acmetest"
	"port53/internal/certs"
	"port53/internal/dnstest"
	"port53/internal/server"
	"port53/internal/wire"
)

// freePort returns the address of a port that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	port, err := dnstest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", port)
}

// ordering starts a server whose certificate is ordered by a challenge, from an authority that looks at
// what it answers; DNS, port 80 and port 443 are where look is told.
func ordering(t *testing.T, challenge, extra string) (*running, *acmetest.Authority) {
	t.Helper()
	var r *running
	var ready sync.WaitGroup
	ready.Add(1)
	port80 := freePort(t)
	ca := acmetest.New(t, func(c *acmetest.Challenge) error {
		ready.Wait()
		switch c.Kind {
		case "http-01":
			return provedByHTTP(port80, c)
		case "tls-alpn-01":
			return provedByTLS(r.at(server.DoH), c)
		}
		return provedByDNS(r.Addrs()[0], c)
	})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), ca.PEM(), 0o644); err != nil {
		t.Fatal(err)
	}
	listen := ""
	if challenge == "http-01" {
		listen = ", listen: \"" + port80 + "\""
	}
	r = start(t, "encrypted: {name: dns.test, dot: \"127.0.0.1:0\", doh: {listen: \"127.0.0.1:0\"}, acme: {challenge: "+challenge+
		", directory: \""+ca.Directory()+"\", ca: "+filepath.Join(dir, "ca.pem")+listen+"}}\nmetrics: {listen: \"127.0.0.1:0\"}\nstate_dir: state\n"+extra)
	ready.Done()
	return r, ca
}

func provedByHTTP(addr string, c *acmetest.Challenge) error {
	res, err := http.Get("http://" + addr + "/.well-known/acme-challenge/" + c.Token)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if text, _ := io.ReadAll(res.Body); string(text) != c.Proof {
		return fmt.Errorf("%s: %q", res.Status, text)
	}
	return nil
}

func provedByTLS(addr string, c *acmetest.Challenge) error {
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, ServerName: c.Name, NextProtos: []string{"acme-tls/1"}})
	if err != nil {
		return err
	}
	defer conn.Close()
	st := conn.ConnectionState()
	if st.NegotiatedProtocol != "acme-tls/1" || !slices.Equal(st.PeerCertificates[0].DNSNames, []string{c.Name}) {
		return fmt.Errorf("%q %v", st.NegotiatedProtocol, st.PeerCertificates[0].DNSNames)
	}
	return nil
}

// textOf asks for TXT records over UDP.
func textOf(at netip.AddrPort, name string) (string, error) {
	conn, err := net.Dial("udp", at.String())
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	owner, err := wire.ParseName(name)
	if err != nil {
		return "", err
	}
	if _, err := conn.Write(wire.AppendQuery(nil, 7, 0, owner, wire.TypeTXT)); err != nil {
		return "", err
	}
	b := make([]byte, 1232)
	n, err := conn.Read(b)
	if err != nil {
		return "", err
	}
	return dnstest.Format(b[:n])
}

func provedByDNS(at netip.AddrPort, c *acmetest.Challenge) error {
	text, err := textOf(at, "_acme-challenge."+c.Name)
	if err == nil && !strings.Contains(text, c.Digest()) {
		err = errors.New(text)
	}
	return err
}

// A server without a certificate has one issued by each challenge, shows it as soon as it is there, and
// has it after a restart; what proved the name is gone. Before, clients of DoT are turned away, and DNS
// is answered.
func TestACME(t *testing.T) {
	for _, challenge := range []string{"http-01", "dns-01", "tls-alpn-01"} {
		t.Run(challenge, func(t *testing.T) {
			r, ca := ordering(t, challenge, "")
			peer := &certs.Peer{Name: "dns.test", Roots: ca.Pool}
			dial := func() error {
				c, err := tls.Dial("tcp", r.at(server.DoT), peer.Client(certs.DoT))
				if err == nil {
					c.Close()
				}
				return err
			}
			r.until(func() error { return dial() })
			if got, err := textOf(r.Addrs()[0], "_acme-challenge.dns.test"); err != nil || !strings.Contains(got, "NXDOMAIN") {
				t.Errorf("the proof is left: %q %v", got, err)
			}
			told := metrics(t, r)
			for _, want := range []string{
				`port53_acme_orders_total{result="issued"} 1`, "port53_acme_failing 0", "port53_acme_next_order_timestamp_seconds",
				`port53_certificate_expiry_timestamp_seconds{names="dns.test"}`,
			} {
				if !strings.Contains(told, want) {
					t.Errorf("no line %q", want)
				}
			}
			if _, err := tls.Dial("tcp", r.at(server.DoH), &tls.Config{InsecureSkipVerify: true, ServerName: "dns.test", NextProtos: []string{"acme-tls/1"}}); err == nil {
				t.Error("a proof is shown that nobody waits for")
			}
			r.end()
			if err := r.serve(io.Discard); err != nil {
				t.Fatal(err)
			}
			if err := dial(); err != nil || ca.Orders != 1 {
				t.Errorf("after a restart: %v, %d orders", err, ca.Orders)
			}
		})
	}
}

// until waits until there is no error any more.
func (r *running) until(f func() error) {
	r.Helper()
	deadline := time.Now().Add(2 * patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			r.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// While there is no certificate, and the authority is gone, DNS is answered, and TLS is not; a file that is
// damaged is as none.
func TestACMEWithoutAuthority(t *testing.T) {
	var log bytes.Buffer
	var mu sync.Mutex
	r, ca := ordering(t, "dns-01", "")
	r.until(func() error {
		if told := metrics(t, r); !strings.Contains(told, `port53_acme_orders_total{result="issued"} 1`) {
			return errors.New("nothing is issued")
		}
		return nil
	})
	r.end()
	ca.Lock()
	ca.Down = true
	ca.Unlock()
	c := filepath.Join(r.dir, "state", "acme", "certificate.pem")
	if err := os.WriteFile(c, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.serve(locked{&mu, &log}); err != nil {
		t.Fatal(err)
	}
	if text, err := textOf(r.Addrs()[0], "ns.test"); err != nil || !strings.Contains(text, "NOERROR") {
		t.Errorf("%q %v", text, err)
	}
	if _, err := tls.Dial("tcp", r.at(server.DoT), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"dot"}}); err == nil {
		t.Error("something is shown")
	}
}

// locked is a writer of many goroutines.
type locked struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}
