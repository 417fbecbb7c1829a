package server_test

import (
	"net"
	"testing"

	"port53/internal/server"
)

// BenchmarkUDP keeps 64 questions on their way; the client's part is included.
func BenchmarkUDP(b *testing.B) {
	for _, bb := range []struct {
		name     string
		portable bool
	}{{"batches", false}, {"portable", true}} {
		b.Run(bb.name, func(b *testing.B) {
			s := listen(b, server.Options{Handler: worker(echo), Portable: bb.portable, Workers: 1})
			benchmark(b, dial(b, "udp", s), question(1, 40), 40)
		})
	}
}

// BenchmarkTCP keeps 64 questions on their way in one connection.
func BenchmarkTCP(b *testing.B) {
	s := listen(b, server.Options{Handler: worker(echo)})
	benchmark(b, dial(b, "tcp", s), framed(question(1, 40)), 42)
}

func benchmark(b *testing.B, c net.Conn, query []byte, size int) {
	const window = 64
	b.ReportAllocs()
	buf := make([]byte, 65536)
	sent, got, end := 0, 0, 0
	for b.Loop() {
		end += size
		for ; sent < got/size+window; sent++ {
			if _, err := c.Write(query); err != nil {
				b.Fatal(err)
			}
		}
		for got < end {
			n, err := c.Read(buf)
			if err != nil {
				b.Fatal(err)
			}
			got += n
		}
	}
}
