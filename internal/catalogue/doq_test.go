//go:build !lean

package catalogue_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"port53/internal/check"
	"port53/internal/finding"
)

// The certificate of DNS over QUIC is looked at over QUIC; of a port that is silent nothing is known.
func TestDoQ(t *testing.T) {
	c := find(t, "DOQ-CERT")
	for _, x := range []struct {
		name  string
		valid time.Duration
		trust bool
		host  string
		want  finding.State
	}{
		{"good", 90 * 24 * time.Hour, true, "ns1.example.test", finding.Pass},
		{"expired", -time.Hour, true, "ns1.example.test", finding.Fail},
		{"soon", 48 * time.Hour, true, "ns1.example.test", finding.Warn},
		{"untrusted", 90 * 24 * time.Hour, false, "ns1.example.test", finding.Warn},
		{"another's", 90 * 24 * time.Hour, true, "ns2.example.test", finding.Warn},
		{"silent", 0, true, "ns1.example.test", finding.Unknown},
	} {
		t.Run(x.name, func(t *testing.T) {
			cert, pool := certificate(t, x.valid)
			var at netip.AddrPort
			if x.valid == 0 {
				s, err := net.ListenPacket("udp4", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				at = s.LocalAddr().(*net.UDPAddr).AddrPort()
			} else {
				l, err := quicgo.ListenAddr("127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"doq"}}, nil)
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				at = l.Addr().(*net.UDPAddr).AddrPort()
			}
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
