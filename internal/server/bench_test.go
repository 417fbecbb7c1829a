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

// BenchmarkLater has each answer given later, by another goroutine.
func BenchmarkLater(b *testing.B) {
	for _, network := range []string{"udp", "tcp"} {
		b.Run(network, func(b *testing.B) {
			later := make(chan server.Responder, 1<<16)
			s := listen(b, server.Options{Workers: 1, Handler: worker(func(_ []byte, p *server.Peer, _ []byte) int {
				r, err := p.Detach()
				if err != nil {
					b.Error(err)
					return 0
				}
				later <- r
				return server.Pending
			})})
			go func() {
				for r := range later {
					_ = r.Reply(answer(1, 100))
					r.Close()
				}
			}()
			if network == "tcp" {
				benchmark(b, dial(b, "tcp", s), framed(question(1, 40)), 102)
			} else {
				benchmark(b, dial(b, "udp", s), question(1, 40), 100)
			}
		})
	}
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
