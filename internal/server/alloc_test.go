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

func roundTrip(t testing.TB, c net.Conn, query, buf []byte) {
	if _, err := c.Write(query); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(buf); err != nil {
		t.Fatal(err)
	}
}
