package catalogue_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"port53/internal/certs/certtest"
	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/wire"
)

// announces starts a resolver that announces services, and returns where it is.
func announces(t *testing.T, records ...[]byte) netip.AddrPort {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			var q wire.Query
			if q.Parse(buf[:n]) != 0 {
				continue
			}
			reply := append(slices.Clone(buf[:wire.HeaderLen]), q.Question()...)
			binary.BigEndian.PutUint16(reply[2:], 0x8180)
			binary.BigEndian.PutUint16(reply[6:], uint16(len(records)))
			binary.BigEndian.PutUint16(reply[10:], 0)
			for _, data := range records {
				reply = append(reply, 0xC0, wire.HeaderLen, 0, 64, 0, 1, 0, 0, 1, 44)
				reply = append(binary.BigEndian.AppendUint16(reply, uint16(len(data))), data...)
			}
			_, _ = c.WriteTo(reply, from)
		}
	}()
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// service is the RDATA that announces DNS over TLS.
func service(port int, hint string) []byte {
	data := append([]byte{0, 1}, name("dns.example.test")...)
	data = append(data, 0, 1, 0, 4, 3, 'd', 'o', 't', 0, 3, 0, 2, byte(port>>8), byte(port))
	if hint != "" {
		data = append(append(data, 0, 4, 0, 4), netip.MustParseAddr(hint).AsSlice()...)
	}
	return data
}

// What a resolver announces has to listen, with a certificate for the address that clients know.
func TestDesignated(t *testing.T) {
	c, ca, dir := find(t, "DDR-LISTEN"), certtest.New(t), t.TempDir()
	listen := func(l certtest.Leaf, alpn string) int {
		cert, key := ca.IssueLeaf(dir, "own", l)
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		s, err := tls.Listen("tcp4", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{alpn}[:len(alpn)/3]})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		go func() {
			for {
				conn, err := s.Accept()
				if err != nil {
					return
				}
				go func() { _ = conn.(*tls.Conn).Handshake(); conn.Close() }()
			}
		}()
		return s.Addr().(*net.TCPAddr).Port
	}
	good := certtest.Leaf{Names: []string{"dns.example.test", "127.0.0.1"}}
	open := listen(good, "dot")
	other := listen(certtest.Leaf{Names: []string{"dns.example.test", "127.0.0.2"}}, "dot")
	expired := listen(certtest.Leaf{Names: good.Names, From: time.Now().Add(-48 * time.Hour), Until: time.Now().Add(-time.Hour)}, "dot")
	mute := listen(good, "")
	unused, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := unused.Addr().(*net.TCPAddr).Port
	unused.Close()
	for _, x := range []struct {
		name    string
		records [][]byte
		trust   *x509.CertPool
		want    finding.State
		detail  string
	}{
		{"good", [][]byte{service(open, "127.0.0.1")}, ca.Pool, finding.Pass, "dot on port"},
		{"good without a hint", [][]byte{service(open, "")}, ca.Pool, finding.Pass, "dot on port"},
		{"closed", [][]byte{service(closed, "127.0.0.1")}, ca.Pool, finding.Fail, "announced, and does not answer"},
		{"one of two closed", [][]byte{service(open, ""), service(closed, "")}, ca.Pool, finding.Fail, "announced, and does not answer"},
		{"another address", [][]byte{service(other, "127.0.0.1")}, ca.Pool, finding.Warn, "does not have this address"},
		{"expired", [][]byte{service(expired, "127.0.0.1")}, ca.Pool, finding.Fail, "expired on"},
		{"without ALPN", [][]byte{service(mute, "")}, ca.Pool, finding.Warn, "no ALPN dot"},
		{"untrusted", [][]byte{service(open, "")}, x509.NewCertPool(), finding.Warn, "not trusted"},
		{"elsewhere", [][]byte{service(closed, "192.0.2.9")}, ca.Pool, finding.Skipped, "no encrypted service is announced"},
		{"nothing", nil, ca.Pool, finding.Skipped, "no encrypted service is announced"},
		{"an alias, and half a record", [][]byte{{0, 0, 1, 'a', 0}, {0, 1, 0, 0, 1, 0}}, ca.Pool, finding.Skipped, ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			at := announces(t, x.records...)
			o := &check.Options{Timeout: time.Second, Lab: check.Lab{TLSRoots: x.trust}}
			got := c.Run(t.Context(), &check.Run{Check: c, Server: finding.Server{Addr: at}, Options: o})
			if len(got) != 1 || got[0].State != x.want || !strings.Contains(got[0].Detail, x.detail) {
				t.Errorf("got %v, want %v with %q", got, x.want, x.detail)
			}
			if got = c.Run(t.Context(), &check.Run{Check: c, Server: finding.Server{Addr: at}, Options: o, Derived: true}); got != nil {
				t.Errorf("of a server of a zone it says %v", got)
			}
		})
	}
}
