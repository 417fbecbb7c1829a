package server_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"port53/internal/server"
)

// TestUDPDrainSlowly has a worker that takes longer than a socket must be quiet to
// count as drained: once, what waited behind a slow answer was dropped.
func TestUDPDrainSlowly(t *testing.T) {
	const questions = 5
	for _, portable := range []bool{false, true} {
		gate, first := make(chan struct{}), make(chan struct{}, questions)
		s := listen(t, server.Options{Workers: 1, Portable: portable, Handler: worker(func(q []byte, p *server.Peer, r []byte) int {
			first <- struct{}{}
			<-gate
			time.Sleep(10 * time.Millisecond) // this is the slowness under test
			return echo(q, p, r)
		})})
		c := dial(t, "udp", s)
		for i := range questions {
			if _, err := c.Write(question(i, 40)); err != nil {
				t.Fatal(err)
			}
		}
		<-first
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(context.Background()) }()
		eventually(t, "draining", s.Draining)
		close(gate)
		buf := make([]byte, 4096)
		for i := range questions {
			if n, err := c.Read(buf); err != nil || !bytes.Equal(buf[:n], answer(i, 40)) {
				t.Fatalf("portable %v: answer %d: %v", portable, i, err)
			}
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
