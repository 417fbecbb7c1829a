//go:build !race

package server_test

import (
	"net"
	"testing"

	"port53/internal/server"
)

func TestNoAllocations(t *testing.T) {
	buf := make([]byte, 4096)
	for _, tt := range []struct {
		name, network string
		portable      bool
		query         []byte
	}{
		{"udp", "udp", false, question(1, 40)},
		{"udp portable", "udp", true, question(1, 40)},
		{"tcp", "tcp", false, framed(question(1, 40))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := listen(t, server.Options{Handler: worker(echo), Portable: tt.portable})
			c := dial(t, tt.network, s)
			if n := testing.AllocsPerRun(500, func() { roundTrip(t, c, tt.query, buf) }); n != 0 {
				t.Errorf("%v allocations a query, want none", n)
			}
		})
	}
}

// TestDoTAllocations has crypto/tls allocate what it does for each record that is read, the
// client's and the server's, and nothing besides.
func TestDoTAllocations(t *testing.T) {
	s, p := encrypted(t, server.Options{Handler: worker(echo)})
	c := dialTLS(t, s, p, "127.0.0.1")
	buf, query := make([]byte, 4096), framed(question(1, 40))
	if n := testing.AllocsPerRun(500, func() { roundTrip(t, c, query, buf) }); n > 2 {
		t.Errorf("%v allocations a query, want 2 of crypto/tls", n)
	}
}

func roundTrip(t testing.TB, c net.Conn, query, buf []byte) {
	if _, err := c.Write(query); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(buf); err != nil {
		t.Fatal(err)
	}
}
